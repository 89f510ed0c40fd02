"""The vectors of a mining run and each query's nearest passages, in blocks on disk, shared out among the processes.

A unit of search is one block of queries in one shard of the corpus. Each process takes a stretch of the units, so that
it needs one shard's index at a time, or none: exact search on a CPU reads the vectors from disk as it goes.
"""

from functools import cached_property
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bioemb.blocks import BlockFolder
from bioemb.config import MineConfig
from bioemb.encoder import Encoder
from bioemb.encoding import encode_to_blocks
from bioemb.log import progress
from bioemb.mining import FaissSearcher, NumpySearcher, Searcher
from bioemb.mining.faiss_search import TRAINING_ROWS
from bioemb.mining.miner import rescore, search_block
from bioemb.mining.search import pack
from bioemb.processes import on_all, on_first, stretch
from bioemb.stages.mining_tables import Tables

BLOCK_ROWS = 4096  # texts encoded, and queries searched, before they are on disk
SHARD_ROWS = 256 * BLOCK_ROWS  # passages in an index at once: 1,048,576, or 3 GB of 768-dimensional vectors
SPARE = 32  # neighbours looked at beyond those asked for where the searcher's own scores are rounded


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
    return Vectors(*result, tables.searched)


def find_neighbours(vectors: Vectors, folder: Path, k: int, config: MineConfig) -> list[BlockFolder]:
    """The k nearest of each query in each shard of the corpus, packed as `search.merge_keys` takes them, on disk."""
    queries = vectors.queries
    firsts = range(0, vectors.searched, SHARD_ROWS)
    results = [BlockFolder(folder / f"shard-{first:012d}", queries.rows, queries.block_rows) for first in firsts]

    def list_units() -> list[tuple[int, int]]:
        for found in results:
            found.remove_leftovers()
        return [(shard, block) for shard, found in enumerate(results) for block in found.missing()]

    units = on_first(list_units)

    def search() -> None:
        for number, some in groupby(stretch(units), key=itemgetter(0)):
            shard = Shard(vectors, firsts[number], config)
            for _, block in progress(list(some), f"search shard {number + 1} of {len(results)}"):
                results[number].write(block, pack(*shard.search(queries.read(block), k)))

    on_all(search)
    for found in results:
        on_all(found.wait_until_whole)
    return results


class Shard:
    """A stretch of the corpus that is searched at once; its index is made when it is first needed."""

    def __init__(self, vectors: Vectors, first: int, config: MineConfig):
        self.passages, self.first, self.config = vectors.passages, first, config
        stop = min(first + SHARD_ROWS, vectors.searched)
        blocks = range(first // BLOCK_ROWS, -(-stop // BLOCK_ROWS))
        self.parts = [self.passages.stored(index, stop - self.passages.span(index).start) for index in blocks]
        self.is_exact = config.index_factory == "Flat" and not config.use_gpu_for_searching

    @cached_property
    def searcher(self) -> Searcher:
        """An index of the shard's vectors; a kind that is trained learns from a sample of them."""
        width = self.parts[0].shape[1]
        if self.is_exact:
            searcher = NumpySearcher(width)
        else:
            device = "gpu" if self.config.use_gpu_for_searching else "cpu"
            searcher = FaissSearcher(width, self.config.index_factory, device)
            if self.config.index_factory != "Flat":
                step = -(-sum(map(len, self.parts)) // TRAINING_ROWS)
                searcher.train(np.concatenate([part[::step] for part in self.parts]))
        for part in self.parts:
            searcher.add(part)
        return searcher

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest of the shard: cosines [q, k], falling, and ids [q, k] in the whole corpus."""
        if self.is_exact:
            return search_block(self.searcher, queries, self.first, k, self.config.search_batch_size)
        _, ids = search_block(self.searcher, queries, self.first, k + SPARE, self.config.search_batch_size)
        return rescore(queries, ids, self.passages.take, k)
