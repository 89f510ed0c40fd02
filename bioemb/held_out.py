"""Evaluation during training: does each held-out query find its positives among all held-out passages?

It says which step was best and when to stop. It is no benchmark: thousands of passages are easy, `bioemb evaluate`
asks harder questions.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bioemb.data.examples import passage_identity
from bioemb.data.hold_out import positive_identities
from bioemb.distributed import gather, sum_over_processes, world
from bioemb.encoder import Encoder
from bioemb.encoding import encode_ids
from bioemb.errors import ModelError

QUERIES_AT_A_TIME = 256
METRICS = ("mrr", "recall@1", "recall@10")


class HeldOut(NamedTuple):
    """Held-out queries, and the distinct passages that they are asked of. Positions count among the passages."""

    queries: list[str]
    prompts: list[str | None]  # of each query
    passages: list[str]
    passage_prompts: list[str | None]
    positives: list[np.ndarray]  # positions, for each query
    excluded: list[np.ndarray]  # positions of what shares a positive's identity, for each query


def held_out_of(examples: Iterable[dict]) -> HeldOut:
    """The queries and passages of some examples; equal queries become one with the positives of all."""
    place: dict[tuple[str, str | None], int] = {}  # of each passage with its prompt
    identity: list[int] = []  # of each passage
    found: dict[tuple[str, str | None], tuple[set[int], set[int]]] = {}  # positives and identities of each query

    def place_of(text: str, own_identity: int) -> int:
        key = (text, example["passage_prompt"])
        if key not in place:
            place[key] = len(place)
            identity.append(own_identity)
        return place[key]

    for example in examples:
        own, given = example["identity"], example["neg_identities"]
        positives, identities = found.setdefault((example["query"], example["prompt"]), (set(), set()))
        identities.update(positive_identities(example))
        positives.update(place_of(text, passage_identity(text) if own is None else own) for text in example["pos"])
        for number, text in enumerate(example["neg"]):
            place_of(text, given[number] if given else passage_identity(text))
    holders: dict[int, list[int]] = {}
    for position, of in enumerate(identity):
        holders.setdefault(of, []).append(position)
    return HeldOut(
        queries=[query for query, _ in found],
        prompts=[prompt for _, prompt in found],
        passages=[text for text, _ in place],
        passage_prompts=[prompt for _, prompt in place],
        positives=[np.array(sorted(positives), np.int64) for positives, _ in found.values()],
        excluded=[
            np.array(sorted({p for i in identities for p in holders.get(i, ())} - positives), np.int64)
            for positives, identities in found.values()
        ],
    )


def evaluate(encoder: Encoder, held_out: HeldOut, bf16: bool = False) -> dict[str, float]:
    """METRICS, 0 to 1, means over the queries: the same on every process, each of which does its share of the work.

    mrr: 1 / rank of the first positive. recall@k: the share of a query's positives among its k closest passages.
    Of passages as close as a positive, all that are none rank before it. Raises ModelError on every process where
    vectors are not finite, which would be neither closer nor less close than others.
    """
    rank, processes = world()
    passages = np.array_split(np.arange(len(held_out.passages)), processes)[rank]
    prompts = [held_out.passage_prompts[i] for i in passages]
    ids = encoder.token_ids([held_out.passages[i] for i in passages], "passage", prompts)
    passage_vectors, _ = gather(encode_ids(encoder, ids, bf16=bf16))  # [m, d]
    if not passage_vectors.isfinite().all():
        raise ModelError("the vectors of held-out passages are not finite: the training has diverged; lower the rate")
    mine = np.array_split(np.arange(len(held_out.queries)), processes)[rank]
    ids = encoder.token_ids([held_out.queries[i] for i in mine], "query", [held_out.prompts[i] for i in mine])
    query_vectors = encode_ids(encoder, ids, bf16=bf16)
    sums = torch.zeros(len(METRICS), dtype=torch.float64)
    for start in range(0, len(mine), QUERIES_AT_A_TIME):
        some = slice(start, start + QUERIES_AT_A_TIME)
        scores = (query_vectors[some] @ passage_vectors.T).cpu()  # [k, m]
        for row, query in zip(scores, mine[some], strict=True):
            sums += _metrics_of(positive_ranks(row, held_out.positives[query], held_out.excluded[query]))
    sums = sum_over_processes(sums.to(encoder.device))
    return dict(zip(METRICS, (sums / len(held_out.queries)).tolist(), strict=True))


def positive_ranks(scores: Tensor, positives: np.ndarray, excluded: np.ndarray) -> Tensor:
    """The rank, from 1, of each positive of one query. scores: [m]; the excluded take no part."""
    own = scores[positives]  # [p]
    others = scores.clone()
    others[positives], others[excluded] = -torch.inf, -torch.inf
    before = (others >= own[:, None]).sum(1) + (own > own[:, None]).sum(1)
    return before + 1


def _metrics_of(ranks: Tensor) -> Tensor:
    ranks = ranks.double()
    return torch.stack([1 / ranks.min(), (ranks <= 1).double().mean(), (ranks <= 10).double().mean()])


class Best:
    """The best evaluation of a run so far, and how many there have been since."""

    def __init__(self, patience: int | None = None):
        self.patience = patience
        self.step, self.score, self.waited = 0, -1.0, 0  # step 0: none yet

    def note(self, step: int, score: float) -> bool:
        """Whether this evaluation is better than all before it."""
        if score > self.score:
            self.step, self.score, self.waited = step, score, 0
            return True
        self.waited += 1
        return False

    @property
    def is_long_ago(self) -> bool:
        """Whether there was no better one for as many evaluations as patience allows."""
        return self.patience is not None and self.waited >= self.patience

    def state(self) -> dict[str, float]:
        return {"step": self.step, "score": self.score, "waited": self.waited}

    def load(self, state: dict[str, float]) -> None:
        self.step, self.score, self.waited = state["step"], state["score"], state["waited"]
