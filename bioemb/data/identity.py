"""Which articles share an identity: linked ones, those with the same text, and near-duplicate abstracts.

An article's `Marks` and `signature` are all that is kept of its text. Pure functions on arrays tie the keys of articles
together, and `smallest_of_group` names each group; which records count, and where arrays lie, is left to the stage.

Near-duplicates are found as in MinHash with banding: abstracts whose signatures agree in one of 32 bands of 4 numbers
are compared, and tied where the share of equal numbers, which estimates the share of word triples that they have in
common (Jaccard), reaches a threshold. Of abstracts that share 60% of their triples 99 in 100 are compared, of those
that share half of them 87.
"""

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from bioemb.records import Article, stable_hash

SIGNS = re.compile("[“”„‟‘’‚‛′″«»‐-―−…·®™]")
NOT_WORDS = bytes(code if code > 127 or chr(code).isalnum() or chr(code) == "_" else 32 for code in range(256))
TITLE_WORDS, ABSTRACT_WORDS = 5, 20  # shorter titles ("Case report") and abstracts ("Not available") say nothing
PERMUTATIONS, BANDS = 128, 32  # numbers of a signature, 16 bits each; four of them are a band
SEED = 1
BLOCK = 1 << 16  # pairs of signatures compared at once: 32 MB

# "Reply to: X", "Correction to: X", "X: Reply" are about X. Words that open an ordinary title need a sign after them.
ABOUT_BEFORE = re.compile(
    r"""\W*(?:
        (?:repl(?:y|ies)\s+to | comments?\s+on | retraction\s+not(?:e|ice)(?:\s+(?:to|for|of))?
          | (?:erratum|errata|corrigend(?:um|a)|addendum)(?:\s+(?:to|for))?)\b\s*[:.]?
      | (?:(?:publisher|author)\s+)?(?:correction|retraction|re|response|reply|commentary|comment
          | (?:editorial\s+)?expression\s+of\s+concern | retracted(?:\s+article)? | withdrawn(?:\s+article)?)
          (?:\s+(?:to|on|for|of))?\s*(?:[:\]]|(?=["“‘]))
    )\s*""",
    re.IGNORECASE | re.VERBOSE,
)
ABOUT_AFTER = re.compile(
    r"""[:."”\[(]\s*(?:authors?['’]?s?['’]?\s+)?(?:reply|response|comments?|erratum|corrigendum|correction|retraction)\W*\Z""",
    re.IGNORECASE,
)


class Marks(NamedTuple):
    """63-bit hashes of what is equal in copies of an article; 0 where there is nothing to compare."""

    title: int
    abstract: int
    doi: int
    pmcid: int


def marks_of(article: Article) -> tuple[Marks, list[str]]:
    """The article's marks, and the words of its abstract, none where it is too short."""
    title = words_of(title_in_question(article.title))
    abstract = words_of(" ".join(part.text for part in article.abstract))
    if len(abstract) < ABSTRACT_WORDS:
        abstract = []
    texts = (title if len(title) >= TITLE_WORDS else [], abstract)
    hashes = [stable_hash(" ".join(words)) or 1 if words else 0 for words in texts]
    names = [stable_hash(name) or 1 if name else 0 for name in (article.doi, article.pmcid)]
    return Marks(*hashes, *names), abstract


def words_of(text: str) -> list[str]:
    """Words in lower case, signs left out."""
    if not text.isascii():
        text = SIGNS.sub(" ", text)
    return text.casefold().encode().translate(NOT_WORDS).decode().split()  # of bytes: a third of a pattern's time


def title_in_question(title: str) -> str:
    """The title of the article that a notice or a reply is about; any other title as it is."""
    inner = ABOUT_BEFORE.sub("", title, count=1) if ABOUT_BEFORE.match(title) else title
    return ABOUT_AFTER.sub("", inner)


def signature(words: list[str]) -> np.ndarray:
    """The MinHash of the word triples of a text, as BANDS numbers of 64 bits: four permutations in each."""
    from rensa import RMinHash  # here: reading articles needs none of it

    sketch = RMinHash(PERMUTATIONS, SEED)
    sketch.update(list(map(" ".join, zip(words, words[1:], words[2:], strict=False))))
    return np.array(sketch.digest(), np.uint32).astype(np.uint16).view(np.uint64)


def equal_ties(keys: np.ndarray, marks: np.ndarray) -> np.ndarray:
    """Ties [m, 2] between the keys [n] of articles with the same mark [n], each to the next; 0 is no mark."""
    positions, begins = _runs(marks, keys)
    return np.stack([keys[positions[:-1]], keys[positions[1:]]], axis=1)[~begins[1:]]


def link_ties(links: np.ndarray) -> np.ndarray:
    """Ties [m, 2] of the links [k, 2] between keys, each of an article and of what speaks of it.

    What speaks of several articles (an editorial on two trials, a list of errata) ties none: they are different, and
    such chains would grow into one group of all that was ever discussed.
    """
    links = np.unique(links[links[:, 0] != links[:, 1]], axis=0)
    _, speaker, counts = np.unique(links[:, 1], return_inverse=True, return_counts=True)
    return links[counts[speaker] == 1]


def is_spoken_of(kind: str) -> bool:
    """Whether a record with a link of this RefType is what the other speaks of: CommentIn, ErratumIn, UpdateIn, ..."""
    return kind.endswith("In")


def near_ties(
    keys: np.ndarray,
    bands: Iterable[np.ndarray],
    signatures: Callable[[np.ndarray], np.ndarray],
    threshold: float,
) -> np.ndarray:
    """Ties [m, 2] between keys whose signatures agree in one band, and in a share `threshold` of all their numbers.

    keys [n] rising; bands: BANDS arrays [n] uint64, one at a time; signatures(positions [p]) -> [p, BANDS] uint64.
    Of those alike in a band each is compared with the first and with the one before it.
    """
    found = np.zeros(0, np.uint64)  # two positions of 32 bits
    for band in bands:
        positions, begins = _runs(band, keys)
        first = positions[np.maximum.accumulate(np.where(begins, np.arange(len(positions)), 0))]
        others, again = np.stack([first, np.roll(positions, 1)])[:, ~begins], positions[~begins]
        low, high = np.minimum(others, again), np.maximum(others, again)
        new = low.astype(np.uint64) << np.uint64(32) | high.astype(np.uint64)
        found = _distinct(np.concatenate([found, new.ravel()]))
    pairs = np.stack([found >> np.uint64(32), found & np.uint64(0xFFFFFFFF)], axis=1).astype(np.int64)
    alike = [share_of_equal(*(signatures(side) for side in block.T)) >= threshold for block in _blocks(pairs)]
    return keys[pairs[np.concatenate([*alike, np.zeros(0, bool)])]].reshape(-1, 2)


def share_of_equal(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The share of equal 16-bit numbers [p] in two signatures [p, BANDS] each."""
    return (some.view(np.uint16) == others.view(np.uint16)).mean(axis=1)


def smallest_of_group(ties: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The keys [k] that the ties [m, 2] name, rising, and for each the smallest key [k] of all that it is tied to."""
    keys, ends = np.unique(ties, return_inverse=True)
    some, others = ends.reshape(-1, 2).T
    root = np.arange(len(keys))
    while True:
        one, other = root[some], root[others]
        apart = one != other
        if not apart.any():
            return keys, keys[root]
        # Every root hangs itself below the smallest root beside it; at least half of those with neighbours go.
        np.minimum.at(root, np.maximum(one, other)[apart], np.minimum(one, other)[apart])
        while (root != root[root]).any():
            root = root[root]


def _runs(values: np.ndarray, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the values that occur more than once (0 apart), equal ones together and by key; where runs begin."""
    order = np.argsort(values)
    ranked = values[order]
    same = ranked[1:] == ranked[:-1]
    several = np.zeros(len(values), bool)
    several[1:] |= same
    several[:-1] |= same
    positions = order[several & (ranked != 0)]
    positions = positions[np.lexsort((positions, keys[positions], values[positions]))]
    begins = np.ones(len(positions), bool)
    begins[1:] = values[positions[1:]] != values[positions[:-1]]
    return positions, begins


def _distinct(values: np.ndarray) -> np.ndarray:
    """Each value once, rising; by a sort: with np.unique's hash table extraction's curve bent (docs/benchmarks.md)."""
    values = np.sort(values)
    is_new = np.ones(len(values), bool)
    is_new[1:] = values[1:] != values[:-1]
    return values[is_new]


def _blocks(pairs: np.ndarray) -> Iterable[np.ndarray]:
    return (pairs[start : start + BLOCK] for start in range(0, len(pairs), BLOCK))
