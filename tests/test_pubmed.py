"""PubMed records: each oddity on a record written here and, where real data has it, on the real record by PMID."""

import functools
import gzip
import json
import re
from pathlib import Path

import pytest

from bioemb.data.pubmed import RECORD_TAGS, read_pubmed
from bioemb.data.xml_stream import stream_records
from bioemb.errors import DataError
from bioemb.records import AbstractPart, Article, Deletion, Dropped


def citation(article: str = "", outside: str = "", pmid: str = '<PMID Version="1">7</PMID>') -> str:
    return f"<MedlineCitation>{pmid}<Article>{article}</Article>{outside}</MedlineCitation>"


def read(tmp_path: Path, content: str) -> list:
    path = tmp_path / "records.xml"
    path.write_text(content, encoding="utf-8")
    return list(read_pubmed(path))


def read_one(tmp_path: Path, article: str, outside: str = "", data: str = "") -> Article:
    record = f"<PubmedArticle>{citation(article, outside)}<PubmedData>{data}</PubmedData></PubmedArticle>"
    (only,) = read(tmp_path, f"<PubmedArticleSet>{record}</PubmedArticleSet>")
    return only


def abstract_of(tmp_path: Path, parts: str) -> tuple[AbstractPart, ...]:
    return read_one(tmp_path, f"<Abstract>{parts}</Abstract>").abstract


def title_of(tmp_path: Path, title: str) -> str:
    return read_one(tmp_path, f"<ArticleTitle>{title}</ArticleTitle>").title


# ---- text


def test_text_in_and_after_markup_is_kept(tmp_path: Path):
    title = "<b>H<sub>2</sub></b>O and <i>E. <u>coli</u></i> at 10<sup>-3</sup> M, P&lt;0.001 &amp; n&gt;5."
    assert title_of(tmp_path, title) == "H2O and E. coli at 10-3 M, P<0.001 & n>5."


def test_text_escaped_twice_is_read_as_meant(tmp_path: Path):
    assert title_of(tmp_path, "p &amp;lt; 0.05, R&amp;amp;D, R&amp;D;x &amp;alpha;") == "p < 0.05, R&D, R&D;x α"


def test_comments_and_instructions_are_no_text(tmp_path: Path):
    assert title_of(tmp_path, "Otters <!-- seals -->swim<?page 3?> far") == "Otters swim far"


def test_indentation_does_not_split_a_subscript_from_its_letter(tmp_path: Path):
    title = "Levels of β\n      <sub>2</sub>-agonist (\n   <i>APOE</i>) in\n   <i>mice</i> and\n wrapped\n lines"
    assert title_of(tmp_path, title) == "Levels of β2-agonist (APOE) in mice and wrapped lines"
    assert title_of(tmp_path, "ratio <sup>2</sup> x") == "ratio 2 x"


def test_indented_mathml_reads_like_mathml_in_one_line(tmp_path: Path):
    parts = ["<m:math xmlns:m='http://www.w3.org/1998/Math/MathML'>", "<m:msub>", "<m:mi>V</m:mi>", "<m:mn>2</m:mn>"]
    parts += ["</m:msub>", "<m:mo>=</m:mo>", "</m:math>"]
    for joint in ("", "\n    "):
        assert title_of(tmp_path, f"rate {joint.join(parts)} 3 of <i>x</i>") == "rate V2= 3 of x"


def test_structured_abstracts_keep_their_parts_and_labels(tmp_path: Path):
    parts = (
        '<AbstractText Label="AIM" NlmCategory="OBJECTIVE">To see <i>otters</i>.</AbstractText>'
        '<AbstractText Label="METHODS"/>'
        '<AbstractText Label="UNASSIGNED">We swam.</AbstractText>'
        '<AbstractText Label="">It was cold.</AbstractText>'
        "<AbstractText>They were seen.</AbstractText>"
        '<AbstractText Label="Unlabelled">Good.</AbstractText>'
        '<AbstractText Label="Editorial note">This article has been through a process.</AbstractText>'
        '<AbstractText Label="SUPPLEMENTARY INFORMATION">More is online.</AbstractText>'
    )
    assert [tuple(vars_of(part)) for part in abstract_of(tmp_path, parts)] == [
        ("AIM", "To see otters."),
        ("", "We swam."),
        ("", "It was cold."),
        ("", "They were seen."),
        ("", "Good."),
    ]


def vars_of(part: AbstractPart) -> tuple[str, str]:
    return part.label, part.text


def test_tails_that_are_not_the_authors_are_stripped_from_the_last_part(tmp_path: Path):
    parts = "<AbstractText>© 2019 was a year.</AbstractText><AbstractText>It ended. © 2019 Elsevier Ltd.</AbstractText>"
    texts = [part.text for part in abstract_of(tmp_path, parts + "<CopyrightInformation>© 2019</CopyrightInformation>")]
    assert texts == ["© 2019 was a year.", "It ended."]
    article = read_one(
        tmp_path, "<Abstract><AbstractText>p = 0.1).(ABSTRACT TRUNCATED AT 250 WORDS)</AbstractText></Abstract>"
    )
    assert article.abstract[0].text == "p = 0.1)." and article.flags == {"truncated"}


def test_other_abstracts_are_not_the_abstract(tmp_path: Path):
    other = (
        '<OtherAbstract Type="Publisher" Language="fre"><AbstractText>La loutre.</AbstractText></OtherAbstract>'
        '<OtherAbstract Type="plain-language-summary" Language="spa"><AbstractText>La nutria.</AbstractText>'
        '</OtherAbstract><OtherAbstract Type="plain-language-summary" Language="ENG"><AbstractText>The otter.'
        "</AbstractText></OtherAbstract>"
    )
    article = read_one(tmp_path, "", outside=other)
    assert article.abstract == () and article.summary == "The otter."


def test_a_translated_title_is_flagged_and_its_original_kept(tmp_path: Path):
    article = read_one(
        tmp_path,
        "<ArticleTitle>[The otter (author's transl)].</ArticleTitle><Language>GER</Language>"
        "<VernacularTitle>Der <i>Otter</i></VernacularTitle>",
    )
    assert (article.title, article.vernacular_title, article.language) == ("The otter.", "Der Otter", "ger")
    assert article.flags == {"translated_title"}
    assert title_of(tmp_path, "[Not Available].") == ""


# ---- fields


def test_fields_are_read_from_where_they_stand(tmp_path: Path):
    references = (
        '<ReferenceList><Reference><ArticleIdList><ArticleId IdType="doi">10.9/reference</ArticleId></ArticleIdList>'
        "</Reference></ReferenceList>"
    )
    article = read_one(
        tmp_path,
        "<Journal><JournalIssue><PubDate><Year>1998</Year></PubDate></JournalIssue><Title>Otters</Title></Journal>"
        "<Language>eng</Language><PublicationTypeList><PublicationType>Letter</PublicationType>"
        "<PublicationType>Comment</PublicationType></PublicationTypeList>",
        outside="<CommentsCorrectionsList>"
        '<CommentsCorrections RefType="CommentOn"><PMID>12</PMID></CommentsCorrections>'
        '<CommentsCorrections RefType="Cites"><PMID>13</PMID></CommentsCorrections>'
        '<CommentsCorrections RefType="ErratumIn"><RefSource>no number</RefSource></CommentsCorrections>'
        '<CommentsCorrections RefType="RetractionIn"><PMID>14</PMID></CommentsCorrections>'
        "</CommentsCorrectionsList>",
        data=references + '<ArticleIdList><ArticleId IdType="doi">10.1/ABC</ArticleId>'
        '<ArticleId IdType="pmc">PMC77</ArticleId></ArticleIdList>',
    )
    assert (article.article_id, article.pmid, article.pmcid, article.doi) == ("pmid:7", 7, "PMC77", "10.1/abc")
    assert (article.year, article.journal, article.language, article.version) == (1998, "Otters", "eng", 1)
    assert article.publication_types == ("Letter", "Comment")
    assert article.links == (("CommentOn", 12), ("RetractionIn", 14))
    assert article.flags == {"retracted"}


def test_the_doi_may_stand_in_the_article(tmp_path: Path):
    locations = (
        '<ELocationID EIdType="pii">x1</ELocationID><ELocationID EIdType="doi" ValidYN="N">10.1/wrong</ELocationID>'
        '<ELocationID EIdType="doi" ValidYN="Y">10.1/right</ELocationID>'
    )
    assert read_one(tmp_path, locations).doi == "10.1/right"


@pytest.mark.parametrize(
    ("date", "year"),
    [
        ("<Year>1975</Year>", 1975),
        ("<MedlineDate>1998 Dec-1999 Jan</MedlineDate>", 1998),
        ("<MedlineDate>Fall 2001</MedlineDate>", 2001),
        ("<Year>0</Year>", None),
        ("<Year>3276</Year>", None),
        ("<Year>unknown</Year>", None),
        ("<Season>Spring</Season>", None),
        ("", None),
    ],
)
def test_years_that_cannot_be_are_none(date: str, year: int | None, tmp_path: Path):
    issue = f"<Journal><JournalIssue><PubDate>{date}</PubDate></JournalIssue></Journal>"
    assert read_one(tmp_path, issue).year == year


@pytest.mark.parametrize(
    ("languages", "expected"),
    [
        (["ENG"], "eng"),
        (["en"], "eng"),
        (["ger"], "ger"),
        (["fre", "eng"], "eng"),
        (["spa", "por"], "spa"),
        (["und"], ""),
        ([], ""),
    ],
)
def test_languages_are_codes_in_lower_case(languages: list[str], expected: str, tmp_path: Path):
    elements = "".join(f"<Language>{language}</Language>" for language in languages)
    assert read_one(tmp_path, elements).language == expected


def test_a_record_without_anything_but_a_number_is_an_article(tmp_path: Path):
    (only,) = read(tmp_path, "<MedlineCitation><PMID Version='3'> 0012 </PMID></MedlineCitation>")
    assert only == Article(article_id="pmid:12", pmid=12, version=3, source="pubmed")


def test_a_record_without_a_pmid_is_named_by_its_doi_or_dropped_with_its_line(tmp_path: Path):
    doi = '<PubmedData><ArticleIdList><ArticleId IdType="doi">10.1/x</ArticleId></ArticleIdList></PubmedData>'
    found = read(
        tmp_path,
        f"<PubmedArticleSet>\n<PubmedArticle>{citation(pmid='')}{doi}</PubmedArticle>\n"
        f"<PubmedArticle>{citation(pmid='<PMID>x</PMID>')}</PubmedArticle>\n<PubmedArticle/>\n</PubmedArticleSet>",
    )
    assert found[0].article_id == "doi:10.1/x" and found[0].pmid is None
    assert found[1:] == [Dropped("no identifier", 3), Dropped("no MedlineCitation", 4)]


# ---- roots


BOOK = (
    "<BookDocument><PMID>9</PMID><ArticleIdList><ArticleId IdType='bookaccession'>NBK1</ArticleId></ArticleIdList>"
    "<Book><BookTitle>Handbook</BookTitle><PubDate><Year>2004</Year></PubDate></Book><ArticleTitle>Otters</ArticleTitle>"
    "<Language>eng</Language><PublicationType>Review</PublicationType>"
    "<Abstract><AbstractText>They swim.</AbstractText></Abstract></BookDocument>"
)


def test_a_book_is_an_article_with_a_flag(tmp_path: Path):
    for content in (BOOK, f"<PubmedBookArticle>{BOOK}</PubmedBookArticle>"):
        (book,) = read(tmp_path, f"<PubmedBookArticleSet>{content}</PubmedBookArticleSet>")
        assert (book.article_id, book.title, book.journal, book.year) == ("pmid:9", "Otters", "Handbook", 2004)
        assert book.flags == {"book"} and book.abstract == (AbstractPart("", "They swim."),)
        assert book.publication_types == ("Review",)


def test_a_book_without_chapters_has_the_books_title(tmp_path: Path):
    (book,) = read(tmp_path, BOOK.replace("<ArticleTitle>Otters</ArticleTitle>", ""))
    assert book.title == "Handbook"


@pytest.mark.parametrize(
    "content",
    [
        "<PubmedArticleSet><PubmedArticle>{}</PubmedArticle></PubmedArticleSet>",
        "<PubmedArticle>{}</PubmedArticle>",
        "<MedlineCitationSet>{}</MedlineCitationSet>",
        "<MedlineCitationSet><PubmedArticle>{}</PubmedArticle></MedlineCitationSet>",
        "{}",
        "<RAW_DATA><PubmedArticleSet><PubmedArticle>{}</PubmedArticle></PubmedArticleSet></RAW_DATA>",
    ],
)
def test_a_record_is_found_once_under_every_root(content: str, tmp_path: Path):
    assert [article.pmid for article in read(tmp_path, content.format(citation()))] == [7]


def test_deletions_come_in_their_place_with_every_number(tmp_path: Path):
    record = f"<PubmedArticle>{citation()}</PubmedArticle>"
    deletion = "<DeleteCitation><PMID Version='1'>3</PMID><PMID>x</PMID><PMID>5</PMID></DeleteCitation>"
    for content in (record + deletion, deletion + record):
        found = read(tmp_path, f"<PubmedArticleSet>{content}</PubmedArticleSet>")
        deleted = [Deletion(3), Dropped("deletion without a PMID", 1), Deletion(5)]
        assert [item for item in found if not isinstance(item, Article)] == deleted
        assert isinstance(found[0 if content.startswith("<Pub") else -1], Article)


# ---- real records


@functools.cache
def articles_of(path: Path) -> dict[str, Article | Deletion]:
    found = [item for item in read_pubmed(path) if not isinstance(item, Dropped)]
    return {f"-{item.pmid}" if isinstance(item, Deletion) else str(item.pmid): item for item in found}


@pytest.fixture(scope="module")
def awkward(shared_data: Path):
    places = json.loads((shared_data / "awkward_pubmed.json").read_text())

    def real(feature: str, sign: str = "") -> dict[Article, str]:
        found = {}  # article -> the survey's note
        for place in (place for place in places[feature] if place["pmid"] and place["pmid"].isdigit()):
            path = shared_data / "pubmed_xml" / place["path"]
            path = path if path.exists() else path.with_name(path.name + ".gz")
            if path.exists():  # some of the places were not kept
                found[articles_of(path)[sign + place["pmid"]]] = place["note"]
        return found

    return real


def abstract(article: Article) -> str:
    return " ".join(part.text for part in article.abstract)


CLAIMS = {
    "no_abstract": lambda article: article.abstract == (),
    "empty_title": lambda article: article.title == "",
    "title_not_available": lambda article: article.title == "" and article.language == "nor",
    "title_bracketed": lambda article: (
        not article.title or ("translated_title" in article.flags and not article.title.startswith("["))
    ),
    "title_partly_bracketed": lambda article: article.title.startswith("[18F]") and not article.flags,
    "vernacular_title": lambda article: article.vernacular_title != "",
    "language_code_variant": lambda article: article.language in ("eng", ""),
    "language_missing": lambda article: article.language == "",
    "abstract_structured": lambda article: (
        any(part.label for part in article.abstract) or article.pmid in (25556833, 27805344)  # one part with text
    ),
    "abstract_unassigned_or_unlabelled": lambda article: (
        not {"UNASSIGNED", "UNLABELLED"} & {part.label for part in article.abstract}
    ),
    "abstract_partly_labelled": lambda article: any(not part.label for part in article.abstract),
    "abstract_element_empty": lambda article: all(part.text for part in article.abstract),
    "abstract_truncated": lambda article: "truncated" in article.flags and "TRUNCATED" not in abstract(article),
    "abstract_copyright": lambda article: not re.search(r"©|All rights reserved|Copyright", abstract(article)),
    "abstract_text_has_newlines": lambda article: "\n" not in abstract(article) and "  " not in abstract(article),
    "unicode_special_space": lambda article: abstract(article) == " ".join(abstract(article).split()),
    "title_inline_markup": lambda article: "<" not in article.title and len(article.title) > 20,
    "escaped_markup_in_text": lambda article: "&gt;" not in abstract(article) and "p < 0.001" in abstract(article),
    "other_abstract": lambda article: article.summary == "",
    "pmid_version_gt1": lambda article: article.version == 2,
    "pubtype:Retracted Publication": lambda article: "retracted" in article.flags,
    "ref:RetractionIn": lambda article: "retracted" in article.flags,
    "pubtype:Editorial": lambda article: "Editorial" in article.publication_types,
    "ref:UpdateIn": lambda article: any(kind == "UpdateIn" for kind, _ in article.links),
    "ref:ExpressionOfConcernIn": lambda article: any(kind == "ExpressionOfConcernIn" for kind, _ in article.links),
    "book_article": lambda article: "book" in article.flags,
}


@pytest.mark.parametrize("feature", CLAIMS)
def test_real_records_with_an_oddity_are_read_as_claimed(feature: str, awkward):
    records = awkward(feature)
    assert records
    wrong = [article.article_id for article in records if not CLAIMS[feature](article)]
    assert wrong == []


def test_real_languages_are_the_first_named_or_english(awkward):
    records = awkward("language_non_eng")
    assert len(records) > 70
    for article, note in records.items():
        codes = [{"und": ""}.get(code, code) for code in note.lower().split(",")]
        assert article.language == ("eng" if "eng" in codes else codes[0]), article.article_id


def test_real_deletions_are_read(awkward):
    assert all(isinstance(item, Deletion) for item in awkward("delete_citation", sign="-"))


def test_real_mathml_is_joined_and_a_real_subscript_stays_with_its_letter(awkward):
    mathml = {article.pmid: abstract(article) for article in awkward("abstract_mathml")}
    assert "Rpre2 = 0.9513" in mathml[29869631] and "V.O2max" in mathml[30108519]
    wrapped = {article.pmid: article for article in awkward("abstract_text_has_newlines")}
    assert "fast-acting β2-agonist" in abstract(wrapped[29768149])
    assert "(APOE)" in abstract(wrapped[29872490]) and wrapped[29872490].title.endswith("and the APOE locus.")


def test_every_real_file_is_read_or_refused_and_every_record_accounted_for(shared_data: Path):
    refused, records, elements = [], 0, 0
    for path in sorted(file for file in (shared_data / "pubmed_xml").rglob("*") if file.is_file()):
        raw = path.read_bytes()
        text = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
        try:
            records += sum(not isinstance(item, Deletion) for item in read_pubmed(path))
        except DataError as error:
            refused.append((path.name, str(error)))
            continue
        elements += len(re.findall(rb"<(?:MedlineCitation|BookDocument)[\s>]", text))
    assert [name for name, _ in refused] == ["output.xml"] and "line 1" in refused[0][1]
    assert records == elements > 4_800


def test_titles_and_abstracts_of_real_records_equal_a_plain_reading_of_their_xml(shared_data: Path):
    path = shared_data / "pubmed_xml" / "net-synergy__pubmedparser" / "data" / "pubmed21n1001.xml.gz"
    articles = {str(item.pmid): item for item in read_pubmed(path) if isinstance(item, Article)}
    compared = 0
    for element in stream_records(path, RECORD_TAGS, (), 1 << 24):
        article = articles[element.findtext("MedlineCitation/PMID")]
        texts = ["".join(part.itertext()) for part in element.iterfind("MedlineCitation/Article/Abstract/AbstractText")]
        words = " ".join(texts).split()
        assert abstract(article).split() == words[: len(abstract(article).split())]
        assert len(abstract(article).split()) >= len(words) - 20
        compared += 1
    assert compared == 37
