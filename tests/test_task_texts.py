"""The texts of mteb's tasks, by the shapes that their data have."""

from datasets import Dataset
from mteb import get_task

from bioemb.evaluation import EvaluationText, evaluation_texts, find_tasks


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


def test_a_task_whose_own_loading_leaves_the_older_layout_gives_its_texts(monkeypatch):
    rows = Dataset.from_dict({"question": ["q one?", "q two?"], "answer": ["a one", "a two"]})
    monkeypatch.setattr("datasets.load_dataset", lambda *_, **__: rows)
    (task,) = find_tasks("PublicHealthQA[english]")
    found = list(evaluation_texts([task], is_reachable=lambda: True))
    assert [(each.side, each.text) for each in found] == [
        ("queries", "q one?"), ("queries", "q two?"), ("documents", "a one"), ("documents", "a two")
    ]  # fmt: skip


def test_classes_give_their_texts_and_not_the_names_of_the_classes():
    rows = {"text": ["I was charged twice"], "label": [3], "label_text": ["payment"], "intent": ["payment"]}
    assert texts_of("Banking77Classification", {"test": Dataset.from_dict(rows)}) == [("texts", "I was charged twice")]
