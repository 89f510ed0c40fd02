"""Which evaluation texts a training text meets: by hand, and against sets of word tuples."""

import random
import re

import pytest

from bioemb.data.contamination import MIN_WORDS, NEAR_WORDS, RUN, EvaluationIndex, Match

COMMON = "the of in a with for patients effect treatment study".split()
QUERY = "does early treatment with statins lower mortality in older patients"  # 10 words
LONG = (
    "we followed eight hundred patients with sepsis in nine hospitals for ninety days and counted who had died by then"
)


def naive_matches(text: str, others: list[str], share: float) -> list[Match]:
    """The rule as the documentation has it, one pair of texts after the other."""

    def words(text: str) -> list[str]:
        return re.findall(r"\w+", text.lower())

    def runs(words: list[str]) -> set[tuple[str, ...]]:
        return {tuple(words[start : start + RUN]) for start in range(len(words) - RUN + 1)}

    found = []
    own = words(text)
    for number, other in enumerate(map(words, others)):
        if own == other and own:
            found.append(Match(number, "same", 1.0))
            continue
        shorter = min(len(own), len(other))
        if shorter < MIN_WORDS:
            continue
        common = len(runs(own) & runs(other)) / min(len(runs(own)), len(runs(other)))
        if common == 1:
            found.append(Match(number, "contained", 1.0))
        elif common >= share and shorter >= NEAR_WORDS:
            found.append(Match(number, "near", common))
    return found


def random_text(rng: random.Random, sources: list[str]) -> str:
    """A text of few words, so that much repeats; or a piece of another, some words changed, with more around it."""
    words = [rng.choice(COMMON) for _ in range(rng.choice([0, 1, 3, 7, 8, 9, 19, 20, 21, 40]))]
    if sources and rng.random() < 0.6:
        words = rng.choice(sources).split()
        start = rng.randrange(len(words) + 1)
        words = words[start : start + rng.choice([5, 8, 20, 40])]
        for _ in range(rng.choice([0, 0, 1, 3])):
            if words:
                words[rng.randrange(len(words))] = rng.choice([*COMMON, "rare"])
        words = [rng.choice(COMMON) for _ in range(rng.choice([0, 0, 5]))] + words
    return " ".join(rng.choice([str.upper, str.lower])(word) + rng.choice(["", "", ",", "."]) for word in words)


@pytest.mark.parametrize("share", [0.3, 0.5, 1.0])
def test_matches_are_those_of_a_plain_comparison_with_every_text(share):
    reasons = []
    for seed in range(15):
        rng = random.Random(seed)
        texts: list[str] = []
        for _ in range(60):
            texts.append(random_text(rng, texts))
        index = EvaluationIndex(texts[:40], share)
        for text in texts:
            expected = naive_matches(text, texts[:40], share)
            assert index.find(text) == expected, (seed, text)
            reasons += [match.reason for match in expected]
    wanted = {"same", "contained"} if share == 1 else {"same", "contained", "near"}
    assert set(reasons) == wanted and len(reasons) > 300


def met(text: str, other: str) -> str:
    """How a training text meets an evaluation text, '' where it does not."""
    return "".join(match.reason for match in EvaluationIndex([other], 0.5).find(text))


@pytest.mark.parametrize(
    ("text", "other", "how"),
    [
        ("Aspirin.", "aspirin", "same"),  # one word, and nothing else
        ("Aspirin in stroke", "aspirin", ""),  # a word does not strike all texts that have it
        (f"{QUERY}?", QUERY.upper(), "same"),
        (f"Background: {QUERY}? We asked.", QUERY, "contained"),  # a query within an abstract
        (QUERY, f"{QUERY} {LONG}", "contained"),  # a title within a document
        ("early treatment with statins lower mortality in", QUERY, ""),  # 7 words of it
        (QUERY.replace("statins", "fibrates"), QUERY, ""),  # another question of the same mould
        (LONG.replace("nine", "ten"), LONG, "near"),  # one word of twenty
        (" ".join(reversed(LONG.split())), LONG, ""),  # the same words, no run of them
        ("", LONG, ""),
        ("...", "", ""),
    ],
)
def test_each_rule_by_hand(text, other, how):
    assert met(text, other) == how


def test_the_share_is_of_the_shorter_text():
    (match,) = EvaluationIndex([LONG], 0.5).find(LONG.replace("hospitals", "clinics") + " and more words after that")
    assert match.reason == "near" and match.share == pytest.approx(11 / 16)  # a changed word spoils 5 of 16 runs


def test_an_evaluation_without_texts_is_met_by_nothing():
    assert EvaluationIndex([], 0.5).find(LONG) == [] and EvaluationIndex(["", "one two"], 0.5).find(LONG) == []
