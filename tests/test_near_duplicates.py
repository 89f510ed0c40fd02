"""Near-copies of a positive, against a plain double loop over all candidates and positives."""

import numpy as np
import pytest

from bioemb.mining import NegativeRule, select_negatives
from bioemb.mining import near_duplicates as module
from bioemb.mining.near_duplicates import near_duplicates


def crowded_vectors(rng, rows, width=5):
    """Vectors of length 1 around a few centres, so that some are near each other; some are the same."""
    centres = rng.standard_normal((4, width))
    vectors = centres[rng.integers(0, 4, rows)] + rng.choice([0, 0.1, 0.4]) * rng.standard_normal((rows, width))
    return np.float32(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def case(seed):
    """(passages [m, d], scores, ids, ragged positives and their scores); some ids are missing."""
    rng = np.random.default_rng(seed)
    passages, queries = crowded_vectors(rng, int(rng.integers(5, 40))), crowded_vectors(rng, int(rng.integers(1, 7)))
    cosines = queries @ passages.T
    ids = np.argsort(-cosines, axis=1, kind="stable")[:, :20]
    scores = np.take_along_axis(cosines, ids, axis=1)
    short = int(rng.integers(0, ids.shape[1]))
    ids[0, ids.shape[1] - short :], scores[0, ids.shape[1] - short :] = -1, -np.inf
    positives = [rng.integers(0, len(passages), rng.integers(0, 4)).tolist() for _ in queries]
    return passages, scores, ids, positives, [cosines[row, own] for row, own in enumerate(positives)]


def test_they_are_those_of_a_plain_loop_whatever_the_angles_leave_out(monkeypatch):
    monkeypatch.setattr(module, "COMPARED_PAIRS", 7)  # several steps
    found = 0
    for seed in range(200):
        passages, scores, ids, positives, positive_scores = case(seed)
        least = float(np.random.default_rng(seed).choice([0.5, 0.9, 0.99, 1.0]))
        result = near_duplicates(scores, ids, positives, positive_scores, passages.__getitem__, least)
        for row, own in enumerate(positives):
            expected = {
                candidate
                for candidate in ids[row][ids[row] >= 0].tolist()
                for positive in own
                if candidate != positive and float(passages[candidate] @ passages[positive]) >= least - 1e-6
            }
            assert result[row].tolist() == sorted(expected), f"seed {seed}, row {row}"
            found += len(expected)
    assert found > 1000


def test_only_candidates_as_far_from_the_query_as_the_positive_are_looked_at():
    passages = np.float32([[1, 0], [0.6, 0.8], [0, 1], [0.598, np.sqrt(1 - 0.598**2)]])
    looked_at = []

    def vectors_of(ids):
        looked_at.extend(ids.tolist())
        return passages[ids]

    scores, ids = np.float32([[1, 0.6, 0.598, 0]]), np.array([[0, 1, 3, 2]])
    assert [found.tolist() for found in near_duplicates(scores, ids, [[1]], [[0.6]], vectors_of, 0.99)] == [[3]]
    assert set(looked_at) == {1, 3}


def test_no_queries_and_queries_without_positives_have_none():
    nothing = near_duplicates(np.empty((0, 3), np.float32), np.empty((0, 3), np.int64), [], [], None, 0.9)
    assert nothing == []
    scores, ids = np.float32([[0.9, 0.1]]), np.array([[4, 2]])
    assert [found.tolist() for found in near_duplicates(scores, ids, [[]], [[]], None, 0.9)] == [[]]


@pytest.mark.parametrize("least, kept", [(0.95, [[2]]), (None, [[1, 3, 2]])])
def test_a_copy_of_the_positive_is_excluded_and_counted_by_its_reason(least, kept):
    """Passage 0 is the positive; 1 is its copy in capitals, 3 has a few words changed."""
    passages = np.float32([[1, 0, 0], [1, 0, 0], [0.5, np.sqrt(0.75), 0], [0.96, 0, 0.28]])
    query = np.float32([0.98, np.sqrt(1 - 0.98**2), 0])
    ids = np.array([[0, 1, 3, 2]])
    scores = (passages @ query)[ids]
    excluded = {"positive or same text": [[0]]}
    if least is not None:
        excluded["near-duplicate"] = near_duplicates(scores, ids, [[0]], [scores[0, 0:1]], passages.__getitem__, least)
    selection = select_negatives(scores, ids, excluded, None, NegativeRule(0, 4, count=3, on_short="fewer"))
    assert [[passage for passage in row if passage >= 0] for row in selection.ids.tolist()] == kept
    assert selection.dropped == {"positive or same text": 1} | ({"near-duplicate": 2} if least else {})
