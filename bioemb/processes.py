"""Work shared out among the processes that a launcher started: torchrun, or accelerate launch.

They meet at files: each writes its share of a folder's blocks, and all wait for all before anybody reads. What passes
between them otherwise is small and goes over gloo. With one process nothing here does anything but the work.

What may fail stands in `on_first` or `on_all`: the error of one process is raised on every one, and none is left
waiting. A process that is killed, or ends with an error that no user can put right, closes its connections, and the
others end with a word on it; what is on disk is gone on from. An error that all meet alike before they have met each
other is said once by `say_once`.
"""

import atexit
import gc
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import NamedTuple, TypeVar

import numpy as np
import torch
import torch.distributed as dist

from bioemb.blocks import BlockFolder
from bioemb.distributed import world
from bioemb.errors import BioembError, ConfigError, ModelError
from bioemb.records import stable_hash

MEETING = timedelta(minutes=10)  # within which all processes must have started
PATIENCE = timedelta(days=7)  # a slow machine's share may take days; one that has ended is noticed at once
ANSWER = timedelta(seconds=10)  # within which the launcher's store answers
_waiting: dist.ProcessGroup | None = None  # all of them, with that patience
Result = TypeVar("Result")


class _Outcome(NamedTuple):
    result: object
    error: Exception | None


def join_processes() -> None:
    """Meet the processes of the launcher's environment, once; each takes the GPU of its number on its machine.

    Raises ConfigError where they do not meet.
    """
    global _waiting
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        return
    with_gpu = torch.cuda.is_available()
    if with_gpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    try:
        dist.init_process_group("cpu:gloo,cuda:nccl" if with_gpu else "gloo", timeout=MEETING)
        _waiting = dist.new_group(backend="gloo", timeout=PATIENCE)
    except (ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"WORLD_SIZE is {os.environ['WORLD_SIZE']}, but so many processes did not meet ({reason}); "
            "start them with torchrun or accelerate launch"
        ) from error
    leave_at_end()


def say_once(words: str, say: Callable[[], None]) -> None:
    """Call `say`, unless another process of the launcher has said these words: of all that meet an error, the first.

    torchrun and accelerate launch keep a store that is there before the processes meet. A launcher ends all of them
    when one has ended, so nobody is silent before the other has spoken. Without a store, or an answer, everybody
    speaks: twice is better than never.
    """
    store = _launchers_store()
    key = f"bioemb/said/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}/{stable_hash(words)}"
    with suppress(RuntimeError):  # torch's word for a store that does not answer, or not in time
        if store and store.add(key, 1) > 1:
            store.wait([f"{key}/done"], ANSWER)
            return
    say()
    with suppress(RuntimeError):
        if store:
            store.set(f"{key}/done", "")


def leave_at_end() -> None:
    """Close the connections before Python ends, however it comes to its end; to be called once they are open."""
    atexit.unregister(_leave)
    atexit.register(_leave)


def on_first(work: Callable[[], Result]) -> Result:
    """What `work` gives on the first process, on every process; its error is raised on every one."""
    rank, processes = world()
    if processes == 1:
        return work()
    outcomes = [_attempt(work) if rank == 0 else None]
    _exchange(dist.broadcast_object_list, outcomes, 0, _waiting)
    if outcomes[0].error is not None:
        raise outcomes[0].error
    return outcomes[0].result


def on_all(work: Callable[[], Result]) -> Result:
    """Run `work` on every process and wait for all; this one's result. The error of any is raised on every one."""
    processes = world()[1]
    if processes == 1:
        return work()
    outcome = _attempt(work)
    errors: list[Exception | None] = [None] * processes
    _exchange(dist.all_gather_object, errors, outcome.error, _waiting)
    for error in errors:
        if error is not None:
            raise error
    return outcome.result


def first_then_all(work: Callable[[], Result]) -> Result:
    """Run `work` on the first process, then on the others, who find what it left; the error of any is raised on all."""
    done: list[Result] = []
    on_first(lambda: done.append(work()))
    return on_all(lambda: done[0] if done else work())


def require_same(value: str, name: str) -> None:
    """Refuse to share work where a model, known by its hash, differs among the processes. Raises ModelError."""
    first = on_first(lambda: value)

    def compare() -> None:
        if value != first:
            raise ModelError(f"{name} is not the same on all machines: copy one to where all of them find it")

    on_all(compare)


def share(items: Sequence[Result]) -> list[Result]:
    """This process's share: every n-th item, for work that is unequal in a way that follows the order."""
    rank, processes = world()
    return list(items[rank::processes])


def stretch(items: Sequence[Result]) -> list[Result]:
    """This process's share as one stretch, for work whose neighbours have something in common."""
    rank, processes = world()
    return list(items[len(items) * rank // processes : len(items) * (rank + 1) // processes])


def fill(folder: BlockFolder, make: Callable[[list[int]], Iterable[np.ndarray]]) -> None:
    """Write the folder's missing blocks, each process its share, and return when all of them are there.

    make: from the numbers of some blocks, rising, to the rows of each, one array after the other.
    """

    def list_missing() -> list[int]:
        folder.remove_leftovers()
        return folder.missing()

    mine = share(on_first(list_missing))

    def write() -> None:
        for index, rows in zip(mine, make(mine), strict=True):
            folder.write(index, rows)

    on_all(write)
    on_all(folder.wait_until_whole)


def _launchers_store() -> dist.Store | None:
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    try:
        host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        return dist.TCPStore(host, port, is_master=False, timeout=ANSWER, wait_for_workers=False)
    except (KeyError, ValueError, RuntimeError):
        return None


def _leave() -> None:
    """Close the connections; gloo's threads, left to the end of Python, now and then abort the process."""
    global _waiting
    if dist.is_initialized():
        dist.destroy_process_group()
    _waiting = None
    gc.collect()  # a model that holds a group keeps its threads


def _attempt(work: Callable[[], Result]) -> _Outcome:
    try:
        return _Outcome(work(), None)
    except (BioembError, OSError) as error:
        error.is_shared = True
        return _Outcome(None, error)


def _exchange(collective: Callable, *arguments: object) -> None:
    try:
        collective(*arguments)
    except RuntimeError as error:  # gloo's word for a closed connection
        _leave()
        raise BioembError(
            "another process ended before its work was done; it says why itself. Run the command again to go on"
        ) from error
