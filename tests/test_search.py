"""Search against a plain loop, shards against the whole, faiss against NumPy. Vectors are lopsided and full of ties."""

import doctest
import os
import subprocess
import sys
import tracemalloc
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest

from bioemb.errors import ConfigError, ModelError
from bioemb.mining import FaissSearcher, NumpySearcher, measure_recall, merge_top_k, search
from bioemb.mining.faiss_search import require_gpu
from bioemb.mining.search import QUERY_ROWS

# Unit vectors whose products are exact in binary, so that ties are ties whoever multiplies.
LATTICE = np.array([*np.eye(4), *-np.eye(4), *product([0.5, -0.5], repeat=4)], dtype=np.float32)
SEARCHERS = [NumpySearcher, FaissSearcher]


def unit_vectors(rows: int, width: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((rows, width), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def naive_search(passages, queries, k):
    """Python numbers, one query at a time: by falling score, then rising id."""
    scores, ids = [], []
    for query in queries.tolist():
        cosines = [sum(a * b for a, b in zip(query, passage, strict=True)) for passage in passages.tolist()]
        order = sorted(range(len(cosines)), key=lambda i: (-cosines[i], i))[:k]
        short = k - len(order)
        scores.append([cosines[i] for i in order] + [-np.inf] * short)
        ids.append(order + [-1] * short)
    return np.array(scores, dtype=np.float32).reshape(-1, k), np.array(ids).reshape(-1, k)


def lattice_case(seed):
    """(passages in ragged parts, queries, k): k often beyond the corpus, parts sometimes empty."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(0, 20, size=rng.integers(1, 5))
    parts = [LATTICE[rng.integers(0, len(LATTICE), size)] for size in sizes]
    return parts, LATTICE[rng.integers(0, len(LATTICE), rng.integers(1, 6))], int(rng.integers(1, 40))


def added(searcher, parts):
    for part in parts:
        searcher.add(part)
    return searcher


def test_the_worked_example_runs():
    assert doctest.testmod(search) == (0, 5)


def test_numpy_search_equals_a_plain_loop_ties_and_padding_included():
    for seed in range(200):
        parts, queries, k = lattice_case(seed)
        columns = 1 + seed % 7  # of a block: ties fall on its edges
        searcher = added(NumpySearcher(4, block_bytes=4 * QUERY_ROWS * columns), parts)
        scores, ids = searcher.search(queries, k)
        expected_scores, expected_ids = naive_search(np.concatenate(parts), queries, k)
        np.testing.assert_array_equal(ids, expected_ids, err_msg=f"seed {seed}")
        np.testing.assert_array_equal(scores, expected_scores)
        assert (scores.dtype, ids.dtype) == (np.float32, np.int64)


def test_faiss_search_equals_a_plain_loop_but_for_ties_with_the_last():
    for seed in range(200):
        parts, queries, k = lattice_case(seed)
        scores, ids = added(FaissSearcher(4), parts).search(queries, k)
        expected_scores, expected_ids = naive_search(np.concatenate(parts), queries, k)
        np.testing.assert_array_equal(scores, expected_scores, err_msg=f"seed {seed}")
        decided = (scores > scores[:, -1:]) | (scores == -np.inf)
        np.testing.assert_array_equal(ids[decided], expected_ids[decided])
        is_tied = (scores[:, 1:] == scores[:, :-1]) & (ids[:, 1:] >= 0)
        assert (np.diff(ids)[is_tied] > 0).all()


@pytest.mark.parametrize("make", SEARCHERS)
def test_real_valued_vectors_give_the_neighbours_of_the_whole_score_matrix(make):
    passages, queries = unit_vectors(1500, 24, seed=1), unit_vectors(1100, 24, seed=2)
    scores, ids = added(make(24), [passages[:1], passages[1:900], passages[900:]]).search(queries, 60)
    whole = queries.astype(np.float64) @ passages.T.astype(np.float64)
    np.testing.assert_allclose(scores, -np.sort(-whole, axis=1)[:, :60], atol=1e-6)
    np.testing.assert_allclose(np.take_along_axis(whole, ids, axis=1), scores, atol=1e-6)
    assert all(len(set(row)) == 60 for row in ids.tolist())


@pytest.mark.parametrize("make", SEARCHERS)
def test_padding_stands_where_k_is_beyond_the_corpus(make):
    scores, ids = added(make(4), [LATTICE[:2]]).search(LATTICE[:3], 5)
    assert ids.tolist() == [[0, 1, -1, -1, -1], [1, 0, -1, -1, -1], [0, 1, -1, -1, -1]]
    assert (scores[:, 2:] == -np.inf).all()


@pytest.mark.parametrize("make", SEARCHERS)
def test_an_empty_index_and_no_queries_give_only_padding(make):
    scores, ids = make(4).search(LATTICE[:2], 3)
    assert (ids == -1).all() and (scores == -np.inf).all()
    assert [array.shape for array in added(make(4), [LATTICE]).search(LATTICE[:0], 3)] == [(0, 3), (0, 3)]


def test_merged_shards_equal_the_whole_search_bit_by_bit():
    passages, queries = unit_vectors(5000, 48, seed=3), unit_vectors(1030, 48, seed=4)
    scores, ids = added(NumpySearcher(48), [passages]).search(queries, 70)
    for cuts in ([1], [4999], [30, 2047], [1234, 1234, 4100]):
        shards = np.split(np.arange(5000), cuts)  # one may be empty, and some are shorter than k
        found = [added(NumpySearcher(48), [passages[shard]]).search(queries, 70) for shard in shards]
        firsts = [0, *cuts]
        corpus_ids = [np.where(f[1] < 0, -1, f[1] + first) for f, first in zip(found, firsts, strict=True)]
        merged = merge_top_k([f[0] for f in found], corpus_ids, 70)
        np.testing.assert_array_equal(merged[1], ids)
        np.testing.assert_array_equal(merged[0], scores)


def test_equal_vectors_stand_in_the_order_of_their_ids_however_many_there_are():
    distinct, queries = unit_vectors(40, 48, seed=3), unit_vectors(300, 48, seed=4)
    which = np.random.default_rng(5).integers(40, size=5000)  # each some 125 times: more than are looked at beyond k
    scores, ids = added(NumpySearcher(48), [distinct[which]]).search(queries, 150)
    cosines = queries.astype(np.float64) @ distinct.T.astype(np.float64)
    expected = [np.lexsort((np.arange(5000), -row[which]))[:150] for row in cosines]
    np.testing.assert_array_equal(ids, expected)
    assert all(len(np.unique(row)) == len(np.unique(which[found])) for row, found in zip(scores, ids, strict=True))


def test_a_query_scores_the_same_whatever_it_is_searched_with():
    passages, queries = unit_vectors(5000, 48, seed=3), unit_vectors(1030, 48, seed=4)
    searcher = added(NumpySearcher(48), [passages])
    scores, _ = searcher.search(queries, 9)
    for rows in (slice(0, 1), slice(7, 10), slice(500, 511), slice(1020, 1030)):
        np.testing.assert_array_equal(searcher.search(queries[rows], 9)[0], scores[rows])


def test_the_number_of_threads_changes_nothing(monkeypatch):
    passages, queries = unit_vectors(5000, 48, seed=3), unit_vectors(1030, 48, seed=4)
    passages[2000:2600] = passages[:600]  # ties
    found = [added(NumpySearcher(48, threads=threads), [passages]).search(queries, 70) for threads in (1, 2, 3, 2000)]
    for scores, ids in found[1:]:
        np.testing.assert_array_equal(scores, found[0][0])
        np.testing.assert_array_equal(ids, found[0][1])
    for asked, threads in {"3": 3, "2,1": 2, "0": len(os.sched_getaffinity(0))}.items():
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
        assert NumpySearcher().threads == threads


def test_a_merge_orders_ties_by_id_and_pads_what_is_missing():
    first = np.array([[0.5, 0.0, -np.inf]]), np.array([[8, 9, -1]])
    second = np.array([[0.5, -0.0]]), np.array([[3, 4]])
    scores, ids = merge_top_k([first[0], second[0]], [first[1], second[1]], 6)
    assert ids.tolist() == [[3, 8, 4, 9, -1, -1]]  # 0.0 and -0.0 are equal
    assert scores.tolist() == [[0.5, 0.5, 0.0, 0.0, -np.inf, -np.inf]]


def test_memory_is_bounded_by_the_block_and_not_by_the_corpus():
    passages, queries = unit_vectors(20_000, 8, seed=5), unit_vectors(1024, 8, seed=6)
    searcher = added(NumpySearcher(8, block_bytes=1 << 20), [passages])
    tracemalloc.start()
    searcher.search(queries, 10)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 << 20  # the whole score matrix has 82 MB


@pytest.mark.parametrize("make", SEARCHERS)
def test_memory_mapped_half_precision_vectors_are_searched(make, tmp_path):
    np.save(tmp_path / "passages.npy", LATTICE.astype(np.float16))
    mapped = np.load(tmp_path / "passages.npy", mmap_mode="r")
    np.testing.assert_array_equal(added(make(4), [mapped]).search(LATTICE[5:7], 1)[1], [[5], [6]])


@pytest.mark.parametrize("make", SEARCHERS)
def test_vectors_that_give_no_cosines_are_refused_by_their_row(make):
    searcher = added(make(4), [LATTICE[:3]])
    spoilt = LATTICE[:4].copy()
    spoilt[2, 1] = np.nan
    with pytest.raises(ModelError, match="vector 5 .* is not finite"):
        searcher.add(spoilt)
    with pytest.raises(ModelError, match="vector 1 .* has length 3; .* divide each vector by its length"):
        searcher.search(LATTICE[:2] * [[1], [3]], 2)
    with pytest.raises(ModelError, match="width 3, the index has 4"):
        searcher.search(LATTICE[:1, :3], 2)
    with pytest.raises(ModelError, match="floating point"):
        searcher.add(np.eye(4, dtype=np.int64))
    with pytest.raises(ModelError, match=r"floating point numbers \[m, d\]; got list"):
        searcher.add([[1.0, 0.0, 0.0, 0.0]])
    for k in (0, 2.0, True, None):
        with pytest.raises(ConfigError, match=f"k is {k}; a search returns at least 1 neighbour, a whole number"):
            searcher.search(LATTICE[:1], k)
    assert searcher.search(LATTICE[:1], np.int32(1))[1].tolist() == [[0]]


@pytest.mark.parametrize("threads", [-1, 0, 1.5])
def test_a_number_of_threads_that_cannot_work_is_refused_at_once(threads):
    with pytest.raises(ConfigError, match=f"threads is {threads}; a search takes 1 or more"):
        NumpySearcher(threads=threads)


def test_recall_is_the_share_of_the_exact_neighbours_found():
    exact = SimpleNamespace(search=lambda queries, k: (None, np.array([[4, 2, 9], [1, 0, -1]])))
    found = SimpleNamespace(search=lambda queries, k: (None, np.array([[2, 7, 4], [5, 6, -1]])))
    assert measure_recall(found, exact, None, 3) == 2 / 5


def test_a_trained_index_recalls_all_when_it_probes_all_its_cells():
    passages, queries = unit_vectors(900, 16, seed=7), unit_vectors(40, 16, seed=8)
    exact = added(NumpySearcher(), [passages])
    recalls = {}
    for probes in (1, 9):
        searcher = FaissSearcher(16, "IVF9,Flat", parameters=f"nprobe={probes}")
        searcher.train(passages[::2])
        recalls[probes] = measure_recall(added(searcher, [passages[:500], passages[500:]]), exact, queries, 10)
    assert recalls[9] == 1 and 0.1 < recalls[1] < 0.9


def test_an_untrained_index_is_trained_by_its_first_vectors():
    searcher = added(FaissSearcher(16, "IVF2,Flat", parameters="nprobe=2"), [unit_vectors(90, 16, seed=9)])
    assert len(searcher) == 90
    with pytest.raises(ConfigError, match="cannot train 'IVF64,Flat' on 10 vectors"):
        FaissSearcher(16, "IVF64,Flat").add(unit_vectors(10, 16, seed=9))


@pytest.mark.parametrize("factory, parameters", [("Flut", ""), ("LSH", ""), ("IVF4,Flat", "nprob=4")])
def test_an_index_that_faiss_does_not_know_is_refused(factory, parameters):
    with pytest.raises(ConfigError, match=f"faiss refuses the index '{factory}'"):
        FaissSearcher(16, factory, parameters=parameters)


def test_a_gpu_search_is_refused_at_once_where_there_is_none(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", SimpleNamespace())
    with pytest.raises(ConfigError, match=r"bioemb\[gpu\].* leave out --use_gpu_for_searching"):
        FaissSearcher(16, device="gpu")
    with_gpu_support = SimpleNamespace(GpuMultipleClonerOptions=object, get_num_gpus=lambda: 0)
    monkeypatch.setitem(sys.modules, "faiss", with_gpu_support)
    with pytest.raises(ConfigError, match="finds no GPU"):
        require_gpu()
    with pytest.raises(ConfigError, match="device is 'cuda'"):
        FaissSearcher(16, device="cuda")


def test_a_gpu_index_is_copied_in_half_precision_shards_and_again_after_an_add(monkeypatch):
    import faiss

    copies = []
    monkeypatch.setattr(faiss, "GpuMultipleClonerOptions", SimpleNamespace, raising=False)
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 2, raising=False)
    copy = lambda index, co: copies.append((index.ntotal, co.shard, co.useFloat16)) or index  # noqa: E731
    monkeypatch.setattr(faiss, "index_cpu_to_all_gpus", copy, raising=False)
    searcher = added(FaissSearcher(4, device="gpu"), [LATTICE[:3], LATTICE[3:5]])
    searcher.search(LATTICE[:1], 2)
    searcher.search(LATTICE[:1], 2)
    searcher.add(LATTICE[5:6])
    assert searcher.search(LATTICE[5:6], 1)[1].tolist() == [[5]]
    assert copies == [(5, True, True), (6, True, True)]
    with pytest.raises(ConfigError, match="at most 2048"):
        searcher.search(LATTICE[:1], 3000)


def test_a_missing_faiss_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ConfigError, match=r"pip install 'bioemb\[cpu\]'"):
        FaissSearcher(16)


def test_importing_mining_loads_neither_faiss_nor_torch():
    code = "import sys, bioemb.mining; print(sorted({'faiss', 'torch', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
