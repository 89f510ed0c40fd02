"""The training loop: batch, forward, gather, loss, backward, clip, step, schedule, checkpoint.

What a loss computes is the loss's business (`losses/`), what stands in a batch the collator's (`data/`), how a large
batch fits in memory that of `gradcache.py`. Here they meet.
"""

import copy
from collections.abc import Callable
from contextlib import nullcontext
from math import ceil, isfinite
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from bioemb import checkpoint
from bioemb.averaging import MovingAverage
from bioemb.batch_targets import across_processes, make_targets
from bioemb.config import TrainConfig
from bioemb.data.collator import Batch, Collator
from bioemb.data.sampling import Pool
from bioemb.distributed import sum_over_processes
from bioemb.encoder import Encoder, Tokens
from bioemb.encoding import plan_sub_batches
from bioemb.engines import DeepSpeed, Engine, Plain
from bioemb.errors import ModelError
from bioemb.gradcache import cached_backward
from bioemb.held_out import Best, HeldOut, evaluate
from bioemb.log import logger, progress
from bioemb.losses import Targets
from bioemb.losses.checks import loss_name, require_scalar
from bioemb.losses.temperature import learnt_temperature
from bioemb.optimisation import make_optimizer, make_schedule
from bioemb.packing import Packed
from bioemb.run_log import RunLog
from bioemb.run_state import SHARDED, RunState
from bioemb.updates import Updates
from bioemb.watching import Interruption, Window

if TYPE_CHECKING:
    from accelerate import Accelerator

Loss = Callable[[Tensor, Tensor, Targets], Tensor]


class Trainer:
    """Fits an encoder to examples. `fit` trains to the end, `step` is one update, `save` and `resume` a checkpoint."""

    def __init__(
        self,
        encoder: Encoder,
        loss: Loss,
        pools: list[Pool],
        collator: Collator,
        accelerator: "Accelerator",
        config: TrainConfig,
        *,
        guide: Encoder | None = None,
        held_out: HeldOut | None = None,
    ):
        """pools: rows that may meet in a batch; guide: a frozen encoder."""
        self.encoder = encoder
        self.accelerator, self.config = accelerator, config
        self.loss = loss.to(accelerator.device) if isinstance(loss, nn.Module) else loss
        self.trained = nn.ModuleList([encoder, loss] if isinstance(loss, nn.Module) else [encoder])
        self.guide, self.held_out = guide, held_out
        self.best = Best(config.early_stopping_patience)
        self.done = 0  # updates made
        self.updates = Updates(pools, collator, accelerator.process_index, accelerator.num_processes, config)
        self.total_steps = self.updates.total
        loss_rate = config.learning_rate if config.loss_learning_rate is None else config.loss_learning_rate
        self.optimizer = make_optimizer(
            encoder,
            loss,
            (config.learning_rate, loss_rate),
            config.weight_decay,
            (config.adam_beta1, config.adam_beta2),
            config.adam_epsilon,
        )
        warmup = config.warmup_steps or int(config.warmup_ratio * self.total_steps)
        self.schedule = make_schedule(config.lr_scheduler_type, self.optimizer, warmup, self.total_steps)
        is_sharded = accelerator.distributed_type in SHARDED
        unsharded = copy.deepcopy(encoder) if is_sharded and accelerator.is_main_process else None
        self.model, self.optimizer = accelerator.prepare(encoder, self.optimizer)
        if accelerator.distributed_type == "DEEPSPEED":
            self.engine: Engine = DeepSpeed(self.model)
        else:
            self.engine = Plain(accelerator, self.model, self.optimizer, self.trained, config.max_grad_norm)
        self.average = None if config.ema_decay is None else MovingAverage(encoder, config.ema_decay)
        self.state = RunState(
            encoder,
            self.engine,
            loss,
            self.optimizer,
            self.schedule,
            self.average,
            self.best,
            accelerator,
            unsharded,
        )
        self.window = Window()
        self.log = RunLog(config.output_dir, accelerator, self.total_steps)

    def fit(self) -> None:
        """Train from where the run is to its end; an interruption saves and then raises KeyboardInterrupt."""
        config, self.window = self.config, Window()
        self.trained.train()
        if self.held_out and not self.done:
            self.log.add_scores(0, self.evaluate())
        if self.best.is_long_ago:  # resumed where it had stopped
            return
        with Interruption() as interruption:
            bar = progress(self.updates.starting_at(self.done), "train", self.total_steps - self.done)
            for batches, queries in bar:
                loss, interrupted = self.step(batches, queries, interruption.asked)
                bar.set_postfix_str(f"loss {loss:.4f}, rate {self._rate():.1e}", refresh=False)
                if self.done % config.logging_steps == 0 or self.done == self.total_steps:
                    self._log()
                    self.window = Window()
                is_best = self._is_evaluated() and self._note_best(self.evaluate())
                is_due = self.done % config.save_steps == 0 and self.done < self.total_steps
                if interrupted or is_due or (is_best and config.load_best_model_at_end):
                    self.save()
                if interrupted:
                    raise KeyboardInterrupt(f"interrupted at step {self.done} of {self.total_steps}; saved")
                if self.best.is_long_ago:
                    logger.info("stopping: no evaluation was better than that of step %d", self.best.step)
                    break

    def evaluate(self) -> dict[str, float]:
        """The scores on the held-out queries, of the moving average where there is one."""
        with self.average.standing_in(self.encoder) if self.average else nullcontext():
            return evaluate(self.encoder, self.held_out, self.config.bf16)

    def step(self, batches: list[Batch], queries: list[int], interrupted: bool = False) -> tuple[float, bool]:
        """One update from the batches of this process; `queries` counts each batch's queries over all processes.

        Returns the loss, the mean over the queries of a batch and over the batches, and whether any process was
        interrupted. Raises ModelError where the loss or its gradient is not finite: the weights are as before.
        """
        total = torch.zeros(2, device=self.accelerator.device)
        total[1] = float(interrupted)
        for number, (batch, everywhere) in enumerate(zip(batches, queries, strict=True), start=1):
            scale = self.accelerator.num_processes * len(batch.queries) / everywhere  # DDP takes the plain mean
            with self.engine.unsynced() if number < len(batches) else nullcontext():
                loss = self._backward(batch, scale / len(batches), everywhere // self.accelerator.num_processes)
            total[0] += loss / self.accelerator.num_processes
        loss, interruptions = sum_over_processes(total).tolist()
        self._check_finite("loss", loss, batches)
        self._share_loss_gradients()
        norm = self.engine.update()  # clipped to --max_grad_norm
        if self.accelerator.mixed_precision != "fp16":  # where it overflows now and then, and the step is skipped
            self._check_finite("gradient's norm of the loss", norm, batches)
        if not self.accelerator.optimizer_step_was_skipped:  # float16 overflowed: the scale falls, the rate waits
            self.schedule.step()
        self.done += 1
        self.window.add(loss, norm)
        if self.average:
            self.average.update(self.encoder, self.done)
        return loss, interruptions > 0

    def save(self) -> Path:
        """Write a checkpoint aside and rename it, and let old ones go."""
        folder = checkpoint.folder_of(self.config.output_dir, self.done)
        self.state.save(folder, self.done)
        if self.accelerator.is_main_process:
            checkpoint.drop_old(self.config.output_dir, self.config.save_total_limit, self.best.step)
        self.accelerator.wait_for_everyone()
        return folder

    def resume(self, folder: Path) -> None:
        """Go on from a checkpoint; the encoder must have been loaded from it. Raises DataError, ConfigError."""
        self.done = self.state.load(folder)
        self.log.cut_after(self.done)

    def _backward(self, batch: Batch, scale: float, fewest: int) -> Tensor:
        """Accumulate the gradient of `scale` times this process's loss; returns that number.

        fewest: queries of the process that has the fewest of them.
        """
        texts = batch.queries + batch.passages
        sub_batches, keep = self._plan(texts, len(batch.queries), fewest)
        place = torch.from_numpy(np.argsort(np.concatenate(sub_batches)))  # of each text among the sub-batches

        def loss_of(vectors: Tensor) -> Tensor:
            query, passages = vectors[place.to(vectors.device)].split([len(batch.queries), len(batch.passages)])
            return self._loss(query, passages, batch) * scale

        def tokens(rows: np.ndarray) -> Tokens | Packed:
            half = self.accelerator.mixed_precision != "no"
            some = [texts[row] for row in rows]
            made = self.encoder.batch(some, half=half, multiple=self.config.pad_to_multiple_of)
            if torch.is_grad_enabled():  # once for each text, in whichever pass has the graph
                ids = made.input_ids if isinstance(made, Packed) else made["input_ids"]
                self.window.count(sum(map(len, some)), ids.numel())
            return made

        if keep == len(sub_batches):  # every graph fits: one pass, one call of the model
            loss = loss_of(torch.cat(self.model(*map(tokens, sub_batches))))
            self.engine.backward(loss)
            return loss.detach()
        return cached_backward(
            lambda rows: self.model(tokens(rows))[0],
            sub_batches,
            loss_of,
            self.engine.cached_backward,
            self.engine.unsynced,
            keep,
        )

    def _plan(self, texts: list[list[int]], queries: int, fewest: int) -> tuple[list["np.ndarray"], int]:
        """The rows of each sub-batch, and how many of the last ones keep their graph."""
        size, lengths = self.config.sub_batch_size, [len(ids) for ids in texts]
        if self.state.is_sharded:  # every process must run the model equally often
            parts = ceil(self.config.per_device_train_batch_size / size) if size else 1
            order = np.argsort(-np.array(lengths), kind="stable")
            return np.array_split(order, min(parts, fewest)), 0 if size else 1
        return plan_sub_batches(lengths, self.encoder.batch_tokens, sum(lengths) * size // queries if size else None)

    def _loss(self, query: Tensor, passages: Tensor, batch: Batch) -> Tensor:
        """The loss of local queries [b, d] against the passages here or, asked for, of all processes."""
        targets = make_targets(batch, self.config.group_size, query.device, self.guide, self.config.bf16)
        if self.config.negatives_cross_device:
            passages, targets = across_processes(passages, targets)
        return require_scalar(self.loss(query, passages, targets), self.loss)

    def _share_loss_gradients(self) -> None:
        """Average the gradients of the loss's own parameters, which DDP does not know of.

        A loss may use a parameter on some processes only; where none does, it has no gradient.
        """
        for parameter in self.loss.parameters() if isinstance(self.loss, nn.Module) else ():
            if not parameter.requires_grad:
                continue
            used = parameter.grad is not None
            gradient = parameter.grad if used else torch.zeros_like(parameter)
            total = sum_over_processes(torch.cat([gradient.flatten(), gradient.new_tensor([float(used)])]))
            if total[-1] > 0:
                parameter.grad = total[:-1].view_as(parameter) / self.accelerator.num_processes

    def _check_finite(self, what: str, value: float, batches: list[Batch]) -> None:
        if not isfinite(value):
            rows = ", ".join(str(row) for batch in batches for row in batch.rows[:10])
            raise ModelError(
                f"the {what} {loss_name(self.loss)} is {value} at step {self.done + 1} (rows {rows}, ...): the "
                "learning rate may be too high, float16 too narrow for this model (use --bf16), or, in a loss of your "
                "own, a step undefined (a logarithm or a root of 0, a division by it)"
            )

    def _log(self) -> None:
        values = {
            "epoch": round(self.done / self.updates.per_epoch, 4),
            "learning_rate": self._rate(),
            **self.window.summary(),
        }
        if (temperature := learnt_temperature(self.loss)) is not None:
            values["temperature"] = temperature
        self.log.add_step(self.done, values)

    def _rate(self) -> float:
        """The learning rate of the last update; the schedule stands at the next one's."""
        return self.state.rates(self.schedule.last_epoch - 1)[0]

    def _is_evaluated(self) -> bool:
        every = self.config.eval_steps or self.config.save_steps
        return self.held_out is not None and (self.done % every == 0 or self.done == self.total_steps)

    def _note_best(self, scores: dict[str, float]) -> bool:
        self.log.add_scores(self.done, scores)
        return self.best.note(self.done, scores[self.config.metric_for_best_model])
