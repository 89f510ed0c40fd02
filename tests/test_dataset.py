"""Rows of training data as examples: what is right comes back, what is wrong is named, all of it at once."""

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from bioemb.data import dataset
from bioemb.data.dataset import Source, count_values, list_sources, load_examples, rows_of_sources
from bioemb.data.examples import Needs, as_example, passage_identity
from bioemb.errors import ConfigError, DataError
from bioemb.files import Located

ROWS = [
    {"query": "what lowers glucose", "pos": ["metformin", "insulin"], "neg": ["statins", "aspirin", "mice"]},
    {"query": "heart", "pos": ["β-blockers"], "neg": ["mice", "thyroid"], "identity": 7, "neg_identities": [3, 2**62],
     "pos_scores": [0.5], "neg_scores": [-0.25, 1], "prompt": "find: ", "type": "ignored", "extra": {"a": 1}},
    {"query": "p53", "pos": ["tumour"], "neg": ["sepsis"], "prompt": ""},
]  # fmt: skip
EMPTY = {
    name: None
    for name in (
        "pos_scores",
        "neg_scores",
        "identity",
        "neg_identities",
        "prompt",
        "passage_prompt",
        "kind",
        "license",
    )
}


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def load(tmp_path, *rows, group_size=2, needs_scores=False):
    return load_examples([write(tmp_path / "train.jsonl", rows)], tmp_path / "cache", Needs(group_size, needs_scores))


def complaint(tmp_path, *rows, group_size=2, needs_scores=False):
    with pytest.raises(DataError) as caught:
        load(tmp_path, *rows, group_size=group_size, needs_scores=needs_scores)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "cache").iterdir())  # and nothing half written is taken for the data next time
    return str(caught.value).replace(str(tmp_path / "train.jsonl"), "train.jsonl")


# What is right


def test_rows_come_back_with_what_belongs_to_them(tmp_path):
    examples = load(tmp_path, *ROWS)
    assert list(examples) == [
        {**ROWS[0], **EMPTY, "source": 0},
        {**EMPTY, **{key: value for key, value in ROWS[1].items() if key not in ("type", "extra")}, "source": 0},
        {**ROWS[2], **EMPTY, "prompt": "", "source": 0},
    ]


def test_a_pair_is_an_example_without_negatives(tmp_path):
    pair = {"query": "what lowers glucose", "document": "metformin", "cos_sim": 0.9, "identity": 4}
    examples = load(tmp_path, pair, {**pair, "pos": None, "neg": None}, group_size=1)  # the second as from Parquet
    for example in examples:
        assert (example["pos"], example["neg"], example["identity"]) == (["metformin"], [], 4)


def test_all_kinds_of_files_and_folders_give_the_same_examples(tmp_path):
    plain = load(tmp_path, *ROWS)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.json").write_text(json.dumps(ROWS[:1]))
    (tmp_path / "folder" / "b.jsonl.gz").write_bytes(gzip.compress(json.dumps(ROWS[1]).encode()))
    rows = [{key: value for key, value in ROWS[2].items()} | {"document": None, "neg_scores": None}]
    pa.parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "folder" / "c.parquet")
    examples = load_examples([str(tmp_path / "folder")], tmp_path / "cache", Needs(2))
    assert [{**row, "source": 0} for row in examples] == list(plain)
    assert [rows.tolist() for rows in rows_of_sources(examples, 3)] == [[0], [1], [2]]


def test_a_file_named_twice_counts_once_however_it_is_spelt(tmp_path):
    path = write(tmp_path / "a.jsonl", ROWS)
    (tmp_path / "link.jsonl").symlink_to(path)
    names = [str(path), f"{tmp_path}/../{tmp_path.name}/a.jsonl", str(tmp_path / "link.jsonl")]
    assert list_sources(names) == [Source(Path(path), 0)]


def test_each_source_has_its_rows_in_the_order_of_the_files(tmp_path):
    files = [write(tmp_path / name, rows) for name, rows in (("z.jsonl", ROWS), ("a.jsonl", ROWS[:2]))]
    examples = load_examples(files, tmp_path / "cache", Needs(2))
    assert [rows.tolist() for rows in rows_of_sources(examples, 3)] == [[0, 1, 2], [3, 4], []]
    assert examples["query"][:] == [row["query"] for row in ROWS + ROWS[:2]]


def test_prepared_examples_are_used_again_only_for_the_same(tmp_path, monkeypatch):
    first = list(load(tmp_path, *ROWS))
    reads = []
    monkeypatch.setattr(dataset, "read_records", lambda files: reads.append(files) or iter(()))
    assert list(load(tmp_path, *ROWS)) == first and reads == []
    for change in ({"group_size": 3}, {"needs_scores": True}):
        with pytest.raises(DataError, match="no rows"):
            load(tmp_path, *ROWS, **change)
    with pytest.raises(DataError, match="no rows"):
        load(tmp_path, *ROWS[:2])
    assert len(reads) == 3


def test_files_and_sets_of_the_hub_stand_side_by_side(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("datasets.load_dataset", lambda *name, **where: asked.append((name, where)) or ROWS[1:])
    names = ["some/data:triplets@v2", write(tmp_path / "train.jsonl", ROWS[:1])]
    examples = load_examples(names, tmp_path / "cache", Needs(2))
    assert [(row["query"], row["source"]) for row in examples] == [("what lowers glucose", 0), ("heart", 1), ("p53", 1)]
    assert asked == [(("some/data", "triplets"), {"split": "train", "revision": "v2"})]
    assert [(source.entry, source.is_hub) for source in list_sources(names)] == [(1, False), (0, True)]
    monkeypatch.setattr("datasets.load_dataset", lambda *name, **where: [{"query": ""}])
    with pytest.raises(DataError, match="other/data, line 1: 'query' must be text"):
        load_examples(["other/data"], tmp_path / "cache", Needs(2))


def test_what_was_prepared_of_the_hub_is_known_by_config_split_and_revision(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "datasets.load_dataset", lambda *name, **where: [{"query": str(name + (*where.values(),)), "pos": ["x"]}]
    )
    names = ["a/b", "a/b:c", "a/b:c:dev", "a/b@v1", "a/b::dev", "a/b:c:dev@v1"]
    found = [load_examples([name], tmp_path, Needs(2))[0]["query"] for name in names]
    expected = [(None, "train", None), ("c", "train", None), ("c", "dev", None), (None, "train", "v1"),
                (None, "dev", None), ("c", "dev", "v1")]  # fmt: skip
    assert found == [str(("a/b", *rest)) for rest in expected]
    with pytest.raises(DataError, match="expected owner/name:config:split@revision"):
        load_examples(["a/b:c:d:e"], tmp_path, Needs(2))


def test_kinds_and_licences_are_counted(tmp_path):
    kinds = ["title", None, "title", 7, "body"]
    examples = load(tmp_path, *({**ROWS[0], "kind": kind} for kind in kinds))
    assert count_values(examples, "kind", np.arange(5)) == {"title": 2, "": 2, "body": 1}
    assert count_values(examples, "kind", np.array([4, 0])) == {"title": 1, "body": 1}
    assert count_values(examples, "license", np.arange(5)) == count_values(examples, "kind", np.arange(0)) == {}


def test_a_file_that_two_entries_name_belongs_to_the_first(tmp_path):
    one, two = (Path(write(tmp_path / name, ROWS)) for name in ("a.jsonl", "b.jsonl"))
    assert list_sources([str(two), str(tmp_path)]) == [Source(two, 0), Source(one, 1)]


def test_a_name_that_is_nowhere_is_named(tmp_path, monkeypatch):
    def offline(name, config, split, revision):
        raise ConnectionError("Couldn't reach\nthe hub")

    monkeypatch.setattr("datasets.load_dataset", offline)
    for name, said in (
        ("org/name", "org/name: neither a file here nor to be had from the hub (Couldn't reach the hub)"),
        ("./name.jsonl", "no such file or folder"),
        ("name.jsonl", "no such file or folder"),
        ("folder/name.jsonl", "no such file or folder"),
    ):
        with pytest.raises(DataError) as caught:
            load_examples([name], tmp_path, Needs(2))
        assert said in str(caught.value) and "\n" not in str(caught.value)


# What is wrong


def example_error(row, group_size=2, needs_scores=False, needs_negatives=True):
    with pytest.raises(DataError) as caught:
        as_example(Located(row, "a.jsonl", 3), Needs(group_size, needs_scores, needs_negatives))
    message = str(caught.value)
    assert message.startswith("a.jsonl, line 3: ") and "\n" not in message and len(message) < 300
    return message.removeprefix("a.jsonl, line 3: ")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"query": None}, "'query' must be text, got None (the row has 'query', 'pos', 'neg')"),
        ({"query": "  "}, "'query' must be text, got empty text"),
        ({"query": ["a"] * 1000}, "'query' must be text, got ['a', 'a',"),
        ({"pos": "metformin"}, "'pos' must be a list of texts, got 'metformin'"),
        ({"pos": None}, "'pos' must be a list of texts, got None"),
        ({"pos": []}, "'pos' is empty; a row needs at least one positive"),
        ({"pos": ["a", ""]}, "'pos'[1] must be text, got empty text"),
        ({"pos": ["a", None]}, "'pos'[1] must be text, got None"),
        ({"neg": "x" * 10_000}, "'neg' must be a list of texts, got 'xxx"),
        ({"neg": ["a", 5]}, "'neg'[1] must be text, got 5"),
        ({"neg": []}, "'neg' is empty, and this loss compares within groups of 2; mine some"),
        ({"neg": None}, "'neg' is empty"),
        ({"pos_scores": [1, 2]}, "'pos_scores' must hold a number for each of 1 texts, got 2 of them"),
        ({"neg_scores": 0.5}, "'neg_scores' must hold a number for each of 2 texts, got 0.5"),
        ({"neg_scores": [0.5, "high"]}, "'neg_scores'[1] must be a number, got 'high'"),
        ({"neg_scores": [True, 0.5]}, "'neg_scores'[0] must be a number, got True"),
        ({"neg_scores": [float("nan"), 0.5]}, "'neg_scores'[0] must be a number, got nan"),
        ({"neg_identities": [1]}, "'neg_identities' must hold a number for each of 2 texts, got 1 of them"),
        ({"neg_identities": [1, 1.5]}, "'neg_identities' must be a whole number, got 1.5"),
        ({"neg_identities": [1, None]}, "'neg_identities' must be a whole number, got None"),
        ({"identity": "pmid:1"}, "'identity' must be a whole number, got 'pmid:1'"),
        ({"identity": [1]}, "'identity' must be a whole number, got [1]"),
        ({"identity": 2**63}, "'identity' must be a whole number, got 9223372036854775808"),
        ({"prompt": 5}, "'prompt' must be text, got 5"),
        ({"passage_prompt": ["a"]}, "'passage_prompt' must be text, got ['a']"),
    ],
)
def test_what_is_wrong_with_a_row_is_said_with_file_and_line(change, said):
    assert example_error({"query": "a", "pos": ["b"], "neg": ["c", "d"], **change}).startswith(said)


def test_missing_keys_are_named_with_the_keys_there_are():
    assert example_error({"qurey": "a", "pos": ["b"]}).startswith("'query' must be text, got no such key (the row has ")
    assert example_error({"query": "a", "positive": ["b"]}) == "'pos' must be a list of texts, got no such key"
    assert example_error({"query": "a", "document": " "}).startswith("'document' must be text, got empty text")


def test_all_bad_rows_are_named_at_once(tmp_path):
    bad = [{"query": ""}, {"pos": ["b"]}, {"query": "a", "pos": []}]
    message = complaint(tmp_path, ROWS[0], bad[0], ROWS[1], bad[1], bad[2])
    assert message.startswith("3 of 5 rows cannot be used: train.jsonl, line 2: 'query' must be text")
    assert "; train.jsonl, line 4: 'query' must be text" in message
    assert message.endswith("; train.jsonl, line 5: 'pos' is empty; a row needs at least one positive")


def test_bad_rows_that_say_the_same_are_said_once_with_their_lines(tmp_path):
    message = complaint(tmp_path, *[{"query": ""}] * 12, ROWS[0], {"query": "a", "pos": []})
    empty = "train.jsonl, line 1: 'query' must be text, got empty text (the row has 'query')"
    other = "train.jsonl, line 14: 'pos' is empty; a row needs at least one positive"
    assert message == f"13 of 14 rows cannot be used: {empty} (also lines 2, 3, 4, 5, 6 and 6 more); {other}"
    assert complaint(tmp_path, {"query": ""}, ROWS[0], {"query": ""}).endswith(f"{empty} (also line 3)")


def test_of_very_many_bad_rows_the_first_are_shown_and_the_rest_counted(tmp_path):
    message = complaint(tmp_path, *[{"query": number} for number in range(12)], ROWS[0])
    assert message.startswith("12 of 13 rows") and message.count("train.jsonl, line") == 5
    assert message.endswith("; and 7 more")


def test_a_line_that_is_no_json_joins_the_bad_rows_before_it(tmp_path):
    (tmp_path / "train.jsonl").write_text(f'{json.dumps(ROWS[0])}\n{{"query": "a"}}\n{{"query": \n')
    said = r"2 of 3 rows cannot be used: .* line 2: 'pos' must .* line 3: not JSON.*; what follows was not read$"
    with pytest.raises(DataError, match=said):
        load_examples([str(tmp_path / "train.jsonl")], tmp_path / "cache", Needs(2))


def test_no_rows_at_all_is_an_error(tmp_path):
    assert complaint(tmp_path) == "there are no rows in train.jsonl; expected a JSON object a line"


def test_a_group_of_one_with_negatives_in_the_data_is_a_contradiction(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, *ROWS, group_size=1)
    assert str(caught.value).startswith("train_group_size is 1, so there are no hard negatives in a group; use 2")
    assert "train.jsonl, line 1, has some" in str(caught.value)


def test_too_few_negatives_are_said_with_how_many_and_where(tmp_path, log):
    load(tmp_path, *ROWS, group_size=4)
    expected = f"2 of 3 rows have fewer than 3 negatives (first: {tmp_path}/train.jsonl, line 2): theirs are repeated"
    assert expected in log.text
    log.clear()
    load(tmp_path, ROWS[0], group_size=4)
    assert not log.text


# Scores


def test_a_scored_pair_is_an_example_of_one_text_and_its_score(tmp_path):
    rows = [
        {"sentence1": "heart", "sentence2": "cardiac", "score": 4.5},
        {"query": "liver", "pos": ["hepatic"], "score": 1},
        {"query": "skin", "document": "dermal", "score": 0.25, "pos_scores": None},
    ]
    found = load(tmp_path, *rows, group_size=1, needs_scores=True)
    assert [(row["query"], row["pos"], row["neg"], row["pos_scores"]) for row in found] == [
        ("heart", ["cardiac"], [], [4.5]),
        ("liver", ["hepatic"], [], [1]),
        ("skin", ["dermal"], [], [0.25]),
    ]
    two = {"query": "a", "pos": ["b", "c"], "score": 0.5}
    assert "must hold a number for each of 2 texts, got 1" in complaint_of_scores(tmp_path, two)
    assert load(tmp_path, {**two, "score": "high"}, group_size=1)[0]["pos_scores"] is None  # who asks no scores


def test_rows_without_negatives_are_counted_and_named(tmp_path, log):
    rows = [ROWS[0], {"query": "a", "document": "b"}, {"query": "c", "pos": ["d"], "neg": []}]
    assert [len(row["neg"]) for row in load(tmp_path, *rows, group_size=3)] == [3, 0, 0]
    assert f"2 of 3 rows have no negatives (first: {tmp_path}/train.jsonl, line 2): theirs are the other" in log.text


def test_rows_without_identity_beside_rows_with_one_are_counted_and_named(tmp_path, log):
    rows = [{"query": name, "document": name, "identity": 5} for name in "ab"]
    load(tmp_path, *rows, {"query": "c", "document": "b"}, group_size=1)
    assert f"1 of 3 rows have no identity (first: {tmp_path}/train.jsonl, line 3): a text of theirs that" in log.text
    for alike in (rows, [{"query": name, "document": name} for name in "ab"]):
        log.clear()
        load(tmp_path, *alike, group_size=1)
        assert "no identity" not in log.text


def test_a_negative_that_was_never_scored_stops_only_who_needs_scores(tmp_path):
    row = {**ROWS[1], "neg_scores": [0.5, None]}  # as mining writes it when it fills up at random
    assert load(tmp_path, row)[0]["neg_scores"] == [0.5, None]
    message = complaint_of_scores(tmp_path, row)
    assert "'neg_scores'[1] is null: never scored, and this loss learns from it" in message
    assert "no 'pos_scores', or 'score' of a pair, which this loss learns from" in complaint_of_scores(
        tmp_path, ROWS[0]
    )
    assert load(tmp_path, ROWS[1], needs_scores=True)[0]["pos_scores"] == [0.5]


def complaint_of_scores(tmp_path, row):
    with pytest.raises(DataError) as caught:
        load(tmp_path, row, needs_scores=True)
    return str(caught.value)


def test_a_scored_pair_is_no_positive_for_a_loss_without_scores():
    pair = {"sentence1": "a", "sentence2": "b", "score": 0.1}
    said = "a scored pair (score 0.1), which this loss would take for a positive whatever its score"
    assert example_error(pair, group_size=1).startswith(said)
    without = as_example(Located({**pair, "score": None}, "a.jsonl", 3), Needs(1))
    assert (without["query"], without["pos"]) == ("a", ["b"])
    with_scores = as_example(Located(pair, "a.jsonl", 3), Needs(1, True))
    assert with_scores["pos_scores"] == [0.1]


@pytest.mark.parametrize("score", ["high", float("nan"), True])
def test_a_pairs_score_is_named_as_the_row_names_it(score):
    pair = {"sentence1": "a", "sentence2": "b", "score": score}
    assert example_error(pair, 1, True).startswith(f"'score' must be a number, got {score!r}")


def test_negatives_of_scored_pairs_are_refused_in_words_of_scored_pairs():
    row = {"query": "a", "pos": ["b"], "neg": ["c"], "score": 0.5}
    with pytest.raises(ConfigError, match="learns from scored pairs, one passage each, and no hard negatives"):
        as_example(Located(row, "a.jsonl", 3), Needs(1, True))


def test_equal_passages_share_an_identity_and_others_do_not():
    assert passage_identity("Aspirin  lowers risk.") == passage_identity("aspirin lowers RISK")
    identities = {passage_identity(f"passage {i}") for i in range(1000)}
    assert len(identities) == 1000 and all(0 <= identity < 2**63 for identity in identities)
    assert np.array(list(identities), np.int64).min() >= 0


def test_rows_with_an_identity_whose_negatives_have_none_are_counted_and_named(tmp_path, log):
    rows = [{"query": "a", "pos": ["b"], "neg": ["c"], "identity": 5}, {**ROWS[0], "identity": None}]
    load(tmp_path, *rows, {"query": "d", "pos": ["e"], "neg": [], "identity": 6}, group_size=2)
    said = f"1 of 3 rows have an identity, and negatives without (first: {tmp_path}/train.jsonl, line 1): a positive"
    assert said in log.text
    log.clear()
    load(tmp_path, {**rows[0], "neg_identities": [8]}, group_size=2)
    assert "negatives without" not in log.text
