"""Words to the user: logging, progress bars and the funnel that every stage ends with."""

import logging
import os
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tqdm import tqdm

logger = logging.getLogger("bioemb")
TURNS = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")  # signs that turn the text after them


def is_first_process() -> bool:
    """Whether this is the process that speaks, of those that a launcher started."""
    return os.environ.get("RANK", "0") == "0"


def configure_logging(level: int = logging.INFO) -> None:
    """Send bioemb's log to stderr; among several processes only the first speaks below warnings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(level if is_first_process() else logging.WARNING)


def progress(items: Iterable, what: str, total: int | None = None) -> "tqdm":
    """Iterate with a progress bar on a terminal; without one elsewhere and on all but the first process."""
    from tqdm.auto import tqdm  # here: importing bioemb stays quick

    if total is None and hasattr(items, "__len__"):
        total = len(items)
    silent = None if is_first_process() else True  # None: silent unless stderr is a terminal
    return tqdm(items, desc=what, total=total, disable=silent, dynamic_ncols=True)


def printable(text: str) -> str:
    """A text in one line, without what would steer a terminal or turn the direction of writing."""
    return " ".join("".join(" " if _steers(sign) else sign for sign in text).split())


def _steers(sign: str) -> bool:
    return unicodedata.category(sign) in ("Cc", "Cs") or unicodedata.bidirectional(sign) in TURNS


class Funnel:
    """Counts what was read, dropped by reason, and kept; `read == kept + all dropped` is its law."""

    def __init__(self, name: str):
        self.name = name
        self.kept = 0
        self.dropped: Counter[str] = Counter()

    @property
    def read(self) -> int:
        return self.kept + sum(self.dropped.values())

    def keep(self, count: int = 1) -> None:
        self.kept += count

    def drop(self, reason: str, count: int = 1) -> None:
        if count:
            self.dropped[reason] += count

    def add(self, counts: dict) -> None:
        """Add the counts of another funnel, as `as_dict` gives them."""
        self.kept += counts["kept"]
        self.dropped.update(counts["dropped"])

    def as_dict(self) -> dict:
        return {"read": self.read, "kept": self.kept, "dropped": dict(sorted(self.dropped.items()))}

    def table(self) -> str:
        """The funnel as aligned lines of text, the most frequent reason first."""
        rows = [("read", self.read)]
        rows += [(f"  dropped: {reason}", count) for reason, count in self.dropped.most_common()]
        rows.append(("kept", self.kept))
        width = max(len(label) for label, _ in rows)
        share = f"  ({self.kept / self.read:.1%})" if self.read else ""
        lines = [f"  {label:<{width}}  {count:>11,}" for label, count in rows]
        return f"{self.name}\n" + "\n".join(lines) + share
