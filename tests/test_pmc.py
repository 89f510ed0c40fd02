"""Full texts: what is prose and what is not, sections and their kinds, licences, and real articles."""

import gzip
import re
from pathlib import Path

import pytest
from lxml import etree

from bioemb.data.articles import read_articles
from bioemb.data.jats import prose
from bioemb.data.licenses import license_name
from bioemb.data.pmc import read_pmc
from bioemb.data.sections import is_boilerplate, section_kind
from bioemb.records import AbstractPart, Article, Dropped, Section

FRONT = (
    "<front><journal-meta><journal-title-group><journal-title>Otters</journal-title></journal-title-group></journal-meta>"
    "<article-meta>"
    '<article-id pub-id-type="pmid">7</article-id><article-id pub-id-type="pmc">55</article-id>'
    '<article-id pub-id-type="doi">10.1/ABC</article-id>'
    "<title-group><article-title>Otters <italic>swim</italic><xref ref-type='fn'>*</xref></article-title></title-group>"
    '<pub-date pub-type="collection"><year>2012</year></pub-date><pub-date pub-type="epub"><year>2011</year></pub-date>'
    "{meta}</article-meta></front>"
)


def article_xml(body: str = "", meta: str = "", attributes: str = 'article-type="research-article"') -> str:
    namespaces = 'xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f"<article {namespaces} {attributes}>{FRONT.format(meta=meta)}<body>{body}</body></article>"


def read(tmp_path: Path, content: str) -> list[Article | Dropped]:
    path = tmp_path / "article.nxml"
    path.write_text(content, encoding="utf-8")
    return list(read_pmc(path))


def read_one(tmp_path: Path, *parts: str) -> Article:
    (only,) = read(tmp_path, article_xml(*parts))
    return only


def text_of(inside: str) -> str:
    return prose(etree.fromstring(f"<p>{inside}</p>"))


def cite(text: object) -> str:
    return f'<xref ref-type="bibr" rid="b">{text}</xref>'


# ---- prose


@pytest.mark.parametrize(
    ("inside", "text"),
    [
        (f"Otters swim [{cite(1)},{cite(2)}]. Seals [{cite(3)}–{cite(5)}] too.", "Otters swim. Seals too."),
        (f"Otters swim [{cite(1)}], [{cite(2)}].", "Otters swim."),
        (f"Otters swim {cite('[1]')} and dive ({cite(2)}, {cite(3)}).", "Otters swim and dive."),
        (
            f"Otters swim.<sup>{cite(1)},{cite(2)}</sup> They dive<sup>{cite('3-5')}</sup> too.",
            "Otters swim. They dive too.",
        ),
        (f"Otters swim ({cite('Roe, 2003')}; see also {cite('Doe et al., 2004')}).", "Otters swim."),
        (f"Otters swim (Roe <italic>et al.</italic> {cite(2003)}, {cite('2004a')}; Doe {cite(2005)}).", "Otters swim."),
        (
            f"{cite('Roe et al. (2003)')} saw otters; Doe ({cite(2004)}) did not.",
            "Roe et al. (2003) saw otters; Doe did not.",
        ),
        (f"Roe et al. [{cite(2)}]. Otters swim.", "Roe et al. Otters swim."),
        (f"Otters (n = 3; {cite('Roe 2003')}) swim (reviewed in {cite(4)}).", "Otters (n = 3) swim."),
        (f"Otters ({cite(9)}, Figure 1) swim (Western blot, {cite(4)}).", "Otters (Figure 1) swim (Western blot)."),
        (f"Otters swim (see [{cite(1)}, {cite(2)}]).", "Otters swim."),
        ("P &lt; .05 [sic], F[1,5] = 2, (see Figure 1)", "P < .05 [sic], F[1,5] = 2, (see Figure 1)"),
        ('Shown in <xref ref-type="fig">Figure 1A</xref>.', "Shown in Figure 1A."),
    ],
)
def test_citations_go_with_their_brackets_and_names_in_the_sentence_stay(inside: str, text: str):
    assert text_of(inside) == text


@pytest.mark.parametrize(
    "dropped",
    [
        "<fig><label>F</label><caption><p>LOST</p></caption></fig>",
        "<fig-group><fig><p>LOST</p></fig></fig-group>",
        "<table-wrap><table><tr><td>LOST</td></tr></table><table-wrap-foot><p>LOST</p></table-wrap-foot></table-wrap>",
        "<disp-formula><tex-math>LOST</tex-math></disp-formula>",
        "<supplementary-material><caption><p>LOST</p></caption></supplementary-material>",
        "<media><p>LOST</p></media>",
        "<fn><p>LOST</p></fn>",
        '<xref ref-type="table-fn">LOST</xref>',
        "<inline-formula><tex-math>LOST</tex-math></inline-formula>",
        "<inline-graphic><alt-text>LOST</alt-text></inline-graphic>",
        "<inline-formula><inline-graphic/><math><annotation>LOST</annotation></math></inline-formula>",
    ],
)
def test_what_is_no_prose_goes_and_the_text_after_it_stays(dropped: str):
    assert text_of(f"before {dropped} after <italic>x{dropped}y</italic>").split()[:2] == ["before", "after"]
    assert "LOST" not in text_of(f"before {dropped} after <italic>x{dropped}y</italic>")
    assert text_of(f"a{dropped}, b") == "a, b"


def test_the_one_in_plain_text_is_taken_of_alternatives():
    forms = "<tex-math>\\alpha</tex-math><math><mi>α</mi></math>"
    assert text_of(f"an <alternatives>{forms}</alternatives> helix") == "an α helix"
    forms += "<textual-form>alpha</textual-form>"
    assert text_of(f"an <alternatives>{forms}</alternatives> helix") == "an alpha helix"


def test_blocks_within_a_paragraph_are_parted_and_read_once():
    listed = "<list><list-item><p>one</p></list-item><list-item><p>two</p></list-item></list>"
    assert text_of(f"Otters:{listed}and<break/>seals") == "Otters: one two and seals"


def test_indented_source_reads_like_one_line():
    assert text_of("β\n    <sub>2</sub> and\n   seals (\n  <italic>x</italic>\n ).") == "β2 and seals (x)."


def test_entities_without_a_definition_are_read_as_their_characters(tmp_path: Path):
    path = tmp_path / "article.xml"
    dtd = '<!DOCTYPE article PUBLIC "-//NLM//DTD" "http://dtd.invalid/x.dtd">'
    path.write_text(dtd + article_xml("<sec><p>&alpha;-<italic>x</italic>&nbsp;y</p></sec>"), encoding="utf-8")
    (article,) = read_pmc(path)
    assert article.sections[0].paragraphs == ("α-x y",)


# ---- body


def test_sections_carry_every_heading_above_them(tmp_path: Path):
    body = (
        "<p>First words.</p>"
        "<sec><title>2. Methods</title><p>One.</p><sec><title>Study <italic>area</italic></title><p>Two.</p>"
        "<sec><title>Rivers</title><p>Three.</p></sec></sec><p>Four.</p></sec>"
        '<sec sec-type="discussion"><title>What it means</title><p>Five.</p><p> </p></sec>'
        '<sec sec-type="conclusions"><title>Discussion</title><sec><p>Six.</p></sec></sec>'
    )
    assert read_one(tmp_path, body).sections == (
        Section((), "INTRO", ("First words.",)),
        Section(("2. Methods",), "METHODS", ("One.", "Four.")),
        Section(("2. Methods", "Study area"), "METHODS", ("Two.",)),
        Section(("2. Methods", "Study area", "Rivers"), "METHODS", ("Three.",)),
        Section(("What it means",), "DISCUSS", ("Five.",)),
        Section(("Discussion",), "DISCUSS", ("Six.",)),
    )


def test_a_body_without_sections_and_an_article_without_a_body(tmp_path: Path):
    assert read_one(tmp_path, "<p>Only.</p>").sections == (Section((), "OTHER", ("Only.",)),)
    essay = read_one(tmp_path, "<p>An essay.</p><sec><title>Methods</title><p>We thought.</p></sec>")
    assert [section.kind for section in essay.sections] == ["OTHER", "METHODS"]
    (article,) = read(tmp_path, article_xml().replace("<body></body>", ""))
    assert article.sections == () and article.title == "Otters swim"


def test_nested_paragraphs_lists_boxes_and_quotes_are_read_once(tmp_path: Path):
    body = (
        "<sec><title>Results</title><p>a <disp-quote><p>b</p></disp-quote> c</p>"
        "<list><list-item><p>d</p></list-item></list><disp-quote><p>e</p></disp-quote>"
        "<boxed-text><caption><title>Box 1</title></caption><p>f</p></boxed-text>"
        "<fig><caption><p>LOST</p></caption></fig></sec>"
    )
    assert read_one(tmp_path, body).sections == (
        Section(("Results",), "RESULTS", ("a b c", "d", "e")),
        Section(("Results", "Box 1"), "RESULTS", ("f",)),
    )


def test_back_matter_boilerplate_and_other_articles_are_left_out(tmp_path: Path):
    lost = "<sec><title>Funding</title><p>LOST</p><sec><title>Results</title><p>LOST</p></sec></sec>"
    lost += '<sec sec-type="supplementary-material"><title>More</title><p>LOST</p></sec>'
    content = article_xml(f"<sec><title>Results</title><p>Kept.</p></sec>{lost}")
    tail = (
        "<back><ack><p>LOST</p></ack><ref-list><ref><p>LOST</p></ref></ref-list></back>"
        f"<floats-group><fig><p>LOST</p></fig></floats-group><sub-article>{FRONT.format(meta='')}<body><p>LOST</p></body>"
        "</sub-article><response><body><p>LOST</p></body></response></article>"
    )
    (article,) = read(tmp_path, content.replace("</article>", tail))
    assert article.sections == (Section(("Results",), "RESULTS", ("Kept.",)),)


@pytest.mark.parametrize(
    ("heading", "sec_type", "kind"),
    [
        ("1. Introduction", "", "INTRO"),
        ("BACKGROUND", "", "INTRO"),
        ("Materials and Methods", "", "METHODS"),
        ("Patients and methods", "", "METHODS"),
        ("II. Experimental Section", "", "METHODS"),
        ("", "materials|methods", "METHODS"),
        ("Results and Discussion", "", "RESULTS"),
        ("4. Discussion", "conclusions", "DISCUSS"),
        ("Concluding remarks", "", "CONCL"),
        ("Case report", "", "CASE"),
        ("Otters of the north", "", "OTHER"),
        ("Resulting floods", "", "OTHER"),
        ("Aimless otters", "", "OTHER"),
        ("Otters of the north", "results", "RESULTS"),
        ("", "", "OTHER"),
    ],
)
def test_a_section_has_the_kind_that_its_heading_says(heading: str, sec_type: str, kind: str):
    assert section_kind(heading, sec_type) == kind


@pytest.mark.parametrize(
    "heading",
    [
        "Competing interests",
        "Conflict of Interest Statement",
        "Declaration of competing interest",
        "Authors' contributions",
        "Author Contributions",
        "5. Funding",
        "Sources of funding",
        "Acknowledgements",
        "Supplementary Material",
        "Supporting information",
        "Additional files",
        "Pre-publication history",
        "List of abbreviations",
        "Abbreviations:",
        "Data Availability Statement",
        "Availability of data and materials",
        "Ethics statement",
        "Ethics approval and consent to participate",
        "Appendix A: proofs",
        "Disclosure",
        "References",
    ],
)
def test_sections_about_the_article_are_boilerplate(heading: str):
    assert is_boilerplate(heading) and is_boilerplate(heading.upper())


@pytest.mark.parametrize(
    "heading",
    [
        "Funding of hospitals",
        "Disclosure of HIV status",
        "Supplements",
        "Supplementary feeding of infants",
        "Support vector machines",
        "Availability of prey",
        "Data sharing, extraction and verification",
        "Interests of otters",
        "Conflict between otters",
        "Appendix testis torsion",
        "Reference genome",
        "Contributions of prey to growth",
        "",
    ],
)
def test_sections_about_the_subject_are_not_boilerplate(heading: str):
    assert not is_boilerplate(heading)


# ---- front


def test_the_front_is_read(tmp_path: Path):
    meta = (
        "<abstract><title>Abstract</title><sec><title>Aims:</title><p>To see otters.</p></sec>"
        f"<sec><title>Results</title><p>Otters [{cite(1)}].</p><p>Seals. © 2011 Roe et al.</p></sec>"
        "<sec><title>Electronic supplementary material</title><p>LOST</p></sec></abstract>"
        '<abstract abstract-type="graphical"><p>LOST</p></abstract>'
        '<abstract abstract-type="summary"><title>Author Summary</title><p>We saw <italic>otters</italic>.</p>'
        "</abstract>"
        '<trans-abstract xml:lang="fr"><p>LOST</p></trans-abstract>'
    )
    article = read_one(tmp_path, "", meta)
    assert (article.article_id, article.pmid, article.pmcid, article.doi) == ("pmid:7", 7, "PMC55", "10.1/abc")
    assert (article.title, article.year, article.journal, article.language) == ("Otters swim", 2011, "Otters", "eng")
    assert article.abstract == (AbstractPart("Aims", "To see otters."), AbstractPart("Results", "Otters. Seals."))
    assert article.summary == "We saw otters." and article.publication_types == ("Journal Article",)


def test_the_abstract_is_the_one_in_the_articles_language(tmp_path: Path):
    meta = '<abstract xml:lang="es"><p>Las nutrias.</p></abstract><abstract xml:lang="en"><p>The otters.</p></abstract>'
    for language, text in (("en", "The otters."), ("ES", "Las nutrias."), ("fr", "Las nutrias.")):
        (article,) = read(tmp_path, article_xml(meta=meta, attributes=f'xml:lang="{language}"'))
        assert article.abstract == (AbstractPart("", text),)
    assert article.language == "fre"


def test_a_subtitle_follows_its_title(tmp_path: Path):
    content = article_xml().replace("</article-title>", "</article-title><subtitle>A <bold>study</bold></subtitle>")
    (article,) = read(tmp_path, content)
    assert article.title == "Otters swim: A study"


def test_without_a_pmid_the_pmcid_and_then_the_doi_name_the_article(tmp_path: Path):
    content, names = article_xml(), []
    for kind in ("pmid", "pmc", "doi"):
        content = re.sub(rf'<article-id pub-id-type="{kind}">[^<]*</article-id>', "", content)
        names.append(read(tmp_path, content)[0])
    assert [item.article_id for item in names[:2]] == ["pmc:PMC55", "doi:10.1/abc"]
    assert names[2] == Dropped("no identifier", 1)
    assert read(tmp_path, "<article><body><p>x</p></body></article>") == [Dropped("no article-meta", 1)]


@pytest.mark.parametrize(
    ("attributes", "meta", "is_retracted", "links"),
    [
        ("", "", False, ()),
        ('article-type="retracted-article"', "", True, ()),
        ("", '<related-article related-article-type="retraction-forward"/>', True, ()),
        (
            'article-type="retraction"',
            '<related-article related-article-type="retracted-article" ext-link-type="pubmed" xlink:href="99"/>',
            False,
            (("RetractionOf", 99),),
        ),
        (
            'article-type="correction"',
            '<related-article related-article-type="corrected-article" ext-link-type="doi" xlink:href="10.1/x"/>',
            False,
            (),
        ),
    ],
)
def test_the_retraction_state_and_links_are_carried(
    attributes: str, meta: str, is_retracted: bool, links: tuple, tmp_path: Path
):
    (article,) = read(tmp_path, article_xml(meta=meta, attributes=attributes))
    assert ("retracted" in article.flags) == is_retracted and article.links == links
    assert read(tmp_path, article_xml().replace(">Otters", ">RETRACTED: Otters"))[0].flags == {"retracted"}


@pytest.mark.parametrize(
    "wrap",
    [
        "{}",
        "<pmc-articleset>{}</pmc-articleset>",
        '<OAI-PMH xmlns="http://www.openarchives.org/OAI/2.0/"><GetRecord><record><metadata>{}</metadata></record>'
        "</GetRecord></OAI-PMH>",
    ],
)
@pytest.mark.parametrize("attributes", ["", 'xmlns="https://jats.nlm.nih.gov/ns/archiving/1.3/"'])
def test_wrappers_and_namespaces_change_nothing(wrap: str, attributes: str, tmp_path: Path):
    meta = "<abstract><p>Short.</p></abstract><permissions><license><p>CC BY 4.0</p></license></permissions>"
    body = f'<sec sec-type="intro"><title>On otters</title><p>They [{cite(1)}] swim.</p></sec>'
    plain = read_one(tmp_path, body, meta, 'article-type="letter"')
    content = article_xml(body, meta, f'article-type="letter" {attributes}')
    path = tmp_path / "wrapped.xml.gz"
    path.write_bytes(gzip.compress(wrap.format(content + content).encode() if wrap != "{}" else content.encode()))
    assert set(read_articles(path)) == {plain}
    assert plain.sections == (Section(("On otters",), "INTRO", ("They swim.",)),) and plain.license == "CC BY"


# ---- licences


@pytest.mark.parametrize(
    ("statements", "name"),
    [
        (["http://creativecommons.org/licenses/by/4.0/"], "CC BY"),
        (["https://creativecommons.org/licenses/by-nc-nd/3.0/igo/"], "CC BY-NC-ND"),
        (["http://creativecommons.org/licenses/by-nc-sa/2.0"], "CC BY-NC-SA"),
        (["https://creativecommons.org/publicdomain/zero/1.0/"], "CC0"),
        (
            ["", "This is an open-access article under the Creative Commons Attribution License, which permits."],
            "CC BY",
        ),
        (["the Creative Commons Attribution Non-Commercial License (see above)"], "CC BY-NC"),
        (["Creative Commons Attribution-NonCommercial-NoDerivs 3.0"], "CC BY-NC-ND"),
        (["the Creative Commons Attribution License, for commercial and non-commercial use"], "CC BY"),
        (["licensed under CC BY-NC 4.0"], "CC BY-NC"),
        (["made available under the Creative Commons CC0 public domain dedication"], "CC0"),
        (["free of all copyright, and may be freely reproduced"], "Public domain"),
        (["https://example.org/terms", "Licensed under CC-BY"], "CC BY"),
        (["© 2010 The Author(s). All rights reserved."], ""),
        (["verbatim copying and redistribution of this article are permitted"], ""),
        ([], ""),
    ],
)
def test_licences_have_one_name_each_and_none_is_guessed(statements: list[str], name: str):
    assert license_name(*statements) == name


def test_the_licence_is_found_in_address_reference_text_or_copyright(tmp_path: Path):
    address = "http://creativecommons.org/licenses/by-nc/4.0/"
    words = "Creative Commons Attribution Non-Commercial License"
    for inside in (
        f'<license xlink:href="{address}"><license-p>see there</license-p></license>',
        f'<license xmlns:ali="http://www.niso.org/schemas/ali/1.0/"><ali:license_ref>{address}</ali:license_ref></license>',
        f'<license><license-p>Under <ext-link xlink:href="{address}">these</ext-link> terms</license-p></license>',
        f"<license><p>{words}</p></license>",
        f"<copyright-statement>© Roe. {words}.</copyright-statement>",
    ):
        assert read_one(tmp_path, "", f"<permissions>{inside}</permissions>").license == "CC BY-NC", inside
    assert read_one(tmp_path, "", f"<copyright-statement>© Roe. {words}.</copyright-statement>").license == "CC BY-NC"


# ---- real articles


@pytest.fixture(scope="module")
def real_articles(shared_data: Path) -> dict[Path, list[Article | Dropped]]:
    files = sorted(file for file in (shared_data / "pmc_nxml").rglob("*") if file.is_file())
    return {path: list(read_pmc(path)) for path in files}


def test_every_real_full_text_is_read_with_its_sections(real_articles: dict):
    articles = [article for found in real_articles.values() for article in found]
    assert len(articles) == 191 and all(isinstance(article, Article) for article in articles)
    assert all(article.title and article.sections and article.year for article in articles)
    assert sum(bool(article.abstract) for article in articles) == 188
    assert sum(bool(article.license) for article in articles) > 160
    assert {"INTRO", "METHODS", "RESULTS", "DISCUSS", "CONCL"} <= {s.kind for a in articles for s in a.sections}


def test_no_paragraph_of_a_real_full_text_holds_what_is_no_prose(real_articles: dict):
    wrong = re.compile(r"\x01|\x02|\x03|\\begin\{|usepackage|\(\s*[;,]?\s*\)(?<!\w\(\))|\[\s*\]|\s{2}|\s[,;)]")
    paragraphs = [
        paragraph
        for found in real_articles.values()
        for article in found
        for section in article.sections
        for paragraph in section.paragraphs
    ]
    assert len(paragraphs) > 7_000
    assert [paragraph[:80] for paragraph in paragraphs if wrong.search(paragraph)] == []


def letters(text: str) -> str:
    return re.sub(r"[^A-Za-z]+", "", text)


def test_the_prose_of_real_paragraphs_is_their_text_with_some_left_out(shared_data: Path):
    other = {
        "fig",
        "fig-group",
        "table-wrap",
        "disp-formula",
        "supplementary-material",
        "media",
        "preformat",
        "tex-math",
    }
    compared, kept, all_letters = 0, 0, 0
    for path in sorted(file for file in (shared_data / "pmc_nxml").rglob("*") if file.is_file())[::8]:
        raw = path.read_bytes()
        tree = etree.fromstring(gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw)
        etree.strip_tags(tree, etree.Comment)
        for paragraph in tree.iterfind(".//body//sec/p"):
            source = letters("".join(paragraph.itertext()))
            remaining = iter(source)
            assert all(letter in remaining for letter in letters(prose(paragraph))), (path.name, paragraph.sourceline)
            if not other & {element.tag for element in paragraph.iter()}:
                compared, kept, all_letters = (
                    compared + 1,
                    kept + len(letters(prose(paragraph))),
                    all_letters + len(source),
                )
    assert compared > 700 and kept > 0.97 * all_letters  # the rest is names and years of citations
