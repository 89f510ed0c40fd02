"""What `bioemb extract` does with hostile files of full size: how it ends, its peak memory and time.

    python benchmarks/hostile_xml.py --megabytes 100

Each file is written to a temporary folder, beside nothing else, and read by the command in a process of its own. It is
to end with one line (exit code 2), or with the record, within memory that does not grow with the file.
"""

import gzip
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from measuring import REPOSITORY, chosen, make_parser, parse
from reporting import Table, write_report

BEFORE = b'<?xml version="1.0"?>\n'
SET, RECORD = b"<PubmedArticleSet>", b"<PubmedArticle><MedlineCitation><PMID>1</PMID><Article><ArticleTitle>"
END = b"</ArticleTitle></Article></MedlineCitation></PubmedArticle></PubmedArticleSet>"
PIECE = 1 << 20  # bytes written at once

Chunks = Iterator[bytes]


def repeated(piece: bytes, size: int) -> Chunks:
    """The piece again and again, `size` bytes in all or a little more."""
    block = piece * (PIECE // len(piece))
    for _ in range(size // len(block) + 1):
        yield block


def text_node(size: int) -> Chunks:
    yield BEFORE + SET + RECORD
    yield from repeated(b"otter ", size)
    yield END


def attribute(size: int) -> Chunks:
    yield BEFORE + SET + b'<PubmedArticle name="'
    yield from repeated(b"otter ", size)
    yield b'"/></PubmedArticleSet>'


def nesting(size: int) -> Chunks:
    yield BEFORE + SET + RECORD
    yield from repeated(b"<i>", size)


def endless_record(size: int) -> Chunks:
    yield BEFORE + SET + RECORD
    yield from repeated(b"<i/>", size)
    yield END


def no_record(size: int) -> Chunks:
    yield BEFORE + SET
    yield from repeated(b"<Otter><Name>x</Name></Otter>", size)
    yield b"</PubmedArticleSet>"


def comments(size: int) -> Chunks:
    yield BEFORE + SET + b"<!--"
    yield from repeated(b"otter ", size)
    yield b"-->" + RECORD + END


def entities(size: int) -> Chunks:
    """A hundred million words, if one expands them."""
    yield BEFORE + b'<!DOCTYPE PubmedArticleSet [<!ENTITY l0 "otter ">'
    for number in range(8):
        yield b'<!ENTITY l%d "%s">' % (number + 1, b"&l%d;" % number * 10)
    yield b"]>" + SET + RECORD + b"&l8;" + END


def quadratic_entity(size: int) -> Chunks:
    """One long entity, used many times."""
    yield BEFORE + b'<!DOCTYPE PubmedArticleSet [<!ENTITY long "' + b"otter " * 10_000 + b'">]>' + SET + RECORD
    yield from repeated(b"&long;", size // 20)
    yield END


def spaces(size: int) -> Chunks:
    yield BEFORE + SET
    yield from repeated(b" ", size)
    yield b"</PubmedArticleSet>"


CASES: dict[str, tuple[Callable[[int], Chunks], int, bool]] = {  # chunks, times the size, as gzip
    "text node": (text_node, 1, False),
    "attribute": (attribute, 1, False),
    "nesting": (nesting, 1, False),
    "record without end": (endless_record, 1, False),
    "no record": (no_record, 1, False),
    "comment": (comments, 1, False),
    "entities that multiply": (entities, 1, False),
    "one entity many times": (quadratic_entity, 1, False),
    "gzip bomb, text": (text_node, 10, True),
    "gzip bomb, elements": (endless_record, 10, True),
    "gzip bomb, spaces": (spaces, 10, True),
}


def write(path: Path, chunks: Chunks, packed: bool) -> None:
    with gzip.open(path, "wb", compresslevel=1) if packed else open(path, "wb") as out:
        for chunk in chunks:
            out.write(chunk)


def extract(path: Path, folder: Path) -> tuple[int, int, float, str]:
    """Exit code, peak memory in MB, wall seconds and the error, from the last line of stderr."""
    words = ["extract", "--input_path", str(path), "--output_file", str(folder / "pairs.jsonl")]
    began = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        command = [sys.executable, "-m", "bioemb", *words]
        process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        lines = said.read().decode(errors="replace").strip().splitlines()
    said = lines[-1] if lines and process.returncode else ""
    error = said.replace(f"bioemb extract: {path}", "").split(";")[0].lstrip(":, ")
    return process.returncode, usage.ru_maxrss // 1024, time.perf_counter() - began, error


def main() -> None:
    flags = make_parser(__doc__, without=("repeats", "threads"))
    flags.add_argument("--megabytes", type=int, default=100, help="size of each file; ten times that for the bombs")
    options = parse(flags, megabytes=5)
    rows = []
    for name in chosen(list(CASES), options):
        chunks, times, packed = CASES[name]
        size = options.megabytes * times << 20
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / ("hostile.xml.gz" if packed else "hostile.xml")
            write(path, chunks(size), packed)
            code, peak, seconds, line = extract(path, Path(folder))
            on_disk = path.stat().st_size / (1 << 20)
        sizes = f"{on_disk:,.0f} ({size >> 20:,})" if packed else f"{on_disk:,.0f}"
        rows.append([name, sizes, code, peak, f"{seconds:.1f}", line])
        print(f"{name}: exit {code}, {peak:,} MB, {seconds:.1f} s: {line}", file=sys.stderr, flush=True)
    columns = ["file", "MB (expanded)", "exit", "peak MB", "wall s", "error"]
    write_report("hostile_xml", options, [Table("", columns, rows)], [], {})


if __name__ == "__main__":
    main()
