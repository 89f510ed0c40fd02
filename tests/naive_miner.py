"""A miner in plain Python that looks at one candidate at a time, and lopsided inputs for it: an oracle for tests."""

import math
from collections import Counter
from typing import NamedTuple

import numpy as np

from bioemb.mining import Context, NegativeRule
from bioemb.mining.negative_rule import ON_SHORT, SAMPLING

GOLDEN = 0x9E3779B97F4A7C15


def mixed(z: int) -> int:
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


def chance(seed: int, key: int, item: int) -> float:
    """The uniform number of one item of the sampling stream that (seed, key) start."""
    start = mixed((mixed((seed + GOLDEN) % 2**64) + GOLDEN) % 2**64)
    output = mixed((mixed(start ^ key % 2**64) + GOLDEN * (item + 1)) % 2**64)
    return ((output >> 12) + 0.5) / 2**52


class Case(NamedTuple):
    """One lopsided input, as plain lists."""

    scores: list
    ids: list
    excluded: list
    positives: list
    keys: list
    query_identities: list
    passage_identities: list

    def arguments(self):
        context = Context(
            np.array(self.keys), len(self.passage_identities), self.query_identities, np.array(self.passage_identities)
        )
        shape = len(self.ids), -1
        scores = np.array(self.scores, dtype=np.float32).reshape(shape)
        return scores, np.array(self.ids).reshape(shape), self.excluded, self.positives, context


def lopsided_case(seed):
    """1-7 queries, 2-25 passages; ragged positives, padding, ties, negative scores, unknown identities."""
    rng = np.random.default_rng(seed)
    corpus, queries = int(rng.integers(2, 26)), int(rng.integers(1, 8))
    k = corpus + int(rng.integers(0, 3))  # sometimes beyond the corpus
    passage_identities = rng.integers(-1, 6, corpus).tolist()
    case = Case([], [], [], [], [], [], passage_identities)
    for _ in range(queries):
        found = int(rng.integers(0, corpus + 1)) if seed % 3 == 0 else corpus
        scores = np.round(-np.sort(-rng.uniform(-0.6, 1, found)), 1)  # one decimal: ties
        case.ids.append(rng.permutation(corpus)[:found].tolist() + [-1] * (k - found))
        case.scores.append(scores.tolist() + [-np.inf] * (k - found))
        case.excluded.append(rng.integers(0, corpus, rng.integers(0, 4)).tolist())
        case.positives.append(np.round(rng.uniform(-0.5, 1, rng.integers(1, 4)), 2).tolist())
        case.keys.append(int(rng.integers(-(2**62), 2**62)))
        case.query_identities.append(rng.integers(-1, 6, rng.integers(0, 3)).tolist())
    return case


def random_rule(seed):
    rng = np.random.default_rng(seed + 10_000)
    start = int(rng.integers(0, 4))
    return NegativeRule(
        start,
        start + int(rng.integers(1, 25)),
        count=int(rng.integers(1, 9)),
        sampling=SAMPLING[seed % 3],
        relative_margin=rng.choice([None, 0.05, 0.3]),
        absolute_margin=rng.choice([None, 0.1]),
        max_score=rng.choice([None, 0.8]),
        min_score=rng.choice([None, -0.2]),
        on_short=ON_SHORT[seed // 3 % 3],
        seed=seed,
        simans_b=-0.1,
    )


def naive_reason(case, row, rank, rule):
    """Why a candidate is refused, or None."""
    passage, score, lowest = case.ids[row][rank], np.float32(case.scores[row][rank]), min(case.positives[row])
    if passage == -1:
        return "padding"
    identity = case.passage_identities[passage]
    refusals = {
        "positive or same text": passage in case.excluded[row],
        "same identity": identity >= 0 and identity in case.query_identities[row],
        "before the range": rank < rule.range_start,
        "above relative margin": rule.relative_margin is not None
        and score > np.float32(lowest - abs(lowest) * rule.relative_margin),
        "above absolute margin": rule.absolute_margin is not None and score > np.float32(lowest - rule.absolute_margin),
        "above max_score": rule.max_score is not None and score > np.float32(rule.max_score),
        "below min_score": rule.min_score is not None and score < np.float32(rule.min_score),
    }
    return next((reason for reason, applies in refusals.items() if applies), None)


def naive_priority(case, row, rank, rule):
    draw = chance(rule.seed, case.keys[row], case.ids[row][rank])
    if rule.sampling == "simans":
        gap = float(np.float32(case.scores[row][rank])) - min(case.positives[row]) - rule.simans_b
        return -rule.simans_a * gap**2 - math.log(-math.log(draw))
    return -rank if rule.sampling == "top" else draw


def naive_miner(case, rule):
    """(eligible ranks, chosen ranks) of each query and the candidates dropped by reason; no filling."""
    eligible, chosen, dropped = [], [], Counter()
    for row, ids in enumerate(case.ids):
        ranks = range(min(len(ids), rule.range_stop))
        reasons = {rank: naive_reason(case, row, rank, rule) for rank in ranks}
        left = [rank for rank in ranks if reasons[rank] is None]
        taken = sorted(left, key=lambda rank: -naive_priority(case, row, rank, rule))[: rule.count]
        dropped.update(reason for reason in reasons.values() if reason)
        dropped["not sampled"] += len(left) - len(taken)
        if len(taken) < rule.count and rule.on_short == "drop":
            dropped["query short of negatives"] += len(taken)
            taken = []
        eligible.append(left)
        chosen.append(sorted(taken))
    return eligible, chosen, {reason: count for reason, count in dropped.items() if count}
