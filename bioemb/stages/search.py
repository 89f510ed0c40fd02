"""`bioemb search`: queries in, from flags, a prompt or a pipe; a corpus's closest passages out.

The passages' vectors are kept in blocks under the hash of weights and texts, and read from disk for each query: memory
holds one block of them, however large the corpus. Nothing is approximate.
"""

import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bioemb.blocks import BlockFolder
from bioemb.config import SearchConfig
from bioemb.encoder import Encoder
from bioemb.encoding import choose_bf16, encode_to_blocks
from bioemb.log import is_first_process, logger, printable
from bioemb.manifest import work_folder, work_key
from bioemb.mining.search import merge_keys, pack
from bioemb.stages.evaluate import model_names
from bioemb.stages.search_corpus import Corpus, open_corpus
from bioemb.stages.search_prompt import check_query, converse
from bioemb.stages.search_text import Answer, Look, fit, show, show_beside

BLOCK_ROWS = 4096  # passages encoded before they are on disk, and searched at once


def run(config: SearchConfig) -> str:
    """Encode what is not encoded yet, then answer; returns the answers to --query, '' after a prompt or a pipe."""
    if not is_first_process():  # of several that a launcher started one speaks, and works alone
        return ""
    work = Path(config.work_folder) if config.work_folder else work_folder(config.corpus[0].rstrip("/"))
    for number, query in enumerate(config.query, start=1):
        check_query(query, "the query" if len(config.query) == 1 else f"query {number} of {len(config.query)}")
    paths = [path for path in (config.baseline_model_path, config.model_path) if path is not None]
    names = model_names(paths)
    corpus = open_corpus(config.corpus, work)
    models = [open_model(path, corpus, work, config) for path in paths]
    desk = Desk(corpus, models, names, config)
    if config.baseline_model_path is not None and not config.json:
        logger.info(
            "(was N): rank N by the baseline; (new): not among its first %d; no mark: the same rank", config.top
        )
    if config.query:
        return "\n".join(desk.answer(query) for query in config.query).rstrip("\n")
    logger.info("%s passages; type a query, Ctrl-D to leave", f"{len(corpus.passages):,}")
    converse(desk.answer)
    return ""


class Model(NamedTuple):
    """An encoder and its vectors of all passages."""

    encoder: Encoder
    vectors: BlockFolder
    bf16: bool  # how they were made, and how queries are encoded


def open_model(path: str, corpus: Corpus, work: Path, config: SearchConfig) -> Model:
    """Load a model and encode with it the passages that it has no vectors of yet.

    Where no precision is asked for, vectors that are there decide it, and else the hardware.
    """
    encoder = Encoder.from_pretrained(path, pooling=config.pooling_method, normalize=True).to_best_device()
    encoder.set_max_length(config.query_max_len, config.passage_max_len)
    bf16 = choose_bf16(config.bf16, encoder.device)
    vectors = vectors_of(encoder, corpus, work, bf16)
    if config.bf16 is None and vectors.missing():
        others = vectors_of(encoder, corpus, work, not bf16)  # made on other hardware, or asked for once
        bf16, vectors = (bf16, vectors) if others.missing() else (not bf16, others)
    encode_to_blocks(encoder, corpus.passages["text"], "passage", vectors, batch_tokens=config.batch_tokens, bf16=bf16)
    return Model(encoder, vectors, bf16)


def vectors_of(encoder: Encoder, corpus: Corpus, work: Path, bf16: bool) -> BlockFolder:
    """The blocks of the passages' vectors in one precision, there or to be made."""
    made_from = {
        "passages": corpus.key,
        "model": encoder.weights_hash,
        "bf16": bf16,
        "length": encoder.max_length["passage"],
        "prompt": encoder.layout.prompts["passage"],
        "pooling": encoder.layout.pooling,
    }
    return BlockFolder(work / f"searched-{work_key(made_from)}", len(corpus.passages), BLOCK_ROWS)


def find(query: np.ndarray, vectors: BlockFolder, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k closest passages of one query [d]: cosines [<= k] falling, ids [<= k], ties by rising id.

    NumpySearcher, which is made for many queries, would read the vectors twice.
    """
    best = np.zeros((1, 0), np.uint64)
    for rows, block in vectors.blocks():
        scores = (block @ query)[None]  # [1, c]
        best = merge_top([best, pack(scores, np.arange(rows.start, rows.stop)[None])], k)
    scores, ids = merge_keys([best], k)
    there = ids[0] >= 0
    return scores[0][there], ids[0][there]


def merge_top(keys: list[np.ndarray], k: int) -> np.ndarray:
    """The k largest of packed candidates [1, n]."""
    joined = np.concatenate(keys, axis=1)
    return joined if joined.shape[1] <= k else np.partition(joined, joined.shape[1] - k, axis=1)[:, -k:]


class Desk:
    """Where queries are answered: by one model, or by a baseline and a model."""

    def __init__(self, corpus: Corpus, models: Sequence[Model], names: Sequence[str], config: SearchConfig):
        self.corpus, self.models, self.names, self.config = corpus, models, names, config

    def answer(self, query: str) -> str:
        """What is said to a query. Raises DataError for one that cannot be answered."""
        query = check_query(query)
        self._warn_of_length(query)
        answers = [self._search(model, query) for model in self.models]
        if self.config.json:
            return as_json(query, answers)
        look = look_of(self.config)
        shown = show(query, answers[0], look) if len(answers) == 1 else show_beside(query, self.names, answers, look)
        return f"{fit(printable(query), look.width)}\n{shown}\n" if self.config.query else f"{shown}\n"

    def _search(self, model: Model, query: str) -> list[Answer]:
        options = {"batch_tokens": self.config.batch_tokens, "bf16": model.bf16}
        (vector,) = model.encoder.encode([query], kind="query", **options)
        scores, ids = find(vector, model.vectors, self.config.top)
        rows = [self.corpus.passages[number] for number in ids.tolist()]
        return [Answer(row["id"], score, row["text"]) for row, score in zip(rows, scores.tolist(), strict=True)]

    def _warn_of_length(self, query: str) -> None:
        encoder = self.models[-1].encoder
        limit = encoder.max_length["query"]
        text = encoder.layout.prompts["query"] + query
        if len(encoder.tokenizer(text, truncation=True, max_length=limit + 1)["input_ids"]) > limit:
            logger.warning(
                "the query is longer than the %d tokens that the model reads; its end is not looked at", limit
            )


def as_json(query: str, answers: Sequence[Sequence[Answer]]) -> str:
    """One line: the query, the model's results, and those of the baseline where there is one."""
    *baseline, own = [
        [{"rank": rank, **answer._asdict()} for rank, answer in enumerate(some, start=1)] for some in answers
    ]
    return json.dumps(
        {"query": query, "results": own, **({"baseline_results": baseline[0]} if baseline else {})}, ensure_ascii=False
    )


def look_of(config: SearchConfig) -> Look:
    """As wide as the terminal; in colour on a terminal, unless NO_COLOR is set."""
    with_colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return Look(max(shutil.get_terminal_size().columns, 20), with_colour, config.full)
