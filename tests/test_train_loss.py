"""From flags to losses, and what a first step then shows, against the loss computed on the encoder's vectors."""

import json
import math
from dataclasses import replace
from pathlib import Path

import naive_losses as naive
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from training_runs import assert_equal_weights, read_lines, run_interrupted, run_on_two_processes, small_run

from bioemb.config import TrainConfig
from bioemb.encoder import Encoder
from bioemb.errors import ConfigError, ModelError
from bioemb.losses import CoSENT, InfoNCE, MarginMSE, Targets
from bioemb.optimisation import make_optimizer
from bioemb.stages import train
from bioemb.stages.train_loss import make_loss
from bioemb.trainer import Trainer


@pytest.fixture
def config(tmp_path, tiny_encoder_folder) -> TrainConfig:
    return small_run(tmp_path, tiny_encoder_folder)


def with_rows(config: TrainConfig, rows: list[dict]) -> TrainConfig:
    path = Path(config.output_dir).with_name("rows.jsonl")
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return replace(config, train_data=(str(path),), max_steps=1, per_device_train_batch_size=len(rows))


def first_loss(config: TrainConfig) -> float:
    train.run(replace(config, overwrite_output_dir=True))
    return read_lines(f"{config.output_dir}/metrics.jsonl")[0]["loss"]


def vectors(config: TrainConfig, kind: str, *texts: str) -> Tensor:
    encoder = Encoder.from_pretrained(config.model_name_or_path, pooling="mean")
    encoder.set_max_length(config.query_max_len, config.passage_max_len)
    return torch.from_numpy(encoder.encode(list(texts), kind=kind))


ROWS = [
    {"query": "heart drug", "pos": ["heart blood dose"], "neg": ["liver", "bone skin cell"]},
    {"query": "kidney", "pos": ["kidney trial drug brain"]},
    {"query": "lung gene", "pos": ["lung"], "neg": ["protein muscle nerve", "heart skin"]},
    {"query": "brain nerve", "pos": ["nerve cell bone"]},
]


# From flags to a loss


def test_pairs_of_one_score_have_no_order_to_learn(config):
    rows = [{"sentence1": f"heart {word}", "sentence2": "lung", "score": 0.5} for word in ("drug", "cell")]
    with pytest.raises(ConfigError, match="all 2 pairs have the score 0.5, and --loss cosent learns from which"):
        first_loss(replace(with_rows(config, rows), loss="cosent", temperature=0.02))


def test_a_gradient_that_is_not_finite_changes_no_weight(config, tmp_path, monkeypatch):
    text = "def loss(query, passages, targets):\n    return ((query @ passages.T) * 0).sqrt().mean()\n"
    (tmp_path / f"{tmp_path.name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    trainers = []
    monkeypatch.setattr(Trainer, "fit", lambda self, fit=Trainer.fit: trainers.append(self) or fit(self))
    with pytest.raises(ModelError, match="gradient's norm of the loss loss is nan at step 1 .rows "):
        train.run(replace(config, loss=f"{tmp_path.name}:loss", temperature=0.02))
    before = Encoder.from_pretrained(config.model_name_or_path).state_dict()
    after = trainers[0].encoder.state_dict()
    assert all(torch.equal(after[name], weight) for name, weight in before.items())


def test_flags_reach_the_constructor(config):
    options = {"temperature": 0.5, "learn_temperature": True, "directions": "gte", "false_negative_margin": 0.25}
    loss = make_loss(replace(config, **options))
    assert isinstance(loss, InfoNCE) and loss.temperature == 0.5 and len(list(loss.parameters())) == 1
    assert (loss.directions, loss.margin, loss.in_batch) == ("gte", 0.25, True)
    assert make_loss(replace(config, guide_model_name_or_path="anything")).margin == 0
    plain = replace(config, temperature=0.02)
    assert isinstance(make_loss(replace(plain, loss="cosent", score_scale=5)), CoSENT)
    assert make_loss(replace(plain, loss="cosent", score_scale=5)).scale == 5 and make_loss(plain).margin is None
    assert isinstance(make_loss(replace(plain, knowledge_distillation=True, kd_loss_type="margin_mse")), MarginMSE)
    assert make_loss(replace(config, loss="m3_kd_loss", kd_temperature=3)).teacher_temperature == 3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"loss": "cosent"}, "--temperature has no effect on --loss cosent, which takes no temperature"),
        ({"loss": "kl_div", "directions": "both"}, "--directions has no effect on --loss kl_div"),
        ({"loss": "m3_kd_loss", "guide_model_name_or_path": "x"}, "--guide_model_name_or_path has no effect"),
        ({"kd_temperature": 2.0}, "--kd_temperature has no effect on --loss info_nce"),
        ({"loss": "torch.nn:Linear", "temperature": 0.02}, "its constructor needs in_features, out_features"),
        ({"loss_learning_rate": 1e-2}, "--loss_learning_rate has no effect on --loss info_nce"),
        ({"loss": "infonce"}, "expected info_nce, kl_div"),
        ({"loss": "os.path:nothing"}, r"module:Class that can be imported \(AttributeError: .*'nothing'"),
        (
            {"loss": ".losses:Own"},
            r"--loss .losses:Own: expected .* module:Class .*\(TypeError: the 'package' argument",
        ),
    ],
)
def test_what_would_have_no_effect_or_cannot_be_made_is_said(config, changes, said):
    with pytest.raises(ConfigError, match=said):
        make_loss(replace(config, **changes))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("X = 3", r"--loss {name}:X is no loss: int cannot be called as loss\(query, passages, targets\)"),
        ("import json as X", "--loss {name}:X is no loss: module cannot be called"),
        ("class X:\n    pass", "--loss {name}:X is no loss: X cannot be called"),
        ("def X(query, passages): pass", "{name}:X cannot be called as loss.query, passages, targets.: too many"),
        (
            "from torch import nn\nclass X(nn.Module):\n    def forward(self, a, b, c, d): pass",
            "{name}:X cannot be called as loss.query, passages, targets.: missing a required argument: 'd'",
        ),
        ("X = type", "--loss {name}:X is no loss .ValueError: no signature found"),
        ("X = 3\nX = = 3", r"--loss {name}:X: expected info_nce, .*\(SyntaxError: invalid syntax, .*{name}.py:2\)"),
        ("X = 3\n\nX = 1 / 0", r"--loss {name}:X: expected .*\(ZeroDivisionError: division by zero, .*{name}.py:3\)"),
        ("import sys\nsys.exit(2)", r"--loss {name}:X: expected .*\(SystemExit: 2, .*{name}.py:2\)"),
        ("import notthere", r"\(ModuleNotFoundError: No module named 'notthere', .*{name}.py:1\)"),
        (
            "class X:\n    def __init__(self):\n        raise RuntimeError('a\\n  b')",
            r"--loss {name}:X: its constructor raised RuntimeError: a b, .*{name}.py:3$",
        ),
    ],
)
def test_what_a_module_of_ones_own_does_wrong_is_said_in_one_line(config, tmp_path, monkeypatch, text, said):
    name = tmp_path.name
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=said.replace("{name}", name)) as raised:
        make_loss(replace(config, loss=f"{name}:X", temperature=0.02))
    assert "\n" not in str(raised.value) and (raised.value.__cause__ or "no loss: " in str(raised.value))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return query @ passages.T", r"the loss Own returned a tensor \[4, 12\]; expected one number"),
        ("return 0.5", "the loss Own returned float; expected a tensor"),
        ("return None", "the loss Own returned NoneType"),
        ("return (query @ passages.T).detach().mean()", "the loss Own returned a number without gradient"),
        ("return (query @ passages.T).argmax()", "the loss Own returned torch.int64"),
    ],
)
def test_what_is_no_loss_is_said_with_its_name(config, tmp_path, monkeypatch, body, said):
    name = f"own_{abs(hash(body))}"
    (tmp_path / f"{name}.py").write_text(f"def Own(query, passages, targets):\n    {body}\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=said):
        train.run(replace(config, loss=f"{name}:Own", temperature=0.02))


def test_what_a_loss_draws_at_its_start_is_decided_by_the_seed(config, tmp_path, monkeypatch):
    (tmp_path / "drawing.py").write_text(
        "import torch\n"
        "from torch import nn\n"
        "class Drawing(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.mix = nn.Parameter(torch.randn(32, 32))\n"
        "    def forward(self, query, passages, targets):\n"
        "        return (query @ self.mix @ passages.T).square().mean()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    config = replace(config, loss="drawing:Drawing", temperature=0.02, max_steps=2)
    ends = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        ends.append(config.output_dir + f"-{seed}")
        train.run(replace(config, output_dir=ends[-1]))
    assert_equal_weights(*ends, atol=0)


# What a first step shows


@pytest.mark.parametrize("directions", ["query", "both", "gte"])
@pytest.mark.parametrize("sub_batch_size", [None, 2])
def test_rows_without_negatives_meet_those_of_the_others(config, directions, sub_batch_size):
    config = with_rows(replace(config, directions=directions, sub_batch_size=sub_batch_size), ROWS)
    query = vectors(config, "query", *(row["query"] for row in ROWS))
    passages = vectors(config, "passage", *(text for row in ROWS for text in [*row["pos"], *row.get("neg", [])]))
    sizes = [3, 1, 3, 1]
    targets = Targets(torch.tensor([0, 3, 4, 7]), torch.arange(4), torch.tensor([0, 9, 9, 1, 2, 8, 8, 3]))
    expected = naive.info_nce(query, passages, targets, 0.1)
    if directions == "both":
        expected = (expected + naive.positives_to_queries(query, passages, targets, 0.1)) / 2
    if directions == "gte":
        below = []  # each row alone, by its own group's size
        for row, size in enumerate(sizes):
            part = targets._replace(column=targets.column[[row]], group_size=size)
            below.append(gte_of_row(query, passages, part, row))
        expected = torch.stack(below).mean()
    assert first_loss(config) == pytest.approx(float(expected), abs=1e-4)


def gte_of_row(query: Tensor, passages: Tensor, targets: Targets, row: int) -> Tensor:
    """GTE's softmax of one query, its scores listed one by one."""
    column, size = int(targets.column), targets.group_size
    scores = [query[row] @ passage for passage in passages]
    scores += [query[row] @ other for index, other in enumerate(query) if index != row]
    scores += [passages[column] @ other for other in query]
    scores += [passages[column] @ passage for index, passage in enumerate(passages)
               if not column <= index < column + size]  # fmt: skip
    return torch.stack(scores).div(0.1).logsumexp(0) - query[row] @ passages[column] / 0.1


def test_in_batch_off_and_distillation_ask_for_negatives_of_every_row(config):
    config = with_rows(config, ROWS)
    with pytest.raises(Exception, match="2 of 4 rows cannot be used: .*line 2: 'neg' is empty"):
        train.run(replace(config, use_inbatch_neg=False))


def test_a_guide_that_is_the_model_itself_judges_as_the_model_does(config):
    rows = [{**row, "neg": row.get("neg", ["drug"])} for row in ROWS]
    config = with_rows(replace(config, temperature=0.02), rows)
    own = first_loss(replace(config, false_negative_margin=0.0))
    guided = first_loss(replace(config, guide_model_name_or_path=config.model_name_or_path))
    plain = first_loss(config)
    assert guided == pytest.approx(own, abs=1e-5)
    assert abs(plain - own) > 1e-3  # the margin leaves something out


def test_a_guides_vectors_have_length_1_whatever_its_folder_says(config, tmp_path):
    Encoder.from_pretrained(config.model_name_or_path, pooling="mean", normalize=False).save(tmp_path / "guide")
    vectors = train._load_guide(str(tmp_path / "guide"), config).encode(["drug dose", "heart"])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_two_processes_with_a_guide_an_average_and_bare_rows_train_as_one(config):
    texts = iter(range(100))
    rows = [{**row, "query": f"{row['query']} {word}", "pos": [f"{row['pos'][0]} {word} {next(texts)}"]}
            for word in ("skin", "drug") for row in ROWS]  # fmt: skip
    held_out = Path(config.output_dir).with_name("held_out.jsonl")
    held_out.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    config = replace(with_rows(config, rows), per_device_train_batch_size=4, max_steps=3, ema_decay=0.3,
                     guide_model_name_or_path=config.model_name_or_path, false_negative_margin=0.1,
                     eval_data=(str(held_out),), learn_temperature=True)  # fmt: skip
    train.run(config)
    run_on_two_processes(config, config.output_dir + "-two")
    assert_equal_weights(config.output_dir, config.output_dir + "-two", atol=1e-5)
    one, two = (read_lines(f"{config.output_dir}{end}/metrics.jsonl") for end in ("", "-two"))
    for here, there in zip(one, two, strict=True):
        for name in (here.keys() - {"tokens_per_second", "peak_memory_mb"}) & there.keys():
            assert there[name] == pytest.approx(here[name], abs=1e-4), name


def test_scored_pairs_train_by_their_order(config):
    pairs = [
        ("heart", "heart blood", 5.0),
        ("liver", "kidney", 1.5),
        ("gene", "protein gene", 4.0),
        ("skin", "drug", 0),
    ]
    rows = [{"sentence1": one, "sentence2": other, "score": score} for one, other, score in pairs]
    config = with_rows(replace(config, loss="cosent", temperature=0.02, train_group_size=8), rows)
    sides = enumerate(("query", "passage"))
    one, other = (vectors(config, kind, *(pair[side] for pair in pairs)) for side, kind in sides)
    expected = naive.ordered_couples((one * other).sum(1), [pair[2] for pair in pairs], 20)
    assert first_loss(config) == pytest.approx(float(expected), abs=1e-4)


# The learnt temperature


def test_a_learnt_temperature_is_logged_trained_without_decay_and_resumed(config, monkeypatch):
    config = replace(config, learn_temperature=True, weight_decay=0.5, temperature=0.1)
    train.run(config)
    found = [line["temperature"] for line in read_lines(f"{config.output_dir}/metrics.jsonl")]
    assert all(0 < abs(value - 0.1) < 0.01 for value in found) and len(set(found)) == 8
    other = replace(config, output_dir=config.output_dir + "-interrupted")
    run_interrupted(other, 3, monkeypatch)
    train.run(other)
    assert_equal_weights(config.output_dir, other.output_dir, atol=0)
    assert [line["temperature"] for line in read_lines(f"{other.output_dir}/metrics.jsonl")] == found


def test_the_losss_own_parameters_have_their_rate_and_a_scalar_no_decay():
    loss, encoder = InfoNCE(learn_temperature=True), nn.Linear(2, 3)
    groups = make_optimizer(encoder, loss, (1e-3, 0.1), 0.5, (0.9, 0.999), 1e-8).param_groups
    found = [([tuple(p.shape) for p in group["params"]], group["lr"], group["weight_decay"]) for group in groups]
    assert found == [([(3, 2)], 1e-3, 0.5), ([(3,)], 1e-3, 0.0), ([()], 0.1, 0.0)]
    assert len(make_optimizer(encoder, len, (1e-3, 0.1), 0.5, (0.9, 0.999), 1e-8).param_groups) == 2


def test_the_first_step_moves_the_temperatures_logarithm_by_its_rate(config):
    config = replace(config, learn_temperature=True, loss_learning_rate=0.05, max_steps=1, max_grad_norm=0.0)
    config = replace(config, lr_scheduler_type="constant", adam_epsilon=1e-12)
    train.run(config)
    (line,) = read_lines(f"{config.output_dir}/metrics.jsonl")
    assert abs(math.log(line["temperature"] / 0.1)) == pytest.approx(0.05, abs=1e-5)
