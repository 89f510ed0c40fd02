"""The search of a mining run and what is excluded by vectors: against exact search, and against a plain double loop."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pair_files import make_pairs, read_rows, write_rows

from bioemb import cli
from bioemb.config import MineConfig
from bioemb.encoder import Encoder
from bioemb.errors import ConfigError
from bioemb.manifest import read_manifest
from bioemb.stages import mine, mining_search


@pytest.fixture
def mining(tmp_path, tiny_encoder_folder, monkeypatch) -> MineConfig:
    monkeypatch.setattr(mining_search, "BLOCK_ROWS", 8)
    monkeypatch.setattr(mining_search, "SHARD_ROWS", 32)  # two shards
    rows = [{"query": row["title"], "pos": [row["abstract"]]} for row in make_pairs(60, 1)]
    rows[3]["pos"].append(rows[9]["pos"][0])
    return MineConfig(
        model_name_or_path=str(tiny_encoder_folder),
        input_file=str(write_rows(tmp_path / "examples.jsonl", rows)),
        output_file=str(tmp_path / "mined.jsonl"),
        range_for_sampling="1-12",
        negative_number=4,
        on_short="fewer",
        max_positive_similarity=None,
        bf16=False,
        relative_margin=None,
    )


def elsewhere(config: MineConfig, **settings) -> MineConfig:
    return replace(config, output_file=config.output_file + ".other.jsonl", **settings)


# Indexes that are not exact


@pytest.mark.parametrize("factory, parameters", [("IVF4,Flat", "nprobe=4"), ("HNSW16", "efSearch=60"), ("SQfp16", "")])
def test_an_index_that_finds_all_gives_the_negatives_of_exact_search_with_their_cosines(mining, factory, parameters):
    mine.run(mining)
    other = elsewhere(mining, index_factory=factory, index_parameters=parameters, min_recall=0.9)
    said = mine.run(other)
    for row, exact in zip(read_rows(other.output_file), read_rows(mining.output_file), strict=True):
        assert row["neg"] == exact["neg"]
        np.testing.assert_allclose(row["neg_scores"], exact["neg_scores"], rtol=0, atol=2e-6)
    measured = read_manifest(other.output_file)["counts"]["search"]
    assert measured["recall"] >= 0.98 and measured["k"] == 12 and measured["passages"] == 32
    assert f"share of the true neighbours that {factory} finds: {measured['recall']}" in said
    assert "search" not in read_manifest(mining.output_file)["counts"]


def test_an_index_that_finds_too_few_stops_the_stage_with_what_to_raise(mining, capsys):
    config = replace(mining, index_factory="IVF8,Flat", index_parameters="nprobe=1")
    with pytest.raises(ConfigError, match=r"IVF8,Flat nprobe=1 finds a share of 0\.\d+ of the true 12 .*nprobe=N"):
        mine.run(config)
    assert not Path(mining.output_file).exists()
    recall = mining_search.read_recall(next(Path(f"{mining.output_file}.work").glob("neighbours-*")))["recall"]
    assert 0.1 < recall < 0.9
    mine.run(replace(config, min_recall=recall))  # what is enough is not part of what decides the output
    assert read_manifest(mining.output_file)["counts"]["search"]["recall"] == recall


def test_an_index_is_trained_once_for_all_shards(mining, monkeypatch):
    trained, train = [], mining_search.FaissSearcher.train
    monkeypatch.setattr(
        mining_search.FaissSearcher, "train", lambda self, sample: (trained.append(len(sample)), train(self, sample))
    )
    mine.run(replace(mining, index_factory="IVF2,Flat", index_parameters="nprobe=2"))
    assert trained == [60]  # a sample of the whole corpus


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"index_factory": "IVF4,Flut"}, "faiss refuses the index 'IVF4,Flut'"),
        (
            {"index_factory": "IVF4,Flat", "index_parameters": "probes=3"},
            "faiss refuses the index 'IVF4,Flat' 'probes=3'",
        ),
    ],
)
def test_an_index_that_cannot_be_made_is_refused_before_anything_is_encoded(mining, settings, words):
    with pytest.raises(ConfigError, match=words):
        mine.run(replace(mining, **settings))
    assert not Path(f"{mining.output_file}.work").exists()


def test_parameters_of_an_index_that_has_none_are_refused(mining):
    with pytest.raises(ConfigError, match="--index_parameters nprobe=64 .* and Flat is exact"):
        replace(mining, index_parameters="nprobe=64")


def test_shares_beyond_their_bounds_are_refused(mining):
    for name in ("min_recall", "max_positive_similarity"):
        with pytest.raises(ConfigError, match=f"--{name} is 1.5"):
            replace(mining, **{name: 1.5})


def test_articles_of_all_positives_of_an_equal_query_give_no_negatives(mining, tmp_path):
    """Two articles of one term, in rows of their own; another passage of either is a negative of neither."""
    texts = [row["abstract"] for row in make_pairs(20, 1)]
    rows = [
        {"query": "Asthma", "pos": [texts[0]], "identity": 1},
        {"query": "asthma ", "pos": [texts[1]], "identity": 2},
        *({"query": f"about {n}", "pos": [texts[n]], "identity": n // 2} for n in range(2, 20)),  # 2, 3: article 1; ..
    ]
    config = replace(mining, input_file=str(write_rows(tmp_path / "terms.jsonl", rows)), range_for_sampling="0-20")
    mine.run(replace(config, negative_number=20))
    for row in read_rows(mining.output_file)[:2]:
        assert sorted(row["neg"]) == sorted(texts[6:])  # all but articles 1 and 2: 0, 2, 3 and 1, 4, 5


# Near-copies


def test_what_is_nearer_to_a_positive_than_the_bound_is_no_negative(mining):
    mine.run(replace(mining, negative_number=12))
    everything = read_rows(mining.output_file)
    encoder = Encoder.from_pretrained(mining.model_name_or_path)
    texts = list(dict.fromkeys(text for row in everything for text in (*row["pos"], *row["neg"])))
    vector = dict(zip(texts, encoder.encode(texts, kind="passage"), strict=True))
    similar = [[max(vector[p] @ vector[n] for p in row["pos"]) for n in row["neg"]] for row in everything]
    bound = float(np.median(np.concatenate(similar)))  # half of them
    other = elsewhere(mining, negative_number=12, max_positive_similarity=bound)
    mine.run(other)
    for row, whole, cosines in zip(read_rows(other.output_file), everything, similar, strict=True):
        assert row["neg"] == [text for text, cosine in zip(whole["neg"], cosines, strict=True) if cosine < bound]
    dropped = read_manifest(other.output_file)["counts"]["candidates"]["near-duplicate of a positive"]
    assert dropped == sum(cosine >= bound for some in similar for cosine in some) > 200


def test_many_near_copies_are_warned_of(mining, log):
    mine.run(replace(mining, max_positive_similarity=0.1))
    assert "100 % of what was drawn was taken for near-duplicates of a positive" in log.text


# No negatives at all


def test_a_run_without_any_negative_is_an_error_and_leaves_no_file(mining, capsys):
    bounded = replace(mining, min_score=0.999, on_short="drop")
    with pytest.raises(ConfigError, match=r"no row has a negative.*below min_score \d+.*--on_short fewer"):
        mine.run(bounded)
    assert not Path(mining.output_file).exists() and not read_manifest(mining.output_file)["complete"]
    mine.run(replace(bounded, on_short="fewer"))
    assert [row["neg"] for row in read_rows(mining.output_file)] == [[]] * 60


def test_the_command_ends_with_2_where_no_row_has_a_negative(mining, capsys):
    one = write_rows(Path(mining.input_file).with_name("one.jsonl"), [{"query": "heart", "pos": ["liver cell"]}])
    words = ["mine", "--model_name_or_path", mining.model_name_or_path, "--input_file", str(one)]
    assert cli.main([*words, "--output_file", mining.output_file]) == 2
    assert "no row has a negative: of the candidates of ranks 10-210 of 1 passages" in capsys.readouterr().err
