"""`bioemb filter`: pairs in, the pairs out whose two sides a domain model finds alike.

The scores of all pairs are computed once and kept in blocks (`filter_scores.py`); the rules only decide what is
written, so that other rules cost no encoding. `OUTPUT.stats.json` has the distributions to choose them by.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from bioemb.config import FilterConfig
from bioemb.encoder import Encoder
from bioemb.encoding import choose_bf16
from bioemb.errors import ConfigError, DataError
from bioemb.files import (
    RECORD_SUFFIXES,
    check_output_name,
    json_line,
    list_files,
    read_records,
    text_field,
    write_aside,
    write_json,
)
from bioemb.flags import nearest, output_settings
from bioemb.lineage import complete_manifest
from bioemb.log import Funnel, logger, progress
from bioemb.manifest import begin, describe, finish, remove_unfinished, work_folder
from bioemb.mining.consistency import BestShare, ConsistencyRule
from bioemb.processes import join_processes, on_all, on_first, require_same
from bioemb.stages.filter_scores import Scores, blocks_of, open_scores
from bioemb.stages.filter_statistics import Judged, KindStatistics, statistics_table
from bioemb.stages.naming import naming_lines

NO_KIND = "pairs"  # what pairs are called whose record names no kind
MOST_KINDS = 100  # each has some megabytes of statistics


def run(config: FilterConfig) -> str:
    """Score, keep, write; returns the funnel. Raises the errors of a user's making, before anything is encoded."""
    join_processes()
    output = Path(config.out_file_path)
    files, rows, kinds = on_first(lambda: read_input(config))
    encoder = on_all(lambda: load_encoder(config))
    config = replace(config, bf16=on_first(lambda: choose_bf16(config.bf16, encoder.device)))
    models = {"model_path": encoder.weights_hash}
    require_same(encoder.weights_hash, encoder.source)
    description = on_first(lambda: describe("filter", output_settings(config), files, models))
    if not on_first(lambda: begin(output, description, config.overwrite)):
        return f"{output} is complete; nothing to do"
    on_first(lambda: remove_unfinished(output))
    with naming_lines(files):
        scores = open_scores(files, rows, encoder, work_folder(output), description, config)
    return on_first(lambda: write_output(files, scores, kinds, description, config))


def read_input(config: FilterConfig) -> tuple[list[Path], int, list[str]]:
    """The files of pairs, how many pairs there are, of which kinds. Raises DataError, ConfigError."""
    output = Path(config.out_file_path)
    check_output_name(output)
    files = [path for path in list_files(config.folder_path, RECORD_SUFFIXES) if path.resolve() != output.resolve()]
    if not files:
        raise DataError("holds nothing but the output file: is it both input and output?", config.folder_path)
    _warn_of_own_outputs(files, config)
    rows, kinds = count_pairs(files, config.key_x, config.key_y)
    require_kinds(config, kinds)
    return files, rows, kinds


def _warn_of_own_outputs(files: list[Path], config: FilterConfig) -> None:
    """A folder may hold what the filter has written there before: its pairs are those of another file once more."""
    for path in files if Path(config.folder_path).is_dir() else ():
        if (complete_manifest(path) or {}).get("stage") == "filter":
            logger.warning("%s is an output of the filter, and is read like any other file of the folder", path)


def load_encoder(config: FilterConfig) -> Encoder:
    """The encoder with the flags' pooling, instructions and length."""
    encoder = Encoder.from_pretrained(
        config.model_path,
        pooling=config.pooling_method,
        prompts={"query": config.query_instruction, "passage": config.passage_instruction},
    ).to_best_device()
    encoder.set_max_length(config.max_length, config.max_length)
    return encoder


def write_output(files: list[Path], scores: Scores, kinds: list[str], description: dict, config: FilterConfig) -> str:
    """Keep, write, say in the manifest that it is done; the summary."""
    output = Path(config.out_file_path)
    funnel, counted = write_consistent(files, scores, make_rules(files, scores, kinds, config), config)
    statistics = {kind: of.as_dict() for kind, of in counted.items() if of.own.total}
    write_json(f"{output}.stats.json", statistics)
    finish(output, description, {"pairs": funnel.as_dict()})
    kept = f"{output}: {funnel.kept:,} pairs with {rules_in_words(config)}"
    return "\n".join([funnel.table(), statistics_table(statistics), kept])


def count_pairs(files: list[Path], key_x: str, key_y: str) -> tuple[int, list[str]]:
    """How many pairs there are, each with both texts, and of which kinds. Raises DataError with file and line."""
    rows, kinds = 0, set()
    for located in progress(read_records(files), "read pairs"):
        text_field(located, key_x, "--key_x")
        text_field(located, key_y, "--key_y")
        kinds.add(kind_of(located.record))
        if len(kinds) > MOST_KINDS:
            message = f"'kind' has more than {MOST_KINDS} values; it names how a pair was made: rename the key"
            raise DataError(message, located.path, located.line)
        rows += 1
    if not rows:
        raise DataError("there are no pairs to filter", files[0] if len(files) == 1 else files[0].parent)
    return rows, sorted(kinds)


def kind_of(record: dict) -> str:
    """How a pair was made, as its record says."""
    return str(record.get("kind") or NO_KIND)


def require_kinds(config: FilterConfig, kinds: list[str]) -> None:
    """Refuse a threshold for a kind that the data do not have."""
    for kind in config.thresholds_of_kinds():
        if kind not in kinds:
            there = ", ".join(kinds) if kinds != [NO_KIND] else "no key 'kind': say --sim_threshold"
            raise ConfigError(f"kind_thresholds names {kind!r}; the pairs have {there}{nearest(kind, kinds)}")


def make_rules(files: list[Path], scores: Scores, kinds: list[str], config: FilterConfig) -> dict[str, ConsistencyRule]:
    """The rule of each kind; a share needs a look at all its cosines: four bytes a pair."""
    best: dict[str, BestShare] = {}
    if config.keep_share is not None:
        parts: dict[str, list[np.ndarray]] = {kind: [] for kind in kinds}
        for (cosines, _), block in zip(scores.blocks(), blocks_of(read_records(files)), strict=True):
            for kind, of_kind in rows_of_kinds(block):
                own = cosines[of_kind, 0]
                parts[kind].append(own[~np.isnan(own)])
        for kind in kinds:
            own = np.concatenate(parts.pop(kind))
            if len(own):
                best[kind] = BestShare(own, config.keep_share)
    return {kind: ConsistencyRule(config.lowest_cosine(kind), best.get(kind), config.max_rank) for kind in kinds}


def rows_of_kinds(block: list) -> list[tuple[str, np.ndarray]]:
    """The kinds of a block, each with its rows."""
    names = np.array([kind_of(located.record) for located in block])
    return [(str(kind), np.flatnonzero(names == kind)) for kind in np.unique(names)]


def write_consistent(
    files: list[Path], scores: Scores, rules: dict[str, ConsistencyRule], config: FilterConfig
) -> tuple[Funnel, dict[str, KindStatistics]]:
    """Write the pairs that their kind's rule keeps; the funnel counts the others by reason."""
    funnel = Funnel("filter: pairs")
    keys = (config.key_y, config.key_x)
    statistics = {kind: KindStatistics(rule, keys) for kind, rule in rules.items()}
    with write_aside(config.out_file_path) as out:
        for (cosines, ranks), block in zip(scores.blocks(), blocks_of(read_records(files)), strict=True):
            reasons = np.empty(len(block), dtype=object)
            for kind, rows in rows_of_kinds(block):
                of_kind = None if ranks is None else ranks[rows]
                reasons[rows] = rules[kind].reasons_to_drop(cosines[rows, 0], of_kind)
                kept = np.equal(reasons[rows], None)
                statistics[kind].add(Judged([block[row] for row in rows], cosines[rows], of_kind, kept))
            for row, (located, reason) in enumerate(zip(block, reasons, strict=True)):
                if reason is None:
                    funnel.keep()
                    scored = {"cos_sim": round(cosines[row, 0].item(), 6)}
                    if ranks is not None:
                        scored["rank"] = int(ranks[row])
                    out.write(json_line(_kept_record(located.record, scored, keys)))
                else:
                    funnel.drop(reason if set(rules) == {NO_KIND} else f"{kind_of(located.record)}: {reason}")
    highest = max(of.ranks.highest for of in statistics.values())
    if config.max_rank is not None and highest <= config.max_rank:
        logger.warning("--max_rank %d dropped nothing: no rank in this pool is above %d", config.max_rank, highest)
    if not funnel.kept:
        logger.warning("no pair was kept; %s.stats.json shows where the cosines lie", config.out_file_path)
    return funnel, statistics


def rules_in_words(config: FilterConfig) -> str:
    """What a pair had to have, for the last line."""
    said = []
    general = config.lowest_cosine("")
    if general is not None:
        said.append(f"a cosine of {general} or more")
    said += [f"{cosine} or more for {kind}" for kind, cosine in config.thresholds_of_kinds().items()]
    if config.keep_share is not None:
        said.append(f"a cosine among the best {config.keep_share:g} of their kind")
    if config.max_rank is not None:
        said.append(f"rank {config.max_rank} or better among {config.pool_size:,} at most")
    return ", ".join(said) or "two texts"


def _kept_record(record: dict, scored: dict, keys: tuple[str, str]) -> dict:
    hidden = {*keys, "query", "document", *scored}
    others = {key: value for key, value in record.items() if key not in hidden}
    return {"query": record[keys[0]], "document": record[keys[1]], **scored, **others}
