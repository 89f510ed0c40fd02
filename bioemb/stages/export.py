"""`bioemb export`: a model folder in, the same folder with an ONNX graph out, checked against PyTorch's vectors.

The graph appears under its name only when its vectors agree; what int8 costs is measured before it is kept.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from bioemb.config import ExportConfig
from bioemb.encoder import Encoder
from bioemb.errors import ConfigError, DataError, ModelError
from bioemb.files import RECORD_SUFFIXES, hash_file, list_files
from bioemb.flags import output_settings
from bioemb.log import logger
from bioemb.manifest import begin, describe, finish, work_folder, work_key
from bioemb.onnx_graph import OnnxEncoder, require_exportable, write_graph, write_int8
from bioemb.stages.mining_tables import read_examples

GRAPH, INT8_GRAPH = "model.onnx", "model_int8.onnx"
SAMPLE = 128  # texts compared
BATCH_SIZES = (1, 3, 8, 2, 17)  # of the comparison, in turn: ragged batches of lopsided sizes


def run(config: ExportConfig) -> str:
    """Export and check; returns what was measured. Raises the errors of a user's making before the long work."""
    encoder, output = Encoder.from_pretrained(config.model_path, pooling=config.pooling_method), Path(config.output_dir)
    require_exportable(encoder)
    if output.resolve() == Path(config.model_path).resolve():
        raise ConfigError(f"--output_dir {output} is the model's own folder; name another")
    files, texts = read_texts(config)
    tasks = find_tasks(config)
    description = describe("export", output_settings(config), files, {"model": encoder.weights_hash})
    if not begin(output, description, config.overwrite):
        return f"{output} is complete; nothing to do"
    if encoder.layout.pooling == "max":
        logger.warning("pooling is max, which text-embeddings-inference does not offer; sentence-transformers does")
    with folder_aside(output) as aside:
        logger.info("export %s", encoder.source)
        write_graph(encoder, aside / GRAPH)
        counts, said = check(encoder, aside / GRAPH, texts, config.max_difference)
        if config.quantize == "int8":
            cost, words = quantize(encoder, aside, texts, tasks, work_folder(output) / "scores")
            counts, said = counts | cost, f"{said}\n{words}"
        shutil.rmtree(output / "onnx", ignore_errors=True)
        aside.rename(output / "onnx")
    encoder.save(output)
    finish(output, description, counts)
    return f"{output}\n{said}"


def read_texts(config: ExportConfig) -> tuple[list[Path], list[str]]:
    """The files that texts were asked of, and the texts to compare: distinct ones, a word, and all in one text."""
    files = list_files(config.input_file, RECORD_SUFFIXES) if config.input_file else []
    texts = list(islice(dict.fromkeys(texts_of(files) if files else generated_texts()), SAMPLE))
    if not texts:
        raise DataError("there are no texts to compare", files[0])
    return files, [*texts, texts[0].split()[0], " ".join(texts)]


def texts_of(files: list[Path]) -> Iterator[str]:
    """Queries, positives and negatives, row by row."""
    for _, query, positives, negatives in read_examples(files):
        yield from (query, *positives, *negatives)


def generated_texts() -> Iterator[str]:
    """Titles and abstracts of the demonstration's corpus."""
    from bioemb.demo.articles import make_records
    from bioemb.demo.concepts import make_concepts

    for record in make_records(make_concepts(seed=0), SAMPLE, seed=0):
        abstract = " ".join(part.text for part in record.article.abstract)
        yield from (text for text in (record.article.title, abstract) if text)


@contextmanager
def folder_aside(output: Path) -> Iterator[Path]:
    """An empty folder to write graphs in, gone afterwards; those of runs that were killed are removed, too."""
    for leftover in output.glob(".onnx.*.part"):
        shutil.rmtree(leftover)
    aside = output / f".onnx.{os.getpid()}.part"
    aside.mkdir(parents=True)
    try:
        yield aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def check(encoder: Encoder, graph: Path, texts: list[str], bound: float) -> tuple[dict, str]:
    """What the graph's vectors differ by, for the manifest and in words. Raises ModelError above the bound."""
    token_ids = encoder.token_ids(texts, None)
    expected, onnx = encoder.encode(texts), OnnxEncoder(encoder, graph)
    rows, sizes, batches = iter(token_ids), cycle(BATCH_SIZES), []
    while batch := list(islice(rows, next(sizes))):
        batches.append(onnx.embed(batch))
    difference = largest_difference(np.concatenate(batches), expected)
    lengths = [len(ids) for ids in token_ids]
    said = f"{len(texts)} texts of {min(lengths)} to {max(lengths)} tokens, in batches of 1 to {max(BATCH_SIZES)}"
    if not difference <= bound:  # also where it is no number
        raise ModelError(
            f"the graph of {encoder.source} gives other vectors than PyTorch: they differ by up to {difference:.1e} "
            f"over {said}; the bound is {bound:.0e} (--max_difference)"
        )
    counts = {"texts": len(texts), "longest": max(lengths), "largest_difference": difference}
    return counts, f"onnx/{GRAPH}, {size_of(graph)}: differs from PyTorch by {difference:.1e} at most ({said})"


def quantize(encoder: Encoder, folder: Path, texts: list[str], tasks: list, scores: Path) -> tuple[dict, str]:
    """Write the int8 graph beside the other; what it costs, for the manifest and in words."""
    graph = folder / INT8_GRAPH
    write_int8(folder / GRAPH, graph)
    int8 = OnnxEncoder(encoder, graph)
    cosines = cosines_of(int8.encode(texts), encoder.encode(texts))
    median, least = float(np.median(cosines)), float(cosines.min())
    said = (
        f"onnx/{INT8_GRAPH}, {size_of(graph)}: cosine to PyTorch's vectors {median:.4f} (median), {least:.4f} (least)"
    )
    counts: dict = {"int8": {"median_cosine": median, "least_cosine": least}}
    if tasks:
        from bioemb.evaluation import EncoderForMteb, compare, evaluate

        made = {"weights": encoder.weights_hash, "pooling": encoder.layout.pooling, "graph": hash_file(graph)}
        models = {
            name: EncoderForMteb(model, f"local/{name}", work_key(made))
            for name, model in {"float32": encoder, "int8": int8}.items()
        }
        comparison = compare({name: evaluate(model, tasks, scores) for name, model in models.items()})
        counts["int8"]["scores"] = comparison.as_dict()
        said += f"\n{comparison.as_text()}"
    return counts, said


def find_tasks(config: ExportConfig) -> list:
    """The tasks to score; mteb is not loaded where there are none."""
    if not config.task:
        return []
    from bioemb import evaluation

    return evaluation.find_tasks(config.task, config.local_data)


def largest_difference(vectors: np.ndarray, expected: np.ndarray) -> float:
    """Between two numbers of [n, d], in units of the expected vector's length."""
    return float((np.abs(vectors - expected).max(axis=1) / np.linalg.norm(expected, axis=1)).max())


def cosines_of(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """[n], of [n, d] and [n, d]."""
    return (left * right).sum(axis=1) / (np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1))


def size_of(graph: Path) -> str:
    """Megabytes of a graph with the weights beside it."""
    return f"{sum(path.stat().st_size for path in graph.parent.glob(f'{graph.name}*')) / 1e6:.1f} MB"
