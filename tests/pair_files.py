"""Files of pairs for the stages' tests: rows in, rows out, and pairs of invented texts of lopsided lengths."""

import json
from pathlib import Path

import numpy as np

from bioemb.encoder import Encoder

WORDS = "heart liver kidney brain lung blood bone skin nerve muscle cell gene protein drug dose trial".split()


def write_rows(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read_rows(path: str | Path) -> list[dict]:
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def make_pairs(count: int, seed: int = 0) -> list[dict]:
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        title = " ".join(rng.choice(WORDS, rng.integers(3, 7)))
        rows.append({"title": title, "abstract": " ".join(rng.choice(WORDS, rng.integers(5, 40))), "number": number})
    return rows


def cosines(folder: Path, rows: list[dict], one: str, other: str) -> np.ndarray:
    encoder = Encoder.from_pretrained(folder)
    sides = [
        encoder.encode([row[key] for row in rows], kind=kind) for key, kind in ((one, "query"), (other, "passage"))
    ]
    return np.einsum("nd,nd->n", *sides)
