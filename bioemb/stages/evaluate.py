"""`bioemb evaluate`: model folders in, one table out, with every score kept in mteb's layout and in models' cards."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from bioemb.config import EvaluateConfig
from bioemb.errors import ConfigError
from bioemb.evaluation import BM25, EncoderForMteb, compare, evaluate, find_tasks, loading, require_data
from bioemb.evaluation.comparison import Comparison
from bioemb.evaluation.saved import BM25_LABEL
from bioemb.evaluation.scores import TaskScore
from bioemb.files import write_aside, write_json
from bioemb.stages.evaluate_card import update_card

if TYPE_CHECKING:
    from mteb import AbsTask

DEFAULT_TASKS = ("BIOSSES",)  # where neither tasks nor local data are named


def run(config: EvaluateConfig) -> str:
    """Score the starting models, BM25 and the models on every task that is not scored yet; returns the table."""
    paths = [*config.baseline_model_path, *config.model_path]
    names = model_names(paths)
    if config.bm25 and BM25_LABEL in names:
        raise ConfigError(f"a model folder is called {BM25_LABEL}, as the baseline of --bm25; rename it")
    tasks = find_tasks(config.task or (() if config.local_data else DEFAULT_TASKS), config.local_data)
    if not any(Path(config.save_folder).glob("scores/*/*/*.json")):
        require_data(tasks)  # nothing is saved that could make it needless: say so before models are loaded
    scores, about = {}, {}
    for path, name in zip(paths, names, strict=True):
        scores[name], about[name] = _score(load_model(path, name, config), tasks, config)
        if config.bm25 and len(scores) == 1:  # between the starting model and the others
            bm25, about[BM25_LABEL] = _score(BM25(), tasks, config)
            scores = {**scores, BM25_LABEL: bm25} if config.baseline_model_path else {BM25_LABEL: bm25, **scores}
    comparison = compare(scores)
    folder = Path(config.save_folder)
    write_comparison(folder, comparison, about)
    if config.update_card:
        for path, name in list(zip(paths, names, strict=True))[len(config.baseline_model_path) :]:
            others = {other: scores[other] for other in scores if other not in names[len(config.baseline_model_path) :]}
            update_card(Path(path), scores[name], others, tasks)
    return f"{comparison.as_text()}\n(also in {folder / 'comparison.md'} and comparison.json)"


def write_comparison(folder: Path, comparison: Comparison, about: dict[str, dict[str, str]]) -> None:
    """Keep the table as comparison.md and, with each model's full name and revision, as comparison.json."""
    models = [{"model": name, **about[name]} for name in comparison.models]
    write_json(folder / "comparison.json", {**comparison.as_dict(), "models": models})
    with write_aside(folder / "comparison.md") as out:
        out.write(comparison.as_markdown() + "\n")


def _score(
    model: EncoderForMteb | BM25, tasks: "list[AbsTask]", config: EvaluateConfig
) -> tuple[list[TaskScore], dict[str, str]]:
    """The model's scores, and its full name and revision."""
    scores = evaluate(model, tasks, config.save_folder, overwrite=config.overwrite)
    return scores, {"name": model.mteb_model_meta.name, "revision": model.mteb_model_meta.revision}


def load_model(path: str, name: str, config: EvaluateConfig) -> EncoderForMteb:
    """An encoder as mteb takes it, with the flags' pooling, lengths, batch size and precision."""
    full_name = path if path.count("/") == 1 and not Path(path).exists() else f"local/{name}"
    return loading.load_model(
        path,
        full_name,
        pooling=config.pooling_method,
        max_length=(config.query_max_len, config.passage_max_len),
        batch_tokens=config.batch_tokens,
        bf16=config.bf16,
    )


def model_names(paths: list[str]) -> list[str]:
    """A short name for each model: the last part of its path, or as many parts as tell it from the others."""
    whole = [os.path.abspath(path) if Path(path).exists() else path for path in paths]
    if len(set(whole)) < len(whole):
        raise ConfigError(f"a model is named twice among {', '.join(paths)}")
    parts = [Path(path).parts for path in whole]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(some[-depth:]).lstrip("/") for some in parts]
        if len(set(names)) == len(names):
            break
    return names
