"""Files over HTTP: continued where they broke off, checked by md5, tried again with patience, renamed when whole.

What to fetch, and what a failure means for the rest, is the caller's to say.
"""

import hashlib
import random
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPResponse
from itertools import islice
from pathlib import Path
from typing import TypeVar
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from bioemb.errors import BioembError, DataError
from bioemb.log import logger

CHUNK_BYTES = 1 << 16
FIRST_WAIT, LONGEST_WAIT = 1.0, 300.0  # seconds between two tries; doubled each time
PASSING = (408, 425, 429, 500, 502, 503, 504)  # HTTP statuses that may be others in a while
GONE = (404, 410)

Item, Result = TypeVar("Item"), TypeVar("Result")


class FetchError(BioembError):
    """What could not be fetched; `reason` is the few words to count it by."""

    def __init__(self, message: str, reason: str, is_outage: bool = False):
        super().__init__(message)
        self.reason = reason
        self.is_outage = is_outage  # the server's or the network's trouble, not this file's


class _PassingError(Exception):
    """A try that failed and that may be repeated, not before `wait` seconds."""

    def __init__(self, reason: str, wait: float = 0.0):
        super().__init__(reason)
        self.wait = wait


class Fetcher:
    """Fetches from several threads at once, if need be; `stop` makes all of them give up soon."""

    def __init__(self, attempts: int = 5, timeout: float = 30.0):
        """attempts: tries in a row that bring nothing new; timeout: seconds without a byte."""
        self.attempts, self.timeout = attempts, timeout
        self._has_answered = False  # a server that never did is not waited for
        self._stopped = threading.Event()

    def stop(self) -> None:
        self._stopped.set()

    def read(self, url: str) -> bytes:
        """What stands at an address, for small things. Raises FetchError."""
        return self._insist(url, lambda: self._try_to_read(url))

    def fetch(self, url: str, path: Path, md5: str) -> None:
        """Put a file under its name once its bytes have this md5 (hexadecimal).

        What an earlier try, or run, left in `NAME.part` is continued. Raises FetchError; DataError where the disk
        does not take it.
        """
        part = path.with_name(path.name + ".part")
        try:
            for _ in range(2):  # the second time from the start: what was continued may not have fitted
                if not has_md5(part, md5):
                    self._insist(url, lambda: self._try_to_append(url, part), lambda: _size(part))
                if has_md5(part, md5):
                    part.replace(path)
                    return
                part.unlink()
        except OSError as error:
            raise DataError(f"cannot be written: {error.strerror}", part) from None
        raise FetchError(f"{url} arrived twice with another md5 than {md5}", "wrong checksum")

    def _insist(self, url: str, attempt: Callable[[], Result], size: Callable[[], int] = lambda: 0) -> Result:
        """Repeat a try until it succeeds, or until `attempts` in a row did not let `size` grow."""
        failures, farthest = 0, size()
        while True:
            try:
                return attempt()
            except _PassingError as error:
                failures, farthest = (0, size()) if size() > farthest else (failures + 1, farthest)
                self._wait_or_give_up(url, error, failures)

    def _wait_or_give_up(self, url: str, error: _PassingError, failures: int) -> None:
        if not self._has_answered:
            advice = "check the network and the proxy settings, or name a mirror"
            message = f"cannot reach {urlsplit(url).netloc} ({error}); {advice}"
            raise FetchError(message, "unreachable", is_outage=True)
        if error.wait > LONGEST_WAIT:
            message = f"{url}: {error}; the server asks to come back in {error.wait:,.0f} s"
            raise FetchError(message, str(error), is_outage=True)
        if failures >= self.attempts:
            message = f"{url}: {error}, {failures} tries in a row without a new byte"
            raise FetchError(message, str(error), is_outage=True)
        backoff = min(LONGEST_WAIT, FIRST_WAIT * 2 ** max(0, failures - 1)) * random.uniform(0.5, 1.5)
        wait = max(error.wait, backoff)
        logger.info("%s: %s; again in %.0f s", url, error, wait)
        self._pause(wait)

    def _pause(self, seconds: float) -> None:
        self._stopped.wait(seconds)
        self._refuse_when_stopped()

    def _refuse_when_stopped(self) -> None:
        if self._stopped.is_set():
            raise FetchError("stopped", "stopped")

    def _try_to_read(self, url: str) -> bytes:
        response, _ = self._open(url)
        with response:
            return b"".join(self._chunks(response))

    def _try_to_append(self, url: str, part: Path) -> None:
        response, continues = self._open(url, _size(part))
        with response, open(part, "ab" if continues else "wb") as out:
            for chunk in self._chunks(response):
                out.write(chunk)

    def _open(self, url: str, start: int = 0) -> tuple[HTTPResponse, bool]:
        """A response, and whether its bytes begin at `start`; at 0 where the server cannot do that."""
        self._refuse_when_stopped()
        headers = {"User-Agent": "bioemb", **({"Range": f"bytes={start}-"} if start else {})}
        try:
            response = urlopen(Request(url, headers=headers), timeout=self.timeout)
        except HTTPError as error:
            self._has_answered = True
            error.close()
            if start and error.code == 416:  # what is there is longer than the file
                return self._open(url)
            raise _refusal(url, error) from None
        except (OSError, HTTPException, UnicodeError) as error:
            raise _PassingError(_words(error)) from None
        self._has_answered = True
        return response, start > 0 and response.status == 206

    def _chunks(self, response: HTTPResponse) -> Iterator[bytes]:
        missing = response.length  # None when the server does not say; a short body is no error to http.client
        while chunk := self._chunk(response):
            missing = None if missing is None else missing - len(chunk)
            yield chunk
        if missing:
            raise _PassingError("the connection broke off")

    def _chunk(self, response: HTTPResponse) -> bytes:
        self._refuse_when_stopped()
        try:
            return response.read(CHUNK_BYTES)
        except (OSError, HTTPException) as error:
            raise _PassingError(f"the connection broke off ({_words(error)})") from None


def in_parallel(
    work: Callable[[Item], Result], items: Iterable[Item], connections: int, stop: Callable[[], None]
) -> Iterator[Result]:
    """The results of the items in their order, so many made at once; an error or an interruption stops the others."""
    items = iter(items)
    pool = ThreadPoolExecutor(connections)
    try:
        waiting = deque(pool.submit(work, item) for item in islice(items, 4 * connections))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(work, item) for item in islice(items, 1))
    finally:
        stop()
        pool.shutdown(cancel_futures=True)


def has_md5(path: Path, md5: str) -> bool:
    """Whether the file is there and its bytes have this md5 (hexadecimal)."""
    if not path.is_file():
        return False
    with open(path, "rb") as handle:
        digest = hashlib.file_digest(handle, lambda: hashlib.md5(usedforsecurity=False))
    return digest.hexdigest() == md5.lower()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _refusal(url: str, error: HTTPError) -> Exception:
    if error.code in PASSING:
        return _PassingError(f"HTTP {error.code}", _retry_after(error.headers.get("Retry-After", "")))
    if error.code in GONE:
        return FetchError(f"{url}: not found (HTTP {error.code})", "not found")
    return FetchError(f"{url}: refused with HTTP {error.code} {error.reason}", f"HTTP {error.code}")


def _retry_after(value: str) -> float:
    """Seconds to wait, of a number of them or a date; 0 of anything else."""
    if value.strip().isdecimal():
        return float(value)
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (date - datetime.now(UTC)).total_seconds())


def _words(error: Exception) -> str:
    """An error of the network in a few words, without the layers around it."""
    reason = getattr(error, "reason", error)
    return str(getattr(reason, "strerror", None) or reason) or type(reason).__name__
