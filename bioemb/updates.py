"""Which batches make which update of a training run, on which process: the same rows however the run was cut up."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil

import numpy as np
import torch
from torch.utils.data import DataLoader

from bioemb.config import TrainConfig
from bioemb.data.collator import Batch, Collator
from bioemb.data.sampling import Pool, epoch_batches, share
from bioemb.errors import ConfigError
from bioemb.log import logger

OUTLASTED = 60  # seconds that a worker goes on after SIGTERM; without a trainer it ends by itself


class Updates:
    """The batches of every update: `per_epoch` updates in an epoch, `total` in the run."""

    def __init__(self, pools: list[Pool], collator: Collator, rank: int, processes: int, config: TrainConfig):
        """pools: rows that may meet in a batch. Raises ConfigError where there would be no update."""
        self.pools, self.collator, self.rank, self.processes, self.config = pools, collator, rank, processes, config
        self.per_epoch = ceil(len(self._batches(0)) / config.gradient_accumulation_steps)
        if not self.per_epoch:
            raise ConfigError(
                f"a batch takes {config.per_device_train_batch_size * processes} rows and an epoch has "
                f"{sum(part.taken for pool in pools for part in pool)}, so there would be no step; use a smaller "
                "--per_device_train_batch_size or "
                "--dataloader_drop_last no"
            )
        left_out = sum(len(rows) < processes for rows in self._all_batches(0))
        if left_out:
            logger.warning("%d of an epoch's batches have fewer rows than there are processes: left out", left_out)
        self.total = config.max_steps if config.max_steps > 0 else ceil(config.num_train_epochs * self.per_epoch)

    def starting_at(self, done: int) -> Iterator[tuple[list[Batch], list[int]]]:
        """From the update after `done`: this process's batches of each, and their sizes over all processes."""
        together = self.config.gradient_accumulation_steps
        while done < self.total:
            epoch, start = divmod(done, self.per_epoch)
            batches = self._batches(epoch)[start * together :]
            loader = self._load(batches)
            for begin in range(0, len(batches), together):
                if done == self.total:
                    return
                sizes = [len(rows) for rows in batches[begin : begin + together]]
                yield [next(loader) for _ in sizes], sizes
                done += 1

    def _all_batches(self, epoch: int) -> list[np.ndarray]:
        config, size = self.config, self.config.per_device_train_batch_size * self.processes
        return epoch_batches(self.pools, size, config.seed, epoch, config.dataloader_drop_last)

    def _batches(self, epoch: int) -> list[np.ndarray]:
        """(pass, row) [k, 2] of an epoch's batches over all processes; in each, every process has a row."""
        return [rows for rows in self._all_batches(epoch) if len(rows) >= self.processes]

    def _load(self, batches: list[np.ndarray]) -> Iterator[Batch]:
        mine = (share(rows, self.rank, self.processes) for rows in batches)
        loader = DataLoader(
            _Keys(),
            batch_sampler=[[(int(turn), int(row)) for turn, row in keys] for keys in mine],
            collate_fn=self.collator,
            num_workers=self.config.dataloader_num_workers,
            worker_init_fn=_outlast_sigterm,
            generator=torch.Generator(),  # not the one that dropout draws from: resuming makes a new loader
        )
        with _sigterm_held_back():
            return iter(loader)


@contextmanager
def _sigterm_held_back() -> Iterator[None]:
    """Processes that are begun here are begun so, too: no signal meets them before they know what to do with it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _outlast_sigterm(_: int) -> None:
    """A worker lives on for a while: a signal to the whole group ends the trainer when it has saved, and then it."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(OUTLASTED))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


class _Keys:
    """A data set whose rows are their own keys: the collator looks the examples up."""

    def __getitem__(self, key: tuple[int, int]) -> tuple[int, int]:
        return key
