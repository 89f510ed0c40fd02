"""The text of a JATS element as prose: no tables, figures, formula sources or notes, no citations in brackets.

Tags are compared without their namespace, so that namespaced and plain files read alike.
"""

import re

from lxml import etree

from bioemb.data.text import collapse
from bioemb.data.xml_stream import unescape, without_line_end

# Their text is no prose; the text after them is.
DROPPED = frozenset(
    """
    table-wrap table-wrap-group table array fig fig-group disp-formula disp-formula-group tex-math graphic
    inline-graphic supplementary-material inline-supplementary-material media fn fn-group alt-text long-desc
    object-id annotation annotation-xml chem-struct-wrap preformat code ref-list ref mixed-citation
    element-citation nlm-citation index-term processing-meta sub-article response def-list glossary
    """.split()  # noqa: SIM905 (a list of quoted words is harder to read)
)
# Where they begin and end, words end.
BLOCKS = frozenset(
    """
    p title label list list-item disp-quote speech statement verse-group break boxed-text sec
    """.split()  # noqa: SIM905 (a list of quoted words is harder to read)
)
SCRIPTS = ("sub", "sup")
BIBLIOGRAPHIC = ("bibr", "ref")
NOTES = ("fn", "table-fn", "aff", "author-notes", "corresp")

# A citation's place is marked \x01number\x02, and \x03 once nothing of it shall stay: XML cannot contain these.
MARK = r"(?:\x01\d+\x02|\x03)"
NUMBERED_MARK = re.compile(r"\x01(\d+)\x02")
BRACKETS = re.compile(rf"\(([^()\[\]]*{MARK}[^()\[\]]*)\)|\[([^()\[\]]*{MARK}[^()\[\]]*)\]")
NAME = r"[A-Z][^\s()\[\],;]{1,40}"
AUTHORS = re.compile(rf"(?<!\w){NAME}(?:\s(?:and|&)\s{NAME}|,?\set\sal\.?)?,?\s*\x01(\d+)\x02")
SEPARATED = re.compile(rf"(?:\s*[,;]\s*)?{MARK}(?:\s*[,;–—−-]?\s*{MARK})*(?=(\s*[,;])?)")
GONE = re.compile(r"(?:,?\s*\b(?:see(?:\salso)?|cf\.?|e\.g\.|ref\.),?){0,3}\s*\x03(?:\s*(?:[,;–—−-]|and|&)?\s*\x03)*")
FILLER = re.compile(
    r"see|also|e\.?g\.?|i\.?e\.?|cf\.?|reviewed|reviews?|in|by|for|and|or|but|as|an?|the|from|refs?\.?|references?"
    r"|therein|others|with|examples?|recent|recently|overview|discussion|details?|detailed|comprehensive|pp?\.?|no\.?",
    re.IGNORECASE,
)
NUMBERS = re.compile(r"[\s\d,;.*†‡a-d()\[\]–—−-]*\Z")
YEARS = re.compile(r"[\s(]*(?:1[89]|20)\d\d[\s,;a-z\d)–-]*\Z")
LEFTOVERS = (  # what the removals leave behind, and what mends it
    (re.compile(r"\s+\(\s*\)|\s*\[\s*\](?=[\s.,;])"), ""),
    (re.compile(r"(?<=[(\[])\s+|(?<=\()[,;]\s*"), ""),
    (re.compile(r"\s+(?=[,;)\]]|\.(?!\d))"), ""),
    (re.compile(r"[,;](?=\s*[,;])"), ""),
    (re.compile(r"(?<=[A-Za-z]\.)\.(?=\s|\Z)"), ""),
)


def local_name(element: etree._Element) -> str:
    """The tag without its namespace; "" for comments, entities and the like."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def prose(element: etree._Element) -> str:
    """The text below an element as one paragraph.

    A bibliographic reference goes with its brackets ("[1,2]", "(Smith, 2003; see also Jones, 2004)"), or
    alone where it is a number set above the line; an author who is part of the sentence stays.
    """
    citations: list[str] = []
    pieces: list[str] = []
    _collect(element, pieces, citations)
    text = collapse(unescape("".join(pieces)))
    if citations:
        text = remove_citations(text, citations)
    for leftover, mended in LEFTOVERS:
        text = leftover.sub(mended, text)
    return text


def remove_citations(text: str, citations: list[str]) -> str:
    """Text without its marked citations: whole brackets of them, and numbers; names outside brackets stay."""

    def shorten(match: re.Match) -> str:
        return _shorten_brackets(match, citations)

    def leave_names(match: re.Match) -> str:
        return "\x03" if NUMBERS.match(citations[int(match[1])]) else match[0]

    text = BRACKETS.sub(shorten, BRACKETS.sub(shorten, text))  # twice: "(see [1])"
    text = GONE.sub("", NUMBERED_MARK.sub(leave_names, text))
    return collapse(NUMBERED_MARK.sub(lambda match: citations[int(match[1])], text))


def _shorten_brackets(match: re.Match, citations: list[str]) -> str:
    """A sign that all of it goes, where brackets hold citations only; else the brackets without their citations."""
    inside = match[1] if match[1] is not None else match[2]
    inside = AUTHORS.sub(lambda name: "\x03" if YEARS.match(citations[int(name[1])]) else name[0], inside)
    words = re.sub(rf"{MARK}|[\d,;:&–—−*/-]", " ", inside).split()
    if all(FILLER.fullmatch(word) or word == "." for word in words):
        return "\x03"
    inside = SEPARATED.sub(lambda found: "" if found[1] else " ", inside).strip(" ,;")
    return f"({inside})" if match[1] is not None else f"[{inside}]"


def _collect(element: etree._Element, pieces: list[str], citations: list[str]) -> None:
    """Append the element's text in order; citations as marks."""
    pieces.append(element.text or "")
    for child in element:
        name = local_name(child)
        if not name:  # an entity that the parser left alone
            pieces.append(child.text or "")
        elif name == "xref":
            _collect_reference(child, pieces, citations)
        elif name == "alternatives":
            _collect_alternative(child, pieces, citations)
        elif name in DROPPED:
            pieces.append(" ")
        elif name == "math":
            start = len(pieces)
            _collect(child, pieces, citations)
            pieces[start:] = [piece for piece in pieces[start:] if not piece.isspace()]
        elif name in BLOCKS:
            pieces.append(" ")
            _collect(child, pieces, citations)
            pieces.append(" ")
        else:
            if name in SCRIPTS:  # indentation split it from what it belongs to
                pieces[-1] = without_line_end(pieces[-1])
            _collect(child, pieces, citations)
        pieces.append(child.tail or "")


def _collect_reference(reference: etree._Element, pieces: list[str], citations: list[str]) -> None:
    kind = reference.get("ref-type", "")
    if kind in NOTES:
        return
    if kind not in BIBLIOGRAPHIC:
        _collect(reference, pieces, citations)
        return
    pieces.append(f"\x01{len(citations)}\x02")
    citations.append(collapse("".join(reference.itertext())))


def _collect_alternative(alternatives: etree._Element, pieces: list[str], citations: list[str]) -> None:
    """One of several forms of the same thing: the one in plain text, else the first that has text."""
    forms = sorted(alternatives, key=lambda form: local_name(form) != "textual-form")
    for form in forms:
        if local_name(form) in DROPPED or not local_name(form):
            continue
        start = len(pieces)
        _collect(form, pieces, citations)
        if "".join(pieces[start:]).strip():
            return
