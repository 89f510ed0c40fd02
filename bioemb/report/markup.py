"""HTML from text: what is not markup by its type is escaped where it enters the page, so that none can be forgotten."""

import html
import re
from collections.abc import Iterable, Sequence

# What HTML and SVG cannot hold, and what turns the words after it around (letters know their direction without).
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
SHOWN_CHARACTERS = 300  # of a text from the data


class Html(str):
    """Text that is markup already."""


def clean(text: object) -> str:
    """Text without what a page cannot hold or bear; a stand-in takes its place."""
    return CONTROL.sub("\ufffd", str(text))


def join(*parts: object) -> Html:
    """One piece of markup; whatever is no markup is text, and escaped."""
    return Html("".join(part if isinstance(part, Html) else html.escape(clean(part)) for part in parts))


def element(name: str, *parts: object, **attributes: object) -> Html:
    """`<name attribute="..">parts</name>`; an underscore at the end of an attribute's name is left out."""
    said = "".join(f' {key.rstrip("_")}="{html.escape(clean(value))}"' for key, value in attributes.items())
    return Html(f"<{name}{said}>{join(*parts)}</{name}>")


def paragraph(*parts: object) -> Html:
    return element("p", *parts)


def note(*parts: object) -> Html:
    """A sentence about what is shown, or why it is not."""
    return element("p", *parts, class_="note")


def number(value: float | None, form: str = ",") -> Html:
    """A number as people read it, with the exact value in its markup; a dash for none."""
    return Html("–") if value is None else element("data", format(value, form), value=value)


def points(value: float | None, form: str = ".1f") -> Html:
    """A fraction of one in points of 100, with the exact fraction in its markup; a dash for none."""
    return Html("–") if value is None else element("data", format(100 * value, form), value=value)


def quoted(text: str, characters: int = SHOWN_CHARACTERS) -> Html:
    """A text from the data, in its own direction, cut where it is long."""
    return element("bdi", shortened(text, characters))


def shortened(text: object, characters: int) -> str:
    """A text in one line of at most so many characters."""
    line = " ".join(clean(str(text)[: 4 * characters]).split())
    return line if len(line) <= characters else line[: characters - 1] + "…"


def table(head: Sequence[object], rows: Iterable[Sequence[object]], words: int = 1) -> Html:
    """A table that scrolls where it is too wide; the first `words` columns are words, the others numbers."""

    def row(cells: Sequence[object], tag: str) -> Html:
        classes = ["words" if column < words else "numbers" for column in range(len(cells))]
        return element("tr", *(element(tag, cell, class_=kind) for cell, kind in zip(cells, classes, strict=True)))

    body = element("tbody", *(row(cells, "td") for cells in rows))
    return element("div", element("table", element("thead", row(head, "th")), body), class_="scrolls", tabindex=0)


def details(summary: object, *parts: object) -> Html:
    """What is opened by a click, and stands open in print."""
    return element("details", element("summary", summary), *parts)


def figure(title: object, chart: Html, *below: object) -> Html:
    """A chart under its title."""
    caption = element("figcaption", title)
    return element("figure", caption, chart, *below)


def grid(*figures: object) -> Html:
    """Figures side by side where there is room."""
    return element("div", *figures, class_="grid")
