"""BM25, the baseline that a trained model must beat, as a model that `mteb.evaluate` takes for retrieval tasks."""

from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

import bm25s
import Stemmer
from datasets import Dataset

from bioemb.evaluation.encoder_adapter import describe_model
from bioemb.evaluation.saved import BM25_NAME

K1, B = 1.2, 0.75  # Lucene's


class BM25:
    """Lucene's BM25 over lower-cased words of two characters and more, without English stop words, stemmed.

    As in Lucene a passage that shares no word with the query is not found; ranked, it would be by its id alone.
    """

    def __init__(self):
        revision = f"bm25s-{version('bm25s')}-k1-{K1}-b-{B}-stemmed-found"
        self.mteb_model_meta = describe_model(BM25_NAME, revision, framework=[])
        self.settings = {"bm25s": version("bm25s"), "k1": K1, "b": B}
        self._ids: list[str] = []
        self._index: bm25s.BM25 | None = None

    def index(self, corpus: Dataset, **_: Any) -> None:
        """Index the passages of a task (columns id, text and perhaps title)."""
        titles = corpus["title"] if "title" in corpus.column_names else [""] * len(corpus)
        texts = [f"{title or ''} {text}" for title, text in zip(titles, corpus["text"], strict=True)]
        words = _words(texts)
        self._ids = list(corpus["id"]) if words.vocab else []  # bm25s takes no texts without words
        if self._ids:
            self._index = bm25s.BM25(k1=K1, b=B)
            self._index.index(words, show_progress=False)

    def search(
        self, queries: Dataset, *, top_k: int, top_ranked: dict[str, list[str]] | None = None, **_: Any
    ) -> dict[str, dict[str, float]]:
        """The `top_k` best passages found for each query with their scores, {query id: {passage id: score}}.

        top_ranked: of each query, the passages to choose from (reranking tasks).
        """
        if not self._ids:
            return {query: {} for query in queries["id"]}
        k = len(self._ids) if top_ranked else min(top_k, len(self._ids))
        rows, scores = self._index.retrieve(_words(queries["text"]), k=k, show_progress=False)  # [q, k], falling
        found = {}
        for query, own_rows, own_scores in zip(queries["id"], rows, scores, strict=True):
            ranked = {
                self._ids[row]: float(score) for row, score in zip(own_rows, own_scores, strict=True) if score > 0
            }
            if top_ranked:
                ranked = {passage: ranked[passage] for passage in top_ranked.get(query, []) if passage in ranked}
            found[query] = ranked
        return found


def _words(texts: Iterable[str]) -> bm25s.tokenization.Tokenized:
    return bm25s.tokenize(list(texts), stopwords="en", stemmer=Stemmer.Stemmer("english"), show_progress=False)
