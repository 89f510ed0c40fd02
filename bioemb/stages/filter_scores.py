"""What `bioemb filter` judges by, computed once and kept in blocks: cosines, shuffled pairs' cosines, and ranks.

Everything here goes through the files of pairs in blocks of BLOCK_ROWS, and goes on at the first block that is missing.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bioemb.blocks import BlockFolder
from bioemb.config import FilterConfig
from bioemb.encoder import Encoder, Kind
from bioemb.encoding import encode_texts
from bioemb.files import Located, read_records, write_json
from bioemb.log import logger, progress
from bioemb.manifest import work_key
from bioemb.mining.consistency import pair_cosines, shuffled_partners
from bioemb.mining.ranking import SmallestKeys, pool_keys, true_ranks
from bioemb.processes import on_all, on_first, share
from bioemb.records import same_text_key, stable_hash

BLOCK_ROWS = 1024  # pairs scored before they are on disk: what an interruption costs
RULES = ("sim_threshold", "kind_thresholds", "keep_share", "max_rank")  # settings that decide after the scores
RANKING = ("pool_size", "seed")  # settings that decide the ranks, not the cosines
UNKNOWN_OWN, UNKNOWN_OTHER = -1, -2  # labels of texts without an identity: never equal


class Scores(NamedTuple):
    """The scores of n pairs."""

    cosines: BlockFolder  # float32 [n, 2]: with its own document, with another pair's; nan where a side is empty
    ranks: BlockFolder | None  # int64 [n], 1 is best; -1 where a side is empty

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """(cosines [b, 2], ranks [b] or None) of every block in order."""
        for index in range(self.cosines.count):
            yield self.cosines.read(index), self.ranks.read(index) if self.ranks else None


class Pool(NamedTuple):
    """The documents that a pair's own is ranked among."""

    vectors: BlockFolder  # float32 [m, d]
    labels: BlockFolder  # int64 [m, 2]: hash of the text, identity

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(vectors [b, d], labels [b, 2]) of every block in order."""
        return ((self.vectors.read(index), self.labels.read(index)) for index in range(self.vectors.count))


def open_scores(
    files: list[Path], rows: int, encoder: Encoder, work: Path, description: dict, config: FilterConfig
) -> Scores:
    """The scores of the pairs in the files; what the work folder does not hold yet is computed."""
    settings = {name: value for name, value in description["settings"].items() if name not in RULES}
    of_ranks = work_key({**description, "settings": settings})
    of_cosines = work_key(
        {**description, "settings": {name: value for name, value in settings.items() if name not in RANKING}}
    )
    scores = Scores(
        BlockFolder(work / f"scores-{of_cosines}", rows, BLOCK_ROWS),
        BlockFolder(work / f"ranks-{of_ranks}", rows, BLOCK_ROWS) if config.pool_size else None,
    )
    folders = [folder for folder in scores if folder is not None]
    if not on_first(lambda: missing_in(folders)):
        return scores
    pool = open_pool(files, encoder, work / f"pool-{of_ranks}", config) if scores.ranks else None

    def score(blocks: list[int]) -> None:
        for index, block in wanted_blocks(progress(read_records(files), "score pairs", rows), blocks):
            score_block(index, block, encoder, (scores, pool), config)

    share_blocks(folders, score)
    return scores


def missing_in(folders: list[BlockFolder]) -> list[int]:
    """The blocks that any of the folders lacks, rising."""
    return sorted({index for folder in folders for index in folder.missing()})


def share_blocks(folders: list[BlockFolder], work: Callable[[list[int]], None]) -> None:
    """Have the processes share out the blocks that any of these folders lacks; returns when all of them are there.

    work: writes, of the blocks with these numbers, what is missing.
    """

    def look() -> list[int]:
        for folder in folders:
            folder.remove_leftovers()
        missing = missing_in(folders)
        if missing and len(missing) < folders[0].count:
            logger.info("going on: %d of %d blocks are there", folders[0].count - len(missing), folders[0].count)
        return missing

    missing = share(on_first(look))
    on_all(lambda: work(missing))
    for folder in folders:
        on_all(folder.wait_until_whole)


def score_block(
    index: int, block: list[Located], encoder: Encoder, into: tuple[Scores, Pool | None], config: FilterConfig
) -> None:
    """Write what is missing of a block's scores; its queries are encoded once."""
    scores, pool = into
    queries, documents = ([located.record[key] for located in block] for key in (config.key_y, config.key_x))
    full = [row for row, pair in enumerate(zip(queries, documents, strict=True)) if all(map(str.strip, pair))]
    query_vectors = unit_vectors(encoder, [queries[row] for row in full], "query", config)
    if not scores.cosines.path(index).exists():
        cosines = np.full((len(block), 2), np.nan, np.float32)
        passages = unit_vectors(encoder, [documents[row] for row in full], "passage", config)
        query_texts = np.array([stable_hash(queries[row]) for row in full], np.int64)
        others = shuffled_partners(query_texts)  # never of the same query, where that can be
        cosines[full, 0] = pair_cosines(query_vectors, passages)
        cosines[full, 1] = pair_cosines(query_vectors, passages[others])
        scores.cosines.write(index, cosines)
    if scores.ranks and not scores.ranks.path(index).exists():
        ranks = np.full(len(block), -1, np.int64)
        labels = labels_of([block[row] for row in full], config.key_x, UNKNOWN_OWN)
        own = scores.cosines.read(index)[full, 0]
        ranks[full] = true_ranks(query_vectors, own, labels, pool.blocks())
        scores.ranks.write(index, ranks)


def open_pool(files: list[Path], encoder: Encoder, folder: Path, config: FilterConfig) -> Pool:
    """The pool's vectors and labels, encoded where they are missing: different documents, chosen by seed and text."""
    found = on_first(lambda: choose_pool(files, folder / "pool.json", config))
    if found["documents"] < config.pool_size:
        logger.warning(
            "pool_size is %d, and the pairs have %d different documents: the pool is all of them",
            config.pool_size,
            found["documents"],
        )
    pool = Pool(*(BlockFolder(folder / name, found["documents"], BLOCK_ROWS) for name in ("vectors", "labels")))

    def encode(blocks: list[int]) -> None:
        members = pool_documents(files, np.uint64(found["last_key"]), config)
        for index, block in wanted_blocks(progress(members, "encode the pool", pool.vectors.rows), blocks):
            texts = [located.record[config.key_x] for located in block]
            pool.labels.write(index, labels_of(block, config.key_x, UNKNOWN_OTHER))
            pool.vectors.write(index, unit_vectors(encoder, texts, "passage", config))

    share_blocks([*pool], encode)
    return pool


def choose_pool(files: list[Path], path: Path, config: FilterConfig) -> dict[str, int]:
    """How many documents the pool has and the largest of their keys; kept in a file."""
    if not path.exists():
        chosen = SmallestKeys(config.pool_size)
        for block in blocks_of(progress(full_documents(files, config.key_x), "choose the pool")):
            chosen.add(pool_keys(text_hashes(block, config.key_x), config.seed))
        keys = chosen.result()
        write_json(path, {"documents": len(keys), "last_key": int(keys[-1]) if len(keys) else 0})
    return json.loads(path.read_text(encoding="utf-8"))


def pool_documents(files: list[Path], last_key: np.uint64, config: FilterConfig) -> Iterator[Located]:
    """The records of the pool's documents, each text once."""
    seen = set()
    for block in blocks_of(full_documents(files, config.key_x)):
        keys = pool_keys(text_hashes(block, config.key_x), config.seed)
        for row in np.flatnonzero(keys <= last_key).tolist():
            key = keys[row].item()
            if key not in seen:
                seen.add(key)
                yield block[row]


def unit_vectors(encoder: Encoder, texts: list[str], kind: Kind, config: FilterConfig) -> np.ndarray:
    """Vectors [n, d] of length 1, whatever the model does itself."""
    vectors = encode_texts(encoder, texts, kind, batch_tokens=config.batch_tokens, bf16=config.bf16)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def labels_of(block: list[Located], key: str, unknown: int) -> np.ndarray:
    """What documents are known by, int64 [n, 2]: hash of the text, identity (or `unknown`)."""
    identities = [located.record.get("identity") for located in block]
    known = [identity if isinstance(identity, int) and 0 <= identity < 2**63 else unknown for identity in identities]
    return np.stack([text_hashes(block, key), np.array(known, np.int64)], axis=1)


def text_hashes(block: list[Located], key: str) -> np.ndarray:
    """int64 [n]: what texts that read the same share."""
    return np.array([stable_hash(same_text_key(located.record[key])) for located in block], np.int64)


def full_documents(files: list[Path], key: str) -> Iterator[Located]:
    """The records whose document is not empty."""
    return (located for located in read_records(files) if located.record[key].strip())


def blocks_of(records: Iterable[Located]) -> Iterator[list[Located]]:
    """The records in lists of BLOCK_ROWS, the last one shorter."""
    records = iter(records)
    while block := list(islice(records, BLOCK_ROWS)):
        yield block


def wanted_blocks(records: Iterable[Located], wanted: list[int]) -> Iterator[tuple[int, list[Located]]]:
    """The blocks with these numbers, which rise; what follows the last of them is not read."""
    wanted = iter(wanted)
    following = next(wanted, None)
    for index, block in enumerate(blocks_of(records) if following is not None else ()):
        if index == following:
            yield index, block
            following = next(wanted, None)
            if following is None:
                return
