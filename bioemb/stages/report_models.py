"""The part of the report that needs models: which they are, what they are shown, and how each sees it."""

import heapq
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bioemb.config import ReportConfig
from bioemb.data.examples import Needs, as_example
from bioemb.errors import DataError, ModelError
from bioemb.files import RECORD_SUFFIXES, Located, hash_file, list_files, read_records
from bioemb.log import logger, progress
from bioemb.model_folder import find_folder, weights_hash
from bioemb.records import stable_hash
from bioemb.report.markup import join, note
from bioemb.report.page import Section
from bioemb.report.queries import queries_part
from bioemb.report.rankings import View, rank
from bioemb.report.reading import Output, Run
from bioemb.report.vectors import map_part, measure, measures_part

if TYPE_CHECKING:
    from bioemb.held_out import HeldOut

HAS_TEXTS = ("score", "mine", "filter", "extract")  # stages, the one nearest to training first
ANY_ROW = Needs(group_size=0)


class Models(NamedTuple):
    """What the models' part is made from; `missing` says why there is none."""

    folders: tuple[Path, Path] | None = None  # of the starting model and of the trained one
    names: tuple[str, str] = ("", "")
    hashes: dict[str, str] = {}
    sample: Path | None = None
    lengths: tuple[int | None, int | None] = (None, None)  # of queries and passages in training, in tokens
    said: str = ""  # of the models and the sample
    missing: str = ""


def find_models(run: Run, config: ReportConfig) -> Models:
    """Both models and the sample's file. Raises ModelError and DataError for what was named and is not there."""
    if not config.load_models:
        return Models(missing="Models were not loaded (--load_models no).")
    trained = next((one for one in reversed(run.of("train")) if one.complete and one.path.is_dir()), None)
    if not (config.model_path or trained):
        return Models(missing="No finished training is here; name a trained model with --model_path.")
    after = find_folder(config.model_path or trained.path)
    start = config.baseline_model_path or (_starting_model(run, trained, after) if trained else None)
    if start is None:
        return Models(missing="The model that training started from is not here; name it with --baseline_model_path.")
    before = find_folder(start)
    sample = _sample_file(run, config)
    if sample is None:
        return Models(missing="There are no pairs or examples here to show the models; name some with --sample_data.")
    hashes = {"before": weights_hash(before), "after": weights_hash(after)}
    settings = trained.settings if trained else {}
    return Models(
        (before, after),
        (_name(start), _name(config.model_path or trained.path)),
        hashes,
        sample,
        (settings.get("query_max_len"), settings.get("passage_max_len")),
        _said(hashes, sample, trained, config),
    )


def model_sections(models: Models, config: ReportConfig) -> tuple[list[Section], dict[str, Any]]:
    """The sections, and the numbers in them for the manifest; nothing where there are no models."""
    if models.folders is None:
        return [], {}
    sample = draw_sample(models.sample, config.sample, config.seed)
    views = tuple(
        _view(folder, name, models.lengths, sample) for folder, name in zip(models.folders, models.names, strict=True)
    )
    measures = tuple(measure(view, sample) for view in views)
    rankings = tuple(rank(view, sample) for view in views)
    queries, passages = len(sample.queries), len(sample.passages)
    lead = note(f"{queries:,} queries and all of their {passages:,} passages, from {models.sample.name}. {models.said}")
    sections = [
        Section("queries", "What both models find", join(lead, queries_part(views, rankings, sample, config.seed))),
        Section(
            "vectors",
            "How both models place the texts",
            join(
                note("Of the same queries and passages."),
                measures_part(views, measures, sample),
                map_part(views, sample),
            ),
        ),
    ]
    counts = {
        when: {**of._asdict(), "mrr": ranking.mrr, "recall@1": ranking.recall(1), "recall@10": ranking.recall(10)}
        for when, of, ranking in zip(("before", "after"), measures, rankings, strict=True)
    }
    return sections, {"sample": {"queries": queries, "passages": passages}, **counts}


def draw_sample(path: Path, count: int, seed: int) -> "HeldOut":
    """`count` rows of a file, or folder, of pairs or examples: those whose texts have the smallest hashes.

    Equal queries become one. Raises DataError where there are not two different passages.
    """
    from bioemb.held_out import held_out_of

    drawn: list[tuple[int, int, Located]] = []  # a heap
    for number, located in enumerate(progress(read_records(list_files(path, RECORD_SUFFIXES)), "draw a sample")):
        texts = [located.record.get(key) for key in ("query", "pos", "document")]
        heapq.heappush(drawn, (-stable_hash(f"{seed} {texts}"), -number, located))
        if len(drawn) > count:
            heapq.heappop(drawn)
    rows = [as_example(located, ANY_ROW) for *_, located in sorted(drawn, reverse=True)]
    sample = held_out_of({**row, "neg": [], "neg_identities": None} for row in rows)
    if len(sample.passages) < 2 or len(sample.queries) < 2:
        raise DataError("a sample needs two different queries and passages at least", path)
    return sample


def _view(folder: Path, name: str, lengths: tuple[int | None, int | None], sample: "HeldOut") -> View:
    """A model's vectors of the sample, each text with its own prompt or the model's; float32, as all that is scored."""
    from bioemb.encoder import Encoder
    from bioemb.encoding import encode_ids

    encoder = Encoder.from_pretrained(folder, normalize=True).to_best_device()
    longest = encoder.layout.max_length
    encoder.set_max_length(*(None if length is None else min(length, longest) for length in lengths))
    logger.info("encode %d queries and %d passages with %s", len(sample.queries), len(sample.passages), name)
    sides = (("query", sample.queries, sample.prompts), ("passage", sample.passages, sample.passage_prompts))
    vectors = (encode_ids(encoder, encoder.token_ids(texts, kind, prompts)) for kind, texts, prompts in sides)
    return View(name, *(one.cpu().numpy() for one in vectors))


def _starting_model(run: Run, trained: Output, after: Path) -> str | Path | None:
    """The model whose weights the training's manifest names: where training found it, or in the run's folder."""
    wanted = (trained.manifest.get("models") or {}).get("model_name_or_path")
    named = trained.counts.get("starting_model")
    folders = sorted({path.parent for path in run.folder.rglob("modules.json")} - {after})
    folders = [path for path in folders if not any(part.startswith("checkpoint-") for part in path.parts)]
    for path in [*([named] if named else []), *folders]:
        try:
            if weights_hash(find_folder(path)) == wanted:
                return path
        except ModelError as error:
            logger.info("not the starting model: %s", error)
    return None


def _sample_file(run: Run, config: ReportConfig) -> Path | None:
    if config.sample_data:
        list_files(config.sample_data, RECORD_SUFFIXES)  # raises where there is nothing
        return Path(config.sample_data)
    found = [one.path for stage in HAS_TEXTS for one in run.of(stage) if one.complete and one.path.is_file()]
    return found[0] if found else None


def _said(hashes: dict[str, str], sample: Path, trained: Output | None, config: ReportConfig) -> str:
    """What a reader must know of the models and the sample to judge what they show."""
    manifest = trained.manifest if trained else {}
    said = []
    if sample.is_file() and hash_file(sample) in (manifest.get("inputs") or {}).values():
        but = ", but for what was held out," if trained.settings.get("eval_share") else ""
        said.append(
            f"The trained model has seen them in training{but} and finds more here than among new texts; "
            "--sample_data names others."
        )
    if trained and hashes["before"] != (manifest.get("models") or {}).get("model_name_or_path"):
        said.append("The model called the starting one here is not the one that this training started from.")
    if hashes["before"] == hashes["after"]:
        said.append("Both models are the same.")
    return " ".join(said)


def _name(path: str | Path) -> str:
    """The last part of a folder's path; a hub name as it is."""
    return Path(path).resolve().name if Path(path).is_dir() else str(path)
