"""Kill extract, filter, mine and train at random moments, start them again, and compare with an undisturbed run.

    python benchmarks/restart.py --model path/to/all-MiniLM-L6-v2 --input pubmed_xml --texts abstracts.jsonl.gz
    python benchmarks/restart.py --quick
    python benchmarks/restart.py --processes 2 --cases mine train

Each kill (SIGKILL, of one process where there are several) falls at a moment drawn from the whole of an undisturbed
run; where the work is done before, the output is deleted and the work begins anew. Of several processes the others end
by themselves, but for those that have not met yet: they wait for the one that is gone, and are ended as by torchrun.
The peers have nothing to compare: they start over. Exit code 1 when a byte differs or something half-written is left.
"""

import argparse
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from hashlib import blake2b
from pathlib import Path

from measuring import REPOSITORY, chosen, make_parser, parse
from reporting import Aim, Table, write_report
from texts import GENERATED, Text, add_flags, read_texts

LAUNCHERS_PATIENCE = 30  # seconds until the others of a killed process are ended
OUTPUT = {
    "extract": "--output_file",
    "filter": "--out_file_path",
    "mine": "--output_file",
    "train": "--output_dir",
}
SMALL_BLOCKS = """
import sys
from bioemb.cli import main
from bioemb.stages import filter_scores, mining_search

filter_scores.BLOCK_ROWS = mining_search.BLOCK_ROWS = {rows}
mining_search.SHARD_ROWS = 4 * {rows}
sys.exit(main(sys.argv[1:]))
"""


def words_of(case: str, source: Path, options: argparse.Namespace) -> list[str]:
    """The command's flags, but for its output."""
    rows, length, model = source / "rows.jsonl", options.max_length, {"model_name_or_path": options.model}
    articles = options.input or source / "pubmed"
    flags = {
        "extract": {"input_path": articles, "num_proc": options.workers, "skip_broken_files": "yes"},
        "filter": {
            "model_path": options.model,
            "folder_path": rows,
            "sim_threshold": 0.6,
            "key_x": "document",
            "key_y": "query",
            "max_length": length,
        },
        "mine": model
        | {"input_file": rows, "embedder_query_max_length": length, "embedder_passage_max_length": length}
        | {"relative_margin": "none"},  # a fresh encoder finds all texts alike
        "train": model
        | {
            "train_data": rows,
            "train_group_size": 1,
            "query_max_len": length,
            "passage_max_len": length,
            "per_device_train_batch_size": 8,
            "max_steps": options.steps,
            "save_steps": 3,
            "save_total_limit": 2,
            "dropout": 0.1,
        },
    }
    return [word for name, value in flags[case].items() for word in (f"--{name}", str(value))]


def start(words: list[str], processes: int, block_rows: int) -> list[subprocess.Popen]:
    """The command on so many processes, as torchrun would start them."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    if processes > 1:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        environment |= {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    code = SMALL_BLOCKS.format(rows=block_rows)
    return [
        subprocess.Popen(
            [sys.executable, "-c", code, *words],
            env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)} if processes > 1 else environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for rank in range(processes)
    ]


def finish(running: list[subprocess.Popen], was_killed: bool) -> bool:
    """Whether all did their work, once all have ended, and their workers, which hold the other end of stderr.

    Where none was killed, anything else ends the program.
    """
    said = []
    for process in running:
        try:
            said.append(process.communicate(timeout=LAUNCHERS_PATIENCE if was_killed else None)[1])
        except subprocess.TimeoutExpired:
            process.terminate()
            said.append(process.communicate()[1])
    done = [process.returncode == 0 for process in running]
    if not all(done) and not was_killed:
        raise SystemExit("\n".join(some.decode(errors="replace") for some in said))
    return all(done)


def products(output: Path) -> list[Path]:
    """What must be the same: the file with its manifest, of a training the weights."""
    return [output / "model.safetensors"] if output.is_dir() else [output, Path(f"{output}.manifest.json")]


def hashes(output: Path) -> list[str]:
    return [blake2b(path.read_bytes()).hexdigest() for path in products(output)]


def kill_often(case: str, folder: Path, options: argparse.Namespace) -> dict:
    """What became of one command: kills, outputs that were finished, and how many of them were not the same."""
    words = words_of(case, folder / "input", options)
    whole, killed = (folder / case / name / "output" for name in ("whole", "killed"))
    processes = 1 if case == "extract" else options.processes
    draw = random.Random(options.seed)

    def begin(output: Path) -> list[subprocess.Popen]:
        output.parent.mkdir(parents=True, exist_ok=True)
        return start([case, *words, OUTPUT[case], str(output)], processes, options.block_rows)

    began = time.monotonic()
    finish(begin(whole), False)
    seconds = time.monotonic() - began
    kills, finished, wrong = 0, 0, 0
    while kills < options.kills or not finished:
        running, is_to_be_killed = begin(killed), kills < options.kills
        if is_to_be_killed:
            time.sleep(draw.uniform(0.1, 1) * seconds)
            draw.choice(running).kill()
        if not finish(running, is_to_be_killed):
            kills += 1
            continue
        finished += 1
        left_over = [path.name for path in killed.parent.rglob(".*")]
        differs = hashes(killed) != hashes(whole)
        wrong += differs or bool(left_over)
        shutil.rmtree(killed.parent)
        what = f"{'other' if differs else 'the same'} bytes, left over: {', '.join(left_over) or 'nothing'}"
        print(f"{case}: {kills} kills, output {finished}: {what}", file=sys.stderr, flush=True)
    megabytes = sum(path.stat().st_size for path in products(whole)) / 1e6
    return {"kills": kills, "seconds": seconds, "outputs": finished, "mb": megabytes, "differ": wrong}


def prepare(folder: Path, texts: list[Text], options: argparse.Namespace) -> None:
    """Rows that filter, mine and train take alike; a corpus to extract where none is named."""
    folder.mkdir()
    with open(folder / "rows.jsonl", "w", encoding="utf-8") as out:
        for text in texts:
            row = {"query": text.title, "document": text.abstract, "pos": [text.abstract]}
            out.write(json.dumps(row) + "\n")
    if options.input is None:
        from bioemb.demo.corpus import write_corpus

        write_corpus(folder, max(600, options.rows))


def main() -> int:
    flags = make_parser(__doc__, without=("repeats", "threads"))
    add_flags(flags, model=GENERATED)
    flags.add_argument("--input", type=Path, help="PubMed XML (default: generated)")
    flags.add_argument("--rows", type=int, default=2000, help="titles and abstracts")
    flags.add_argument("--steps", type=int, default=40, help="of a training")
    flags.add_argument("--block_rows", type=int, default=64, help="rows of a block; a shard has four")
    flags.add_argument("--kills", type=int, default=20, help="of each command")
    flags.add_argument("--processes", type=int, default=1, help="of filter, mine and train")
    flags.add_argument("--workers", type=int, default=2, help="of extract")
    flags.add_argument("--max_length", type=int, default=64, help="tokens of a text at most")
    flags.add_argument("--seed", type=int, default=0)
    options = parse(flags, rows=300, kills=3, block_rows=16, max_length=32, steps=12)
    with tempfile.TemporaryDirectory() as name:
        prepare(Path(name) / "input", read_texts(options.texts, options.rows), options)
        results = {case: kill_often(case, Path(name), options) for case in chosen(list(OUTPUT), options)}
    rows = [[case, *(f"{of['mb']:.1f}" if key == "mb" else of[key] for key in of)] for case, of in results.items()]
    columns = ["command", "kills", "s undisturbed", "finished outputs", "MB", "of them differ"]
    caption = f"{options.rows:,} rows, {options.processes} processes, of extract {options.workers} workers"
    differ = sum(of["differ"] for of in results.values())
    aims = [Aim("restart: outputs that differ after kills", differ, at_most=0)]
    write_report("restart", options, [Table(caption, columns, rows)], aims, {"results": results})
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
