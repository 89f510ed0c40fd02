"""PMC full texts (JATS) to articles: an <article> alone, in a set or in an OAI answer, in any namespace.

Text is `jats`'s matter, the body `sections`'s, licences `licenses`'s, bytes and hostile input `xml_stream`'s.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from lxml import etree

from bioemb.data.ids import article_id, clean_doi, clean_language, clean_pmcid, clean_pmid
from bioemb.data.jats import local_name, prose
from bioemb.data.licenses import license_name
from bioemb.data.sections import body_sections, is_boilerplate
from bioemb.data.text import collapse, says_retracted, strip_tails
from bioemb.data.xml_stream import stream_records
from bioemb.records import AbstractPart, Article, Dropped

RECORD_TAGS = ("{*}article",)
RECORD_BYTES = 32 << 20  # of the longest article with its tables
CONTAINERS = ("pmc-articleset", "OAI-PMH", "articles")
HREF = "{http://www.w3.org/1999/xlink}href"
LANG = "{http://www.w3.org/XML/1998/namespace}lang"
YEAR = re.compile(r"\s*(1[5-9]\d\d|20\d\d)\s*\Z")

SUMMARIES = ("summary", "plain-language-summary", "author-summary", "executive-summary", "editors-summary", "synopsis")
PUBLICATION_TYPES = {  # article-type -> PubMed's word, where PubMed has one
    "research-article": "Journal Article",
    "review-article": "Review",
    "systematic-review": "Systematic Review",
    "case-report": "Case Reports",
    "letter": "Letter",
    "reply": "Comment",
    "article-commentary": "Comment",
    "editorial": "Editorial",
    "news": "News",
    "correction": "Published Erratum",
    "addendum": "Published Erratum",
    "retraction": "Retraction of Publication",
    "expression-of-concern": "Expression of Concern",
    "retracted-article": "Retracted Publication",
}
LINKS = {  # related-article-type -> PubMed's RefType
    "retracted-article": "RetractionOf",
    "retraction-forward": "RetractionIn",
    "retraction": "RetractionIn",
    "corrected-article": "ErratumFor",
    "correction-forward": "ErratumIn",
    "correction": "ErratumIn",
    "object-of-concern": "ExpressionOfConcernFor",
    "concern-forward": "ExpressionOfConcernIn",
    "commentary-article": "CommentOn",
    "commentary": "CommentIn",
    "letter": "CommentIn",
    "peer-reviewed-article": "CommentOn",
    "republished-article": "RepublishedFrom",
    "update-of": "UpdateOf",
    "updated-article": "UpdateOf",
}
RETRACTIONS = ("retraction-forward", "retraction", "retracted-by")  # said in the retracted article itself


def read_pmc(path: str | Path) -> Iterator[Article | Dropped]:
    """The articles of one PMC file, plain or compressed, in order; one without any identifier as Dropped.

    Raises DataError at a break, after the whole articles before it.
    """
    for element in stream_records(path, RECORD_TAGS, CONTAINERS, RECORD_BYTES):
        yield convert_pmc(element)


def convert_pmc(element: etree._Element) -> Article | Dropped:
    """What one <article> element says; its sub-articles and responses are left out."""
    front = _child(element, "front")
    meta = _child(front, "article-meta")
    if meta is None:
        return Dropped("no article-meta", element.sourceline)
    ids = {item.get("pub-id-type", ""): item.text or "" for item in _children(meta, "article-id")}
    pmid, doi = clean_pmid(ids.get("pmid", "")), clean_doi(ids.get("doi", ""))
    pmcid = clean_pmcid(ids.get("pmcid") or ids.get("pmc") or "")
    name = article_id(pmid, pmcid, doi)
    if not name:
        return Dropped("no identifier", element.sourceline)
    title = _title(meta)
    kind = element.get("article-type", "")
    related = [(item.get("related-article-type", ""), item) for item in _children(meta, "related-article")]
    is_retracted = kind == "retracted-article" or says_retracted(title)
    is_retracted |= kind != "retraction" and any(relation in RETRACTIONS for relation, _ in related)
    language = clean_language(element.get(LANG, "en"))  # the default of the JATS DTD
    body = _child(element, "body")
    return Article(
        source="pmc",
        article_id=name,
        title=title,
        abstract=_abstract(meta, language),
        sections=() if body is None else body_sections(body),
        pmid=pmid,
        pmcid=pmcid,
        doi=doi,
        language=language,
        year=_year(meta),
        journal=_journal(front),
        publication_types=(PUBLICATION_TYPES.get(kind, kind),) if kind else (),
        links=_links(related),
        summary=_summary(meta),
        license=_license(meta),
        flags=frozenset({"retracted"} if is_retracted else ()),
    )


def _children(parent: etree._Element | None, *names: str) -> Iterator[etree._Element]:
    return (child for child in (() if parent is None else parent) if local_name(child) in names)


def _child(parent: etree._Element | None, name: str) -> etree._Element | None:
    return next(_children(parent, name), None)


def _title(meta: etree._Element) -> str:
    group = _child(meta, "title-group")
    title = _child(group, "article-title")
    whole = "" if title is None else prose(title)
    for subtitle in _children(group, "subtitle"):
        more = prose(subtitle)
        whole = (
            f"{whole.rstrip(':')}{'' if whole.endswith(('?', '!', '.')) else ':'} {more}"
            if whole and more
            else whole or more
        )
    return whole


def _abstract(meta: etree._Element, language: str) -> tuple[AbstractPart, ...]:
    """The untyped abstract in the article's language; graphical ones, key points and tables of contents are none."""
    untyped = [item for item in _children(meta, "abstract") if not item.get("abstract-type")]
    if not untyped:
        return ()
    alike = [item for item in untyped if clean_language(item.get(LANG, language)) == language]
    parts = list(_abstract_parts((alike or untyped)[0], ""))
    if parts:
        parts[-1] = AbstractPart(parts[-1].label, strip_tails(parts[-1].text)[0])
    return tuple(part for part in parts if part.text)


def _abstract_parts(element: etree._Element, label: str) -> Iterator[AbstractPart]:
    text = collapse(" ".join(prose(item) for item in _children(element, "p", "list", "disp-quote")))
    if text:
        yield AbstractPart(label, text)
    for section in _children(element, "sec"):
        title = _child(section, "title")
        heading = label if title is None else prose(title).rstrip(" .:")
        if not is_boilerplate(heading, section.get("sec-type", "")):
            yield from _abstract_parts(section, heading)


def _summary(meta: etree._Element) -> str:
    """The first abstract written for laypeople."""
    for item in _children(meta, "abstract"):
        if item.get("abstract-type", "") in SUMMARIES:
            return " ".join(part.text for part in _abstract_parts(item, ""))
    return ""


def _year(meta: etree._Element) -> int | None:
    """The year of the first publication, on paper or before."""
    years = [child.text or "" for date in _children(meta, "pub-date") for child in _children(date, "year")]
    return min((int(match[1]) for year in years if (match := YEAR.match(year))), default=None)


def _journal(front: etree._Element | None) -> str:
    meta = _child(front, "journal-meta")
    for parent in (meta, _child(meta, "journal-title-group")):
        title = _child(parent, "journal-title")
        if title is not None:
            return prose(title)
    return ""


def _links(related: list[tuple[str, etree._Element]]) -> tuple[tuple[str, int], ...]:
    found = []
    for relation, item in related:
        pmid = clean_pmid(item.get(HREF, "")) if item.get("ext-link-type") in ("pmid", "pubmed") else None
        if pmid is not None:
            found.append((LINKS.get(relation, relation), pmid))
    return tuple(found)


def _license(meta: etree._Element) -> str:
    """By the licence's addresses, then its words, then the copyright statement's, where old files hold it."""
    addresses, words = [], []
    permissions = _child(meta, "permissions")
    for item in _children(permissions, "license"):
        addresses.append(item.get(HREF, ""))
        for inner in item.iter(etree.Element):
            addresses += [inner.get(HREF, ""), (inner.text or "") if local_name(inner) == "license_ref" else ""]
        words += [collapse("".join(item.itertext())), item.get("license-type", "")]
    for parent in (permissions, meta):
        words += [collapse("".join(item.itertext())) for item in _children(parent, "copyright-statement")]
    return license_name(*addresses, *words)
