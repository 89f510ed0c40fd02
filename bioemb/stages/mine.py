"""`bioemb mine`: pairs or examples in, examples with hard negatives out.

Tables, vectors and neighbours are kept beside the output, each under the hash of what it was made from: an
interrupted run goes on, and a run with another rule of selection only selects again.
"""

import json
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np

from bioemb.blocks import BlockFolder
from bioemb.config import MineConfig
from bioemb.encoder import Encoder, prompt_from_instruction
from bioemb.encoding import encode_to_blocks
from bioemb.errors import ConfigError
from bioemb.files import RECORD_SUFFIXES, json_line, list_files, write_aside
from bioemb.flags import output_settings
from bioemb.log import Funnel, logger, progress
from bioemb.manifest import begin, describe, finish, work_folder, work_key
from bioemb.mining import FaissSearcher, NegativeRule, Selection, select_negatives
from bioemb.mining.faiss_search import TRAINING_ROWS, require_gpu
from bioemb.mining.miner import merged, search_shard
from bioemb.mining.negatives import Context
from bioemb.records import stable_hash
from bioemb.stages.mining_tables import Tables, open_tables, read_examples

BLOCK_ROWS = 4096  # texts encoded before they are on disk
SHARD_ROWS = 64 * BLOCK_ROWS * 4  # passages in the index at once: 1,048,576, or 3 GB of 768-dimensional vectors


def run(config: MineConfig) -> str:
    """Mine and write; returns the funnel. What cannot work is said before anything is encoded."""
    rule = make_rule(config)
    if config.use_gpu_for_searching:
        require_gpu()
    output = Path(config.output_file)
    files = list_files(config.input_file, RECORD_SUFFIXES)
    pool = list_files(config.candidate_pool, RECORD_SUFFIXES) if config.candidate_pool else []
    if output.resolve() in {path.resolve() for path in (*files, *pool)}:
        raise ConfigError(f"{output} is both input and output; name another --output_file")
    if rule.range_stop - rule.range_start < rule.count:
        logger.warning(
            "%d ranks cannot give %d negatives: widen --range_for_sampling",
            rule.range_stop - rule.range_start,
            rule.count,
        )
    encoder = load_encoder(config)
    settings = {**output_settings(config), "pool_files": len(pool)}  # which of the inputs are the pool
    description = describe("mine", settings, [*files, *pool], {"model": encoder.weights_hash})
    if not begin(output, description, config.overwrite):
        return f"{output} is complete; nothing to do"
    work, inputs = work_folder(output), {**description["inputs"], "pool_files": len(pool)}
    tables = open_tables(work / f"tables-{work_key(inputs)}", files, pool)
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
    passages, queries = encode_tables(encoder, tables, work / f"vectors-{work_key(encoding)}", config)
    searching = {**encoding, "index": config.index_factory, "k": rule.range_stop}
    neighbours = find_neighbours(
        passages, queries, tables.searched, work / f"neighbours-{work_key(searching)}", rule.range_stop, config
    )
    funnel, counts = write_examples(files, tables, (passages, queries, neighbours), rule, output)
    if not counts["negatives"]:
        logger.warning(
            "no row has a negative: %s lies beyond the %d passages", config.range_for_sampling, tables.searched
        )
    finish(output, description, {"rows": funnel.as_dict(), **counts})
    reasons = "\n".join(f"  {reason:<36} {count:>11,}" for reason, count in counts["candidates"].items())
    shorts = "".join(f"\n  {reason:<36} {count:>11,}" for reason, count in counts["short rows"].items())
    return (
        f"{funnel.table()}\ncandidates of ranks 0-{rule.range_stop}, why they were not taken\n{reasons}"
        + (f"\nrows short of candidates{shorts}" if shorts else "")
        + f"\n{output}: {funnel.kept:,} examples with {counts['negatives']:,} negatives"
    )


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


def encode_tables(
    encoder: Encoder, tables: Tables, folder: Path, config: MineConfig
) -> tuple[BlockFolder, BlockFolder]:
    """The vectors of all passages and of all rows' queries, on disk."""
    result = []
    for name, texts, kind in (
        ("passages", tables.passages["text"], "passage"),
        ("queries", tables.rows["query"], "query"),
    ):
        blocks = BlockFolder(folder / name, len(texts), BLOCK_ROWS)
        encode_to_blocks(encoder, texts, kind, blocks, batch_tokens=config.batch_tokens, bf16=config.bf16)
        result.append(blocks)
    return result[0], result[1]


def find_neighbours(
    passages: BlockFolder, queries: BlockFolder, searched: int, folder: Path, k: int, config: MineConfig
) -> list[tuple[BlockFolder, BlockFolder]]:
    """(scores, ids) of every shard of the corpus, in blocks of queries, on disk; searched shards stay."""
    results = []
    for first in range(0, searched, SHARD_ROWS):
        shard = folder / f"shard-{first:012d}"
        scores, ids = (BlockFolder(shard / name, queries.rows, queries.block_rows) for name in ("scores", "ids"))
        results.append((scores, ids))
        if not ids.missing():
            continue
        blocks = range(first // BLOCK_ROWS, -(-min(first + SHARD_ROWS, searched) // BLOCK_ROWS))
        vectors = [passages.read(index)[: searched - passages.span(index).start] for index in blocks]  # memory-mapped
        searcher = make_searcher(vectors, config)
        found = search_shard(
            searcher, vectors, first, (block for _, block in queries.blocks()), k, config.search_batch_size
        )
        for index, (block_scores, block_ids) in enumerate(progress(found, "search", queries.count)):
            scores.write(index, block_scores)
            ids.write(index, block_ids)
    return results


def make_searcher(vectors: list[np.ndarray], config: MineConfig) -> FaissSearcher:
    """An empty index for these blocks of vectors; a kind that is trained learns from a sample of all of them."""
    device = "gpu" if config.use_gpu_for_searching else "cpu"
    searcher = FaissSearcher(vectors[0].shape[1], config.index_factory, device)
    if config.index_factory != "Flat":
        step = -(-sum(map(len, vectors)) // TRAINING_ROWS)
        searcher.train(np.concatenate([block[::step] for block in vectors]))
    return searcher


def write_examples(
    files: list[Path], tables: Tables, arrays: tuple, rule: NegativeRule, output: Path
) -> tuple[Funnel, dict]:
    """Select block by block and write each row with its negatives; the funnel and the counts of candidates."""
    passages, queries, neighbours = arrays
    funnel, candidates, shorts, negatives = Funnel("mine: rows"), Counter(), Counter(), 0
    examples = read_examples(files)
    with write_aside(output) as out:
        for index in progress(range(queries.count), "select"):
            span = queries.span(index)
            rows = tables.rows[span.start : span.stop]
            ranked = merged([(scores.read(index), ids.read(index)) for scores, ids in neighbours], rule.range_stop)
            positive_scores = _positive_scores(queries.read(index), passages, rows["positives"])
            selection = _select(ranked, span, rows, positive_scores, tables, rule)
            candidates.update(selection.dropped)
            shorts.update(selection.short)
            negatives += int((selection.ids >= 0).sum())
            texts = _texts_of(tables, selection.ids)
            for row, (located, *_) in enumerate(islice(examples, span.stop - span.start)):
                chosen = selection.ids[row] >= 0
                if not chosen.any() and rule.on_short == "drop":
                    funnel.drop("short of negatives")
                    continue
                funnel.keep()
                ids = selection.ids[row][chosen].tolist()
                negative = {
                    "neg": [texts[number] for number in ids],
                    "pos_scores": _rounded(positive_scores[row]),
                    "neg_scores": _rounded(selection.scores[row][chosen]),
                    "pos_ids": rows["positives"][row],
                    "neg_ids": ids,
                    "neg_identities": [_identity(tables, number) for number in ids],
                }
                out.write(json_line({**_as_example(located.record), **negative}))
    return funnel, {"candidates": dict(candidates), "short rows": dict(shorts), "negatives": negatives}


def _as_example(record: dict) -> dict:
    """The row with its positives under `pos`, a pair's document too; all else as it came."""
    positives = record["pos"] if "pos" in record else [record["document"]]
    others = {key: value for key, value in record.items() if key not in ("query", "pos", "document")}
    return {"query": record["query"], "pos": positives, **others}


def _select(
    ranked: tuple[np.ndarray, np.ndarray],
    span: slice,
    rows: dict,
    positive_scores: list,
    tables: Tables,
    rule: NegativeRule,
) -> Selection:
    exclusions = {
        "positive or same text": [tables.exclusions.same_text(row) for row in range(span.start, span.stop)],
        "same article or linked": [
            tables.exclusions.same_identity(_articles(tables, identity, positives))
            for identity, positives in zip(rows["identity"], rows["positives"], strict=True)
        ],
    }
    context = Context(
        row_keys=np.array(
            [
                stable_hash(json.dumps([query, positives]))
                for query, positives in zip(rows["query"], rows["positives"], strict=True)
            ]
        ),
        corpus_size=tables.searched,
    )
    return select_negatives(*ranked, exclusions, positive_scores, rule, context)


def _articles(tables: Tables, identity: int | None, positives: list[int]) -> list[int]:
    """The identities of a row and of its positives, as far as they are known."""
    known = {tables.identities.get(number) for number in positives} | {identity}
    return sorted(known - {None})


def _positive_scores(queries: np.ndarray, passages: BlockFolder, positives: list[list[int]]) -> list[np.ndarray]:
    """Cosines of each query [b, d] with its positives, as ragged rows."""
    counts = [len(some) for some in positives]
    vectors = passages.take(np.concatenate([np.asarray(some) for some in positives]))
    scores = np.einsum("nd,nd->n", np.repeat(queries, counts, axis=0), vectors)
    return np.split(scores, np.cumsum(counts)[:-1])


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
