"""InfoNCE: its numbers and gradients are the dense formula's, by loops in float64, whatever the block size."""

import naive_losses as naive
import pytest
import torch
import torch.nn.functional as F
from naive_losses import gradients, lopsided_batch, with_guide

from bioemb.errors import ConfigError
from bioemb.losses import InfoNCE, Targets, row_blocks

SEEDS = range(4)
MASKING = [(None, False), (0.1, False), (-0.2, False), (0.0, True), (-0.3, True)]  # margin, by a guide
NAIVE = {
    "query": naive.info_nce,
    "both": lambda *args: (naive.info_nce(*args) + naive.positives_to_queries(*args)) / 2,
    "gte": naive.gte,
}


@pytest.fixture(params=[1, 3, 128], autouse=True)
def rows_per_block(request, monkeypatch):
    """Every test here runs with blocks of one row, of a number that does not divide b, and of all rows."""
    monkeypatch.setattr(row_blocks, "rows_per_block", lambda row_bytes, device: request.param)


def assert_same(ours, expected, *tensors):
    assert torch.allclose(ours, expected, rtol=0, atol=1e-9)
    for mine, theirs in zip(gradients(ours, *tensors), gradients(expected, *tensors), strict=True):
        assert torch.allclose(mine, theirs, rtol=0, atol=1e-9)


@pytest.mark.parametrize("directions", ["query", "both", "gte"])
@pytest.mark.parametrize(("margin", "guided"), MASKING)
def test_value_and_gradients_are_the_formulas(directions, margin, guided):
    for seed in SEEDS:
        query, passages, targets = lopsided_batch(seed)
        if guided:
            targets = with_guide(targets, seed)
        ours = InfoNCE(0.07, directions=directions, false_negative_margin=margin)(query, passages, targets)
        assert_same(ours, NAIVE[directions](query, passages, targets, 0.07, margin), query, passages)


@pytest.mark.parametrize("directions", ["query", "both", "gte"])
def test_learnt_temperature_gets_the_formulas_gradient(directions):
    query, passages, targets = lopsided_batch(5)
    loss = InfoNCE(0.1, learn_temperature=True, directions=directions).double()
    scale = loss.scale.logarithm
    ours = loss(query, passages, targets)
    expected = NAIVE[directions](query, passages, targets, 1 / scale.exp())
    assert_same(ours, expected, query, passages, scale)
    assert loss.temperature == pytest.approx(0.1)


@pytest.mark.parametrize(("margin", "guided"), MASKING)
def test_in_batch_off_compares_with_the_own_group_alone(margin, guided):
    for seed in SEEDS:
        query, passages, targets = lopsided_batch(seed, size=4)
        if guided:
            targets = with_guide(targets, seed)
        ours = InfoNCE(0.07, in_batch=False, false_negative_margin=margin)(query, passages, targets)
        own = lambda row, column=targets.column: range(int(column[row]), int(column[row]) + 4)  # noqa: E731
        assert_same(ours, naive.info_nce(query, passages, targets, 0.07, margin, own), query, passages)


def test_without_targets_it_is_the_fields_cross_entropy():
    query, passages, _ = lopsided_batch(0, queries=5, size=3, before=0)
    passages = passages[:15]
    dense = F.cross_entropy(query @ passages.T / 0.02, torch.arange(5) * 3)
    assert_same(InfoNCE()(query, passages), dense, query)


def test_gradients_are_those_of_finite_differences():
    query, passages, targets = lopsided_batch(3, queries=3, size=2, before=1, width=3)
    loss = InfoNCE(0.5, directions="gte")
    assert torch.autograd.gradcheck(lambda q, p: loss(q, p, targets), (query, passages), eps=1e-6, atol=1e-7)


def test_upstream_gradient_scales_and_may_come_twice():
    query, passages, targets = lopsided_batch(1)
    loss = InfoNCE(0.1)(query, passages, targets)
    plain = torch.autograd.grad(loss, passages, retain_graph=True)[0]
    scaled = torch.autograd.grad(loss * -3.5, passages)[0]
    assert torch.allclose(scaled, -3.5 * plain, rtol=1e-12)


def test_gradient_is_made_for_the_side_that_wants_one():
    query, passages, targets = lopsided_batch(2)
    loss = InfoNCE(0.1)
    both = gradients(loss(query, passages, targets), query, passages)
    assert torch.equal(gradients(loss(query, passages.detach(), targets), query)[0], both[0])
    assert torch.equal(gradients(loss(query.detach(), passages, targets), passages)[0], both[1])


def test_no_grad_gives_the_value_alone():
    query, passages, targets = lopsided_batch(2)
    with torch.no_grad():
        value = InfoNCE(0.1)(query, passages, targets)
    assert not value.requires_grad
    assert value == InfoNCE(0.1)(query, passages, targets)


def test_strided_inputs_count_as_their_values():
    query, passages, targets = lopsided_batch(6)
    strided_query = torch.stack([query, query * 0 + 7], 2)[..., 0]
    strided_passages = passages.T.contiguous().T
    assert not strided_query.is_contiguous() and not strided_passages.is_contiguous()
    expected = InfoNCE(0.1, directions="both")(query, passages, targets)
    ours = InfoNCE(0.1, directions="both")(strided_query, strided_passages, targets)
    assert_same(ours, expected, query, passages)


def test_one_query_with_one_passage_loses_nothing():
    query, passage = torch.tensor([[0.6, 0.8]], requires_grad=True), torch.tensor([[1.0, 0.0]])
    loss = InfoNCE()(query, passage)
    assert loss == 0
    assert torch.equal(gradients(loss, query)[0], torch.zeros(1, 2))


def test_nothing_but_the_positive_left_loses_nothing():
    query, passages, targets = lopsided_batch(0)
    targets = targets._replace(
        query_identity=torch.full_like(targets.query_identity, 4),
        passage_identity=torch.full_like(targets.passage_identity, 4),
    )
    loss = InfoNCE()(query, passages, targets)
    assert loss == 0
    assert all(not gradient.any() for gradient in gradients(loss, query, passages))


def test_a_repeated_pair_is_a_floor_of_log_two_unless_identity_says_so():
    query = torch.eye(3, dtype=torch.float64)[[0, 0]]
    column, same = torch.tensor([0, 1]), torch.tensor([8, 8])
    assert InfoNCE()(query, query, Targets(column)) == pytest.approx(0.6931471805599453)
    assert InfoNCE()(query, query, Targets(column, same, same)) == 0


def test_a_process_without_queries_has_no_loss_and_still_a_graph():
    _, passages, targets = lopsided_batch(0)
    none = Targets(targets.column[:0], targets.query_identity[:0], targets.passage_identity)
    loss = InfoNCE()(passages.new_empty(0, passages.shape[1]), passages, none)
    assert loss == 0
    assert not gradients(loss, passages)[0].any()


def test_bfloat16_vectors_are_scored_in_float32_and_get_bfloat16_gradients():
    query, passages, targets = lopsided_batch(0)
    halves = [vectors.detach().bfloat16().requires_grad_() for vectors in (query, passages)]
    floats = [vectors.detach().float().requires_grad_() for vectors in halves]
    loss, expected = (InfoNCE()(*vectors, targets) for vectors in (halves, floats))
    assert loss.dtype == torch.float32
    assert loss == expected
    for mine, theirs in zip(gradients(loss, *halves), gradients(expected, *floats), strict=True):
        assert torch.equal(mine, theirs.bfloat16())


@pytest.mark.parametrize("in_batch", [True, False])
def test_autocast_changes_nothing(in_batch):
    query, passages, targets = lopsided_batch(0)
    query, passages = query.detach().float(), passages.detach().float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = InfoNCE(in_batch=in_batch)(query, passages, targets)
    assert inside == InfoNCE(in_batch=in_batch)(query, passages, targets)


@pytest.mark.parametrize("temperature", [0.0, -0.02, float("nan"), float("inf")])
def test_a_temperature_that_cannot_work_is_refused(temperature):
    with pytest.raises(ConfigError, match="temperature is .* expected more than 0"):
        InfoNCE(temperature)


def test_choices_that_contradict_are_refused():
    with pytest.raises(ConfigError, match="'passage'; expected one of query, both, gte"):
        InfoNCE(directions="passage")
    with pytest.raises(ConfigError, match="expected 'query' with in_batch off"):
        InfoNCE(directions="both", in_batch=False)
    query, passages, targets = lopsided_batch(0)
    with pytest.raises(ConfigError, match="--train_group_size"):
        InfoNCE(in_batch=False)(query, passages, targets._replace(group_size=1))
    with pytest.raises(ConfigError, match="use 0.0 for GISTEmbed"):
        InfoNCE()(query, passages, with_guide(targets, 0))


def test_a_shorter_group_ends_where_it_ends():
    query, passages, targets = lopsided_batch(3, queries=4, size=3)
    sizes = torch.tensor([3, 2, 1, 3])
    ragged = targets._replace(group_sizes=sizes, teacher_scores=None)
    expected = []
    for row, (column, size) in enumerate(zip(targets.column.tolist(), sizes.tolist(), strict=True)):
        one = Targets(
            torch.tensor([0]), targets.query_identity[[row]], targets.passage_identity[column : column + size]
        )
        expected.append(naive.info_nce(query[[row]], passages[column : column + size], one, 0.1))
    assert torch.allclose(
        InfoNCE(0.1, in_batch=False)(query, passages, ragged), torch.stack(expected).mean(), atol=1e-9
    )
