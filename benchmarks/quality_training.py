"""One training for `quality.py`, by each of the three packages' own trainers, from the same start on the same rows."""

import argparse
from collections.abc import Callable
from pathlib import Path

from measuring import measured
from peer_training import Training, flag_embedding_trainer, sentence_transformers_trainer

OURS, START = "bioemb", "start"


def ours(options: argparse.Namespace, seed: int, output: Path) -> dict:
    from bioemb.config import TrainConfig
    from bioemb.stages.train import run
    from bioemb.trainer import Trainer

    use, fit = {}, Trainer.fit

    def timed(self) -> None:
        with measured() as found:
            fit(self)
        use.update(found)

    Trainer.fit = timed
    run(
        TrainConfig(
            output_dir=str(output),
            model_name_or_path=str(options.folder / START),
            train_data=(str(options.folder / "rows.jsonl"),),
            train_group_size=options.group,
            query_max_len=options.query_tokens,
            passage_max_len=options.passage_tokens,
            per_device_train_batch_size=options.queries,
            temperature=options.temperature,
            learning_rate=options.learning_rate,
            warmup_steps=options.warmup_steps,
            max_steps=options.steps,
            dropout=options.dropout or 0.0,
            bf16=options.bf16,
            seed=seed,
            dataloader_drop_last=True,
            overwrite_output_dir=True,
            resume_from_checkpoint="no",
        )
    )
    return use


def flag_embedding(options: argparse.Namespace, seed: int, output: Path) -> dict:
    return run_peer(flag_embedding_trainer(training_of(options), settings_of(options, seed, output)), output)


def sentence_transformers(options: argparse.Namespace, seed: int, output: Path) -> dict:
    return run_peer(sentence_transformers_trainer(training_of(options), settings_of(options, seed, output)), output)


CASES: dict[str, Callable[[argparse.Namespace, int, Path], dict]] = {
    OURS: ours,
    "sentence-transformers": sentence_transformers,
    "FlagEmbedding": flag_embedding,
}


def run_peer(trainer, output: Path) -> dict:
    with measured() as use:
        trainer.train()
    trainer.save_model(str(output))
    return use


def training_of(options: argparse.Namespace) -> Training:
    folder = options.folder
    return Training(
        folder / START,
        folder / "rows.jsonl",
        options.group,
        options.query_tokens,
        options.passage_tokens,
        options.temperature,
    )


def settings_of(options: argparse.Namespace, seed: int, output: Path) -> dict:
    """For the trainers that are made of the one of transformers; rate, decay and clipping are alike by default."""
    return {
        "output_dir": str(output),
        "per_device_train_batch_size": options.queries,
        "learning_rate": options.learning_rate,
        "warmup_steps": options.warmup_steps,
        "max_steps": options.steps,
        "bf16": options.bf16,
        "seed": seed,
        "dataloader_drop_last": True,
    }
