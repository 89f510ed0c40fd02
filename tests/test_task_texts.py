"""The texts of mteb's tasks, by the shapes that their data have."""

from datasets import Dataset
from mteb import get_task

from bioemb.evaluation import EvaluationText, evaluation_texts


def texts_of(name: str, data: dict) -> list[tuple[str, str]]:
    task = get_task(name)
    task.dataset, task.data_loaded = data, True
    found = list(evaluation_texts([task], is_reachable=lambda: False))
    assert {each.task for each in found} <= {name} and task.data_loaded
    return [(each.side, each.text) for each in found]


def test_sentence_pairs_give_both_sentences_and_each_once():
    pairs = {"sentence1": ["a", "b"], "sentence2": ["b", "c"], "score": [1.0, 2.0], "label": ["x", "y"]}
    assert texts_of("BIOSSES", {"test": Dataset.from_dict(pairs)}) == [("texts", "a"), ("texts", "b"), ("texts", "c")]


def test_clusters_give_their_texts_and_not_their_labels_in_both_layouts():
    rows = {"sentences": [["a", "b"], ["c"]], "labels": [["heart", "bone"], ["skin"]]}
    flat = {"sentences": ["a", "b", "c"], "labels": ["heart", "bone", "skin"]}
    for data in (rows, flat):
        found = texts_of("MedrxivClusteringP2P.v2", {"test": Dataset.from_dict(data)})
        assert found == [("texts", "a"), ("texts", "b"), ("texts", "c")]


def test_retrieval_gives_queries_and_documents_with_their_titles():
    data = {
        "corpus": Dataset.from_dict({"id": ["1", "2"], "title": ["T", None], "text": ["one", "two"]}),
        "queries": Dataset.from_dict({"id": ["q"], "text": ["asked"]}),
        "relevant_docs": {"q": {"1": 1}},
    }
    found = texts_of("NFCorpus", {"default": {"test": data, "train": None}})
    assert found == [("queries", "asked"), ("documents", "T\none"), ("documents", "two")]


def test_a_task_has_only_the_subsets_and_splits_that_are_asked_for():
    task = get_task("PublicHealthQA").filter_languages(None, hf_subsets=["english"])
    data = {
        language: {
            "test": {
                "corpus": Dataset.from_dict({"id": ["1"], "text": [f"{language} passage"]}),
                "queries": Dataset.from_dict({"id": ["q"], "text": [f"{language} query"]}),
            }
        }
        for language in ("english", "french")
    }
    task.dataset, task.data_loaded = data, True
    assert list(evaluation_texts([task], is_reachable=lambda: False)) == [
        EvaluationText("PublicHealthQA", "queries", "english query"),
        EvaluationText("PublicHealthQA", "documents", "english passage"),
    ]
