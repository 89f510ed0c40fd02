"""`bioemb score`: examples in, the same out with a cross-encoder's raw scores of their positives and negatives.

The scores are kept in blocks of pairs: an interrupted run goes on, and several processes share them out.
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from bioemb.blocks import BlockFolder
from bioemb.config import ScoreConfig
from bioemb.cross_encoder import CrossEncoder
from bioemb.errors import ConfigError, DataError
from bioemb.files import RECORD_SUFFIXES, check_output_name, json_line, list_files, write_aside
from bioemb.flags import output_settings
from bioemb.log import Funnel, progress
from bioemb.manifest import begin, describe, finish, work_folder, work_key
from bioemb.processes import fill, join_processes, on_all, on_first, require_same
from bioemb.stages.mining_tables import read_examples
from bioemb.stages.reranking import with_teacher_scores

BLOCK_ROWS = 4096  # pairs scored before they are on disk: what an interruption costs


def run(config: ScoreConfig) -> str:
    """Score and write; returns the summary. Raises the errors of a user's making before anything is scored."""
    join_processes()
    files, cross_encoder = on_all(lambda: prepare(config))
    output, models = Path(config.output_file), {"reranker": cross_encoder.weights_hash}
    require_same(cross_encoder.weights_hash, cross_encoder.source)
    description = on_first(lambda: describe("score", output_settings(config), files, models))
    pairs = on_first(lambda: count_pairs(files))
    if not on_first(lambda: begin(output, description, config.overwrite)):
        return f"{output} is complete; nothing to do"
    scores = BlockFolder(work_folder(output) / f"scores-{work_key(description)}", pairs, BLOCK_ROWS)

    def score(blocks: list[int]) -> Iterator[np.ndarray]:
        for block in progress(blocks_of_pairs(files, blocks), "score pairs", len(blocks)):
            yield cross_encoder.scores(block, config.batch_tokens)

    fill(scores, score)
    return on_first(lambda: write_output(files, scores, output, description))


def prepare(config: ScoreConfig) -> tuple[list[Path], CrossEncoder]:
    """The input files and the cross-encoder."""
    check_output_name(config.output_file)
    files = list_files(config.input_file, RECORD_SUFFIXES)
    if Path(config.output_file).resolve() in {path.resolve() for path in files}:
        raise ConfigError(f"{config.output_file} is both input and output; name another --output_file")
    cross_encoder = CrossEncoder.from_pretrained(config.reranker_name_or_path, config.reranker_max_length)
    return files, cross_encoder.to_best_device()


def count_pairs(files: list[Path]) -> int:
    """How many texts the queries stand beside. Raises DataError with file and line."""
    count = sum(1 for _ in progress(pairs_of(files), "read examples"))
    if not count:
        raise DataError("there are no rows to score", files[0])
    return count


def pairs_of(files: list[Path]) -> Iterator[tuple[str, str]]:
    """Each query with each of its positives, then with each of its negatives."""
    for _, query, positives, negatives in read_examples(files):
        for text in (*positives, *negatives):
            yield query, text


def blocks_of_pairs(files: list[Path], blocks: list[int]) -> Iterator[list[tuple[str, str]]]:
    """The pairs of some blocks, whose numbers rise."""
    pairs, position = pairs_of(files), 0
    for index in blocks:
        block = list(islice(pairs, index * BLOCK_ROWS - position, (index + 1) * BLOCK_ROWS - position))
        position = (index + 1) * BLOCK_ROWS
        yield block


def write_output(files: list[Path], scores: BlockFolder, output: Path, description: dict) -> str:
    """Write each row with its scores, say in the manifest that it is done; the summary."""
    funnel = Funnel("score: rows")
    flat = (score for _, block in scores.blocks() for score in block.tolist())
    with write_aside(output) as out:
        for located, _, positives, negatives in progress(read_examples(files), "write"):
            own, others = (list(islice(flat, len(texts))) for texts in (positives, negatives))
            out.write(json_line(with_teacher_scores(located.record, own, others)))
            funnel.keep()
    finish(output, description, {"rows": funnel.as_dict(), "pairs": scores.rows})
    return f"{funnel.table()}\n{output}: {scores.rows:,} scores of {funnel.kept:,} examples"
