"""A cross-encoder in `bioemb mine` and `bioemb score`: against scoring every pair by itself, and run again."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from pair_files import make_pairs, read_rows, write_rows
from tiny_encoder import write_tiny_cross_encoder

from bioemb import cli
from bioemb.config import MineConfig, ScoreConfig
from bioemb.cross_encoder import CrossEncoder
from bioemb.errors import ConfigError, DataError
from bioemb.manifest import read_manifest
from bioemb.stages import mine, mining_search, reranking
from bioemb.stages import score as score_stage

SCORES = ("pos_scores", "neg_scores", "pos_cosines", "neg_cosines")


@pytest.fixture(scope="module")
def reranker(tmp_path_factory) -> Path:
    return write_tiny_cross_encoder(tmp_path_factory.mktemp("models") / "tiny-cross", seed=3)


@pytest.fixture
def mining(tmp_path, tiny_encoder_folder, reranker, monkeypatch) -> MineConfig:
    monkeypatch.setattr(mining_search, "BLOCK_ROWS", 7)  # several blocks of rows
    monkeypatch.setattr(reranking, "SCORED_AT_ONCE", 16)
    rows = [{"query": row["title"], "pos": [row["abstract"]]} for row in make_pairs(25, 1)]
    rows[3]["pos"].append(rows[9]["pos"][0])
    return MineConfig(
        model_name_or_path=str(tiny_encoder_folder),
        input_file=str(write_rows(tmp_path / "examples.jsonl", rows)),
        output_file=str(tmp_path / "mined.jsonl"),
        range_for_sampling="1-20",
        negative_number=4,
        on_short="fewer",
        reranker_name_or_path=str(reranker),
        reranker_margin=0.3,
        relative_margin=None,
    )


@pytest.fixture
def asked(monkeypatch) -> list[int]:
    """How many pairs the cross-encoder was asked for, call by call."""
    calls, scores = [], CrossEncoder.scores

    def counting(self, pairs, *settings):
        calls.append(len(pairs))
        return scores(self, pairs, *settings)

    monkeypatch.setattr(CrossEncoder, "scores", counting)
    return calls


loaded = cache(CrossEncoder.from_pretrained)


def naive_scores(reranker: Path, query: str, texts: list[str]) -> list[float]:
    return [loaded(reranker).scores([(query, text)]).item() for text in texts]


def bare(config: MineConfig, **settings) -> MineConfig:
    """The same without the cross-encoder, written elsewhere."""
    without = dict(reranker_name_or_path=None, reranker_margin=None, keep_reranker_scores=False)
    return replace(config, output_file=config.output_file + ".bare.jsonl", **{**without, **settings})


def test_negatives_are_those_that_the_reranker_puts_below_every_positive_by_the_margin(mining, reranker):
    mine.run(bare(mining, negative_number=19))
    mine.run(replace(mining, negative_number=19))
    vetoed = 0
    for row, whole in zip(read_rows(mining.output_file), read_rows(bare(mining).output_file), strict=True):
        bound = min(naive_scores(reranker, row["query"], row["pos"])) - 0.3
        opinion = naive_scores(reranker, row["query"], whole["neg"])
        assert row["neg"] == [text for text, score in zip(whole["neg"], opinion, strict=True) if score <= bound]
        kept = dict(zip(whole["neg"], whole["neg_scores"], strict=True))
        assert row["neg_scores"] == [kept[text] for text in row["neg"]]  # cosines still
        vetoed += len(whole["neg"]) - len(row["neg"])
    counts = read_manifest(mining.output_file)["counts"]
    assert counts["candidates"]["vetoed by the reranker"] == counts["vetoed"] == vetoed > 50


def test_kept_scores_are_the_teachers_and_the_cosines_stand_beside_them(mining, reranker):
    mine.run(bare(mining))
    mine.run(replace(mining, reranker_margin=None, keep_reranker_scores=True))
    for row, plain in zip(read_rows(mining.output_file), read_rows(bare(mining).output_file), strict=True):
        assert row["neg"] == plain["neg"] and len(row["neg"]) == 4
        for side in ("pos", "neg"):
            assert row[f"{side}_cosines"] == plain[f"{side}_scores"]
            expected = naive_scores(reranker, row["query"], row[side])
            assert row[f"{side}_scores"] == pytest.approx(expected, abs=1e-5)
    again = replace(mining, input_file=mining.output_file, output_file=mining.output_file + "2.jsonl")
    mine.run(bare(again))
    assert not {"pos_cosines", "neg_cosines"} & set(read_rows(bare(again).output_file)[0])  # of other negatives


def test_another_margin_has_only_those_pairs_scored_that_were_not_drawn_before(mining, asked, tmp_path):
    mine.run(mining)
    first = sum(asked)
    assert max(asked) <= 16
    asked.clear()
    mine.run(replace(mining, keep_reranker_scores=True, overwrite=True))
    assert asked == []
    mine.run(replace(mining, reranker_margin=0.5, overwrite=True))
    assert 0 < sum(asked) < first
    fresh = replace(mining, reranker_margin=0.5, output_file=str(tmp_path / "fresh.jsonl"))
    mine.run(fresh)
    assert Path(fresh.output_file).read_bytes() == Path(mining.output_file).read_bytes()


def test_an_interrupted_reranking_goes_on_to_the_same_bytes(mining, monkeypatch):
    config = replace(mining, keep_reranker_scores=True)
    mine.run(config)
    scores = CrossEncoder.scores
    for stop in (1, 3, 6):
        other, calls = replace(config, output_file=f"{config.output_file}{stop}.jsonl"), []

        def fail(self, pairs, *settings, calls=calls, stop=stop):
            calls.append(1)
            if len(calls) == stop:
                raise KeyboardInterrupt
            return scores(self, pairs, *settings)

        monkeypatch.setattr(CrossEncoder, "scores", fail)
        with pytest.raises(KeyboardInterrupt):
            mine.run(other)
        mine.run(other)
        assert Path(other.output_file).read_bytes() == Path(config.output_file).read_bytes()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"reranker_margin": None}, "nothing is asked of the reranker: --reranker_margin or --keep_reranker_scores"),
        ({"reranker_name_or_path": None}, "--reranker_margin and --keep_reranker_scores need --reranker_name_or_path"),
        ({"reranker_margin": float("nan")}, "reranker_margin is nan"),
    ],
)
def test_settings_of_the_reranker_that_cannot_work_are_refused(mining, settings, said):
    with pytest.raises(ConfigError, match=said):
        replace(mining, **settings)


@pytest.fixture
def scoring(tmp_path, reranker, monkeypatch) -> ScoreConfig:
    monkeypatch.setattr(score_stage, "BLOCK_ROWS", 8)
    rng = np.random.default_rng(4)
    pairs = make_pairs(40, 2)
    rows = [
        {
            "query": row["title"],
            "pos": [row["abstract"]],
            "neg": [pairs[i]["abstract"] for i in rng.integers(40, size=n)],
        }
        for row, n in zip(pairs, rng.integers(0, 5, 12).tolist(), strict=False)
    ]
    rows[2] |= {"pos_scores": [0.5], "neg_scores": [0.25] * len(rows[2]["neg"]), "mark": "kept"}
    rows[4]["pos"].append("heart")
    rows.append({"query": pairs[30]["title"], "document": pairs[30]["abstract"], "cos_sim": 0.8})
    return ScoreConfig(
        reranker_name_or_path=str(reranker),
        input_file=str(write_rows(tmp_path / "mined.jsonl", rows)),
        output_file=str(tmp_path / "scored.jsonl"),
    )


def test_every_row_gets_the_scores_of_its_texts_and_keeps_the_rest(scoring, reranker):
    score_stage.run(scoring)
    before, after = read_rows(scoring.input_file), read_rows(scoring.output_file)
    for old, new in zip(before, after, strict=True):
        for side, texts in (("pos", old.get("pos", [old.get("document")])), ("neg", old.get("neg", []))):
            expected = naive_scores(reranker, old["query"], texts)
            assert new[f"{side}_scores"] == pytest.approx(expected, abs=1e-5)
            assert new.get(f"{side}_cosines") == old.get(f"{side}_scores")
        rest = [{key: value for key, value in row.items() if key not in SCORES} for row in (old, new)]
        assert rest[0] == rest[1]
    assert read_manifest(scoring.output_file)["counts"]["rows"]["kept"] == 13


def test_an_interrupted_scoring_goes_on_and_a_complete_one_has_nothing_to_do(scoring, monkeypatch, asked):
    score_stage.run(scoring)
    total, scores = sum(asked), CrossEncoder.scores
    asked.clear()

    def fail(self, pairs, *settings):
        if sum(asked) > total // 2:
            raise KeyboardInterrupt
        return scores(self, pairs, *settings)

    other = replace(scoring, output_file=scoring.output_file + "2.jsonl")
    monkeypatch.setattr(CrossEncoder, "scores", fail)
    with pytest.raises(KeyboardInterrupt):
        score_stage.run(other)
    monkeypatch.setattr(CrossEncoder, "scores", scores)
    score_stage.run(other)
    assert sum(asked) == total
    assert Path(other.output_file).read_bytes() == Path(scoring.output_file).read_bytes()
    assert "nothing to do" in score_stage.run(other) and sum(asked) == total


def test_what_cannot_be_scored_is_named(scoring, capsys):
    with pytest.raises(ConfigError, match="both input and output"):
        score_stage.run(replace(scoring, output_file=scoring.input_file))
    write_rows(Path(scoring.input_file), [{"query": "heart", "pos": ["bone"]}, {"query": "heart"}])
    with pytest.raises(DataError, match="mined.jsonl, line 2: no key 'pos'"):
        score_stage.run(scoring)
    words = f"score --reranker_name_or_path x --input_file {scoring.input_file} --output_file y --reranker_magin 3"
    assert cli.main(words.split()) == 2
    assert "unknown flag --reranker_magin" in capsys.readouterr().err
