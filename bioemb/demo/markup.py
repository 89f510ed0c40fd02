"""Generated records as PubMed's XML and PMC's JATS: strings only, no files."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from xml.sax.saxutils import escape

from bioemb.records import AbstractPart, Article

LABEL = "Generated for a demonstration; no article, person, disease, drug or gene in this file exists."
PUBMED_HEAD = f"""<?xml version="1.0" encoding="utf-8"?>
<!-- {LABEL} -->
<!DOCTYPE PubmedArticleSet PUBLIC "-//NLM//DTD PubMedArticle, 1st January 2025//EN" \
"https://dtd.nlm.nih.gov/ncbi/pubmed/out/pubmed_250101.dtd">
<PubmedArticleSet>
"""
PUBMED_TAIL = "</PubmedArticleSet>\n"
SECTION_TYPES = {"Introduction": "intro", "Methods": "methods", "Results": "results", "Discussion": "discussion"}


@dataclass(frozen=True)
class Style:
    """How a record's text is dressed; the text itself does not change."""

    italic: tuple[str, ...] = ()  # names that stand in <i>
    structured: bool = False  # the abstract's parts with their labels, instead of one text
    subscripts: bool = False  # CO<sub>2</sub> and 10<sup>-9</sup>


def pubmed_record(article: Article, style: Style) -> str:
    """One `PubmedArticle`, its elements in the DTD's order."""
    title, vernacular = dress(article.title, style), ""
    if article.vernacular_title:
        title = f"[{title.removesuffix('.')}]."
        vernacular = f"\n        <VernacularTitle>{escape(article.vernacular_title)}</VernacularTitle>"
    return f"""<PubmedArticle>
  <MedlineCitation Status="MEDLINE" Owner="NLM">
    <PMID Version="1">{article.pmid}</PMID>
    <Article PubModel="Print">
      <Journal>
        <JournalIssue CitedMedium="Internet">
          <PubDate><Year>{article.year}</Year></PubDate>
        </JournalIssue>
        <Title>{escape(article.journal)}</Title>
      </Journal>
      <ArticleTitle>{title}</ArticleTitle>
      <ELocationID EIdType="pii">generated-{article.pmid}</ELocationID>{_abstract(article.abstract, style)}
      <Language>{article.language}</Language>
      <PublicationTypeList>{_publication_types(article.publication_types)}</PublicationTypeList>{vernacular}
    </Article>
    <MedlineJournalInfo>
      <MedlineTA>{escape(article.journal)}</MedlineTA>
    </MedlineJournalInfo>{_links(article.links)}
  </MedlineCitation>
  <PubmedData>
    <PublicationStatus>ppublish</PublicationStatus>
    <ArticleIdList><ArticleId IdType="pubmed">{article.pmid}</ArticleId></ArticleIdList>
  </PubmedData>
</PubmedArticle>
"""


def jats_article(article: Article, style: Style) -> str:
    """A whole JATS file: front, body with citations and a table, references."""
    parts = "".join(f"<p>{dress(part.text, style, 'italic')}</p>" for part in article.abstract)
    sections = "\n".join(_section(section.path[0], section.paragraphs, style) for section in article.sections)
    return f"""<?xml version="1.0" encoding="utf-8"?>
<!-- {LABEL} -->
<article article-type="research-article" xml:lang="en">
<front>
<journal-meta><journal-title-group><journal-title>{escape(article.journal)}</journal-title></journal-title-group>\
</journal-meta>
<article-meta>
<article-id pub-id-type="pmc">{article.pmcid.removeprefix("PMC")}</article-id>
<article-id pub-id-type="pmid">{article.pmid}</article-id>
<title-group><article-title>{dress(article.title.removesuffix("."), style, "italic")}</article-title></title-group>
<pub-date pub-type="epub"><year>{article.year}</year></pub-date>
<abstract>{parts}</abstract>
</article-meta>
</front>
<body>
{sections}
</body>
<back>
<ack><p>This text was generated; nobody is thanked.</p></ack>
<ref-list><ref id="r1"><mixed-citation>A generated reference.</mixed-citation></ref></ref-list>
</back>
</article>
"""


def dress(text: str, style: Style, italic_tag: str = "i") -> str:
    """The text escaped, with inline markup; its plain text (all descendant text) stays what it was."""
    text = escape(text)
    for name in style.italic:
        text = re.sub(rf"\b{re.escape(escape(name))}\b", rf"<{italic_tag}>\g<0></{italic_tag}>", text)
    if style.subscripts:
        text = re.sub(r"\bCO2\b", "CO<sub>2</sub>", text)
        text = re.sub(r"\b10(-\d)\b", r"10<sup>\1</sup>", text)
    return text


def _abstract(parts: tuple[AbstractPart, ...], style: Style) -> str:
    if not parts:
        return ""
    if style.structured:
        texts = "".join(
            f'\n        <AbstractText Label="{part.label}" NlmCategory="{part.label}">'
            f"{dress(part.text, style)}</AbstractText>"
            for part in parts
        )
    else:
        texts = f"\n        <AbstractText>{dress(' '.join(part.text for part in parts), style)}</AbstractText>"
    return f"\n      <Abstract>{texts}\n      </Abstract>"


def _publication_types(types: Iterable[str]) -> str:
    return "".join(f'<PublicationType UI="">{escape(name)}</PublicationType>' for name in types)


def _links(links: Iterable[tuple[str, int]]) -> str:
    entries = "".join(
        f'<CommentsCorrections RefType="{kind}"><RefSource>Generated record {pmid}</RefSource>'
        f'<PMID Version="1">{pmid}</PMID></CommentsCorrections>'
        for kind, pmid in links
    )
    return f"\n    <CommentsCorrectionsList>{entries}</CommentsCorrectionsList>" if entries else ""


def _section(heading: str, paragraphs: tuple[str, ...], style: Style) -> str:
    cited = ' <xref ref-type="bibr" rid="r1">[1]</xref>'
    texts = "\n".join(f"<p>{dress(text, style, 'italic')}{cited}</p>" for text in paragraphs)
    table = ""
    if heading == "Results":
        table = (
            "\n<table-wrap><caption><p>Generated values.</p></caption><table><tr><td>1</td></tr></table></table-wrap>"
        )
    return f'<sec sec-type="{SECTION_TYPES[heading]}">\n<title>{heading}</title>\n{texts}{table}\n</sec>'
