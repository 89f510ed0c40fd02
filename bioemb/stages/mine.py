"""`bioemb mine`: pairs or examples in, examples with hard negatives out.

Tables, vectors and neighbours are kept beside the output, each under the hash of what it was made from: an
interrupted run goes on, and a run with another rule of selection only selects again.
"""

from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np

from bioemb.config import MineConfig
from bioemb.cross_encoder import CrossEncoder
from bioemb.encoder import Encoder, prompt_from_instruction
from bioemb.errors import ConfigError
from bioemb.files import RECORD_SUFFIXES, json_line, list_files, write_aside
from bioemb.flags import output_settings
from bioemb.log import Funnel, logger, progress
from bioemb.manifest import begin, describe, finish, work_folder, work_key
from bioemb.mining import NegativeRule
from bioemb.mining.faiss_search import require_gpu
from bioemb.processes import join_processes, on_all, on_first, require_same, share
from bioemb.stages.mining_search import encode_tables, find_neighbours
from bioemb.stages.mining_selection import Choice, Chooser
from bioemb.stages.mining_tables import Tables, open_tables, read_examples, write_tables
from bioemb.stages.reranking import Reranking, with_teacher_scores


def run(config: MineConfig) -> str:
    """Mine and write; returns the summary. What cannot work is said before anything is encoded."""
    join_processes()
    rule = make_rule(config)
    files, pool, encoder = on_all(lambda: prepare(config, rule))
    output = Path(config.output_file)
    settings = {**output_settings(config), "pool_files": len(pool)}  # which of the inputs are the pool
    cross_encoder = on_all(lambda: load_reranker(config))
    models = {"model": encoder} if cross_encoder is None else {"model": encoder, "reranker": cross_encoder}
    for model in models.values():
        require_same(model.weights_hash, model.source)
    hashes = {name: model.weights_hash for name, model in models.items()}
    description = on_first(lambda: describe("mine", settings, [*files, *pool], hashes))
    if not on_first(lambda: begin(output, description, config.overwrite)):
        return f"{output} is complete; nothing to do"
    work, inputs = work_folder(output), {**description["inputs"], "pool_files": len(pool)}
    folder = work / f"tables-{work_key(inputs)}"
    on_first(lambda: write_tables(folder, files, pool))
    tables = on_all(lambda: open_tables(folder))
    logger.info(
        "%s rows, %s passages, of which %s are searched",
        f"{len(tables.rows):,}",
        f"{len(tables.passages):,}",
        f"{tables.searched:,}",
    )
    encoding = {
        "inputs": inputs,
        "model": encoder.weights_hash,
        "bf16": config.bf16,
        "lengths": list(encoder.max_length.values()),
        "prompts": encoder.layout.prompts,
        "pooling": encoder.layout.pooling,
    }
    vectors = encode_tables(encoder, tables, work / f"vectors-{work_key(encoding)}", config)
    searching = {**encoding, "index": config.index_factory, "k": rule.range_stop, "gpu": config.use_gpu_for_searching}
    neighbours = find_neighbours(vectors, work / f"neighbours-{work_key(searching)}", rule.range_stop, config)
    reranking = None
    if cross_encoder:
        scored = {"inputs": inputs, "model": cross_encoder.weights_hash, "length": cross_encoder.max_length}
        folder = work / f"reranked-{work_key(scored)}"
        reranking = Reranking(cross_encoder, config.reranker_margin, folder, config.batch_tokens)
    chooser = Chooser(tables, vectors, neighbours, rule, reranking)
    if reranking:
        on_all(lambda: [chooser.choose(index) for index in share(range(chooser.blocks))])  # what it scores is kept
    return on_first(lambda: write_output(files, chooser, config, description))


def prepare(config: MineConfig, rule: NegativeRule) -> tuple[list[Path], list[Path], Encoder]:
    """The input files, those of the pool, and the encoder; raises ConfigError, DataError, ModelError."""
    if config.use_gpu_for_searching:
        require_gpu()
    output = Path(config.output_file)
    files = list_files(config.input_file, RECORD_SUFFIXES)
    pool = list_files(config.candidate_pool, RECORD_SUFFIXES) if config.candidate_pool else []
    if output.resolve() in {path.resolve() for path in (*files, *pool)}:
        raise ConfigError(f"{output} is both input and output; name another --output_file")
    ranks = rule.range_stop - rule.range_start
    if ranks < rule.count:
        logger.warning("%d ranks cannot give %d negatives: widen --range_for_sampling", ranks, rule.count)
    return files, pool, load_encoder(config)


def make_rule(config: MineConfig) -> NegativeRule:
    """The rule of selection that the flags spell. Raises ConfigError."""
    first, stop = NegativeRule.parse_range(config.range_for_sampling)
    return NegativeRule(
        range_start=first,
        range_stop=stop,
        count=config.negative_number,
        sampling=config.sampling,
        relative_margin=config.relative_margin,
        absolute_margin=config.absolute_margin,
        max_score=config.max_score,
        min_score=config.min_score,
        on_short=config.on_short,
        seed=config.seed,
    )


def load_encoder(config: MineConfig) -> Encoder:
    """The encoder with the flags' pooling, instructions and lengths; its vectors must be normalised."""
    query_prompt = prompt_from_instruction(
        config.query_instruction_for_retrieval, config.query_instruction_format_for_retrieval
    )
    encoder = Encoder.from_pretrained(
        config.model_name_or_path,
        pooling=config.pooling_method,
        normalize=True,  # scores are cosines
        prompts={"query": query_prompt, "passage": config.passage_instruction},
    ).to_best_device()
    encoder.set_max_length(config.embedder_query_max_length, config.embedder_passage_max_length)
    return encoder


def load_reranker(config: MineConfig) -> CrossEncoder | None:
    """The cross-encoder that confirms negatives, where one is asked for."""
    if config.reranker_name_or_path is None:
        return None
    return CrossEncoder.from_pretrained(config.reranker_name_or_path, config.reranker_max_length).to_best_device()


def write_output(files: list[Path], chooser: Chooser, config: MineConfig, description: dict) -> str:
    """Select, write, say in the manifest that it is done; the summary."""
    rule, output = chooser.rule, Path(config.output_file)
    funnel, counts = write_examples(files, chooser, output, config.keep_reranker_scores)
    if not counts["negatives"]:
        searched = chooser.tables.searched
        logger.warning("no row has a negative: ranks %d-%d of %d passages", rule.range_start, rule.range_stop, searched)
    finish(output, description, {"rows": funnel.as_dict(), **counts})
    reasons = "\n".join(f"  {reason:<36} {count:>11,}" for reason, count in counts["candidates"].items())
    shorts = "".join(f"\n  {reason:<36} {count:>11,}" for reason, count in counts["short rows"].items())
    return (
        f"{funnel.table()}\ncandidates of ranks 0-{rule.range_stop}, why they were not taken\n{reasons}"
        + (f"\nrows short of candidates{shorts}" if shorts else "")
        + f"\n{output}: {funnel.kept:,} examples with {counts['negatives']:,} negatives"
    )


def write_examples(
    files: list[Path], chooser: Chooser, output: Path, keep_reranker_scores: bool
) -> tuple[Funnel, dict]:
    """Select block by block and write each row with its negatives; the funnel and the counts of candidates."""
    funnel, candidates, shorts, totals = Funnel("mine: rows"), Counter(), Counter(), Counter(negatives=0)
    examples = read_examples(files)
    with write_aside(output) as out:
        for index in progress(range(chooser.blocks), "select"):
            choice = chooser.choose(index)
            selection = choice.selection
            candidates.update(selection.dropped)
            shorts.update(selection.short)
            totals["negatives"] += int((selection.ids >= 0).sum())
            if choice.confirmed:
                totals["vetoed"] += choice.confirmed.vetoed
            texts = _texts_of(chooser.tables, selection.ids)
            for row, (located, *_) in enumerate(islice(examples, len(selection.ids))):
                if selection.ids[row, 0] < 0 and chooser.rule.on_short == "drop":
                    funnel.drop("short of negatives")
                    continue
                funnel.keep()
                negative = _negatives(choice, row, texts, chooser.tables)
                if keep_reranker_scores:
                    negative = with_teacher_scores(negative, *choice.teacher_scores(row))
                out.write(json_line({**_as_example(located.record), **negative}))
    return funnel, {"candidates": dict(candidates), "short rows": dict(shorts), **totals}


def _negatives(choice: Choice, row: int, texts: dict[int, str], tables: Tables) -> dict:
    """What mining adds to a row of the block."""
    chosen = choice.selection.ids[row] >= 0
    ids = choice.selection.ids[row][chosen].tolist()
    return {
        "neg": [texts[number] for number in ids],
        "pos_scores": _rounded(choice.positive_scores[row]),
        "neg_scores": _rounded(choice.selection.scores[row][chosen]),
        "pos_ids": choice.positives[row],
        "neg_ids": ids,
        "neg_identities": [_identity(tables, number) for number in ids],
    }


def _as_example(record: dict) -> dict:
    """The row with its positives under `pos`, a pair's document too; all else as it came."""
    positives = record["pos"] if "pos" in record else [record["document"]]
    replaced = ("query", "pos", "document", "pos_cosines", "neg_cosines")  # the cosines are of other negatives
    others = {key: value for key, value in record.items() if key not in replaced}
    return {"query": record["query"], "pos": positives, **others}


def _texts_of(tables: Tables, ids: np.ndarray) -> dict[int, str]:
    wanted = np.unique(ids[ids >= 0])
    return dict(zip(wanted.tolist(), tables.passages[wanted]["text"], strict=True)) if len(wanted) else {}


def _identity(tables: Tables, passage: int) -> int:
    """The passage's article, or its text's hash where no article is known."""
    known = tables.identities.get(passage)
    return tables.exclusions.passage_texts[passage].item() if known is None else known


def _rounded(scores: np.ndarray) -> list[float | None]:
    """Six digits; None for a negative that was filled up at random, whose score nobody computed."""
    return [None if np.isnan(score) else round(float(score), 6) for score in scores]
