"""From PubMed's XML to a trained encoder, stage by stage: bioemb beside what users of the peers put together.

    pip install -e '.[cpu,bench]'
    python benchmarks/end_to_end.py --model path/to/all-MiniLM-L6-v2 --input pubmed_xml
    python benchmarks/end_to_end.py --quick

Every stage of every case is a process of its own, with its imports and loading, and reads what the stage before wrote:
titles with their abstracts are extracted, those with a cosine below a threshold dropped, a hard negative is mined for
each, and some steps are trained. The peers read XML with pubmed_parser; what stands for their filter and for
FlagEmbedding's mining script is in `peer_filtering.py` and `peer_mining.py`. bioemb's stages do more: identities,
near-duplicates, statistics, manifests, files of work to go on from. What each left is in the table.
"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

from extract import PMID, RECORD, find_source, read, write
from measuring import (
    Runs,
    Summary,
    chosen,
    has_bf16,
    make_parser,
    own_commands,
    parse,
    print_case,
    run_by_turns,
    summarise,
)
from peer_filtering import cosines_of_flag_embedding, cosines_of_sentence_transformers
from peer_mining import Window, like_flag_embedding, with_sentence_transformers
from peer_training import Training, flag_embedding_trainer, sentence_transformers_trainer
from reporting import Aim, Table, write_report
from texts import add_model_flag

OURS, ST, FE = CASES = ("bioemb", "sentence-transformers", "FlagEmbedding")
STAGES = ("extract", "filter", "mine", "train")
AT = ": "  # between a case and its stage
WINDOW, TEMPERATURE = Window(10, 100, 1), 0.05
QUERY_TOKENS, PASSAGE_TOKENS = 64, 256


def run_case(options: argparse.Namespace) -> dict:
    """One stage of one case, here; how many rows it left."""
    case, stage = options.one.split(AT)
    folder = options.folder / case
    folder.mkdir(exist_ok=True)
    output = folder / ("model" if stage == "train" else f"{stage}.jsonl")
    source = (
        options.folder / "records.xml.gz" if stage == "extract" else folder / f"{STAGES[STAGES.index(stage) - 1]}.jsonl"
    )
    if case == OURS:
        ours(stage, source, output, options)
    else:
        PEERS[stage](case, source, output, options)
    return {} if stage == "train" else {"rows": len(read_rows(output))}


def ours(stage: str, source: Path, output: Path, options: argparse.Namespace) -> None:
    """bioemb's command; earlier turns' work is not gone on from."""
    from bioemb.cli import main

    flags = {
        "extract": {"input_path": source, "output_file": output, "kinds": "title_abstract"},
        "filter": {
            "model_path": options.model,
            "folder_path": source,
            "out_file_path": output,
            "sim_threshold": options.threshold,
            "max_length": PASSAGE_TOKENS,
        },
        "mine": {
            "model_name_or_path": options.model,
            "input_file": source,
            "output_file": output,
            "range_for_sampling": f"{WINDOW.first}-{WINDOW.stop}",
            "negative_number": WINDOW.count,
            "embedder_query_max_length": QUERY_TOKENS,
            "embedder_passage_max_length": PASSAGE_TOKENS,
        },
        "train": {
            "model_name_or_path": options.model,
            "train_data": source,
            "output_dir": output,
            "train_group_size": 1 + WINDOW.count,
            "query_max_len": QUERY_TOKENS,
            "passage_max_len": PASSAGE_TOKENS,
            "per_device_train_batch_size": options.queries,
            "max_steps": options.steps,
            "temperature": TEMPERATURE,
            "bf16": "yes" if has_bf16() else "no",
        },
    }
    forget(output)
    code = main([stage, *(word for name, value in flags[stage].items() for word in (f"--{name}", str(value)))])
    if code:
        sys.exit(code)


def forget(output: Path) -> None:
    """Delete what another turn left of this output."""
    for path in output.parent.glob(f"{output.name}*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def extract(case: str, source: Path, output: Path, options: argparse.Namespace) -> None:
    from pubmed_parser import parse_medline_xml

    found = {record["pmid"]: record for record in parse_medline_xml(str(source))}
    rows = (
        {"query": of["title"], "document": of["abstract"]} for of in found.values() if of["title"] and of["abstract"]
    )
    write_rows(output, list(rows))


def filter_pairs(case: str, source: Path, output: Path, options: argparse.Namespace) -> None:
    rows, score = read_rows(source), cosines_of_flag_embedding if case == FE else cosines_of_sentence_transformers
    found = score(options.model, rows, PASSAGE_TOKENS)
    write_rows(output, [row for row, cosine in zip(rows, found, strict=True) if cosine >= options.threshold])


def mine(case: str, source: Path, output: Path, options: argparse.Namespace) -> None:
    rows = [{"query": row["query"], "pos": [row["document"]]} for row in read_rows(source)]
    if case == FE:
        mined = like_flag_embedding(options.model, rows, WINDOW, PASSAGE_TOKENS)
        write_rows(output, [row | {"neg": neg} for row, neg in zip(rows, mined, strict=True)])
    else:
        by_query = with_sentence_transformers(options.model, rows, WINDOW, PASSAGE_TOKENS)
        write_rows(output, [row | {"neg": by_query[row["query"]]} for row in rows if row["query"] in by_query])


def train(case: str, source: Path, output: Path, options: argparse.Namespace) -> None:
    make = flag_embedding_trainer if case == FE else sentence_transformers_trainer
    training = Training(options.model, source, 1 + WINDOW.count, QUERY_TOKENS, PASSAGE_TOKENS, TEMPERATURE)
    settings = {"per_device_train_batch_size": options.queries, "max_steps": options.steps, "bf16": has_bf16()}
    trainer = make(training, settings | {"output_dir": str(output)})
    trainer.train()
    trainer.save_model(str(output))


PEERS = {"extract": extract, "filter": filter_pairs, "mine": mine, "train": train}


def read_rows(path: Path) -> list[dict]:
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def write_rows(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def prepare(folder: Path, options: argparse.Namespace) -> int:
    """Records of different PMIDs in one file, as many as asked for and found; how many."""
    source = find_source(options.input, folder)
    files = sorted(source.rglob("*.xml*")) if source.is_dir() else [source]
    every = (record for path in files for record in RECORD.findall(read(path)))
    found = {number[0]: record for record in every if (number := PMID.search(record))}
    records = list(found.values())[: options.records]
    write(folder / "records.xml.gz", records)
    return len(records)


def make_tables(summary: Summary, records: int, options: argparse.Namespace) -> list[Table]:
    rows = []
    for case in CASES:
        uses = {stage: summary[f"{case}{AT}{stage}"] for stage in STAGES if f"{case}{AT}{stage}" in summary}
        for stage, use in uses.items():
            of_ours = summary.get(f"{OURS}{AT}{stage}")
            times = use["cpu"].median / of_ours["cpu"].median if of_ours else None
            left = f"{use['rows'].median:,.0f}" if "rows" in use else None
            rows.append([f"{case}{AT}{stage}", use["cpu"], use["wall"], times, use["peak_mb"].median, left])
        if len(uses) == len(STAGES):
            cpu, wall = (sum(use[field].median for use in uses.values()) for field in ("cpu", "wall"))
            peak = max(use["peak_mb"].median for use in uses.values())
            rows.append([f"**{case}{AT}all**", cpu, wall, total(summary, case), peak, None])
    kind = "records of PubMed" if options.input else "generated records"
    caption = (
        f"{records:,} {kind}, titles and abstracts, to {PASSAGE_TOKENS} tokens, cosine of at least "
        f"{options.threshold}, a negative of ranks {WINDOW.first} to {WINDOW.stop}, {options.steps} steps of "
        f"{options.queries} queries, {options.threads} threads"
    )
    columns = ["stage", "CPU s (least, most)", "wall s", f"times {OURS}", "peak MB", "rows left"]
    return [Table(caption, columns, rows)]


def total(summary: Summary, case: str) -> float | None:
    """CPU seconds of all stages, as a multiple of ours."""
    names = [(f"{case}{AT}{stage}", f"{OURS}{AT}{stage}") for stage in STAGES]
    if not all(name in summary for pair in names for name in pair):
        return None
    return sum(summary[one]["cpu"].median for one, _ in names) / sum(summary[own]["cpu"].median for _, own in names)


def main() -> None:
    flags = make_parser(__doc__, repeats=1)
    flags.add_argument("--input", type=Path, help="PubMed files (default: generated)")
    add_model_flag(flags)
    flags.add_argument("--records", type=int, default=4000, help="of the input, at most")
    flags.add_argument("--queries", type=int, default=32, help="of a step, each with a positive and a negative")
    flags.add_argument("--steps", type=int, default=20)
    flags.add_argument("--threshold", type=float, default=0.5, help="cosine that a pair must have")
    options = parse(flags, records=300, queries=8, steps=5, threshold=-1.0)  # for a fresh encoder all texts differ
    if options.one:
        print_case({options.one: run_case}, options)
        return
    with tempfile.TemporaryDirectory() as name:
        records = prepare(Path(name), options)
        jobs = [f"{case}{AT}{stage}" for case in chosen(list(CASES), options) for stage in STAGES]
        runs: Runs
        runs, left_out = run_by_turns(own_commands(jobs, Path(name)), options.repeats, options.threads)
    summary = summarise(runs)
    aims = [
        Aim(
            "from XML to a trained encoder: times as fast as with sentence-transformers", total(summary, ST), at_least=2
        ),
        Aim("from XML to a trained encoder: times as fast as with FlagEmbedding", total(summary, FE), at_least=2),
    ]
    write_report(
        "end_to_end", options, make_tables(summary, records, options), aims, {"runs": runs, "left out": left_out}
    )


if __name__ == "__main__":
    main()
