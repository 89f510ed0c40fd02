"""What `recipe.py` tries: its cases, each a change of one, and which trainings a case is made of."""

from dataclasses import dataclass, replace

from quality import SEED
from quality_training import OURS, START

BASE, CHOSEN, FRESH = "base", "recipe", "fresh start"
AS_MANY = "3 times the queries"  # as many as the trainings of CHOSEN see together
QUICK = (BASE, "no hard negatives", "0.3 of the start's weights")


@dataclass(frozen=True)
class Recipe:
    """What is varied. keep_share: of the pairs of each kind, by the start's cosines; start_share: of the weights.

    times: the queries seen, as a multiple of `--examples`; models: trainings whose weights are averaged.
    """

    kinds: tuple[str, ...] = ("title_abstract", "title_passage", "abstract_passage")
    terms: bool = True
    spans: bool = False
    keep_share: float | None = 0.9
    ranks: str = "10-100"
    relative_margin: float | None = 0.05
    negatives: int = 1
    temperature: float = 0.05
    directions: str = "query"
    queries: int = 64  # of a step
    learning_rate: float = 5e-5
    dropout: float = 0.0
    term_weight: float = 1.0
    times: int = 1
    models: int = 1
    start_share: float = 0.0
    package: str = OURS
    start: str = START


RECIPE = Recipe(models=3)
SMALL = Recipe(start=FRESH, negatives=0, learning_rate=1e-3)
CASES = {
    BASE: Recipe(),
    "rate 2e-5": Recipe(learning_rate=2e-5),
    "rate 1e-4": Recipe(learning_rate=1e-4),
    "rate 2e-4": Recipe(learning_rate=2e-4),
    "temperature 0.02": Recipe(temperature=0.02),
    "temperature 0.1": Recipe(temperature=0.1),
    "no hard negatives": Recipe(negatives=0),
    "sentences of abstracts, too": Recipe(spans=True),
    "no terms": Recipe(terms=False),
    "256 queries a step": Recipe(queries=256),
    "both directions": Recipe(directions="both"),
    "0.3 of the start's weights": Recipe(start_share=0.3),
    "0.5 of the start's weights": Recipe(start_share=0.5),
    "3 hard negatives": Recipe(negatives=3),
    "no margin": Recipe(relative_margin=None),
    "margin 0.1": Recipe(relative_margin=0.1),
    "negatives of ranks 1-30": Recipe(ranks="1-30"),
    "negatives of ranks 100-300": Recipe(ranks="100-300"),
    "no filter": Recipe(keep_share=None),
    "best 0.7 of the pairs": Recipe(keep_share=0.7),
    "no passages of full texts": Recipe(kinds=("title_abstract",)),
    "32 queries a step": Recipe(queries=32),
    "dropout 0.1": Recipe(dropout=0.1),
    "twice as many terms": Recipe(term_weight=2.0),
    "twice the queries": Recipe(times=2),
    "4 times the queries": Recipe(times=4),
    AS_MANY: Recipe(times=RECIPE.models),
    f"{AS_MANY}, dropout 0.1": Recipe(times=RECIPE.models, dropout=0.1),
    "mean of 3 trainings, rate 1e-4": Recipe(models=3, learning_rate=1e-4),
    CHOSEN: RECIPE,
    f"{CHOSEN}, 0.3 of the start's weights": replace(RECIPE, start_share=0.3),
    "FlagEmbedding": Recipe(package="FlagEmbedding"),
    "sentence-transformers": Recipe(package="sentence-transformers"),
    "FlagEmbedding, as many queries": Recipe(times=RECIPE.models, package="FlagEmbedding"),
    "sentence-transformers, as many queries": Recipe(times=RECIPE.models, package="sentence-transformers"),
    "fresh small encoder": SMALL,
    "fresh, temperature 0.02": replace(SMALL, temperature=0.02),
    "fresh, temperature 0.1": replace(SMALL, temperature=0.1),
    "fresh, 1 hard negative": replace(SMALL, negatives=1),
    "fresh, 256 queries a step": replace(SMALL, queries=256),
    "fresh, both directions": replace(SMALL, directions="both"),
    "fresh, 4 times the queries": replace(SMALL, times=4),
}


PEERS = ("FlagEmbedding", "sentence-transformers")
BESIDE = [(BASE, peer) for peer in PEERS] + [
    (ours, f"{peer}, as many queries") for ours in (CHOSEN, AS_MANY, f"{AS_MANY}, dropout 0.1") for peer in PEERS
]  # ours, theirs


def trainings_of(case: str, seed: int) -> list[str]:
    """The trainings that a case averages, with each other or with the start: cases themselves. Else its own."""
    recipe = CASES[case]
    alone = replace(recipe, start_share=0.0, models=1)
    name = next(name for name, other in CASES.items() if other == alone)
    return [f"{name}{SEED}{recipe.models * seed + place}" for place in range(recipe.models)]


def needed_for(job: str) -> list[str]:
    """What must be trained for a job, and then itself."""
    case, seed = job.rsplit(SEED, 1)
    return list(dict.fromkeys([*trainings_of(case, int(seed)), job]))
