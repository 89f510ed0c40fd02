"""Filter, mine and recipes on files: against plain computations with the same encoder, and run again."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bioemb.config import FilterConfig, MineConfig, RunConfig
from bioemb.encoder import Encoder
from bioemb.errors import BioembError, ConfigError, DataError
from bioemb.manifest import read_manifest
from bioemb.records import same_text_key
from bioemb.stages import filter as filter_stage
from bioemb.stages import mine
from bioemb.stages import run as run_stage

WORDS = "heart liver kidney brain lung blood bone skin nerve muscle cell gene protein drug dose trial".split()


def write_rows(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read_rows(path: str | Path) -> list[dict]:
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def make_pairs(count: int, seed: int = 0) -> list[dict]:
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        title = " ".join(rng.choice(WORDS, rng.integers(3, 7)))
        rows.append({"title": title, "abstract": " ".join(rng.choice(WORDS, rng.integers(5, 40))), "number": number})
    return rows


def cosines(folder: Path, rows: list[dict], one: str, other: str) -> np.ndarray:
    encoder = Encoder.from_pretrained(folder)
    sides = [
        encoder.encode([row[key] for row in rows], kind=kind) for key, kind in ((one, "query"), (other, "passage"))
    ]
    return np.einsum("nd,nd->n", *sides)


@pytest.fixture
def filtering(tmp_path, tiny_encoder_folder, monkeypatch) -> FilterConfig:
    monkeypatch.setattr(filter_stage, "BLOCK_ROWS", 7)  # several blocks
    write_rows(tmp_path / "pairs" / "pairs.jsonl", make_pairs(30))
    return FilterConfig(
        model_path=str(tiny_encoder_folder),
        folder_path=str(tmp_path / "pairs"),
        out_file_path=str(tmp_path / "kept.jsonl"),
        key_x="abstract",
        key_y="title",
        sim_threshold=0.5,
    )


def test_the_filter_keeps_exactly_the_pairs_above_the_threshold(filtering):
    rows = read_rows(Path(filtering.folder_path) / "pairs.jsonl")
    expected = cosines(filtering.model_path, rows, "title", "abstract")
    threshold = float(np.median(expected))
    filter_stage.run(replace(filtering, sim_threshold=threshold))
    kept = read_rows(filtering.out_file_path)
    assert [row["number"] for row in kept] == np.flatnonzero(expected >= threshold).tolist()
    for row in kept:
        assert row["query"] == rows[row["number"]]["title"] and row["document"] == rows[row["number"]]["abstract"]
        assert row["cos_sim"] == pytest.approx(expected[row["number"]], abs=1e-5)
        assert set(row) == {"query", "document", "cos_sim", "number"}


def test_another_threshold_costs_no_encoding(filtering, monkeypatch):
    filter_stage.run(filtering)
    with pytest.raises(ConfigError, match="sim_threshold was 0.5, is -1.0"):
        filter_stage.run(replace(filtering, sim_threshold=-1.0))
    monkeypatch.setattr(filter_stage, "encode_texts", None)  # cannot be called
    filter_stage.run(replace(filtering, sim_threshold=-1.0, overwrite=True))
    assert len(read_rows(filtering.out_file_path)) == 30


def test_an_interrupted_filter_goes_on_to_the_same_bytes(filtering, monkeypatch):
    filter_stage.run(filtering)
    other = replace(filtering, out_file_path=filtering.out_file_path + "2.jsonl")
    encode, calls = filter_stage.encode_texts, []

    def fail_in_the_third_block(*arguments, **named):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return encode(*arguments, **named)

    monkeypatch.setattr(filter_stage, "encode_texts", fail_in_the_third_block)
    with pytest.raises(KeyboardInterrupt):
        filter_stage.run(other)
    assert not Path(other.out_file_path).exists() and not read_manifest(other.out_file_path)["complete"]
    calls.clear()
    monkeypatch.setattr(filter_stage, "encode_texts", lambda *a, **k: (calls.append(1), encode(*a, **k))[1])
    filter_stage.run(other)
    assert len(calls) == 2 * (5 - 2)  # two of five blocks were there
    assert Path(other.out_file_path).read_bytes() == Path(filtering.out_file_path).read_bytes()


def test_the_statistics_are_those_of_the_cosines_of_each_kind(filtering):
    path = Path(filtering.folder_path) / "pairs.jsonl"
    rows = [{**row, "kind": "odd" if row["number"] % 2 else "even"} for row in make_pairs(30)]
    write_rows(path, rows)
    filter_stage.run(filtering)
    expected = cosines(filtering.model_path, rows, "title", "abstract")
    statistics = json.loads(Path(filtering.out_file_path + ".stats.json").read_text(encoding="utf-8"))
    for name, own in (("even", expected[::2]), ("odd", expected[1::2])):
        assert statistics[name]["count"] == 15
        assert statistics[name]["percentiles"]["50"] == pytest.approx(np.median(own), abs=1e-5)
        assert statistics[name]["kept_share"]["0.75"] == np.mean(own >= 0.75)
        assert statistics[name]["shuffled"]["count"] == 15


def test_pairs_with_an_empty_side_are_counted_and_missing_keys_named(filtering):
    path = Path(filtering.folder_path) / "pairs.jsonl"
    write_rows(path, [*make_pairs(3), {"title": " ", "abstract": "heart"}, {"title": "heart", "abstract": ""}])
    filter_stage.run(replace(filtering, sim_threshold=-1.0))
    assert read_manifest(filtering.out_file_path)["counts"]["pairs"]["dropped"] == {"an empty side": 2}
    write_rows(path, [*make_pairs(3), {"title": "x"}])
    with pytest.raises(DataError, match=r"pairs.jsonl, line 4: no key 'abstract'.*--key_x"):
        filter_stage.run(replace(filtering, overwrite=True))


@pytest.fixture
def mining(tmp_path, tiny_encoder_folder, monkeypatch) -> MineConfig:
    monkeypatch.setattr(mine, "BLOCK_ROWS", 8)
    monkeypatch.setattr(mine, "SHARD_ROWS", 16)  # several shards
    rows = [
        {"query": row["title"], "pos": [row["abstract"]], "neg": ["old " + row["title"]]} for row in make_pairs(40, 1)
    ]
    rows[3]["pos"].append(rows[9]["pos"][0])  # shared by two
    rows[5]["pos"] = [rows[6]["pos"][0].upper() + " ."]  # reads as another's does
    rows[11]["query"] = rows[12]["query"]  # one query, two rows
    rows[20]["identity"] = rows[21]["identity"] = 77  # two passages of one article
    data = write_rows(tmp_path / "examples.jsonl", rows)
    return MineConfig(
        model_name_or_path=str(tiny_encoder_folder),
        input_file=str(data),
        output_file=str(tmp_path / "mined.jsonl"),
        range_for_sampling="2-30",
        negative_number=5,
        on_short="fewer",
    )


def naive_candidates(config: MineConfig) -> list[set[str]]:
    """The texts that may be each row's negatives, by a plain ranking of all passages."""
    rows = read_rows(config.input_file)
    passages = list(dict.fromkeys(text for row in rows for text in (*row["pos"], *row["neg"])))
    encoder = Encoder.from_pretrained(config.model_name_or_path)
    scores = encoder.encode([row["query"] for row in rows], kind="query") @ encoder.encode(passages, kind="passage").T
    articles: dict[str, set[int]] = {}
    for row in rows:
        for text in row["pos"]:
            articles.setdefault(text, set()).update({row["identity"]} if "identity" in row else ())
    candidates = []
    for row, scored in zip(rows, scores, strict=True):
        mine_too = [
            text
            for other in rows
            if same_text_key(other["query"]) == same_text_key(row["query"])
            for text in other["pos"]
        ]
        taboo = {same_text_key(text) for text in [*mine_too, row["query"]]}
        ranked = [passages[index] for index in np.argsort(-scored, kind="stable")[2:30]]
        candidates.append(
            {
                text
                for text in ranked
                if same_text_key(text) not in taboo and not ({row.get("identity")} & articles.get(text, set()))
            }
        )
    return candidates


def test_mined_negatives_are_those_of_a_plain_ranking(mining):
    mine.run(replace(mining, negative_number=30))
    rows, expected = read_rows(mining.output_file), naive_candidates(mining)
    assert len(rows) == len(expected) == 40
    for row, candidates in zip(rows, expected, strict=True):
        assert set(row["neg"]) == candidates and len(row["neg"]) == len(candidates)
        assert row["neg_scores"] == sorted(row["neg_scores"], reverse=True)


def test_sampled_negatives_are_some_of_them_and_the_same_every_time(mining):
    mine.run(mining)
    first = Path(mining.output_file).read_bytes()
    for row, candidates in zip(read_rows(mining.output_file), naive_candidates(mining), strict=True):
        assert len(set(row["neg"])) == 5 and set(row["neg"]) <= candidates
    mine.run(replace(mining, output_file=mining.output_file + "2.jsonl"))
    assert Path(mining.output_file + "2.jsonl").read_bytes() == first
    mine.run(replace(mining, output_file=mining.output_file + "3.jsonl", seed=1))
    assert Path(mining.output_file + "3.jsonl").read_bytes() != first


def test_another_rule_of_selection_costs_no_encoding_and_no_search(mining, monkeypatch):
    mine.run(mining)
    monkeypatch.setattr("bioemb.encoding.encode_texts", None)
    monkeypatch.setattr(mine, "search_shard", None)
    mine.run(replace(mining, negative_number=2, sampling="top", overwrite=True))
    assert all(len(row["neg"]) == 2 for row in read_rows(mining.output_file))


def test_the_filters_output_is_mined_as_it_is_and_a_pool_is_searched_instead(mining, tmp_path):
    rows = [{"query": row["title"], "document": row["abstract"], "cos_sim": 0.8} for row in make_pairs(6, 2)]
    data = write_rows(tmp_path / "kept.jsonl", rows)
    pool = write_rows(
        tmp_path / "pool.jsonl",
        [{"text": row["abstract"]} for row in make_pairs(9, 3)] + [{"text": rows[0]["document"]}],
    )
    mine.run(
        replace(mining, input_file=str(data), candidate_pool=str(pool), range_for_sampling="0-50", negative_number=50)
    )
    texts = {row["text"] for row in read_rows(pool)}
    for row, source in zip(read_rows(mining.output_file), rows, strict=True):
        assert row["pos"] == [source["document"]] and row["cos_sim"] == 0.8
        assert set(row["neg"]) == texts - {source["document"]}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"pos": ["a b"]}, "no key 'query'"),
        ({"query": "a"}, "no key 'pos'"),
        ({"query": "a", "pos": "text"}, "must be a list"),
        ({"query": "a", "pos": []}, "'pos' is empty"),
        ({"query": "a", "pos": [" "]}, "an empty text"),
    ],
)
def test_a_row_that_cannot_be_mined_is_named(mining, row, words):
    write_rows(Path(mining.input_file), [{"query": "heart", "pos": ["liver cell"]}, row])
    with pytest.raises(DataError, match=rf"examples.jsonl, line 2: .*{words}"):
        mine.run(mining)


def test_a_file_as_pool_and_the_same_file_as_input_are_told_apart(mining, tmp_path):
    rows = [{"query": row["title"], "pos": [row["abstract"]], "text": row["abstract"]} for row in make_pairs(8, 4)]
    first = write_rows(tmp_path / "two" / "a.jsonl", rows[:5])
    second = write_rows(tmp_path / "two" / "b.jsonl", rows[5:])
    mine.run(replace(mining, input_file=str(tmp_path / "two")))
    assert len(read_rows(mining.output_file)) == 8
    mine.run(replace(mining, input_file=str(first), candidate_pool=str(second), overwrite=True))
    assert len(read_rows(mining.output_file)) == 5


def test_bad_ranges_are_said_before_anything_is_read(mining):
    for text in ("10", "5-2", "a-b"):
        with pytest.raises(ConfigError, match=text):
            mine.run(replace(mining, input_file="nowhere", range_for_sampling=text))


@pytest.fixture
def recipe(tmp_path, tiny_encoder_folder) -> Path:
    write_rows(tmp_path / "pairs" / "pairs.jsonl", make_pairs(30))
    path = tmp_path / "recipe.yaml"
    path.write_text(
        f"""
root: {tmp_path}/run
filter:
  model_path: {tiny_encoder_folder}
  folder_path: {tmp_path}/pairs
  out_file_path: "{{root}}/kept.jsonl"
  sim_threshold: -1
  key_x: abstract
  key_y: title
mine:
  model_name_or_path: {tiny_encoder_folder}
  input_file: "{{root}}/kept.jsonl"
  output_file: "{{root}}/mined.jsonl"
  range_for_sampling: 1-20
  negative_number: 3
train:
  model_name_or_path: {tiny_encoder_folder}
  train_data: "{{root}}/mined.jsonl"
  output_dir: "{{root}}/model"
  train_group_size: 2
  learning_rate: 2e-4
  num_train_epochs: 1
  passage_max_len: 40
""",
        encoding="utf-8",
    )
    return path


def test_a_recipe_runs_its_stages_and_then_has_nothing_to_do(recipe, tmp_path):
    run_stage.run(RunConfig(recipe=str(recipe), until="mine"))
    assert not (tmp_path / "run" / "model").exists()
    first = (tmp_path / "run" / "mined.jsonl").stat().st_mtime_ns
    assert run_stage.run(RunConfig(recipe=str(recipe))).count("nothing to do") == 2
    assert run_stage.run(RunConfig(recipe=str(recipe))).count("nothing to do") == 3
    assert (tmp_path / "run" / "mined.jsonl").stat().st_mtime_ns == first
    assert len(Encoder.from_pretrained(tmp_path / "run" / "model").encode(["heart"])) == 1


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("mine:", "mien:", "did you mean 'mine'"),
        ("sim_threshold: -1", "sim_treshold: 1", "filter: .*did you mean 'sim_threshold'"),
        ("learning_rate: 2e-4", "learning_rate: fast", "train: --learning_rate: expected a number, got 'fast'"),
    ],
)
def test_a_recipe_with_a_mistake_starts_nothing(recipe, tmp_path, old, new, words):
    recipe.write_text(recipe.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    with pytest.raises(BioembError, match=words):
        run_stage.run(RunConfig(recipe=str(recipe)))
    assert not (tmp_path / "run").exists()
