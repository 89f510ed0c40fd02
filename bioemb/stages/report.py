"""`bioemb report`: the folder of a run in, one HTML page out, which needs no network, no script and no other file."""

from pathlib import Path

from bioemb import __version__
from bioemb.config import ReportConfig
from bioemb.errors import ConfigError
from bioemb.files import RECORD_SUFFIXES, list_files, write_aside
from bioemb.flags import output_settings
from bioemb.log import logger
from bioemb.manifest import begin, describe, finish, manifest_path, read_manifest
from bioemb.report.charts import require_matplotlib
from bioemb.report.cosines import cosine_section, statistics_of
from bioemb.report.funnels import funnel_section
from bioemb.report.markup import Html, element, join, note, number, paragraph, points
from bioemb.report.negatives import negative_section
from bioemb.report.page import Figure, Section, page
from bioemb.report.reading import Run, expecting, find_run, read_object
from bioemb.report.scores import score_section
from bioemb.report.training import training_section
from bioemb.stages.report_models import find_models, model_sections

LEFT_OUT = {  # anchor of a section: why a run may lack it
    "cosines": "The filter has left no statistics here (.stats.json), so its cosines are not shown.",
    "negatives": "No finished output of mining is here, so negatives are not shown.",
    "training": "Training has left no log here (metrics.jsonl), so its course is not shown.",
    "scores": "No comparison of scores is here (bioemb evaluate --save_folder within the run's folder writes one).",
}


def run(config: ReportConfig) -> str:
    """Write the page, unless it is there and nothing that it tells of has changed."""
    require_matplotlib()
    found = find_run(config.run_dir)
    output = Path(config.output_file) if config.output_file else found.folder / "report.html"
    _check_output(output, found)
    models = find_models(found, config)
    inputs = [*_inputs(found, output), *(list_files(models.sample, RECORD_SUFFIXES) if models.sample else [])]
    settings = {**output_settings(config), "bioemb": __version__}
    description = describe("report", settings, inputs, models.hashes)
    is_report = (read_manifest(output) or {}).get("stage") == "report"
    if not begin(output, description, config.overwrite or is_report):
        return f"{output} is complete; nothing to do"
    scores = score_section(found)
    path = _sections(found, config.seed)
    of_models, measured = model_sections(models, config)
    there = [section for section in (scores, *of_models, *path) if section]  # first what came of it, then how
    missing = [said for anchor, said in LEFT_OUT.items() if anchor not in {section.anchor for section in there}]
    missing += [models.missing] if models.missing else []
    name = found.folder.resolve().name
    with write_aside(output) as out:
        out.write(page(name, _lead(found, missing), _figures(found), there))
    finish(output, description, measured)
    return "\n".join([*missing, f"{output}: {len(there)} sections, {output.stat().st_size / 1e6:.1f} MB"])


def _check_output(output: Path, found: Run) -> None:
    """Refuse a page in the place of a folder or of what the page is about. Raises ConfigError."""
    if output.is_dir():
        raise ConfigError(f"{output} is a folder; name a file with --output_file")
    if output.resolve() in {path.resolve() for path in [*(one.path for one in found.outputs), *found.comparisons]}:
        raise ConfigError(f"{output} belongs to the run; name another --output_file")


def _sections(found: Run, seed: int) -> list[Section | None]:
    """What is told of the path, without models."""
    logger.info("%d outputs in %s", len(found.outputs), found.folder)
    told = [training_section(found), cosine_section(found), negative_section(found, seed)]
    return [*told, funnel_section(found)] if found.outputs else told


def _inputs(found: Run, output: Path) -> list[Path]:
    """Every file that the page tells of, but for the models and the sample."""
    paths = [manifest_path(one.path) for one in found.outputs]
    paths += [statistics_of(one) for one in found.of("filter")]
    paths += [one.path / "metrics.jsonl" for one in found.of("train")]
    paths += [one.path for one in found.of("mine") if one.path.is_file()]
    return [path for path in [*paths, *found.comparisons] if path.exists() and path != output]


def _lead(found: Run, missing: list[str]) -> Html:
    stages = dict.fromkeys(one.stage for one in found.outputs)
    written = dict.fromkeys(str(one.manifest.get("bioemb")) for one in found.outputs)
    by = f" Made by bioemb {', '.join(written)}." if written else ""
    path = f"Stages in this folder: {', '.join(stages)}." if stages else "There are scores in this folder, no stages."
    left_out = element("ul", *(element("li", said) for said in missing), class_="note") if missing else ""
    unfinished = [found.name_of(one.path) for one in found.outputs if not one.complete]
    waiting = note(f"Not finished: {', '.join(unfinished)}.") if unfinished else ""
    return join(paragraph(path, by), waiting, left_out)


def _figures(found: Run) -> list[Figure]:
    """The numbers that a reader looks for first, each as its manifest or comparison has it."""
    figures = []
    for stage, key, words in (
        ("filter", "pairs", "pairs kept"),
        ("mine", "rows", "examples mined"),
        ("score", "rows", "examples scored"),
    ):
        for one in found.of(stage)[-1:]:
            if one.complete:
                with expecting(manifest_path(one.path)):
                    funnel = one.counts[key]
                    of = element("small", "of ", number(funnel["read"]))
                    figures.append(Figure(join(number(funnel["kept"]), of), words))
    for one in found.of("train")[-1:]:
        if one.complete and "steps" in one.counts:
            figures.append(Figure(number(one.counts["steps"]), "training steps"))
    for path in found.comparisons[:1]:
        comparison = read_object(path)
        with expecting(path):
            figures += [_score(task) for task in comparison["tasks"][:4]]
    return figures


def _score(task: dict) -> Figure:
    """The last model's score, which is the one that was evaluated, and its difference to the baseline."""
    row = task["models"][-1]
    change = "" if row["difference"] is None else join(points(row["difference"], "+.1f"), " ", row["verdict"])
    return Figure(
        join(points(row["score"]), element("small", change)), join(element("bdi", task["task"]), f", {task['metric']}")
    )
