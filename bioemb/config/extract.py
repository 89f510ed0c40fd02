"""The settings of `bioemb extract`."""

from dataclasses import dataclass

from bioemb.errors import ConfigError
from bioemb.flags import flag
from bioemb.records import ALL_PAIR_KINDS, PAIR_KINDS


@dataclass(frozen=True)
class ExtractConfig:
    """Make title-abstract, title-passage, abstract-passage and term-title pairs from PubMed and PMC XML."""

    input_path: tuple[str, ...] = flag("PubMed or PMC files (.xml, .nxml, .gz) or folders of them", output=False)
    output_file: str = flag("pairs, as JSON lines (.jsonl, .jsonl.gz, .jsonl.zst)", output=False)
    kinds: tuple[str, ...] = flag(
        "kinds of pairs to make; term_title: MeSH headings, keywords, substances as queries",
        PAIR_KINDS,
        choices=ALL_PAIR_KINDS,
    )
    languages: tuple[str, ...] = flag(
        "languages to keep, ISO 639-2; records that state none are kept; `all` keeps every language", ("eng",)
    )
    min_title_words: int = flag("shortest title, in words", 3)
    min_abstract_words: int = flag("shortest abstract, in words", 30)
    license: tuple[str, ...] = flag(
        "licences of full texts to keep (`CC BY`, CC0, ...), by PMC's metadata beside a file, else by its XML; `all` "
        "keeps any",
        ("all",),
    )
    passages_per_article: int = flag("passages sampled from each full text", 3)
    min_passage_words: int = flag("shortest passage, in words", 60)
    max_passage_words: int = flag("longest passage, in words", 300)
    terms_per_article: int = flag("terms drawn from each article for term_title", 5)
    pairs_per_term: int = flag("most pairs of one term, so that common ones leave room for others", 5)
    keep_labels: bool = flag("write the labels of structured abstracts into the text (`METHODS: ...`)", False)
    keep_types: tuple[str, ...] = flag("publication types to keep that are dropped by default (Letter, ...)", ())
    keep_notices: bool = flag("keep records whose titles announce corrections, retractions, replies", False)
    keep_books: bool = flag("keep books and their chapters", False)
    near_duplicates: bool = flag("give articles with almost the same abstract one identity, by MinHash", True)
    near_duplicate_threshold: float = flag("share of equal word triples that makes abstracts near-duplicates", 0.5)
    seed: int = flag("seed of the passage sampling, keyed by article", 0)
    skip_broken_files: bool = flag("count a broken file and go on, instead of stopping at it", False)
    num_proc: int = flag("processes; the output is the same for any number", 1, output=False)
    overwrite: bool = flag("replace an output that was made otherwise", False, output=False)

    def __post_init__(self):
        if self.pairs_per_term < 1:
            raise ConfigError(f"pairs_per_term is {self.pairs_per_term}; use 1 or more")
        if not 0 < self.near_duplicate_threshold <= 1:
            raise ConfigError(
                f"near_duplicate_threshold is {self.near_duplicate_threshold}; expected more than 0, at most 1"
            )
