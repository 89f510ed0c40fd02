"""`bioemb extract`: PubMed and PMC XML in, pairs out; each record counted, the latest of several taken.

Files are read in parallel into parts, a part that is whole is not made again, and the parts are merged in the order of
the files: the output is the same for any number of processes and interruptions.
"""

import os
import re
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread

from bioemb import __version__
from bioemb.config import ExtractConfig
from bioemb.data import PairRules
from bioemb.data.licenses import LICENSES
from bioemb.data.pairs import SKIPPED_TYPES
from bioemb.data.pmc_metadata import metadata_path
from bioemb.errors import BioembError, ConfigError
from bioemb.files import check_output_name, list_files, remove_leftovers
from bioemb.flags import nearest, output_settings
from bioemb.log import Funnel, logger, progress
from bioemb.manifest import begin, describe, finish, work_folder, work_key
from bioemb.stages.extract_merge import merge_parts
from bioemb.stages.extract_part import INDEX, Part, PartRules, make_part, part_of

OF_MERGE = ("near_duplicate_threshold", "pairs_per_term")  # settings that change no part
XML_SUFFIXES = (".xml", ".nxml", ".xml.gz", ".nxml.gz")
PARTS, PART_BYTES = 256, 32 << 20  # about so many parts, none of more bytes unless it is one file's


def run(config: ExtractConfig) -> str:
    """Read, merge, write; returns the funnels."""
    files = sorted(list_files(config.input_path, XML_SUFFIXES), key=natural_order)
    rules = make_rules(config)
    output = Path(config.output_file)
    check_output_name(output)
    beside = [found for path in files if (found := metadata_path(path))]
    description = describe("extract", output_settings(config), [*files, *beside])
    if not begin(output, description, config.overwrite):
        return f"{output} is complete; nothing to do"
    settings = {name: value for name, value in description["settings"].items() if name not in OF_MERGE}
    made_by = {"bioemb": __version__, "index": str(INDEX.descr)}  # another version may keep more
    key = work_key({**description, "settings": settings, **made_by})
    folder = work_folder(output) / f"parts-{key}"
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    remove_leftovers(output.parent, output.name)
    bundles = bundle(files)
    parts = [part_of(folder, number) for number in range(len(bundles))]
    make_parts(bundles, parts, rules, config)
    threshold = config.near_duplicate_threshold if config.near_duplicates else None
    counts = merge_parts(parts, config.kinds, output, threshold, config.pairs_per_term)
    finish(output, description, counts)
    pairs = sum(counts[kind]["pairs"] for kind in config.kinds)
    if not pairs:
        logger.warning("no pair was made; the funnel says why")
    return f"{summary(counts)}\n{output}: {pairs:,} pairs"


def make_rules(config: ExtractConfig) -> PairRules:
    """The rules that the flags spell. Raises ConfigError for a type that is not dropped anyway, an unknown licence."""
    unknown = set(config.keep_types) - set(SKIPPED_TYPES)
    if unknown:
        raise ConfigError(f"keep_types {sorted(unknown)}: those are kept; dropped are {', '.join(SKIPPED_TYPES)}")
    return PairRules(
        languages=tuple(language.lower() for language in config.languages),
        licenses=tuple(license_named(name) for name in config.license),
        skipped_types=tuple(name for name in SKIPPED_TYPES if name not in config.keep_types),
        notices=config.keep_notices,
        books=config.keep_books,
        min_title_words=config.min_title_words,
        min_abstract_words=config.min_abstract_words,
        keep_labels=config.keep_labels,
        passages_per_article=config.passages_per_article,
        min_passage_words=config.min_passage_words,
        max_passage_words=config.max_passage_words,
        terms_per_article=config.terms_per_article,
        seed=config.seed,
    )


def license_named(name: str) -> str:
    """A licence as records have it, from any case and either sign: "cc-by" is "CC BY". Raises ConfigError."""
    known = {license.casefold().replace("-", " "): license for license in (*LICENSES, "all")}
    plain = name.casefold().replace("-", " ")
    if plain not in known:
        raise ConfigError(f"license {name!r} is none of {', '.join(LICENSES)}{nearest(plain, known)}")
    return known[plain]


def bundle(files: list[Path]) -> list[list[Path]]:
    """Neighbouring files together: one of PubMed's alone, hundreds of PMC's. By their sizes and nothing else."""
    sizes = [path.stat().st_size for path in files]
    limit = min(PART_BYTES, sum(sizes) // PARTS)
    bundles: list[list[Path]] = []
    filled = 0
    for path, size in zip(files, sizes, strict=True):
        if not bundles or filled + size > limit:
            bundles.append([])
            filled = 0
        bundles[-1].append(path)
        filled += size
    return bundles


def make_parts(bundles: list[list[Path]], parts: list[Part], rules: PairRules, config: ExtractConfig) -> None:
    """Make the parts that are not there, in as many processes as asked for. Raises the first file's DataError."""
    todo = [number for number, part in enumerate(parts) if not part.is_whole()]
    if len(todo) < len(parts):
        logger.info("going on: %d of %d parts are made", len(parts) - len(todo), len(parts))
    how = PartRules(config.kinds, rules, config.near_duplicates, config.skip_broken_files)
    if config.num_proc < 2:
        for number in progress(todo, "read files"):
            make_part(bundles[number], parts[number], how)
        return
    with ProcessPoolExecutor(config.num_proc, get_context("spawn"), end_with_parent) as pool:
        futures = [pool.submit(make_part, bundles[number], parts[number], how) for number in todo]
        try:
            for future in progress(futures, "read files"):
                future.result()
        except BrokenProcessPool:
            message = "a process was killed while it read a file, perhaps for want of memory; what was read is kept"
            raise BioembError(f"{message}: start again, with a smaller --num_proc") from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def end_with_parent() -> None:
    """In a worker: end when the process that started it is killed, instead of waiting for work for ever."""

    def watch() -> None:
        parent_process().join()
        os._exit(1)

    Thread(target=watch, daemon=True).start()


def summary(counts: dict[str, dict]) -> str:
    """The counts of the manifest as tables."""
    tables = [_table(name, of_name) for name, of_name in counts.items() if "kept" in of_name]
    for name, of_license in counts["licenses"].items():
        tables.append(f"license {name}: {of_license['texts']:,} full texts, {of_license['pairs']:,} pairs with them")
    identity = counts["identity"]
    tables.append(
        f"identity: {identity['articles']:,} articles, {identity['sharing']:,} of them in {identity['groups']:,} groups"
        f" that share one, the largest of {identity['largest']:,}"
    )
    return "\n".join(tables)


def natural_order(path: Path) -> tuple[list, list]:
    """By names, whatever the folder: PubMed's updates are numbered on from its baseline. Then by whole paths.

    Numbers in names count as numbers, so that pubmed26n0999 stands before pubmed26n1000, and n2 before n10.
    """
    return _words(path.name), _words(str(path))


def _words(text: str) -> list[tuple[int, str]]:
    return [(int(word), "") if word.isdigit() else (-1, word) for word in re.split(r"(\d+)", text)]


def _table(name: str, counts: dict) -> str:
    funnel = Funnel(f"extract: {name}" + (" (records; below: pairs)" if "pairs" in counts else ""))
    funnel.add(counts)
    return funnel.table() + (f"\n  pairs  {counts['pairs']:,}" if "pairs" in counts else "")
