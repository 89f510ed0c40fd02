"""What a training run says of itself and hears from outside: the numbers of its log, and signals."""

import signal
import time
from collections.abc import Sequence
from types import FrameType

from bioemb.data.collator import Batch


class Window:
    """What happened on this process since the last line of the log."""

    def __init__(self):
        self.losses: list[float] = []
        self.tokens = 0
        self.start = time.perf_counter()

    def add(self, loss: float, batches: Sequence[Batch]) -> None:
        self.losses.append(loss)
        self.tokens += sum(len(ids) for batch in batches for ids in (*batch.queries, *batch.passages))

    def summary(self) -> dict[str, float]:
        """The mean loss, and tokens (without padding) per second."""
        seconds = time.perf_counter() - self.start
        return {"loss": sum(self.losses) / len(self.losses), "tokens_per_second": round(self.tokens / seconds)}


class Interruption:
    """Notes SIGINT and SIGTERM instead of dying of them, so that a step ends and the run is saved; twice: at once."""

    def __enter__(self) -> "Interruption":
        self.asked = False
        self.before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
