"""Training runs of seconds, for the tests of all that takes part in one."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from bioemb.config import TrainConfig
from bioemb.stages import train
from bioemb.trainer import Trainer

REPOSITORY = Path(__file__).resolve().parent.parent
WORDS = "heart liver kidney brain lung blood bone skin nerve muscle cell gene protein drug dose trial".split()


def write_examples(path: Path, rows: int, seed: int = 0) -> Path:
    """Rows of random words, texts of very different lengths, one to five negatives."""
    rng = np.random.default_rng(seed)

    def text(low: int, high: int) -> str:
        return " ".join(rng.choice(WORDS, rng.integers(low, high)))

    path.parent.mkdir(exist_ok=True)
    with open(path, "w", encoding="utf-8") as out:
        for _ in range(rows):
            row = {"query": text(2, 5), "pos": [text(3, 20) for _ in range(rng.integers(1, 3))]}
            row["neg"] = [text(1, 20) for _ in range(rng.integers(1, 6))]
            out.write(json.dumps(row) + "\n")
    return path


def read_lines(path: str | Path) -> list[dict]:
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def small_run(folder: Path, encoder: Path, rows: int = 14) -> TrainConfig:
    """Two epochs of a tiny encoder, of fourteen rows eight updates, into folder/out."""
    return TrainConfig(
        output_dir=str(folder / "out"),
        model_name_or_path=str(encoder),
        train_data=(str(write_examples(folder / "train.jsonl", rows)),),
        train_group_size=3,
        query_max_len=8,
        passage_max_len=24,
        per_device_train_batch_size=4,
        num_train_epochs=2,
        learning_rate=1e-3,
        temperature=0.1,
        logging_steps=1,
        save_steps=3,
        sentence_pooling_method="mean",
        adam_epsilon=1e-5,  # keys' biases have no true gradient: with less, Adam makes steps of what is rounding
    )


def weights(folder: str | Path) -> dict[str, torch.Tensor]:
    return load_file(Path(folder) / "model.safetensors")


def assert_equal_weights(one: str | Path, other: str | Path, atol: float) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=0, atol=atol)


def words_of(config: TrainConfig) -> list[str]:
    """The settings as they are typed."""
    words = []
    for each in fields(config):
        value = getattr(config, each.name)
        if value != each.default:
            words += [f"--{each.name}", *(map(str, value) if isinstance(value, tuple) else [str(value)])]
    return words


def run_on_two_processes(config: TrainConfig, output_dir: str) -> None:
    """The same training by torchrun and train.py, with half a batch on each of two processes."""
    half = config.per_device_train_batch_size // 2
    config = replace(config, output_dir=output_dir, per_device_train_batch_size=half, negatives_cross_device=True)
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--rdzv_backend", "c10d"]
    done = subprocess.run(
        [*launch, "--rdzv_endpoint", "127.0.0.1:0", "train.py", *words_of(config)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr


def run_interrupted(config: TrainConfig, after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train until a SIGTERM that arrives when so many updates are done, which the next one then notices."""
    step = Trainer.step

    def step_and_signal(self, *arguments):
        if self.done == after:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, *arguments)

    monkeypatch.setattr(Trainer, "step", step_and_signal)
    with pytest.raises(KeyboardInterrupt, match=f"step {after + 2} of"):
        train.run(config)
    monkeypatch.undo()
