"""Terms of an article: what is read of a PubMed record, what is drawn of it, and the pairs with the title."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from pubmed_files import pairs_of, write_pubmed

from bioemb.cli import usage
from bioemb.config import ExtractConfig
from bioemb.data.pairs import PairRules, make_pairs, term_title
from bioemb.data.pubmed import read_pubmed
from bioemb.data.terms import draw_terms
from bioemb.errors import ConfigError
from bioemb.manifest import read_manifest
from bioemb.records import ALL_PAIR_KINDS, PAIR_KINDS, Article
from bioemb.stages.extract import run

INDEXED = """
<PubmedArticle><MedlineCitation><PMID>7</PMID><Article><ArticleTitle>Otters swim far at night.</ArticleTitle></Article>
<ChemicalList><Chemical><RegistryNumber>0</RegistryNumber><NameOfSubstance>Fish Oils</NameOfSubstance></Chemical>
<Chemical><NameOfSubstance UI="D2">NAD</NameOfSubstance></Chemical></ChemicalList>
<MeshHeadingList>
<MeshHeading><DescriptorName UI="D3" MajorTopicYN="N">Humans</DescriptorName></MeshHeading>
<MeshHeading><DescriptorName UI="D4" Type="Geographic">Norway</DescriptorName></MeshHeading>
<MeshHeading><DescriptorName UI="D5">Otters</DescriptorName><QualifierName>physiology</QualifierName></MeshHeading>
<MeshHeading><DescriptorName UI="D1">Fish oils</DescriptorName></MeshHeading></MeshHeadingList>
<KeywordList Owner="NOTNLM"><Keyword MajorTopicYN="N">night <i>swimming</i></Keyword><Keyword>65</Keyword><Keyword/>
</KeywordList></MedlineCitation></PubmedArticle>"""
TERMS = ("Fish Oils", "NAD", "Otters", "night swimming")
ARTICLE = Article(article_id="pmid:7", title="Otters swim far at night.", terms=TERMS, language="eng", year=2001)


def drops_of(article: Article, rules: PairRules | None = None) -> list[tuple[str, str]]:
    pairs, drops = make_pairs(article, ("term_title",), rules or PairRules())
    assert bool(pairs) != bool(drops)
    return drops


def numbered(n: int) -> str:
    return INDEXED.replace("<PMID>7<", f"<PMID>{n}<").replace("at night.", f"in night {n}.")


def test_terms_are_headings_keywords_and_substances_without_check_tags_and_places(tmp_path: Path):
    (article,) = read_pubmed(write_pubmed(tmp_path / "one.xml", INDEXED))
    assert article.terms == TERMS


def test_a_record_without_an_index_has_no_terms(tmp_path: Path):
    bare = "<PubmedArticle><MedlineCitation><PMID>7</PMID><Article/></MedlineCitation></PubmedArticle>"
    (article,) = read_pubmed(write_pubmed(tmp_path / "one.xml", bare))
    assert article.terms == () and drops_of(article) == [("term_title", "no terms")]


def test_a_draw_depends_on_key_and_terms_and_not_on_their_order():
    names = [f"term {number}" for number in range(30)]
    draws = {tuple(draw_terms(names, 2, f"pmid:{number}")) for number in range(40)}
    assert len(draws) > 35 and all(len(set(draw)) == 2 for draw in draws)
    assert draw_terms(names[::-1], 5, "a") == draw_terms(names, 5, "a") != draw_terms(names, 5, "b")
    assert sorted(draw_terms(names, 99, "a")) == sorted(names)


def test_each_term_drawn_asks_for_the_title():
    pairs = list(term_title(ARTICLE, PairRules(terms_per_article=3)))
    assert len({pair.query for pair in pairs} & set(TERMS)) == 3 == len(pairs)
    assert {(pair.document, pair.kind) for pair in pairs} == {(ARTICLE.title, "term_title")}


def test_a_terms_pair_shares_its_articles_identity_with_the_other_kinds(tmp_path: Path):
    abstract = "Otters were watched for a year in a fjord. " * 8
    after = f"</ArticleTitle><Abstract><AbstractText>{abstract}</AbstractText></Abstract>"
    whole = INDEXED.replace("</ArticleTitle>", after)
    file = str(write_pubmed(tmp_path / "one.xml", whole))
    run(ExtractConfig(input_path=(file,), output_file=str(tmp_path / "all.jsonl"), kinds=ALL_PAIR_KINDS))
    pairs = pairs_of(tmp_path / "all.jsonl")
    assert {pair["kind"] for pair in pairs} == {"title_abstract", "term_title"}
    assert len({pair["identity"] for pair in pairs}) == 1


def test_common_terms_leave_room_for_others(tmp_path: Path):
    records = [numbered(n).replace("NAD", f"rare{n}") for n in range(1, 5)]
    files = (str(write_pubmed(tmp_path / "all.xml", *records, INDEXED.replace("NAD", "Otters"))),)
    out = tmp_path / "terms.jsonl"
    told = run(ExtractConfig(input_path=files, output_file=str(out), kinds=("term_title",), pairs_per_term=3))
    counts = Counter(pair["query"] for pair in pairs_of(out))
    assert counts == {
        **dict.fromkeys(("Fish Oils", "Otters", "night swimming"), 3),
        **{f"rare{n}": 1 for n in range(1, 5)},
    }
    assert "each term has its pairs already" in told and "pairs  13" in told
    assert all(type(pair["identity"]) is int for pair in pairs_of(out))
    of_pairs = read_manifest(out)["counts"]["pairs of terms"]
    assert of_pairs == {"read": 19, "kept": 13, "dropped": {"each term has its pairs already": 6}}


def test_a_pair_that_two_records_give_is_written_once_and_counted(tmp_path: Path):
    again = INDEXED.replace("<PMID>7<", "<PMID>8<")  # the same terms and title
    more = INDEXED.replace("<PMID>7<", "<PMID>9<").replace("NAD", "fish").replace("Otters</", "otters</")
    files = (str(write_pubmed(tmp_path / "all.xml", INDEXED, again, more, numbered(4))),)
    out = tmp_path / "terms.jsonl"
    told = run(ExtractConfig(input_path=files, output_file=str(out), kinds=("term_title",), pairs_per_term=2))
    pairs = [(pair["query"], pair["article_id"]) for pair in pairs_of(out)]
    assert sorted(pairs) == sorted([(term, f"pmid:{n}") for n in (7, 4) for term in TERMS] + [("fish", "pmid:9")])
    counts = read_manifest(out)["counts"]
    assert counts["term_title"]["dropped"] == {"equal to another record's": 1}
    assert counts["pairs of terms"] == {"read": 16, "kept": 9, "dropped": {"equal to another record's": 7}}
    assert "extract: pairs of terms" in told


def test_what_gives_no_pair_gives_its_reason():
    assert drops_of(replace(ARTICLE, title="Otters.")) == [("term_title", "short title")]
    assert drops_of(replace(ARTICLE, title="Otters swim far", terms=("otters swim far.",))) == [
        ("term_title", "leak: the title is the term")
    ]
    assert drops_of(replace(ARTICLE, language="ger")) == [("term_title", "not English")]
    with pytest.raises(ConfigError, match="terms_per_article is 0"):
        PairRules(terms_per_article=0)


def test_the_help_names_every_kind_of_pair():
    (line,) = (line for line in usage().splitlines() if line.split()[:1] == ["extract"])
    assert all(kind.replace("_", "-") in line for kind in ALL_PAIR_KINDS)


def test_term_pairs_are_made_where_asked_for_alone(tmp_path: Path):
    assert ALL_PAIR_KINDS[: len(PAIR_KINDS)] == PAIR_KINDS and "term_title" not in PAIR_KINDS
    assert {pair.kind for pair in make_pairs(ARTICLE)[0]} <= set(PAIR_KINDS)
    files = (str(write_pubmed(tmp_path / "one.xml", INDEXED)),)
    run(ExtractConfig(input_path=files, output_file=str(tmp_path / "all.jsonl")))
    assert pairs_of(tmp_path / "all.jsonl") == []
    told = run(ExtractConfig(input_path=files, output_file=str(tmp_path / "terms.jsonl"), kinds=("term_title",)))
    pairs = pairs_of(tmp_path / "terms.jsonl")
    assert [pair["query"] for pair in pairs] == draw_terms(TERMS, 4, "0\0pmid:7") and "pairs  4" in told
