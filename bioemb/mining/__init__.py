"""Search, negative selection and consistency: arrays in, arrays out. Nothing here loads faiss before it is used."""

from bioemb.mining.consistency import is_consistent
from bioemb.mining.faiss_search import FaissSearcher
from bioemb.mining.negative_rule import NegativeRule
from bioemb.mining.negatives import Context, Selection, select_negatives
from bioemb.mining.search import NumpySearcher, Searcher, measure_recall, merge_top_k

__all__ = [
    "Context",
    "FaissSearcher",
    "NegativeRule",
    "NumpySearcher",
    "Searcher",
    "Selection",
    "is_consistent",
    "measure_recall",
    "merge_top_k",
    "select_negatives",
]
