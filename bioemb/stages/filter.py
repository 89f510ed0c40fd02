"""`bioemb filter`: pairs in, the pairs out whose two sides a domain model finds alike.

The cosines of all pairs, and of shuffled pairs for comparison, are computed once and kept in blocks; the threshold only
decides what is written, so that another threshold costs no encoding. `OUTPUT.stats.json` has the distributions to
choose it by.
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
from bioemb.files import (
    RECORD_SUFFIXES,
    Located,
    json_line,
    list_files,
    read_records,
    text_field,
    write_aside,
    write_json,
)
from bioemb.flags import output_settings
from bioemb.log import Funnel, logger, progress
from bioemb.manifest import begin, describe, finish, work_folder, work_key
from bioemb.mining.consistency import is_consistent, pair_cosines, score_statistics, shuffled_partners
from bioemb.records import stable_hash

BLOCK_ROWS = 1024  # pairs scored before they are on disk: what an interruption costs


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
    cosines = BlockFolder(work_folder(output) / f"scores-{key}", rows, BLOCK_ROWS)
    score_pairs(files, encoder, cosines, config)
    funnel = write_consistent(files, cosines, config)
    statistics = write_statistics(files, cosines, Path(f"{output}.stats.json"))
    finish(output, description, {"pairs": funnel.as_dict()})
    kept = f"{output}: {funnel.kept:,} pairs with a cosine of {config.sim_threshold} or more"
    return "\n".join([funnel.table(), statistics_table(statistics), kept])


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
    """Fill the missing blocks of cosines [n, 2], `score_block` by block."""
    missing = set(cosines.missing())
    if len(missing) < cosines.count:
        logger.info("going on: %d of %d blocks are scored", cosines.count - len(missing), cosines.count)
    for index, block in enumerate(progress(blocks_of(read_records(files)), "score pairs", cosines.count)):
        if index in missing:
            queries, documents = ([located.record[key] for located in block] for key in (config.key_y, config.key_x))
            cosines.write(index, score_block(encoder, queries, documents, config))


def score_block(encoder: Encoder, queries: list[str], documents: list[str], config: FilterConfig) -> np.ndarray:
    """Cosines [n, 2] of each query with its document, and with another pair's; nan where a side is empty."""
    result = np.full((len(queries), 2), np.nan, np.float32)
    full = [row for row, pair in enumerate(zip(queries, documents, strict=True)) if all(map(str.strip, pair))]
    sides = []
    for texts, kind in ((queries, "query"), (documents, "passage")):
        some = [texts[row] for row in full]
        vectors = encode_texts(encoder, some, kind, batch_tokens=config.batch_tokens, bf16=config.bf16)
        sides.append(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12))
    if full:
        query_texts = np.array([stable_hash(queries[row]) for row in full])
        others = shuffled_partners(query_texts)  # never of the same query, where that can be
        result[full, 0] = pair_cosines(*sides)
        result[full, 1] = pair_cosines(sides[0], sides[1][others])
    return result


def write_statistics(files: list[Path], cosines: BlockFolder, path: Path) -> dict[str, dict]:
    """The distributions of the cosines of each kind of pair, and of shuffled pairs; written to the path too."""
    kinds: dict[str, list[np.ndarray]] = {}
    for (_, scores), block in zip(cosines.blocks(), blocks_of(read_records(files)), strict=True):
        names = np.array([str(located.record.get("kind", "pairs")) for located in block])
        for name in np.unique(names):
            kinds.setdefault(str(name), []).append(scores[(names == name) & ~np.isnan(scores[:, 0])])
    scores_of = {name: np.concatenate(parts) for name, parts in sorted(kinds.items())}
    statistics = {name: score_statistics(some[:, 0], some[:, 1]) for name, some in scores_of.items() if len(some)}
    write_json(path, statistics)
    return statistics


def statistics_table(statistics: dict[str, dict]) -> str:
    """A line for each kind: percentiles of its cosines, of shuffled pairs', and how well the model tells them apart."""
    lines = [
        f"{'cosines':<20}{'5 %':>8}{'25 %':>8}{'median':>8}{'75 %':>8}   shuffled: {'median':>8}{'99 %':>8}{'AUC':>8}"
    ]
    for name, of in statistics.items():
        own, shuffled = of["percentiles"], of["shuffled"]["percentiles"]
        values = "".join(f"{own[p]:>8.3f}" for p in ("5", "25", "50", "75"))
        lines.append(f"{name:<20}{values}{'':13}{shuffled['50']:>8.3f}{shuffled['99']:>8.3f}{of['auc']:>8.3f}")
    return "\n".join(lines)


def write_consistent(files: list[Path], cosines: BlockFolder, config: FilterConfig) -> Funnel:
    """Write the pairs at or above the threshold; the funnel counts the others by reason."""
    funnel = Funnel("filter: pairs")
    with write_aside(config.out_file_path) as out:
        for (_, scores), block in zip(cosines.blocks(), blocks_of(read_records(files)), strict=True):
            keep = is_consistent(scores[:, 0], min_cosine=config.sim_threshold)
            for located, score, kept in zip(block, scores[:, 0].tolist(), keep.tolist(), strict=True):
                if kept:
                    funnel.keep()
                    out.write(json_line(_kept_record(located.record, score, config.key_x, config.key_y)))
                else:
                    funnel.drop("an empty side" if np.isnan(score) else f"cosine below {config.sim_threshold}")
    if not funnel.kept:
        logger.warning("no pair was kept; %s.stats.json shows where the cosines lie", config.out_file_path)
    return funnel


def blocks_of(records: Iterable[Located]) -> Iterator[list[Located]]:
    """The records in lists of BLOCK_ROWS, the last one shorter."""
    records = iter(records)
    while block := list(islice(records, BLOCK_ROWS)):
        yield block


def _kept_record(record: dict, score: float, key_x: str, key_y: str) -> dict:
    others = {key: value for key, value in record.items() if key not in (key_x, key_y, "query", "document", "cos_sim")}
    return {"query": record[key_y], "document": record[key_x], "cos_sim": round(score, 6), **others}
