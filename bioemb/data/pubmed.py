"""PubMed XML to articles, streamed: every root that occurs, books and deletions too, odd records as they are.

Bytes and hostile input are `xml_stream`'s matter, the wording of titles and abstracts is `text`'s.
"""

import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from lxml import etree

from bioemb.data.ids import article_id, clean_doi, clean_language, clean_pmcid, clean_pmid
from bioemb.data.terms import read_terms
from bioemb.data.text import clean_title, collapse, says_retracted, strip_tails
from bioemb.data.xml_stream import plain_text, stream_records
from bioemb.records import AbstractPart, Article, Deletion, Dropped

RECORD_TAGS = (
    *("PubmedArticle", "MedlineCitation", "PubmedBookArticle", "BookDocument"),
    *("DeleteCitation", "DeleteDocument"),
)
RECORD_BYTES = 16 << 20  # of the longest record; thousands of authors take 5 MB
CONTAINERS = ("PubmedArticleSet", "MedlineCitationSet", "PubmedBookArticleSet", "BookDocumentSet")
NO_LABELS = ("UNASSIGNED", "UNLABELLED")
NOT_ABSTRACT = (  # labels of parts that say the same of every article: the review, the place of the supplement
    *("EDITORIAL NOTE", "ELECTRONIC SUPPLEMENTARY MATERIAL", "SUPPLEMENTARY INFORMATION", "SUPPLEMENTARY MATERIAL"),
    *("SUPPLEMENTARY DATA", "SUPPLEMENTARY MATERIALS", "SUPPLEMENTAL MATERIAL", "CONTACT"),
)
REFERENCES = "Cites"  # files before 2016 list the references among the comments and corrections
RETRACTED = "Retracted Publication"
YEAR = re.compile(r"\b(1[5-9]\d\d|20\d\d)\b")

Children = dict[str, etree._Element]  # tag -> the first child with it


def read_pubmed(path: str | Path) -> Iterator[Article | Deletion | Dropped]:
    """The records of one PubMed file, plain or compressed, in order; memory does not grow with the file.

    A book comes as an article with the flag "book", DeleteCitation as one Deletion for each PMID, a record
    that cannot be named as Dropped. Raises DataError at a break, after the whole records before it.
    """
    for element in stream_records(path, RECORD_TAGS, CONTAINERS, RECORD_BYTES):
        yield from convert_pubmed(element)


def convert_pubmed(element: etree._Element) -> Iterator[Article | Deletion | Dropped]:
    """What one element with a tag of RECORD_TAGS says."""
    tag, line = element.tag, element.sourceline
    if tag.startswith("Delete"):
        for pmid in element.iterchildren("PMID"):
            number = clean_pmid(pmid.text or "")
            yield Deletion(number) if number is not None else Dropped("deletion without a PMID", line)
        return
    convert, core_tag = (_article, "MedlineCitation") if "Book" not in tag else (_book, "BookDocument")
    core = element if tag == core_tag else next(element.iterchildren(core_tag), None)
    if core is None:
        yield Dropped(f"no {core_tag}", line)
        return
    article = convert(core, element)
    yield article if article.article_id else Dropped("no identifier", line)


def _article(citation: etree._Element, record: etree._Element) -> Article:
    outer = _children(citation)
    inner = _children(outer.get("Article"))
    ids = _listed_ids(record, "PubmedData")
    pmid_element = outer.get("PMID")
    pmid = None if pmid_element is None else clean_pmid(pmid_element.text or "")
    doi = clean_doi(ids.get("doi", "")) or _location_doi(inner)
    pmcid = clean_pmcid(ids.get("pmc", ""))
    journal = _children(inner.get("Journal"))
    types = _texts(inner.get("PublicationTypeList"), "PublicationType")
    links = _links(outer.get("CommentsCorrectionsList"))
    raw_title = _text(inner.get("ArticleTitle"))
    title = clean_title(raw_title)
    abstract, is_truncated = _abstract(inner.get("Abstract"))
    is_retracted = RETRACTED in types or any(kind == "RetractionIn" for kind, _ in links) or says_retracted(raw_title)
    return Article(
        source="pubmed",
        article_id=article_id(pmid, pmcid, doi),
        title=title.text,
        abstract=abstract,
        pmid=pmid,
        pmcid=pmcid,
        doi=doi,
        version=1 if pmid_element is None else clean_pmid(pmid_element.get("Version", "1")) or 1,
        language=_language(inner.get("Language")),
        year=_year(journal.get("JournalIssue"), "PubDate"),
        revised=_day(outer.get("DateRevised")),
        journal=_text(journal.get("Title")),
        publication_types=types,
        links=links,
        vernacular_title=_text(inner.get("VernacularTitle")),
        summary=_summary(outer.get("OtherAbstract")),
        terms=read_terms(citation),
        flags=_flags(translated_title=title.is_translated, truncated=is_truncated, retracted=is_retracted),
    )


def _book(document: etree._Element, record: etree._Element) -> Article:
    inner = _children(document)
    book = inner.get("Book")
    ids = _listed_ids(record, "PubmedBookData") | _listed_ids(document)
    pmid = clean_pmid(_text(inner.get("PMID")))
    doi, pmcid = clean_doi(ids.get("doi", "")), clean_pmcid(ids.get("pmc", ""))
    title = clean_title(_text(inner.get("ArticleTitle")) or _text(_children(book).get("BookTitle")))
    abstract, is_truncated = _abstract(inner.get("Abstract"))
    return Article(
        source="pubmed",
        article_id=article_id(pmid, pmcid, doi),
        title=title.text,
        abstract=abstract,
        pmid=pmid,
        pmcid=pmcid,
        doi=doi,
        language=_language(inner.get("Language")),
        year=_year(document, "ContributionDate") or _year(book, "PubDate"),
        journal=_text(_children(book).get("BookTitle")),
        publication_types=tuple(plain_text(element) for element in document.iterchildren("PublicationType")),
        vernacular_title=_text(inner.get("VernacularTitle")),
        flags=_flags(book=True, translated_title=title.is_translated, truncated=is_truncated),
    )


def _children(element: etree._Element | None) -> Children:
    """The first child of each tag; one pass is cheaper than a search for each."""
    found: Children = {}
    for child in () if element is None else element:
        found.setdefault(child.tag, child)
    return found


def _text(element: etree._Element | None) -> str:
    return "" if element is None else plain_text(element)


def _texts(parent: etree._Element | None, tag: str) -> tuple[str, ...]:
    if parent is None:
        return ()
    return tuple(text for element in parent.iterchildren(tag) if (text := collapse(element.text or "")))


def _flags(**statements: bool) -> frozenset[str]:
    return frozenset(name for name, is_true in statements.items() if is_true)


def _abstract(element: etree._Element | None) -> tuple[tuple[AbstractPart, ...], bool]:
    """The parts that have text, without the tails that are not the authors', and whether NLM cut it short."""
    if element is None:
        return (), False
    parts = [(_label(part), plain_text(part)) for part in element.iterchildren("AbstractText")]
    parts = [(label, text) for label, text in parts if text and label.upper() not in NOT_ABSTRACT]
    is_truncated = False
    if parts:
        label, text = parts[-1]
        text, is_truncated = strip_tails(text)
        parts[-1] = (label, text)
    return tuple(AbstractPart(label, text) for label, text in parts if text), is_truncated


def _label(part: etree._Element) -> str:
    label = collapse(part.get("Label", ""))
    return "" if label.upper() in NO_LABELS else label


def _summary(other: etree._Element | None) -> str:
    """OtherAbstract in plain English; translations of the abstract are left out."""
    while other is not None and other.tag == "OtherAbstract":
        if other.get("Type") == "plain-language-summary" and clean_language(other.get("Language", "eng")) == "eng":
            return " ".join(filter(None, (plain_text(part) for part in other.iterchildren("AbstractText"))))
        other = other.getnext()
    return ""


def _language(element: etree._Element | None) -> str:
    """The first language, lower case; English where it is one of several."""
    first = ""
    while element is not None and element.tag == "Language":
        code = clean_language(element.text or "")
        first = first or code
        if code == "eng":
            return code
        element = element.getnext()
    return first


def _year(parent: etree._Element | None, tag: str) -> int | None:
    """Year or MedlineDate of a date, None when there is none that can be: 0 and 3276 occur."""
    holder = None if parent is None else next(parent.iterchildren(tag), None)
    for part in () if holder is None else holder.iterchildren("Year", "MedlineDate"):
        match = YEAR.search(part.text or "")
        if match:
            return int(match[1])
    return None


def _day(element: etree._Element | None) -> str:
    """A date as "2026-01-15"; "" when there is none that can be."""
    parts = _children(element)
    try:
        return date(*(int(parts[tag].text or "") for tag in ("Year", "Month", "Day"))).isoformat()
    except (KeyError, ValueError, OverflowError):
        return ""


def _listed_ids(parent: etree._Element, within: str | None = None) -> dict[str, str]:
    """ArticleIdList of a record: its own, never those of its references."""
    holder = parent if within is None else next(parent.iterchildren(within), None)
    listed = None if holder is None else next(holder.iterchildren("ArticleIdList"), None)
    return {} if listed is None else {item.get("IdType", ""): item.text or "" for item in listed}


def _location_doi(inner: Children) -> str:
    location = inner.get("ELocationID")
    while location is not None and location.tag == "ELocationID":
        if location.get("EIdType") == "doi" and location.get("ValidYN", "Y") == "Y":
            return clean_doi(location.text or "")
        location = location.getnext()
    return ""


def _links(corrections: etree._Element | None) -> tuple[tuple[str, int], ...]:
    """(RefType, PMID) of comments, errata, retractions, republications, updates."""
    found = []
    for link in () if corrections is None else corrections.iterchildren("CommentsCorrections"):
        kind = link.get("RefType", "")
        element = next(link.iterchildren("PMID"), None) if kind != REFERENCES else None
        pmid = None if element is None else clean_pmid(element.text or "")
        if pmid is not None:
            found.append((kind, pmid))
    return tuple(found)
