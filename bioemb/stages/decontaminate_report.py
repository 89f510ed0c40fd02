"""What training texts met of an evaluation: counts by task, side and reason, and a few examples to judge it by."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from bioemb.data.contamination import REASONS
from bioemb.evaluation import EvaluationText
from bioemb.files import Located
from bioemb.stages.inspect import cut

EXAMPLES = 5  # of each task, side and reason
CHARACTERS = 300  # of an example's texts


class Found(NamedTuple):
    """What a training text meets."""

    row: int  # counted from 0 over all files
    key: str  # query, document, sentence1, sentence2, pos or neg
    place: int  # in its list; 0 where it stands alone
    matches: list  # of [number of the evaluation text, reason, share]


class _Group:
    """What was met of one side of one task."""

    def __init__(self):
        self.texts = 0
        self.met: set[int] = set()  # numbers of evaluation texts
        self.reasons: Counter[str] = Counter()  # of training texts, each by the surest of its matches
        self.examples: list[dict] = []


class Report:
    """Counts what is met; an evaluation text that is met costs some 60 bytes."""

    def __init__(self, texts: Sequence[EvaluationText], drop: Sequence[str]):
        """drop: the sides whose texts must not be in the output."""
        self.texts, self.drop = texts, drop
        self.groups: dict[tuple[str, str], _Group] = {}
        self.removed: Counter[str] = Counter()  # texts taken out of rows that stay
        for each in texts:
            self.groups.setdefault((each.task, each.side), _Group()).texts += 1

    def add(self, found: Found, located: Located) -> bool:
        """Count what a training text meets; whether it must not be in the output."""
        best: dict[tuple[str, str], list] = {}
        for match in sorted(found.matches, key=_surest_first):
            of = self.texts[match[0]]
            best.setdefault((of.task, of.side), match)
            self.groups[of.task, of.side].met.add(match[0])
        for name, (number, reason, share) in best.items():
            group = self.groups[name]
            group.reasons[reason] += 1
            if group.reasons[reason] <= EXAMPLES:
                group.examples.append(self._example(found, located, (number, reason, share)))
        return any(side in self.drop for _, side in best)

    def reason(self, unwanted: Sequence[Found]) -> str:
        """Why a row is dropped: the surest of its matches on a side that is dropped."""
        matches = [match for found in unwanted for match in found.matches if self.texts[match[0]].side in self.drop]
        number, reason, _ = min(matches, key=_surest_first)
        return f"{reason}, {self.texts[number].side} of {self.texts[number].task}"

    def count_removed(self, unwanted: Sequence[Found]) -> None:
        """Count the texts that a row lost and yet stayed."""
        self.removed.update(found.key for found in unwanted)

    def counts(self) -> dict[str, dict]:
        """By task and side: its different texts, how many of them are met, and by how many training texts and how."""
        result: dict[str, dict] = {}
        for (task, side), group in self.groups.items():
            reasons = {reason: group.reasons[reason] for reason in REASONS}
            result.setdefault(task, {})[side] = {"texts": group.texts, "met": len(group.met), "training_texts": reasons}
        return result

    def as_dict(self) -> dict:
        """Everything, ready for JSON."""
        tasks = self.counts()
        for (task, side), group in self.groups.items():
            tasks[task][side] |= {"dropped": side in self.drop, "examples": group.examples}
        return {"removed_from_rows": dict(sorted(self.removed.items())), "tasks": tasks}

    def table(self) -> str:
        """The counts as a table for people."""
        head = ["task", "side", "texts", "met", *REASONS, ""]
        rows = [head]
        for task, sides in self.counts().items():
            for side, counts in sides.items():
                numbers = [counts["texts"], counts["met"], *counts["training_texts"].values()]
                rows.append([task, side, *(f"{number:,}" for number in numbers), self._fate(side, counts["met"])])
        widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
        lines = [
            "  ".join(cell.ljust(width) if column in (0, 1, 7) else cell.rjust(width) for column, cell, width in cells)
            for cells in (zip(range(len(head)), row, widths, strict=True) for row in rows)
        ]
        removed = [f"taken out of rows that stay: {count:,} of {key}" for key, count in sorted(self.removed.items())]
        title = "evaluation texts that training texts meet, and the training texts by how they meet them"
        return "\n".join([title, *(f"  {line.rstrip()}" for line in lines), *removed])

    def _fate(self, side: str, met: int) -> str:
        if not met:
            return ""
        return "dropped" if side in self.drop else "reported only"

    def _example(self, found: Found, located: Located, match: tuple[int, str, float]) -> dict:
        number, reason, share = match
        value = located.record[found.key]
        return {
            "reason": reason,
            "share": round(share, 3),
            "file": located.path.name,
            "line": located.line,
            "key": found.key,
            "training_text": cut(value[found.place] if isinstance(value, list) else value, CHARACTERS),
            "evaluation_text": cut(self.texts[number].text, CHARACTERS),
        }


def _surest_first(match: Sequence) -> tuple[int, float, int]:
    number, reason, share = match
    return REASONS.index(reason), -share, number
