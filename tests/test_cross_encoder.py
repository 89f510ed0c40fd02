"""The cross-encoder against transformers, one pair at a time, and its batches."""

import numpy as np
import pytest
import torch
from tiny_encoder import MAX_LENGTH, SENTENCES, write_tiny_cross_encoder

from bioemb.cross_encoder import CrossEncoder, shaped_batches
from bioemb.errors import ConfigError, DataError, ModelError

PAIRS = [(query, passage) for query in SENTENCES[:5] for passage in SENTENCES]  # 2 to more tokens than it takes


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_cross_encoder(tmp_path_factory.mktemp("models") / "tiny-cross", seed=3)


@pytest.fixture(scope="module")
def cross_encoder(folder) -> CrossEncoder:
    return CrossEncoder.from_pretrained(folder)


def test_scores_are_those_of_transformers_one_pair_at_a_time(cross_encoder, folder):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    expected = []
    with torch.inference_mode():
        for query, passage in PAIRS:
            tokens = tokenizer(query, passage, truncation=True, max_length=MAX_LENGTH, return_tensors="pt")
            expected.append(model.eval()(**tokens).logits.item())
    scores = cross_encoder.scores(PAIRS)
    assert scores.dtype == np.float32 and scores.std() > 0.1
    np.testing.assert_allclose(scores, expected, atol=2e-5)


def test_a_pairs_score_has_the_same_bits_whatever_else_is_scored(cross_encoder):
    scores = cross_encoder.scores(PAIRS, batch_tokens=200)
    for seed in range(10):
        rng = np.random.default_rng(seed)
        rows = rng.choice(len(PAIRS), rng.integers(1, 30), replace=False)
        some = cross_encoder.scores([PAIRS[row] for row in rows], batch_tokens=200)
        assert some.tobytes() == scores[rows].tobytes(), f"seed {seed}"


def test_batches_hold_every_pair_once_within_the_budget_in_a_shape_of_its_length_alone():
    for seed in range(200):
        rng = np.random.default_rng(seed)
        limit, budget = int(rng.integers(5, 70)), int(rng.integers(1, 300))
        lengths = rng.integers(1, limit + 1, rng.integers(0, 40))
        batches = list(shaped_batches(lengths, budget, limit))
        assert sorted(row for rows, *_ in batches for row in rows.tolist()) == list(range(len(lengths)))
        for rows, length, size in batches:
            assert len(rows) <= size and (size * length <= budget or size == 1)
            for row in rows:
                assert length == next(shaped_batches(lengths[row : row + 1], budget, limit))[1] >= lengths[row]
                assert length < lengths[row] + 16


def test_the_order_of_the_two_texts_counts(cross_encoder):
    there, back = cross_encoder.scores([(SENTENCES[0], SENTENCES[1]), (SENTENCES[1], SENTENCES[0])])
    assert abs(there - back) > 1e-3


def test_nothing_gives_no_scores_and_what_is_no_pair_of_texts_is_named(cross_encoder):
    assert cross_encoder.scores([]).shape == (0,)
    for wrong in (("a", None), "ab", ("a", "b", "c")):
        with pytest.raises(DataError, match="pair 1 to score is .*; expected a query and a passage"):
            cross_encoder.scores([("a", "b"), wrong])


def test_pairs_are_cut_at_the_length_that_is_asked_for(folder, cross_encoder):
    short = CrossEncoder.from_pretrained(folder, max_length=8)
    pairs = [("Aspirin.", SENTENCES[8]), ("Aspirin.", SENTENCES[8][:200])]
    one, other = short.scores(pairs)
    assert one == other != short.scores([("Mice", SENTENCES[8])])[0]
    with pytest.raises(ConfigError, match=f"41 tokens; .* takes 4..{MAX_LENGTH}"):
        CrossEncoder.from_pretrained(folder, max_length=41)


def test_what_is_no_cross_encoder_is_refused_in_one_line(tmp_path, tiny_encoder_folder):
    two = write_tiny_cross_encoder(tmp_path / "two", labels=2)
    with pytest.raises(ModelError, match="has 2 labels, expected 1"):
        CrossEncoder.from_pretrained(two)
    for path in two.glob("*.safetensors"):
        path.unlink()
    with pytest.raises(ModelError, match="no .safetensors weights"):
        CrossEncoder.from_pretrained(two)
    headless = write_tiny_cross_encoder(tmp_path / "headless")
    (headless / "model.safetensors").write_bytes((tiny_encoder_folder / "model.safetensors").read_bytes())
    with pytest.raises(ModelError, match=r"no cross-encoder: 2 weights .*classifier.bias"):
        CrossEncoder.from_pretrained(headless)
    with pytest.raises(ModelError, match="is no cross-encoder: it holds a BertModel, without a head that scores pairs"):
        CrossEncoder.from_pretrained(tiny_encoder_folder)
    with pytest.raises(ModelError, match="there is no model folder ./nowhere"):
        CrossEncoder.from_pretrained("./nowhere")


def test_a_score_that_is_not_finite_names_its_pair(folder):
    broken = CrossEncoder.from_pretrained(folder)
    with torch.no_grad():
        broken.model.classifier.bias.fill_(float("nan"))
    with pytest.raises(ModelError, match="no finite score for 'Aspirin.' and 'Mice'"):
        broken.scores([("Aspirin.", "Mice")])
