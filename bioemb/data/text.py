"""Pure functions on strings: whitespace, copyright and truncation tails, titles, sentences. No XML, no records."""

import re
from typing import NamedTuple

INVISIBLE = "\u00ad\u200b\u200e\u200f\u2060\ufeff"  # soft hyphen, zero-width space, marks of direction, word joiner

# Looked for in the last TAIL characters only, and only where a sentence begins.
TAIL = 400
COPYRIGHT = re.compile(
    r"""(?: ^ | (?<=[.!?)\]"”%;])\s* | (?<=\s[.;])\s* | \s*(?=(?:copyright\s*)?©\s*\d{4}\.?\s(?-i:[A-Z])) ) \(?
    (?: (?:copyright\s*)?(?:©|&copy;)\s*(?:copyright\s*)?(?:\d{4}|by\s|the\ author|(?-i:[A-Z]))
      | copyright\s*\(c\)\s*\d{4}
      | \(c\)\s*(?:19|20)\d\d\s+(?:by\s|the\s|(?-i:[A-Z]))
      | copyright\s*(?:by\s)?\d{4}\b
      | copyright\s(?:of\s)?the\ authors?\b
      | this\ article\ is\ protected\ by\ copyright
      | all\ rights\ (?:are\ )?reserved
      | published\ by\ elsevier\b
      | psyc\s?info\ database\ record\ \(
    ).*\Z""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
COPYRIGHT_HINTS = ("©", "opyright", "OPYRIGHT", "ights reserved", "(c)", "(C)", "Published by Elsevier")
DOI = re.compile(r"\s?\bDOI:\s*(?:https?://\S+|10\.\S+)\s*\Z", re.IGNORECASE)
TRUNCATED = re.compile(r"\s*\(ABSTRACT TRUNCATED[^()]*\)\s*\Z")

TRANSLATOR = re.compile(r"\s?\((?:author'?s'? )?transl\.?\)", re.IGNORECASE)
CORRECTED = re.compile(r"\s?\[corrected\]", re.IGNORECASE)
NO_TITLE = {"not available", "in process citation", "no title", "no title available", "title not available", "untitled"}

NOTICE_TITLE = re.compile(
    r"""\W*(?:
        (?:publisher|author|editorial|editor)'?s?\s+(?:correction|note)s?\b
      | correction(?:\s+(?:to|for))?\s*: | corrections\s*\Z | correction\.?\s*\Z
      | (?:erratum|errata|corrigend(?:um|a)|addendum)\b
      | retraction(?:\s+(?:note|notice))?(?:\s+(?:to|for|of))?\s*: | (?:notice\s+of\s+)?retraction\.?\s*\Z
      | retraction\s+(?:note|notice)\b | notice\s+of\s+retraction\b | statement\s+of\s+retraction\b
      | withdrawal\s*: | withdrawal\s+notice\b
      | (?:editorial\s+)?expressions?\s+of\s+concern\b
      | repl(?:y|ies)\s+to\b | (?:authors?'?s?'?\s+)?(?:reply|response)\s*[:.]?\s*\Z
      | (?:response|reply|comment|commentary)(?:\s+(?:to|on))?\s*:
      | comment\s+on\s+["“'‘]
      | this\s+corrects\s+the\s+article\b
    )""",
    re.IGNORECASE | re.VERBOSE,
)
RETRACTED_TITLE = re.compile(r"\W*(?:retracted|withdrawn)(?:\s+article)?\s*[:\].—–-]", re.IGNORECASE)
NOTICE_ABSTRACT = re.compile(r"\W*this (?:corrects|retracts|article corrects|article retracts)\b", re.IGNORECASE)

SENTENCE_END = re.compile(r"""[.!?][)\]"”’']*\s+(?=["“(\[]*[A-Z0-9Α-Ω])""")
ABBREVIATIONS = frozenset(
    """
    al approx ca cf dr eds etc ed eg e.g ie i.e fig figs eq eqs ref refs resp mr mrs ms no nos prof sect sp spp
    ssp st subsp suppl tab var viz vol vs inc ltd co corp univ dept temp conc max min sec
    """.split()  # noqa: SIM905 (a list of quoted words is harder to read)
)


class Title(NamedTuple):
    """A title without NLM's brackets and notes; `is_translated` where NLM translated it into English."""

    text: str
    is_translated: bool


def collapse(text: str) -> str:
    """Text with every run of white space, of any Unicode kind, as one space, and without invisible characters."""
    if text.isprintable() and "  " not in text:  # no white space but single spaces: quicker than to split
        return text.strip()
    if not text.isascii():
        for character in INVISIBLE:
            text = text.replace(character, "")
    return " ".join(text.split())


def count_words(text: str) -> int:
    """Number of words as white space parts them."""
    return len(text.split())


def strip_copyright(text: str) -> str:
    """Text without a copyright notice at its end; the same words elsewhere stay."""
    tail = text[-TAIL:]
    if not any(hint in tail for hint in COPYRIGHT_HINTS):
        return text
    match = COPYRIGHT.search(tail)
    if match is None or (match.start() == 0 and len(text) > TAIL):
        return text
    return text[: len(text) - len(tail) + match.start()].rstrip()


def strip_doi(text: str) -> str:
    """Text without the address of its own that eLife puts at the end ("DOI: http://dx.doi.org/10.7554/...")."""
    return DOI.sub("", text) if "10." in text[-60:] else text


def strip_truncation(text: str) -> tuple[str, bool]:
    """Text without "(ABSTRACT TRUNCATED AT 250 WORDS)" at its end, and whether it was there."""
    if "TRUNCATED" not in text[-60:]:
        return text, False
    whole = TRUNCATED.sub("", text)
    return whole, whole != text


def strip_tails(text: str) -> tuple[str, bool]:
    """An abstract's last text without all of these tails, and whether it was truncated."""
    return strip_truncation(strip_doi(strip_copyright(text)))


def clean_title(title: str) -> Title:
    """A collapsed title without the brackets of a translation, "(author's transl)", "[corrected]"; "" for no title."""
    if "[" not in title and "transl" not in title:
        return Title("" if title.rstrip(".").lower() in NO_TITLE else title, False)
    inner = title.rstrip(" .")
    is_translated = _is_bracketed(inner)
    if is_translated:
        inner = inner[1:-1].strip()
        if inner.rstrip(" .").lower() in NO_TITLE:
            return Title("", False)
        title = inner if inner.endswith((".", "?", "!")) or not title.endswith(".") else inner + "."
    return Title(CORRECTED.sub("", TRANSLATOR.sub("", title)).strip(), is_translated)


def is_notice(title: str, abstract: str = "") -> bool:
    """Whether a title or abstract announces a correction, retraction or reply instead of telling research."""
    return NOTICE_TITLE.match(title) is not None or NOTICE_ABSTRACT.match(abstract) is not None


def says_retracted(title: str) -> bool:
    """Whether a title is marked as that of a retracted or withdrawn article ("RETRACTED: ...")."""
    return RETRACTED_TITLE.match(title) is not None


def split_sentences(text: str) -> list[str]:
    """Sentences whose text, joined by one space, is the text again; careful with abbreviations and initials."""
    sentences, start = [], 0
    for match in SENTENCE_END.finditer(text):
        word = text[max(start, match.start() - 20) : match.start()].rpartition(" ")[2].lstrip("([\"“'")
        is_initial = len(word) == 1 and word.isupper() and text[match.start()] == "."
        if text[match.start()] == "." and (is_initial or word.lower() in ABBREVIATIONS):
            continue
        sentences.append(text[start : match.end()].rstrip())
        start = match.end()
    return [*sentences, text[start:]] if start < len(text) else sentences


def _is_bracketed(text: str) -> bool:
    """Whether the bracket that opens the text is closed by its last character."""
    if not (text.startswith("[") and text.endswith("]")):
        return False
    depth = 0
    for position, character in enumerate(text):
        depth += (character == "[") - (character == "]")
        if depth == 0:
            return position == len(text) - 1
    return False
