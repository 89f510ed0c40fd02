"""From rows to a batch: a group of texts for each query, as token ids, with the identities that the loss needs."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bioemb.data.examples import passage_identity
from bioemb.data.sampling import choose_group
from bioemb.records import stable_hash

if TYPE_CHECKING:
    from datasets import Dataset

TokenIds = Callable[[list[str], str, list[str | None] | None], list[list[int]]]  # texts, kind, prompts
SHUFFLED_PARTS, SHORTEST_SHUFFLED = 3, 100  # FlagEmbedding's shuffle_ratio: thirds of texts above 100 characters


class Batch(NamedTuple):
    """b queries and their groups of passages, a positive and then negatives, group after group: p passages in all."""

    queries: list[list[int]]  # token ids of b queries
    passages: list[list[int]]  # token ids of p passages
    query_identity: np.ndarray  # [b]
    passage_identity: np.ndarray  # [p]
    teacher_scores: np.ndarray | None  # [b, g]
    rows: np.ndarray  # [b], for error messages
    group_sizes: np.ndarray  # [b], g of each, or 1 of a row without negatives
    guide_queries: list[list[int]] | None = None  # the same texts as token ids of the guide
    guide_passages: list[list[int]] | None = None


class Collator:
    """Makes the batch of some rows: `collator([(pass, row), ...])`, the same for the same rows and passes.

    The pass, which is the epoch where an epoch takes every row once, decides which texts of a row are drawn.
    """

    def __init__(
        self,
        dataset: "Dataset",
        token_ids: TokenIds,
        group_size: int,
        seed: int,
        *,
        teacher_scores: bool = False,
        shuffle_ratio: float = 0.0,
        guide_token_ids: TokenIds | None = None,
    ):
        self.dataset, self.token_ids, self.group_size, self.seed = dataset, token_ids, group_size, seed
        self.teacher_scores, self.shuffle_ratio = teacher_scores, shuffle_ratio
        self.guide_token_ids = guide_token_ids

    def __call__(self, keys: Sequence[tuple[int, int]]) -> Batch:
        examples = [self.dataset[int(row)] for _, row in keys]
        queries, passages, query_identity, identities, scores, sizes = [], [], [], [], [], []
        for (turn, _), example in zip(keys, examples, strict=True):
            key = (self.seed, turn, stable_hash(example["query"]))
            size = self.group_size if example["neg"] else 1
            positive, negatives = choose_group(len(example["pos"]), len(example["neg"]), size, key)
            texts = [example["pos"][positive], *(example["neg"][index] for index in negatives)]
            ids = _identities(example, texts, negatives)
            queries.append(example["query"])
            query_identity.append(ids[0])
            sizes.append(size)
            identities += ids
            passages += [self._shuffled(texts[0], key), *texts[1:]]
            if self.teacher_scores:
                scores.append([example["pos_scores"][positive], *(example["neg_scores"][index] for index in negatives)])
        guide = self.guide_token_ids
        passage_prompts = [
            example["passage_prompt"] for example, size in zip(examples, sizes, strict=True) for _ in range(size)
        ]
        return Batch(
            queries=self.token_ids(queries, "query", [example["prompt"] for example in examples]),
            passages=self.token_ids(passages, "passage", passage_prompts),
            query_identity=np.array(query_identity, np.int64),
            passage_identity=np.array(identities, np.int64),
            teacher_scores=np.array(scores, np.float32) if self.teacher_scores else None,
            rows=np.array([row for _, row in keys], np.int64),
            group_sizes=np.array(sizes, np.int64),
            guide_queries=guide(queries, "query", None) if guide else None,
            guide_passages=guide(passages, "passage", None) if guide else None,
        )

    def _shuffled(self, text: str, key: tuple[int, ...]) -> str:
        rng = np.random.default_rng((*key, 1))
        if len(text) <= SHORTEST_SHUFFLED or rng.random() >= self.shuffle_ratio:
            return text
        cut = -(-len(text) // SHUFFLED_PARTS)
        parts = [text[start : start + cut] for start in range(0, len(text), cut)]
        return " ".join(parts[index] for index in rng.permutation(len(parts)))


def _identities(example: dict, texts: list[str], negatives: np.ndarray) -> list[int]:
    """Of the positive (which is the query's own) and of each negative; a text's hash where the data says nothing.

    A negative that reads as one of the row's positives is none.
    """
    own = example["identity"] if example["identity"] is not None else passage_identity(texts[0])
    given, positives = example["neg_identities"], set(map(passage_identity, example["pos"]))
    others = []
    for index, text in zip(negatives, texts[1:], strict=True):
        of_text = passage_identity(text)
        others.append(own if of_text in positives else given[index] if given else of_text)
    return [own, *others]
