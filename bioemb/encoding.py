"""Encoding many texts: sorted by tokens, in batches of a token budget, restored to order, checked to be finite.

A text's vector does not depend on its batch beyond rounding. `encode_to_blocks` fills a folder of blocks and goes
on where it stopped; block by block, it gives the same bytes in one run or in many.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np
import torch

from bioemb.blocks import BlockFolder
from bioemb.errors import DataError, ModelError
from bioemb.log import logger, progress
from bioemb.packed_linear import packed_linears
from bioemb.processes import fill

if TYPE_CHECKING:
    from bioemb.encoder import Encoder, Kind

Item, Made = TypeVar("Item"), TypeVar("Made")
MOST_WORKERS = 8  # batches at a time on a CPU; Python itself runs in one of them at once


class Texts(Protocol):
    """Texts by slices, in memory or on disk."""

    def __len__(self) -> int: ...
    def __getitem__(self, rows: slice) -> Sequence[str]: ...


def encode_texts(
    encoder: "Encoder",
    texts: Sequence[str],
    kind: "Kind | None",
    *,
    batch_tokens: int | None = None,
    bf16: bool = False,
) -> np.ndarray:
    """float32 [n, d], in input order. Raises DataError for what is not text, ModelError for a vector not finite."""
    if isinstance(texts, str):
        raise DataError(f"expected a list of texts to encode, got one text: {texts[:80]!r}")
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(f"text {index} to encode is {type(text).__name__}, expected str")
    vectors = encode_ids(encoder, encoder.token_ids(texts, kind), bf16=bf16, batch_tokens=batch_tokens)
    return _finite(vectors, texts, encoder)


def encode_ids(
    encoder: "Encoder", token_ids: Sequence[Sequence[int]], *, bf16: bool = False, batch_tokens: int | None = None
) -> torch.Tensor:
    """Vectors float32 [n, d] of token ids, without gradient, in their order and on the encoder's device."""
    device = encoder.device
    vectors = torch.empty(len(token_ids), encoder.width, device=device)
    batches = list(token_batches([len(ids) for ids in token_ids], batch_tokens or encoder.batch_tokens))

    def encode(some: Iterator[np.ndarray]) -> None:
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):  # of the thread that asks
            for rows in some:
                (batch,) = encoder(encoder.batch([token_ids[row] for row in rows], half=bf16))
                vectors[torch.from_numpy(rows).to(device)] = batch.float()

    packs = bf16 and device.type == "cpu" and not encoder.is_compiled
    with evaluating(encoder), packed_linears(encoder, packs):
        in_workers(encode, batches, 1 if device.type != "cpu" or encoder.is_compiled else MOST_WORKERS)
    return vectors


def in_workers(work: Callable[[Iterator[Item]], None], items: Sequence[Item], most: int) -> None:
    """work(items) in threads that take items by turns and share torch's threads, at most so many.

    Threads that work on one batch wait for each other after every operation; with a batch each they do not.
    """
    threads = torch.get_num_threads()
    workers = max(1, min(most, threads, len(items)))
    waiting = iter(items)
    if workers == 1:
        return work(waiting)
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(threads // workers,)) as pool:
        begun = [pool.submit(work, waiting) for _ in range(workers)]
        try:
            wait(begun, return_when=FIRST_EXCEPTION)
        finally:
            for _ in waiting:  # after an error or an interruption nobody begins another
                pass
            torch.set_num_threads(threads)  # what threads of the future start with
    for done in begun:
        done.result()
    return None


def choose_bf16(asked: bool | None, device: torch.device) -> bool:
    """Whether to compute in bfloat16: as asked, and where nothing is asked, where the hardware multiplies in it.

    What is asked of other hardware is done, with a warning.
    """
    if asked and not has_bf16(device):
        logger.warning(
            "--bf16: this hardware is not known to multiply in bfloat16, and may take many times as long as in "
            "float32; leave it out"
        )
    return has_bf16(device) if asked is None else asked


def has_bf16(device: torch.device) -> bool:
    """Whether the hardware has instructions for products in bfloat16."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16"))


@contextmanager
def evaluating(module: torch.nn.Module) -> Iterator[None]:
    """Without dropout, then as it was."""
    was_training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(was_training)


def token_batches(lengths: Sequence[int], budget: int) -> Iterator[np.ndarray]:
    """Rows in batches of at most `budget` tokens after padding (one text at least), the longest texts first."""
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    start = 0
    while start < len(order):
        size = max(1, budget // max(1, lengths[order[start]]))
        yield order[start : start + size]
        start += size


def plan_sub_batches(
    lengths: Sequence[int], batch_tokens: int, graph_tokens: int | None
) -> tuple[list[np.ndarray], int]:
    """The rows of a training step's sub-batches, and how many of the last ones may keep their graph.

    graph_tokens: so many tokens' activations fit in memory at once (one text's do in any case); None: all of them.
    """
    if graph_tokens is None:
        sub_batches = list(token_batches(lengths, batch_tokens))
        return sub_batches, len(sub_batches)
    sub_batches = list(token_batches(lengths, min(batch_tokens, graph_tokens)))
    tokens = np.cumsum([sum(lengths[row] for row in rows) for rows in reversed(sub_batches)])
    return sub_batches, int((tokens <= graph_tokens).sum())


def encode_to_blocks(
    encoder: "Encoder", texts: Texts, kind: "Kind", folder: BlockFolder, *, batch_tokens: int | None, bf16: bool
) -> None:
    """Fill the folder's missing blocks with the vectors of the texts, each process its share, block by block.

    The next block's tokens are made while the model is busy with this one's.
    """

    def tokenised(index: int) -> tuple[Sequence[str], list[array]]:
        block = texts[folder.span(index)]
        return block, [array("i", ids) for ids in encoder.token_ids(block, kind)]  # a tenth of a list's memory

    def encode(blocks: list[int]) -> Iterator[np.ndarray]:
        shown = progress(blocks, f"encode {kind}s, blocks of {folder.block_rows}")
        for block, token_ids in ahead(tokenised, shown):
            yield _finite(encode_ids(encoder, token_ids, bf16=bf16, batch_tokens=batch_tokens), block, encoder)

    fill(folder, encode)


def ahead(make: Callable[[Item], Made], items: Iterable[Item]) -> Iterator[Made]:
    """make(item) of each item, in order, the next one in a thread while the caller works on this one."""
    with ThreadPoolExecutor(1) as thread:
        waiting = None
        for item in items:
            coming = thread.submit(make, item)
            if waiting is not None:
                yield waiting.result()
            waiting = coming
        if waiting is not None:
            yield waiting.result()


def _finite(vectors: torch.Tensor, texts: Sequence[str], encoder: "Encoder") -> np.ndarray:
    """The vectors as an array. Raises ModelError that shows the first text whose vector is not finite."""
    array = vectors.cpu().numpy()
    finite = np.isfinite(array).all(axis=1)
    if not finite.all():
        index = int(np.argmin(finite))
        message = f"{encoder.source or 'the model'} gave a vector that is not finite for: {texts[index][:80]!r}"
        error = ModelError(message)
        error.text = texts[index]
        raise error
    return array
