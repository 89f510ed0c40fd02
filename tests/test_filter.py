"""The filter on files: against plain computations with the same encoder, with other rules, and run again."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pair_files import cosines, make_pairs, read_rows, write_rows

from bioemb.config import FilterConfig
from bioemb.encoder import Encoder
from bioemb.errors import ConfigError, DataError
from bioemb.manifest import read_manifest
from bioemb.records import same_text_key
from bioemb.stages import filter as filter_stage
from bioemb.stages import filter_scores


@pytest.fixture
def filtering(tmp_path, tiny_encoder_folder, monkeypatch) -> FilterConfig:
    monkeypatch.setattr(filter_scores, "BLOCK_ROWS", 7)  # several blocks
    write_rows(tmp_path / "pairs" / "pairs.jsonl", make_pairs(30))
    return FilterConfig(
        model_path=str(tiny_encoder_folder),
        folder_path=str(tmp_path / "pairs"),
        out_file_path=str(tmp_path / "kept.jsonl"),
        key_x="abstract",
        key_y="title",
        sim_threshold=0.5,
        bf16=False,
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
    monkeypatch.setattr(filter_scores, "encode_texts", None)  # cannot be called
    filter_stage.run(replace(filtering, sim_threshold=-1.0, overwrite=True))
    assert len(read_rows(filtering.out_file_path)) == 30


def test_an_interrupted_filter_goes_on_to_the_same_bytes(filtering, monkeypatch):
    filter_stage.run(filtering)
    other = replace(filtering, out_file_path=filtering.out_file_path + "2.jsonl")
    encode, calls = filter_scores.encode_texts, []

    def fail_in_the_third_block(*arguments, **named):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return encode(*arguments, **named)

    monkeypatch.setattr(filter_scores, "encode_texts", fail_in_the_third_block)
    with pytest.raises(KeyboardInterrupt):
        filter_stage.run(other)
    assert not Path(other.out_file_path).exists() and not read_manifest(other.out_file_path)["complete"]
    calls.clear()
    monkeypatch.setattr(filter_scores, "encode_texts", lambda *a, **k: (calls.append(1), encode(*a, **k))[1])
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


def test_files_without_pairs_are_named_one_by_its_name_and_several_by_their_folder(filtering):
    folder = Path(filtering.folder_path)
    write_rows(folder / "pairs.jsonl", [])
    with pytest.raises(DataError, match=r"/pairs.jsonl: there are no pairs to filter"):
        filter_stage.run(replace(filtering, folder_path=str(folder / "pairs.jsonl")))
    write_rows(folder / "more.jsonl", [])
    with pytest.raises(DataError, match=f"^{folder}: there are no pairs to filter"):
        filter_stage.run(filtering)


KINDS = ("title_abstract", "title_passage", "abstract_passage")


def test_a_folder_with_the_filters_own_outputs_is_read_with_a_word_on_it(filtering, log):
    inside = replace(filtering, out_file_path=f"{filtering.folder_path}/kept.jsonl", sim_threshold=-1.0)
    filter_stage.run(inside)
    filter_stage.run(replace(inside, overwrite=True))  # its own output is no input
    assert "is an output of the filter" not in log.text and len(read_rows(inside.out_file_path)) == 30
    rows = [{**row, "abstract": row["document"], "title": row["query"]} for row in read_rows(inside.out_file_path)]
    write_rows(Path(inside.out_file_path), rows)
    filter_stage.run(replace(filtering, sim_threshold=-1.0))
    assert "kept.jsonl is an output of the filter" in log.text and len(read_rows(filtering.out_file_path)) == 60


def statistics_of(config: FilterConfig) -> dict:
    return json.loads(Path(config.out_file_path + ".stats.json").read_text(encoding="utf-8"))


@pytest.fixture
def of_kinds(filtering) -> FilterConfig:
    """40 pairs of three kinds in uneven shares; with an empty side, a document twice, identical and contained texts."""
    rows = [{**row, "kind": KINDS[row["number"] % 7 % 3]} for row in make_pairs(40, 5)]
    rows[4]["abstract"] = " "
    rows[7]["abstract"] = rows[8]["abstract"].upper() + "."
    rows[9]["abstract"] = "  " + rows[9]["title"].capitalize() + " ."
    rows[10]["abstract"] = "the " + rows[10]["title"] + " of men"
    write_rows(Path(filtering.folder_path) / "pairs.jsonl", rows)
    return filtering


def scored(config: FilterConfig) -> list[dict]:
    """The pairs with both sides, and their cosines by a plain product."""
    rows = [row for row in read_rows(Path(config.folder_path) / "pairs.jsonl") if row["abstract"].strip()]
    found = cosines(config.model_path, rows, "title", "abstract")
    return [{**row, "cosine": cosine} for row, cosine in zip(rows, found.tolist(), strict=True)]


def middle(values: list[float]) -> float:
    """Between the two values in the middle: rounding moves none of them across."""
    values = sorted(values)
    return (values[len(values) // 2 - 1] + values[len(values) // 2]) / 2


def kept_numbers(config: FilterConfig) -> list[int]:
    filter_stage.run(config)
    return [row["number"] for row in read_rows(config.out_file_path)]


def test_each_kind_has_its_own_threshold_and_the_others_the_general_one(of_kinds):
    rows = scored(of_kinds)
    median = {kind: middle([row["cosine"] for row in rows if row["kind"] == kind]) for kind in KINDS}
    config = replace(
        of_kinds,
        sim_threshold=median[KINDS[2]],
        kind_thresholds=tuple(f"{kind}={median[kind]}" for kind in KINDS[:2]),
    )
    expected = [row["number"] for row in rows if row["cosine"] >= median[row["kind"]]]
    assert kept_numbers(config) == expected
    statistics = statistics_of(config)
    for kind in KINDS:
        assert statistics[kind]["threshold"] == median[kind]
        assert statistics[kind]["kept"] == sum(row["kind"] == kind for row in rows if row["number"] in expected)
    dropped = read_manifest(config.out_file_path)["counts"]["pairs"]["dropped"]
    assert dropped == {
        f"{KINDS[1]}: an empty side": 1,
        **{
            f"{kind}: cosine below {median[kind]:g}": sum(row["kind"] == kind for row in rows)
            - statistics[kind]["kept"]
            for kind in KINDS
        },
    }


@pytest.mark.parametrize("share", [0.3, 0.8, 1.0])
def test_a_share_keeps_the_best_of_each_kind_and_says_the_threshold(of_kinds, share):
    rows, expected, lowest = scored(of_kinds), set(), {}
    for kind in KINDS:
        best = sorted((row for row in rows if row["kind"] == kind), key=lambda row: -row["cosine"])
        best = best[: int(np.ceil(round(share * len(best), 9)))]
        expected |= {row["number"] for row in best}
        lowest[kind] = best[-1]["cosine"]
    config = replace(of_kinds, sim_threshold=None, keep_share=share)
    assert kept_numbers(config) == sorted(expected)  # and no threshold where none was given
    for kind, of in statistics_of(config).items():
        assert of["threshold"] == pytest.approx(lowest[kind], abs=1e-5)


def naive_ranks(config: FilterConfig, rows: list[dict]) -> dict[int, int]:
    """Each pair's rank among all other documents, by number."""
    encoder = Encoder.from_pretrained(config.model_path)
    scores = encoder.encode([row["title"] for row in rows], kind="query") @ (
        encoder.encode([row["abstract"] for row in rows], kind="passage").T
    )
    ranks = {}
    for one, row in enumerate(rows):
        better = {
            same_text_key(other["abstract"])
            for two, other in enumerate(rows)
            if scores[one, two] > scores[one, one] + 1e-6 and row.get("identity", -1) != other.get("identity", -2)
        }
        ranks[row["number"]] = 1 + len(better - {same_text_key(row["abstract"])})
    return ranks


def test_ranks_are_those_among_all_other_documents_where_the_pool_holds_them_all(of_kinds, log):
    rows = scored(of_kinds)
    rows[2]["identity"] = rows[20]["identity"] = 5
    rows[4]["identity"] = 2**64  # more than 64 bits: as if there were none
    write_rows(Path(of_kinds.folder_path) / "pairs.jsonl", rows)
    config = replace(of_kinds, sim_threshold=-1.0, pool_size=1000)
    expected = naive_ranks(config, rows)
    assert kept_numbers(config) == [row["number"] for row in rows]
    assert {row["number"]: row["rank"] for row in read_rows(config.out_file_path)} == expected
    assert "pool_size is 1000, and the pairs have 38 different documents" in log.text
    ranks = np.array([expected[row["number"]] for row in rows if row["kind"] == KINDS[0]])
    assert statistics_of(config)[KINDS[0]]["ranks"]["kept_share"]["10"] == np.mean(ranks <= 10)


def test_a_bound_on_ranks_that_drops_nothing_is_said(of_kinds, log):
    config = replace(of_kinds, sim_threshold=None, pool_size=1000)
    highest = max(naive_ranks(config, scored(of_kinds)).values())
    filter_stage.run(replace(config, max_rank=highest - 1))
    assert "dropped nothing" not in log.text
    filter_stage.run(replace(config, max_rank=highest, overwrite=True))
    assert f"--max_rank {highest} dropped nothing: no rank in this pool is above {highest}" in log.text


def test_a_smaller_pool_is_chosen_by_seed_and_text_and_not_by_the_order_of_pairs(of_kinds, tmp_path):
    rows = read_rows(Path(of_kinds.folder_path) / "pairs.jsonl")
    config = replace(of_kinds, sim_threshold=-1.0, pool_size=9)

    def ranks(config):
        filter_stage.run(config)
        return {row["number"]: row["rank"] for row in read_rows(config.out_file_path)}

    first = ranks(config)
    assert all(1 <= rank <= 10 for rank in first.values()) and len(set(first.values())) > 4
    write_rows(tmp_path / "turned" / "pairs.jsonl", rows[::-1])
    assert (
        ranks(replace(config, folder_path=str(tmp_path / "turned"), out_file_path=str(tmp_path / "2.jsonl"))) == first
    )
    assert ranks(replace(config, seed=1, out_file_path=str(tmp_path / "3.jsonl"))) != first


def test_rules_combine_and_other_rules_encode_nothing(of_kinds, monkeypatch):
    rows = scored(of_kinds)
    config = replace(of_kinds, sim_threshold=None, pool_size=12, max_rank=3, keep_share=0.7, overwrite=True)
    filter_stage.run(config)
    monkeypatch.setattr(filter_scores, "encode_texts", None)  # cannot be called
    filter_stage.run(replace(config, sim_threshold=-1.0, max_rank=None, keep_share=None))
    ranks = {row["number"]: row["rank"] for row in read_rows(config.out_file_path)}
    threshold = middle([row["cosine"] for row in rows])
    best = kept_numbers(replace(config, max_rank=None))
    assert len(best) < len(ranks) == 39
    for max_rank in (1, 2, 3):
        expected = [
            row["number"]
            for row in rows
            if row["cosine"] >= threshold and row["number"] in best and ranks[row["number"]] <= max_rank
        ]
        assert kept_numbers(replace(config, sim_threshold=threshold, max_rank=max_rank)) == expected


def test_ranks_asked_for_later_encode_queries_and_the_pool_only(of_kinds, monkeypatch):
    filter_stage.run(of_kinds)
    encode, kinds = filter_scores.encode_texts, []
    monkeypatch.setattr(
        filter_scores,
        "encode_texts",
        lambda encoder, texts, kind, **k: (kinds.append((kind, len(texts))), encode(encoder, texts, kind, **k))[1],
    )
    filter_stage.run(replace(of_kinds, pool_size=10, overwrite=True))
    assert sum(count for kind, count in kinds if kind == "query") == 39
    assert sum(count for kind, count in kinds if kind == "passage") == 10


def test_an_interrupted_ranking_goes_on_to_the_same_bytes(of_kinds, monkeypatch):
    config = replace(of_kinds, sim_threshold=None, pool_size=20, max_rank=5)
    filter_stage.run(config)
    encode = filter_scores.encode_texts
    for stop in (1, 2, 5, 8):  # in the pool, then among the pairs
        other, calls = replace(config, out_file_path=f"{config.out_file_path}{stop}.jsonl"), []

        def fail(*arguments, calls=calls, stop=stop, **named):
            calls.append(1)
            if len(calls) == stop:
                raise KeyboardInterrupt
            return encode(*arguments, **named)

        monkeypatch.setattr(filter_scores, "encode_texts", fail)
        with pytest.raises(KeyboardInterrupt):
            filter_stage.run(other)
        filter_stage.run(other)
        for suffix in ("", ".stats.json"):
            assert Path(other.out_file_path + suffix).read_bytes() == Path(config.out_file_path + suffix).read_bytes()


def test_statistics_count_equal_and_contained_texts_and_show_the_nearest_pairs(of_kinds):
    rows = scored(of_kinds)
    long = dict(rows[0], title=rows[0]["title"], abstract="heart " * 200, number=99)
    write_rows(Path(of_kinds.folder_path) / "pairs.jsonl", [*rows, long])
    rows = scored(of_kinds)
    threshold = middle([row["cosine"] for row in rows])
    filter_stage.run(replace(of_kinds, sim_threshold=threshold))
    statistics = statistics_of(of_kinds)
    kind_of = {row["number"]: row["kind"] for row in rows}
    assert {kind: of["identical_texts"] for kind, of in statistics.items()} == {
        kind: int(kind == kind_of[9]) for kind in KINDS
    }
    for kind, of in statistics.items():
        own = [row for row in rows if row["kind"] == kind]
        contained = [row for row in own if row["title"] in row["abstract"] and row["number"] != 9]
        assert of["one_text_in_the_other"] == len(contained) >= (kind == kind_of[10])
        nearest = sorted(own, key=lambda row: abs(row["cosine"] - threshold))
        for side, is_there in (
            ("above", lambda row: row["cosine"] >= threshold),
            ("below", lambda row: row["cosine"] < threshold),
        ):
            expected = [row for row in nearest if is_there(row)][:3]
            assert [example["query"] for example in of["examples"][side]] == [row["title"] for row in expected]
            assert [example["document"] for example in of["examples"][side]] == [
                row["abstract"][:300] for row in expected
            ]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"keep_share": 80}, "keep_share is 80; it is a share above 0, at most 1"),
        ({"keep_share": 0}, "keep_share is 0"),
        ({"max_rank": 2}, "max_rank is 2, among how many"),
        ({"max_rank": 0, "pool_size": 5}, "max_rank is 0; expected 1 or more"),
        ({"max_rank": 5, "pool_size": 5}, "max_rank is 5 and pool_size 5: every pair would be kept"),
        ({"kind_thresholds": ("title_abstract",)}, "'title_abstract'; expected KIND=COSINE"),
        ({"kind_thresholds": ("a=0.5", "a=0.6")}, "'a=0.6'; expected KIND=COSINE, each kind once"),
        ({"kind_thresholds": ("a=7",)}, "kind_thresholds: a is 7.0; a cosine is from -1 to 1"),
        ({"kind_thresholds": ("title_abstrct=0.5",)}, "'title_abstrct'; the pairs have .* mean 'title_abstract'"),
    ],
)  # fmt: skip
def test_a_rule_that_cannot_work_is_one_line_before_anything_is_encoded(of_kinds, monkeypatch, settings, said):
    monkeypatch.setattr(filter_scores, "encode_texts", None)
    with pytest.raises(ConfigError, match=said) as caught:
        filter_stage.run(replace(of_kinds, **settings))
    assert "\n" not in str(caught.value)


def test_without_any_rule_the_lowest_cosine_is_that_of_the_common_command(of_kinds):
    expected = [row["number"] for row in scored(of_kinds) if row["cosine"] >= 0.75]
    assert 0 < len(expected) < 39
    assert kept_numbers(replace(of_kinds, sim_threshold=None)) == expected
