"""Near-copies of a positive, against a plain double loop, and against excluding all of them beforehand."""

import numpy as np
import pytest

from bioemb.mining import Context, NegativeRule, select_negatives
from bioemb.mining import near_duplicates as module
from bioemb.mining.near_duplicates import is_near_duplicate, select_without_copies


def crowded_vectors(rng, rows, width=5):
    """Vectors of length 1 around a few centres, so that some are near each other; some are the same."""
    centres = rng.standard_normal((4, width))
    vectors = centres[rng.integers(0, 4, rows)] + rng.choice([0, 0.1, 0.4]) * rng.standard_normal((rows, width))
    return np.float32(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def case(seed):
    """(passages [m, d], scores, ids, ragged positives, least cosine); some ids are missing."""
    rng = np.random.default_rng(seed)
    passages, queries = crowded_vectors(rng, int(rng.integers(5, 40))), crowded_vectors(rng, int(rng.integers(1, 7)))
    cosines = queries @ passages.T
    ids = np.argsort(-cosines, axis=1, kind="stable")[:, :20]
    scores = np.take_along_axis(cosines, ids, axis=1)
    short = int(rng.integers(0, ids.shape[1]))
    ids[0, ids.shape[1] - short :], scores[0, ids.shape[1] - short :] = -1, -np.inf
    positives = [rng.integers(0, len(passages), rng.integers(0, 4)).tolist() for _ in queries]
    return passages, scores, ids, positives, float(rng.choice([0.5, 0.9, 0.99, 1.0]))


def naive_copies(passages, ids, positives, least):
    """The places of each row whose passage is a copy."""
    return [
        [
            place
            for place, passage in enumerate(row)
            if passage >= 0 and any(float(passages[passage] @ passages[other]) >= least - 1e-6 for other in own)
        ]
        for row, own in zip(ids.tolist(), positives, strict=True)
    ]


def test_near_copies_are_those_of_a_plain_loop(monkeypatch):
    monkeypatch.setattr(module, "COMPARED_PAIRS", 7)  # several steps
    found = 0
    for seed in range(200):
        passages, _, ids, positives, least = case(seed)
        near = is_near_duplicate(ids, positives, passages.__getitem__, least)
        assert [np.flatnonzero(row).tolist() for row in near] == naive_copies(passages, ids, positives, least)
        found += near.sum()
    assert found > 1000


def selector(seed, calls):
    """From lists of copies to a selection of the case, by one rule or another; calls counts."""
    passages, scores, ids, positives, _ = case(seed)
    sampling = ("uniform", "top", "simans")[seed % 3]
    rule = NegativeRule(seed % 3, 20, count=1 + seed % 6, sampling=sampling, on_short="fewer", seed=seed)
    known = [passages[own] @ passages[0] if own else [0.3] for own in positives]
    context = Context(np.arange(len(ids)) * 7, len(passages))

    def select(copies):
        calls.append(1)
        return select_negatives(scores, ids, {"positive": positives, "copy": copies}, known, rule, context)

    return select


def test_comparing_only_what_is_drawn_gives_what_excluding_all_copies_beforehand_gives():
    redrawn = 0
    for seed in range(200):
        passages, _, ids, positives, least = case(seed)
        calls = []
        select = selector(seed, calls)
        expected = select([ids[row][at] for row, at in enumerate(naive_copies(passages, ids, positives, least))])
        selection = select_without_copies(select, positives, passages.__getitem__, least)
        for field in ("ids", "scores", "ranks"):
            np.testing.assert_array_equal(getattr(selection, field), getattr(expected, field), err_msg=f"seed {seed}")
        redrawn += len(calls) > 2
    assert redrawn > 50


def test_what_is_filled_up_at_random_is_not_drawn_again_for_ever():
    """Where all passages are alike, as a model without training has them, everything ranked is a copy."""
    passages = np.float32([[1, 0]] * 9)
    scores, ids = np.ones((1, 4), np.float32), np.array([[0, 1, 2, 3]])

    def select(copies):
        rule = NegativeRule(0, 4, count=2)
        return select_negatives(scores, ids, {"positive": [[0]], "copy": copies}, None, rule, Context(corpus_size=9))

    selection = select_without_copies(select, [[0]], passages.__getitem__, 0.95)
    assert selection.dropped == {"positive": 1, "copy": 3} and selection.short == {"filled at random": 1}
    assert set(selection.ids[0].tolist()) <= {4, 5, 6, 7, 8}


@pytest.mark.parametrize("least, kept", [(0.95, [2]), (0.99, [3, 2]), (1.1, [1, 3, 2])])
def test_a_copy_in_capitals_and_one_with_words_changed_are_no_negatives(least, kept):
    """Passage 0 is the positive; 1 is its copy in capitals, 3 has a few words changed."""
    passages = np.float32([[1, 0, 0], [1, 0, 0], [0.5, np.sqrt(0.75), 0], [0.96, 0, 0.28]])
    scores, ids = np.float32([[0.98, 0.98, 0.94, 0.66]]), np.array([[0, 1, 3, 2]])
    rule = NegativeRule(0, 4, count=3, on_short="fewer")
    selection = select_without_copies(
        lambda copies: select_negatives(scores, ids, {"positive": [[0]], "copy": copies}, None, rule),
        [[0]],
        passages.__getitem__,
        least,
    )
    assert [passage for passage in selection.ids[0].tolist() if passage >= 0] == kept
    assert selection.dropped.get("copy", 0) == 3 - len(kept)


def test_no_rows_and_rows_without_positives_have_no_copies():
    assert is_near_duplicate(np.empty((0, 3), np.int64), [], None, 0.9).shape == (0, 3)
    assert not is_near_duplicate(np.array([[4, 2]]), [[]], None, 0.9).any()
