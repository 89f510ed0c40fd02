"""Queries from people: typed at a prompt or sent through a pipe, one a line, each answered before the next is read."""

import sys
from collections.abc import Callable, Iterator
from contextlib import suppress

from bioemb.errors import BioembError, DataError

PROMPT = "query> "
NOT_UTF8 = "\udcff"  # stands for a line whose bytes are no characters


def converse(answer: Callable[[str], str]) -> None:
    """Answer each query to the end of the input, or to Ctrl-C; what cannot be answered is said, and the next read."""
    is_typed = sys.stdin.isatty()
    try:
        for query in typed_queries() if is_typed else piped_queries():
            _answer(query, answer)
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:  # nobody reads on
        sys.stdout = None
    if is_typed:
        print()  # the shell's own prompt begins a line


def check_query(query: str, name: str = "the query") -> str:
    """The query without spaces around it. Raises DataError for what is no query, by the name it is given."""
    try:
        query.encode("utf-8")
    except UnicodeEncodeError:
        raise DataError(f"{name} is not UTF-8; check the terminal's encoding (LANG=C.UTF-8)") from None
    if not query.strip():
        raise DataError(f"{name} is empty; type some words")
    return query.strip()


def typed_queries() -> Iterator[str]:
    """Lines that are typed at the prompt, to be edited and recalled as in a shell; empty ones ask again."""
    with suppress(ImportError):
        import readline  # noqa: F401 - input() edits with it
    while True:
        try:
            query = input(PROMPT)
        except EOFError:
            return
        except UnicodeDecodeError:
            query = NOT_UTF8
        if query.strip():
            yield query


def piped_queries() -> Iterator[str]:
    """Lines of the standard input."""
    for line in sys.stdin.buffer:
        yield line.decode("utf-8", "surrogateescape")


def _answer(query: str, answer: Callable[[str], str]) -> None:
    try:
        print(answer(query), flush=True)
    except BioembError as error:
        print(f"bioemb search: {error}", file=sys.stderr, flush=True)
