"""How many of the mined negatives are none: bioemb and the peers on a generated corpus whose truth is known.

    pip install -e '.[cpu,bench]'
    python benchmarks/false_negatives.py
    python benchmarks/false_negatives.py --quick

The demonstration's generator writes articles about an agent in a disease, under several names each, and with PubMed's
flaws: copies, retraction notices. A small encoder is trained on one half of the articles; hard negatives are mined for
the titles of the other half, by every tool with the same encoder, ranks and count. A negative is false when it belongs
to the query's own article or to one that is tied to it (copy, retraction, notice), and when it is about the same
agent in the same disease. Rows are given in two ways: one for each pair, as the pairs come, and one for each
query with all of its positives, which is kinder to tools that know no articles.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from measuring import chosen, make_parser, own_commands, parse, print_case, run_by_turns, summarise
from peer_mining import Window, like_flag_embedding, with_sentence_transformers
from reporting import Aim, Table, write_report

MAX_LENGTH = 128  # tokens
KINDS = ("title_abstract", "title_passage")
WAYS = ("a row for each pair", "a row for each query")
OURS = "bioemb, its defaults"  # a margin of 10 % and no near-copies
IN = ", "  # between a tool and a way


class Truth(NamedTuple):
    """What is known of the generated articles, by PMID."""

    title_subject: dict[int, tuple[str, str]]  # disease and agent
    abstract_subject: dict[int, tuple[str, str]]  # otherwise than the title's where the article is mislabelled
    tied: dict[int, set[int]]  # the article itself and those tied to it


def ours(options: argparse.Namespace, rows: Path, *more: str) -> list[list[str]]:
    words = ["--range_for_sampling", f"{options.first}-{options.stop}", "--negative_number", str(options.count), *more]
    with tempfile.TemporaryDirectory() as fresh:
        output = Path(fresh) / "mined.jsonl"
        bioemb("mine", model_name_or_path=options.folder / "encoder", input_file=rows, output_file=output, more=words)
        return [row["neg"] for row in read_lines(output)]


def flag_embedding(options: argparse.Namespace, rows: Path) -> list[list[str]]:
    return like_flag_embedding(str(options.folder / "encoder"), read_lines(rows), window_of(options), MAX_LENGTH)


def sentence_transformers(options: argparse.Namespace, rows: Path, margin: float | None) -> list[list[str]]:
    """The peer leaves out rows that it finds too few for; of several rows with one query the last counts."""
    found = with_sentence_transformers(
        str(options.folder / "encoder"), read_lines(rows), window_of(options), MAX_LENGTH, relative_margin=margin
    )
    return [found.get(row["query"], []) for row in read_lines(rows)]


CASES: dict[str, Callable[[argparse.Namespace, Path], list[list[str]]]] = {
    OURS: ours,
    "bioemb, no margin": lambda options, rows: ours(options, rows, "--relative_margin", "none"),
    "bioemb, margin 5 %": lambda options, rows: ours(options, rows, "--relative_margin", "0.05"),
    "bioemb, margin 20 %": lambda options, rows: ours(options, rows, "--relative_margin", "0.2"),
    "sentence-transformers": lambda options, rows: sentence_transformers(options, rows, None),
    "sentence-transformers, margin 5 %": lambda options, rows: sentence_transformers(options, rows, 0.05),
    "FlagEmbedding": flag_embedding,
}


def run_case(options: argparse.Namespace) -> dict:
    """Mine, and hold the negatives against the truth: shares of all negatives."""
    case, way = options.one.rsplit(IN, 1)
    rows = options.folder / f"{way}.jsonl"
    mined = CASES[case](options, rows)
    truth = read_truth(options.folder / "corpus" / "truth" / "records.jsonl")
    owners = {
        text: [tuple(owner) for owner in of]
        for text, of in json.loads((options.folder / "owners.json").read_text()).items()
    }
    counts = defaultdict(int)
    for row, negatives in zip(read_lines(rows), mined, strict=True):
        for text in negatives:
            counts["negatives"] += 1
            counts[judge(row["pmid"], owners[text], truth)] += 1
    total = counts["negatives"] or 1
    return {
        "negatives": counts["negatives"],
        "same_article": counts["same article"] / total,
        "same_subject": counts["same subject"] / total,
        "false": (counts["same article"] + counts["same subject"]) / total,
        "cosine": mean_cosine(options.folder / "encoder", read_lines(rows), mined),
    }


def judge(pmid: int, owners: list[tuple[int, str]], truth: Truth) -> str:
    """What a passage is to the title of an article; owners: (PMID, kind of pair) of all that have this text."""
    if any(owner in truth.tied[pmid] for owner, _ in owners):
        return "same article"
    subject = truth.title_subject[pmid]
    subjects = [
        (truth.abstract_subject if kind == "title_abstract" else truth.title_subject)[owner] for owner, kind in owners
    ]
    return "same subject" if subject in subjects else "true negative"


def read_truth(path: Path) -> Truth:
    """The generator's own record of what it wrote."""
    records = read_lines(path)
    tied: dict[int, set[int]] = {record["pmid"]: {record["pmid"]} for record in records}
    for record in records:
        if record["partner"] is not None and record["flaw"] != "mislabelled":
            joined = tied[record["pmid"]] | tied[record["partner"]]
            for pmid in joined:
                tied[pmid] = joined
    return Truth(
        {record["pmid"]: tuple(record["title_concepts"][:2]) for record in records},
        {record["pmid"]: tuple(record["abstract_concepts"][:2]) for record in records},
        tied,
    )


def mean_cosine(model: Path, rows: list[dict], mined: list[list[str]]) -> float:
    """Of queries with their negatives: how hard these are."""
    import numpy as np

    from bioemb.encoder import Encoder

    encoder = Encoder.from_pretrained(model)
    texts = sorted({text for some in mined for text in some})
    place = {text: number for number, text in enumerate(texts)}
    passages = encoder.encode(texts, kind="passage")
    queries = encoder.encode([row["query"] for row in rows], kind="query")
    scores = [
        passages[[place[text] for text in some]] @ query for query, some in zip(queries, mined, strict=True) if some
    ]
    return float(np.concatenate(scores).mean())


def prepare(folder: Path, options: argparse.Namespace) -> None:
    """Corpus, pairs, an encoder trained on every other article, and the rows of the rest in both ways."""
    from bioemb.demo.corpus import write_corpus
    from bioemb.demo.model import write_starting_encoder

    write_corpus(folder / "corpus", options.records, seed=0)
    sources = [folder / "corpus" / "pubmed", folder / "corpus" / "pmc"]
    bioemb("extract", output_file=folder / "pairs.jsonl", more=["--input_path", *map(str, sources), "--kinds", *KINDS])
    pairs = [{**pair, "pmid": int(pair["article_id"].split(":")[1])} for pair in read_lines(folder / "pairs.jsonl")]
    learnt = [pair for pair in pairs if pair["pmid"] % 2]
    write_starting_encoder(
        folder / "start", list(dict.fromkeys(pair[side] for pair in learnt for side in ("query", "document")))
    )
    write_lines(
        folder / "learnt.jsonl", [{"query": pair["query"], "pos": [pair["document"]], "neg": []} for pair in learnt]
    )
    train = ["--train_group_size", "1", "--per_device_train_batch_size", "64", "--learning_rate", "4e-3"]
    train += ["--temperature", "0.05", "--max_steps", str(options.steps), "--warmup_ratio", "0.1"]
    bioemb(
        "train",
        model_name_or_path=folder / "start",
        output_dir=folder / "encoder",
        train_data=folder / "learnt.jsonl",
        more=train,
    )
    mined = [pair for pair in pairs if not pair["pmid"] % 2]
    rows = [{"query": p["query"], "pos": [p["document"]], "identity": p["identity"], "pmid": p["pmid"]} for p in mined]
    write_lines(folder / f"{WAYS[0]}.jsonl", rows)
    write_lines(folder / f"{WAYS[1]}.jsonl", together(rows))
    owners = defaultdict(list)
    for pair in mined:
        owners[pair["document"]].append((pair["pmid"], pair["kind"]))
    (folder / "owners.json").write_text(json.dumps(owners))


def together(rows: list[dict]) -> list[dict]:
    """One row for each query, with the positives of all rows that have it."""
    found: dict[str, dict] = {}
    for row in rows:
        first = found.setdefault(row["query"], {**row, "pos": []})
        first["pos"] += [text for text in row["pos"] if text not in first["pos"]]
    return list(found.values())


def bioemb(command: str, more: list[str], **flags: object) -> None:
    """Run a command as a user types it; its words are shown where it fails."""
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    done = subprocess.run([sys.executable, "-m", "bioemb", command, *words, *more], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)


def window_of(options: argparse.Namespace) -> Window:
    return Window(options.first, options.stop, options.count)


def read_lines(path: Path) -> list[dict]:
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def write_lines(path: Path, rows: list[dict]) -> None:
    with open(path, "w", encoding="utf-8") as out:
        out.writelines(json.dumps(row) + "\n" for row in rows)


def make_table(summary: dict, way: str, passages: int, options: argparse.Namespace) -> Table:
    rows = []
    for case in CASES:
        of = summary.get(f"{case}{IN}{way}")
        if of:
            shares = [f"{100 * of[name].median:.2f} %" for name in ("same_article", "same_subject", "false")]
            rows.append([case, of["negatives"].median, *shares, f"{of['cosine'].median:.3f}"])
    caption = (
        f"{way}: ranks {options.first} to {options.stop} of {passages:,} passages, {options.count} negatives, "
        f"{options.records:,} generated records"
    )
    columns = ["case", "negatives", "of the same article", "of the same subject", "false", "mean cosine"]
    return Table(caption, columns, rows)


def make_aims(summary: dict) -> list[Aim]:
    aims = []
    for way in WAYS:
        peer = summary.get(f"FlagEmbedding{IN}{way}")
        of = summary.get(f"{OURS}{IN}{way}")
        reached = of["false"].median / peer["false"].median if of and peer and peer["false"].median else None
        aims.append(Aim(f"false negatives, {OURS}, {way}: of FlagEmbedding's", reached, at_most=0.2))
    return aims


def main() -> None:
    flags = make_parser(__doc__, repeats=1)
    flags.add_argument("--records", type=int, default=8000, help="generated articles; every other one is mined for")
    flags.add_argument("--steps", type=int, default=200, help="of training the encoder")
    flags.add_argument("--first", type=int, default=2, help="first rank")
    flags.add_argument("--stop", type=int, default=200, help="rank to stop before")
    flags.add_argument("--count", type=int, default=15, help="negatives of a row")
    flags.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS, help="how rows are given")
    options = parse(flags, records=2000, steps=60, ways=[WAYS[1]])
    names = [f"{case}{IN}{way}" for way in options.ways for case in chosen(list(CASES), options)]
    if options.one:
        print_case({options.one: run_case}, options)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, options)
        passages = len(json.loads((folder / "owners.json").read_text()))
        runs, left_out = run_by_turns(own_commands(names, folder), options.repeats, options.threads)
    summary = summarise(runs)
    tables = [make_table(summary, way, passages, options) for way in options.ways]
    write_report("false_negatives", options, tables, make_aims(summary), {"runs": runs, "left out": left_out})


if __name__ == "__main__":
    main()
