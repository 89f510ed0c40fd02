"""Mine and recipes on files: against plain computations with the same encoder, and run again."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from pair_files import make_pairs, read_rows, write_rows

from bioemb import encoding
from bioemb.config import FilterConfig, MineConfig, RunConfig
from bioemb.data.examples import passage_identity
from bioemb.encoder import Encoder
from bioemb.errors import BioembError, ConfigError, DataError
from bioemb.records import same_text_key
from bioemb.stages import filter as filter_stage
from bioemb.stages import mine, mining_search
from bioemb.stages import run as run_stage


@pytest.fixture
def mining(tmp_path, tiny_encoder_folder, monkeypatch) -> MineConfig:
    monkeypatch.setattr(mining_search, "BLOCK_ROWS", 8)
    monkeypatch.setattr(mining_search, "SHARD_ROWS", 16)  # several shards
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
        max_positive_similarity=None,
        bf16=False,
        relative_margin=None,
    )


def naive_passages(config: MineConfig) -> list[str]:
    return list(dict.fromkeys(text for row in read_rows(config.input_file) for text in (*row["pos"], *row["neg"])))


def naive_candidates(config: MineConfig) -> list[set[str]]:
    """The texts that may be each row's negatives, by a plain ranking of all passages."""
    rows, passages = read_rows(config.input_file), naive_passages(config)
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


def test_by_default_a_negative_scores_at_most_nine_tenths_of_its_positive(mining, log):
    everything = replace(mining, range_for_sampling="0-80", negative_number=80)
    mine.run(everything)
    settings = {field.name: field.default for field in fields(MineConfig)}
    bounded = replace(everything, relative_margin=settings["relative_margin"], output_file=mining.output_file + "2")
    assert "lower --relative_margin" not in log.text
    mine.run(bounded)
    assert "100 % of the rows are short of negatives, most" in log.text  # this model finds all texts alike
    refused = 0
    for row, all_of_it in zip(read_rows(bounded.output_file), read_rows(everything.output_file), strict=True):
        bound = min(row["pos_scores"]) - abs(min(row["pos_scores"])) / 10
        scored = zip(all_of_it["neg"], all_of_it["neg_scores"], strict=True)
        assert row["neg"] == [text for text, score in scored if score <= bound + 1e-6]
        refused += len(all_of_it["neg"]) - len(row["neg"])
    assert refused > 100


def test_rows_are_filled_up_with_all_that_is_within_the_bounds_and_copies_no_positive(mining, monkeypatch):
    monkeypatch.setattr("bioemb.stages.mining_selection.COMPARED_PAIRS", 7)
    encoder = Encoder.from_pretrained(mining.model_name_or_path)
    rows, passages = read_rows(mining.input_file), naive_passages(mining)
    vectors = encoder.encode(passages, kind="passage")
    scores = encoder.encode([row["query"] for row in rows], kind="query") @ vectors.T
    likeness = vectors @ vectors.T
    bounds = {"max_score": float(np.quantile(scores, 0.6)), "min_score": float(np.quantile(scores, 0.1))}
    closest = float(np.quantile(likeness, 0.7))
    filling = replace(mining, range_for_sampling="0-1", negative_number=80, on_short="random")
    mine.run(replace(filling, **bounds, max_positive_similarity=closest))
    number = {text: place for place, text in enumerate(passages)}
    fewer = 0
    for place, row in enumerate(read_rows(mining.output_file)):
        expected = {
            text
            for text in passages
            if bounds["min_score"] <= scores[place, number[text]] <= bounds["max_score"]
            and all(likeness[number[text], number[own]] < closest for own in row["pos"])
        }
        assert set(row["neg"]) <= expected and len(set(row["neg"])) == len(row["neg"])
        assert len(row["neg"]) >= len(expected) - 8  # less those of the same text, query or article
        for text, score in zip(row["neg"], row["neg_scores"], strict=True):
            assert score == pytest.approx(scores[place, number[text]], abs=1e-5)
        fewer += len(passages) - len(expected)
    assert fewer > 500


def test_another_rule_of_selection_costs_no_encoding_and_no_search(mining, monkeypatch):
    mine.run(mining)
    monkeypatch.setattr("bioemb.encoding.encode_texts", None)
    monkeypatch.setattr(mining_search, "search_block", None)
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


def test_a_negative_that_an_earlier_mining_knew_is_known_by_its_article(mining, tmp_path):
    pairs = make_pairs(6, 2)
    texts, more = [row["abstract"] for row in pairs], [row["abstract"] for row in make_pairs(4, 5)]
    rows = [{"query": row["title"], "pos": [row["abstract"]], "identity": 7 + place} for place, row in enumerate(pairs)]
    rows[3] |= {"neg": more[:3], "neg_identities": [7, 99, passage_identity(more[2])]}
    data = write_rows(tmp_path / "earlier.jsonl", rows)
    mine.run(replace(mining, input_file=str(data), range_for_sampling="0-50", negative_number=50))
    mined = read_rows(mining.output_file)
    known = {text: 7 + place for place, text in enumerate(texts)} | {more[0]: 7, more[1]: 99}
    assert set(mined[0]["neg"]) == {*texts[1:], *more[1:3]}  # the first row's article is the first negative's
    for row in mined[1:]:
        assert more[0] in row["neg"]
    for row in mined:
        assert row["neg_identities"] == [known.get(text, passage_identity(text)) for text in row["neg"]]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"pos": ["a b"]}, "no key 'query'"),
        ({"query": "a"}, "no key 'pos'"),
        ({"query": "a", "pos": "text"}, "must be a list"),
        ({"query": "a", "pos": []}, "'pos' is empty"),
        ({"query": "a", "pos": [" "]}, "an empty text"),
        ({"query": "a", "pos": ["b"], "identity": 2**63}, "'identity' must be a whole number, got 9223372036854775808"),
    ],
)
def test_a_row_that_cannot_be_mined_is_named(mining, row, words):
    write_rows(Path(mining.input_file), [{"query": "heart", "pos": ["liver cell"]}, row])
    with pytest.raises(DataError, match=rf"examples.jsonl, line 2: .*{words}"):
        mine.run(mining)


@pytest.mark.parametrize("stage", ["mine", "filter"])
def test_a_text_that_the_model_fails_on_is_named_with_its_line(mining, tmp_path, monkeypatch, stage):
    rows = [{"query": row["title"], "document": row["abstract"]} for row in make_pairs(4, 5)]
    data, bad = write_rows(tmp_path / "bad.jsonl", rows), rows[2]["document"]
    encode = encoding.encode_ids

    def failing(encoder, token_ids, **settings):
        vectors = encode(encoder, token_ids, **settings)
        wrong = encoder.token_ids([bad], "passage")[0]
        vectors[[list(ids) == wrong for ids in token_ids]] = np.nan
        return vectors

    monkeypatch.setattr(encoding, "encode_ids", failing)
    paths = dict(model_path=mining.model_name_or_path, folder_path=str(data), out_file_path=str(tmp_path / "kept"))
    with pytest.raises(DataError, match="bad.jsonl, line 3: .*gave a vector that is not finite"):
        if stage == "mine":
            mine.run(replace(mining, input_file=str(data)))
        else:
            filter_stage.run(FilterConfig(**paths, bf16=False))


def test_a_pool_without_passages_is_refused_before_anything_is_encoded(mining, tmp_path, monkeypatch):
    pool = write_rows(tmp_path / "pool.jsonl", [])
    with monkeypatch.context() as patched, pytest.raises(DataError, match="pool.jsonl: there are no passages to mine"):
        patched.setattr(mining_search, "encode_to_blocks", None)
        mine.run(replace(mining, candidate_pool=str(pool)))
    write_rows(pool, [{"text": "a passage at last"}])
    mine.run(replace(mining, candidate_pool=str(pool), range_for_sampling="0-1"))
    assert all(row["neg"] == ["a passage at last"] for row in read_rows(mining.output_file))


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


def test_a_range_beyond_the_passages_ends_with_them(mining, monkeypatch):
    others = [mining.output_file + name for name in (".all", ".beyond")]
    for name, stop in zip(others, (len(naive_passages(mining)), 99_999_999_999), strict=True):
        mine.run(replace(mining, output_file=name, range_for_sampling=f"2-{stop}", negative_number=90))
    assert Path(others[0]).read_bytes() == Path(others[1]).read_bytes()
    assert all(len(row["neg"]) > 70 for row in read_rows(others[1]))
    monkeypatch.setattr(mine, "MOST_RANKS", 60)
    with pytest.raises(ConfigError, match="ends at rank 70 of 80 passages; at most 60 are looked at"):
        mine.run(replace(mining, range_for_sampling="2-70"))


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


def test_a_recipes_folder_may_be_named_by_a_number(recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = recipe.read_text(encoding="utf-8").replace(f"root: {tmp_path}/run", "root: 2026")
    recipe.write_text(words, encoding="utf-8")
    run_stage.run(RunConfig(recipe=str(recipe), until="filter"))
    assert (tmp_path / "2026" / "kept.jsonl").exists()


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
