"""A run's folder as the stages leave it, small, with texts that no page should trust; for the tests of the report."""

import json
from pathlib import Path

import numpy as np

from bioemb.mining.score_statistics import CosineCounts, area_under_curve

HOSTILE = (
    "<script>alert('x')</script> & \"quotes\" </bdi></svg> $x^2$ \u202eright to left \u05e9\u05dc\u05d5\u05dd \x00\x1b"
)
LONG_WORD = "W" * 900
KIND = "title <b>&</b> $abstract$"
COUNTS = {
    "extract": {
        "records": {"read": 1203, "kept": 1003, "dropped": {"no abstract": 150, HOSTILE: 50}, "deletions": 7},
        "identity": {"articles": 1003, "largest": 3, "ties": {"doi": 11}},
    },
    "filter": {"pairs": {"read": 401, "kept": 307, "dropped": {"cosine below 0.25": 94}}},
    "mine": {
        "rows": {"read": 40, "kept": 39, "dropped": {"short of negatives": 1}},
        "candidates": {"above relative margin": 812, HOSTILE: 77},
        "short rows": {"filled at random": 5},
        "negatives": 117,
    },
    "train": {"rows": 39, "steps": 30, "held_out": {"mrr": 0.5432, "recall@1": 0.4321, "recall@10": 0.8765}},
}
LOG = [
    {"step": 0, "eval_mrr": 0.31, "eval_recall@1": 0.21, "eval_recall@10": 0.61},
    {"step": 10, "loss": 2.3456, "gradient_norm": 3.25, "tokens_per_second": 4321, "learning_rate": 0.0021},
    {"step": 20, "loss": 1.2345, "gradient_norm": 2.75, "tokens_per_second": 4567, "learning_rate": 0.0011},
    {"step": 20, "eval_mrr": 0.5432, "eval_recall@1": 0.4321, "eval_recall@10": 0.8765},
    {"step": 30, "loss": 0.7654, "gradient_norm": 1.5, "tokens_per_second": 4444, "learning_rate": 0.0001},
]


def scored(model: str, score: float | None, *difference: float, verdict: str = "") -> dict:
    """A row of the comparison; difference: itself and its bounds, or nothing."""
    bounds = dict(zip(("difference", "low", "high"), difference or (None, None, None), strict=True))
    return {"model": model, "score": score, **bounds, "verdict": verdict}


COMPARISON = {
    "baseline": "start",
    "interval": "paired bootstrap, 95 %",
    "tasks": [
        {
            "task": f"retrieval {HOSTILE}",
            "metric": "ndcg_at_10",
            "models": [
                scored("start", 0.1962),
                scored("BM25", 0.1802, -0.016, -0.03, -0.002, verdict="worse"),
                scored("trained", 0.893, 0.6968, 0.66, 0.73, verdict="better"),
            ],
        },
        {
            "task": "sts",
            "metric": "cosine_spearman",
            "models": [
                scored("start", 0.387),
                scored("BM25", None),
                scored("trained", 0.3905, 0.0035, -0.0825, 0.0895, verdict="not told apart"),
            ],
        },
    ],
}


def write_run(root: Path) -> Path:
    """extract, filter, mine, train and evaluate, each with other file names than the recipe of the documentation."""
    write_output(root / "a pairs.jsonl", "extract", COUNTS["extract"])
    write_output(root / "b" / "good.jsonl", "filter", COUNTS["filter"])
    write_json(root / "b" / "good.jsonl.stats.json", {KIND: statistics(), "other": statistics(threshold=None)})
    write_output(root / "hard.jsonl", "mine", COUNTS["mine"])
    lines = [json.dumps(row, ensure_ascii=False) for row in mined_rows()]
    (root / "hard.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_output(root / "net", "train", COUNTS["train"])
    (root / "net").mkdir()
    (root / "net" / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in LOG))
    write_json(root / "saves" / "comparison.json", COMPARISON)
    return root


def write_output(path: Path, stage: str, counts: dict, **manifest: object) -> None:
    """The manifest of an output, and the output empty where it is a file."""
    whole = {"bioemb": "0.1.0", "stage": stage, "settings": {}, "inputs": {}, "models": {}, **manifest}
    write_json(Path(f"{path}.manifest.json"), {**whole, "counts": counts, "complete": True})
    if path.suffix:
        path.touch()


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def statistics(threshold: float | None = 0.25) -> dict:
    """What the filter writes of one kind."""
    rng = np.random.default_rng(4)
    own, shuffled = CosineCounts(), CosineCounts()
    own.add(rng.normal(0.5, 0.15, 401).astype(np.float32))
    shuffled.add(rng.normal(0.1, 0.1, 401).astype(np.float32))
    example = {"cos_sim": 0.249871, "query": HOSTILE, "document": LONG_WORD}
    return {
        **own.as_dict(),
        "shuffled": shuffled.as_dict(),
        "auc": area_under_curve(own, shuffled),
        "threshold": threshold,
        "kept": 307,
        "identical_texts": 0,
        "one_text_in_the_other": 2,
        "examples": {"above": [{**example, "cos_sim": 0.250123}], "below": [example]},
    }


def mined_rows() -> list[dict]:
    """39 rows of 1 to 2 positives and up to 4 negatives, one of which may be unscored."""
    rng = np.random.default_rng(5)
    rows = []
    for number in range(39):
        scores = np.round(rng.uniform(0.1, 0.6, 4 - number % 2), 6).tolist()
        row = {
            "query": f"query {number} {HOSTILE}",
            "pos": [f"passage {number} {LONG_WORD}", f"second {number}"][: 1 + number % 2],
            "neg": [f"negative {number} {k} {HOSTILE}" for k in range(len(scores))],
            "pos_scores": np.round(rng.uniform(0.5, 0.9, 1 + number % 2), 6).tolist(),
            "neg_scores": [None, *scores[1:]] if number % 5 == 0 else scores,
            "identity": number,
        }
        rows.append(row)
    return rows
