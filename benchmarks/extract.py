"""Records a second and peak memory of `bioemb extract`, beside pubmed_parser and a bare lxml pass, on a real file.

    pip install -e '.[bench]'
    python benchmarks/extract.py --input pubmed26n0001.xml.gz --records 30000 --repeats 5
    python benchmarks/extract.py --input some/folder --processes 1 2 --quick

The input's records are repeated with new PMIDs until there are as many as asked for, in one gzip file. Every case runs
in a process of its own, the cases by turns, so that a busy moment of the machine falls on all. CPU seconds are of the
process and its workers, without start and imports; memory is the peak of the largest process, with the imports.
"""

import gzip
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from measuring import (
    Runs,
    Summary,
    chosen,
    make_parser,
    measured,
    own_commands,
    parse,
    print_case,
    ratio,
    run_by_turns,
    summarise,
)
from reporting import Aim, Table, write_report

RECORD = re.compile(rb"<PubmedArticle>.*?</PubmedArticle>", re.DOTALL)
PMID = re.compile(rb"(<PMID[^>]*>)\d+(</PMID>)")
ONE, SEVERAL = "one.xml.gz", "several"  # what the prepared folder holds
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
    from bioemb.records import Article

    read = 0
    for record in read_articles(path):
        read += 1
        if isinstance(record, Article):  # else a word on why it was dropped
            make_pairs(record)
    return read


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


def find_source(wanted: Path | None, folder: Path) -> Path:
    """The XML that was named; generated where none was."""
    if wanted and not wanted.exists():
        sys.exit(f"{wanted} is not there; name a file of PubMed's XML, or a folder of them, with --input")
    if wanted:
        return wanted
    from bioemb.demo.corpus import write_corpus

    write_corpus(folder / "generated", records=1000)
    return folder / "generated" / "pubmed"


def blow_up(source: Path, count: int, folder: Path) -> None:
    """The records of the source, repeated under new PMIDs, as one file, and as a folder of some."""
    files = sorted(source.rglob("*.xml*")) if source.is_dir() else [source]
    found = [record for path in files for record in RECORD.findall(read(path)) if is_whole(record)]
    if not found:
        raise SystemExit(f"no <PubmedArticle> in {source}")
    records = [numbered(found[number % len(found)], number + 1) for number in range(count)]
    (folder / SEVERAL).mkdir()
    write(folder / ONE, records)
    share = -(-count // SCALING_FILES)
    for number in range(SCALING_FILES):
        write(folder / SEVERAL / f"n{number}.xml.gz", records[number * share : (number + 1) * share])


def is_whole(record: bytes) -> bool:
    """A damaged one would end every case: `bioemb extract` has a flag for that, a bare pass has not."""
    from lxml import etree

    try:
        etree.fromstring(record)
    except etree.XMLSyntaxError:
        return False
    return True


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


def measure(function: Callable[[Path], int], path: Path) -> dict:
    """Run a case here, its imports paid for on a file of one record."""
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / "small.xml.gz"
        first = path if path.is_file() else next(path.iterdir())
        with gzip.open(first) as handle:
            write(small, [RECORD.search(handle.read(1 << 20))[0]])
        function(small)
    with measured() as use:
        records = function(path)
    return {**use, "records": records}


def make_table(summary: Summary, caption: str) -> Table:
    """A row for each case, with ratios to the two that others know."""
    rows = [
        [
            name,
            of["cpu"],
            of["wall"],
            of["records"].median / of["cpu"].median,
            ratio(summary, name, "bare lxml"),
            ratio(summary, "pubmed_parser", name),
            of["peak_mb"].median,
        ]
        for name, of in summary.items()
    ]
    columns = [
        "case",
        "CPU s (least, most)",
        "wall s",
        "records a CPU s",
        "of bare lxml",
        "pubmed_parser's / this",
        "peak MB",
    ]
    return Table(caption, columns, rows)


def make_aims(runs: Runs) -> list[Aim]:
    summary = summarise(runs)
    return [
        Aim(
            "extraction: times pubmed_parser's records a CPU second, records and pairs",
            ratio(summary, "pubmed_parser", "bioemb records and pairs"),
            at_least=4,
        ),
        Aim(
            "extraction: records, of a bare lxml pass's CPU time",
            ratio(summary, "bioemb records", "bare lxml"),
            at_most=1.3,
        ),
    ]


def main() -> None:
    flags = make_parser(__doc__)
    flags.add_argument("--input", type=Path, help="PubMed files (default: generated)")
    flags.add_argument("--records", type=int, default=30_000)
    flags.add_argument("--processes", type=int, nargs="*", default=[1, 2], help="for the scaling of the command")
    options = parse(flags, records=3000, repeats=1)
    scaling = {f"{count} processes, {SCALING_FILES} files": count for count in options.processes}
    cases = {
        name: lambda options, function=function: measure(function, options.folder / ONE)
        for name, function in CASES.items()
    } | {
        name: lambda options, count=count: measure(lambda path: command(path, count), options.folder / SEVERAL)
        for name, count in scaling.items()
    }
    if options.one:
        print_case(cases, options)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        blow_up(find_source(options.input, folder), options.records, folder)
        packed, plain = (folder / ONE).stat().st_size / 1e6, sum(map(len, read_lines(folder / ONE))) / 1e6
        size = f"{packed:.0f} MB gzip, {plain:.0f} MB XML"
        commands = own_commands(chosen(list(cases), options), folder)
        runs, left_out = run_by_turns(commands, options.repeats, options.threads)
    kind = "" if options.input else "generated "
    table = make_table(summarise(runs), f"{options.records:,} {kind}records, {size}")
    write_report("extract", options, [table], make_aims(runs), {"runs": runs, "left out": left_out})


if __name__ == "__main__":
    main()
