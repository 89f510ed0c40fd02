"""The page: its head, its list of contents and its sections; nothing in it can run or load anything."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bioemb import __version__
from bioemb.report.markup import Html, element, join

STYLE_SHEET = Path(__file__).with_name("page.css")
# No script, no connection, no file: a browser refuses them, whatever the data hold.
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


class Section(NamedTuple):
    """A part of the report under a heading."""

    anchor: str
    title: str
    body: Html


class Figure(NamedTuple):
    """A number that says how the run went, and what it is of."""

    number: Html
    words: object


def page(title: str, lead: Html, figures: Sequence[Figure], sections: Sequence[Section]) -> Html:
    """The whole document."""
    contents = [element("li", element("a", each.title, href=f"#{each.anchor}")) for each in sections]
    tiles = [element("div", element("dt", each.words), element("dd", each.number)) for each in figures]
    return join(
        Html('<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'),
        Html('<meta name="viewport" content="width=device-width, initial-scale=1">\n'),
        Html(
            f'<meta name="color-scheme" content="light dark">\n<meta name="generator" content="bioemb {__version__}">\n'
        ),
        element("title", f"{title}: bioemb report"),
        Html(f"\n<style>\n{STYLE_SHEET.read_text(encoding='utf-8')}</style>\n</head>\n<body>\n<header>\n"),
        element("h1", element("small", "bioemb report"), title),
        lead,
        element("dl", *tiles, class_="figures"),
        element("nav", element("ul", *contents), class_="contents"),
        Html("\n</header>\n<main>\n"),
        *(_section(each) for each in sections),
        Html(f"</main>\n<footer><p>Written by bioemb {__version__}.</p></footer>\n</body>\n</html>\n"),
    )


def _section(section: Section) -> Html:
    return join(element("section", element("h2", section.title), section.body, id=section.anchor), Html("\n"))
