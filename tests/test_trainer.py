"""The trainer against a loop written out by hand, against itself resumed, and against two processes."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from math import inf, nan
from pathlib import Path
from shutil import copyfile, rmtree
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from training_runs import (
    REPOSITORY,
    WORDS,
    assert_equal_weights,
    read_lines,
    run_interrupted,
    run_on_two_processes,
    small_run,
    weights,
    words_of,
    write_examples,
)

from bioemb import checkpoint
from bioemb.config import TrainConfig
from bioemb.encoder import Encoder
from bioemb.errors import ConfigError, DataError, ModelError
from bioemb.optimisation import SCHEDULES, make_schedule
from bioemb.stages import train
from bioemb.trainer import Trainer
from bioemb.watching import Window


@pytest.fixture
def config(tmp_path, tiny_encoder_folder) -> TrainConfig:
    return small_run(tmp_path, tiny_encoder_folder)


def test_one_update_is_adamw_on_the_cross_entropy_of_the_batch(config, tmp_path):
    config = replace(config, max_steps=1, max_grad_norm=0.05, weight_decay=0.1, train_group_size=2)
    rows = read_lines(config.train_data[0])
    rows = [{**row, "pos": row["pos"][:1], "neg": row["neg"][:1]} for row in rows[:4]]  # nothing left to draw
    data = tmp_path / "four.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    train.run(replace(config, train_data=(str(data),)))

    encoder = Encoder.from_pretrained(config.model_name_or_path, pooling="mean")
    encoder.set_max_length(8, 24)
    texts = [text for row in rows for text in (row["pos"][0], row["neg"][0])]
    query, passages = encoder(
        encoder.pad(encoder.token_ids([row["query"] for row in rows], "query")),
        encoder.pad(encoder.token_ids(texts, "passage")),
    )
    F.cross_entropy(query @ passages.T / 0.1, torch.arange(4) * 2).backward()
    trained = [(name, p) for name, p in encoder.named_parameters() if p.grad is not None]
    torch.nn.utils.clip_grad_norm_([p for _, p in trained], 0.05)
    for decay, flat in ((0.1, False), (0.0, True)):
        some = [p for _, p in trained if (p.ndim < 2) == flat]
        torch.optim.AdamW(some, lr=1e-3, eps=1e-5, weight_decay=decay).step()
    found = weights(config.output_dir)
    for name, parameter in trained:
        torch.testing.assert_close(found[name.removeprefix("backbone.")], parameter.detach(), rtol=0, atol=2e-6)


@pytest.mark.parametrize("size", [1, 3])
def test_sub_batches_end_with_the_weights_of_the_plain_run(config, size):
    train.run(config)
    train.run(replace(config, output_dir=config.output_dir + "-sub", sub_batch_size=size))
    assert_equal_weights(config.output_dir, config.output_dir + "-sub", atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "padded"), [({}, False), ({"sub_batch_size": 1}, False), ({"pad_to_multiple_of": 4}, True)]
)
def test_the_log_counts_each_token_once_and_the_padding(config, monkeypatch, changes, padded):
    counted = []
    monkeypatch.setattr(Window, "count", lambda self, tokens, slots: counted.append((tokens, slots)))
    seen = []
    whole = Trainer._backward
    monkeypatch.setattr(
        Trainer, "_backward", lambda self, batch, *rest: (seen.append(batch), whole(self, batch, *rest))[1]
    )
    monkeypatch.setattr(Window, "summary", lambda self: {"loss": 0.0, "tokens_per_second": 0, "peak_memory_mb": 0})
    train.run(replace(config, **changes))
    real = sum(len(ids) for batch in seen for ids in batch.queries + batch.passages)
    assert sum(tokens for tokens, _ in counted) == real
    assert (sum(slots for _, slots in counted) > real) == padded
    if padded:
        assert all(slots % 4 == 0 for _, slots in counted)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_a_run_that_was_interrupted_ends_with_the_same_bits(config, monkeypatch, dropout):
    config = replace(config, dropout=dropout)
    train.run(config)
    other = replace(config, output_dir=config.output_dir + "-interrupted")
    run_interrupted(other, 3, monkeypatch)
    assert [path.name for path in checkpoint.list_checkpoints(other.output_dir)] == ["checkpoint-3", "checkpoint-5"]
    train.run(other)
    assert_equal_weights(config.output_dir, other.output_dir, atol=0)
    steps = [read_lines(f"{folder}/metrics.jsonl") for folder in (config.output_dir, other.output_dir)]
    assert [(s["step"], s["loss"]) for s in steps[0]] == [(s["step"], s["loss"]) for s in steps[1]]
    assert train.run(other).endswith("nothing to do")


def test_two_processes_train_as_one_with_the_doubled_batch(config):
    train.run(config)
    run_on_two_processes(replace(config, sub_batch_size=1), config.output_dir + "-two")
    assert_equal_weights(config.output_dir, config.output_dir + "-two", atol=1e-5)


def test_a_loss_of_ones_own_trains_by_its_name(config, tmp_path, monkeypatch):
    (tmp_path / "my_losses.py").write_text(
        "import torch.nn.functional as F\n"
        "from torch import nn\n"
        "class Dense(nn.Module):\n"
        "    def __init__(self, temperature):\n"
        "        super().__init__()\n"
        "        self.temperature = temperature\n"
        "    def forward(self, query, passages, targets):\n"
        "        return F.cross_entropy(query @ passages.T / self.temperature, targets.column)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    rows = read_lines(config.train_data[0])
    unique = [
        {**row, "pos": [f"{row['pos'][0]} {WORDS[i]} {WORDS[-i]}"], "neg": row["neg"][:1]} for i, row in enumerate(rows)
    ]
    data = tmp_path / "unique.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in unique), encoding="utf-8")
    config = replace(config, train_data=(str(data),), num_train_epochs=1, train_group_size=2)
    train.run(config)
    own = replace(config, output_dir=config.output_dir + "-own", loss="my_losses:Dense")
    train.run(own)
    assert_equal_weights(config.output_dir, own.output_dir, atol=1e-5)


def test_the_trained_model_keeps_prompts_pooling_and_lengths(config):
    train.run(replace(config, query_instruction_for_retrieval="find: ", sentence_pooling_method="cls", max_steps=1))
    layout = Encoder.from_pretrained(config.output_dir).layout
    assert layout.prompts == {"query": "find: ", "passage": ""}
    assert (layout.pooling, layout.normalize, layout.max_length) == ("cls", True, 24)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"per_device_train_batch_size": 15, "dataloader_drop_last": True}, ConfigError, "batch takes 15 rows"),
        (
            {"learning_rate": 1e30, "lr_scheduler_type": "constant", "max_grad_norm": 0.0},
            ModelError,
            "loss InfoNCE is nan",
        ),
        ({"train_group_size": 1}, ConfigError, "no hard negatives"),
        ({"lr_scheduler_type": "sideways"}, ConfigError, "expected one of linear"),
        ({"lr_scheduler_type": "reduce_lr_on_plateau"}, ConfigError, "expected one of linear"),  # steps by a score
        ({"adam_beta2": 1.0}, ConfigError, "adam_beta2 is 1.0; expected from 0 to 0.999999"),
        ({"loss": "nowhere:Loss"}, ConfigError, "module:Class"),
        ({"knowledge_distillation": True}, DataError, "pos_scores"),
        ({"passage_max_len": 100_000}, ConfigError, "takes 3"),
        ({"resume_from_checkpoint": "elsewhere"}, ConfigError, "no such folder"),
        ({"use_mrl": True, "mrl_dims": (8, 999)}, ConfigError, "mrl_dims has 999; .* gives vectors of 32 dimensions"),
        ({"weight_decay": -1.0}, ConfigError, "weight_decay is -1.0; expected 0 or more"),
        ({"max_grad_norm": -1.0}, ConfigError, "max_grad_norm is -1.0; expected 0 or more"),
        ({"lora_rank": 8}, ConfigError, "lora_rank has no effect without --use_lora"),
        ({"target_modules": ("query",)}, ConfigError, "target_modules has no effect without --use_lora"),
        ({"train_data": ("a", "b", "a")}, ConfigError, "names a 2 times, .* say --data_weights 2"),
    ],
)
def test_what_cannot_be_trained_is_said(config, changes, error, words):
    with pytest.raises(error, match=words):
        train.run(replace(config, **changes))


def test_another_setting_is_refused_until_overwritten(config):
    config = replace(config, max_steps=1)
    train.run(config)
    other = replace(config, learning_rate=2e-3)
    with pytest.raises(ConfigError, match="learning_rate was 0.001, is 0.002"):
        train.run(other)
    before = weights(config.output_dir)
    train.run(replace(other, overwrite_output_dir=True))
    assert any(not torch.equal(before[name], value) for name, value in weights(config.output_dir).items())


def test_old_checkpoints_go(config):
    train.run(replace(config, save_steps=1, save_total_limit=2))
    assert [path.name for path in checkpoint.list_checkpoints(config.output_dir)] == ["checkpoint-6", "checkpoint-7"]


def test_nothing_that_a_killed_run_was_writing_gets_into_a_checkpoint_or_stays(config):
    output = Path(config.output_dir)
    half = output / ".checkpoint-7.part"
    half.mkdir(parents=True)
    for path in (half / "average.safetensors", half / ".trainer_state.json.99.part", output / ".README.md.99.part"):
        path.write_text("half")
    train.run(replace(config, save_steps=7))
    assert not list(output.rglob(".*"))
    assert checkpoint.list_checkpoints(output) == [output / "checkpoint-7"]
    assert not (output / "checkpoint-7" / "average.safetensors").exists()


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_that_is_offered_has_a_rate_for_each_step(name):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.5)
    schedule = make_schedule(name, optimizer, warmup_steps=2, total_steps=8)
    rates = []
    for _ in range(8):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates[2] == 0.5 and max(rates) == 0.5 and min(rates) >= 0
    assert (rates[0] == 0) == (name != "constant") and (rates[-1] < 0.5) == (not name.startswith("constant"))


def test_starting_over_leaves_nothing_of_the_run_before(config):
    train.run(replace(config, save_steps=1))
    before = weights(config.output_dir)
    other = replace(config, learning_rate=2e-3, max_steps=4, overwrite_output_dir=True, resume_from_checkpoint="no")
    train.run(replace(other, save_steps=1, save_total_limit=2))
    output = Path(config.output_dir)
    assert checkpoint.list_checkpoints(output) == [output / "checkpoint-2", output / "checkpoint-3"]
    assert any(not torch.equal(before[name], value) for name, value in weights(output).items())
    assert [line["step"] for line in read_lines(output / "metrics.jsonl")] == [1, 2, 3, 4]


def test_an_interrupted_run_that_is_to_start_over_ends_with_the_same_bits(config, monkeypatch):
    train.run(config)
    other = replace(config, output_dir=config.output_dir + "-other")
    run_interrupted(other, 3, monkeypatch)
    half = Path(other.output_dir) / "checkpoint-5" / "model.safetensors"
    copyfile(Path(config.output_dir, "checkpoint-3", "model.safetensors"), half)  # not to be gone on from
    train.run(replace(other, resume_from_checkpoint="no"))
    assert_equal_weights(config.output_dir, other.output_dir, atol=0)
    assert [path.name for path in checkpoint.list_checkpoints(other.output_dir)] == ["checkpoint-3", "checkpoint-6"]


def test_more_epochs_go_on_from_the_checkpoint_that_is_named(config):
    output = Path(config.output_dir)
    train.run(replace(config, save_steps=2, lr_scheduler_type="constant"))
    more = replace(config, num_train_epochs=3, lr_scheduler_type="constant", overwrite_output_dir=True)
    named = output / "checkpoint-4"
    train.run(replace(more, resume_from_checkpoint=str(named), save_steps=100))
    assert checkpoint.list_checkpoints(output) == [output / "checkpoint-2", named]
    whole = replace(more, output_dir=str(output) + "-whole")
    train.run(whole)
    assert_equal_weights(output, whole.output_dir, atol=0)
    steps = [[line["step"] for line in read_lines(Path(of) / "metrics.jsonl")] for of in (output, whole.output_dir)]
    assert steps[0] == steps[1]
    rmtree(named)
    again = replace(more, resume_from_checkpoint=str(named), overwrite_output_dir=False)
    assert train.run(again).endswith("nothing to do")


@pytest.mark.parametrize("is_old", [False, True])  # before checkpoints said what was trained
@pytest.mark.parametrize(
    ("made", "resumed", "said"),
    [
        ({}, {"fix_position_embedding": True}, "position_embeddings.weight .*40, 32. there, none here"),
        ({"fix_position_embedding": True}, {}, "position_embeddings.weight .none there, .40, 32. here"),
        ({}, {"learn_temperature": True}, r"0 there, 1 here, .* scale.logarithm \(none there, \[\] here\)"),
        ({"learn_temperature": True}, {}, r"1 there, 0 here, .* scale.logarithm \(\[\] there, none here\)"),
        (
            {"use_lora": True, "lora_rank": 3},
            {},
            r"24 there, 37 here, 61 differ, .*lora_A.* \(\[3, 32\] there, none here",
        ),
        (
            {"use_lora": True},
            {"use_lora": True, "lora_rank": 4},
            r"24 differ, .*lora_A.*\[64, 32\] there, \[4, 32\] here",
        ),
    ],
)
def test_a_checkpoint_of_other_parameters_is_refused(config, made, resumed, said, is_old):
    train.run(replace(config, max_steps=3, save_steps=2, **made))
    named = Path(config.output_dir) / "checkpoint-2"
    if is_old:
        state = json.loads((named / "trainer_state.json").read_text())
        state.pop("trained", None)
        (named / "trainer_state.json").write_text(json.dumps(state))
    other = replace(config, output_dir=config.output_dir + "-other", resume_from_checkpoint=str(named), **resumed)
    is_by_number = is_old and "scale" not in said
    with pytest.raises(ConfigError, match="trained other parameters: .*exp_avg" if is_by_number else said):
        train.run(other)


def test_a_checkpoint_that_is_not_there_costs_none_of_the_others(config):
    train.run(config)
    gone = replace(config, learning_rate=2e-3, overwrite_output_dir=True, resume_from_checkpoint="elsewhere")
    with pytest.raises(ConfigError, match="no such folder"):
        train.run(gone)
    assert [path.name for path in checkpoint.list_checkpoints(config.output_dir)] == ["checkpoint-3", "checkpoint-6"]


def test_the_log_is_that_of_the_run_that_made_the_model(config, monkeypatch):
    log, step = Path(config.output_dir) / "metrics.jsonl", Trainer.step

    def fails(self, *arguments):
        if self.done == 2:
            raise MemoryError
        return step(self, *arguments)

    monkeypatch.setattr(Trainer, "step", fails)
    with pytest.raises(MemoryError):
        train.run(config)
    monkeypatch.undo()
    assert [line["step"] for line in read_lines(log)] == [1, 2]
    run_interrupted(config, 3, monkeypatch)
    with open(log, "a") as out:
        out.write('{"step": 6, "lo')  # the disk was full
    train.run(config)
    assert [line["step"] for line in read_lines(log)] == [*range(1, 9)]


def test_infinity_is_a_setting_as_another(config):
    config = replace(config, max_steps=2)
    train.run(replace(config, max_grad_norm=0.0))
    other = replace(config, output_dir=config.output_dir + "-inf", max_grad_norm=inf)
    train.run(other)
    assert_equal_weights(config.output_dir, other.output_dir, atol=0)  # both leave the gradient as it is
    assert train.run(other).endswith("nothing to do")


def test_a_loss_of_ones_own_that_learns_from_scores_wants_them_of_every_row(config, tmp_path, monkeypatch):
    (tmp_path / "scored.py").write_text(
        "def loss(query, passages, targets):\n    return targets.teacher_scores.sum()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    row = {"query": "a", "pos": ["b"], "pos_scores": [0.5], "neg": ["c"], "neg_scores": [0.5]}
    data = tmp_path / "mixed.jsonl"
    data.write_text("".join(json.dumps({**row, "neg": [], "neg_scores": []} if n else row) + "\n" for n in range(9)))
    config = replace(config, temperature=0.02, train_data=(str(data),), loss="scored:loss", knowledge_distillation=True)
    with pytest.raises(DataError, match="line 2.*neg"):
        train.run(config)


DIVERGED = {"learning_rate": 1e38, "lr_scheduler_type": "constant", "max_steps": 1}


@pytest.mark.parametrize(("held_out", "said"), [(0.0, "weights are no longer finite"), (0.2, "are not finite")])
def test_weights_that_diverged_in_the_last_update_are_neither_scored_nor_saved(config, held_out, said):
    with pytest.raises(ModelError, match=said):
        train.run(replace(config, **DIVERGED, eval_share=held_out))
    assert not (Path(config.output_dir) / "model.safetensors").exists()
    assert not checkpoint.list_checkpoints(config.output_dir)


def test_no_checkpoint_is_written_of_weights_that_diverged(config):
    with pytest.raises(ModelError, match="weights are no longer finite .* are not saved"):
        train.run(replace(config, **DIVERGED | {"max_steps": 3}, save_steps=1))
    assert not checkpoint.list_checkpoints(config.output_dir)


def test_a_parameter_of_the_loss_that_one_process_uses_has_its_share_of_the_gradient(monkeypatch):
    here, there = nn.ParameterDict(), {}
    for name, own, other in (("both", 3.0, 5.0), ("here", 4.0, None), ("there", None, 6.0), ("none", None, None)):
        here[name] = nn.Parameter(torch.ones(2, 2))
        here[name].grad = None if own is None else torch.full((2, 2), own)
        there[name] = [*[0.0 if other is None else other] * 4, float(other is not None)]
    here["frozen"] = nn.Parameter(torch.ones(2), requires_grad=False)
    waiting = iter(there.values())  # a process that did not ask for one of them would wait for ever
    monkeypatch.setattr("bioemb.trainer.sum_over_processes", lambda mine: mine + torch.tensor(next(waiting)))
    two = SimpleNamespace(loss=here, accelerator=SimpleNamespace(num_processes=2))
    Trainer._share_loss_gradients(two)
    found = {name: parameter.grad for name, parameter in here.items()}
    assert {name: None if grad is None else grad.unique().tolist() for name, grad in found.items()} == {
        "both": [4.0], "here": [2.0], "there": [3.0], "none": None, "frozen": None
    }  # fmt: skip
    assert next(waiting, None) is None


def test_the_same_files_to_train_on_and_to_evaluate_on_are_another_run(config, tmp_path):
    a, b, c = (str(write_examples(tmp_path / f"{name}.jsonl", 12, seed)) for seed, name in enumerate("abc"))
    config = replace(config, max_steps=2)
    train.run(replace(config, train_data=(a, b), eval_data=(c,)))
    with pytest.raises(ConfigError, match="eval_files was 1"):
        train.run(replace(config, train_data=(a,), eval_data=(b, c)))


@pytest.mark.parametrize("name", ["num_train_epochs", "lora_alpha", "false_negative_margin", "learning_rate"])
def test_what_is_no_number_is_refused(name):
    with pytest.raises(ConfigError, match=f"{name} is nan; expected"):
        TrainConfig(output_dir="o", model_name_or_path="m", train_data=("t",), **{name: nan})


def test_a_signal_to_the_whole_group_saves_first_with_workers_too(config, tmp_path):
    config = replace(config, num_train_epochs=500, save_steps=100_000, dataloader_num_workers=2)
    log = Path(config.output_dir) / "metrics.jsonl"
    running = subprocess.Popen(
        [sys.executable, "train.py", *words_of(config)],
        cwd=REPOSITORY,
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    try:
        while running.poll() is None and not (log.exists() and len(read_lines(log)) > 3):
            time.sleep(0.1)
        os.killpg(running.pid, signal.SIGTERM)
        said = running.communicate(timeout=60)[1]
    finally:
        running.kill()
    assert running.returncode == 130 and len(checkpoint.list_checkpoints(config.output_dir)) == 1, said
