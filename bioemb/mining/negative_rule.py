"""The rule of negative selection: what may be a negative, how many are taken, and how they are drawn."""

from dataclasses import dataclass
from math import isfinite
from numbers import Integral, Real

from bioemb.errors import ConfigError

SAMPLING = ("uniform", "top", "simans")
ON_SHORT = ("fewer", "drop", "random")
WHOLE = ("range_start", "range_stop", "count", "seed")
BOUNDS = ("relative_margin", "absolute_margin", "max_score", "min_score")
WEIGHTS = ("simans_a", "simans_b")
KINDS = (
    (WHOLE, Integral, "a whole number"),
    (BOUNDS, Real | None, "a number, or None"),
    (WEIGHTS, Real, "a finite number"),
)


@dataclass(frozen=True)
class NegativeRule:
    """Which of a query's ranked passages become its negatives; p is its (lowest) positive score, s a candidate's.

    The defaults are FlagEmbedding's `hn_mine` behaviour. Scores and bounds are cosines. Raises ConfigError for
    values that cannot work.
    """

    range_start: int = 10  # ranks [range_start, range_stop) of the whole ranking, 0-based, positives counted in it
    range_stop: int = 210
    count: int = 15  # negatives per query
    sampling: str = "uniform"  # in the range; or "top": the closest; or "simans": by weight, see below
    relative_margin: float | None = None  # keep s <= p - |p| * this: NV-Retriever's PercPos (arXiv 2407.15831): .05
    absolute_margin: float | None = None  # keep s <= p - this: NV-Retriever's MarginPos
    max_score: float | None = None  # keep s <= this
    min_score: float | None = None  # keep s >= this
    on_short: str = "random"  # fill up from the corpus; or "fewer": keep what there is; or "drop": the query gets none
    seed: int = 0
    simans_a: float = 50.0  # SimANS (arXiv 2210.11773) draws by weight exp(-a (s - p - b)^2): a = 50 reaches .1 around
    simans_b: float = 0.0  # p + b

    def __post_init__(self):
        self._check_kinds()
        if not 0 <= self.range_start < self.range_stop:
            raise ConfigError(f"ranks {self.range_start}-{self.range_stop} are empty; a range is 0 <= start < stop")
        if self.count < 1:
            raise ConfigError(f"count is {self.count}; a query gets at least 1 negative")
        if self.sampling not in SAMPLING:
            raise ConfigError(f"sampling is {self.sampling!r}; it is one of {', '.join(SAMPLING)}")
        if self.on_short not in ON_SHORT:
            raise ConfigError(f"on_short is {self.on_short!r}; it is one of {', '.join(ON_SHORT)}")
        if self.relative_margin is not None and not 0 <= self.relative_margin <= 1:
            raise ConfigError(
                f"relative_margin is {self.relative_margin}; it is a share of the positive's score from 0 to 1: "
                "0.05 keeps what scores at most 95 % of the positive"
            )
        if self.absolute_margin is not None and not 0 <= self.absolute_margin <= 2:
            raise ConfigError(f"absolute_margin is {self.absolute_margin}; it is a difference of cosines, from 0 to 2")
        self._check_scores()

    def _check_kinds(self) -> None:
        for names, kind, expected in KINDS:
            for name in names:
                value = getattr(self, name)
                if isinstance(value, bool) or not isinstance(value, kind):
                    raise ConfigError(f"{name} is {value!r}; expected {expected}")

    def _check_scores(self) -> None:
        lowest = -1.0 if self.min_score is None else self.min_score
        highest = 1.0 if self.max_score is None else self.max_score
        if not -1 <= lowest <= highest <= 1:
            raise ConfigError(
                f"scores from {lowest} to {highest} are empty; cosines are -1 <= min_score <= max_score <= 1"
            )
        for name in WEIGHTS:
            if not isfinite(getattr(self, name)):
                raise ConfigError(f"{name} is {getattr(self, name)}; expected a finite number")
        if self.simans_a < 0:
            raise ConfigError(f"simans_a is {self.simans_a}; a negative sharpness would prefer what is far from p + b")

    @property
    def needs_positive_scores(self) -> bool:
        """Whether a query's positive score decides anything."""
        return self.sampling == "simans" or self.relative_margin is not None or self.absolute_margin is not None

    @staticmethod
    def parse_range(text: str) -> tuple[int, int]:
        """`--range_for_sampling`'s "2-200" as (range_start, range_stop): 0-based, the stop excluded."""
        start, dash, stop = text.partition("-")
        if not (dash and start.strip().isdecimal() and stop.strip().isdecimal()):
            raise ConfigError(
                f"the range {text!r} is not `first-stop`, as in 2-200: ranks count from 0, stop is excluded"
            )
        if int(start) >= int(stop):
            raise ConfigError(f"the range {text!r} holds no rank: the first must be below the stop, as in 2-200")
        return int(start), int(stop)
