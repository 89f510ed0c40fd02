"""A web server on this machine that behaves as badly as it is told to, and remembers what it was asked for."""

import threading
from collections.abc import Callable
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Answers a path with the next of its answers, the last one again and again; 404 where there is none."""

    def do_GET(self):  # noqa: N802 - the name that http.server calls
        self.server.asked.append((self.path, self.headers.get("Range", "")))
        answers = self.server.answers.get(self.path, [status(404)])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        answer(self)

    def send(self, code: int, body: bytes, **headers: str) -> None:
        self.send_response(code)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, list[Answer]] = {}
        self.asked: list[tuple[str, str]] = []  # (path, Range header)
        self.url = f"http://127.0.0.1:{self.server_port}"


@contextmanager
def running_server():
    """A server for the time of the block."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def whole(body: bytes) -> Answer:
    """The file; the rest of it where a Range asks for that."""

    def answer(handler: Handler) -> None:
        start = int(handler.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        if not start:
            handler.send(200, body)
        elif start < len(body):
            handler.send(206, body[start:], Content_Range=f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            handler.send(416, b"")

    return answer


def without_ranges(body: bytes) -> Answer:
    """The file from its beginning, whatever is asked for."""
    return lambda handler: handler.send(200, body)


def from_elsewhere(body: bytes) -> Answer:
    """Another range than was asked for: everything."""
    return lambda handler: handler.send(206, body, Content_Range=f"bytes 0-{len(body) - 1}/{len(body)}")


def broken_after(count: int, body: bytes) -> Answer:
    """The next `count` bytes of the file, and then a closed connection."""

    def answer(handler: Handler) -> None:
        start = int(handler.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Length", str(len(body) - start))
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        handler.end_headers()
        handler.wfile.write(body[start : start + count])
        handler.close_connection = True

    return answer


def status(code: int, **headers: str) -> Answer:
    """An error."""
    return lambda handler: handler.send(code, b"<html>", **headers)
