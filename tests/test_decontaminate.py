"""`bioemb decontaminate` on files: what goes, what stays beside it, what is reported, and run again."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from pair_files import read_rows, write_rows

from bioemb import cli
from bioemb.config import DecontaminateConfig
from bioemb.errors import ConfigError, DataError
from bioemb.manifest import read_manifest
from bioemb.stages import decontaminate

QUERY = "Does early treatment with statins lower mortality in older patients?"
PASSAGE = (
    "We followed 800 patients with sepsis in nine hospitals for ninety days and counted all those who died in them."
)
OTHER = "Vancomycin was given to no patient in either of the two groups that were compared in this trial."


@pytest.fixture
def asked(tmp_path) -> DecontaminateConfig:
    """One retrieval task of a query and two passages, and one of sentence pairs."""
    folder = tmp_path / "eval"
    write_rows(folder / "sepsis" / "queries.jsonl", [{"_id": "q", "text": QUERY}])
    passages = [
        {"_id": "a", "title": "Sepsis in nine hospitals", "text": PASSAGE},
        {"_id": "b", "text": "Something else."},
    ]
    write_rows(folder / "sepsis" / "corpus.jsonl", passages)
    (folder / "sepsis" / "qrels").mkdir()
    (folder / "sepsis" / "qrels" / "test.tsv").write_text("q\ta\t1\n")
    terms = [("heart attack", "infarction"), ("liver", "bone")]
    write_rows(
        folder / "terms.jsonl",
        [{"sentence1": one, "sentence2": other, "score": score} for score, (one, other) in enumerate(terms)],
    )
    return DecontaminateConfig(
        train_data=(str(tmp_path / "train.jsonl"),), output_file=str(tmp_path / "clean.jsonl"), local_data=str(folder)
    )


def clean(config: DecontaminateConfig, *rows: dict) -> list[dict]:
    write_rows(Path(config.train_data[0]), list(rows))
    decontaminate.run(config)
    return read_rows(config.output_file)


def report_of(config: DecontaminateConfig) -> dict:
    return json.loads(Path(f"{config.output_file}.contamination.json").read_text(encoding="utf-8"))


def test_a_pair_goes_with_the_query_or_the_text_that_it_repeats(asked):
    good = {"query": "Heart", "document": OTHER, "kind": "title_abstract"}
    rows = clean(
        asked,
        {"query": "statins", "document": f"Background: {QUERY} Yes."},
        good,
        {"query": QUERY.upper(), "document": OTHER},
        {"sentence1": "Liver.", "sentence2": "spleen", "score": 0.5},
        {"sentence1": "heart attacks", "sentence2": "spleen", "score": 0.5},
    )
    assert rows == [good, {"sentence1": "heart attacks", "sentence2": "spleen", "score": 0.5}]
    dropped = {"contained, queries of sepsis": 1, "same, queries of sepsis": 1, "same, texts of terms": 1}
    assert read_manifest(asked.output_file)["counts"]["rows"] == {"read": 5, "kept": 2, "dropped": dropped}


def test_documents_are_reported_and_go_when_asked(asked):
    rows = [{"query": "sepsis", "document": PASSAGE.replace("nine", "ten")}, {"query": "x", "document": OTHER}]
    assert clean(asked, *rows) == rows
    (example,) = report_of(asked)["tasks"]["sepsis"]["documents"].pop("examples")
    assert (example["reason"], example["key"], example["line"]) == ("near", "document", 1)
    assert example["evaluation_text"] == f"Sepsis in nine hospitals {PASSAGE}"
    counts = read_manifest(asked.output_file)["counts"]["tasks"]["sepsis"]
    assert counts["documents"] == {"texts": 2, "met": 1, "training_texts": {"same": 0, "contained": 0, "near": 1}}
    assert counts["queries"] == {"texts": 1, "met": 0, "training_texts": {"same": 0, "contained": 0, "near": 0}}
    everything = replace(asked, drop=("queries", "texts", "documents"), overwrite=True)
    assert clean(everything, *rows) == rows[1:]
    assert clean(replace(asked, drop=("nothing",), overwrite=True), *rows) == rows


def test_of_an_example_the_text_goes_with_what_stands_beside_it(asked):
    row = {
        "query": "statins",
        "pos": [OTHER, QUERY],
        "pos_scores": [0.9, 0.8],
        "neg": ["liver", "spleen", "bone", "skin"],
        "neg_scores": [0.4, 0.3, 0.2, 0.1],
        "neg_ids": [4, 3, 2, 1],
        "neg_note": "two",
    }
    (kept,) = clean(asked, row, {**row, "pos": [QUERY], "pos_scores": [1.0]})
    assert kept == {
        "query": "statins",
        "pos": [OTHER],
        "pos_scores": [0.9],
        "neg": ["spleen", "skin"],
        "neg_scores": [0.3, 0.1],
        "neg_ids": [3, 1],
        "neg_note": "two",
    }
    counts = read_manifest(asked.output_file)["counts"]
    assert counts["removed_from_rows"] == {"neg": 2, "pos": 1} and counts["rows"]["kept"] == 1


def test_compressed_and_parquet_files_are_read_and_compressed_ones_written(asked, tmp_path):
    rows = [{"query": "a", "document": OTHER}, {"query": QUERY, "document": OTHER}]
    with gzip.open(tmp_path / "one.jsonl.gz", "wt") as out:
        out.write("".join(json.dumps(row) + "\n" for row in rows))
    parquet.write_table(pa.Table.from_pylist([{"query": "b", "document": "Liver"}, *rows]), tmp_path / "two.parquet")
    both = (str(tmp_path / "one.jsonl.gz"), str(tmp_path / "two.parquet"))
    decontaminate.run(replace(asked, train_data=both, output_file=str(tmp_path / "clean.jsonl.gz")))
    with gzip.open(tmp_path / "clean.jsonl.gz", "rt") as handle:
        assert [json.loads(line) for line in handle] == [rows[0], rows[0]]


def test_an_interrupted_run_goes_on_to_the_same_bytes_and_another_choice_compares_nothing(asked, monkeypatch):
    monkeypatch.setattr(decontaminate, "PART_ROWS", 3)
    rows = [{"query": f"{number} {QUERY}" if number % 4 else f"{number}", "document": OTHER} for number in range(11)]
    clean(asked, *rows)
    whole = Path(asked.output_file).read_bytes(), report_of(asked)
    again = replace(asked, output_file=f"{asked.output_file}2.jsonl")
    find_in, seen = decontaminate.find_in, []

    def interrupted(row, located, index):
        seen.append(row)
        if row == 7 and seen.count(7) == 1:
            raise KeyboardInterrupt
        return find_in(row, located, index)

    monkeypatch.setattr(decontaminate, "find_in", interrupted)
    with pytest.raises(KeyboardInterrupt):
        decontaminate.run(again)
    assert not Path(again.output_file).exists()
    decontaminate.run(again)
    assert (Path(again.output_file).read_bytes(), report_of(again)) == whole
    assert seen == [*range(8), *range(6, 11)]  # two whole parts were kept
    assert "nothing to do" in decontaminate.run(again)
    with pytest.raises(ConfigError, match="drop was"):
        decontaminate.run(replace(again, drop=("nothing",)))
    decontaminate.run(replace(again, drop=("nothing",), overwrite=True))
    assert len(seen) == 13 and len(read_rows(again.output_file)) == 11


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"local_data": None}, ConfigError, "which evaluation"),
        ({"overlap": 0.0}, ConfigError, "overlap is 0.0"),
        ({"drop": ("nothing", "texts")}, ConfigError, "nothing stands alone"),
        ({"output_file": "train.jsonl"}, ConfigError, "both input and output"),
        ({}, DataError, "line 2: no text under query, document, .* the row has 'title'"),
    ],
)
def test_what_cannot_be_done_is_said(asked, tmp_path, change, error, said):
    write_rows(tmp_path / "train.jsonl", [{"query": "a", "neg": None}, {"title": "b"}])
    if "output_file" in change:
        change = {"output_file": asked.train_data[0]}
    with pytest.raises(error, match=said):
        decontaminate.run(replace(asked, **change))


def test_a_recipe_may_ask_for_it(asked, tmp_path, capsys):
    write_rows(tmp_path / "train.jsonl", [{"query": QUERY, "document": OTHER}, {"query": "a", "document": OTHER}])
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "decontaminate:\n  train_data: '{root}/train.jsonl'\n  output_file: '{root}/clean.jsonl'\n"
        "  local_data: '{root}/eval'\n  task: sepsis\n"
    )
    assert cli.main(["run", str(recipe), "--root", str(tmp_path)]) == 0
    assert "dropped: same, queries of sepsis" in capsys.readouterr().out
    assert len(read_rows(tmp_path / "clean.jsonl")) == 1


def test_tasks_in_another_order_find_the_same(asked, tmp_path):
    first = tmp_path / "eval" / "asthma"
    write_rows(first / "queries.jsonl", [{"_id": "q", "text": OTHER}])
    write_rows(
        first / "corpus.jsonl", [{"_id": "a", "text": "Asthma is treated with steroids that are inhaled daily."}]
    )
    (first / "qrels").mkdir()
    (first / "qrels" / "test.tsv").write_text("q\ta\t1\n")
    rows = [
        {"query": QUERY, "document": "Liver"},
        {"query": "sepsis", "document": PASSAGE},
        {"query": OTHER, "document": "x"},
    ]
    both = replace(asked, task=("sepsis", "asthma"), drop=("queries",))
    kept = clean(both, *rows)
    assert kept == rows[1:2]
    assert clean(replace(both, task=("asthma", "sepsis"), overwrite=True), *rows) == kept
