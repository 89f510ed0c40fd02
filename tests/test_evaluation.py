"""The door to mteb: its scores against naive ones, its traps, local data good and bad, and no hub."""

import contextlib
import http.server
import json
import math
import socket
import threading
import time

import datasets
import mteb
import numpy as np
import pytest
import pytrec_eval
from scipy.stats import spearmanr

from bioemb.encoder import Encoder
from bioemb.errors import ConfigError, DataError, ModelError
from bioemb.evaluation import BIOEMB_MEDICAL, BM25, EncoderForMteb, evaluate, find_tasks, hub, load_model, read_scores
from bioemb.evaluation.scores import read_settings, scores_folder
from bioemb.evaluation.task_names import task_label
from bioemb.records import stable_hash

WORDS = ("heart", "lung", "liver", "kidney", "acute", "chronic", "failure", "insulin", "aspirin", "trial", "gene")


class WordVectors:
    """A text's vector is the sum of its words' random vectors; the prompt of queries is one word more."""

    prompts = {"query": "find: ", "passage": "", None: ""}

    def __init__(self, seed=0):
        self.seed, self.calls = seed, []

    def encode(self, texts, *, kind):
        self.calls.append((kind, list(texts)))
        return np.array([self.vector(self.prompts[kind] + text) for text in texts], dtype=np.float32)

    def vector(self, text):
        generators = [np.random.default_rng([self.seed, stable_hash(word)]) for word in text.split()]
        return sum((generator.normal(size=24) for generator in generators), np.full(24, 1e-3))


def model(encoder=None, revision="weights-1"):
    return EncoderForMteb(encoder or WordVectors(), name="me/words", revision=revision)


def sentences(count, seed):
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, size=rng.integers(2, 9))) for _ in range(count)]


def write_lines(path, records):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


def write_pairs(folder, name, count=31, seed=0):
    """Pairs of `name`, as (sentences, sentences, scores)."""
    first, second = sentences(count, seed), sentences(count, seed + 1)
    gold = np.random.default_rng(seed + 2).integers(0, 9, size=count) / 2
    rows = zip(first, second, gold.tolist(), strict=True)
    write_lines(folder / f"{name}.jsonl", [{"sentence1": a, "sentence2": b, "score": s} for a, b, s in rows])
    return first, second, gold


def write_collection(folder, name, seed=0, header=True, same_ids=False):
    """A BEIR folder with graded judgments, titles, null titles and a query that nobody judged."""
    rng = np.random.default_rng(seed)
    texts, queries = sentences(40, seed + 10), sentences(8, seed + 20)
    titles = [("heart trial", "", None)[number % 3] for number in range(40)]
    ids = [f"x{number}" if same_ids else f"d{number}" for number in range(40)]
    write_lines(
        folder / name / "corpus.jsonl",
        [{"_id": i, "title": title, "text": text} for i, title, text in zip(ids, titles, texts, strict=True)],
    )
    query_ids = [f"x{number}" if same_ids else f"q{number}" for number in range(8)]
    write_lines(
        folder / name / "queries.jsonl", [{"_id": i, "text": q} for i, q in zip(query_ids, queries, strict=True)]
    )
    relevance = {}
    for query in query_ids[:-1]:
        chosen = rng.choice(ids, size=rng.integers(1, 9), replace=False).tolist()
        relevance[query] = {passage: int(rng.integers(0, 3)) for passage in chosen}
    relevance[query_ids[0]][ids[5]] = 2
    rows = [f"{q}\t{d}\t{grade}" for q, grades in relevance.items() for d, grade in grades.items()]
    (folder / name / "qrels").mkdir()
    (folder / name / "qrels" / "test.tsv").write_text(
        "\n".join(["query-id\tcorpus-id\tscore"] * header + rows) + "\n\n"
    )
    passages = [f"{title} {text}" if title else text for title, text in zip(titles, texts, strict=True)]
    return dict(zip(ids, passages, strict=True)), dict(zip(query_ids, queries, strict=True)), relevance


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def naive_ndcg(scores, grades, k=10):
    ranked = sorted(scores, key=scores.get, reverse=True)[:k]
    gains = [grades.get(passage, 0) / math.log2(rank + 2) for rank, passage in enumerate(ranked)]
    best = sorted(grades.values(), reverse=True)[:k]
    ideal = sum(grade / math.log2(rank + 2) for rank, grade in enumerate(best))
    return sum(gains) / ideal if ideal else 0.0


def naive_query_scores(passages, queries, relevance, drop_same_id=False):
    words, found = WordVectors(), {}
    for query, grades in relevance.items():
        vector = words.vector("find: " + queries[query])
        scores = {
            i: cosine(vector, words.vector(text)) for i, text in passages.items() if not (drop_same_id and i == query)
        }
        found[query] = naive_ndcg(scores, grades)
    return found


@pytest.mark.parametrize("name", ["BIOSSES", "my_pairs"])
def test_local_pairs_score_the_spearman_correlation_of_their_cosines(tmp_path, name):
    first, second, gold = write_pairs(tmp_path, name)
    (score,) = evaluate(model(), find_tasks(name, tmp_path), tmp_path / "saves")
    words = WordVectors()
    cosines = [cosine(words.vector(a), words.vector(b)) for a, b in zip(first, second, strict=True)]
    assert (score.task, score.metric) == (name, "cosine_spearman")
    assert score.score == pytest.approx(spearmanr(cosines, gold)[0], abs=1e-6)
    np.testing.assert_allclose(score.parts[0].scores, cosines, atol=1e-5)
    np.testing.assert_array_equal(score.parts[0].gold, gold)


@pytest.mark.parametrize("name, header", [("NFCorpus", True), ("my_search", False)])
def test_local_retrieval_scores_the_ndcg_of_a_naive_implementation(tmp_path, name, header):
    data = write_collection(tmp_path, name, header=header)
    (score,) = evaluate(model(), find_tasks([name], tmp_path), tmp_path / "saves")
    expected = naive_query_scores(*data)
    found = dict(zip(score.parts[0].ids, score.parts[0].scores, strict=True))
    assert found == pytest.approx(expected, abs=1e-6) and len(found) == 7
    assert score.score == pytest.approx(np.mean(list(expected.values())), abs=1e-5)
    assert score.metric == "ndcg_at_10" and score.parts[0].name == "test/default"


def test_single_scores_average_to_mtebs_where_queries_must_not_find_themselves(tmp_path):
    data = write_collection(tmp_path, "ArguAna", same_ids=True)
    (score,) = evaluate(model(), find_tasks("ArguAna", tmp_path), tmp_path / "saves")
    expected = naive_query_scores(*data, drop_same_id=True)
    assert dict(zip(score.parts[0].ids, score.parts[0].scores, strict=True)) == pytest.approx(expected, abs=1e-6)
    assert score.score == pytest.approx(np.mean(score.parts[0].scores), abs=1e-5)


def test_queries_get_the_query_prompt_passages_theirs_and_pairs_none(tmp_path):
    passages, queries, relevance = write_collection(tmp_path, "search")
    first, second, _ = write_pairs(tmp_path, "BIOSSES")
    encoder = WordVectors()
    evaluate(model(encoder), find_tasks(["search", "BIOSSES"], tmp_path), tmp_path / "saves")
    assert encoder.calls == [
        ("query", [text for query, text in queries.items() if query in relevance]),
        ("passage", list(passages.values())),  # title, a space, text
        (None, first),
        (None, second),
    ]


def test_the_encoder_goes_to_mteb_as_it_is(tmp_path):
    data = write_collection(tmp_path, "NFCorpus")
    (task,) = find_tasks("NFCorpus", tmp_path)
    results = mteb.evaluate(model(), task, cache=None, show_progress_bar=False)
    expected = np.mean(list(naive_query_scores(*data).values()))
    assert results.task_results[0].get_score() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_vectors_that_are_not_finite_are_refused(tmp_path, bad):
    class Broken(WordVectors):
        def encode(self, texts, *, kind):
            vectors = super().encode(texts, kind=kind)
            vectors[3 if kind == "passage" else 2] += bad if kind == "passage" else 0
            return vectors

    passages, *_ = write_collection(tmp_path, "search")
    with pytest.raises(ModelError, match="me/words gave 1 vectors that are not finite in search") as caught:
        evaluate(model(Broken()), find_tasks("search", tmp_path), tmp_path / "saves")
    assert repr(list(passages.values())[3][:80]) in str(caught.value)


@pytest.mark.filterwarnings("ignore:An input array is constant")
def test_too_few_vectors_and_vectors_all_alike_are_refused(tmp_path):
    class Short(WordVectors):
        def encode(self, texts, *, kind):
            return super().encode(texts, kind=kind)[1:]

    class Constant(WordVectors):
        def encode(self, texts, *, kind):
            return np.ones((len(texts), 4), np.float32)

    write_pairs(tmp_path, "BIOSSES")
    with pytest.raises(ModelError, match=r"shape \(30, 24\) for 31 texts"):
        evaluate(model(Short()), find_tasks("BIOSSES", tmp_path), tmp_path / "saves")
    with pytest.raises(ModelError, match="no cosine_spearman on BIOSSES: all its vectors are alike"):
        evaluate(model(Constant()), find_tasks("BIOSSES", tmp_path), tmp_path / "saves")


def test_new_weights_never_get_the_old_score_and_old_ones_are_not_run_again(tmp_path):
    write_pairs(tmp_path, "BIOSSES")
    tasks = find_tasks("BIOSSES", tmp_path)
    (old,) = evaluate(model(WordVectors(0), "weights-1"), tasks, tmp_path / "saves")
    (new,) = evaluate(model(WordVectors(1), "weights-2"), tasks, tmp_path / "saves")
    unused = WordVectors(1)
    (again,) = evaluate(model(unused, "weights-1"), tasks, tmp_path / "saves")
    (fresh,) = evaluate(model(WordVectors(1), "weights-3"), tasks, tmp_path / "other")
    assert new.score == fresh.score != old.score
    assert again.score == old.score and unused.calls == []
    (forced,) = evaluate(model(WordVectors(1), "weights-1"), tasks, tmp_path / "saves", overwrite=True)
    assert forced.score == new.score


def test_new_data_get_a_new_score(tmp_path):
    write_pairs(tmp_path, "BIOSSES", seed=0)
    (old,) = evaluate(model(), find_tasks("BIOSSES", tmp_path), tmp_path / "saves")
    write_pairs(tmp_path, "BIOSSES", seed=5)
    (new,) = evaluate(model(), find_tasks("BIOSSES", tmp_path), tmp_path / "saves")
    (fresh,) = evaluate(model(), find_tasks("BIOSSES", tmp_path), tmp_path / "other")
    assert new.score == fresh.score != old.score
    assert new.data_revision != old.data_revision


def test_a_local_task_can_be_evaluated_many_times(tmp_path):
    """mteb drops a task's own metadata and data when it unloads them, and then asks the hub."""
    write_collection(tmp_path, "NFCorpus")
    (task,) = find_tasks("NFCorpus", tmp_path)
    scores = [evaluate(model(), [task], tmp_path / "saves", overwrite=True)[0].score for _ in range(2)]
    assert scores[0] == scores[1]
    assert task.metadata.dataset["path"] == str(tmp_path / "NFCorpus")
    assert mteb.get_task("NFCorpus").metadata.dataset["path"] == "mteb/nfcorpus"


def test_an_interrupted_evaluation_goes_on_by_task(tmp_path):
    class Interrupted(WordVectors):
        def encode(self, texts, *, kind):
            if kind == "passage":
                raise KeyboardInterrupt
            return super().encode(texts, kind=kind)

    first, second, _ = write_pairs(tmp_path, "BIOSSES")
    write_collection(tmp_path, "search")
    tasks = find_tasks(["BIOSSES", "search"], tmp_path)
    with pytest.raises(KeyboardInterrupt):
        evaluate(model(Interrupted()), tasks, tmp_path / "saves")
    encoder = WordVectors()
    scores = evaluate(model(encoder), tasks, tmp_path / "saves")
    assert [kind for kind, _ in encoder.calls] == ["query", "passage"]
    assert [score.task for score in scores] == ["BIOSSES", "search"]


def test_results_stand_in_mtebs_layout_and_scores_can_be_read_back(tmp_path):
    write_pairs(tmp_path, "BIOSSES")
    write_collection(tmp_path, "search")
    asked = model()
    asked.settings = {"query_max_len": 64}
    scores = evaluate(asked, find_tasks(["search", "BIOSSES"], tmp_path), tmp_path / "saves")
    assert read_settings(scores_folder(tmp_path / "saves", "me/words", "weights-1")) == {"query_max_len": 64}
    folder = tmp_path / "saves" / "results" / "me__words" / "weights-1"
    names = {"BIOSSES.json", "search.json", "model_meta.json", "run_settings.jsonl"}
    assert {file.name for file in folder.iterdir()} == names
    saved = mteb.ResultCache(tmp_path / "saves").load_task_result("search", "me/words", "weights-1")
    assert saved.get_score() == pytest.approx(scores[0].score, abs=1e-6)
    for found, made in zip(read_scores(tmp_path / "saves", "me/words", "weights-1"), scores[::-1], strict=True):
        assert found[:4] == made[:4]
        assert found.parts[0].ids == made.parts[0].ids
        np.testing.assert_array_equal(found.parts[0].scores, made.parts[0].scores)


@pytest.mark.parametrize("is_damaged", [False, True])
def test_what_mteb_saved_without_single_scores_is_run_again(tmp_path, is_damaged):
    write_pairs(tmp_path, "BIOSSES")
    tasks, cache = find_tasks("BIOSSES", tmp_path), mteb.ResultCache(tmp_path / "saves")
    result = mteb.evaluate(model(), tasks, cache=cache, show_progress_bar=False)
    if is_damaged:
        (tmp_path / "saves" / "results" / "me__words" / "weights-1" / "BIOSSES.json").write_text('{"scores": {')
    (score,) = evaluate(model(), tasks, tmp_path / "saves")
    assert len(score.parts[0].ids) == 31
    assert score.score == result.task_results[0].get_score()


def test_a_damaged_score_is_named(tmp_path):
    write_pairs(tmp_path, "BIOSSES")
    evaluate(model(), find_tasks("BIOSSES", tmp_path), tmp_path / "saves")
    file = tmp_path / "saves" / "scores" / "me__words" / "weights-1" / "BIOSSES.json"
    file.write_text('{"task": "BIOSSES"}')
    with pytest.raises(DataError, match="BIOSSES.json: the saved score is damaged"):
        evaluate(model(), find_tasks("BIOSSES", tmp_path), tmp_path / "saves")


def test_results_of_another_subset_stay_in_mtebs_file(tmp_path):
    write_collection(tmp_path, "PublicHealthQA")
    english, french = (find_tasks(f"PublicHealthQA[{name}]", tmp_path) for name in ("english", "french"))
    (score,) = evaluate(model(), english, tmp_path / "saves")
    evaluate(model(), french, tmp_path / "saves")
    saved = mteb.ResultCache(tmp_path / "saves").load_task_result("PublicHealthQA", "me/words", "weights-1")
    assert score.task == "PublicHealthQA[english]"
    assert {entry["hf_subset"] for entry in saved.scores["test"]} == {"english", "french"}


def test_names_carry_subsets_and_splits():
    tasks = find_tasks("bioemb-medical")
    assert tuple(task_label(task) for task in tasks) == BIOEMB_MEDICAL
    restricted = {task.metadata.name: (task.hf_subsets, list(task.eval_splits)) for task in tasks}
    assert restricted["PublicHealthQA"] == (["english"], ["test"])
    assert restricted["CUREv1"] == (["en"], ["all"])
    assert [task_label(task) for task in find_tasks(["BIOSSES", "SciFact", "BIOSSES"])] == ["BIOSSES", "SciFact"]
    assert len(find_tasks("MTEB(Medical, v1)")) == 12


@pytest.mark.parametrize(
    "name, message",
    [
        ("BIOSSEZ", "did you mean 'BIOSSES'"),
        ("bioemb-medicla", "did you mean 'bioemb-medical'"),
        ("my_pears", "did you mean 'my_pairs'"),
        ("MTEB(Medical, v2)", r"did you mean 'MTEB\(Medical, v1\)'"),
        ("CUREv1[de]", "CUREv1 has no subset 'de'; it has en, es, fr"),
        ("CUREv1@test", "CUREv1 has no split 'test'; it has all"),
        ("BIOSSES[", r"expected NAME, NAME\[subset"),
        ("NFCorpus", "NFCorpus is a Retrieval task of mteb's"),
        ("PublicHealthQA", r"local data stand for one of them; say which: PublicHealthQA\[NAME\]"),
    ],
)
def test_a_name_that_cannot_be_is_answered_with_what_there_is(tmp_path, name, message):
    write_pairs(tmp_path, "my_pairs")
    write_pairs(tmp_path, "NFCorpus")
    write_collection(tmp_path, "PublicHealthQA")
    with pytest.raises(ConfigError, match=message):
        find_tasks(name, tmp_path)


def test_without_hub_and_data_the_error_comes_at_once_and_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    write_pairs(tmp_path, "mine")
    encoder, start = WordVectors(), time.monotonic()
    with pytest.raises(ConfigError, match="the hub cannot be reached") as caught:
        tasks = find_tasks(["mine", "BIOSSES", "SciFact"], tmp_path)
        evaluate(model(encoder), tasks, tmp_path / "saves", is_reachable=lambda: False)
    assert time.monotonic() - start < 5
    assert "BIOSSES, SciFact" in str(caught.value) and "--local_data DIR with DIR/BIOSSES.jsonl" in str(caught.value)
    assert encoder.calls == []


def test_offline_mode_is_taken_at_its_word(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ConfigError, match=r"offline mode is set \(HF_HUB_OFFLINE\)"):
        evaluate(model(), find_tasks("SCIDOCS"), tmp_path / "saves", is_reachable=lambda: pytest.fail("asked"))


@pytest.fixture
def no_network(monkeypatch):
    """Any look at the network fails the test, however the looker handles errors."""

    def fail(*_):
        pytest.fail("asked the network")

    monkeypatch.setattr(socket.socket, "connect", fail)
    monkeypatch.setattr(socket, "getaddrinfo", fail)
    return fail


def test_local_and_saved_tasks_do_not_ask_for_the_hub(tmp_path, no_network):
    write_pairs(tmp_path, "BIOSSES")
    write_collection(tmp_path, "NFCorpus")
    tasks = find_tasks(["BIOSSES", "NFCorpus"], tmp_path)
    assert len(evaluate(model(), tasks, tmp_path / "saves", is_reachable=no_network)) == 2
    assert len(evaluate(model(), tasks, tmp_path / "saves", is_reachable=no_network)) == 2


def test_data_that_an_earlier_run_prepared_serve_without_the_hub(tmp_path, monkeypatch, no_network):
    first, second, gold = write_pairs(tmp_path, "pairs")
    prepare_as_the_hub_would(tmp_path / "cache", first, second, gold)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    tasks = find_tasks("BIOSSES")
    (score,) = evaluate(model(), tasks, tmp_path / "saves", is_reachable=lambda: False)
    (local,) = evaluate(model(), find_tasks("pairs", tmp_path), tmp_path / "saves")
    assert score.score == local.score and len(score.parts[0].ids) == 31
    assert not datasets.config.HF_HUB_OFFLINE and not tasks[0].data_loaded


def prepare_as_the_hub_would(cache, first, second, gold):
    folder = cache / "mteb___biosses-sts" / "default" / "0.0.0" / "d3fb88f8f02e40887cd149695127462bbcf29b4a"
    folder.mkdir(parents=True)
    rows = datasets.Dataset.from_dict({"sentence1": first, "sentence2": second, "score": gold.tolist()})
    with datasets.arrow_writer.ArrowWriter(
        path=str(folder / "biosses-sts-test.arrow"), features=rows.features
    ) as writer:
        writer.write_table(rows.data.table)
        writer.finalize()
    splits = datasets.SplitDict(
        {"test": datasets.SplitInfo("test", num_examples=len(rows), dataset_name="biosses-sts")}
    )
    info = datasets.DatasetInfo(
        features=rows.features, splits=splits, builder_name="parquet", dataset_name="biosses-sts"
    )
    info.config_name, info.version = "default", datasets.Version("0.0.0")
    info.write_to_directory(str(folder))


@contextlib.contextmanager
def server(answers):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):  # noqa: N802
            if answers:
                self.send_error(503)
            else:
                time.sleep(1)

        def log_message(self, *_):
            pass

    own = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=own.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{own.server_port}"
    own.shutdown()


def test_the_hub_is_reachable_when_it_answers_anything_and_silence_is_not_waited_for(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(hub, "PROBE_SECONDS", 0.4)
    probe = hub.hub_is_reachable.__wrapped__
    with server(answers=True) as busy, server(answers=False) as silent:
        found = []
        for address in (busy, silent, "http://127.0.0.1:1"):
            monkeypatch.setattr(hub.huggingface_hub.constants, "ENDPOINT", address)
            start = time.monotonic()
            found.append(probe())
            assert time.monotonic() - start < 0.8
    assert found == [True, False, False]


GOOD = {"sentence1": "a", "sentence2": "b", "score": 1.0}


@pytest.mark.parametrize(
    "lines, message",
    [
        ([GOOD, {"sentence1": "a", "score": 2}], "x.jsonl, line 2: no key 'sentence2'"),
        ([GOOD, GOOD, GOOD | {"score": "3"}], "x.jsonl, line 3: 'score' is '3', expected a number"),
        ([GOOD | {"score": True}], "x.jsonl, line 1: 'score' is True, expected a number"),
        ([GOOD, {"sentence1": "a", "sentence2": "b"}], "x.jsonl, line 2: 'score' is missing"),
        ([GOOD, GOOD | {"score": float("nan")}], "x.jsonl, line 2: .*NaN"),
        ([GOOD | {"sentence2": "  "}], "x.jsonl, line 1: 'sentence2' is empty"),
        ([GOOD | {"sentence1": None}], "x.jsonl, line 1: 'sentence1' is null, expected text"),
        ([GOOD], "x.jsonl: 1 pairs; a correlation needs 2"),
        ([], "x.jsonl: 0 pairs"),
        ([GOOD, GOOD], "x.jsonl: every score is 1.0"),
    ],
)
def test_bad_pairs_are_named_by_file_and_line(tmp_path, lines, message):
    write_lines(tmp_path / "x.jsonl", lines)
    with pytest.raises(DataError, match=message):
        find_tasks("x", tmp_path)


@pytest.mark.parametrize(
    "file, text, message",
    [
        ("corpus.jsonl", '{"_id": "d1", "text": "t"}\n{"text": "t"}\n', "corpus.jsonl, line 2: '_id' is missing"),
        ("corpus.jsonl", '{"_id": "d1", "title": "t"}\n', "corpus.jsonl, line 1: no key 'text'"),
        (
            "corpus.jsonl",
            '{"_id": 7, "text": "t"}\n{"_id": "7", "text": "u"}\n',
            "line 2: the _id '7' stands in line 1",
        ),
        ("corpus.jsonl", "", "corpus.jsonl: the file is empty"),
        ("corpus.jsonl", "{broken\n", "corpus.jsonl, line 1: not JSON"),
        ("corpus.jsonl", None, "corpus.jsonl: no such file; a retrieval task is"),
        ("queries.jsonl", '{"_id": "q0", "text": " "}\n', "queries.jsonl, line 1: 'text' is empty"),
        ("queries.jsonl", '{"_id": "other", "text": "t"}\n', "test.tsv, line 2: there is no query 'q0'"),
        (
            "qrels/test.tsv",
            "q0\td1\t1\nq0\tlost\t1\n",
            "test.tsv, line 2: there is no passage 'lost' in the passage file",
        ),
        (
            "qrels/test.tsv",
            "q0\td1\t1\nq0\td2\tmany\n",
            "test.tsv, line 2: expected query-id, corpus-id and a whole number",
        ),
        ("qrels/test.tsv", "q0\td1\tmany\n", "test.tsv, line 1: expected query-id, corpus-id and a whole number"),
        ("qrels/test.tsv", "q0 d1 1\n", "test.tsv, line 1: expected query-id"),
        ("qrels/test.tsv", "q0\td1\t0\n", "test.tsv: no query has a relevant passage"),
        ("qrels/test.tsv", "", "test.tsv: no query has a relevant passage"),
        ("qrels/test.tsv", "q0\td1\t1\nq0\td1\t2\n", "line 2: query 'q0' and passage 'd1' have another grade above"),
        ("qrels/test.tsv", None, "test.tsv: no such file"),
    ],
)
def test_bad_collections_are_named_by_file_and_line(tmp_path, file, text, message):
    write_collection(tmp_path, "x")
    path = tmp_path / "x" / file
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(DataError, match=message):
        find_tasks("x", tmp_path)


def test_bm25_is_lucenes_formula_over_words_without_stop_words_and_plurals():
    texts = ["Studies of the heart", "heart failure, heart trials", "a gene of kidneys", "trial"]
    words = [["study", "heart"], ["heart", "failure", "heart", "trial"], ["gene", "kidney"], ["trial"]]
    bm25 = BM25()
    bm25.index(datasets.Dataset.from_dict({"id": list("abcd"), "text": texts, "title": [""] * 4}))
    queries = datasets.Dataset.from_dict({"id": ["q", "r"], "text": ["heart trials of the heart", "gene study"]})
    found = bm25.search(queries, top_k=4)
    length = np.mean([len(own) for own in words])
    for query, terms in (("q", ["heart", "trial", "heart"]), ("r", ["gene", "study"])):
        for passage, own in zip("abcd", words, strict=True):
            expected = 0
            for term in terms:
                count, documents = own.count(term), sum(term in other for other in words)
                idf = math.log(1 + (4 - documents + 0.5) / (documents + 0.5))
                expected += idf * count / (count + 1.2 * (1 - 0.75 + 0.75 * len(own) / length))
            assert found[query].get(passage, 0) == pytest.approx(expected, abs=1e-5)
            assert (passage in found[query]) == bool(set(terms) & set(own))
    assert list(bm25.search(queries, top_k=4, top_ranked={"q": ["d", "a"], "r": []})["q"]) == ["d", "a"]


def test_bm25_scores_retrieval_and_has_no_score_elsewhere(tmp_path):
    write_pairs(tmp_path, "BIOSSES")
    _, _, relevance = write_collection(tmp_path, "search")
    (score,) = evaluate(BM25(), find_tasks(["BIOSSES", "search"], tmp_path), tmp_path / "saves")
    assert score.task == "search" and set(score.parts[0].ids) == set(relevance)
    assert score.score == pytest.approx(np.mean(score.parts[0].scores), abs=1e-5)


@pytest.mark.parametrize("texts", [["number one", "number two"], ["", "x"]])
def test_bm25_finds_nothing_for_queries_without_words_of_the_passages(tmp_path, texts):
    corpus = [{"_id": f"d{place}", "text": text} for place, text in enumerate(texts)]
    (tmp_path / "none" / "qrels").mkdir(parents=True)
    for name, records in (("corpus", corpus), ("queries", [{"_id": f"q{i}", "text": f"unknown{i}"} for i in range(3)])):
        (tmp_path / "none" / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    for best in ("d0", "d1"):  # ranked by their ids, one of the two would have a score
        lines = "".join(f"q{i}\t{best}\t1\n" for i in range(3))
        (tmp_path / "none" / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{lines}")
        (score,) = evaluate(BM25(), find_tasks("none", tmp_path), tmp_path / "saves")
        assert score.score == 0 and len(score.parts[0].ids) == 3


def test_bm25_on_real_queries_scores_what_others_report(shared_data, tmp_path):
    (score,) = evaluate(BM25(), find_tasks("med", shared_data), tmp_path / "saves")
    assert 0.66 < score.score < 0.70 and len(score.parts[0].ids) == 30


@pytest.mark.parametrize("revision", ["", "a/b"])
def test_a_revision_that_names_no_folder_is_refused(revision):
    with pytest.raises(ConfigError, match="expected a hash of the weights"):
        model(revision=revision)


@pytest.mark.parametrize(
    "name, kept", [("me/words", "me/words"), ("/home/me/out/words/", "out/words"), ("./words", "local/words")]
)
def test_a_folder_names_a_model(name, kept):
    assert EncoderForMteb(WordVectors(), name, "r").mteb_model_meta.name == kept


def test_bm25_has_a_score_on_a_task_that_is_the_mean_of_searches(tmp_path):
    (mean,) = find_tasks("CQADupstackRetrieval")
    for place, task in enumerate(mean.tasks):
        texts = [f"word{row} {'heart' if (row + place) % 3 else 'lung'}" for row in range(15)]
        data = {
            "corpus": datasets.Dataset.from_dict({"id": [f"d{row}" for row in range(15)], "text": texts}),
            "queries": datasets.Dataset.from_dict({"id": ["q0", "q1"], "text": ["word3 lung", "word7 mice"]}),
            "relevant_docs": {"q0": {"d3": 1}, "q1": {"d7": 1, f"d{place}": 1}},
            "top_ranked": None,
        }
        task.dataset, task.data_loaded = {"default": {"test": data}}, True
    (found,) = evaluate(BM25(), [mean], tmp_path / "mean", is_reachable=lambda: False)
    single = evaluate(BM25(), mean.tasks, tmp_path / "single", is_reachable=lambda: False)
    assert len({score.score for score in single}) > 1 and not found.parts
    assert found.score == pytest.approx(np.mean([score.score for score in single]), abs=1e-5)


def test_a_model_is_scored_by_the_similarity_that_its_folder_names(tiny_encoder_folder, tmp_path):
    write_collection(tmp_path / "data", "search")
    Encoder.from_pretrained(tiny_encoder_folder, pooling="mean", normalize=False).save(tmp_path / "dot")
    Encoder.from_pretrained(tiny_encoder_folder, pooling="mean", normalize=True).save(tmp_path / "cosine")
    said = {name: load_model(tmp_path / name).mteb_model_meta.similarity_fn_name.value for name in ("dot", "cosine")}
    assert said == {"dot": "dot", "cosine": "cosine"}
    (task,) = find_tasks("search", tmp_path / "data")
    data = task.dataset["default"]["test"]
    for name in said:
        (score,) = evaluate(load_model(tmp_path / name), [task], tmp_path / "saves")
        encoder = Encoder.from_pretrained(tmp_path / name)
        passages = [
            f"{title}\n{text}" if title else text
            for title, text in zip(data["corpus"]["title"], data["corpus"]["text"], strict=True)
        ]
        products = encoder.encode(data["queries"]["text"], kind="query") @ encoder.encode(passages, kind="passage").T
        run = {
            query: dict(zip(data["corpus"]["id"], map(float, row), strict=True))
            for query, row in zip(data["queries"]["id"], products, strict=True)
        }
        evaluator = pytrec_eval.RelevanceEvaluator(data["relevant_docs"], {"ndcg_cut.10"})
        wanted = np.mean([one["ndcg_cut_10"] for one in evaluator.evaluate(run).values()])
        assert score.score == pytest.approx(wanted, abs=1e-4)


def test_subsets_of_a_benchmark_are_refused():
    with pytest.raises(ConfigError, match="is a benchmark of 12 tasks; name subsets and splits of a task"):
        find_tasks("MTEB(Medical, v1)[klingon]")


def test_a_file_of_pairs_and_a_collection_of_one_name_are_refused(tmp_path):
    write_pairs(tmp_path, "mine")
    write_collection(tmp_path, "mine")
    with pytest.raises(DataError, match="have one name"):
        find_tasks("mine", tmp_path)
