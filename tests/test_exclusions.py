"""What must not be a negative, against plain sets; search by shards against the whole corpus."""

import numpy as np
import pytest

from bioemb.mining import NumpySearcher, miner
from bioemb.mining.exclusions import Exclusions, Groups
from bioemb.mining.miner import rescore, search_block
from bioemb.mining.search import merge_top_k


def naive_groups(keys, values, wanted):
    return sorted({int(value) for key, value in zip(keys, values, strict=True) if key in set(wanted)})


def test_groups_are_the_values_under_any_of_the_keys():
    for seed in range(200):
        rng = np.random.default_rng(seed)
        count = int(rng.integers(0, 40))
        keys, values = rng.integers(-5, 10, count), rng.integers(0, 20, count)
        groups = Groups(keys.astype(np.int64), values.astype(np.int64))
        for wanted in ([], [3], [3, 3, -5], list(range(-9, 14)), rng.integers(-9, 14, 4)):
            found = groups.of(wanted)
            assert found.dtype == np.int64 and found.tolist() == naive_groups(keys, values, np.asarray(wanted).tolist())


def exclusions_case(seed):
    """Texts (as numbers) of m passages and q queries, q ragged lists of positives, identities of some passages."""
    rng = np.random.default_rng(seed)
    m, q = (int(n) for n in rng.integers(1, [30, 15]))
    passage_texts, query_texts = (rng.integers(0, 2**62, 12)[rng.integers(0, 12, n)] for n in (m, q))
    if seed % 2:  # queries that read like passages
        query_texts = passage_texts[rng.integers(0, m, q)]
    positives = [rng.integers(0, m, int(rng.integers(seed % 3 > 0, 4))) for _ in range(q)]
    edges = int(rng.integers(0, 40))
    return passage_texts, query_texts, positives, (rng.integers(0, m, edges), rng.integers(0, 8, edges))


def test_excluded_are_positives_of_equal_queries_and_what_reads_as_they_or_the_query():
    for seed in range(300):
        passage_texts, query_texts, positives, identities = exclusions_case(seed)
        exclusions = Exclusions(passage_texts, identities, query_texts, positives)
        for query, text in enumerate(query_texts):
            shared = {int(p) for other, ps in enumerate(positives) if query_texts[other] == text for p in ps}
            texts = {passage_texts[p] for p in shared} | {text}
            expected = {p for p in range(len(passage_texts)) if passage_texts[p] in texts}
            assert shared <= expected
            assert exclusions.same_text(query).tolist() == sorted(expected)


def test_passages_of_an_identity_are_found_under_each_of_theirs():
    for seed in range(200):
        passage_texts, query_texts, positives, (passages, identities) = exclusions_case(seed)
        exclusions = Exclusions(passage_texts, (passages, identities), query_texts, positives)
        for wanted in ([], [0], [1, 7], [99]):
            expected = {int(p) for p, identity in zip(passages, identities, strict=True) if identity in wanted}
            assert exclusions.same_identity(wanted).tolist() == sorted(expected)


def test_neither_queries_nor_identities_are_needed():
    nothing = np.empty(0, np.int64)
    exclusions = Exclusions(np.array([5, 6, 5]), (nothing, nothing), np.array([6]), [nothing])
    assert exclusions.same_text(0).tolist() == [1] and exclusions.same_identity([3]).tolist() == []
    assert Exclusions(np.array([5]), (nothing, nothing), nothing, []).same_identity([0]).tolist() == []


# Search by shards

# Unit vectors whose products are exact in binary, so that ties are ties in every shard.
LATTICE = np.concatenate([np.eye(3), -np.eye(3)]).astype(np.float32)


@pytest.mark.parametrize("exact", [True, False])
def test_shards_merged_are_the_search_of_the_whole_corpus(exact):
    for seed in range(60):
        rng = np.random.default_rng(seed)
        rows, k, block = int(rng.integers(1, 60)), int(rng.integers(1, 12)), int(rng.integers(1, 9))
        corpus, queries = (vectors_of(rng, n, exact) for n in (rows, int(rng.integers(1, 12))))
        whole = NumpySearcher()
        whole.add(corpus)
        edges = sorted({0, rows, *rng.integers(0, rows, 3).tolist()})
        found = [
            search_block(searcher_of(corpus[first:stop], block), queries, first, k, batch_size=5)
            for first, stop in zip(edges, edges[1:], strict=False)
        ]
        scores, ids = merge_top_k([scores for scores, _ in found], [ids for _, ids in found], k)
        expected_scores, expected_ids = whole.search(queries, k)
        np.testing.assert_array_equal(ids, expected_ids)
        np.testing.assert_array_equal(scores, expected_scores)


def vectors_of(rng, rows, exact):
    if exact:
        return LATTICE[rng.integers(0, len(LATTICE), rows)]  # full of ties
    vectors = rng.standard_normal((rows, 7), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def searcher_of(vectors, size):
    searcher = NumpySearcher()
    for i in range(0, len(vectors), size):
        searcher.add(vectors[i : i + size])
    return searcher


def test_a_shard_that_is_short_of_passages_pads_and_never_numbers_the_padding():
    scores, ids = search_block(searcher_of(LATTICE[:2], 2), LATTICE[1:2], 100, 4)
    assert ids.tolist() == [[101, 100, -1, -1]] and scores.tolist() == [[1.0, 0.0, -np.inf, -np.inf]]
    scores, ids = search_block(searcher_of(LATTICE[:2], 2), LATTICE[:0], 100, 4)
    assert scores.shape == ids.shape == (0, 4)


def test_rescored_candidates_are_the_closest_of_them_whatever_order_they_came_in(monkeypatch):
    """What a search in half precision gives: the right passages, ordered and cut a little wrongly."""
    monkeypatch.setattr(miner, "RESCORED_NUMBERS", 200)  # several steps
    for seed in range(60):
        rng = np.random.default_rng(seed)
        corpus, queries = (vectors_of(rng, n, seed % 2) for n in (40, int(rng.integers(1, 12))))
        whole = np.float32(queries.astype(np.float64) @ corpus.astype(np.float64).T)
        candidates = np.stack([rng.permutation(40)[:15] for _ in queries])
        candidates[rng.random(candidates.shape) < 0.2] = -1
        scores, ids = rescore(queries, candidates, corpus.__getitem__, 9)
        for query, (own_scores, own_ids) in enumerate(zip(scores.tolist(), ids.tolist(), strict=True)):
            left = [passage for passage in candidates[query].tolist() if passage >= 0]
            best = sorted(left, key=lambda passage: (-whole[query, passage], passage))[:9]
            assert own_ids == best + [-1] * (9 - len(best))
            np.testing.assert_allclose(own_scores[: len(best)], whole[query, best], rtol=0, atol=1e-7)
