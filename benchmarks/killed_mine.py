"""Kill `bioemb filter` and `bioemb mine` at random moments, start them again, and compare with an undisturbed run.

    python benchmarks/killed_mine.py --model path/to/all-MiniLM-L6-v2 --rows 2000 --kills 20
    python benchmarks/killed_mine.py --processes 2 --cases mine

Each kill (SIGKILL, of one process where there are several) falls at a moment drawn from the whole of an undisturbed
run; where the work is done before, the output is deleted and the work begins anew. Of several processes the others end
by themselves, but for those that have not met yet: they wait for the one that is gone, and are ended as by torchrun.
Exit code 1 when a byte differs or something half-written is left.
"""

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
from texts import Text, add_flags, read_texts

OUTPUT = {"filter": "--out_file_path", "mine": "--output_file"}
LAUNCHERS_PATIENCE = 30  # seconds until the others of a killed process are ended
SMALL_BLOCKS = """
import sys
from bioemb.cli import main
from bioemb.stages import filter_scores, mining_search

filter_scores.BLOCK_ROWS = mining_search.BLOCK_ROWS = {rows}
mining_search.SHARD_ROWS = 4 * {rows}
sys.exit(main(sys.argv[1:]))
"""


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
            env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for rank in range(processes)
    ]


def finish(running: list[subprocess.Popen], was_killed: bool) -> bool:
    """Whether all did their work, once all have ended; where none was killed, anything else ends the program."""
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


def hashes(output: Path) -> list[str]:
    return [blake2b(path.read_bytes()).hexdigest() for path in (output, Path(f"{output}.manifest.json"))]


def kill_often(case: str, words: list[str], folder: Path, options) -> dict:
    """What became of one command: kills, outputs that were finished, and how many of them were not the same."""
    whole, killed = folder / case / "whole" / "out.jsonl", folder / case / "killed" / "out.jsonl"
    draw = random.Random(options.seed)

    def begin(output: Path) -> list[subprocess.Popen]:
        return start([case, *words, OUTPUT[case], str(output)], options.processes, options.block_rows)

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
        wrong += hashes(killed) != hashes(whole) or bool(list(killed.parent.rglob(".*")))
        shutil.rmtree(killed.parent)
    size = whole.stat().st_size / 1e6
    return {"case": case, "kills": kills, "seconds": seconds, "outputs": finished, "MB": size, "differ": wrong}


def write_input(folder: Path, texts: list[Text]) -> None:
    folder.mkdir()
    with open(folder / "rows.jsonl", "w", encoding="utf-8") as out:
        for text in texts:
            out.write(json.dumps({"query": text.title, "document": text.abstract}) + "\n")


def main() -> int:
    flags = make_parser(__doc__)
    add_flags(flags)
    flags.add_argument("--rows", type=int, default=2000, help="titles and abstracts")
    flags.add_argument("--block_rows", type=int, default=64, help="rows of a block; a shard has four")
    flags.add_argument("--kills", type=int, default=20, help="of each command")
    flags.add_argument("--processes", type=int, default=1)
    flags.add_argument("--max_length", type=int, default=64, help="tokens of a text at most")
    flags.add_argument("--seed", type=int, default=0)
    options = parse(flags, rows=300, kills=5, block_rows=16, max_length=32)
    with tempfile.TemporaryDirectory() as name:
        folder, source = Path(name), Path(name) / "input"
        write_input(source, read_texts(options.texts, options.rows))
        lengths = [f"--embedder_{kind}_max_length" for kind in ("query", "passage")]
        commands = {
            "filter": ["--model_path", options.model, "--folder_path", str(source), "--sim_threshold", "0.6"]
            + ["--key_x", "document", "--key_y", "query", "--max_length", str(options.max_length)],
            "mine": ["--model_name_or_path", options.model, "--input_file", str(source)]
            + [word for flag in lengths for word in (flag, str(options.max_length))],
        }
        results = [kill_often(case, commands[case], folder, options) for case in chosen(list(commands), options)]
    for result in results:
        print(
            f"{result['case']}: {result['kills']} kills in runs of {result['seconds']:.1f} s on {options.processes} "
            f"processes; {result['outputs']} outputs of {result['MB']:.1f} MB, {result['differ']} of them differ"
        )
    return 1 if any(result["differ"] for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
