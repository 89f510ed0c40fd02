"""Kill `bioemb extract` at random moments, start it again, and compare the bytes with those of a run left in peace.

    python benchmarks/killed_extract.py --input some/folder --kills 20

Each kill (SIGKILL) falls at a moment drawn from the whole of an undisturbed run; where the work is done before, the
output is deleted and the work begins anew. Exit code 1 when a byte differs or a worker lives on.
"""

import argparse
import hashlib
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


def start(source: Path, output: Path, processes: int) -> subprocess.Popen:
    words = ["extract", "--input_path", str(source), "--output_file", str(output), "--num_proc", str(processes)]
    command = [sys.executable, "-m", "bioemb", *words]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finish(process: subprocess.Popen) -> int:
    """The exit code, once the workers, which hold the other end of stderr, have ended too."""
    _, said = process.communicate(timeout=600)
    if process.returncode not in (0, -9):
        raise SystemExit(said.decode(errors="replace"))
    return process.returncode


def hashes(output: Path) -> list[str]:
    manifest = Path(f"{output}.manifest.json")
    return [hashlib.blake2b(path.read_bytes()).hexdigest() for path in (output, manifest)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", required=True, help="a folder of XML files")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    source, draw = Path(arguments.input), random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole, killed = Path(folder) / "whole" / "pairs.jsonl", Path(folder) / "killed" / "pairs.jsonl"
        began = time.monotonic()
        finish(start(source, whole, arguments.processes))
        seconds = time.monotonic() - began
        kills, finished, wrong = 0, 0, 0
        while kills < arguments.kills or not finished:
            process = start(source, killed, arguments.processes)
            if kills < arguments.kills:
                time.sleep(draw.uniform(0, seconds))
                process.kill()
            if finish(process):
                kills += 1
                continue
            finished += 1
            wrong += hashes(killed) != hashes(whole) or bool(list(killed.parent.rglob(".*.part")))
            shutil.rmtree(killed.parent)
        size = whole.stat().st_size / 1e6
    print(f"{kills} kills in runs of {seconds:.1f} s; {finished} outputs of {size:.1f} MB, {wrong} of them differ")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
