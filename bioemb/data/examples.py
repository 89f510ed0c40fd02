"""One row of training data as an example: what is right with it comes back, what is wrong with it is said.

A row is {"query","pos":[..],"neg":[..]} with optional scores, identities and prompts; or a pair {"query","document"},
an example without negatives; or a scored pair {"sentence1","sentence2","score"}.
"""

from math import inf
from typing import Any, NamedTuple

from bioemb.errors import ConfigError, DataError
from bioemb.files import Located
from bioemb.records import same_text_key, stable_hash


class Needs(NamedTuple):
    """What a training run asks of every row: groups of `group_size` texts, with scores and negatives or without."""

    group_size: int
    scores: bool = False
    negatives: bool = False


def as_example(located: Located, needs: Needs) -> dict[str, Any]:
    """One row as an example. Raises DataError that says what is wrong with it."""
    _check_scored(located, needs)
    query, positives = _query_and_positives(located)
    negatives = _texts(located, "neg") if located.record.get("neg") else []
    _check_negatives(located, negatives, needs)
    if needs.scores and located.record.get("score") is not None and located.record.get("pos_scores") is None:
        _check_score(located, "'score'", located.record["score"], True)
        located = located._replace(record={**located.record, "pos_scores": [located.record["score"]]})
    return {
        "query": query,
        "pos": positives,
        "neg": negatives,
        "pos_scores": _scores(located, "pos_scores", len(positives), needs.scores),
        "neg_scores": _scores(located, "neg_scores", len(negatives), needs.scores and bool(negatives)),
        "identity": whole_numbers(located, "identity"),
        "neg_identities": whole_numbers(located, "neg_identities", len(negatives)),
        "prompt": _prompt(located, "prompt"),
        "passage_prompt": _prompt(located, "passage_prompt"),
        **{key: value if isinstance(value := located.record.get(key), str) else None for key in ("kind", "license")},
    }


def passage_identity(text: str) -> int:
    """What equal passages share where nothing else says who they are."""
    return stable_hash(same_text_key(text))


def _check_scored(located: Located, needs: Needs) -> None:
    """Refuse a pair with a score of how alike its sentences are, where every pair would be taken for a positive one."""
    record = located.record
    if "sentence1" in record and record.get("query") is None and record.get("score") is not None and not needs.scores:
        raise DataError(
            f"a scored pair (score {record['score']!r:.20}), which this loss would take for a positive whatever its "
            "score: train on scored pairs with --loss cosent or angle, or leave out 'score' where all are positives",
            located.path,
            located.line,
        )


def _query_and_positives(located: Located) -> tuple[str, list[str]]:
    record = located.record
    is_scored_pair = record.get("query") is None and "sentence1" in record
    query_key, passage_key = ("sentence1", "sentence2") if is_scored_pair else ("query", "document")
    query = _text(located, query_key)
    is_pair = record.get("pos") is None and passage_key in record
    positives = [_text(located, passage_key)] if is_pair else _texts(located, "pos")
    if not positives:
        raise DataError("'pos' is empty; a row needs at least one positive", located.path, located.line)
    return query, positives


def _check_negatives(located: Located, negatives: list[str], needs: Needs) -> None:
    if needs.group_size == 1 and negatives and needs.scores:
        raise ConfigError(
            "this loss learns from scored pairs, one passage each, and no hard negatives: leave 'neg' out of "
            f"--train_data, or choose another --loss ({located.path}, line {located.line}, has some)"
        )
    if needs.group_size == 1 and negatives:
        raise ConfigError(
            "train_group_size is 1, so there are no hard negatives in a group; use 2 or more, "
            f"or leave --train_data without 'neg' ({located.path}, line {located.line}, has some)"
        )
    if needs.group_size > 1 and needs.negatives and not negatives:
        raise DataError(
            f"'neg' is empty, and this loss compares within groups of {needs.group_size}; mine some negatives, "
            "or let the batch give them: leave out --use_inbatch_neg no and --knowledge_distillation",
            located.path,
            located.line,
        )


def _text(located: Located, key: str) -> str:
    value = located.record.get(key)
    if not isinstance(value, str) or not value.strip():
        keys = ", ".join(map(repr, located.record)) or "none"
        raise DataError(
            f"{key!r} must be text, got {_found(located, key, value)} (the row has {keys})", located.path, located.line
        )
    return value


def _texts(located: Located, key: str) -> list[str]:
    values = located.record.get(key)
    if not isinstance(values, list):
        raise DataError(
            f"{key!r} must be a list of texts, got {_found(located, key, values)}", located.path, located.line
        )
    for number, value in enumerate(values):
        if not isinstance(value, str) or not value.strip():
            raise DataError(
                f"{key!r}[{number}] must be text, got {_found(located, key, value)}", located.path, located.line
            )
    return values


def _found(located: Located, key: str, value: Any) -> str:
    if key not in located.record:
        return "no such key"
    return "empty text" if isinstance(value, str) and not value.strip() else f"{value!r:.60}"


def _scores(located: Located, key: str, count: int, required: bool) -> list[float | None] | None:
    """A score of each text, None for one that was never scored; or None. Where they are required, all of them."""
    values = _list(located, key, count)
    if values is None and required:
        instead = ", or 'score' of a pair" if key == "pos_scores" else ""
        raise DataError(f"no {key!r}{instead}, which this loss learns from", located.path, located.line)
    for number, value in enumerate(values or ()):
        _check_score(located, f"{key!r}[{number}]", value, required)
    return values


def _check_score(located: Located, name: str, value: Any, required: bool) -> None:
    if value is None and required:
        raise DataError(f"{name} is null: never scored, and this loss learns from it", located.path, located.line)
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < inf
    if value is not None and not is_number:
        raise DataError(f"{name} must be a number, got {value!r:.60}", located.path, located.line)


def whole_numbers(located: Located, key: str, count: int | None = None) -> int | list[int] | None:
    """A whole number, or `count` of them, that Arrow can hold; or None."""
    values = located.record.get(key) if count is None else _list(located, key, count)
    for value in () if values is None else [values] if count is None else values:
        if not isinstance(value, int) or isinstance(value, bool) or not -(2**63) <= value < 2**63:
            raise DataError(f"{key!r} must be a whole number, got {value!r:.60}", located.path, located.line)
    return values


def _prompt(located: Located, key: str) -> str | None:
    """The row's own prompt of its query or its passages, which may be empty; None where the kind's is to stand."""
    value = located.record.get(key)
    if not isinstance(value, str | None):
        raise DataError(f"{key!r} must be text, got {value!r:.60}", located.path, located.line)
    return value


def _list(located: Located, key: str, count: int) -> list | None:
    values = located.record.get(key)
    if values is not None and (not isinstance(values, list) or len(values) != count):
        got = f"{len(values)} of them" if isinstance(values, list) else f"{values!r:.60}"
        raise DataError(f"{key!r} must hold a number for each of {count} texts, got {got}", located.path, located.line)
    return values
