"""What a training run says of itself and hears from outside: the numbers of its log, and signals."""

import signal
import sys
import time
from types import FrameType

import torch


class Window:
    """What happened on this process since the last line of the log."""

    def __init__(self):
        self.losses: list[float] = []
        self.norms: list[float] = []
        self.tokens = self.slots = 0
        self.start = time.perf_counter()

    def count(self, tokens: int, slots: int) -> None:
        """Texts of so many tokens went through the model in so many places, padding included."""
        self.tokens += tokens
        self.slots += slots

    def add(self, loss: float, norm: float) -> None:
        """An update was made: its loss, and the gradient's norm before it was cut."""
        self.losses.append(loss)
        self.norms.append(norm)

    def summary(self) -> dict[str, float]:
        """Means over the updates, tokens (without padding) per second, padding's share, this process's memory."""
        seconds = time.perf_counter() - self.start
        return {
            "loss": sum(self.losses) / len(self.losses),
            "gradient_norm": round(sum(self.norms) / len(self.norms), 6),
            "tokens_per_second": round(self.tokens / seconds),
            "padding_share": round(1 - self.tokens / max(self.slots, 1), 4),
            "peak_memory_mb": peak_memory(),
        }


def peak_memory() -> int:
    """The most memory that this process has held, in MB: a GPU's where there is one, else its resident set."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() >> 20
    try:
        import resource
    except ImportError:  # Windows
        return 0
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size >> (20 if sys.platform == "darwin" else 10)  # bytes there, kilobytes elsewhere


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
