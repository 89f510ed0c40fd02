"""mteb tasks whose data are local files: mteb's own tasks, and tasks of the user's own names; mteb scores both.

The data stay in memory, so nothing asks the hub. Their hash is the task's revision, so that new data get new scores.
"""

from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from datasets import Dataset
from mteb import AbsTask, TaskMetadata
from mteb.abstasks import AbsTaskRetrieval, AbsTaskSTS

from bioemb.errors import ConfigError, DataError
from bioemb.evaluation.local_files import read_collection, read_pairs
from bioemb.files import hash_file

BASES = {"STS": (AbsTaskSTS, "cosine_spearman"), "Retrieval": (AbsTaskRetrieval, "ndcg_at_10")}


class LocalFiles(NamedTuple):
    """Where a task's data are: one file of pairs (STS), or a folder in the BEIR layout (Retrieval)."""

    type: str
    path: Path

    def revision(self) -> str:
        """A hash of what the files hold."""
        parts = [self.path / "corpus.jsonl", self.path / "queries.jsonl", *sorted(self.path.glob("qrels/*.tsv"))]
        files = [self.path] if self.type == "STS" else [part for part in parts if part.is_file()]
        digest = blake2b(digest_size=8)
        for file in files:
            digest.update(f"{file.relative_to(self.path.parent).as_posix()} {hash_file(file)}\n".encode())
        return f"local-{digest.hexdigest()}"


def find_files(name: str, folder: str | Path) -> LocalFiles | None:
    """FOLDER/NAME.jsonl or FOLDER/NAME/, or None. Raises DataError where both are there."""
    pairs, collection = Path(folder) / f"{name}.jsonl", Path(folder) / name
    if pairs.is_file() and (collection / "corpus.jsonl").is_file():
        raise DataError(f"a file of pairs and a collection, {collection}, have one name; rename one of them", pairs)
    if pairs.is_file():
        return LocalFiles("STS", pairs)
    return LocalFiles("Retrieval", collection) if collection.is_dir() else None


def list_names(folder: str | Path) -> list[str]:
    """The task names that FOLDER has data for."""
    pairs = [file.stem for file in Path(folder).glob("*.jsonl")]
    return sorted(pairs + [corpus.parent.name for corpus in Path(folder).glob("*/corpus.jsonl")])


def local_task_class(name: str, files: LocalFiles, mteb_class: type[AbsTask] | None) -> type[AbsTask]:
    """mteb's class of this name, or a new one, with the files in place of the hub's data. Raises ConfigError.

    `metadata` is set on a class of its own: mteb drops an instance's, and would go back to the hub.
    """
    base, main_score = BASES[files.type]
    dataset = {"path": str(files.path), "revision": files.revision()}
    if mteb_class is None:
        metadata = TaskMetadata(
            name=name,
            description=f"{files.type} on local files",
            dataset=dataset,
            type=files.type,
            category="t2t",
            eval_langs=["eng-Latn"],
            main_score=main_score,
        )
        return type("LocalTask", (base,), {"metadata": metadata})
    if mteb_class.metadata.type != files.type:
        raise ConfigError(
            f"{name} is a {mteb_class.metadata.type} task of mteb's, and {files.path} holds data for {files.type}; "
            "local data can stand for STS and Retrieval tasks; give your own task another name"
        )
    metadata = mteb_class.metadata.model_copy(update={"dataset": dataset})
    columns = {"column_names": AbsTaskSTS.column_names} if files.type == "STS" else {}
    return type(mteb_class.__name__, (mteb_class,), {"metadata": metadata, **columns})


def load_local(task: AbsTask, files: LocalFiles) -> None:
    """Put the files' data into the task, as its one subset and split. Raises ConfigError and DataError."""
    for what, there in (("subset", task.hf_subsets), ("split", task.eval_splits)):
        if len(there) > 1:
            form = "[NAME]" if what == "subset" else "@NAME"
            raise ConfigError(
                f"{task.metadata.name} has the {what}s {', '.join(there)}, and local data stand for one of them; "
                f"say which: {task.metadata.name}{form}"
            )
    (subset,), (split,) = task.hf_subsets, task.eval_splits
    data = _sts_data(files.path) if files.type == "STS" else _retrieval_data(files.path, split)
    task.dataset = {subset: {split: data}}
    task.data_loaded = True


def _sts_data(path: Path) -> Dataset:
    return Dataset.from_dict(read_pairs(path)._asdict())


def _retrieval_data(folder: Path, split: str) -> dict:
    passages, queries, relevance = read_collection(folder, split)
    titles, texts = zip(*passages.values(), strict=True)
    corpus = {"id": list(passages), "title": list(titles), "text": list(texts)}
    return {
        "corpus": Dataset.from_dict(corpus),
        "queries": Dataset.from_dict({"id": list(queries), "text": list(queries.values())}),
        "relevant_docs": relevance,
        "top_ranked": None,
    }
