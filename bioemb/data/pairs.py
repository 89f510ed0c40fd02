"""Articles to pairs of a query and a document: four rules, their options, and a reason for all that is left out.

The law: an article gives, for each kind of pair, either pairs or exactly one reason.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bioemb.data.passage import Passage, draw_passages, passages
from bioemb.data.terms import draw_terms
from bioemb.data.text import count_words, is_notice
from bioemb.errors import ConfigError
from bioemb.records import PAIR_KINDS, AbstractPart, Article, Pair, same_text_key, stable_hash

RETRACTED = "Retracted Publication"
SKIPPED_TYPES = (
    *(RETRACTED, "Retraction of Publication", "Retraction Notice", "Published Erratum", "Expression of Concern"),
    *("Comment", "Letter", "Editorial", "News", "Newspaper Article"),
)


@dataclass(frozen=True)
class PairRules:
    """What becomes a pair. `languages` and `licenses` are allow-lists; ("all",) allows everything.

    A language that the record does not state is allowed; a licence that it does not state is not.
    """

    languages: tuple[str, ...] = ("eng",)
    licenses: tuple[str, ...] = ("all",)  # as in "CC BY"; asked of pairs with full text only
    skipped_types: tuple[str, ...] = SKIPPED_TYPES
    notices: bool = False  # keep titles such as "Correction to: ..."
    books: bool = False
    min_title_words: int = 3
    min_abstract_words: int = 30
    keep_labels: bool = False  # "METHODS: ..." in structured abstracts
    passages_per_article: int = 3
    min_passage_words: int = 60
    max_passage_words: int = 300
    terms_per_article: int = 5
    seed: int = 0

    def __post_init__(self):
        if self.passages_per_article < 1:
            raise ConfigError(f"passages_per_article is {self.passages_per_article}; use 1 or more")
        if self.terms_per_article < 1:
            raise ConfigError(f"terms_per_article is {self.terms_per_article}; use 1 or more")
        if not 1 <= self.min_passage_words <= self.max_passage_words / 2:
            raise ConfigError(
                f"passages of {self.min_passage_words} to {self.max_passage_words} words: "
                "the longest must be at least twice the shortest, which is at least 1"
            )


DEFAULT_RULES = PairRules()
Made = tuple[list[Pair], str]  # pairs, or none and the reason


def title_abstract(article: Article, rules: PairRules = DEFAULT_RULES) -> Iterator[Pair]:
    """The title as query, the abstract as document: one pair or none."""
    yield from _make(article, "title_abstract", rules)[0]


def title_passage(article: Article, rules: PairRules = DEFAULT_RULES) -> Iterator[Pair]:
    """The title as query, passages of the full text as documents."""
    yield from _make(article, "title_passage", rules)[0]


def abstract_passage(article: Article, rules: PairRules = DEFAULT_RULES) -> Iterator[Pair]:
    """The abstract as query, passages of the full text as documents."""
    yield from _make(article, "abstract_passage", rules)[0]


def term_title(article: Article, rules: PairRules = DEFAULT_RULES) -> Iterator[Pair]:
    """Terms that the article is indexed with as queries, the title as document."""
    yield from _make(article, "term_title", rules)[0]


def make_pairs(
    article: Article, kinds: Sequence[str] = PAIR_KINDS, rules: PairRules = DEFAULT_RULES
) -> tuple[list[Pair], list[tuple[str, str]]]:
    """The article's pairs, and (kind, reason) for each kind that gives none."""
    pairs: list[Pair] = []
    drops: list[tuple[str, str]] = []
    unwanted = _unwanted(article, rules)
    for kind in kinds:
        made, reason = ([], unwanted) if unwanted else MAKERS[kind](article, rules)
        pairs += made
        if not made:
            drops.append((kind, reason))
    return pairs, drops


def pair_identity(article: Article) -> int:
    """The integer that an article's texts share, so that none is taken for a negative of another."""
    return stable_hash(article.article_id)


def is_retracted(article: Article, rules: PairRules = DEFAULT_RULES) -> bool:
    """Whether the record says that its article was retracted, and the rules leave such ones out."""
    return RETRACTED in rules.skipped_types and (RETRACTED in article.publication_types or "retracted" in article.flags)


def _make(article: Article, kind: str, rules: PairRules) -> Made:
    reason = _unwanted(article, rules)
    return ([], reason) if reason else MAKERS[kind](article, rules)


def _unwanted(article: Article, rules: PairRules) -> str:
    """Why an article gives no pair of any kind; "" when it may."""
    for publication_type in article.publication_types:
        if publication_type in rules.skipped_types:
            return f"type: {publication_type}"
    if is_retracted(article, rules):
        return "retracted"
    if "book" in article.flags and not rules.books:
        return "book"
    if not rules.notices and is_notice(article.title, article.abstract[0].text if article.abstract else ""):
        return "notice"
    if article.language and not _allows(rules.languages, article.language):
        return "not English" if rules.languages == ("eng",) else f"language: {article.language}"
    return ""


def _title_abstract(article: Article, rules: PairRules) -> Made:
    reason = _title_reason(article, rules)
    if reason:
        return [], reason
    parts = _without_title(article.abstract, article.title)
    reason = _abstract_reason(parts, rules)
    if reason:
        return [], reason
    abstract = abstract_text(parts, rules.keep_labels)
    if _contains(article.title, abstract):
        return [], "leak: one side contains the other"
    return [_pair(article, "title_abstract", article.title, abstract)], ""


def _title_passage(article: Article, rules: PairRules) -> Made:
    reason = _text_reason(article, rules) or _title_reason(article, rules)
    return ([], reason) if reason else _with_passages(article, "title_passage", article.title, rules)


def _abstract_passage(article: Article, rules: PairRules) -> Made:
    reason = _text_reason(article, rules) or _abstract_reason(article.abstract, rules)
    if reason:
        return [], reason
    return _with_passages(article, "abstract_passage", abstract_text(article.abstract, rules.keep_labels), rules)


def _term_title(article: Article, rules: PairRules) -> Made:
    reason = "" if article.terms else "no terms"
    reason = reason or _title_reason(article, rules)
    if reason:
        return [], reason
    title = same_text_key(article.title)
    safe = [term for term in article.terms if same_text_key(term) != title]  # a term may stand in the title
    if not safe:
        return [], "leak: the title is the term"
    drawn = draw_terms(safe, rules.terms_per_article, f"{rules.seed}\0{article.article_id}")
    return [_pair(article, "term_title", term, article.title) for term in drawn], ""


MAKERS: dict[str, Callable[[Article, PairRules], Made]] = {
    "title_abstract": _title_abstract,
    "title_passage": _title_passage,
    "abstract_passage": _abstract_passage,
    "term_title": _term_title,
}


def _with_passages(article: Article, kind: str, query: str, rules: PairRules) -> Made:
    """Pairs of the query with passages drawn from those that give nothing away."""
    every = list(passages(article, rules.min_passage_words, rules.max_passage_words))
    if not every:
        return [], "short full text"
    safe = [passage for passage in every if not _contains(query, passage.text)]
    if not safe:
        return [], "leak: one side contains the other"
    key = f"{rules.seed}\0{article.article_id}\0{kind}"
    drawn = draw_passages(safe, rules.passages_per_article, key)
    return [_pair(article, kind, query, passage.text, passage) for passage in drawn], ""


def _text_reason(article: Article, rules: PairRules) -> str:
    if not article.sections:
        return "no full text"
    return "" if _allows(rules.licenses, article.license) else f"license: {article.license or 'unknown'}"


def _title_reason(article: Article, rules: PairRules) -> str:
    if not article.title:
        return "no title"
    return "short title" if count_words(article.title) < rules.min_title_words else ""


def _abstract_reason(parts: Sequence[AbstractPart], rules: PairRules) -> str:
    if not parts:
        return "no abstract"
    words = sum(count_words(part.text) for part in parts)
    return "short abstract" if words < rules.min_abstract_words else ""


def abstract_text(parts: Sequence[AbstractPart], keep_labels: bool = False) -> str:
    """The abstract as one text, its labels before the parts ("METHODS: ...") or left out."""
    return " ".join(f"{part.label}: {part.text}" if keep_labels and part.label else part.text for part in parts)


def _without_title(parts: tuple[AbstractPart, ...], title: str) -> tuple[AbstractPart, ...]:
    """The abstract's parts without the title at their beginning, where it stands there as a sentence of its own."""
    title = title.rstrip(" .")
    if not parts or not title or parts[0].text[: len(title)].casefold() != title.casefold():
        return parts
    rest = parts[0].text[len(title) :]
    if rest and title[-1] not in "?!" and rest.lstrip()[:1] not in (".", ":", ";", "-", "–", "—", "|", ""):
        return parts  # the title's words begin a longer sentence
    first = AbstractPart(parts[0].label, rest.lstrip(" .:;-–—|"))
    return (first, *parts[1:]) if first.text else parts[1:]


def _contains(one: str, other: str) -> bool:
    """Whether one text stands in the other, whatever the case, without its last full stop."""
    one, other = one.casefold().rstrip(" ."), other.casefold().rstrip(" .")
    return one in other or other in one


def _allows(allowed: tuple[str, ...], value: str) -> bool:
    return "all" in allowed or value in allowed


def _pair(article: Article, kind: str, query: str, document: str, passage: Passage | None = None) -> Pair:
    """A pair; the same keys beside every kind, so that files of pairs have one shape."""
    extra = {
        "language": article.language,
        "year": article.year,
        "license": article.license,
        "section": "" if passage is None else passage.kind,
        "section_path": "" if passage is None else " / ".join(passage.path),
    }
    return Pair(query, document, kind, article.article_id, pair_identity(article), extra)
