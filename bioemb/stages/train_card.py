"""From a training run that has ended to the card in its folder; no path of this machine gets into it."""

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bioemb import __version__
from bioemb.config import TrainConfig
from bioemb.files import RECORD_SUFFIXES, list_files
from bioemb.lineage import Origin, trace
from bioemb.losses.checks import loss_name
from bioemb.model_card import Facts, model_card

if TYPE_CHECKING:
    from bioemb.encoder import Encoder
    from bioemb.stages.train_data import TrainingData
    from bioemb.trainer import Trainer


def write_card(trainer: "Trainer", encoder: "Encoder", data: "TrainingData", scores: dict[str, float]) -> None:
    """Write README.md into the output folder. scores: of the saved model on the held-out queries, or none."""
    path = Path(trainer.config.output_dir) / "README.md"
    path.write_text(model_card(_facts(trainer, encoder, data, scores)), encoding="utf-8")


def _facts(trainer: "Trainer", encoder: "Encoder", data: "TrainingData", scores: dict[str, float]) -> Facts:
    """What the model card says of a run that has ended."""
    config, layout = trainer.config, encoder.layout
    return Facts(
        name=Path(config.output_dir).resolve().name,
        base_model=_public(config.model_name_or_path),
        base_is_hub=not Path(config.model_name_or_path).exists(),
        width=encoder.width,
        pooling=layout.pooling,
        normalize=bool(layout.normalize),
        max_length=max(encoder.max_length["query"], encoder.max_length["passage"]),
        prompts=layout.prompts,
        recipe=[
            ("model_name_or_path", _public(config.model_name_or_path)),
            ("train_data", " ".join(shlex.quote(some.name) for some in data.sets)),
            ("output_dir", Path(config.output_dir).resolve().name),
            *_changed(config),
        ],
        sets=data.sets,
        rows=sum(some.rows for some in data.sets),
        steps=trainer.done,
        loss=loss_name(trainer.loss),
        processes=trainer.accelerator.num_processes,
        held_out=scores,
        held_out_before=trainer.log.scores_at(0),
        version=__version__,
        origins=[*_origins(config.train_data), *_training(config, data)],
    )


def _origins(train_data: Sequence[str]) -> list[Origin]:
    local = [name for name in train_data if Path(name).exists()]
    return trace(list_files(local, RECORD_SUFFIXES)) if local else []


def _training(config: TrainConfig, data: "TrainingData") -> list[Origin]:
    """What training left out of its data, as a stage's funnel; none where it took all."""
    dropped = {name.removeprefix("rows_").replace("_", " "): count for name, count in data.counts.items() if count}
    funnel = {"read": data.rows + sum(dropped.values()), "kept": data.rows, "dropped": dropped}
    return [Origin(Path(config.output_dir).resolve().name, "train", (), {"rows": funnel})] if dropped else []


def _changed(config: TrainConfig) -> list[tuple[str, str]]:
    """The flags that decide the output and are not at their default, as they would be typed."""
    flags = []
    for each in dataclasses.fields(config):
        value = getattr(config, each.name)
        if value != each.default and each.metadata["output"]:
            words = map(str, value) if isinstance(value, tuple) else [str(value)]
            flags.append((each.name, " ".join(shlex.quote(word) for word in words)))
    if config.guide_model_name_or_path:
        flags.append(("guide_model_name_or_path", _public(config.guide_model_name_or_path)))
    return flags


def _public(model: str) -> str:
    """A hub name as it is, of a folder its last part."""
    return Path(model).resolve().name if Path(model).exists() else model
