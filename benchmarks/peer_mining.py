"""How the peers mine hard negatives, as functions of rows {"query","pos"}.

FlagEmbedding's mining script is not in its package: `like_flag_embedding` is the same procedure, written from a
description of it, on the package's own encoder and faiss. It draws from Python's global generator without a seed, and
the order of a set of texts depends on the process, as there. sentence-transformers has a function for it.
"""

import random
from typing import NamedTuple

ROWS_A_SEARCH = 64


class Window(NamedTuple):
    """Ranks from `first` to before `stop`, of which `count` are taken."""

    first: int
    stop: int
    count: int


def like_flag_embedding(
    model: str, rows: list[dict], window: Window, max_length: int, pool: list[str] | None = None, *, fill: bool = True
) -> list[list[str]]:
    """Each row's negatives: a uniform sample of the window without the row's own texts, filled up from the corpus.

    fill False leaves a row short instead, to compare the windows.
    """
    import faiss
    from FlagEmbedding import FlagModel

    corpus = list(set(pool or (text for row in rows for text in row["pos"] + row.get("neg", []))))
    encoder = FlagModel(model, use_fp16=False, pooling_method="mean", devices="cpu")
    passages = encoder.encode(corpus, max_length=max_length)
    queries = encoder.encode_queries([row["query"] for row in rows], max_length=max_length)
    index = faiss.IndexFlatIP(passages.shape[1])
    index.add(passages)
    scores, ids = [], []
    for start in range(0, len(queries), ROWS_A_SEARCH):
        found = index.search(queries[start : start + ROWS_A_SEARCH], min(window.stop, len(corpus)))
        scores += found[0].tolist()
        ids += found[1].tolist()
    others = corpus if fill else []
    return [
        _choose(row, [corpus[place] for place in ranked if place >= 0], others, window)
        for row, ranked in zip(rows, ids, strict=True)
    ]


def _choose(row: dict, ranked: list[str], others: list[str], window: Window) -> list[str]:
    own = {*row["pos"], row["query"]}
    near = [text for text in ranked[window.first : window.stop] if text not in own]
    chosen = random.sample(near, window.count) if len(near) > window.count else near
    missing = window.count - len(chosen)
    if missing and others:
        drawn = random.sample(others, min(missing + len(row["pos"]), len(others)))
        chosen = chosen + [text for text in drawn if text not in row["pos"]][:missing]
    return chosen


def with_sentence_transformers(
    model: str,
    rows: list[dict],
    window: Window,
    max_length: int,
    pool: list[str] | None = None,
    *,
    bf16: bool = False,
    relative_margin: float | None = None,
) -> dict[str, list[str]]:
    """Query -> negatives; a row with fewer in the window than wanted is left out by the peer."""
    import torch
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import mine_hard_negatives

    dtype = torch.bfloat16 if bf16 else torch.float32
    encoder = SentenceTransformer(model, device="cpu", model_kwargs={"torch_dtype": dtype})
    encoder.max_seq_length = max_length
    pairs = [(row["query"], text) for row in rows for text in row["pos"]]
    dataset = Dataset.from_dict({"query": [query for query, _ in pairs], "positive": [text for _, text in pairs]})
    mined = mine_hard_negatives(
        dataset,
        encoder,
        corpus=pool,
        range_min=window.first,
        range_max=window.stop,
        num_negatives=window.count,
        sampling_strategy="random",
        relative_margin=relative_margin,
        output_format="n-tuple",
        use_faiss=True,
        verbose=False,
    )
    names = [name for name in mined.column_names if name.startswith("negative")]
    return {row["query"]: [row[name] for name in names] for row in mined}
