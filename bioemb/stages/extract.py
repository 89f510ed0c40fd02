"""`bioemb extract`: PubMed and PMC XML in, pairs out; each record counted, the latest of several taken.

Files are read in parallel into parts, a file that was read is not read again, and the parts are merged in the order
of the files: the output is the same for any number of processes and interruptions. The merge needs the parts'
indices only: 25 bytes a record.
"""

import re
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from bioemb.config import ExtractConfig
from bioemb.data import PairRules
from bioemb.data.pairs import SKIPPED_TYPES
from bioemb.errors import ConfigError
from bioemb.files import list_files, write_aside
from bioemb.flags import output_settings
from bioemb.log import Funnel, logger, progress
from bioemb.manifest import begin, describe, finish, work_folder, work_key
from bioemb.records import PAIR_KINDS, stable_hash
from bioemb.stages.extract_part import DELETED, SOURCES, Part, make_part, part_of, with_identity

FATES = ("counts", "replaced by a later record", "deleted by a later record")
PUBMED = SOURCES.index("pubmed")
XML_SUFFIXES = (".xml", ".nxml", ".xml.gz", ".nxml.gz")


def run(config: ExtractConfig) -> str:
    """Read, merge, write; returns the funnels."""
    files = sorted(list_files(config.input_path, XML_SUFFIXES), key=natural_order)
    rules = make_rules(config)
    output = Path(config.output_file)
    description = describe("extract", output_settings(config), files)
    if not begin(output, description, config.overwrite):
        return f"{output} is complete; nothing to do"
    folder = work_folder(output) / f"parts-{work_key(description)}"
    folder.mkdir(parents=True, exist_ok=True)
    parts = [part_of(folder, number) for number in range(len(files))]
    make_parts(files, parts, rules, config)
    funnels = merge_parts(parts, config.kinds, output)
    pairs = sum(counts["pairs"] for name, counts in funnels.items() if name in PAIR_KINDS)
    finish(output, description, funnels)
    tables = "\n".join(_table(name, counts) for name, counts in funnels.items())
    if not pairs:
        logger.warning("no pair was made; the funnel says why")
    return f"{tables}\n{output}: {pairs:,} pairs"


def make_rules(config: ExtractConfig) -> PairRules:
    """The rules that the flags spell. Raises ConfigError for a type that is not dropped anyway."""
    unknown = set(config.keep_types) - set(SKIPPED_TYPES)
    if unknown:
        raise ConfigError(f"keep_types {sorted(unknown)}: those are kept; dropped are {', '.join(SKIPPED_TYPES)}")
    return PairRules(
        languages=tuple(language.lower() for language in config.languages),
        skipped_types=tuple(name for name in SKIPPED_TYPES if name not in config.keep_types),
        min_title_words=config.min_title_words,
        min_abstract_words=config.min_abstract_words,
        keep_labels=config.keep_labels,
        passages_per_article=config.passages_per_article,
        seed=config.seed,
    )


def make_parts(files: list[Path], parts: list[Part], rules: PairRules, config: ExtractConfig) -> None:
    """Make the parts that are not there, in as many processes as asked for. Raises the first file's DataError."""
    todo = [number for number, part in enumerate(parts) if not part.is_whole()]
    if len(todo) < len(files):
        logger.info("going on: %d of %d files are read", len(files) - len(todo), len(files))
    arguments = [(files[number], parts[number], config.kinds, rules, config.skip_broken_files) for number in todo]
    if config.num_proc < 2:
        for some in progress(arguments, "read files"):
            make_part(*some)
        return
    with ProcessPoolExecutor(config.num_proc, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(make_part, *some) for some in arguments]
        try:
            for future in progress(futures, "read files"):
                future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def merge_parts(parts: list[Part], kinds: tuple[str, ...], output: Path) -> dict[str, dict]:
    """Write the pairs of the records that count, with their identities; the funnels of records and of each kind."""
    counts = [part.read_counts() for part in parts]
    indices = [np.load(part.index, allow_pickle=False) for part in parts]
    index = np.concatenate(indices)
    fate = fates(index)
    doubled = doubled_abstracts(index, fate)
    funnels = {kind: Funnel(kind) for kind in kinds}
    made = dict.fromkeys(kinds, 0)
    ends = np.cumsum([len(rows) for rows in indices])
    with write_aside(output) as out:
        for part, of_part, end, rows in zip(progress(parts, "merge"), counts, ends, indices, strict=True):
            here = slice(end - len(rows), end)
            for kind, reason, lines in _judged(part, of_part["reasons"], rows, fate[here], doubled[here]):
                if kind not in funnels:
                    continue
                if reason:
                    funnels[kind].drop(reason)
                else:
                    funnels[kind].keep()
                    made[kind] += len(lines)
                    out.writelines(lines)
    return {
        "files": _files_funnel(counts),
        "records": _records_funnel(index, fate, counts),
        **{kind: {**funnel.as_dict(), "pairs": made[kind]} for kind, funnel in funnels.items()},
    }


def _judged(
    part: Part, reasons: list[str], rows: np.ndarray, fate: np.ndarray, doubled: np.ndarray
) -> Iterator[tuple[str, str, list[str]]]:
    """(kind, "" or why it gives no pair, the finished lines) for every record and kind of a part."""
    columns = (rows[name].tolist() for name in ("key", "source", "pairs", "reason"))
    with open(part.pairs, encoding="utf-8", newline="\n") as lines:
        for key, source, pairs, numbers, of_row, twice in zip(*columns, fate.tolist(), doubled.tolist(), strict=True):
            if source == DELETED:
                continue
            identity = identity_of(key)
            for kind, count, number in zip(PAIR_KINDS, pairs, numbers, strict=True):
                found = list(islice(lines, count))
                if of_row:
                    yield kind, FATES[of_row], []
                elif twice and kind == "title_abstract":
                    yield kind, "PubMed's record has it", []
                else:
                    reason = reasons[number - 1] if number else ""
                    yield kind, reason, [with_identity(line, identity) for line in found]


def fates(index: np.ndarray) -> np.ndarray:
    """What becomes of each record, in the order of the files: a number of FATES, 0 when it counts.

    Of several records of one article in one source the highest version counts, of several such the last one; a
    deletion takes the PubMed records before it. PubMed's record and PMC's full text of an article both count.
    """
    fate = np.zeros(len(index), np.int8)
    order = np.arange(len(index))
    deletions = index["source"] == DELETED
    if deletions.any():
        last = dict(zip(index["key"][deletions].tolist(), order[deletions].tolist(), strict=True))
        deleted_at = np.array([last.get(key, -1) for key in index["key"].tolist()])
        fate[(index["source"] == PUBMED) & (order < deleted_at)] = FATES.index("deleted by a later record")
    alive = np.flatnonzero((fate == 0) & ~deletions)
    rows = index[alive]
    ranked = np.lexsort((alive, rows["version"], rows["source"], rows["key"]))
    key, source = rows["key"][ranked], rows["source"][ranked]
    followed = np.zeros(len(ranked), bool)
    followed[:-1] = (key[1:] == key[:-1]) & (source[1:] == source[:-1])
    fate[alive[ranked[followed]]] = FATES.index("replaced by a later record")
    return fate


def doubled_abstracts(index: np.ndarray, fate: np.ndarray) -> np.ndarray:
    """Which records [n] are PMC's of articles whose title-abstract pair PubMed's record gives already."""
    counts = (fate == 0) & (index["pairs"][:, PAIR_KINDS.index("title_abstract")] > 0)
    in_pubmed = index["key"][counts & (index["source"] == PUBMED)]
    return counts & (index["source"] != PUBMED) & np.isin(index["key"], in_pubmed)


def identity_of(key: int) -> int:
    """The integer that all texts of an article share."""
    return stable_hash(str(key))


def natural_order(path: Path) -> list:
    """Numbers in names count as numbers, so that pubmed26n0999 stands before pubmed26n1000, and n2 before n10."""
    words = re.split(r"(\d+)", str(path))
    return [(int(word), "") if word.isdigit() else (-1, word) for word in words]


def _files_funnel(counts: list[dict]) -> dict:
    funnel = Funnel("files")
    for of_part in counts:
        if of_part["broken"]:
            logger.warning("broken: %s", of_part["broken"])
            funnel.drop("broken; what stood before the break was read")
        else:
            funnel.keep()
    return funnel.as_dict()


def _records_funnel(index: np.ndarray, fate: np.ndarray, counts: list[dict]) -> dict:
    funnel = Funnel("records")
    is_record = index["source"] != DELETED
    funnel.keep(int((is_record & (fate == 0)).sum()))
    for number, reason in enumerate(FATES[1:], start=1):
        funnel.drop(reason, int((fate == number).sum()))
    for of_part in counts:
        for reason, count in of_part["nameless"].items():
            funnel.drop(reason, count)
    return {**funnel.as_dict(), "deletions": int((~is_record).sum())}


def _table(name: str, counts: dict) -> str:
    funnel = Funnel(f"extract: {name}" + (" (records; below: pairs)" if "pairs" in counts else ""))
    funnel.add(counts)
    return funnel.table() + (f"\n  pairs  {counts['pairs']:,}" if "pairs" in counts else "")
