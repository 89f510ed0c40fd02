"""The same search through faiss: the only file that imports it, and only when a FaissSearcher is made.

"Flat" is exact; on a CPU NumpySearcher is about as fast and takes no memory. Any other `index_factory` string works
with inner products; those that are trained or approximate should be held against exact search on a sample of queries:
`search.measure_recall(searcher, exact, queries, k)`.
"""

import os
from pathlib import Path
from types import ModuleType

import numpy as np

from bioemb.errors import ConfigError
from bioemb.log import logger
from bioemb.mining.search import check_k, check_vectors, order_ties

ADDED_ROWS = 65_536  # vectors converted and added at once
TRAINING_ROWS = 262_144  # vectors that a trained index learns its cells from, at most
GPU_LARGEST_K = 2048  # faiss's own limit
DEVICES = ("cpu", "gpu")


class FaissSearcher:
    """Search in a faiss index; agrees with NumpySearcher where the index is exact.

    factory: any `index_factory` string, as "Flat", "IVF4096,Flat", "HNSW32"; parameters: faiss's search parameters, as
    "nprobe=128"; trained: a file that `save` wrote, in place of training. device "gpu": the index is copied to all
    GPUs, its vectors split among them in half precision, so that scores are right to about 1e-3; a faiss built with
    cuVS uses it by itself. Memory: the index (4 bytes * width * passages for "Flat") and the results.

    Equal scores of one row stand in rising order of id; which of several passages that tie with the *last* one enters
    the row is faiss's choice. The last bits of its scores change with the number of queries of a call and of threads
    (NumpySearcher's do not): where the same bytes are wanted from one process and from many, search with NumpySearcher.
    """

    def __init__(
        self, width: int, factory: str = "Flat", device: str = "cpu", parameters: str = "", trained: Path | None = None
    ):
        if device not in DEVICES:
            raise ConfigError(f"device is {device!r}; a search runs on one of {', '.join(DEVICES)}")
        if device == "gpu":
            require_gpu()
        self.width, self.factory, self.device = width, factory, device
        self._index = _make_index(width, factory, parameters, trained)
        self._on_gpus = None  # the copy that searches; made when needed, since a split index takes no second add

    def __len__(self) -> int:
        return self._index.ntotal

    @property
    def is_trained(self) -> bool:
        """Whether the index can take vectors; kinds that learn nothing can from the start."""
        return self._index.is_trained

    def save(self, path: str | Path) -> None:
        """Write the index as it is, aside and renamed: trained and still empty, it stands for every shard."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.{os.getpid()}.part")
        _faiss().write_index(self._index, str(aside))
        aside.replace(path)

    def train(self, vectors: np.ndarray) -> None:
        """Let a trained index learn from a sample [m, d] of the whole corpus; others need none."""
        check_vectors(vectors, self.width)
        if self._index.is_trained:
            return
        step = len(vectors) // TRAINING_ROWS + 1
        sample = _float32(vectors[::step])
        try:
            self._index.train(sample)
        except RuntimeError as error:
            raise ConfigError(
                f"faiss cannot train {self.factory!r} on {len(sample)} vectors ({_reason(error)}); "
                "train on more, or choose fewer cells, or 'Flat'"
            ) from error

    def add(self, vectors: np.ndarray) -> None:
        """Append passages [m, d] of length 1; an index still untrained is trained on a sample of these."""
        check_vectors(vectors, self.width, first_row=len(self))
        if not self._index.is_trained:
            logger.info("training %s on a sample of the first %d vectors", self.factory, len(vectors))
            self.train(vectors)
        for begin in range(0, len(vectors), ADDED_ROWS):
            self._index.add(_float32(vectors[begin : begin + ADDED_ROWS]))
        self._on_gpus = None

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k closest passages of each query [q, d]: (scores [q, k] falling, ids [q, k]), padded with (-inf, -1)."""
        check_k(k)
        check_vectors(queries, self.width)
        if self.device == "gpu" and k > GPU_LARGEST_K:
            raise ConfigError(f"faiss finds at most {GPU_LARGEST_K} neighbours on a GPU, and {k} were asked for")
        scores, ids = self._searching().search(_float32(queries), int(k))
        return order_ties(scores, ids)

    def _searching(self):
        if self.device == "cpu":
            return self._index
        if self._on_gpus is None:
            faiss = _faiss()
            options = faiss.GpuMultipleClonerOptions()
            options.shard = True
            options.useFloat16 = True
            try:
                self._on_gpus = faiss.index_cpu_to_all_gpus(self._index, co=options)
            except RuntimeError as error:
                raise ConfigError(f"faiss cannot search {self.factory!r} on GPUs: {_reason(error)}") from error
        return self._on_gpus


def require_gpu() -> None:
    """Raise ConfigError at once where faiss cannot search on a GPU: call it before anything is encoded."""
    faiss = _faiss()
    if not hasattr(faiss, "GpuMultipleClonerOptions"):
        raise ConfigError(
            "searching on a GPU needs a faiss with GPU support, and this one has none: "
            "replace faiss-cpu by faiss-gpu-cu12 (pip install 'bioemb[gpu]'), or leave out --use_gpu_for_searching"
        )
    if faiss.get_num_gpus() == 0:
        raise ConfigError("faiss finds no GPU here: leave out --use_gpu_for_searching to search on the CPU")


def _faiss() -> ModuleType:
    try:
        import faiss
    except ImportError as error:
        raise ConfigError(
            "FaissSearcher needs faiss: pip install 'bioemb[cpu]' or 'bioemb[gpu]'; NumpySearcher does without"
        ) from error
    return faiss


def _make_index(width: int, factory: str, parameters: str, trained: Path | None):
    """An empty index for inner products. Raises ConfigError for what faiss does not understand."""
    faiss = _faiss()
    try:
        if trained is None:
            index = faiss.index_factory(width, factory, faiss.METRIC_INNER_PRODUCT)
        else:
            index = faiss.read_index(str(trained))
        if parameters:
            faiss.ParameterSpace().set_index_parameters(index, parameters)
    except RuntimeError as error:
        raise ConfigError(f"faiss refuses the index {factory!r} {parameters!r}: {_reason(error)}") from error
    if index.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise ConfigError(f"the faiss index {factory!r} has no inner product, so its scores are no cosines; use 'Flat'")
    return index


def _float32(vectors: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(vectors, dtype=np.float32)


def _reason(error: RuntimeError) -> str:
    """faiss's own words, without its function and file names."""
    return str(error).rsplit(": ", 1)[-1].strip()
