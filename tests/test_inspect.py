"""What `bioemb inspect` says of small files, against values counted by hand, and by a second, naive count."""

import json
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from bioemb.cli import main
from bioemb.config import InspectConfig
from bioemb.errors import ConfigError, DataError
from bioemb.files import json_line, write_aside
from bioemb.flags import parse
from bioemb.stages import inspect

PAIRS = [
    {"query": "One two three", "document": "a b c d", "kind": "title_abstract", "identity": 5, "language": "eng",
     "year": 1998, "license": "CC BY", "section": ""},
    {"query": "one  two THREE.", "document": "a b c d e", "kind": "title_passage", "identity": 5, "language": "eng",
     "year": 1990, "license": "CC BY", "section": "RESULTS"},
    {"query": "Four", "document": "A b c d.", "kind": "title_abstract", "identity": 6, "language": "fre",
     "year": 2003, "license": "", "section": ""},
    {"query": "four.", "document": "a b C d", "kind": "title_abstract", "identity": 7, "language": "eng",
     "year": None, "license": None},
    {"query": "", "document": "w " * 300, "kind": "title_abstract", "year": "2007"},
]  # fmt: skip


def write(path: Path, records: list[dict]) -> Path:
    with write_aside(path) as out:
        out.writelines(map(json_line, records))
    return path


def facts_of(path: Path, **settings) -> dict:
    return json.loads(inspect.run(InspectConfig((str(path),), json=True, **settings)))


# Pairs


def test_every_count_of_some_pairs_is_what_one_counts_by_hand(tmp_path):
    facts = facts_of(write(tmp_path / "pairs.jsonl", PAIRS))
    assert facts["files"] == [str(tmp_path / "pairs.jsonl")] and facts["records"] == 5
    assert facts["kinds"] == {"title_abstract": 4, "title_passage": 1}
    assert facts["languages"] == {"eng": 3, "fre": 1, "(none)": 1}
    assert facts["licenses"] == {"(none)": 3, "CC BY": 2}
    assert facts["sections"] == {"(none)": 4, "RESULTS": 1}
    assert facts["years"] == {"first": 1990, "last": 2007, "decades": {"1990s": 2, "2000s": 2, "(none)": 1}}
    assert list(facts["years"]["decades"]) == ["1990s", "2000s", "(none)"]
    assert facts["duplicates"] == {
        "queries": {"count": 5, "distinct": 3, "repeated": 2},
        "documents": {"count": 5, "distinct": 3, "repeated": 2},
        "pairs": {"count": 5, "distinct": 4, "repeated": 1},  # the third and the fourth
    }
    assert facts["identities"] == {"count": 4, "distinct": 3, "repeated": 1}


def test_lengths_are_in_words_and_percentiles_are_lengths_that_occur(tmp_path):
    words = facts_of(write(tmp_path / "pairs.jsonl", PAIRS))["words"]
    # queries 0 1 1 3 3, documents 4 4 4 5 300; the p-th percentile is the ceil(p * 5 / 100)-th of them
    ranks = ("p5", "p25", "p50", "p75", "p95", "p99")
    assert words == {
        "query": {"count": 5, "mean": 1.6, "min": 0, **dict(zip(ranks, (0, 1, 1, 3, 3, 3), strict=True)), "max": 3},
        "document": {
            "count": 5, "mean": 63.4, "min": 4, **dict(zip(ranks, (4, 4, 4, 5, 300, 300), strict=True)), "max": 300,
        },
    }  # fmt: skip


def test_percentiles_agree_with_numpy_on_many_lopsided_lengths():
    for seed in range(200):
        draw = random.Random(seed)
        lengths = [int(draw.paretovariate(0.7)) for _ in range(draw.randint(1, 90))]
        said = inspect.lengths_of(Counter(lengths))
        for percent in inspect.PERCENTILES:
            assert said[f"p{percent}"] == np.percentile(lengths, percent, method="inverted_cdf")
        assert said["mean"] == round(float(np.mean(lengths)), 2) and said["max"] == max(lengths)


# Examples


def test_an_examples_positives_and_negatives_are_counted_one_by_one(tmp_path):
    records = [
        {"query": "q one", "pos": ["p", "p p"], "neg": ["n n n"], "neg_ids": [4]},
        {"query": "q two", "pos": ["P."], "neg": ["n", "n n"]},
        {"query": "q one", "pos": ["p"]},
        {"query": "q six", "pos": "p", "neg": None},
    ]
    facts = facts_of(write(tmp_path / "mined.jsonl.gz", records))
    assert {side: facts["words"][side]["count"] for side in facts["words"]} == {
        "query": 4,
        "document": 5,
        "negative": 3,
    }
    assert facts["words"]["negative"]["mean"] == 2 and facts["words"]["negative"]["max"] == 3
    assert facts["kinds"] == {"(none)": 4}
    assert facts["duplicates"]["documents"] == {"count": 5, "distinct": 2, "repeated": 3}
    assert facts["duplicates"]["pairs"] == {"count": 5, "distinct": 4, "repeated": 1}
    assert facts["identities"] == {"count": 0, "distinct": 0, "repeated": 0}


# What may be read, and what is shown


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet"])
def test_all_formats_say_the_same(tmp_path, suffix):
    records = [{"section": "", "identity": 1, "license": "", **record} for record in PAIRS[:3]]
    path = tmp_path / f"pairs{suffix}"
    if suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        years = pyarrow.array([record["year"] for record in records], pyarrow.float64())  # as pandas writes them
        table = pyarrow.Table.from_pylist(records)
        table = table.set_column(table.column_names.index("year"), "year", years)
        pyarrow.parquet.write_table(table, path)
    else:
        write(path, records)
    facts, plain = facts_of(path), facts_of(write(tmp_path / "plain.jsonl", records))
    assert {**facts, "files": []} == {**plain, "files": []} and facts["years"]["first"] == 1990


def test_the_order_of_the_records_changes_nothing(tmp_path):
    records = [
        {"query": f"query {n}", "document": f"passage {n % 7}", "kind": f"kind {n % 3}", "year": 1950 + n}
        for n in range(60)
    ]
    one = facts_of(write(tmp_path / "pairs.jsonl", records))
    other = facts_of(write(tmp_path / "pairs.jsonl", records[::-1]))
    assert one == other
    shown = [(each["kind"], each["query"]) for each in one["examples"]]
    assert [kind for kind, _ in shown] == ["kind 0", "kind 0", "kind 1", "kind 1", "kind 2", "kind 2"]
    assert all(int(query.split()[1]) % 3 == int(kind.split()[1]) for kind, query in shown)


def test_as_many_different_examples_are_shown_as_asked_for_each_cut_to_one_line(tmp_path):
    path = write(tmp_path / "pairs.jsonl", [{"query": "q\n\tq", "document": "word " * 100}] * 5)
    (shown,) = facts_of(path, examples=3)["examples"]  # five times the same pair
    assert shown["query"] == "q q"
    assert len(shown["document"]) == 200 and shown["document"] == ("word " * 100)[:199] + "…"
    assert facts_of(path, examples=0)["examples"] == []
    many = write(tmp_path / "many.jsonl", [{"query": f"q{n}", "document": "d"} for n in range(9)])
    assert len({each["query"] for each in facts_of(many, examples=4)["examples"]}) == 4


def test_a_field_with_ever_new_values_does_not_fill_the_memory(tmp_path):
    records = [{"query": "q", "document": "d", "license": f"licence {n} " + "x" * 500} for n in range(1200)]
    licenses = facts_of(write(tmp_path / "pairs.jsonl", records))["licenses"]
    assert licenses["(others)"] == 200 and len(licenses) == 1001 and sum(licenses.values()) == 1200
    assert max(map(len, licenses)) == 60


@pytest.mark.parametrize("year", [0, 3276, -5, True, "n.d.", "2001-03", 2001.5, "9" * 5000, [1999]])
def test_odd_years_are_counted_and_break_nothing(tmp_path, year):
    years = facts_of(write(tmp_path / "pairs.jsonl", [{"query": "q", "document": "d", "year": year}]))["years"]
    decade = {0: "0s", 3276: "3270s"}.get(year) if type(year) is int else None
    assert years["decades"] == {decade or "(none)": 1}


def test_the_command_takes_a_bare_file_and_prints_a_table_or_one_json_object(tmp_path, capsys):
    path = str(write(tmp_path / "pairs.jsonl", PAIRS))
    assert main(["inspect", path, "--examples", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in lines]
    assert lines[0] == f"{path}: 5 records"
    assert ["title_abstract", "4", "80.0%"] in rows and ["years,", "1990", "to", "2007"] in rows
    assert ["pairs", "5", "4", "1"] in rows and ["identities", "4", "3", "1"] in rows
    assert sum(line.startswith("  -> ") for line in lines) == 2  # one of each kind
    assert main(["inspect", "--json", "--input_path", path, path]) == 0
    assert json.loads(capsys.readouterr().out)["records"] == 5  # a file named twice is one file


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"query": "q", "document": "d"}\n{"question": "q"}\n', "line 2: no key 'query'; the record has 'question'"),
        ('{"query": "q", "answer": "d"}\n', "line 1: no key 'document'; the record has 'query', 'answer'"),
        ('{"query": "q", "pos": ["d", 3]}\n', "line 1: 'pos' holds something that is no text"),
        ('{"query": "q", "pos": null}\n', "line 1: 'pos' is null, expected text"),
        ("\n", "pairs.jsonl: there is no record"),
    ],
)
def test_what_is_neither_pairs_nor_examples_is_an_error_with_its_line(tmp_path, text, said):
    (tmp_path / "pairs.jsonl").write_text(text)
    with pytest.raises(DataError) as caught:
        facts_of(tmp_path / "pairs.jsonl")
    assert said in str(caught.value)


def test_a_negative_number_of_examples_is_refused():
    with pytest.raises(ConfigError, match="examples is -1; expected 0 or more"):
        parse(InspectConfig, ["pairs.jsonl", "--examples", "-1"], "bioemb inspect")


def test_what_is_shown_cannot_steer_the_terminal(tmp_path, capsys):
    path = write(
        tmp_path / "pairs.jsonl", [{"query": "a\x1b]0;title\x07b\u202ec", "document": "d", "kind": "k\x1b[2J"}]
    )
    main(["inspect", str(path)])
    shown = capsys.readouterr().out
    assert "a ]0;title b c" in shown and "k [2J" in shown and "\x1b" not in shown and "\u202e" not in shown
