"""`bioemb evaluate`: model folders in, one table out, with every score kept in mteb's layout."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from bioemb.config import EvaluateConfig
from bioemb.encoder import Encoder
from bioemb.errors import ConfigError
from bioemb.evaluation import BM25, EncoderForMteb, compare, evaluate, find_tasks
from bioemb.files import write_aside, write_json
from bioemb.manifest import work_key


class EncodesAsAsked(NamedTuple):
    """An encoder with the command's batch size and precision."""

    encoder: Encoder
    batch_tokens: int | None
    bf16: bool

    def encode(self, texts: list[str], *, kind: str | None) -> np.ndarray:
        return self.encoder.encode(texts, kind=kind, batch_tokens=self.batch_tokens, bf16=self.bf16)


def run(config: EvaluateConfig) -> str:
    """Score the starting models, BM25 and the model on every task that is not scored yet; returns the table."""
    tasks = find_tasks(config.task, config.local_data)
    paths = [*config.baseline_model_path, config.model_path]
    names = model_names(paths)
    scores = {}
    for path, name in zip(paths, names, strict=True):
        model = load_model(path, name, config)
        scores[name] = evaluate(model, tasks, config.save_folder, overwrite=config.overwrite)
        if config.bm25 and len(scores) == 1:  # between the starting model and the others
            bm25 = evaluate(BM25(), tasks, config.save_folder, overwrite=config.overwrite)
            scores = {**scores, "BM25": bm25} if config.baseline_model_path else {"BM25": bm25, **scores}
    comparison = compare(scores)
    folder = Path(config.save_folder)
    write_json(folder / "comparison.json", comparison.as_dict())
    with write_aside(folder / "comparison.md") as out:
        out.write(comparison.as_markdown() + "\n")
    return f"{comparison.as_text()}\n(also in {folder / 'comparison.md'} and comparison.json)"


def load_model(path: str, name: str, config: EvaluateConfig) -> EncoderForMteb:
    """An encoder as mteb takes it; its revision changes with the weights and with whatever changes vectors."""
    encoder = Encoder.from_pretrained(path, pooling=config.pooling_method).to_best_device()
    encoder.set_max_length(config.query_max_len, config.passage_max_len)
    lengths = [encoder.max_length[kind] for kind in ("query", "passage")]
    revision = work_key(
        {"weights": encoder.weights_hash, "lengths": lengths, "bf16": config.bf16, "pooling": encoder.layout.pooling}
    )
    full_name = path if path.count("/") == 1 and not Path(path).exists() else f"local/{name}"
    return EncoderForMteb(EncodesAsAsked(encoder, config.batch_tokens, config.bf16), full_name, revision)


def model_names(paths: list[str]) -> list[str]:
    """A short name for each model: the last part of its path, or as many parts as tell it from the others."""
    if len(set(paths)) < len(paths):
        raise ConfigError(f"a model is named twice among {', '.join(paths)}")
    parts = [Path(path).parts if Path(path).exists() else tuple(path.split("/")) for path in paths]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(some[-depth:]).lstrip("/") for some in parts]
        if len(set(names)) == len(names):
            break
    return names
