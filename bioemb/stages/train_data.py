"""From the flags to what is trained on: examples, the rows that may meet in a batch, and what is held out."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bioemb.card_data import TrainingSet
from bioemb.config import TrainConfig
from bioemb.config.train import SCORED_GROUPS, SCORED_PAIRS
from bioemb.data.collator import Collator, TokenIds
from bioemb.data.dataset import Source, count_values, list_sources, load_examples, rows_of_sources, score_range
from bioemb.data.examples import Needs
from bioemb.data.hold_out import Split, split_by_other, split_by_share
from bioemb.data.hub_rows import is_hub_name
from bioemb.data.sampling import Part, Pool, temperature_weights
from bioemb.errors import ConfigError
from bioemb.log import logger
from bioemb.manifest import work_folder

if TYPE_CHECKING:
    from datasets import Dataset

    from bioemb.held_out import HeldOut

ANY_ROW = Needs(group_size=0)  # with negatives or without


class TrainingData(NamedTuple):
    """What the trainer takes its batches from, what it is evaluated on, and what was counted on the way."""

    collator: Collator
    pools: list[Pool]
    held_out: "HeldOut | None"
    counts: dict[str, int]
    sets: list[TrainingSet]

    @property
    def rows(self) -> int:
        """Rows to train on."""
        return sum(len(part.rows) for pool in self.pools for part in pool)


def prepare_data(config: TrainConfig, token_ids: TokenIds, guide_token_ids: TokenIds | None) -> TrainingData:
    """Read, check and split the examples. Raises DataError for rows that cannot be used, ConfigError."""
    cache = Path(config.cache_path) if config.cache_path else work_folder(Path(config.output_dir))
    scores_groups = config.needs_scores and config.group_size > 1  # by a loss of one's own, too
    needs_negatives = scores_groups or config.loss_name in SCORED_GROUPS or not config.use_inbatch_neg
    dataset = load_examples(config.train_data, cache, Needs(config.group_size, config.needs_scores, needs_negatives))
    if config.loss in SCORED_PAIRS:
        _check_order(dataset, config.loss)
    split, held_out = _hold_out(config, dataset, cache)
    sources = list_sources(config.train_data)
    left = rows_of_sources(dataset, len(sources))
    left = [own[split.trained[own]] for own in left] if split else left
    rows = [_some(own, config.max_example_num_per_dataset, config.seed) for own in left]
    pools, dropped = make_pools(config, sources, rows)
    collator = Collator(
        dataset,
        token_ids,
        config.group_size,
        config.seed,
        teacher_scores=config.needs_scores,
        shuffle_ratio=config.shuffle_ratio,
        guide_token_ids=guide_token_ids,
    )
    counts = _count_untrained(split, sum(map(len, left)) - sum(map(len, rows)), dropped)
    return TrainingData(collator, pools, held_out, counts, _describe_sets(config, dataset, sources, rows))


def _count_untrained(split: Split | None, beyond: int, dropped: int) -> dict[str, int]:
    """Why rows are not trained on: each row counts once, for the first reason."""
    counts = {}
    if split:
        counts = {"rows_held_out": int(split.held_out.sum()), "rows_left_out": int(split.left_out.sum())}
    counts |= {"rows_beyond_max_example_num_per_dataset": beyond} if beyond else {}
    return counts | ({"rows_dropped": dropped} if dropped else {})


def _check_order(dataset: "Dataset", loss: str) -> None:
    """Refuse scored pairs without a higher and a lower score. Raises ConfigError."""
    lowest, highest = score_range(dataset)
    if lowest == highest:
        raise ConfigError(
            f"all {len(dataset)} pairs have the score {lowest:g}, and --loss {loss} learns from which of two is "
            "higher: give pairs of several scores, or leave 'score' out and train with --loss info_nce"
        )


def _describe_sets(
    config: TrainConfig, dataset: "Dataset", sources: Sequence[Source], rows: Sequence[np.ndarray]
) -> list[TrainingSet]:
    """What the model card says of each entry of the training data; of a path its last part."""
    sets = []
    for entry, name in enumerate(config.train_data):
        own = _joined(rows, sources, entry)
        counts = {column: count_values(dataset, column, own) for column in ("kind", "license")}
        is_hub = is_hub_name(name)
        sets.append(TrainingSet(name if is_hub else Path(name).name, len(own), counts, is_hub))
    return sets


def make_pools(config: TrainConfig, sources: Sequence[Source], rows: Sequence[np.ndarray]) -> tuple[list[Pool], int]:
    """The rows that may meet in a batch, of each source's rows, and how many rows were dropped. Raises ConfigError."""
    if not config.same_dataset_within_batch:
        if config.small_threshold or config.drop_threshold:
            logger.warning("--small_threshold and --drop_threshold do nothing without --same_dataset_within_batch")
        by_entry = [_joined(rows, sources, entry) for entry in range(len(config.train_data))]
        weights = _weights(config, list(map(len, by_entry)))
        return [[Part(own, weight) for own, weight in zip(by_entry, weights, strict=True)]], 0
    sets, dropped = _merge_small(sources, rows, config.small_threshold, config.drop_threshold)
    if not sets:
        raise ConfigError(f"all {dropped} rows were dropped; lower --drop_threshold {config.drop_threshold}")
    entries = [sum(len(own) for entry, own in sets if entry == each) for each in range(len(config.train_data))]
    weights = _weights(config, entries)
    return [[Part(own, weights[entry])] for entry, own in sets], dropped


def _joined(rows: Sequence[np.ndarray], sources: Sequence[Source], entry: int) -> np.ndarray:
    own = [some for some, source in zip(rows, sources, strict=True) if source.entry == entry]
    return np.concatenate([np.empty(0, np.int64), *own])


def _weights(config: TrainConfig, sizes: list[int]) -> list[float]:
    """How often an epoch takes the rows of each entry of the training data."""
    if config.data_temperature:
        weights = temperature_weights(sizes, config.data_temperature)
    else:
        weights = list(config.data_weights) or [1.0] * len(sizes)
    if set(weights) != {1.0}:
        for name, size, weight in zip(config.train_data, sizes, weights, strict=True):
            taken = f"{Part(np.arange(size), weight).taken:,}"
            logger.info("an epoch takes %s of the %s rows of %s (weight %.3g)", taken, f"{size:,}", name, weight)
    return weights


def _merge_small(
    sources: Sequence[Source], rows: Sequence[np.ndarray], small: int, least: int
) -> tuple[list[tuple[int, np.ndarray]], int]:
    """(entry, rows) of each set that makes batches of its own, and the number of rows dropped.

    Files of fewer than `small` rows make one set with the others of their folder, which is dropped where it has fewer
    than `least` (FlagEmbedding's thresholds; there a small file that was named itself is dropped without a word).
    """
    sets, merged = [], defaultdict(list)
    for source, own in zip(sources, rows, strict=True):
        if len(own) < small:
            merged[source.entry, source.path.parent].append(own)
        elif len(own):
            sets.append((source.entry, own))
    dropped = 0
    for (entry, folder), several in merged.items():
        own = np.concatenate(several)
        if len(own) < least:
            dropped += len(own)
            logger.warning("dropped %d rows of %d small files in %s", len(own), len(several), folder)
        elif len(own):
            sets.append((entry, own))
    return sets, dropped


def _hold_out(config: TrainConfig, dataset: "Dataset", cache: Path) -> "tuple[Split | None, HeldOut | None]":
    """Which rows are trained on, and what is evaluated on; two times None where nothing is."""
    from bioemb.held_out import held_out_of

    if config.eval_data:
        other = load_examples(config.eval_data, cache, ANY_ROW)
        split, held_out = split_by_other(dataset, other), held_out_of(other)
    elif config.eval_share:
        split = split_by_share(dataset, config.eval_share, config.seed)
        held_out = held_out_of(dataset[int(row)] for row in np.flatnonzero(split.held_out))
    else:
        return None, None
    if not held_out.queries:
        raise ConfigError(f"no query was held out of {len(dataset)} rows; raise --eval_share {config.eval_share}")
    if not split.trained.any():
        raise ConfigError("every training row shares a query or an article with what is held out; none is left")
    logger.info(
        "held out %s queries and %s passages; %s rows are left out of training, as they share a text or an article",
        f"{len(held_out.queries):,}",
        f"{len(held_out.passages):,}",
        f"{split.left_out.sum():,}",
    )
    return split, held_out


def _some(rows: np.ndarray, most: int, seed: int) -> np.ndarray:
    return rows if len(rows) <= most else np.sort(np.random.default_rng([seed]).permutation(rows)[:most])
