"""Records out of XML files of any size: one element at a time, memory bounded, hostile input refused.

What a record means is left to `pubmed` and `pmc`; this file knows bytes, elements and their text only.
"""

import gzip
import html
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from lxml import etree

from bioemb.data.references import ReferenceCutter
from bioemb.data.text import collapse
from bioemb.errors import DataError
from bioemb.files import open_read

CHUNK = 1 << 16  # bytes fed to the parser at once
NOT_REAL = "no real record is as long, so the file is damaged, hostile or of another kind"
MATH = "{http://www.w3.org/1998/Math/MathML}math"
ENTITY = re.compile(r"&(?:#\d+|#x[0-9a-f]+|[a-z][a-z0-9]*);", re.IGNORECASE)
OPENING_BEFORE_NEWLINE = re.compile(r"([(\[])\s*\n\s*")


class _Fed(NamedTuple):
    """What one chunk did: its bytes (0 at the end), what went wrong, and the root once it is closed."""

    size: int
    failure: DataError | None = None
    root: str = ""


def stream_records(
    path: str | Path, tags: Sequence[str], containers: Sequence[str], record_bytes: int
) -> Iterator[etree._Element]:
    """Each element with one of these tags, as it ends; it is emptied once the next one is asked for.

    A tag may be "{*}name", for any namespace; of two such elements directly in each other the outer one counts.
    `containers` are roots that may hold no record at all. Raises DataError, after the whole records before it:
    not readable, not XML, another kind of XML, or `record_bytes` bytes without the end of a record, which bounds
    the memory (a tree of nothing but empty elements takes about 30 times its bytes).
    """
    path = Path(path)
    parser, cutter = _parser(tags), ReferenceCutter()
    waiting, found = 0, 0
    with open_read(path) as handle:
        fed = _Fed(1)
        while fed.size and fed.failure is None:
            fed = _feed(parser, cutter, handle, path)
            waiting += fed.size
            for _, element in parser.read_events():
                parent = element.getparent()
                if parent is not None and parent.tag in tags:
                    continue
                yield element
                _release(element)
                waiting, found = 0, found + 1
            if waiting > record_bytes and fed.failure is None:
                fed = _Fed(0, DataError(f"{waiting >> 20} MB without the end of a record: {NOT_REAL}", path))
    if fed.failure is not None:
        raise fed.failure
    if not found and fed.root not in containers:
        expected = ", ".join(f"<{_local_name(tag)}>" for tag in tags)
        raise DataError(f"no record in it: the root is <{fed.root}>, expected elements {expected}", path)


def plain_text(element: etree._Element) -> str:
    """All text below an element, markup and MathML as their characters, white space collapsed."""
    if not len(element):
        return collapse(unescape(element.text or ""))
    text = "".join(element.itertext())
    if "\n" in text:
        text = _undo_pretty_printing(element)
    return collapse(unescape(text))


def _parser(tags: Sequence[str]) -> etree.XMLPullParser:
    # collect_ids stays on: without it libxml2 goes to fetch the DTD, whatever else is said.
    # Without huge_tree libxml2 bounds text nodes (10 MB) and depth (256); entities are never fetched or expanded.
    return etree.XMLPullParser(
        events=("end",),
        tag=list(tags),
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )


def _feed(parser: etree.XMLPullParser, cutter: ReferenceCutter, handle: BinaryIO, path: Path) -> _Fed:
    """Move one chunk of the file into the parser."""
    try:
        chunk = handle.read1(CHUNK)  # read1: what could be decompressed before a break is not lost
        if chunk:
            parser.feed(cutter.cut(chunk))
            return _Fed(len(chunk))
        return _Fed(0, root=_local_name(parser.close().tag))
    except etree.XMLSyntaxError as error:
        return _Fed(0, _syntax_error(error, parser, path))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        return _Fed(0, DataError(f"the compressed file is damaged or cut off ({error}); fetch it again", path))
    except OSError as error:
        return _Fed(0, DataError(f"cannot be read: {error}", path))


def _syntax_error(error: etree.XMLSyntaxError, parser: etree.XMLPullParser, path: Path) -> DataError:
    first = next(iter(parser.feed_error_log), None)
    reason = (first.message if first is not None else str(error.msg)).strip()
    line = first.line if first is not None else error.lineno
    with open_read(path) as handle:
        try:
            beginning = handle.read1(512).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
        except (OSError, EOFError, zlib.error):
            beginning = b""
    if beginning.startswith((b"<html", b"<!doctype html")):
        return DataError("this is a web page (HTML), not XML: fetch the file itself", path, line or None)
    if not beginning:
        return DataError("the file is empty", path)
    return DataError(f"not well-formed XML ({reason}); fetch the file again or repair it", path, line or None)


def unescape(text: str) -> str:
    """Entities that the parser left alone, and those that someone escaped twice ("&amp;lt;"), as characters."""
    return ENTITY.sub(lambda match: html.unescape(match[0]), text) if "&" in text else text


def _local_name(tag: str) -> str:
    return tag.rpartition("}")[2]


def _release(element: etree._Element) -> None:
    """Free an element and all that was read before it, on every level above."""
    element.clear()
    parent = element.getparent()
    while parent is not None:
        while parent[0] is not element:
            del parent[0]
        element, parent = parent, parent.getparent()


def without_line_end(text: str) -> str:
    """Text without the white space at its end, where that holds a newline: indentation, not a space of the author's."""
    stripped = text.rstrip()
    return stripped if "\n" in text[len(stripped) :] else text


def _undo_pretty_printing(element: etree._Element) -> str:
    """The text without the newlines that indentation brought in; the tree is changed on the way.

    They split a subscript from what it belongs to, and the signs of a formula from each other.
    """
    for script in element.iter("sub", "sup"):
        before = script.getprevious()
        if before is not None:
            before.tail = without_line_end(before.tail or "")
        else:
            script.getparent().text = without_line_end(script.getparent().text or "")
    for math in element.iter(MATH):
        for part in math.iter(etree.Element):
            part.text = part.text if part.text and not part.text.isspace() else None
            part.tail = part.tail if part is math or (part.tail and not part.tail.isspace()) else None
    return OPENING_BEFORE_NEWLINE.sub(r"\1", "".join(element.itertext()))
