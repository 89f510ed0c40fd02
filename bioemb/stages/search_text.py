"""Answers as text for people: wrapped, the query's words marked, two models' side by side. Pure functions."""

import re
import textwrap
from collections.abc import Sequence
from itertools import zip_longest
from typing import NamedTuple

from bioemb.log import printable

SHOWN_LINES = 4  # of a passage
GAP = "  │  "  # between two columns
NARROWEST = 28  # characters of a column; where two do not fit, one stands below the other
MARK, PLAIN, FAINT = "\x1b[1;33m", "\x1b[0m", "\x1b[2m"  # bold yellow; as before; dim
WORD = re.compile(r"\w+")


class Answer(NamedTuple):
    """A passage that was found for a query."""

    id: str
    score: float
    text: str


class Look(NamedTuple):
    """How answers are shown."""

    width: int  # of the terminal, in characters
    with_colour: bool
    full: bool  # passages whole, not their first lines


def show(query: str, answers: Sequence[Answer], look: Look) -> str:
    """The answers of one model, the closest first."""
    return "\n".join(line for cell in _cells(query, answers, look, [""] * len(answers)) for line in cell)


def show_beside(
    query: str, names: tuple[str, str], answers: tuple[Sequence[Answer], Sequence[Answer]], look: Look
) -> str:
    """The answers of two models in two columns, the second's with their ranks by the first."""
    before, after = answers
    ranks = {answer.text: rank for rank, answer in enumerate(before, start=1)}
    moved = [_movement(rank, ranks.get(answer.text)) for rank, answer in enumerate(after, start=1)]
    width = (look.width - len(GAP)) // 2
    column = look._replace(width=width if width >= NARROWEST else look.width)
    left = [[fit(names[0], column.width)], *_cells(query, before, column, [""] * len(before))]
    right = [[fit(names[1], column.width)], *_cells(query, after, column, moved)]
    if column.width == look.width:
        return "\n".join(line for cell in [*left, [""], *right] for line in cell)
    lines = []
    for cells in zip_longest(left, right, fillvalue=[]):
        for one, other in zip_longest(*cells, fillvalue=""):
            lines.append(f"{_pad(one, width)}{GAP}{other}".rstrip())
    return "\n".join(lines)


def mark_words(line: str, query: str) -> str:
    """The line with the query's words in colour, whatever their case; words of one or two letters are left."""
    wanted = {word for word in WORD.findall(query.casefold()) if len(word) > 2}
    return WORD.sub(lambda word: f"{MARK}{word[0]}{PLAIN}" if word[0].casefold() in wanted else word[0], line)


def _cells(query: str, answers: Sequence[Answer], look: Look, notes: Sequence[str]) -> list[list[str]]:
    """The lines of each answer."""
    return [
        _cell(query, rank, answer, note, look)
        for rank, (answer, note) in enumerate(zip(answers, notes, strict=True), start=1)
    ]


def _cell(query: str, rank: int, answer: Answer, note: str, look: Look) -> list[str]:
    head = fit(f"{rank:>2}. {answer.score:.4f}  {printable(answer.id)}{note}", look.width)
    wrapped = textwrap.wrap(
        printable(answer.text),
        look.width,
        initial_indent="    ",
        subsequent_indent="    ",
        break_on_hyphens=False,
        max_lines=None if look.full else SHOWN_LINES,
        placeholder=" …",
    )
    if look.with_colour:
        head, wrapped = f"{FAINT}{head}{PLAIN}", [mark_words(line, query) for line in wrapped]
    return [head, *wrapped]


def _movement(rank: int, before: int | None) -> str:
    if before is None:
        return "  (new)"
    return "" if before == rank else f"  (was {before})"


def fit(text: str, width: int) -> str:
    """The text, cut to so many characters."""
    return text if len(text) <= width else text[: width - 1] + "…"


def _pad(line: str, width: int) -> str:
    visible = re.sub(r"\x1b\[[0-9;]*m", "", line)
    return line + " " * (width - len(visible))
