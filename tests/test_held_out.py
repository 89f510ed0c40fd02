"""Evaluation during training: its metrics as loops, the split's promises, and runs that keep the best weights."""

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from torch import nn
from training_runs import assert_equal_weights, read_lines, run_interrupted, small_run, write_examples

from bioemb import checkpoint, held_out
from bioemb.config import TrainConfig
from bioemb.data.dataset import load_examples
from bioemb.data.examples import Needs, passage_identity
from bioemb.data.hold_out import split_by_other, split_by_share
from bioemb.encoder import Encoder
from bioemb.errors import ConfigError
from bioemb.held_out import METRICS, Best, HeldOut, evaluate, held_out_of, positive_ranks
from bioemb.stages import train
from bioemb.trainer import Trainer


def example(query, pos, neg=(), identity=None, neg_identities=None, prompt=None) -> dict:
    return {"query": query, "pos": list(pos), "neg": list(neg), "identity": identity,
            "neg_identities": neg_identities, "prompt": prompt, "passage_prompt": None}  # fmt: skip


# Metrics


def naive_ranks(scores, positives, excluded):
    ranks = []
    for own in positives:
        ahead = 0
        for other in range(len(scores)):
            if other == own or other in excluded:
                continue
            is_ahead = scores[other] > scores[own]
            is_level = scores[other] == scores[own] and other not in positives
            ahead += is_ahead or is_level
        ranks.append(ahead + 1)
    return ranks


def test_ranks_are_those_of_a_loop_with_ties_against_the_positive():
    for seed in range(50):
        rng = np.random.default_rng(seed)
        count = int(rng.integers(3, 15))
        scores = torch.from_numpy(rng.integers(0, 5, count) / 4)  # many ties
        places = rng.permutation(count)
        positives, excluded = np.split(places, [int(rng.integers(1, 3))])
        excluded = excluded[: int(rng.integers(0, len(excluded) + 1))]
        found = positive_ranks(scores, positives, excluded).tolist()
        assert found == naive_ranks(scores.tolist(), positives.tolist(), excluded.tolist())


class Lookup(nn.Module):
    """An encoder of unit vectors by number: a text is a number, and so are its token ids."""

    def __init__(self, vectors: torch.Tensor):
        super().__init__()
        self.vectors, self.width, self.device = vectors, vectors.shape[1], vectors.device
        self.batch_tokens = 5
        self.is_compiled = False

    def token_ids(self, texts, kind, prompts=None):
        return [[int(text)] for text in texts]

    def batch(self, token_ids, half):
        return torch.tensor(token_ids)[:, 0]

    def forward(self, numbers):
        return (self.vectors[numbers],)


def lopsided_slice(seed: int) -> tuple[Lookup, HeldOut]:
    rng = np.random.default_rng(seed)
    queries, passages = 7, 23
    vectors = rng.standard_normal((queries + passages, 4)).astype(np.float32)
    texts = [str(number) for number in range(queries + passages)]
    places = [rng.permutation(passages)[: rng.integers(2, 6)] for _ in range(queries)]
    cuts = [int(rng.integers(1, len(place))) for place in places]
    return Lookup(torch.from_numpy(vectors)), HeldOut(
        queries=texts[:queries],
        prompts=[None] * queries,
        passages=texts[queries:],
        passage_prompts=[None] * passages,
        positives=[place[:cut] for place, cut in zip(places, cuts, strict=True)],
        excluded=[place[cut:] for place, cut in zip(places, cuts, strict=True)],
    )


def naive_metrics(encoder: Lookup, held: HeldOut) -> dict[str, float]:
    sums = dict.fromkeys(METRICS, 0.0)
    for number, query in enumerate(held.queries):
        scores = [float(encoder.vectors[int(query)] @ encoder.vectors[int(text)]) for text in held.passages]
        ranks = naive_ranks(scores, held.positives[number].tolist(), held.excluded[number].tolist())
        sums["mrr"] += 1 / min(ranks)
        for cut in (1, 10):
            sums[f"recall@{cut}"] += sum(rank <= cut for rank in ranks) / len(ranks)
    return {name: value / len(held.queries) for name, value in sums.items()}


@pytest.mark.parametrize("seed", range(5))
def test_metrics_are_the_means_of_the_loop(seed, monkeypatch):
    monkeypatch.setattr(held_out, "QUERIES_AT_A_TIME", 3)
    encoder, held = lopsided_slice(seed)
    assert evaluate(encoder, held) == pytest.approx(naive_metrics(encoder, held), abs=1e-12)


def in_process(rank: int, store: str, results) -> None:
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    results[rank] = evaluate(*lopsided_slice(3))
    dist.barrier()
    dist.destroy_process_group()


def test_two_processes_say_what_one_says(tmp_path):
    with multiprocessing.Manager() as manager:
        results = manager.dict()
        multiprocessing.spawn(in_process, (str(tmp_path / "rendezvous"), results), nprocs=2)
        expected = pytest.approx(evaluate(*lopsided_slice(3)), abs=1e-12)
        assert results[0] == expected and results[1] == expected


# What is held out


def test_a_slice_is_its_distinct_queries_and_passages():
    found = held_out_of([
        example("heart", ["cardiac", "Cor."], ["skin"], prompt="find: "),
        example("liver", ["hepatic"], ["cor", "dermal"], identity=5, neg_identities=[7, 5]),
        example("heart", ["coronary"], ["hepatic"], prompt="find: "),
        example("heart", ["cardiac"]),
    ])  # fmt: skip
    assert (found.queries, found.prompts) == (["heart", "liver", "heart"], ["find: ", None, None])
    assert found.passages == ["cardiac", "Cor.", "skin", "hepatic", "cor", "dermal", "coronary"]
    assert [x.tolist() for x in found.positives] == [[0, 1, 6], [3], [0]]
    # "cor" came with identity 7; "dermal" shares the liver's 5
    assert [x.tolist() for x in found.excluded] == [[], [5], []]


def test_a_passage_with_another_prompt_is_another_passage():
    rows = [example("a", ["x"]), {**example("b", ["x"], ["y"]), "passage_prompt": "doc: "}]
    found = held_out_of(rows)
    assert list(zip(found.passage_prompts, found.passages, strict=True)) == [
        (None, "x"), ("doc: ", "x"), ("doc: ", "y"),
    ]  # fmt: skip
    assert [x.tolist() for x in found.positives] == [[0], [1]] and [x.tolist() for x in found.excluded] == [[1], [0]]


def test_passages_that_differ_in_case_only_are_not_held_against_a_query():
    found = held_out_of([example("a", ["Cardiac."], ["cardiac", "skin"])])
    assert [x.tolist() for x in found.excluded] == [[1]]


def dataset_of(tmp_path, rows, name="rows"):
    path = tmp_path / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return load_examples([str(path)], tmp_path / "cache", Needs(0))


def many_rows(seed: int, count: int = 600) -> list[dict]:
    rng = random.Random(seed)
    rows = []
    for _ in range(count):
        row = {
            "query": f"q{rng.randint(0, 400)}",
            "pos": [f"p{rng.randint(0, 2000)}" for _ in range(rng.randint(1, 3))],
        }
        if rng.random() < 0.3:
            row["identity"] = rng.randint(0, 300)
        rows.append(row)
    return rows


def test_nothing_that_is_trained_on_shares_a_query_or_positive_with_what_is_held_out(tmp_path):
    rows = many_rows(0)
    split = split_by_share(dataset_of(tmp_path, rows), 0.1, seed=3)
    kinds = {"held": split.held_out, "left": split.left_out, "trained": split.trained}
    assert (sum(kind.astype(int) for kind in kinds.values()) == 1).all()  # each row has one place
    marks = {
        name: {("q", row["query"]) for row, chosen in zip(rows, kind, strict=True) if chosen}
        | {("i", i) for row, chosen in zip(rows, kind, strict=True) if chosen for i in ids_of(row)}
        for name, kind in kinds.items()
    }
    assert not marks["held"] & marks["trained"] and split.left_out.any()
    for row, left in zip(rows, split.left_out, strict=True):
        if left:
            assert {("q", row["query"]), *(("i", i) for i in ids_of(row))} & marks["held"]


def ids_of(row: dict) -> list[int]:
    return [passage_identity(text) for text in row["pos"]] + ([row["identity"]] if "identity" in row else [])


def test_what_is_held_out_depends_on_the_text_and_the_seed_alone(tmp_path):
    rows = many_rows(1)
    split = split_by_share(dataset_of(tmp_path, rows), 0.25, seed=3)
    held = {row["query"] for row, chosen in zip(rows, split.held_out, strict=True) if chosen}
    queries = {row["query"] for row in rows}
    assert abs(len(held) - len(queries) / 4) < 5 * (len(queries) * 3 / 16) ** 0.5
    moved = split_by_share(dataset_of(tmp_path, rows[::-1], "moved"), 0.25, seed=3)
    assert moved.held_out[::-1].tolist() == split.held_out.tolist()
    assert split_by_share(dataset_of(tmp_path, rows), 0.25, seed=4).held_out.tolist() != split.held_out.tolist()


def test_rows_that_other_data_would_give_away_are_left_out(tmp_path):
    rows = [
        {"query": "a", "pos": ["x"]},
        {"query": "b", "pos": ["y", "Z."]},
        {"query": "c", "pos": ["w"], "identity": 4},
        {"query": "d", "pos": ["z2"], "neg": ["z"]},
        {"query": "h", "pos": ["Z"], "identity": 9},  # known by its text where the other has no identity
    ]
    other = [
        {"query": "A.", "pos": ["other"]},
        {"query": "e", "pos": ["z"]},
        {"query": "f", "pos": ["v"], "identity": 4},
    ]
    split = split_by_other(dataset_of(tmp_path, rows), dataset_of(tmp_path, other, "other"))
    assert split.left_out.tolist() == [True, True, True, False, True] and not split.held_out.any()


# The best


def test_the_best_is_the_first_of_the_highest_and_patience_counts_from_it():
    best, said = Best(patience=2), []
    for step, score in enumerate([0.2, 0.5, 0.5, 0.4], start=1):
        said.append((best.note(step, score), best.is_long_ago))
    assert said == [(True, False), (True, False), (False, False), (False, True)]
    assert (best.step, best.score) == (2, 0.5)
    again = Best(patience=2)
    again.load(json.loads(json.dumps(best.state())))
    assert again.is_long_ago and again.note(5, 0.6) and not again.is_long_ago
    patient = Best()
    assert not any(patient.note(step, -2.0) or patient.is_long_ago for step in range(9))


# Runs


@pytest.fixture
def config(tmp_path, tiny_encoder_folder) -> TrainConfig:
    other = write_examples(tmp_path / "eval.jsonl", 6, seed=9)
    return replace(small_run(tmp_path, tiny_encoder_folder), eval_data=(str(other),), eval_steps=2)


def evaluations(config: TrainConfig) -> dict[int, float]:
    lines = read_lines(f"{config.output_dir}/metrics.jsonl")
    return {line["step"]: line["eval_mrr"] for line in lines if "eval_mrr" in line}


def test_a_run_is_evaluated_by_steps_and_what_it_says_of_its_model_is_true(config):
    said = train.run(config)
    assert list(evaluations(config)) == [0, 2, 4, 6, 8]
    encoder = Encoder.from_pretrained(config.output_dir)
    encoder.set_max_length(config.query_max_len, config.passage_max_len)
    held = held_out_of(read_examples(config.eval_data[0]))
    expected = evaluate(encoder, held)
    assert evaluations(config)[8] == pytest.approx(expected["mrr"], abs=1e-9)
    assert f"held-out mrr {expected['mrr']:.4f}" in said
    plain = replace(config, eval_data=(), eval_steps=None, output_dir=config.output_dir + "-plain")
    train.run(plain)
    assert_equal_weights(config.output_dir, plain.output_dir, atol=0)  # to look changes nothing


def read_examples(path: str) -> list[dict]:
    return [example(row["query"], row["pos"], row["neg"]) for row in read_lines(path)]


SCORES = {0: 0.1, 1: 0.3, 2: 0.6, 3: 0.5, 4: 0.6, 5: 0.2, 6: 0.1, 7: 0.9, 8: 0.05}


@pytest.fixture
def scripted(monkeypatch):
    """Evaluations that say SCORES, whatever the weights are."""
    monkeypatch.setattr(Trainer, "evaluate", lambda self: dict.fromkeys(METRICS, SCORES[self.done]))


def test_the_best_weights_are_kept_and_saved_in_the_end(config, scripted):
    config = replace(config, eval_steps=1, save_steps=3, save_total_limit=1, load_best_model_at_end=True, max_steps=6)
    train.run(config)
    assert [path.name for path in checkpoint.list_checkpoints(config.output_dir)] == ["checkpoint-2", "checkpoint-3"]
    assert_equal_weights(config.output_dir, f"{config.output_dir}/checkpoint-2", atol=0)
    plain = replace(config, load_best_model_at_end=False, output_dir=config.output_dir + "-plain")
    train.run(plain)
    with pytest.raises(AssertionError):
        assert_equal_weights(config.output_dir, plain.output_dir, atol=1e-6)


def test_the_best_of_a_moving_average_is_the_average_of_then(config, scripted):
    config = replace(config, eval_steps=1, load_best_model_at_end=True, max_steps=4, ema_decay=0.5)
    train.run(config)
    from safetensors.torch import load_file

    expected = load_file(f"{config.output_dir}/checkpoint-2/average.safetensors")
    found = load_file(f"{config.output_dir}/model.safetensors")
    for name, value in expected.items():
        assert torch.equal(found[name.removeprefix("backbone.")], value)


def test_a_run_stops_when_nothing_got_better_for_long(config, scripted):
    config = replace(config, eval_steps=1, early_stopping_patience=3)
    assert "trained for 5 steps" in train.run(config)
    assert list(evaluations(config)) == [0, 1, 2, 3, 4, 5]


def test_an_interrupted_run_remembers_its_best(config, scripted, monkeypatch):
    config = replace(config, eval_steps=1, save_steps=3, load_best_model_at_end=True, max_steps=6)
    train.run(config)
    other = replace(config, output_dir=config.output_dir + "-interrupted", save_total_limit=1)
    run_interrupted(other, 3, monkeypatch)
    monkeypatch.setattr(Trainer, "evaluate", lambda self: dict.fromkeys(METRICS, SCORES[self.done]))
    train.run(other)
    assert_equal_weights(config.output_dir, other.output_dir, atol=0)
    assert evaluations(other) == evaluations(config) == {step: SCORES[step] for step in range(7)}


def named_elsewhere(config, **changes):
    """A run into another output from checkpoint-4 of one whose best was step 2."""
    train.run(replace(config, eval_steps=1, save_steps=4, load_best_model_at_end=True, max_steps=5))
    named = Path(config.output_dir) / "checkpoint-4"
    assert json.loads((named / "trainer_state.json").read_text())["best"]["step"] == 2
    other = replace(config, output_dir=config.output_dir + "-other", resume_from_checkpoint=str(named), **changes)
    return replace(other, eval_steps=1, load_best_model_at_end=True)


def test_the_best_of_another_run_is_not_looked_for_in_this_one(config, scripted):
    other = named_elsewhere(config, max_steps=6, save_steps=100)
    train.run(other)
    assert checkpoint.list_checkpoints(other.output_dir) == [Path(other.output_dir) / "checkpoint-5"]  # 0.2, then 0.1
    assert_equal_weights(other.output_dir, f"{other.output_dir}/checkpoint-5", atol=0)


def test_without_an_evaluation_the_last_weights_are_saved_aloud(config, scripted, log):
    other = named_elsewhere(config, max_steps=4)
    train.run(other)
    assert_equal_weights(other.output_dir, other.resume_from_checkpoint, atol=0)
    assert "nothing was evaluated in this run" in log.text


def test_a_best_whose_checkpoint_was_not_kept_is_decided_anew(config, scripted):
    config = replace(config, eval_steps=1, save_steps=4, max_steps=5)
    train.run(config)  # its best is step 2, of which nothing was kept
    named = str(Path(config.output_dir) / "checkpoint-4")
    again = replace(config, max_steps=6, resume_from_checkpoint=named, overwrite_output_dir=True)
    train.run(replace(again, load_best_model_at_end=True))
    assert_equal_weights(config.output_dir, f"{config.output_dir}/checkpoint-5", atol=0)


def test_patience_goes_on_where_no_weights_of_the_best_are_wanted(config, scripted, monkeypatch):
    config = replace(config, eval_steps=1, early_stopping_patience=3, save_steps=100)
    run_interrupted(config, 2, monkeypatch)
    monkeypatch.setattr(Trainer, "evaluate", lambda self: dict.fromkeys(METRICS, SCORES[self.done]))
    assert "trained for 5 steps" in train.run(config)


def test_save_steps_decide_the_output_where_they_say_when_to_evaluate(config):
    config = replace(config, eval_steps=None, save_steps=3, max_steps=4)
    train.run(config)
    assert list(evaluations(config)) == [0, 3, 4]
    with pytest.raises(ConfigError, match="eval_steps was 3, is 2"):
        train.run(replace(config, save_steps=2))
    assert train.run(replace(config, eval_steps=3, save_steps=2)).endswith("nothing to do")
    plain = replace(config, eval_data=(), output_dir=config.output_dir + "-plain")
    train.run(plain)
    assert train.run(replace(plain, save_steps=2)).endswith("nothing to do")


def test_a_share_of_the_training_data_is_held_out_and_counted(config):
    rows = write_examples(Path(config.output_dir).with_name("many.jsonl"), 60, seed=2)
    config = replace(config, train_data=(str(rows),), eval_data=(), eval_share=0.2, max_steps=2)
    train.run(config)
    counts = json.loads(Path(f"{config.output_dir}.manifest.json").read_text())["counts"]
    assert counts["rows"] + counts["rows_held_out"] + counts["rows_left_out"] == 60
    assert 2 <= counts["rows_held_out"] <= 25 and 0 < counts["held_out"]["mrr"] <= 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"eval_share": 0.1}, "exclude each other"),
        ({"eval_data": ()}, "eval_steps needs held-out queries"),
        ({"eval_data": (), "eval_steps": None, "early_stopping_patience": 2}, "early_stopping_patience needs held-out"),
        ({"loss": "cosent"}, "no positives to look for"),
        ({"eval_share": 0.7}, "eval_share is 0.7; expected from 0 to 0.5"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(config, changes, said):
    with pytest.raises(ConfigError, match=said):
        replace(config, **changes)
