"""`bioemb download`: files of PubMed, or full texts of PMC, into a folder; each is counted as in place or why not.

Beside a file stands what says that it is whole: PubMed's `.md5`, or PMC's metadata (.json), which names the licence.
By these, what is there is known to be right without asking the server again.
"""

import time
from collections.abc import Callable, Collection
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from bioemb.config import DownloadConfig
from bioemb.data.download import Fetcher, FetchError, in_parallel
from bioemb.errors import DataError
from bioemb.log import Funnel, logger, progress
from bioemb.stages.download_sources import (
    PMC_URL,
    PUBMED_URL,
    Placed,
    place_pmc,
    place_pubmed,
    pmc_versions,
    pubmed_names,
    pubmed_numbers,
)

OUTAGES = 5  # so many in a row that failed for the server's reasons: it is not asked any more


def run(config: DownloadConfig) -> str:
    """Fetch what is not there; returns the funnel. Raises FetchError, after all the others, where something failed."""
    start = time.perf_counter()
    fetcher, funnel = Fetcher(config.attempts, config.timeout), Funnel(f"download: {config.source}")
    items, place = prepare(config, fetcher, funnel)
    sizes = place_all(items, place, funnel, config.connections, fetcher.stop)
    seconds = time.perf_counter() - start
    fetched, megabytes = len(sizes), sum(sizes) / 1e6
    speed = f" ({megabytes:,.1f} MB in {seconds:,.0f} s)" if fetched else ""
    table = f"{funnel.table()}\n{config.output_dir}: fetched {fetched:,}{speed}, {funnel.kept - fetched:,} were there"
    failed = {reason: count for reason, count in funnel.dropped.items() if reason.startswith("failed: ")}
    if failed:
        logger.info("%s", table)
        raise FetchError(f"{sum(failed.values())} of {funnel.read} failed; the same command tries them again", "failed")
    if not funnel.kept:
        logger.warning("nothing is in place; the funnel says why")
    return table


def prepare(config: DownloadConfig, fetcher: Fetcher, funnel: Funnel) -> tuple[Collection, Callable[[Any], Placed]]:
    """What to have in the folder, and the function that puts one of these there; counts what is named in vain."""
    folder = Path(config.output_dir)
    if config.source == "pubmed":
        url = f"{(config.base_url or PUBMED_URL).rstrip('/')}/{config.what}"
        names = pubmed_names(fetcher, url, config.year, pubmed_numbers(config.files))
        place = partial(place_pubmed, fetcher, url, _made(folder))
        return names, place
    versions, others = pmc_versions(config.ids, config.ids_file)
    for reason, count in others.items():
        funnel.drop(reason, count)
    url = (config.base_url or PMC_URL).rstrip("/")
    return versions.items(), partial(place_pmc, fetcher, url, _made(folder), config.license)


def place_all(
    items: Collection, place: Callable[[Any], Placed], funnel: Funnel, connections: int, stop: Callable[[], None]
) -> list[int]:
    """Place every item, count each; the sizes in bytes of those that were fetched. Raises FetchError in an outage."""
    sizes, outages = [], 0
    with closing(in_parallel(partial(_attempt, place), items, connections, stop)) as outcomes:
        for outcome in progress(outcomes, "download", len(items)):
            if isinstance(outcome, FetchError):
                funnel.drop(f"failed: {outcome.reason}")
                outages = outages + 1 if outcome.is_outage else 0
                _report(outcome, outages)
                continue
            outages = 0
            if outcome.left_out:
                funnel.drop(outcome.left_out)
                continue
            funnel.keep()
            if outcome.bytes_fetched:
                sizes.append(outcome.bytes_fetched)
    return sizes


def _attempt(place: Callable[[Any], Placed], item: Any) -> Placed | FetchError:
    """One file's failure is a result: the others go on."""
    try:
        return place(item)
    except FetchError as error:
        return error


def _report(error: FetchError, outages: int) -> None:
    """Warn of a failure; raise it where the server cannot be reached or fails one time after the other."""
    if error.reason == "unreachable":
        raise error
    if outages == OUTAGES:
        message = f"{error}; the {OUTAGES}th failure in a row, so this stops; the same command goes on later"
        raise FetchError(message, error.reason, is_outage=True)
    logger.warning("%s", error)


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot be made a folder: {error.strerror}", folder) from None
    return folder
