"""The numbers that `scale.py` starts from: rates out of the tables of docs/benchmarks.md, and what is assumed."""

import argparse
import re
import sys
from typing import NamedTuple

from measuring import REPOSITORY, in_best

BENCHMARKS = REPOSITORY / "docs" / "benchmarks.md"
SIZES = ("10,000", "1,000,000")  # passages of the two rows that the memory of one is taken from
MERGED = ("1,000,000", "3,000,000")  # records, likewise


class Given(NamedTuple):
    """A number that the tables start from, and where it is from."""

    name: str
    value: float
    source: str


def read_lines(page: str, result: str) -> list[list[str]]:
    """The cells of each line of one program's block on the page."""
    block = re.search(rf"<!-- results: {result} -->\n(.*?)<!-- end -->", page, re.DOTALL)
    return [
        [cell.strip() for cell in line.strip("| ").split(" | ")] for line in (block[1] if block else "").split("\n")
    ]


def read_words(page: str, result: str, row: str, column: str) -> str:
    """A cell of one program's table on the page. Exits where there is none."""
    lines = read_lines(page, result)
    head = next((line for line in lines if column in line), None)
    found = next((line for line in lines if head and line[0] == row and len(line) == len(head)), None)
    if not found:
        sys.exit(f"{BENCHMARKS.name}: no cell {row!r}, {column!r} in the results of {result}")
    return found[head.index(column)]


def read_cell(page: str, result: str, row: str, column: str) -> float:
    """The first number of such a cell."""
    return as_number(read_words(page, result, row, column))


def from_page(page: str, result: str, row: str, column: str) -> tuple[float, str]:
    """A cell and where it is: where there is no such row in bfloat16, that in float32."""
    row = in_best(row, [line[0] for line in read_lines(page, result)])
    return read_cell(page, result, row, column), f"{result}: {row}, {column}"


def as_number(cell: str) -> float:
    """The number that a cell begins with, its spread and unit left out."""
    return float(re.match(r"[\d,.]+", cell)[0].replace(",", ""))


def measured(page: str) -> dict[str, Given]:
    """What docs/benchmarks.md says."""

    def bytes_of_one(result: str, sizes: tuple[str, str], column: str) -> tuple[float, str]:
        """What one more takes, from the memory of two sizes."""
        fewer, more = (read_cell(page, result, size, column) for size in sizes)
        less, most = map(as_number, sizes)
        return (more - fewer) * 2**20 / (most - less), f"{result}: peaks of {' and '.join(sizes)}"

    encode_seconds, encode_source = from_page(page, "encode", "bioemb bf16", "CPU s (least, most)")
    step_seconds, step_source = from_page(page, "step", "bioemb bf16, one pass", "CPU s a step (least, most)")
    work = {name: caption_number(page, name, r"([\d,]+) GFLOP") for name in ("encode", "step")}
    search_seconds = from_page(page, "mine_memory", "1,000,000", "search, CPU s")[0]
    search_queries = from_page(page, "mine_memory", "1,000,000", "queries")[0]
    select_seconds, select_source = from_page(page, "mine_memory", "1,000,000", "select, CPU s")
    process, process_source = from_page(page, "filter", "bioemb bf16", "peak MB")
    words = ("(?:generated )?records", "MB gzip")
    records, packed = (caption_number(page, "extract", rf"([\d,]+) {word}") for word in words)
    rate, rate_source = from_page(page, "extract", "bioemb extract", "records a CPU s")
    again = "filter again"
    pairs = as_number(read_words(page, "curves", again, "over").split(" to ")[1])
    merge_seconds, merge_source = from_page(page, "merge", MERGED[1], "CPU s a million")
    return {
        "extract": Given("extraction, records a CPU second", rate, rate_source),
        "packed": Given("gzip of a record, bytes", packed * 1e6 / records, "extract: the caption"),
        "signatures": Given("merging identities, s a million records", merge_seconds, merge_source),
        "merge_bytes": Given("merging, bytes of memory a record", *bytes_of_one("merge", MERGED, "MB")),
        "encode": Given("encoding, GFLOP a CPU second", work["encode"] / encode_seconds, encode_source),
        "step": Given("training, GFLOP a CPU second", work["step"] / step_seconds, step_source),
        "search": Given(
            "exact search, million products of two vectors of 384 a second of one core",
            search_queries * 1e6 / search_seconds / 1e6,
            "mine_memory: 1,000,000 passages, search",
        ),
        "passage_memory": Given(
            "mining, bytes of memory a passage", *bytes_of_one("mine_memory", SIZES, "peak after encoding, MB")
        ),
        "table_bytes": Given(
            "mining's tables, bytes of memory a passage", *bytes_of_one("mine_memory", SIZES, "tables, MB")
        ),
        "select": Given("choosing negatives, ms a query", 1e3 * select_seconds / search_queries, select_source),
        "decide": Given(
            "filtering what is scored, microseconds a pair",
            1e6 * read_cell(page, "curves", again, "s at the largest") / pairs,
            f"curves: {again}, s at the largest",
        ),
        "process": Given("a process that encodes, MB of memory", process, process_source),
    }


def caption_number(page: str, result: str, pattern: str) -> float:
    block = re.search(rf"<!-- results: {result} -->\n(.*?)<!-- end -->", page, re.DOTALL)
    found = re.search(pattern, block[1]) if block else None
    if not found:
        sys.exit(f"{BENCHMARKS.name}: the results of {result} do not say {pattern!r}")
    return as_number(found[1])


def assumed(options: argparse.Namespace) -> dict[str, Given]:
    """What was not measured here: counts of texts and published rates of a GPU."""
    return {
        "records": Given("records", options.records, "`--records`"),
        "pairs": Given(
            "share that gives a title-abstract pair", options.share, "assumed: two records in three have an abstract"
        ),
        "kept": Given("share that the filter keeps", options.kept, "assumed; the filter's statistics say it of yours"),
        "query": Given("tokens of a title", 26, "assumed; about that of the texts of docs/benchmarks.md"),
        "passage": Given("tokens of an abstract, cut at 256", 237, "assumed; the same"),
        "query_bytes": Given("bytes of a title", 106, "assumed; the same"),
        "passage_bytes": Given("bytes of an abstract", 1511, "assumed; the same"),
        "peak": Given("published: bf16 products of an H100, TFLOP/s", 989, "NVIDIA's data sheet, SXM, dense"),
        "peak32": Given("published: float32 of an H100, TFLOP/s", 67, "the same"),
        "encode_share": Given("share of it reached in encoding", 0.40, "assumed; CPUs' stand in docs/benchmarks.md"),
        "step_share": Given("share reached in training", 0.30, "assumed; the same"),
        "tokenise": Given("making a pair's tokens, CPU milliseconds", 0.3, "assumed"),
        "search_share": Given("share of float32 reached in search", 0.50, "assumed"),
        "disk": Given("text written to disk, MB a second", 500, "assumed: an SSD, and JSON made at that pace"),
        "part_bytes": Given("parts, bytes of disk a record", 31 + 32 + 256, "docs/architecture.md: with signatures"),
        "state_bytes": Given("bytes of weights, gradients and AdamW a weight", 16, "4 numbers of 4 bytes"),
    }
