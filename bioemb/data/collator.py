"""From rows to a batch: a group of texts for each query, as token ids, with the identities that the loss needs."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bioemb.data.dataset import passage_identity
from bioemb.data.sampling import choose_group
from bioemb.records import stable_hash

if TYPE_CHECKING:
    from datasets import Dataset

TokenIds = Callable[[list[str], str, list[str | None] | None], list[list[int]]]  # texts, kind, prompts
SHUFFLED_PARTS, SHORTEST_SHUFFLED = 3, 100  # FlagEmbedding's shuffle_ratio: thirds of texts above 100 characters


class Batch(NamedTuple):
    """b queries and their groups of g passages, a positive and then negatives, group after group."""

    queries: list[list[int]]  # token ids of b queries
    passages: list[list[int]]  # token ids of b * g passages
    query_identity: np.ndarray  # [b]
    passage_identity: np.ndarray  # [b * g]
    teacher_scores: np.ndarray | None  # [b, g]
    rows: np.ndarray  # [b], for error messages


class Collator:
    """Makes the batch of some rows: `collator([(epoch, row), ...])`. The same rows and epoch give the same batch."""

    def __init__(
        self,
        dataset: "Dataset",
        token_ids: TokenIds,
        group_size: int,
        seed: int,
        *,
        teacher_scores: bool = False,
        shuffle_ratio: float = 0.0,
    ):
        self.dataset, self.token_ids, self.group_size, self.seed = dataset, token_ids, group_size, seed
        self.teacher_scores, self.shuffle_ratio = teacher_scores, shuffle_ratio

    def __call__(self, keys: Sequence[tuple[int, int]]) -> Batch:
        examples = [self.dataset[int(row)] for _, row in keys]
        queries, passages, query_identity, identities, scores = [], [], [], [], []
        for (epoch, _), example in zip(keys, examples, strict=True):
            key = (self.seed, epoch, stable_hash(example["query"]))
            positive, negatives = choose_group(len(example["pos"]), len(example["neg"]), self.group_size, key)
            texts = [example["pos"][positive], *(example["neg"][index] for index in negatives)]
            ids = _identities(example, texts, negatives)
            queries.append(example["query"])
            query_identity.append(ids[0])
            identities += ids
            passages += [self._shuffled(texts[0], key), *texts[1:]]
            if self.teacher_scores:
                scores.append([example["pos_scores"][positive], *(example["neg_scores"][index] for index in negatives)])
        return Batch(
            queries=self.token_ids(queries, "query", [example["prompt"] for example in examples]),
            passages=self.token_ids(passages, "passage", None),
            query_identity=np.array(query_identity, np.int64),
            passage_identity=np.array(identities, np.int64),
            teacher_scores=np.array(scores, np.float32) if self.teacher_scores else None,
            rows=np.array([row for _, row in keys], np.int64),
        )

    def _shuffled(self, text: str, key: tuple[int, ...]) -> str:
        rng = np.random.default_rng((*key, 1))
        if len(text) <= SHORTEST_SHUFFLED or rng.random() >= self.shuffle_ratio:
            return text
        cut = -(-len(text) // SHUFFLED_PARTS)
        parts = [text[start : start + cut] for start in range(0, len(text), cut)]
        return " ".join(parts[index] for index in rng.permutation(len(parts)))


def _identities(example: dict, texts: list[str], negatives: np.ndarray) -> list[int]:
    """Of the positive (which is the query's own) and of each negative; a text's hash where the data says nothing."""
    own = example["identity"] if example["identity"] is not None else passage_identity(texts[0])
    given = example["neg_identities"]
    others = [given[index] for index in negatives] if given else [passage_identity(text) for text in texts[1:]]
    return [own, *others]
