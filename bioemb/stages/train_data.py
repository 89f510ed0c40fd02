"""From the flags to what is trained on: examples, the rows that may meet in a batch, and what is held out."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bioemb.config import TrainConfig
from bioemb.config.train import SCORED_GROUPS
from bioemb.data.collator import Collator, TokenIds
from bioemb.data.dataset import load_examples, pools_of
from bioemb.data.examples import Needs
from bioemb.data.hold_out import Split, split_by_other, split_by_share
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
    pools: list[np.ndarray]
    held_out: "HeldOut | None"
    counts: dict[str, int]


def prepare_data(config: TrainConfig, token_ids: TokenIds, guide_token_ids: TokenIds | None) -> TrainingData:
    """Read, check and split the examples. Raises DataError for rows that cannot be used, ConfigError."""
    cache = Path(config.cache_path) if config.cache_path else work_folder(config.output_dir)
    needs_negatives = config.loss_name in SCORED_GROUPS or not config.use_inbatch_neg
    dataset = load_examples(config.train_data, cache, Needs(config.group_size, config.needs_scores, needs_negatives))
    split, held_out = _hold_out(config, dataset, cache)
    pools = [_some(rows, config.max_example_num_per_dataset, config.seed) for rows in pools_of(dataset)]
    if split:
        pools = [rows[split.trained[rows]] for rows in pools]
    if not config.same_dataset_within_batch:
        pools = [np.concatenate(pools)]
    collator = Collator(
        dataset,
        token_ids,
        config.group_size,
        config.seed,
        teacher_scores=config.needs_scores,
        shuffle_ratio=config.shuffle_ratio,
        guide_token_ids=guide_token_ids,
    )
    counts = {"rows_held_out": int(split.held_out.sum()), "rows_left_out": int(split.left_out.sum())} if split else {}
    return TrainingData(collator, pools, held_out, counts)


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
        "held out %s queries and %s passages; %s rows are left out of training, as they share an article with them",
        f"{len(held_out.queries):,}",
        f"{len(held_out.passages):,}",
        f"{split.left_out.sum():,}",
    )
    return split, held_out


def _some(rows: np.ndarray, most: int, seed: int) -> np.ndarray:
    return rows if len(rows) <= most else np.sort(np.random.default_rng([seed]).permutation(rows)[:most])
