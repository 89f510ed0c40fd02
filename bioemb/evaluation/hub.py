"""Whether mteb's data can be had, from the hub or from an earlier run. Says so at once, not after retries."""

import functools
import http.client
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import datasets
import huggingface_hub.constants
from datasets.naming import camelcase_to_snakecase
from mteb import AbsTask
from mteb.abstasks.aggregated_task import AbsTaskAggregate

from bioemb.errors import ConfigError

PROBE_SECONDS = 3.0
LAYOUTS = {
    "STS": '{0}.jsonl (lines {{"sentence1","sentence2","score"}})',
    "Retrieval": "{0}/corpus.jsonl, {0}/queries.jsonl and {0}/qrels/test.tsv",
}


@functools.cache
def hub_is_reachable() -> bool:
    """Whether the hub answers, be it with an error, within three seconds; asked once per process."""
    answered = threading.Event()
    # A thread, because no timeout of urllib's bounds the look-up of the name.
    threading.Thread(target=_ask_hub, args=(answered,), daemon=True).start()
    return answered.wait(PROBE_SECONDS)


def require_data(tasks: Sequence[AbsTask], is_reachable: Callable[[], bool] = hub_is_reachable) -> bool:
    """Check before a long run that every task's data can be had; True when the hub may be asked for it.

    Tasks that hold their data (local ones) need nothing and the hub is not asked. Raises ConfigError.
    """
    waiting = [task for task in _single_tasks(tasks) if not task.data_loaded]
    for task in waiting:
        _refuse_shadow(task)
    if not waiting:
        return False
    if not _offline_is_set() and is_reachable():
        return True
    missing = [task for task in waiting if not _is_at_hand(task.metadata.dataset["path"])]
    if missing:
        raise ConfigError(_what_to_do(missing))
    return False


@contextmanager
def offline() -> Iterator[None]:
    """Keep the hub's libraries from asking the hub, which costs many seconds for each data set where there is none."""
    before = huggingface_hub.constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    huggingface_hub.constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        huggingface_hub.constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before


def _refuse_shadow(task: AbsTask) -> None:
    # `datasets` would read a folder ./mteb/biosses-sts in the place of the hub's data, and nobody would know
    path = task.metadata.dataset["path"]
    if not Path(path).is_absolute() and Path(path).is_dir():
        raise ConfigError(
            f"{task.metadata.name}: the folder {path} here would be read in the place of the hub's data; evaluate from "
            "another folder, or name it by --local_data or an absolute path if it is meant"
        )


def _ask_hub(answered: threading.Event) -> None:
    try:
        urllib.request.urlopen(huggingface_hub.constants.ENDPOINT, timeout=PROBE_SECONDS).close()
    except urllib.error.HTTPError:
        pass  # an answer
    except (OSError, http.client.HTTPException):
        return
    answered.set()


def _offline_is_set() -> bool:
    asked = any(
        os.environ.get(name, "").upper() in {"1", "ON", "YES", "TRUE"}
        for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")
    )
    return asked or huggingface_hub.constants.HF_HUB_OFFLINE or datasets.config.HF_HUB_OFFLINE


def _single_tasks(tasks: Sequence[AbsTask]) -> list[AbsTask]:
    singles = []
    for task in tasks:  # an aggregate (CQADupstack, ...) holds tasks, and no data of its own
        singles += _single_tasks(task.tasks) if isinstance(task, AbsTaskAggregate) else [task]
    return singles


def _is_at_hand(path: str) -> bool:
    # Prepared by an earlier run (`datasets` keeps namespace___snake_case_name/config/version/revision), or a folder.
    *namespace, name = path.split("/")
    prepared = Path(datasets.config.HF_DATASETS_CACHE) / "___".join([*namespace, camelcase_to_snakecase(name)])
    return Path(path).is_dir() or any(folder.is_dir() for folder in prepared.glob("*/*/*"))


def _what_to_do(missing: Sequence[AbsTask]) -> str:
    names = [task.metadata.name for task in missing]
    cause = "offline mode is set (HF_HUB_OFFLINE)" if _offline_is_set() else "the hub cannot be reached"
    local = [
        LAYOUTS[task.metadata.type].format(f"DIR/{task.metadata.name}")
        for task in missing
        if task.metadata.type in LAYOUTS
    ]
    advice = f"give --local_data DIR with {local[0]}, or " if local else ""
    return (
        f"no data for {', '.join(names)}: {cause}, and no earlier run left it in {datasets.config.HF_DATASETS_CACHE}; "
        f"{advice}copy that folder from a machine that has it"
    )
