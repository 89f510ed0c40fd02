"""Filtering pairs by their cosine, each tool as a user starts it: time, memory, and where they decide otherwise.

    pip install -e '.[cpu,bench]'
    python benchmarks/filter.py --model path/to/all-MiniLM-L6-v2 --texts abstracts.jsonl.gz
    python benchmarks/filter.py --quick

Titles with their abstracts; the whole process counts, with imports and loading. The peers have no filter: a script of a
few lines (`peer_filtering.py`) stands for what their users write. "Another threshold" is bioemb's command once more on
the same output folder: its cosines are there already.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from measuring import (
    Summary,
    chosen,
    in_best,
    make_parser,
    own_commands,
    parse,
    print_case,
    ratio,
    run_by_turns,
    summarise,
)
from peer_filtering import cosines_of_flag_embedding, cosines_of_sentence_transformers
from reporting import Aim, Table, write_report
from texts import add_flags, describe, read_texts

THRESHOLD, ANOTHER = 0.7, 0.6
BEST, REFERENCE = "bioemb bf16", "bioemb float32"
AGAIN = ", another threshold"
NEEDS = {case + AGAIN: case for case in (BEST, REFERENCE)}  # else it would be a first run


def ours(options: argparse.Namespace, bf16: bool, threshold: float = THRESHOLD, fresh: bool = True) -> list[bool]:
    folder = options.folder / ("bf16" if bf16 else "float32")
    if fresh:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    output = folder / "kept.jsonl"
    flags = {
        "model_path": options.model,
        "folder_path": options.folder / "rows.jsonl",
        "out_file_path": output,
        "sim_threshold": threshold,
        "max_length": options.max_length,
        "bf16": "yes" if bf16 else "no",
        "overwrite": "no" if fresh else "yes",
    }
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    done = subprocess.run([sys.executable, "-m", "bioemb", "filter", *words], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    kept = {row["query"] for row in read_rows(output)}
    return [row["query"] in kept for row in read_rows(options.folder / "rows.jsonl")]


def sentence_transformers(options: argparse.Namespace, bf16: bool) -> list[bool]:
    rows = read_rows(options.folder / "rows.jsonl")
    found = cosines_of_sentence_transformers(options.model, rows, options.max_length, bf16=bf16)
    return [cosine >= THRESHOLD for cosine in found]


def flag_embedding(options: argparse.Namespace) -> list[bool]:
    rows = read_rows(options.folder / "rows.jsonl")
    return [cosine >= THRESHOLD for cosine in cosines_of_flag_embedding(options.model, rows, options.max_length)]


CASES: dict[str, Callable[[argparse.Namespace], list[bool]]] = {
    REFERENCE: lambda options: ours(options, False),
    REFERENCE + AGAIN: lambda options: ours(options, False, ANOTHER, fresh=False),
    BEST: lambda options: ours(options, True),
    BEST + AGAIN: lambda options: ours(options, True, ANOTHER, fresh=False),
    "sentence-transformers float32": lambda options: sentence_transformers(options, False),
    "sentence-transformers bf16": lambda options: sentence_transformers(options, True),
    "FlagEmbedding float32": flag_embedding,
}


def run_case(options: argparse.Namespace) -> dict:
    """One case here; which rows it keeps stays in the folder."""
    kept = CASES[options.one](options)
    (options.folder / f"{options.one}.json").write_text(json.dumps(kept))
    return {"kept": sum(kept)}


def read_rows(path: Path) -> list[dict]:
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def differing(folder: Path, case: str) -> int | None:
    """Rows of which a case decides otherwise than the reference."""
    files = [folder / f"{name}.json" for name in (case, REFERENCE)]
    if case.endswith(AGAIN) or not all(file.exists() for file in files):
        return None
    one, other = (json.loads(file.read_text()) for file in files)
    return sum(a != b for a, b in zip(one, other, strict=True))


def make_table(summary: Summary, differ: dict[str, int | None], options: argparse.Namespace) -> Table:
    best = in_best(BEST, summary)
    rows = [
        [
            case,
            of["cpu"],
            of["wall"],
            ratio(summary, case, best),
            of["peak_mb"].median,
            f"{of['kept'].median:,.0f}",
            differ[case],
        ]
        for case, of in summary.items()
    ]
    caption = (
        f"{options.rows:,} pairs, cosine of at least {THRESHOLD} (another: {ANOTHER}), texts to {options.max_length} "
        f"tokens, {describe(options.texts)}, {options.threads} threads"
    )
    columns = [
        "case",
        "CPU s (least, most)",
        "wall s",
        f"times {best}",
        "peak MB",
        "pairs kept",
        "decided otherwise than bioemb float32",
    ]
    return Table(caption, columns, rows)


def make_aims(summary: Summary) -> list[Aim]:
    best, again = in_best(BEST, summary), "filter: of the first run's time, with another threshold"
    return [
        *(
            Aim(f"filter: times as fast as {peer}", ratio(summary, peer, best), at_least=2.5)
            for peer in ("sentence-transformers float32", "FlagEmbedding float32")
        ),
        Aim(again, ratio(summary, best + AGAIN, best), at_most=0.5),
    ]


def main() -> None:
    flags = make_parser(__doc__, repeats=1)
    add_flags(flags)
    flags.add_argument("--rows", type=int, default=4000, help="titles with their abstracts")
    flags.add_argument("--max_length", type=int, default=256, help="tokens of a text at most")
    options = parse(flags, rows=150)
    if options.one:
        print_case({options.one: run_case}, options)
        return
    names = chosen(list(CASES), options, NEEDS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts = read_texts(options.texts, options.rows)
        rows = ({"query": text.title, "document": text.abstract, "kind": "title_abstract"} for text in texts)
        (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        commands = own_commands(names, folder)
        runs, left_out = run_by_turns(commands, options.repeats, options.threads)
        differ = {case: differing(folder, case) for case in runs}
    summary = summarise(runs)
    tables = [make_table(summary, differ, options)]
    write_report("filter", options, tables, make_aims(summary), {"runs": runs, "left out": left_out})


if __name__ == "__main__":
    main()
