"""Pairs: what is made of an article, what is left out and why, and which passages are drawn."""

import random
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from bioemb.data.articles import read_articles
from bioemb.data.pairs import (
    PairRules,
    abstract_passage,
    abstract_text,
    make_pairs,
    pair_identity,
    title_abstract,
    title_passage,
)
from bioemb.data.passage import Passage, draw_passages, passages
from bioemb.data.text import count_words
from bioemb.errors import ConfigError, DataError
from bioemb.records import PAIR_KINDS, AbstractPart, Article, Section


def words(count: int, name: str = "w") -> str:
    """A sentence of so many words, like no other with another name."""
    return " ".join(f"{name.capitalize()}{number}" for number in range(count)) + "."


def sentences(count: int, length: int, name: str = "s") -> str:
    return " ".join(words(length, f"{name}{number}x") for number in range(count))


ABSTRACT = (AbstractPart("AIMS", words(20, "aim")), AbstractPart("", words(15, "plain")))
SECTIONS = (
    Section(("Introduction",), "INTRO", (words(80, "intro"),)),
    Section(("Methods", "Mice"), "METHODS", (words(90, "method"), words(70, "mouse"))),
    Section(("Results",), "RESULTS", (words(100, "result"), words(61, "more"))),
)
ARTICLE = Article(
    article_id="pmid:7",
    title="The otters of the north.",
    abstract=ABSTRACT,
    sections=SECTIONS,
    pmid=7,
    language="eng",
    year=2001,
    license="CC BY",
)


def reasons(article: Article, rules: PairRules | None = None) -> dict[str, str]:
    pairs, drops = make_pairs(article, rules=rules or PairRules())
    made = {pair.kind for pair in pairs}
    assert made | {kind for kind, _ in drops} == set(PAIR_KINDS) and len(made) + len(drops) == len(PAIR_KINDS)
    return dict(drops)


# ---- rules


def test_an_article_gives_its_three_kinds():
    pairs, drops = make_pairs(ARTICLE)
    assert drops == [] and Counter(pair.kind for pair in pairs) == {
        "title_abstract": 1,
        "title_passage": 3,
        "abstract_passage": 3,
    }
    texts = {paragraph for section in SECTIONS for paragraph in section.paragraphs}
    abstract = f"{words(20, 'aim')} {words(15, 'plain')}"
    for pair in pairs:
        assert pair.query == (abstract if pair.kind == "abstract_passage" else ARTICLE.title)
        assert pair.document in ({abstract} if pair.kind == "title_abstract" else texts)
        assert pair.article_id == "pmid:7" and pair.identity == pair_identity(ARTICLE)
        assert (pair.extra["language"], pair.extra["year"], pair.extra["license"]) == ("eng", 2001, "CC BY")
    every = make_pairs(ARTICLE, rules=PairRules(passages_per_article=9))[0]
    methods = next(pair for pair in every if "Method0" in pair.document or "Mouse0" in pair.document)
    assert (methods.extra["section"], methods.extra["section_path"]) == ("METHODS", "Methods / Mice")
    assert pairs[0].extra["section"] == "" and pairs[0].extra.keys() == methods.extra.keys()


def test_each_rule_alone_gives_its_part_of_all_pairs():
    alone = [*title_abstract(ARTICLE), *title_passage(ARTICLE), *abstract_passage(ARTICLE)]
    assert alone == make_pairs(ARTICLE)[0]
    assert list(title_abstract(replace(ARTICLE, abstract=()))) == []


def test_only_the_kinds_asked_for_are_made_and_counted():
    pairs, drops = make_pairs(replace(ARTICLE, sections=()), ("title_passage", "title_abstract"))
    assert [pair.kind for pair in pairs] == ["title_abstract"] and drops == [("title_passage", "no full text")]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"title": ""}, ("no title", "no title", None)),
        ({"title": "Sea otters."}, ("short title", "short title", None)),
        ({"abstract": ()}, ("no abstract", None, "no abstract")),
        ({"abstract": (AbstractPart("", words(29)),)}, ("short abstract", None, "short abstract")),
        ({"sections": ()}, (None, "no full text", "no full text")),
        ({"sections": (Section((), "OTHER", (words(59),)),)}, (None, "short full text", "short full text")),
        ({"language": "ger"}, ("not English",) * 3),
        ({"publication_types": ("Journal Article", "Letter")}, ("type: Letter",) * 3),
        (
            {"publication_types": ("Retracted Publication",), "flags": frozenset({"retracted"})},
            ("type: Retracted Publication",) * 3,
        ),
        ({"flags": frozenset({"retracted"})}, ("retracted",) * 3),
        ({"flags": frozenset({"book"})}, ("book",) * 3),
        ({"title": "Correction to: The otters of the north."}, ("notice",) * 3),
        ({"title": "", "abstract": (), "sections": ()}, ("no title", "no full text", "no full text")),
    ],
)
def test_each_kind_gives_pairs_or_exactly_one_reason(change: dict, expected: tuple):
    found = reasons(replace(ARTICLE, **change))
    assert tuple(found.get(kind) for kind in PAIR_KINDS) == expected


def test_rules_can_be_relaxed():
    article = replace(
        ARTICLE,
        language="ger",
        publication_types=("Letter", "Retracted Publication"),
        flags=frozenset({"retracted", "book"}),
    )
    rules = PairRules(languages=("eng",), skipped_types=(), books=True)
    assert reasons(article, rules) == dict.fromkeys(PAIR_KINDS, "not English")
    assert reasons(article, replace(rules, languages=("eng", "fre"))) == dict.fromkeys(PAIR_KINDS, "language: ger")
    assert (
        reasons(article, replace(rules, languages=("all",)))
        == reasons(article, replace(rules, languages=("ger",)))
        == {}
    )
    assert reasons(replace(ARTICLE, title="Erratum: the otters"), PairRules(notices=True)) == {}
    assert reasons(replace(ARTICLE, language="")) == {}


def test_licences_are_asked_of_full_text_only():
    rules = PairRules(licenses=("CC0", "CC BY"))
    assert reasons(ARTICLE, rules) == {}
    for license, told in (("CC BY-NC", "license: CC BY-NC"), ("", "license: unknown")):
        found = reasons(replace(ARTICLE, license=license), rules)
        assert found == {"title_passage": told, "abstract_passage": told}


def test_rules_that_cannot_work_are_refused():
    for wrong in ({"passages_per_article": 0}, {"min_passage_words": 200}, {"min_passage_words": 0}):
        with pytest.raises(ConfigError, match="passage"):
            PairRules(**wrong)


def test_labels_are_kept_or_dropped():
    assert abstract_text(ABSTRACT) == f"{words(20, 'aim')} {words(15, 'plain')}"
    (pair,) = title_abstract(ARTICLE, PairRules(keep_labels=True))
    assert pair.document == f"AIMS: {words(20, 'aim')} {words(15, 'plain')}"


# ---- leaks


@pytest.mark.parametrize("joint", [". ", " ", ": ", " - ", ".\u2014"])
@pytest.mark.parametrize("title", ["The otters of the north.", "Where do otters swim?"])
def test_a_title_that_opens_its_abstract_is_removed_from_it(title: str, joint: str):
    rest = words(40, "rest")
    opening = title.rstrip(".").upper() + joint
    (part, *_), expected = (AbstractPart("", opening + rest),), rest
    article = replace(ARTICLE, title=title, abstract=(part,))
    if joint == " " and not title.endswith("?"):  # it may be the beginning of a longer sentence
        assert reasons(article)["title_abstract"] == "leak: one side contains the other"
    else:
        assert next(title_abstract(article)).document == expected


def test_a_title_that_is_the_first_part_of_an_abstract_takes_the_part_with_it():
    article = replace(ARTICLE, abstract=(AbstractPart("TITLE", "The otters of the north"), *ABSTRACT))
    assert next(title_abstract(article)).document == abstract_text(ABSTRACT)
    short = replace(ARTICLE, abstract=(AbstractPart("", f"{ARTICLE.title} {words(28)}"),))
    assert reasons(short)["title_abstract"] == "short abstract"


def test_a_pair_whose_one_side_contains_the_other_is_dropped():
    within = f"{words(20)} As we told in the otters of the North, {words(20, 'v')}"
    assert reasons(replace(ARTICLE, abstract=(AbstractPart("", within),)))["title_abstract"].startswith("leak")
    leaking = Section(("Discussion",), "DISCUSS", (f"{words(60, 'd')} {ARTICLE.title}",))
    assert reasons(replace(ARTICLE, sections=(leaking,)))["title_passage"].startswith("leak")
    repeated = Section(("Summary",), "CONCL", (f"{words(40, 'd')} {abstract_text(ABSTRACT)}",))
    assert reasons(replace(ARTICLE, sections=(repeated,))) == {"abstract_passage": "leak: one side contains the other"}


def test_leaking_passages_are_left_out_of_the_draw():
    leaking = Section(("Discussion",), "DISCUSS", (f"{words(60, 'd')} {ARTICLE.title}",))
    article = replace(ARTICLE, sections=(leaking, *SECTIONS))
    for seed in range(30):
        for pair in title_passage(article, PairRules(seed=seed)):
            assert "otters" not in pair.document


# ---- passages


def random_article(seed: int) -> Article:
    generator = random.Random(seed)
    sections = []
    for section in range(generator.randint(1, 4)):
        paragraphs = tuple(
            sentences(generator.randint(1, 9), generator.choice((3, 12, 40, 130, 400)), f"a{section}b{number}c")
            for number in range(generator.randint(1, 7))
        )
        sections.append(Section((f"S{section}",), "RESULTS", paragraphs))
    return Article(article_id=f"pmid:{seed}", sections=tuple(sections))


@pytest.mark.parametrize(("least", "most"), [(60, 300), (10, 20), (1, 2), (100, 250)])
def test_passages_keep_their_bounds_their_section_and_the_order_of_words(least: int, most: int):
    for seed in range(30):
        article = random_article(seed)
        for section in article.sections:
            remaining = iter(" ".join(section.paragraphs).split())
            of_section = [passage for passage in passages(article, least, most) if passage.path == section.path]
            for passage in of_section:
                assert least <= count_words(passage.text) <= most
                assert all(word in remaining for word in passage.text.split()), "words of this section, each once"


def test_what_passages_leave_out_is_less_than_a_passage_for_each_section_and_split():
    for seed in range(60):
        article = random_article(seed)
        for section in article.sections:
            total = sum(map(count_words, section.paragraphs))
            kept = sum(count_words(p.text) for p in passages(article) if p.path == section.path)
            assert kept == 0 if total < 60 else kept >= 0.5 * total


def test_short_paragraphs_are_joined_and_long_ones_split_at_sentences():
    joined = Section(
        ("A",), "RESULTS", (words(20, "a"), words(30, "b"), words(25, "c"), words(70, "d"), words(10, "e"))
    )
    long = Section(("B",), "RESULTS", (sentences(10, 70, "f"),))
    found = [passage.text for passage in passages(replace(ARTICLE, sections=(joined, long)))]
    assert found[0] == " ".join((words(20, "a"), words(30, "b"), words(25, "c")))
    assert found[1] == f"{words(70, 'd')} {words(10, 'e')}"
    assert [count_words(text) for text in found[2:]] == [280, 280, 140]
    assert " ".join(found[2:]) == long.paragraphs[0]


def test_the_same_text_is_a_passage_once():
    twice = (Section(("A",), "RESULTS", (words(70),)), Section(("B",), "RESULTS", (words(70).lower(),)))
    assert [passage.path for passage in passages(replace(ARTICLE, sections=twice))] == [("A",)]


# ---- drawing


def candidates(kinds: list[str]) -> list[Passage]:
    return [Passage(f"text {number}", kind, ()) for number, kind in enumerate(kinds)]


def test_drawn_passages_are_different_in_order_and_as_many_as_asked_for():
    every = candidates(["RESULTS"] * 4 + ["METHODS"] * 5)
    for seed in range(50):
        for count in (1, 3, 9, 20):
            drawn = draw_passages(every, count, str(seed))
            assert len(drawn) == min(count, 9) and drawn == [passage for passage in every if passage in drawn]
            assert len(set(drawn)) == len(drawn)


def test_methods_are_drawn_at_a_quarter_of_the_others_rate():
    every = candidates(["METHODS", "RESULTS", "METHODS", "DISCUSS"])
    first = Counter(draw_passages(every, 1, str(seed))[0].kind for seed in range(6000))
    # one draw is proportional to the weights: .25, 1, .25, 1 of 2.5
    assert abs(first["METHODS"] / 6000 - 0.2) < 0.02
    assert abs(first["RESULTS"] / 6000 - 0.4) < 0.025


def test_the_draw_depends_on_seed_article_and_kind_and_on_nothing_else():
    many = replace(
        ARTICLE,
        sections=tuple(
            replace(section, path=(str(n),), paragraphs=(words(80, f"p{n}x"),))
            for n, section in enumerate(SECTIONS * 5)
        ),
    )
    articles = [replace(many, article_id=f"pmid:{number}") for number in range(20)]
    whole = {article.article_id: make_pairs(article)[0] for article in articles}
    random.seed(1)
    for article in sorted(articles, key=lambda article: article.article_id, reverse=True):
        assert make_pairs(article)[0] == whole[article.article_id]
    draws = {tuple(pair.document for pair in made if pair.kind == "title_passage") for made in whole.values()}
    assert len(draws) > 15
    one = articles[0]
    assert [p.document for p in title_passage(one, PairRules(seed=1))] != [p.document for p in title_passage(one)]
    assert [p.document for p in abstract_passage(one)] != [p.document for p in title_passage(one)]


def test_the_draw_is_the_same_on_every_machine():
    assert [p.text for p in draw_passages(candidates(["RESULTS"] * 6 + ["METHODS"] * 4), 3, "0\0pmid:1\0x")] == [
        "text 4",
        "text 5",
        "text 8",
    ]  # pinned: another draw would change every corpus made so far


def test_importing_the_data_package_loads_no_torch():
    script = (
        "import sys, bioemb.data; from bioemb.data import make_pairs, passages, read_articles; "
        "assert callable(passages) and callable(read_articles); "
        "sys.exit(bool({'torch', 'transformers', 'datasets', 'pyarrow'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


# ---- real records


def test_every_real_record_gives_pairs_or_one_reason_for_each_kind(shared_data: Path):
    rules = PairRules()
    made: Counter[str] = Counter()
    for path in sorted(file for folder in ("pubmed_xml", "pmc_nxml") for file in (shared_data / folder).rglob("*.*")):
        if not path.is_file() or path.name == "output.xml":
            continue
        for article in read_articles(path):
            if not isinstance(article, Article):
                continue
            pairs, drops = make_pairs(article, PAIR_KINDS, rules)
            kinds = Counter(pair.kind for pair in pairs)
            assert sorted([*kinds, *(kind for kind, _ in drops)]) == sorted(PAIR_KINDS), article.article_id
            assert all(reason for _, reason in drops) and max(kinds.values(), default=0) <= 3
            for pair in pairs:
                assert pair.query.casefold() not in pair.document.casefold() and pair.document not in pair.query
                if pair.kind != "title_abstract":
                    assert 60 <= count_words(pair.document) <= 300
            made += kinds
    assert made["title_abstract"] > 4_200 and made["title_passage"] > 500 and made["abstract_passage"] > 500


def test_the_one_file_that_is_no_xml_is_refused(shared_data: Path):
    with pytest.raises(DataError, match="not well-formed"):
        list(read_articles(shared_data / "pubmed_xml" / "jmjamison__pubmedExtracts" / "output.xml"))
