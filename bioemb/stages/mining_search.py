"""The vectors of a mining run and each query's nearest passages, in blocks on disk, shared out among the processes.

A unit of search is one block of queries in one shard of the corpus. Each process takes a stretch of the units, so that
it needs one shard's index at a time, or none: exact search on a CPU reads the vectors from disk as it goes.
"""

import json
from functools import cached_property, lru_cache
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bioemb.blocks import BlockFolder, StoredRows
from bioemb.config import MineConfig
from bioemb.encoder import Encoder
from bioemb.encoding import encode_to_blocks
from bioemb.errors import ConfigError
from bioemb.files import write_json
from bioemb.log import logger, progress
from bioemb.mining import FaissSearcher, NumpySearcher, Searcher, measure_recall
from bioemb.mining.faiss_search import GPU_LARGEST_K, TRAINING_ROWS, require_gpu
from bioemb.mining.miner import rescore, search_block
from bioemb.mining.search import SPARE, pack
from bioemb.process_settings import give_back_memory
from bioemb.processes import on_all, on_first, stretch
from bioemb.stages.mining_tables import Tables

BLOCK_ROWS = 4096  # texts encoded, and queries searched, before they are on disk
SHARD_ROWS = 256 * BLOCK_ROWS  # passages in an index at once: 1,048,576, or 3 GB of 768-dimensional vectors
RECALL_QUERIES = 256  # whose true neighbours an index that is not exact is held against


class Vectors(NamedTuple):
    """Of all passages, and of all rows' queries; both of length 1."""

    passages: BlockFolder
    queries: BlockFolder
    searched: int  # passages below this number are the candidates


def encode_tables(encoder: Encoder, tables: Tables, folder: Path, config: MineConfig) -> Vectors:
    """The vectors of all passages and of all rows' queries, on disk."""
    result = []
    for name, texts, kind in (
        ("passages", tables.passages["text"], "passage"),
        ("queries", tables.rows["query"], "query"),
    ):
        blocks = BlockFolder(folder / name, len(texts), BLOCK_ROWS)
        encode_to_blocks(encoder, texts, kind, blocks, batch_tokens=config.batch_tokens, bf16=config.bf16)
        result.append(blocks)
        give_back_memory()
    return Vectors(*result, tables.searched)


def find_neighbours(vectors: Vectors, folder: Path, k: int, config: MineConfig) -> list[BlockFolder]:
    """The k nearest of each query in each shard of the corpus, packed as `search.merge_keys` takes them, on disk.

    Raises ConfigError where an index that is not exact finds too few of them.
    """
    queries = vectors.queries
    firsts = range(0, vectors.searched, SHARD_ROWS)
    results = [BlockFolder(folder / f"shard-{first:012d}", queries.rows, queries.block_rows) for first in firsts]
    trained = folder / "trained.faiss"

    @lru_cache(maxsize=1)  # one index in memory
    def shard(number: int) -> Shard:
        return Shard(vectors, firsts[number], config, trained)

    def prepare() -> list[tuple[int, int]]:
        if not is_exact(config):
            train_index(vectors, config, trained)
            require_recall(vectors.queries, shard(0), k, folder / "recall.json")
        for found in results:
            found.remove_leftovers()
        return [(shard, block) for shard, found in enumerate(results) for block in found.missing()]

    units = on_first(prepare)

    def search() -> None:
        for number, some in groupby(stretch(units), key=itemgetter(0)):
            for _, block in progress(list(some), f"search shard {number + 1} of {len(results)}"):
                results[number].write(block, pack(*shard(number).search(queries.read(block), k)))

    on_all(search)
    for found in results:
        on_all(found.wait_until_whole)
    return results


def is_exact(config: MineConfig) -> bool:
    """Whether the search finds the true neighbours with their cosines; it is NumpySearcher's then."""
    return config.index_factory == "Flat" and not config.use_gpu_for_searching


class Shard:
    """A stretch of the corpus that is searched at once; its index is made when it is first needed."""

    def __init__(self, vectors: Vectors, first: int, config: MineConfig, trained: Path):
        """trained: where `train_index` left what the index learned, if its kind learns."""
        self.passages, self.first, self.config, self.trained = vectors.passages, first, config, trained
        self.parts = parts_of(vectors, first, min(first + SHARD_ROWS, vectors.searched))

    @cached_property
    def searcher(self) -> Searcher:
        """An index of the shard's vectors."""
        config, width = self.config, self.parts[0].shape[1]
        if is_exact(config):
            return filled(NumpySearcher(width), self.parts)
        device, trained = (
            "gpu" if config.use_gpu_for_searching else "cpu",
            self.trained if self.trained.exists() else None,
        )
        return filled(FaissSearcher(width, config.index_factory, device, config.index_parameters, trained), self.parts)

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest of the shard: cosines [q, k], falling, and ids [q, k] in the whole corpus."""
        batch = self.config.search_batch_size
        if is_exact(self.config):
            return search_block(self.searcher, queries, self.first, k, batch)
        looked_at = max(k, min(k + SPARE, GPU_LARGEST_K)) if self.config.use_gpu_for_searching else k + SPARE
        _, ids = search_block(self.searcher, queries, self.first, looked_at, batch)
        return rescore(queries, ids, self.passages.take, k)


def parts_of(vectors: Vectors, first: int, stop: int) -> list[StoredRows]:
    """The passages' vectors from one number to another, the first of them a block's."""
    blocks = range(first // BLOCK_ROWS, -(-stop // BLOCK_ROWS))
    return [vectors.passages.stored(index, stop - vectors.passages.span(index).start) for index in blocks]


def require_index(config: MineConfig, width: int, k: int) -> None:
    """Refuse, before anything is encoded, an index that cannot be made or cannot find k neighbours."""
    if is_exact(config):
        return
    if config.use_gpu_for_searching:
        require_gpu()
        if k > GPU_LARGEST_K:
            raise ConfigError(
                f"faiss finds at most {GPU_LARGEST_K} neighbours on a GPU; --range_for_sampling ends at {k}"
            )
    FaissSearcher(width, config.index_factory, "cpu", config.index_parameters)


def filled(searcher: Searcher, parts: list[StoredRows]) -> Searcher:
    """The searcher with these vectors in it."""
    for part in parts:
        searcher.add(part)
    return searcher


def train_index(vectors: Vectors, config: MineConfig, path: Path) -> None:
    """Let an index of a kind that learns do so, once for all shards and processes, from a sample of the corpus."""
    parts = parts_of(vectors, 0, vectors.searched)
    searcher = FaissSearcher(parts[0].shape[1], config.index_factory, "cpu", config.index_parameters)
    if path.exists() or searcher.is_trained:
        return
    step = -(-vectors.searched // TRAINING_ROWS)
    searcher.train(np.concatenate([part[::step] for part in parts]))
    searcher.save(path)


def require_recall(queries: BlockFolder, shard: Shard, k: int, path: Path) -> None:
    """Hold the index against exact search on a sample of the queries; the share found is kept in the file.

    Raises ConfigError below the share that the settings ask for.
    """
    config = shard.config
    if not path.exists():
        rows = np.sort(np.random.default_rng(0).permutation(queries.rows)[:RECALL_QUERIES])
        recall = measure_recall(shard, filled(NumpySearcher(), shard.parts), queries.take(rows), k)
        write_json(
            path, {"recall": round(recall, 4), "queries": len(rows), "k": k, "passages": sum(map(len, shard.parts))}
        )
    recall = read_recall(path.parent)["recall"]
    logger.info("%s finds %.1f %% of the true %d nearest passages", config.index_factory, 100 * recall, k)
    if recall < config.min_recall:
        raise ConfigError(
            f"{config.index_factory} {config.index_parameters or 'without --index_parameters'} finds a share of "
            f"{recall} of the true {k} nearest passages, below --min_recall {config.min_recall}: raise "
            "--index_parameters (nprobe=N of an IVF index, efSearch=N of HNSW), choose an --index_factory of finer "
            "codes, or Flat, which is exact"
        )


def read_recall(folder: Path) -> dict | None:
    """What `require_recall` measured for the neighbours in a folder; None where the search is exact."""
    path = folder / "recall.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
