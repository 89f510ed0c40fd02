"""`bioemb filter`: pairs in, the pairs out whose two sides a domain model finds alike.

The cosines of all pairs are computed once and kept in blocks; the threshold only decides what is written, so that
another threshold costs no encoding.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from bioemb.blocks import BlockFolder
from bioemb.config import FilterConfig
from bioemb.encoder import Encoder
from bioemb.encoding import encode_texts
from bioemb.errors import DataError
from bioemb.files import RECORD_SUFFIXES, Located, json_line, list_files, read_records, text_field, write_aside
from bioemb.flags import output_settings
from bioemb.log import Funnel, logger, progress
from bioemb.manifest import begin, describe, finish, work_folder, work_key
from bioemb.mining import is_consistent

BLOCK_ROWS = 4096  # pairs scored before they are on disk


def run(config: FilterConfig) -> str:
    """Score, keep, write; returns the funnel. Raises the errors of a user's making, before anything is encoded."""
    output = Path(config.out_file_path)
    files = [path for path in list_files(config.folder_path, RECORD_SUFFIXES) if path.resolve() != output.resolve()]
    if not files:
        raise DataError("holds nothing but the output file", config.folder_path)
    rows = count_pairs(files, config.key_x, config.key_y)
    encoder = Encoder.from_pretrained(
        config.model_path,
        pooling=config.pooling_method,
        prompts={"query": config.query_instruction, "passage": config.passage_instruction},
    ).to_best_device()
    encoder.set_max_length(config.max_length, config.max_length)
    description = describe("filter", output_settings(config), files, {"model_path": encoder.weights_hash})
    if not begin(output, description, config.overwrite):
        return f"{output} is complete; nothing to do"
    threshold_free = {name: value for name, value in description["settings"].items() if name != "sim_threshold"}
    key = work_key({**description, "settings": threshold_free})
    cosines = BlockFolder(work_folder(output) / f"cosines-{key}", rows, BLOCK_ROWS)
    score_pairs(files, encoder, cosines, config)
    funnel = write_consistent(files, cosines, config)
    finish(output, description, {"pairs": funnel.as_dict()})
    return f"{funnel.table()}\n{output}: {funnel.kept:,} pairs with a cosine of {config.sim_threshold} or more"


def count_pairs(files: list[Path], key_x: str, key_y: str) -> int:
    """How many pairs there are, each with both texts. Raises DataError with file and line."""
    rows = 0
    for located in progress(read_records(files), "read pairs"):
        text_field(located, key_x, "--key_x")
        text_field(located, key_y, "--key_y")
        rows += 1
    if not rows:
        raise DataError("there are no pairs in the files", files[0].parent)
    return rows


def score_pairs(files: list[Path], encoder: Encoder, cosines: BlockFolder, config: FilterConfig) -> None:
    """Fill the missing blocks of cosines [n]; nan where a side is empty."""
    missing = set(cosines.missing())
    if len(missing) < cosines.count:
        logger.info("going on: %d of %d blocks are scored", cosines.count - len(missing), cosines.count)
    for index, block in enumerate(progress(blocks_of(read_records(files)), "score pairs", cosines.count)):
        if index in missing:
            queries, documents = ([located.record[key] for located in block] for key in (config.key_y, config.key_x))
            cosines.write(index, pair_cosines(encoder, queries, documents, config.batch_tokens, config.bf16))


def pair_cosines(
    encoder: Encoder, queries: list[str], documents: list[str], batch_tokens: int | None, bf16: bool
) -> np.ndarray:
    """Cosine [n] of each query with its document, nan where either is empty."""
    result = np.full(len(queries), np.nan, np.float32)
    full = [row for row, pair in enumerate(zip(queries, documents, strict=True)) if all(map(str.strip, pair))]
    sides = []
    for texts, kind in ((queries, "query"), (documents, "passage")):
        vectors = encode_texts(encoder, [texts[row] for row in full], kind, batch_tokens=batch_tokens, bf16=bf16)
        sides.append(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12))
    result[full] = np.einsum("nd,nd->n", *sides)
    return result


def write_consistent(files: list[Path], cosines: BlockFolder, config: FilterConfig) -> Funnel:
    """Write the pairs at or above the threshold; the funnel counts the others by reason."""
    funnel = Funnel("filter: pairs")
    with write_aside(config.out_file_path) as out:
        for (_, scores), block in zip(cosines.blocks(), blocks_of(read_records(files)), strict=True):
            keep = is_consistent(scores, None, min_cosine=config.sim_threshold, max_rank=None)
            for located, score, kept in zip(block, scores.tolist(), keep.tolist(), strict=True):
                if kept:
                    funnel.keep()
                    out.write(json_line(_kept_record(located.record, score, config.key_x, config.key_y)))
                else:
                    funnel.drop("an empty side" if np.isnan(score) else f"cosine below {config.sim_threshold}")
    if not funnel.kept:
        logger.warning("no pair was kept: the highest cosine is %.3f", max(np.nanmax(s) for _, s in cosines.blocks()))
    return funnel


def blocks_of(records: Iterable[Located]) -> Iterator[list[Located]]:
    """The records in lists of BLOCK_ROWS, the last one shorter."""
    records = iter(records)
    while block := list(islice(records, BLOCK_ROWS)):
        yield block


def _kept_record(record: dict, score: float, key_x: str, key_y: str) -> dict:
    others = {key: value for key, value in record.items() if key not in (key_x, key_y, "query", "document", "cos_sim")}
    return {"query": record[key_y], "document": record[key_x], "cos_sim": round(score, 6), **others}
