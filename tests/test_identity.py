"""What ties articles together, against union-find and nested loops, and what the texts' marks and signatures say."""

from itertools import combinations
from random import Random

import numpy as np
import pytest

from bioemb.data import identity
from bioemb.data.identity import (
    BANDS,
    equal_ties,
    is_spoken_of,
    link_ties,
    marks_of,
    near_ties,
    share_of_equal,
    signature,
    smallest_of_group,
    title_in_question,
    words_of,
)
from bioemb.records import AbstractPart, Article
from bioemb.stages.extract_identity import group_articles
from bioemb.stages.extract_part import SOURCES, _Rows, part_of, record_key

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def naive_groups(keys: list[int], ties: list[tuple[int, int]]) -> dict[int, int]:
    """Union-find, one tie after the other: each key's smallest companion."""
    parent = {key: key for pair in [*ties, *((key, key) for key in keys)] for key in pair}

    def root(key: int) -> int:
        while parent[key] != key:
            key = parent[key]
        return key

    for one, other in ties:
        low, high = sorted((root(one), root(other)))
        parent[high] = low
    return {key: root(key) for key in parent}


def as_groups(ties: np.ndarray) -> dict[int, int]:
    keys, smallest = smallest_of_group(ties)
    return dict(zip(keys.tolist(), smallest.tolist(), strict=True))


def text_of(draw: Random, words: int) -> list[str]:
    return ["".join(draw.choices(LETTERS, k=draw.randint(2, 7))) for _ in range(words)]


def edited(draw: Random, words: list[str], changes: int) -> list[str]:
    words = list(words)
    for place in draw.sample(range(len(words)), changes):
        words[place] = "".join(draw.choices(LETTERS, k=8))
    return words


def jaccard(one: list[str], other: list[str]) -> float:
    some, others = (set(zip(words, words[1:], words[2:], strict=False)) for words in (one, other))
    return len(some & others) / len(some | others)


# Groups


@pytest.mark.parametrize("first_seed", range(0, 200, 50))
def test_groups_are_those_of_union_find(first_seed):
    for seed in range(first_seed, first_seed + 50):
        draw = Random(seed)
        keys = draw.sample(range(-500, 500), draw.randint(2, 90))
        ties = [tuple(draw.choices(keys, k=2)) for _ in range(draw.randint(1, 110))]
        found = as_groups(np.array(ties))
        expected = naive_groups([], ties)
        assert found == expected, seed


@pytest.mark.parametrize("count", [1, 2, 3, 1000])
def test_a_chain_in_any_order_and_a_star_are_one_group(count):
    order = np.random.default_rng(count).permutation(count + 1) + 7
    chain = np.stack([order[:-1], order[1:]], axis=1)
    star = np.stack([np.full(count, 5000), np.arange(count)], axis=1)
    assert set(as_groups(chain).values()) == {7}
    assert set(as_groups(star).values()) == {0} and len(as_groups(star)) == count + 1


def test_without_ties_there_are_no_groups():
    assert as_groups(np.zeros((0, 2), np.int64)) == {}


# Ties


def test_equal_marks_tie_and_no_mark_ties_nothing():
    for seed in range(200):
        rng = np.random.default_rng(seed)
        count = int(rng.integers(1, 60))
        keys, marks = rng.permutation(1000)[:count] - 300, rng.integers(0, 1 + count // 2, count)
        pairs = [(a, b) for a, b in combinations(range(count), 2) if marks[a] == marks[b] != 0]
        expected = naive_groups([], [(int(keys[a]), int(keys[b])) for a, b in pairs])
        assert as_groups(equal_ties(keys, marks)) == expected


def test_what_speaks_of_one_article_is_tied_to_it_and_what_speaks_of_several_to_none():
    commented = [(1, 50), (1, 51), (2, 52), (52, 53)]  # two comments on 1, one on 2, and a reply to that one
    of_several = [(1, 60), (2, 60), (3, 61), (4, 61), (3, 61)]
    links = np.array([*commented, *of_several, (5, 62), (5, 62), (7, 7)])
    assert link_ties(links).tolist() == [[1, 50], [1, 51], [2, 52], [5, 62], [52, 53]]
    assert link_ties(np.zeros((0, 2), np.int64)).tolist() == []
    told = {"CommentIn": True, "ErratumIn": True, "CommentOn": False, "RetractionOf": False, "ErratumFor": False}
    assert {kind: is_spoken_of(kind) for kind in told} == told


def naive_near(keys: list[int], signatures: np.ndarray, threshold: float) -> set[tuple[int, int]]:
    """In each band, each of a run (by key) against the first and against the one before it."""
    found = set()
    for band in range(BANDS):
        for value in set(signatures[:, band].tolist()) - {0}:
            run = [n for n in range(len(keys)) if signatures[n, band] == value]
            for place in range(1, len(run)):
                for other in {run[0], run[place - 1]}:
                    numbers = zip(*(signatures[n].view(np.uint16).tolist() for n in (other, run[place])), strict=True)
                    if sum(a == b for a, b in numbers) >= threshold * BANDS * 4:
                        found.add((keys[other], keys[run[place]]))
    return found


def test_near_duplicates_are_those_of_nested_loops(monkeypatch):
    monkeypatch.setattr(identity, "BLOCK", 5)
    tied = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        originals = rng.integers(0, 3, (4, BANDS), np.uint64)  # few values: long runs, and zeros
        signatures = originals[rng.integers(0, 4, rng.integers(1, 25))]
        noise = rng.random(signatures.shape) < rng.random((len(signatures), 1)) * 0.6
        signatures[noise] = rng.integers(1, 1 << 63, int(noise.sum()), np.uint64)
        keys = np.sort(rng.permutation(500)[: len(signatures)])
        found = near_ties(keys, signatures.T, lambda at, rows=signatures: rows[at], 0.55)
        expected = naive_near(keys.tolist(), signatures, 0.55)
        assert {tuple(pair) for pair in found.tolist()} == expected and len(found) == len(expected)
        tied += len(expected)
    assert tied > 300


def test_a_signature_estimates_the_share_of_common_word_triples():
    errors = []
    for seed in range(150):
        draw = Random(seed)
        one = text_of(draw, draw.randint(40, 300))
        other = edited(draw, one, draw.randint(0, len(one) // 4))
        estimate = share_of_equal(signature(one)[None], signature(other)[None])[0]
        errors.append(estimate - jaccard(one, other))
    # 128 numbers: the deviation of one estimate is at most sqrt(.25 / 128) = 0.044
    assert abs(np.mean(errors)) < 3 * 0.044 / 150**0.5 and np.std(errors) < 0.05 and max(map(abs, errors)) < 0.2


def test_copies_that_share_most_triples_are_tied_and_strangers_are_not():
    draw = Random(3)
    texts = [text_of(draw, 150) for _ in range(300)]
    copies = [edited(draw, words, 10) for words in texts[:100]]  # 10 changes take 30 of 148 triples: Jaccard near 0.66
    signatures = np.stack([signature(words) for words in [*texts, *copies]])
    found = {tuple(pair) for pair in near_ties(np.arange(400), signatures.T, signatures.__getitem__, 0.5).tolist()}
    planted = {(number, 300 + number) for number in range(100)}
    assert found <= planted and len(found) >= 97


# Marks


@pytest.mark.parametrize(
    ("title", "about"),
    [
        ("Reply to: Long-term effects of drug X on mice", "Long-term effects of drug X on mice"),
        ("Reply to Long-term effects of drug X", "Long-term effects of drug X"),
        ("Publisher Correction: Effects of drug X on mice.", "Effects of drug X on mice."),
        ("Correction to: Effects of drug X", "Effects of drug X"),
        ("Retraction Note to: Effects of drug X", "Effects of drug X"),
        ("RETRACTED: Effects of drug X", "Effects of drug X"),
        ("[RETRACTED ARTICLE] Effects of drug X", "Effects of drug X"),
        ("Expression of Concern: Effects of drug X", "Effects of drug X"),
        ("Erratum to: Effects of drug X", "Effects of drug X"),
        ("Comment on “Effects of drug X”", "Effects of drug X"),
        ("Effects of drug X: Authors' reply.", "Effects of drug X"),
        ("Effects of drug X [Erratum]", "Effects of drug X"),
        ("Response to chemotherapy in mice", "Response to chemotherapy in mice"),
        ("Correction of scoliosis in children", "Correction of scoliosis in children"),
        ("Withdrawn patients in a trial of drug X", "Withdrawn patients in a trial of drug X"),
        ("Retraction of the lung after surgery", "Retraction of the lung after surgery"),
        ("Comments by patients on their care", "Comments by patients on their care"),
    ],
)
def test_a_notice_is_about_the_title_that_it_names(title, about):
    assert words_of(title_in_question(title)) == words_of(about)


def article(title: str = "", abstract: str = "", **fields) -> Article:
    parts = (AbstractPart("", abstract),) if abstract else ()
    return Article(fields.pop("article_id", "pmid:1"), "pubmed", title=title, abstract=parts, **fields)


def test_marks_leave_out_case_signs_and_spacing_and_nothing_else():
    words = text_of(Random(1), 40)
    plain, _ = marks_of(article("The effects of drug X", " ".join(words)))
    other, _ = marks_of(article("THE EFFECTS, of drug-X.", ", ".join(words).upper()))
    assert (plain.title, plain.abstract) == (other.title, other.abstract) and 0 not in plain[:2]
    changed, _ = marks_of(article("The effects of drug Y", " ".join([*words, "not"])))
    assert plain.title != changed.title and plain.abstract != changed.abstract


def test_short_texts_and_absent_names_have_no_marks():
    marks, words = marks_of(article("Book review", "No abstract is available for this article."))
    assert marks == (0, 0, 0, 0) and words == []
    marks, words = marks_of(article(doi="10.1/x", pmcid="PMC1"))
    assert marks.doi and marks.pmcid and marks.doi != marks.pmcid


# The parts of an extraction


def random_articles(draw: Random) -> list[Article]:
    """A few articles in one or two sources, some with each other's title, abstract, DOI or a link."""
    titles = [" ".join(text_of(draw, 6)) for _ in range(6)]
    abstracts = [" ".join(text_of(draw, 30)) for _ in range(6)]
    made = []
    for pmid in draw.sample(range(1, 60), draw.randint(2, 14)):
        for source in SOURCES[: draw.randint(1, 2)]:
            made.append(
                Article(
                    f"pmid:{pmid}",
                    source,
                    title=draw.choice([*titles, *(" ".join(text_of(draw, 6)) for _ in range(20))]),
                    abstract=tuple(AbstractPart("", text) for text in draw.choices([*abstracts, ""], k=1) if text),
                    pmid=pmid,
                    doi=draw.choice(["", "", "", "10.1/a", "10.1/b"]),
                    links=tuple(
                        (draw.choice(["CommentOn", "CommentIn"]), draw.randint(1, 80))
                        for _ in range(draw.choice([0, 0, 0, 1, 2]))
                    ),
                )
            )
    draw.shuffle(made)
    return made


def naive_identities(articles: list[Article]) -> dict[int, int]:
    spoken: dict[int, set[int]] = {}
    for one in articles:
        for kind, pmid in one.links:
            about, speaker = (one.pmid, pmid) if kind == "CommentIn" else (pmid, one.pmid)
            spoken.setdefault(speaker, set()).update({about} - {speaker})
    ties = [(*about, speaker) for speaker, about in spoken.items() if len(about) == 1]
    for one, other in combinations(articles, 2):
        same_title = words_of(one.title) == words_of(other.title)
        same_abstract = one.abstract and words_of(one.abstract[0].text) == words_of(
            other.abstract[0].text if other.abstract else ""
        )
        if same_title or same_abstract or (one.doi and one.doi == other.doi):
            ties.append((one.pmid, other.pmid))
    return naive_groups([one.pmid for one in articles], ties)


@pytest.mark.parametrize("threshold", [None, 0.5])
def test_groups_of_parts_are_those_of_union_find_over_the_articles(tmp_path, threshold):
    joined = 0
    for seed in range(25):
        draw = Random(seed)
        articles = random_articles(draw)
        cuts = sorted(draw.choices(range(len(articles) + 1), k=3))  # four parts, some of them empty
        parts = [part_of(tmp_path, number) for number in range(4)]
        for part, start, end in zip(parts, [0, *cuts], [*cuts, len(articles)], strict=True):
            rows = _Rows(signed=threshold is not None)
            for one in articles[start:end]:
                rows.add(one, [], [], False)
            rows.write(part)
        keys = np.array([record_key(one) for one in articles])
        sources = np.array([SOURCES.index(one.source) for one in articles])
        groups = group_articles(parts, keys, sources, np.ones(len(keys), bool), threshold)
        expected = naive_identities(articles)
        assert groups.names(keys).tolist() == [expected[key] for key in keys.tolist()], seed
        counts = groups.counts(keys)
        assert counts["articles"] == len(set(keys.tolist()))
        assert counts["identities"] == len({expected[key] for key in keys.tolist()})
        joined += counts["sharing"]
    assert joined > 60
