"""All that changes during a training run, and so all that a checkpoint holds: written whole, put back to the bit."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from bioemb import checkpoint
from bioemb.averaging import MovingAverage, average_with
from bioemb.encoder import Encoder
from bioemb.engines import Engine
from bioemb.errors import ConfigError, ModelError
from bioemb.held_out import Best
from bioemb.lora import adapter_tensors, load_adapters, merged
from bioemb.losses import Loss

if TYPE_CHECKING:
    from accelerate import Accelerator


SHARDED = ("FSDP", "DEEPSPEED")  # weights or the optimiser's state are spread over the processes
OWN_LOOP = ("MEGATRON_LM",)  # accelerate's backward does nothing


def require_finite(encoder: Encoder) -> None:
    """Raises ModelError for a weight that is infinite or not a number."""
    bad = [name for name, weight in encoder.named_parameters() if not weight.isfinite().all()]
    if bad:
        raise ModelError(
            f"the training has diverged: {len(bad)} of the weights are no longer finite (first {bad[0]}), and are not "
            "saved; lower the learning rate and go on from the last checkpoint, or start again"
        )


class RunState(NamedTuple):
    """What the trainer changes, on one of its processes.

    unsharded: a copy of the encoder made before, where the processes share its weights.
    """

    encoder: Encoder
    engine: Engine
    loss: Loss
    optimizer: Optimizer
    schedule: LambdaLR
    average: MovingAverage | None
    best: Best
    accelerator: "Accelerator"
    unsharded: Encoder | None = None

    @property
    def is_sharded(self) -> bool:
        return self.accelerator.distributed_type in SHARDED

    def whole(self) -> Encoder | None:
        """The encoder to save, with adapters merged; a call for all processes.

        Where they share the weights, these are gathered on the first process, and the others get None. Raises
        ModelError for weights that are not finite: what was saved before stays.
        """
        if not self.is_sharded:
            require_finite(self.encoder)
            return merged(self.encoder)
        weights = self.engine.weights()
        if not self.accelerator.is_main_process:
            return None
        self.unsharded.load_state_dict(weights, strict=False)  # what is not trained may be missing
        require_finite(self.unsharded)
        return self.unsharded

    def save(self, folder: Path, step: int) -> None:
        """Write a checkpoint aside and rename it; a call for all processes."""
        aside, whole = checkpoint.aside_of(folder), self.whole()
        if self.accelerator.is_main_process:
            whole.save(aside)
            self._write(aside, step)
        self.accelerator.wait_for_everyone()
        rank = self.accelerator.process_index
        checkpoint.save_tensors(aside / f"random-{rank}.safetensors", checkpoint.random_tensors())
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process and not folder.exists():
            aside.rename(folder)
        self.accelerator.wait_for_everyone()

    def load(self, folder: Path) -> int:
        """Put back what `save` wrote, of a checkpoint whose weights the encoder has already; returns the step.

        Adapters come from the checkpoint, the weights beside them from the starting model. Raises DataError,
        ConfigError.
        """
        state = checkpoint.read_state(folder)
        if self.is_sharded:
            raise ConfigError(
                f"{folder} has no optimiser's state, as it is spread over the processes; take it as "
                "--model_name_or_path with --resume_from_checkpoint no, or train without them"
            )
        processes = self.accelerator.num_processes
        if state["processes"] != processes:
            raise ConfigError(
                f"{folder} was made by {state['processes']} processes, this run has {processes}; use as many, "
                "or --resume_from_checkpoint no"
            )
        trained, loss = self._trained(), checkpoint.read_tensors(folder / "loss.safetensors")
        checkpoint.require_same(folder, state.get("trained", trained), trained)  # older ones do not say it
        checkpoint.require_same(folder, checkpoint.shapes(loss), checkpoint.shapes(self._loss_state()))
        checkpoint.load_optimizer(self.optimizer, folder / "optimizer.safetensors")
        if isinstance(self.loss, nn.Module):
            self.loss.load_state_dict(loss)
        if adapter_tensors(self.encoder):
            load_adapters(self.encoder, checkpoint.read_tensors(folder / "adapters.safetensors"))
        if self.average:
            self.average.load(checkpoint.read_tensors(folder / "average.safetensors"))
        if self.accelerator.scaler and state["scaler"]:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.best.load(state["best"])
        self.schedule.load_state_dict({**self.schedule.state_dict(), "last_epoch": state["schedule"]})
        for group, rate in zip(self.optimizer.param_groups, self.rates(self.schedule.last_epoch), strict=True):
            group["lr"] = rate
        checkpoint.restore_random(folder / f"random-{self.accelerator.process_index}.safetensors")
        return state["step"]

    def load_weights(self, folder: Path, trust_remote_code: bool = False) -> None:
        """Take the weights, and the average where there is one, of a checkpoint of this run, and nothing else."""
        if adapter_tensors(self.encoder):
            load_adapters(self.encoder, checkpoint.read_tensors(folder / "adapters.safetensors"))
        else:
            average_with(self.encoder, Encoder.from_pretrained(folder, trust_remote_code=trust_remote_code), 1.0)
        if self.average:
            self.average.load(checkpoint.read_tensors(folder / "average.safetensors"))

    def rates(self, updates: int) -> list[float]:
        """The learning rate of each group of parameters after so many updates."""
        return [
            base * share(max(updates, 0))
            for base, share in zip(self.schedule.base_lrs, self.schedule.lr_lambdas, strict=True)
        ]

    def _trained(self) -> dict[str, list[int]]:
        """The encoder's parameters that are trained, and their shapes."""
        return checkpoint.shapes({name: p for name, p in self.encoder.named_parameters() if p.requires_grad})

    def _loss_state(self) -> dict[str, Tensor]:
        return self.loss.state_dict() if isinstance(self.loss, nn.Module) else {}

    def _write(self, folder: Path, step: int) -> None:
        tensors = {
            "optimizer": None if self.is_sharded else checkpoint.optimizer_tensors(self.optimizer),
            "loss": self._loss_state(),
            "average": self.average.weights if self.average else None,
            "adapters": adapter_tensors(self.encoder) or None,
        }
        for name, some in tensors.items():
            if some is not None:
                checkpoint.save_tensors(folder / f"{name}.safetensors", some)
        scaler = self.accelerator.scaler
        state = {
            "step": step,
            "processes": self.accelerator.num_processes,
            "trained": self._trained(),
            "schedule": self.schedule.last_epoch,
            "scaler": scaler.state_dict() if scaler else None,
            "best": self.best.state(),
        }
        checkpoint.write_state(folder, state)
