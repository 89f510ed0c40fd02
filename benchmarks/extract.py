"""Records a second and peak memory of `bioemb extract`, beside pubmed_parser and a bare lxml pass, on a real file.

    pip install -e '.[bench]'
    python benchmarks/extract.py --input pubmed26n0001.xml.gz --records 30000 --repeats 5
    python benchmarks/extract.py --input some/folder --processes 1 2 --json extract.json

The input's records are repeated with new PMIDs until there are as many as asked for, in one gzip file. Every case runs
in a process of its own, the cases by turns, so that a busy moment of the machine falls on all. CPU seconds are of the
process and its workers, without start and imports; memory is the peak of the largest process, with the imports.
"""

import argparse
import gzip
import json
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

RECORD = re.compile(rb"<PubmedArticle>.*?</PubmedArticle>", re.DOTALL)
PMID = re.compile(rb"(<PMID[^>]*>)\d+(</PMID>)")
SCALING_FILES = 8  # into which the records are cut for the runs with several processes


def bare_lxml(path: Path) -> int:
    """What any lxml reader pays: decompression, and a tree of each record that is thrown away."""
    from lxml import etree

    count = 0
    with gzip.open(path) as handle:
        for _, element in etree.iterparse(handle, tag="PubmedArticle"):
            count += 1
            element.clear()
            while element.getprevious() is not None:
                del element.getparent()[0]
    return count


def pubmed_parser(path: Path) -> int:
    from pubmed_parser import parse_medline_xml

    return sum(1 for _ in parse_medline_xml(str(path)))


def articles(path: Path) -> int:
    """Ours, from XML to records."""
    from bioemb.data import read_articles

    return sum(1 for _ in read_articles(path))


def pairs(path: Path) -> int:
    """Ours, from XML to records and pairs."""
    from bioemb.data import make_pairs, read_articles

    return sum(1 for article in read_articles(path) if make_pairs(article))


def command(path: Path, processes: int = 1, near_duplicates: bool = True) -> int:
    """Ours, the whole command: pairs, identities, parts and output on disk."""
    from bioemb.config import ExtractConfig
    from bioemb.manifest import read_manifest
    from bioemb.stages.extract import run

    with tempfile.TemporaryDirectory() as folder:
        output = f"{folder}/pairs.jsonl"
        run(
            ExtractConfig(
                input_path=(str(path),), output_file=output, num_proc=processes, near_duplicates=near_duplicates
            )
        )
        return read_manifest(output)["counts"]["records"]["read"]


def without_near_duplicates(path: Path) -> int:
    return command(path, near_duplicates=False)


CASES: dict[str, Callable[[Path], int]] = {
    "bare lxml": bare_lxml,
    "pubmed_parser": pubmed_parser,
    "bioemb records": articles,
    "bioemb records and pairs": pairs,
    "bioemb extract, no near-duplicates": without_near_duplicates,
    "bioemb extract": command,
}


def main() -> None:
    arguments = parse_arguments()
    if arguments.case:
        print(json.dumps(measure(arguments.case, Path(arguments.file))))
        return
    with tempfile.TemporaryDirectory() as folder:
        one, several = blow_up(Path(arguments.input), arguments.records, Path(folder))
        size = f"{one.stat().st_size / 1e6:.0f} MB gzip, {sum(map(len, read_lines(one))) / 1e6:.0f} MB XML"
        jobs = {name: (name, one) for name in CASES}
        jobs |= {f"{n} processes, {SCALING_FILES} files": (str(n), several) for n in arguments.processes}
        runs: dict[str, list[dict]] = {name: [] for name in jobs}
        for number in range(arguments.repeats):
            for name, (case, path) in jobs.items():
                runs[name].append(run_alone(case, path))
                print(f"{number + 1}/{arguments.repeats} {name}: {runs[name][-1]}", file=sys.stderr)
    report = {"records": arguments.records, "size": size, "cases": {name: summarise(of) for name, of in runs.items()}}
    print(table(report))
    if arguments.json:
        Path(arguments.json).write_text(json.dumps({**report, "runs": runs}, indent=2) + "\n")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", help="a PubMed file (.xml, .xml.gz), or a folder of them")
    parser.add_argument("--records", type=int, default=30_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--processes", type=int, nargs="*", default=[1, 2], help="for the scaling of the command")
    parser.add_argument("--json", help="also write the report here")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--file", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not arguments.case and not arguments.input:
        parser.error("--input is needed")
    return arguments


def blow_up(source: Path, count: int, folder: Path) -> tuple[Path, Path]:
    """The records of the source, repeated under new PMIDs, as one file, and as a folder of some."""
    files = sorted(source.rglob("*.xml*")) if source.is_dir() else [source]
    found = [record for path in files for record in RECORD.findall(read(path))]
    if not found:
        raise SystemExit(f"no <PubmedArticle> in {source}")
    records = [numbered(found[number % len(found)], number + 1) for number in range(count)]
    (folder / "several").mkdir()
    write(folder / "one.xml.gz", records)
    share = -(-count // SCALING_FILES)
    for number in range(SCALING_FILES):
        write(folder / "several" / f"n{number}.xml.gz", records[number * share : (number + 1) * share])
    return folder / "one.xml.gz", folder / "several"


def numbered(record: bytes, pmid: int) -> bytes:
    """The record under another PMID; the PMIDs that it refers to are its own still."""
    return PMID.sub(rb"\g<1>%d\g<2>" % pmid, record, count=1)


def read(path: Path) -> bytes:
    data = path.read_bytes()
    return gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data


def read_lines(path: Path) -> Iterator[bytes]:
    with gzip.open(path) as handle:
        yield from handle


def write(path: Path, records: list[bytes]) -> None:
    with gzip.open(path, "wb", compresslevel=6) as out:
        out.write(b'<?xml version="1.0" encoding="utf-8"?>\n<PubmedArticleSet>\n')
        for record in records:
            out.write(record + b"\n")
        out.write(b"</PubmedArticleSet>\n")


def run_alone(case: str, path: Path) -> dict:
    done = subprocess.run(
        [sys.executable, __file__, "--case", case, "--file", str(path)], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def measure(case: str, path: Path) -> dict:
    """Run a case here, its imports paid for on a file of one record: CPU and wall seconds, peak memory in MB."""
    function = CASES.get(case) or (lambda path: command(path, int(case)))
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / "small.xml.gz"
        first = path if path.is_file() else next(path.iterdir())
        with gzip.open(first) as handle:
            write(small, [RECORD.search(handle.read(1 << 20))[0]])
        CASES.get(case, command)(small)
    wall, cpu = time.perf_counter(), cpu_seconds()
    records = function(path)
    cpu, wall = cpu_seconds() - cpu, time.perf_counter() - wall
    peak = max(peak_kilobytes(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
    return {"records": records, "cpu": round(cpu, 3), "wall": round(wall, 3), "peak_mb": round(peak / 1024)}


def peak_kilobytes() -> int:
    """This process's peak; getrusage's own would count that of the process that started it (Linux)."""
    return int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1])


def cpu_seconds() -> float:
    uses = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(use.ru_utime + use.ru_stime for use in uses)


def summarise(runs: list[dict]) -> dict:
    """Medians, and the spread of the CPU and wall seconds."""
    result = {name: statistics.median(run[name] for run in runs) for name in ("records", "cpu", "wall", "peak_mb")}
    spread = {name: [min(run[name] for run in runs), max(run[name] for run in runs)] for name in ("cpu", "wall")}
    return {**result, "cpu_spread": spread["cpu"], "wall_spread": spread["wall"]}


def table(report: dict) -> str:
    """Markdown: a line for each case, with ratios to the two that others know."""
    cases = report["cases"]
    bare, peer = cases["bare lxml"]["cpu"], cases["pubmed_parser"]["cpu"]
    lines = [
        f"{report['records']:,} records, {report['size']}\n",
        "| case | CPU s (least, most) | wall s | records a CPU s | of bare lxml | pubmed_parser's / this | peak MB |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for name, of in cases.items():
        low, high = of["cpu_spread"]
        lines.append(
            f"| {name} | {of['cpu']:.2f} ({low:.2f}, {high:.2f}) | {of['wall']:.2f} | {of['records'] / of['cpu']:,.0f} "
            f"| {of['cpu'] / bare:.2f} | {peer / of['cpu']:.1f} | {of['peak_mb']:,.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
