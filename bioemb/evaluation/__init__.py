"""The door to mteb: score an encoder on its tasks or on local files, beside BM25, and compare models surely.

    mteb.evaluate(load_model("model"), mteb.get_task("BIOSSES"))                   # mteb's own way
    scores = evaluate(load_model("model"), find_tasks(["BIOSSES", "med"], local_data="data"), "saves")  # or ours
    print(compare({"start": start_scores, "trained": scores}).as_text())

Each name is loaded when it is first used, because mteb takes seconds to import and a comparison does not need it.
"""

from importlib import import_module
from typing import Any

_HOME = {
    "BIOEMB_MEDICAL": "task_names",
    "BM25": "bm25",
    "Comparison": "comparison",
    "EncoderForMteb": "encoder_adapter",
    "EvaluationText": "task_texts",
    "Part": "scores",
    "TaskScore": "scores",
    "compare": "comparison",
    "evaluate": "running",
    "evaluation_texts": "task_texts",
    "find_tasks": "task_names",
    "hub_is_reachable": "hub",
    "list_names": "local_tasks",
    "load_model": "loading",
    "read_scores": "scores",
    "require_data": "hub",
    "task_label": "task_names",
}
__all__ = list(_HOME)  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
