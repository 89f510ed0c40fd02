"""`bioemb search`: which passages a corpus has, which are found, how they are shown, and how queries come in."""

import gzip
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pair_files import make_pairs, write_rows

from bioemb import cli
from bioemb.blocks import BlockFolder
from bioemb.config import SearchConfig
from bioemb.encoder import Encoder
from bioemb.errors import DataError
from bioemb.files import write_aside
from bioemb.log import printable
from bioemb.mining import NumpySearcher
from bioemb.stages import search
from bioemb.stages.search_corpus import distinct_passages, open_corpus
from bioemb.stages.search_prompt import check_query
from bioemb.stages.search_text import Answer, Look, mark_words, show, show_beside

REPOSITORY = Path(__file__).resolve().parent.parent
PLAIN = Look(width=80, with_colour=False, full=False)


# What a corpus holds


def test_each_kind_of_file_gives_its_passages_once(tmp_path):
    corpus = write_rows(tmp_path / "a.jsonl", [{"_id": 7, "title": "T", "text": "one"}, {"_id": "8", "text": "two"}])
    pairs = write_rows(tmp_path / "b.jsonl", [{"query": "q", "document": d, "article_id": d} for d in ("two", "three")])
    examples = write_rows(tmp_path / "c.jsonl", [{"query": "q", "pos": ["four"], "neg": ["T one", "five"]}])
    scored = write_rows(tmp_path / "d.jsonl", [{"sentence1": "six", "sentence2": "six", "score": 1}])
    with gzip.open(tmp_path / "e.txt.gz", "wb") as out:
        out.write("\ufeffseven\n\n  éight \nsix\n".encode())
    found = list(distinct_passages([corpus, pairs, examples, scored, tmp_path / "e.txt.gz"]))
    assert found == [
        ("7", "T one"),
        ("8", "two"),
        ("three", "three"),
        ("c.jsonl:1", "four"),
        ("c.jsonl:1", "five"),
        ("d.jsonl:1", "six"),
        ("e.txt.gz:1", "seven"),
        ("e.txt.gz:3", "éight"),
    ]


def test_passages_that_are_left_out_are_counted(tmp_path, log):
    log.set_level("INFO", logger="bioemb")
    write_rows(tmp_path / "a.jsonl", [{"_id": str(n), "text": text} for n, text in enumerate(["one", "", " ", "one"])])
    (tmp_path / "b.txt").write_text("two\n\none\n\n")
    assert list(distinct_passages([tmp_path / "a.jsonl", tmp_path / "b.txt"])) == [("0", "one"), ("b.txt:1", "two")]
    assert log.messages == ["left out: 2 passages without text, 2 that are there already"]


@pytest.mark.parametrize("end", ["", ".gz"])
def test_of_a_folder_in_beirs_layout_the_queries_are_no_passages(tmp_path, end):
    for name in ("corpus", "queries"):
        with write_aside(tmp_path / "med" / f"{name}.jsonl{end}") as out:
            out.write(json.dumps({"_id": "1", "text": "a passage" if name == "corpus" else "a query"}) + "\n")
    assert open_corpus([str(tmp_path / "med")], tmp_path / "work").passages["text"][:] == ["a passage"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", b'{"text": "x"}\n{"abstract": "y"}\n', "line 2: no passage under .* the record has 'abstract'"),
        ("a.jsonl", b'{"title": 1984, "text": "x"}\n', "line 1: 'title' is int '1984', expected text"),
        ("a.jsonl", b'{"pos": [3]}\n', "line 1: 'pos' holds something that is no text: .3"),
        ("a.jsonl", b'{"pos": null}\n', "line 1: 'pos' is null, expected text"),
        ("a.txt", b"fine\n\xff\n", "line 2: not UTF-8"),
        ("a.txt", b"\n \n", "no passages to search"),
    ],
)
def test_what_is_no_corpus_is_said_with_its_line(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=said):
        open_corpus([str(tmp_path / name)], tmp_path / "work")


# What is found


def test_the_search_for_one_query_is_that_of_the_reference(tmp_path, monkeypatch):
    for seed in range(10):
        rng = np.random.default_rng(seed)
        vectors = rng.integers(-2, 3, (rng.integers(1, 40), 4)).astype(np.float32) + 0.5  # many ties
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        blocks = BlockFolder(tmp_path / str(seed), len(vectors), 7)
        for index in range(blocks.count):
            blocks.write(index, vectors[blocks.span(index)])
        reference = NumpySearcher()
        reference.add(vectors)
        for k in (1, 5, 60):
            scores, ids = search.find(vectors[0], blocks, k)
            expected_scores, expected_ids = (row[0] for row in reference.search(vectors[:1], k))
            there = expected_ids >= 0
            assert len(ids) == there.sum() and np.allclose(scores, expected_scores[there], atol=1e-6)
            assert np.allclose(vectors[ids] @ vectors[0], scores, atol=1e-6) and len(set(ids.tolist())) == len(ids)
            assert (np.diff(ids)[np.diff(scores) == 0] > 0).all()


@pytest.fixture
def asked(tmp_path, tiny_encoder_folder, monkeypatch) -> SearchConfig:
    monkeypatch.setattr(search, "BLOCK_ROWS", 7)
    corpus = write_rows(tmp_path / "pairs.jsonl", [{"document": row["abstract"]} for row in make_pairs(20)])
    return SearchConfig(model_path=str(tiny_encoder_folder), corpus=(str(corpus),), bf16=False, top=3, json=True)


def test_the_closest_passages_come_with_their_cosines_and_vectors_are_kept(asked, tmp_path, monkeypatch):
    config = replace(asked, query=("heart cell", "liver"))
    answers = [json.loads(line) for line in search.run(config).splitlines()]
    texts = [row["abstract"] for row in make_pairs(20)]
    encoder = Encoder.from_pretrained(asked.model_path)
    cosines = encoder.encode(list(config.query), kind="query") @ encoder.encode(texts, kind="passage").T
    for query, answer, scores in zip(config.query, answers, cosines, strict=True):
        assert answer["query"] == query and [each["rank"] for each in answer["results"]] == [1, 2, 3]
        best = np.argsort(-scores)[:3]
        assert [each["text"] for each in answer["results"]] == [texts[number] for number in best]
        assert [each["score"] for each in answer["results"]] == pytest.approx(scores[best].tolist(), abs=1e-5)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "pairs.jsonl.work").rglob("*.npy")}
    assert len(kept) == 3
    search.run(config)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "pairs.jsonl.work").rglob("*.npy")} == kept


def test_queries_are_encoded_as_the_vectors_that_are_there_whatever_the_hardware(asked, tmp_path, monkeypatch):
    config = replace(asked, bf16=None, query=("heart cell",))
    answers = {}
    for has_bf16 in (False, True):
        monkeypatch.setattr(search, "choose_bf16", lambda asked, _, has=has_bf16: has if asked is None else asked)
        answers[has_bf16] = search.run(config)
    assert answers[True] == answers[False] == search.run(replace(config, bf16=False))
    assert len(list((tmp_path / "pairs.jsonl.work").glob("searched-*"))) == 1
    rough = search.run(replace(config, bf16=True))
    assert rough != answers[True] == search.run(replace(config, bf16=False))  # what is asked for is done


def test_a_second_models_answers_stand_beside(asked, tmp_path):
    from tiny_encoder import write_tiny_encoder

    other = write_tiny_encoder(tmp_path / "other", seed=1)
    alone = [
        json.loads(search.run(replace(asked, model_path=str(m), query=("liver",)))) for m in (other, asked.model_path)
    ]
    both = json.loads(
        search.run(replace(asked, model_path=str(other), baseline_model_path=asked.model_path, query=("liver",)))
    )
    assert both["results"] == alone[0]["results"] and both["baseline_results"] == alone[1]["results"]


def test_marks_of_rank_are_explained_where_there_are_some(asked, tmp_path, log):
    from tiny_encoder import write_tiny_encoder

    log.set_level("INFO", logger="bioemb")
    config = replace(asked, baseline_model_path=str(write_tiny_encoder(tmp_path / "other", seed=1)), query=("liver",))
    search.run(config)
    assert "(was N)" not in log.text
    search.run(replace(config, json=False))
    assert "(was N): rank N by the baseline; (new): not among its first 3; no mark: the same rank" in log.messages


# How it is shown


def test_passages_are_wrapped_and_cut_and_shown_whole_when_asked():
    answers = [Answer("7", 0.5, "word " * 100), Answer("8", -0.25, "short")]
    lines = show("query", answers, PLAIN).splitlines()
    assert lines[0] == " 1. 0.5000  7" and lines[4].endswith("…") and lines[5:] == [" 2. -0.2500  8", "    short"]
    assert max(map(len, lines)) <= 80
    whole = show("query", answers, PLAIN._replace(full=True, width=30))
    assert whole.count("word") == 100 and max(map(len, whole.splitlines())) <= 30


def test_two_columns_say_how_ranks_changed_and_stand_below_each_other_where_it_is_narrow():
    a, b, c = (Answer(name, 0.5, f"text {name}") for name in "abc")
    text = show_beside("query", ("start", "trained"), ([a, b], [b, c, a]), PLAIN)
    lines = [[cell.strip() for cell in line.split("│")] for line in text.splitlines()]
    assert lines == [
        ["start", "trained"],
        ["1. 0.5000  a", "1. 0.5000  b  (was 2)"],
        ["text a", "text b"],
        ["2. 0.5000  b", "2. 0.5000  c  (new)"],
        ["text b", "text c"],
        ["", "3. 0.5000  a  (was 1)"],
        ["", "text a"],
    ]
    assert len({line.index("│") for line in text.splitlines()}) == 1
    assert "│" not in show_beside("query", ("start", "trained"), ([a], [b]), PLAIN._replace(width=40))


def test_colour_changes_no_column_and_marks_whole_words_only():
    answers = [Answer("a", 0.5, "The heart, hearts and HEART of it " * 3)]
    plain, coloured = (
        show_beside("Heart of", ("x", "y"), (answers, answers), PLAIN._replace(with_colour=c)) for c in (0, 1)
    )
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain
    assert re.findall(r"\x1b\[1;33m(\w+)", mark_words("The heart, hearts and HEART of it", "Heart of")) == [
        "heart",
        "HEART",
    ]


def test_a_passage_cannot_steer_the_terminal():
    assert printable("a\x1b[2Jb\r\nc\x07\u009bd\ud800 e\u202ef\u2066g") == "a [2Jb c d e f g"


# How queries come in


def test_odd_queries_get_a_word_of_their_own():
    assert check_query("  liver ") == "liver"
    for query, said in (("", "empty"), (" \t", "empty"), ("\udcff", "not UTF-8")):
        with pytest.raises(DataError, match=said):
            check_query(query)


def test_a_long_query_is_cut_with_a_word(asked, log):
    search.run(replace(asked, query=("a " * 38,)))  # and a token at each end
    assert "longer than" not in log.text
    search.run(replace(asked, query=("a " * 39,)))
    assert "longer than the 40 tokens" in log.text


def test_a_query_that_is_none_is_one_line(asked, capsys):
    words = ["search", "--model_path", asked.model_path, "--corpus", asked.corpus[0], "--query"]
    assert cli.main([*words, " "]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == "bioemb search: the query is empty; type some words"
    assert cli.main([*words, "aspirin", ""]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == "bioemb search: query 2 of 2 is empty; type some words"


CONVERSE = """
from bioemb.stages.search_prompt import check_query, converse
converse(lambda query: f"<{check_query(query)}>")
"""


def conversation(**streams) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONUTF8": "1", "TERM": "dumb"}
    heard = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731 - what runs in the background ignores it
    return subprocess.Popen([sys.executable, "-c", CONVERSE], env=environment, preexec_fn=heard, **streams)


def test_a_pipe_is_answered_line_by_line():
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    out, err = conversation(**streams).communicate(b"liver\n\n\xff\xfe\nheart")
    assert out == b"<liver>\n<heart>\n"
    assert [line.split(b"; ")[0] for line in err.splitlines()] == [
        b"bioemb search: the query is empty",
        b"bioemb search: the query is not UTF-8",
    ]


@pytest.mark.parametrize("end", [b"\x04", b"\x03"], ids=["Ctrl-D", "Ctrl-C"])
def test_the_prompt_answers_and_is_left_quietly(end):
    terminal, end_of_it = pty.openpty()
    process = conversation(stdin=end_of_it, stdout=end_of_it, stderr=end_of_it, start_new_session=True)
    os.close(end_of_it)
    said = read_until(terminal, b"query> ")
    os.write(terminal, b"liver\n")
    said += read_until(terminal, b"query> ")
    os.write(terminal, b"\n")
    said += read_until(terminal, b"query> ")
    if end == b"\x03":
        interrupt(process)
    else:
        os.write(terminal, end)
    assert process.wait(120) == 0
    os.close(terminal)
    assert said.decode().replace("\r\n", "\n") == "query> liver\n<liver>\nquery> \nquery> "


def interrupt(process: subprocess.Popen) -> None:
    """Send what a terminal sends to the session that it controls; again where readline had not begun to wait."""
    for _ in range(10):
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(1)
            return


def read_until(terminal: int, what: bytes, seconds: float = 120) -> bytes:
    said, deadline = b"", time.monotonic() + seconds
    while not said.endswith(what) and time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.1)[0]:
            said += os.read(terminal, 4096)
    return said
