"""`bioemb decontaminate`: training data in, the same out without what repeats the evaluation's texts, and a report.

What each training text meets is found once and kept in parts: an interrupted run goes on, and another choice of what
is dropped only writes again. Memory is bounded by the evaluation's texts.
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from bioemb.config import DecontaminateConfig
from bioemb.data.contamination import EvaluationIndex
from bioemb.errors import ConfigError, DataError
from bioemb.evaluation import EvaluationText, evaluation_texts, find_tasks, task_label
from bioemb.files import (
    RECORD_SUFFIXES,
    Located,
    check_output_name,
    json_line,
    list_files,
    read_records,
    remove_leftovers,
    text_field,
    write_aside,
    write_json,
)
from bioemb.flags import output_settings
from bioemb.log import Funnel, logger, progress
from bioemb.manifest import begin, describe, finish, remove_unfinished, work_folder, work_key
from bioemb.stages.decontaminate_report import Found, Report

PART_ROWS = 16_384  # rows looked at before what they meet is on disk: what an interruption costs
ROW_KEYS = ("query", "document", "sentence1", "sentence2")  # a row goes with one of these
LIST_KEYS = ("pos", "neg")  # of these only the text goes


def run(config: DecontaminateConfig) -> str:
    """Find, drop, report; returns the summary. Raises the errors of a user's making before anything is compared."""
    output = Path(config.output_file)
    check_output_name(output)
    files = list_files(config.train_data, RECORD_SUFFIXES)
    if output.resolve() in {path.resolve() for path in files}:
        raise ConfigError(f"{output} is both input and output; name another --output_file")
    tasks = find_tasks(config.task, config.local_data)
    revisions = {task_label(task): str(task.metadata.revision) for task in tasks}
    description = describe("decontaminate", {**output_settings(config), "tasks": revisions}, files)
    if not begin(output, description, config.overwrite):
        return f"{output} is complete; nothing to do"
    remove_unfinished(output)
    texts = list(progress(evaluation_texts(tasks), "read the evaluation's texts"))
    order = list(revisions.items())  # parts name evaluation texts by number
    compared = {"inputs": description["inputs"], "tasks": order, "overlap": config.overlap}
    parts = work_folder(output) / f"found-{work_key(compared)}"
    find_all(files, texts, config.overlap, parts)
    return write_output(files, texts, parts, config, description)


def find_all(files: list[Path], texts: list[EvaluationText], overlap: float, parts: Path) -> None:
    """Write what the rows meet, part by part, where it is not written yet. Raises DataError with file and line."""
    remove_leftovers(parts)
    index = EvaluationIndex((each.text for each in progress(texts, "index")), overlap)
    logger.info("%s texts to compare with", f"{len(index):,}")
    rows = enumerate(progress(read_records(files), "compare rows"))
    number = 0
    while some := list(islice(rows, PART_ROWS)):
        path = parts / f"part-{number:06d}.jsonl"
        if not path.exists():
            with write_aside(path) as out:
                for row, located in some:
                    out.writelines(json_line(found._asdict()) for found in find_in(row, located, index))
        number += 1
    if not number:
        raise DataError("there are no rows", files[0])


def find_in(row: int, located: Located, index: EvaluationIndex) -> Iterator[Found]:
    """What the texts of a row meet."""
    for key, place, text in texts_of(located):
        if matches := index.find(text):
            yield Found(row, key, place, [list(match) for match in matches])


def texts_of(located: Located) -> list[tuple[str, int, str]]:
    """(key, place in its list, text) of every text of a row. Raises DataError where it has none."""
    record, path, line = located
    texts = [(key, 0, text_field(located, key)) for key in ROW_KEYS if record.get(key) is not None]
    for key in LIST_KEYS:
        values = record.get(key) or []
        if not isinstance(values, list) or not all(isinstance(text, str) for text in values):
            raise DataError(f"{key!r} must be a list of texts, got {values!r:.60}", path, line)
        texts += [(key, place, text) for place, text in enumerate(values)]
    if not texts:
        keys = ", ".join(map(repr, record)) or "none"
        raise DataError(f"no text under {', '.join((*ROW_KEYS, *LIST_KEYS))}; the row has {keys}", path, line)
    return texts


def write_output(
    files: list[Path], texts: list[EvaluationText], parts: Path, config: DecontaminateConfig, description: dict
) -> str:
    """Write the rows without what must not be in them, and the report; the summary."""
    output, funnel, report = Path(config.output_file), Funnel("decontaminate: rows"), Report(texts, config.drop)
    found = read_found(parts)
    following = next(found, None)
    with write_aside(output) as out:
        for row, located in enumerate(progress(read_records(files), "write")):
            own = []
            while following is not None and following.row == row:
                own.append(following)
                following = next(found, None)
            unwanted = [each for each in own if report.add(each, located)]
            record = without(located.record, {(each.key, each.place) for each in unwanted})
            if record is None:
                funnel.drop(report.reason(unwanted))
                continue
            funnel.keep()
            report.count_removed(unwanted)
            out.write(json_line(record))
    facts = {"rows": funnel.as_dict(), **report.as_dict()}
    path = f"{output}.contamination.json"
    write_json(path, {"drop": list(config.drop), "overlap": config.overlap, **facts})
    finish(output, description, {**facts, "tasks": report.counts()})
    return f"{funnel.table()}\n{report.table()}\n{output}: {funnel.kept:,} rows (examples of what was met in {path})"


def read_found(parts: Path) -> Iterator[Found]:
    """Everything that was found, in the order of the rows."""
    return (Found(**located.record) for located in read_records(sorted(parts.glob("part-*.jsonl"))))


def without(record: dict, unwanted: set[tuple[str, int]]) -> dict | None:
    """The record without these texts; None where it loses its query, its document or its last positive.

    What stands in a list of the same length under a name that begins alike (`neg_scores`) goes along.
    """
    if not unwanted:
        return record
    if any(key in ROW_KEYS for key, _ in unwanted):
        return None
    for key in LIST_KEYS:
        texts = record.get(key) or []
        kept = [place for place in range(len(texts)) if (key, place) not in unwanted]
        if len(kept) < len(texts):
            alongside = [name for name, value in record.items() if name == key or is_alongside(name, value, key, texts)]
            record = {**record, **{name: [record[name][place] for place in kept] for name in alongside}}
    return record if record.get("pos") or "pos" not in record else None


def is_alongside(name: str, value: object, key: str, texts: list) -> bool:
    """Whether a field holds something for each of the texts under a key."""
    return name.startswith(f"{key}_") and isinstance(value, list) and len(value) == len(texts)
