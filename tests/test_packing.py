"""Packed rows against each text alone: values and gradients, encoders and decoders, and who may not take part."""

import numpy as np
import pytest
import torch
import transformers
from torch import nn

from bioemb import packing
from bioemb.encoder import Encoder
from bioemb.encoding import plan_sub_batches, token_batches

SMALL = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
}
GROUPED = {**SMALL, "num_key_value_heads": 2}
KINDS = {
    "bert": lambda: transformers.BertModel(transformers.BertConfig(**SMALL)),
    "roberta": lambda: transformers.RobertaModel(transformers.RobertaConfig(**SMALL)),  # positions begin above padding
    "electra": lambda: transformers.ElectraModel(transformers.ElectraConfig(**SMALL, embedding_size=32)),
    "llama": lambda: transformers.LlamaModel(transformers.LlamaConfig(**GROUPED)),  # causal, grouped-query
    "qwen3": lambda: transformers.Qwen3Model(transformers.Qwen3Config(**GROUPED, head_dim=8)),
}


def make(kind: str) -> nn.Module:
    torch.manual_seed(5)
    return KINDS[kind]().eval()


def random_texts(seed: int) -> list[list[int]]:
    """Token ids of 1 to 9 texts, several often of the same length, the longest first."""
    rng = np.random.default_rng(seed)
    lengths = sorted(rng.integers(1, 12, int(rng.integers(1, 10))).tolist(), reverse=True)
    return [rng.integers(3, 60, length).tolist() for length in lengths]


def alone(backbone: nn.Module, texts: list[list[int]]) -> torch.Tensor:
    return torch.cat([backbone(input_ids=torch.tensor([text])).last_hidden_state[0] for text in texts])


def in_one_row(backbone: nn.Module, texts: list[list[int]]) -> torch.Tensor:
    packed = packing.pack(texts, packing.first_position(backbone))
    return backbone(**packed._asdict()).last_hidden_state[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_packed_row_holds_the_vectors_and_gradients_of_each_text_alone(kind):
    plain, packs = make(kind), make(kind)
    assert packing.prepare(packs)
    for seed in range(15):
        texts = random_texts(seed)
        weights = torch.randn(sum(map(len, texts)), 32)
        for backbone, run in ((plain, alone), (packs, in_one_row)):
            backbone.zero_grad()
            (run(backbone, texts) * weights).sum().backward()
        torch.testing.assert_close(in_one_row(packs, texts), alone(plain, texts), rtol=1e-4, atol=1e-5)
        for one, other in zip(plain.parameters(), packs.parameters(), strict=True):
            if one.grad is not None:  # a pooler has none
                torch.testing.assert_close(other.grad, one.grad, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_backbone_that_packs_still_takes_padded_batches(kind):
    plain, packs = make(kind), make(kind)
    packing.prepare(packs)
    texts = random_texts(3)
    longest = max(map(len, texts))
    ids = torch.tensor([text + [0] * (longest - len(text)) for text in texts])
    mask = torch.tensor([[1] * len(text) + [0] * (longest - len(text)) for text in texts])
    hidden = packs(input_ids=ids, attention_mask=mask).last_hidden_state[mask.bool()]
    positions = [torch.arange(len(text)) for text in texts]
    assert len(torch.cat(positions)) == len(hidden)
    torch.testing.assert_close(hidden, alone(plain, texts), rtol=1e-4, atol=1e-5)


def test_half_precision_without_gradients_is_near_the_exact_vectors_however_long_the_runs():
    backbone = make("bert")
    packing.prepare(backbone)
    for count in (1, 2, 500):
        texts = [[7, 8, 9, 10, 11, 12 + (row % 40)] for row in range(count)] + [[9, 8]]
        exact = alone(backbone, texts).detach()
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            found = in_one_row(backbone, texts).float()
        assert nn.functional.cosine_similarity(found, exact).min() > 0.999


@pytest.mark.parametrize(
    "make_backbone",
    [
        lambda: transformers.MPNetModel(transformers.MPNetConfig(**SMALL)),  # attention of its own
        lambda: transformers.MistralModel(transformers.MistralConfig(**GROUPED, sliding_window=8)),
        lambda: transformers.ModernBertModel(
            transformers.ModernBertConfig(
                **SMALL, pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2
            )
        ),
    ],
)
def test_what_cannot_pack_is_left_as_it_was(make_backbone):
    backbone = make_backbone().eval()
    before = backbone.config._attn_implementation
    assert not packing.prepare(backbone)
    assert backbone.config._attn_implementation == before


def test_a_backbone_that_drops_the_keyword_is_found_out():
    class Deaf(transformers.BertModel):
        def forward(self, segments=None, **given):
            return super().forward(**given)

    torch.manual_seed(0)
    assert not packing.prepare(Deaf(transformers.BertConfig(**SMALL)).eval())


def test_an_encoder_packs_on_a_cpu_and_gives_the_vectors_of_padded_batches(tiny_encoder_folder):
    encoder = Encoder.from_pretrained(tiny_encoder_folder, pooling="mean")
    ids = encoder.token_ids(["Aspirin.", "Mice", "Insulin resistance precedes diabetes.", "Statins"], None)
    assert isinstance(encoder.batch(ids), packing.Packed)
    assert not isinstance(encoder.batch(ids, multiple=8), packing.Packed)
    packed, padded = encoder(encoder.batch(ids), encoder.pad(ids))
    torch.testing.assert_close(packed, padded, rtol=1e-5, atol=1e-6)


def test_a_row_that_is_filled_up_gives_the_vectors_of_one_that_is_not(tiny_encoder_folder):
    encoder = Encoder.from_pretrained(tiny_encoder_folder, pooling="mean")
    for texts in (["Aspirin."], ["Insulin resistance precedes diabetes.", "Mice"]):
        ids = encoder.token_ids(texts, None)
        rows = [packing.pack(ids, encoder.first_position, multiple) for multiple in (1, 64)]
        assert [row.input_ids.shape[1] for row in rows] == [sum(map(len, ids)), 64]
        plain, filled = encoder(*rows)
        assert len(filled) == len(texts)
        torch.testing.assert_close(filled, plain, rtol=1e-5, atol=1e-6)


def test_sub_batches_hold_every_row_and_keep_what_fits():
    for seed in range(50):
        rng = np.random.default_rng(seed)
        lengths = rng.integers(1, 40, int(rng.integers(1, 60))).tolist()
        budget, limit = int(rng.integers(1, 120)), int(rng.integers(1, 200))
        sub_batches, keep = plan_sub_batches(lengths, budget, limit)
        assert sorted(np.concatenate(sub_batches)) == list(range(len(lengths)))
        tokens = [sum(lengths[row] for row in rows) for rows in sub_batches]
        assert all(
            count <= min(budget, limit) or len(rows) == 1 for count, rows in zip(tokens, sub_batches, strict=True)
        )
        assert sum(tokens[len(tokens) - keep :]) <= limit
        assert keep == len(tokens) or sum(tokens[len(tokens) - keep - 1 :]) > limit
    everything, keep = plan_sub_batches(lengths, budget, None)
    assert keep == len(everything) == len(list(token_batches(lengths, budget)))
