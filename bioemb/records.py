"""The words that the stages share: Article, Pair and Example. Only the standard library.

`data` makes articles and pairs, the filter keeps pairs, mining turns pairs into examples, training reads examples.
"""

from dataclasses import dataclass, field
from hashlib import blake2b

PAIR_KINDS = ("title_abstract", "title_passage", "abstract_passage")  # made unless others are asked for
ALL_PAIR_KINDS = (*PAIR_KINDS, "term_title")


@dataclass(frozen=True, slots=True)
class AbstractPart:
    """One `AbstractText`: its label ("" when it has none) and its text."""

    label: str
    text: str


@dataclass(frozen=True, slots=True)
class Section:
    """Body paragraphs under one heading of a full text."""

    path: tuple[str, ...]  # headings, the outermost first
    kind: str  # INTRO, METHODS, RESULTS, DISCUSS, CONCL, CASE or OTHER
    paragraphs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Article:
    """One record of PubMed or PMC, its text free of markup. Absent text is "", absent numbers are None."""

    article_id: str  # "pmid:31418825", else "pmc:PMC123", else "doi:...": the same for PubMed's and PMC's copy
    source: str = ""  # "pubmed" or "pmc"
    title: str = ""
    abstract: tuple[AbstractPart, ...] = ()
    sections: tuple[Section, ...] = ()
    pmid: int | None = None
    pmcid: str = ""
    doi: str = ""
    version: int = 1
    language: str = ""  # ISO 639-2, lower case ("eng")
    year: int | None = None
    revised: str = ""  # the day that PubMed last changed the record, "2026-01-15"
    journal: str = ""
    publication_types: tuple[str, ...] = ()
    links: tuple[tuple[str, int], ...] = ()  # (RefType, PMID) of CommentsCorrections
    vernacular_title: str = ""
    summary: str = ""  # a second abstract in plain words, where there is one
    terms: tuple[str, ...] = ()  # MeSH headings, keywords, substances
    license: str = ""
    flags: frozenset[str] = frozenset()  # "translated_title", "truncated", "retracted", ...


@dataclass(frozen=True, slots=True)
class Deletion:
    """PubMed withdraws a record: an earlier article with this PMID goes."""

    pmid: int


@dataclass(frozen=True, slots=True)
class Dropped:
    """A record that cannot become an article, and where it stands."""

    reason: str
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """A query and the document that answers it, from one article."""

    query: str
    document: str
    kind: str
    article_id: str
    identity: int  # shared by texts that must not be each other's negatives
    extra: dict = field(default_factory=dict)  # language, year, license, section, ...

    def as_record(self) -> dict:
        """The pair as one flat JSON object; `extra` cannot hide a field."""
        own = {name: getattr(self, name) for name in ("query", "document", "kind", "article_id", "identity")}
        return {**own, **self.extra, **own}


def stable_hash(text: str, bits: int = 63) -> int:
    """A non-negative integer that depends on the text alone: the same on every machine and run."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") >> (64 - bits)


def same_text_key(text: str) -> str:
    """What two texts share when they differ in case, spacing and a full stop at the end only."""
    return " ".join(text.casefold().split()).rstrip(" .")
