"""Mining hard negatives from end to end, each tool as a user starts it: time, memory, and the same bytes twice or not.

    pip install -e '.[cpu,bench]'
    python benchmarks/mine.py --model path/to/all-MiniLM-L6-v2 --texts abstracts.jsonl.gz
    python benchmarks/mine.py --quick

Titles are the queries, the abstracts are the passages. The whole process counts, with imports and loading. Then the
same with few short passages and two numbers of queries: by how much the peak memory grows with a query.
A whole run takes two hours on one core: `--cases` runs some cases only, `--add REPORT` takes the others from a report.
FlagEmbedding's script is not in its package; `peer_mining.py` has what stands for it.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

from measuring import (
    Summary,
    chosen,
    has_bf16,
    in_best,
    make_parser,
    own_commands,
    parse,
    print_case,
    ratio,
    run_by_turns,
    summarise,
)
from peer_mining import Window, like_flag_embedding, with_sentence_transformers
from reporting import Aim, Table, settings_of, write_report
from texts import Text, add_flags, describe, read_texts

WINDOW = Window(10, 210, 15)
SHORT = 30  # words of a passage where memory over queries is looked at
AT = " at "  # between a case and its number of queries


def ours(options: argparse.Namespace, folder: Path, bf16: bool) -> None:
    words = ["--model_name_or_path", options.model, "--input_file", str(folder / "rows.jsonl")]
    words += ["--range_for_sampling", f"{WINDOW.first}-{WINDOW.stop}", "--negative_number", str(WINDOW.count)]
    words += ["--relative_margin", "none"]  # the peers' rule
    for kind in ("query", "passage"):
        words += [f"--embedder_{kind}_max_length", str(options.max_length)]
    if (folder / "pool.jsonl").exists():
        words += ["--candidate_pool", str(folder / "pool.jsonl")]
    words += ["--bf16", "yes" if bf16 else "no"]
    with tempfile.TemporaryDirectory(dir=folder) as fresh:  # nothing of an earlier run to go on from
        output = Path(fresh) / "mined.jsonl"
        done = subprocess.run(
            [sys.executable, "-m", "bioemb", "mine", *words, "--output_file", str(output)],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            sys.exit(done.stderr)
        keep(folder, options.one, {row["query"]: row["neg"] for row in read_rows(output)})


def flag_embedding(options: argparse.Namespace, folder: Path) -> None:
    rows = read_rows(folder / "rows.jsonl")
    mined = like_flag_embedding(options.model, rows, WINDOW, options.max_length, read_pool(folder))
    keep(folder, options.one, dict(zip([row["query"] for row in rows], mined, strict=True)))


def sentence_transformers(options: argparse.Namespace, folder: Path, bf16: bool) -> None:
    rows = read_rows(folder / "rows.jsonl")
    mined = with_sentence_transformers(options.model, rows, WINDOW, options.max_length, read_pool(folder), bf16=bf16)
    keep(folder, options.one, mined)


CASES: dict[str, Callable[[argparse.Namespace, Path], None]] = {
    "bioemb float32": lambda options, folder: ours(options, folder, False),
    "bioemb bf16": lambda options, folder: ours(options, folder, True),
    "sentence-transformers float32": lambda options, folder: sentence_transformers(options, folder, False),
    "sentence-transformers bf16": lambda options, folder: sentence_transformers(options, folder, True),
    "FlagEmbedding": flag_embedding,
}
OF_ALL = ("rows", "max_length", "pool", "queries", "model", "texts", "threads")  # settings that reports must share
BEST, GROWING = "bioemb bf16", ("sentence-transformers float32", "FlagEmbedding")


def run_case(options: argparse.Namespace) -> dict:
    """One case here; its name says the number of queries where that is not the whole."""
    case, _, queries = options.one.partition(AT)
    CASES[case](options, options.folder / (queries or "whole"))
    return {}


def keep(folder: Path, case: str, mined: dict[str, list[str]]) -> None:
    """A line for each query of the input with the hash of its negatives, in a file of this run."""
    number = len(list(folder.glob(f"{case}-run*.txt")))
    queries = [row["query"] for row in read_rows(folder / "rows.jsonl")]
    lines = (blake2b(json.dumps(mined.get(query)).encode(), digest_size=8).hexdigest() for query in queries)
    (folder / f"{case}-run{number}.txt").write_text("\n".join(lines) + "\n")


def differing(folder: Path, case: str) -> float | None:
    """Share of the rows whose negatives are others in the second run than in the first; None after one run."""
    files = [folder / f"{case}-run{number}.txt" for number in (0, 1)]
    if not files[1].exists():
        return None
    first, second = (file.read_text().split() for file in files)
    return sum(one != other for one, other in zip(first, second, strict=True)) / len(first)


def read_rows(path: Path) -> list[dict]:
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def read_pool(folder: Path) -> list[str] | None:
    path = folder / "pool.jsonl"
    return [row["text"] for row in read_rows(path)] if path.exists() else None


def write_rows(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(exist_ok=True)
    with open(path, "w", encoding="utf-8") as out:
        out.writelines(json.dumps(row) + "\n" for row in rows)


def prepare(folder: Path, texts: list[Text], options: argparse.Namespace) -> None:
    write_rows(
        folder / "whole" / "rows.jsonl",
        [{"query": text.title, "pos": [text.abstract]} for text in texts[: options.rows]],
    )
    pool = list(dict.fromkeys(" ".join(text.abstract.split()[:SHORT]) for text in texts[: options.pool]))
    for queries in options.queries:
        rows = [{"query": text.title, "pos": [pool[row % len(pool)]]} for row, text in enumerate(texts[:queries])]
        write_rows(folder / str(queries) / "rows.jsonl", rows)
        write_rows(folder / str(queries) / "pool.jsonl", [{"text": text} for text in pool])


def main_table(summary: Summary, again: dict[str, float | None], options: argparse.Namespace) -> Table:
    best, rows = in_best(BEST, summary), []
    for case in [case for case in CASES if case in summary]:
        of, others = summary[case], again.get(case)
        rows.append(
            [
                case,
                of["cpu"],
                of["wall"],
                ratio(summary, case, best),
                of["peak_mb"].median,
                None if others is None else f"{100 * others:.1f} %",
            ]
        )
    caption = (
        f"{options.rows:,} titles against {options.rows:,} abstracts, ranks {WINDOW.first} to {WINDOW.stop}, "
        f"{WINDOW.count} negatives, texts to {options.max_length} tokens, {describe(options.texts)}, "
        f"{options.threads} threads"
    )
    columns = [
        "case",
        "CPU s (least, most)",
        "wall s",
        f"times {best}",
        "peak MB",
        "rows that differ when run again",
    ]
    return Table(caption, columns, rows)


def growth(summary: Summary, case: str, queries: list[int]) -> float | None:
    """KB of peak memory that a further query costs; None where both numbers are one, or were not measured."""
    names = [f"{case}{AT}{count}" for count in (min(queries), max(queries))]
    if names[0] == names[1] or not all(name in summary for name in names):
        return None
    low, high = (summary[name]["peak_mb"].median for name in names)
    return 1024 * (high - low) / (max(queries) - min(queries))


def growth_table(summary: Summary, options: argparse.Namespace) -> Table:
    rows = []
    for case in (in_best(BEST, summary), *GROWING):
        peaks = [summary.get(f"{case}{AT}{count}", {}).get("peak_mb") for count in options.queries]
        rows.append([case, *(peak.median if peak else None for peak in peaks), growth(summary, case, options.queries)])
    columns = ["case", *(f"peak MB, {count:,} queries" for count in options.queries), "KB a query"]
    return Table(f"{options.pool:,} passages of {SHORT} words: memory over queries", columns, rows)


def make_aims(summary: Summary, again: dict[str, float | None], options: argparse.Namespace) -> list[Aim]:
    best, aims = in_best(BEST, summary), []
    for peer, name in (("sentence-transformers float32",) * 2, ("FlagEmbedding", "FlagEmbedding float32")):
        aims.append(Aim(f"mining: times as fast as {name}", ratio(summary, peer, best), 2.5))
        aims.append(Aim(f"mining: of {name}'s peak memory", ratio(summary, best, peer, "peak_mb"), at_most=0.5))
    aims.append(Aim("mining: KB of memory that a query costs", growth(summary, best, options.queries), at_most=1))
    aims.append(Aim("mining: share of rows that differ when run again", again.get(best), at_most=0))
    return aims


def read_earlier(path: Path, options: argparse.Namespace) -> dict:
    """The measurements of a report of the same work; ends where it is of other."""
    report = json.loads(path.read_text(encoding="utf-8"))
    then, now = report["settings"], settings_of(options)
    differing = [f"{name} {then.get(name)}, not {now[name]}" for name in OF_ALL if now[name] != then.get(name)]
    if differing:
        raise SystemExit(f"--add {path} is of another run than this: {'; '.join(differing)}")
    return report["measurements"]


def main() -> None:
    flags = make_parser(__doc__, repeats=2)
    add_flags(flags)
    flags.add_argument("--rows", type=int, default=16_000, help="titles, and as many abstracts")
    flags.add_argument("--max_length", type=int, default=256, help="tokens of a text at most")
    flags.add_argument("--queries", type=int, nargs=2, default=[4000, 16_000], help="whose memory is compared")
    flags.add_argument("--add", type=Path, help="a report of this program, whose other cases stand in this one too")
    flags.add_argument("--pool", type=int, default=2000, help="short passages for that")
    options = parse(flags, rows=150, queries=[150, 750], pool=150)
    if options.one:
        print_case({options.one: run_case}, options)
        return
    names = chosen(list(CASES), options)
    earlier = read_earlier(options.add, options) if options.add else {"runs": {}, "rows that differ": {}}
    best = BEST if has_bf16() else in_best(BEST, ())
    growing = {f"{case}{AT}{count}": case for case in (best, *GROWING) for count in options.queries}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, read_texts(options.texts, max(options.rows, options.pool, *options.queries)), options)
        runs, left_out = run_by_turns(own_commands(names, folder), options.repeats, options.threads)
        more = own_commands([at for at, case in growing.items() if case in names], folder)
        more_runs, more_left_out = run_by_turns(more, 1, options.threads)
        again = {case: differing(folder / "whole", case) for case in runs}
    runs, left_out = earlier["runs"] | runs | more_runs, left_out | more_left_out
    again = earlier["rows that differ"] | again
    summary = summarise(runs)
    tables = [main_table(summary, again, options), growth_table(summary, options)]
    aims = make_aims(summary, again, options)
    write_report("mine", options, tables, aims, {"runs": runs, "left out": left_out, "rows that differ": again})


if __name__ == "__main__":
    main()
