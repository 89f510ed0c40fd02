"""The body of a JATS article as sections: headings' path, kind, paragraphs; boilerplate left out."""

import re
from collections.abc import Iterator
from dataclasses import replace

from lxml import etree

from bioemb.data.jats import local_name, prose
from bioemb.records import Section

SECTIONS = ("sec", "boxed-text", "taxon-treatment", "treatment-sec", "app")
PARAGRAPHS = ("p", "list", "disp-quote", "speech", "statement", "verse-group")

HEADING = 200  # characters of a heading that are looked at
NUMBERING = re.compile(r"(?:\d+(?:\.\d+)*\.?|[IVX]+\.|[A-Z]\.|\(?[a-z\d]\))\s+(?=\w)")
KINDS = {  # how a heading begins -> the kind; of several the first
    "CASE": r"""case\ (?:report|presentation|description|histor|stud|series)|cases?\W*\Z
        | clinical\ (?:presentation|case)""",
    "METHODS": r"""(?:\w+\ )?(?:materials?|patients|subjects|participants|animals|data)\b.*\bmethod
        | (?:materials?|methods?|methodology|procedures?|participants|protocols?)(?:\W|\Z)
        | experimental(?:\W*\Z|\ (?:procedures?|section|design|methods?))
        | (?:study|research|trial)\ (?:design|population|protocol|sample)|statistic|star\ ?methods|online\ methods
        | search\ strategy|data\ (?:collection|analysis|sources?)\b""",
    "INTRO": r"introduction|background|objectives?\b|aims?\b|purpose\b|rationale\b|motivation\b",
    "RESULTS": r"results?\b|(?:main\ |key\ |principal\ )?findings\b|outcomes?\W*\Z",
    "DISCUSS": r"discussion|general\ discussion|comments?\W*\Z|(?:strengths\ and\ )?limitations",
    "CONCL": r"""(?:general\ )?conclu|(?:final|closing)\ remarks|summary\W*\Z|perspectives?\b
        | future\ (?:direction|perspect|work)""",
}
HEADINGS = {kind: re.compile(pattern, re.IGNORECASE | re.VERBOSE) for kind, pattern in KINDS.items()}
TYPES = (  # the beginning of one of sec-type's words -> the kind
    *(("intro", "INTRO"), ("background", "INTRO"), ("material", "METHODS"), ("method", "METHODS")),
    *(("subjects", "METHODS"), ("result", "RESULTS"), ("discussion", "DISCUSS"), ("conclusion", "CONCL")),
    *(("case", "CASE"),),
)
BOILERPLATE_TYPES = re.compile(
    r"supplement|display-objects|additional-information|data-?\s?availability|coi|conflict|competing|appendix|datasets"
    r"|version-changes|ack|funding|author|abbreviation|ethics|disclosure|open-?access|financial|floats?-group",
    re.IGNORECASE,
)
BOILERPLATE = re.compile(  # of the whole heading: "Funding", not "Funding of hospitals"
    r"""(?:(?:declaration|statement|disclosure)s?\ (?:of|on)\ )?(?:
        (?:potential\ |financial\ |authors?['’]?s?\ )?(?:competing|conflict(?:s|ing)?(?:\ of)?)
            \ (?:financial\ )?interests?(?:\ \w+)?
      | (?:authors?['’]?s?\ )(?:contribution|information|detail|note|statement|disclosure|agreement)s?(?:\ .*)?
      | contributors? | contributions | contributorship(?:\ statement)? | disclosures?(?:\ statements?)? | disclaimers?
      | (?:sources?\ of\ )?(?:funding|financial\ support|financial\ disclosures?|support|grants?)
            (?:\ (?:sources?|statement|information|support))?
      | role\ of\ (?:the\ )?(?:funding|funders?|sponsors?)(?:\ .*)? | acknowledge?ments?(?:\ .*)?
      | (?:electronic\ |online\ )*(?:supplement(?:al|ary)|supporting|additional|extended)(?:\ online)?
            \ (?:materials?|data|information|files?|figures?|tables?|methods|notes?|text|appendi(?:x|ces)|content)
            (?:\ \w+)?
      | (?:pre-?)?publication\ history | open\ peer\ review | peer\ review(?:\ .*)? | provenance\ and\ peer\ review
      | (?:list\ of\ )?(?:non-?standard\ )?abbreviations?(?:\ (?:used|list|and\ .*))? | glossary | nomenclature
      | key\ ?words?
      | accession\ (?:number|code)s?(?:\ .*)?
      | (?:data|code|software|materials?|resource)(?:(?:,|\ and)?\ \w+)*\ (?:availability|accessibility)
            (?:\ statement)?
      | data\ (?:deposition|sharing)(?:\ statement)?
      | availability(?:\ and\ requirements|\ of\ (?:\w+\ )?(?:data|code|software|materials?)(?:\ .*)?)?
      | ethic(?:s|al)\ (?:statements?|approvals?|considerations?|declarations?|committee|standards?|compliance)(?:\ .*)?
      | ethics | (?:informed\ )?consent(?:\ (?:for\ publication|to\ participate|statement)(?:\ .*)?)?
      | figures?\ and\ tables? | references? | literature\ cited | bibliography | further\ reading
      | appendi(?:x|ces)(?:(?:\ \w{1,3}\b|[.:]).*)? | trial\ registration(?:\ .*)? | publisher['’]?s\ note
      | editors?['’]?s?\ (?:note|summary) | open\ access | citation | copyright(?:\ .*)? | footnotes?
      | web\ ?(?:site|resource)s?
    )""",
    re.IGNORECASE | re.VERBOSE,
)


def body_sections(body: etree._Element) -> tuple[Section, ...]:
    """Sections with text, in the order of their headings; paragraphs outside every section have the path ().

    Such paragraphs are the introduction where results or a discussion follow under headings.
    """
    sections = list(_walk(body, (), ""))
    if sections and not sections[0].path and {"RESULTS", "DISCUSS"} & {section.kind for section in sections}:
        sections[0] = replace(sections[0], kind="INTRO")
    return tuple(sections)


def section_kind(heading: str, sec_type: str = "") -> str:
    """INTRO, METHODS, RESULTS, DISCUSS, CONCL or CASE by the heading, else by `sec-type`; "OTHER" for the rest.

    The heading comes first: publishers call a section "Discussion" and type it "conclusions".
    """
    heading = _without_number(heading)
    for kind, pattern in HEADINGS.items():
        if pattern.match(heading):
            return kind
    words = re.split(r"[|\s]+", sec_type.lower())
    return next((kind for word in words for beginning, kind in TYPES if word.startswith(beginning)), "OTHER")


def is_boilerplate(heading: str, sec_type: str = "") -> bool:
    """Whether a section is about the article instead of its subject: interests, funding, supplements, ..."""
    whole = _without_number(heading).rstrip(" .:")
    return BOILERPLATE.fullmatch(whole) is not None or BOILERPLATE_TYPES.match(sec_type.strip()) is not None


def _without_number(heading: str) -> str:
    heading = heading.strip()[:HEADING]
    match = NUMBERING.match(heading)
    return heading[match.end() :] if match else heading


def _walk(parent: etree._Element, path: tuple[str, ...], kind: str) -> Iterator[Section]:
    """The parent's own paragraphs as one section, then the sections in it; `kind` is that of an outer section."""
    paragraphs = (prose(child) for child in parent if local_name(child) in PARAGRAPHS)
    own = tuple(text for text in paragraphs if text)
    if own:
        yield Section(path, kind or "OTHER", own)
    for child in parent:
        if local_name(child) not in SECTIONS:
            continue
        heading, sec_type = _heading(child), child.get("sec-type", "")
        if is_boilerplate(heading, sec_type):
            continue
        found = section_kind(heading, sec_type)
        yield from _walk(child, (*path, heading) if heading else path, kind or (found if found != "OTHER" else ""))


def _heading(section: etree._Element) -> str:
    for child in section:
        if local_name(child) == "title":
            return prose(child)
        if local_name(child) == "caption":  # of a boxed text
            return next((prose(title) for title in child if local_name(title) == "title"), "")
    return ""
