"""`bioemb mine`: pairs or examples in, examples with hard negatives out.

Tables, vectors and neighbours are kept beside the output, each under the hash of what it was made from: an
interrupted run goes on, and a run with another rule of selection only selects again.
"""

import shutil
from dataclasses import replace
from pathlib import Path

from bioemb.config import MineConfig
from bioemb.cross_encoder import CrossEncoder
from bioemb.encoder import Encoder, prompt_from_instruction
from bioemb.encoding import choose_bf16
from bioemb.errors import ConfigError
from bioemb.files import RECORD_SUFFIXES, check_output_name, list_files
from bioemb.flags import output_settings
from bioemb.log import Funnel, logger
from bioemb.manifest import begin, describe, finish, remove_unfinished, work_folder, work_key
from bioemb.mining import NegativeRule
from bioemb.mining.faiss_search import require_gpu
from bioemb.process_settings import give_back_memory
from bioemb.processes import join_processes, on_all, on_first, require_same
from bioemb.stages.mining_output import write_examples
from bioemb.stages.mining_search import encode_tables, find_neighbours, read_recall, require_index
from bioemb.stages.mining_selection import Chooser
from bioemb.stages.mining_tables import open_tables, write_tables
from bioemb.stages.naming import naming_lines
from bioemb.stages.reranking import Reranking

MOST_RANKS = 16_384  # a block of 4,096 queries keeps 8 bytes for each: half a gigabyte, and sorts copies of them


def run(config: MineConfig) -> str:
    """Mine and write; returns the summary. What cannot work is said before anything is encoded."""
    join_processes()
    rule = make_rule(config)
    files, pool, encoder = on_all(lambda: prepare(config, rule))
    device = encoder.device
    config = replace(config, bf16=on_first(lambda: choose_bf16(config.bf16, device)))
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
    on_first(lambda: remove_unfinished(output))
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
    reach = on_all(lambda: reach_of(rule, tables.searched))
    encoding = {
        "inputs": inputs,
        "model": encoder.weights_hash,
        "bf16": config.bf16,
        "lengths": list(encoder.max_length.values()),
        "prompts": encoder.layout.prompts,
        "pooling": encoder.layout.pooling,
    }
    with naming_lines([*files, *pool]):
        vectors = encode_tables(encoder, tables, work / f"vectors-{work_key(encoding)}", config)
    del encoder, models, model  # its weights are memory that the search can use
    give_back_memory()
    index = [config.index_factory, config.index_parameters, config.use_gpu_for_searching]
    found = work / f"neighbours-{work_key({**encoding, 'index': index, 'k': reach})}"
    neighbours = find_neighbours(vectors, found, reach, config)
    reranking = None
    if cross_encoder:
        scored = {"inputs": inputs, "model": cross_encoder.weights_hash, "length": cross_encoder.max_length}
        folder = work / f"reranked-{work_key(scored)}"
        reranking = Reranking(cross_encoder, config.reranker_margin, folder, config.batch_tokens)
    chooser = Chooser(tables, vectors, neighbours, rule, reranking, config.max_positive_similarity)
    parts = work / f"examples-{work_key(description)}"
    on_first(lambda: _remove_others(parts))
    funnel, counts = write_examples(files, chooser, parts, output, config.keep_reranker_scores)
    recall = on_first(lambda: read_recall(found))
    counted = {"rows": funnel.as_dict(), **counts, **({"search": recall} if recall else {})}
    on_first(lambda: finish(output, description, counted))
    return summarise(funnel, counts, chooser.reach, recall, config)


def _remove_others(parts: Path) -> None:
    """Delete the parts of an interrupted run that chose by another rule: they are as large as an output."""
    for folder in parts.parent.glob("examples-*"):
        if folder != parts:
            shutil.rmtree(folder)


def prepare(config: MineConfig, rule: NegativeRule) -> tuple[list[Path], list[Path], Encoder]:
    """The input files, those of the pool, and the encoder; raises ConfigError, DataError, ModelError."""
    if config.use_gpu_for_searching:
        require_gpu()  # at once, and not after the model is loaded
    output = Path(config.output_file)
    check_output_name(output)
    files = list_files(config.input_file, RECORD_SUFFIXES)
    pool = list_files(config.candidate_pool, RECORD_SUFFIXES) if config.candidate_pool else []
    if output.resolve() in {path.resolve() for path in (*files, *pool)}:
        raise ConfigError(f"{output} is both input and output; name another --output_file")
    ranks = rule.range_stop - rule.range_start
    if ranks < rule.count:
        logger.warning("%d ranks cannot give %d negatives: widen --range_for_sampling", ranks, rule.count)
    encoder = load_encoder(config)
    require_index(config, encoder.width, rule.range_stop)
    return files, pool, encoder


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


def reach_of(rule: NegativeRule, searched: int) -> int:
    """How many ranks are looked at: to the end of the range, or of the corpus. Raises ConfigError for too many."""
    reach = min(rule.range_stop, searched)
    if reach < rule.range_stop:
        logger.info("the range ends at rank %d, with the last of the passages", reach)
    if reach > MOST_RANKS:
        raise ConfigError(
            f"--range_for_sampling ends at rank {rule.range_stop:,} of {searched:,} passages; at most {MOST_RANKS:,} "
            "are looked at for a query: end it there, or before"
        )
    return reach


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


def summarise(funnel: Funnel, counts: dict, reach: int, recall: dict | None, config: MineConfig) -> str:
    """What became of the rows and of their candidates."""
    reasons = "\n".join(f"  {reason:<36} {count:>11,}" for reason, count in counts["candidates"].items())
    shorts = "".join(f"\n  {reason:<36} {count:>11,}" for reason, count in counts["short rows"].items())
    return (
        f"{funnel.table()}\ncandidates of ranks 0-{reach}, why they were not taken\n{reasons}"
        + (f"\nrows short of candidates{shorts}" if shorts else "")
        + (f"\nshare of the true neighbours that {config.index_factory} finds: {recall['recall']}" if recall else "")
        + f"\n{config.output_file}: {funnel.kept:,} examples with {counts['negatives']:,} negatives"
    )
