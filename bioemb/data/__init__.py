"""Raw PubMed and PMC files to articles, and articles to pairs. Nothing here needs torch.

The names are loaded when they are first used, so that `import bioemb.data` is quick.
"""

from importlib import import_module

_HOME = {
    "read_articles": "articles",
    "read_pubmed": "pubmed",
    "read_pmc": "pmc",
    "Passage": "passage",
    "passages": "passage",
    "PairRules": "pairs",
    "make_pairs": "pairs",
    "title_abstract": "pairs",
    "title_passage": "pairs",
    "abstract_passage": "pairs",
    "term_title": "pairs",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
