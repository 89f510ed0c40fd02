"""Vectors against one text at a time without padding; what belongs to a kind of text; saving, loading, encoding.

The reference is transformers itself, called with one text's token ids and nothing else.
"""

import json
import logging
import os
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from tiny_encoder import MAX_LENGTH, SENTENCES, WIDTH
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import (
    AutoModel,
    AutoTokenizer,
    GPT2Config,
    GPT2Model,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
)

from bioemb.blocks import BlockFolder
from bioemb.checkpoint import save_tensors
from bioemb.encoder import CHARACTERS, UNBOUNDED, Encoder, positions, prompt_from_instruction
from bioemb.encoding import ahead, choose_bf16, encode_texts, encode_to_blocks, token_batches
from bioemb.errors import ConfigError, DataError, ModelError
from bioemb.model_folder import Layout, weights_hash
from bioemb.pooling import POOLING

PROMPTS = {"query": "a case of: ", "passage": ""}
LONGEST = max(SENTENCES, key=len)


@pytest.fixture
def encoder(tiny_encoder_folder):
    return Encoder.from_pretrained(tiny_encoder_folder, pooling="mean")


def one_by_one(folder, texts, pooling="mean", normalize=True, max_length=MAX_LENGTH):
    """The vectors of texts, each alone and without padding, by transformers."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    vectors = []
    for text in texts:
        tokens = tokenizer([text], truncation=True, max_length=max_length, return_tensors="pt")
        with torch.inference_mode():
            hidden = model(**tokens).last_hidden_state[0]
        vector = {"mean": hidden.mean(0), "cls": hidden[0], "last": hidden[-1], "max": hidden.max(0).values}[pooling]
        vectors.append((vector / vector.norm() if normalize else vector).numpy())
    return np.stack(vectors)


def close(left, right, tolerance=1e-5):
    np.testing.assert_allclose(left, right, rtol=0, atol=tolerance)
    return True


# Vectors


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("pooling", POOLING)
def test_vectors_are_those_of_each_text_alone_by_transformers(tiny_encoder_folder, pooling, normalize):
    encoder = Encoder.from_pretrained(tiny_encoder_folder, pooling=pooling, normalize=normalize)
    vectors = encoder.encode(SENTENCES)
    assert vectors.dtype == np.float32 and vectors.shape == (len(SENTENCES), WIDTH)
    expected = one_by_one(tiny_encoder_folder, SENTENCES, pooling, normalize)
    assert close(vectors, expected, 1e-5 if normalize else 5e-5)
    assert np.linalg.norm(expected[0] - expected[9]) > 0.3  # the texts are far apart, so that a mix-up would show


def test_vectors_depend_neither_on_the_batch_nor_on_the_order(encoder):
    whole = encoder.encode(SENTENCES)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        rows = rng.integers(0, len(SENTENCES), int(rng.integers(1, 30)))
        vectors = encoder.encode([SENTENCES[row] for row in rows], batch_tokens=int(rng.integers(1, 300)))
        assert close(vectors, whole[rows])


def test_no_texts_are_no_vectors(encoder):
    vectors = encoder.encode([], kind="query")
    assert vectors.shape == (0, WIDTH) and vectors.dtype == np.float32


def test_one_forward_takes_several_groups_of_texts(encoder):
    encoder.eval()
    queries, passages = (encoder.pad(encoder.token_ids(texts, None)) for texts in (SENTENCES[:3], SENTENCES[3:8]))
    with torch.inference_mode():
        query, passage = encoder(queries, passages)
    assert close(np.concatenate([query, passage]), encoder.encode(SENTENCES[:8]))


def test_bfloat16_comes_back_as_float32_of_length_one_near_the_exact_vectors(encoder):
    exact, rough = encoder.encode(SENTENCES), encode_texts(encoder, SENTENCES, None, bf16=True)
    assert rough.dtype == np.float32 and not np.array_equal(exact, rough)
    assert close(np.linalg.norm(rough, axis=1), 1.0)
    assert (exact * rough).sum(1).min() > 0.999


@pytest.fixture(scope="session", params=["left", "right"])
def decoder_folder(request, tmp_path_factory):
    """A decoder with absolute positions, whose tokenizer pads on one side and adds no tokens of its own."""
    folder = tmp_path_factory.mktemp("models") / f"tiny-gpt2-{request.param}"
    words = ["<pad>", "<end>", "<unknown>", *"abcdefgh"]
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unknown>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="<end>", unk_token="<unknown>",
        padding_side=request.param, model_max_length=16,
    )  # fmt: skip
    config = GPT2Config(
        vocab_size=len(words), n_embd=16, n_layer=2, n_head=2, n_positions=16, initializer_range=0.3,
        bos_token_id=1, eos_token_id=1,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        GPT2Model(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_decoder_takes_the_last_token_whichever_side_its_tokenizer_pads(decoder_folder):
    texts = ["a b", "a b c d e f g h", "c", "e f g"]
    encoder = Encoder.from_pretrained(decoder_folder)
    assert encoder.layout.pooling == "last"
    assert close(encoder.encode(texts), one_by_one(decoder_folder, texts, "last", max_length=16))


def test_a_text_without_tokens_has_no_vector(decoder_folder):
    with pytest.raises(DataError, match="finds nothing in the text ' '"):
        Encoder.from_pretrained(decoder_folder).encode(["a b", " ", "c"])


# What belongs to a kind


def test_a_prompt_changes_the_vectors_of_its_kind_only(tiny_encoder_folder, encoder):
    prompted = Encoder.from_pretrained(tiny_encoder_folder, pooling="mean", prompts=PROMPTS)
    plain = encoder.encode(SENTENCES)
    assert np.array_equal(prompted.encode(SENTENCES, kind="passage"), plain)
    assert np.array_equal(prompted.encode(SENTENCES), plain)
    queries = prompted.encode(SENTENCES, kind="query")
    assert np.array_equal(queries, encoder.encode([PROMPTS["query"] + text for text in SENTENCES]))
    assert np.abs(queries - plain).max(axis=1).min() > 1e-3


def test_a_texts_own_prompt_stands_in_place_of_the_kinds(tiny_encoder_folder):
    encoder = Encoder.from_pretrained(tiny_encoder_folder, pooling="mean", prompts=PROMPTS)
    texts = ["sepsis", "statins", "mice"]
    expected = encoder.token_ids(["we report sepsis", "a case of: statins", "mice"], None)
    assert encoder.token_ids(texts, "query", ["we report ", None, ""]) == expected


def test_what_is_given_overrides_what_the_folder_says(encoder, tmp_path):
    encoder.layout.prompts.update(query="q: ", passage="p: ")
    encoder.save(tmp_path)
    assert Encoder.from_pretrained(tmp_path).layout.prompts == {"query": "q: ", "passage": "p: "}
    given = Encoder.from_pretrained(tmp_path, normalize=False, prompts={"query": "", "passage": None}).layout
    assert (given.prompts, given.normalize, given.pooling) == ({"query": "", "passage": "p: "}, False, "mean")


def test_a_length_cuts_the_texts_of_its_kind(encoder):
    whole = encoder.tokenizer([LONGEST])["input_ids"][0]
    assert len(whole) > MAX_LENGTH
    encoder.set_max_length(query=11, passage=None)
    for kind, length in (("query", 11), ("passage", MAX_LENGTH), (None, MAX_LENGTH)):
        assert encoder.token_ids([LONGEST], kind) == [whole[: length - 1] + whole[-1:]]
    assert close(encoder.encode([LONGEST, "mice"], kind="query")[0], encoder.encode([cut(encoder, LONGEST, 11)])[0])


def test_a_very_long_text_is_not_tokenised_to_its_end(encoder, monkeypatch):
    texts = [LONGEST * 50, " " * 9000 + LONGEST, "x" * 9000 + " mice", "\n".join([LONGEST] * 30), "short one"]
    expected = [encoder.tokenizer([text], truncation=True, max_length=20)["input_ids"][0] for text in texts]
    encoder.set_max_length(query=20, passage=None)
    asked, tokenise = [], encoder.tokenizer

    def counting(texts, **settings):
        asked.append(max(map(len, [texts] if isinstance(texts, str) else texts)))
        return tokenise(texts, **settings)

    monkeypatch.setattr(encoder, "tokenizer", counting)
    assert encoder.token_ids(texts, "query") == expected
    assert encoder.token_ids(texts[:1], "query") == expected[:1]
    assert asked[-1] <= 20 * CHARACTERS < len(texts[0])


def cut(encoder, text, length):
    """A text whose tokens are the first ones of another."""
    return encoder.tokenizer.decode(encoder.tokenizer([text])["input_ids"][0][1 : length - 1])


@pytest.mark.parametrize("length", [MAX_LENGTH + 1, 2, 0, -5])
def test_a_length_that_the_model_cannot_take_is_refused(encoder, length):
    with pytest.raises(ConfigError, match=f"passage length is {length} tokens; .* takes 3..{MAX_LENGTH}"):
        encoder.set_max_length(passage=length)
    assert encoder.max_length["passage"] == MAX_LENGTH


def test_models_that_leave_positions_to_padding_take_fewer_tokens(encoder):
    config = RobertaConfig(
        vocab_size=len(encoder.tokenizer), hidden_size=WIDTH, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=22, pad_token_id=0,
    )  # fmt: skip
    roberta = Encoder(RobertaModel(config), encoder.tokenizer, encoder.layout)
    roberta.set_max_length(21, 21)
    assert roberta.encode([LONGEST], kind="query").shape == (1, WIDTH)
    with pytest.raises(ConfigError, match="takes 3..21"):
        roberta.set_max_length(22)


def test_texts_are_lowered_where_the_folder_asks_for_it(encoder):
    encoder.tokenizer.backend_tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    assert encoder.token_ids(["Aspirin. MICE"], None) != encoder.token_ids(["aspirin. mice"], None)
    layout = Layout(encoder.layout.backbone, "mean", True, MAX_LENGTH, True, {"query": "", "passage": ""})
    lowering = Encoder(encoder.backbone, encoder.tokenizer, layout)
    assert lowering.token_ids(["Aspirin. MICE"], None) == encoder.token_ids(["aspirin. mice"], None)


@pytest.mark.parametrize(
    ("instruction", "template", "prompt"),
    [
        (None, "{}{}", None),
        ("", "{}{}", ""),
        ("Represent: ", "{}{}", "Represent: "),
        ("find it", "Instruct: {}\\nQuery: {}", "Instruct: find it\nQuery: "),
        ("50 % {of}", "{} - {}", "50 % {of} - "),
    ],
)
def test_an_instruction_and_its_format_make_the_prompt(instruction, template, prompt):
    assert prompt_from_instruction(instruction, template) == prompt


@pytest.mark.parametrize("template", ["{}", "{}{}{}", "{}{} end", "{a}{b}", "{", "plain"])
def test_a_format_that_does_not_end_in_the_text_is_refused(template):
    with pytest.raises(ConfigError, match="expected two {}"):
        prompt_from_instruction("find it", template)


# Pooling that is chosen


def test_a_plain_backbone_says_which_default_it_took(tiny_encoder_folder, log):
    assert Encoder.from_pretrained(tiny_encoder_folder).layout.pooling == "mean"
    assert "does not say how it pools; taking mean" in log.text


def test_pooling_against_the_folders_word_is_used_and_said(encoder, tmp_path, log):
    encoder.save(tmp_path)
    assert Encoder.from_pretrained(tmp_path, pooling="mean").layout.pooling == "mean" and not log.text
    assert Encoder.from_pretrained(tmp_path, pooling="last_token").layout.pooling == "last"
    assert [record.levelno for record in log.records] == [logging.WARNING] and "says pooling mean; last" in log.text
    with pytest.raises(ConfigError, match="pooling 'median': expected auto, mean, cls, last, max"):
        Encoder.from_pretrained(tmp_path, pooling="median")


# Saving


def test_a_saved_encoder_loads_with_the_same_vectors_and_words(encoder, tmp_path):
    encoder.layout.prompts.update(PROMPTS)
    encoder.set_max_length(query=12, passage=30)
    encoder.save(tmp_path / "model")
    again = Encoder.from_pretrained(tmp_path / "model")
    assert (again.layout.pooling, again.layout.normalize, again.layout.prompts) == ("mean", True, PROMPTS)
    assert again.max_length == dict.fromkeys(("query", "passage", None), 30)
    assert np.array_equal(again.encode(SENTENCES, kind="passage"), encoder.encode(SENTENCES, kind="passage"))
    assert AutoTokenizer.from_pretrained(tmp_path / "model").model_max_length == 30


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_weights_are_saved_with_the_mode_that_the_umask_gives(encoder, tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        encoder.save(tmp_path)
        save_tensors(tmp_path / "average.safetensors", {"a": torch.ones(2)})
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir() if path.is_file()}
    assert {"model.safetensors", "average.safetensors", "config.json"} <= modes.keys() and set(modes.values()) == {mode}


def test_what_is_saved_does_not_depend_on_what_was_encoded_before(encoder, tmp_path):
    encoder.save(tmp_path / "before")
    encoder.set_max_length(query=7)
    encoder.encode(SENTENCES, kind="query")
    encoder.save(tmp_path / "after")
    for path in (tmp_path / "before").rglob("*.*"):
        if path.is_file():
            assert (tmp_path / "after" / path.relative_to(tmp_path / "before")).read_bytes() == path.read_bytes()
    assert json.loads((tmp_path / "after" / "tokenizer.json").read_text())["truncation"] is None


def test_the_encoder_knows_the_hash_of_its_folder(encoder, tiny_encoder_folder):
    assert encoder.weights_hash == weights_hash(tiny_encoder_folder) and encoder.source == str(tiny_encoder_folder)


def test_saved_folders_give_the_same_vectors_in_sentence_transformers(tiny_encoder_folder, tmp_path):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    for pooling, normalize in (("mean", True), ("cls", False), ("last", True), ("max", False)):
        encoder = Encoder.from_pretrained(tiny_encoder_folder, pooling, normalize, PROMPTS)
        encoder.save(tmp_path / pooling)
        peer = sentence_transformers.SentenceTransformer(str(tmp_path / pooling), device="cpu")
        assert peer.max_seq_length == MAX_LENGTH
        assert close(encoder.encode(SENTENCES, kind="query"), peer.encode_query(SENTENCES))
        assert close(encoder.encode(SENTENCES, kind="passage"), peer.encode_document(SENTENCES))
        peer.save(str(tmp_path / f"{pooling} by the peer"))
        again = Encoder.from_pretrained(tmp_path / f"{pooling} by the peer")
        assert close(encoder.encode(SENTENCES, kind="query"), again.encode(SENTENCES, kind="query"))


def test_saved_folders_give_the_same_vectors_in_transformers_alone(tiny_encoder_folder, tmp_path):
    for pooling, normalize in (("mean", True), ("cls", False)):
        encoder = Encoder.from_pretrained(tiny_encoder_folder, pooling, normalize)
        encoder.save(tmp_path / pooling)
        expected = one_by_one(tmp_path / pooling, SENTENCES, pooling, normalize)
        assert close(encoder.encode(SENTENCES), expected, 1e-5 if normalize else 5e-5)


# What text-embeddings-inference 1.9 requires of each file before it serves a BERT: its structures, field by field.
SERVER_CONFIG = {
    **dict.fromkeys(
        ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"), int
    ),
    **dict.fromkeys(("max_position_embeddings", "type_vocab_size", "pad_token_id"), int),
    **dict.fromkeys(("hidden_dropout_prob", "initializer_range", "layer_norm_eps"), float),
    "hidden_act": str,
    "model_type": str,
    "architectures": list,
    "use_cache": bool,
}
SERVER_POOLING = dict.fromkeys(("pooling_mode_cls_token", "pooling_mode_mean_tokens", "pooling_mode_lasttoken"), bool)


def test_saved_folders_have_the_files_and_keys_that_text_embeddings_inference_reads(tiny_encoder_folder, tmp_path):
    encoder = Encoder.from_pretrained(tiny_encoder_folder, "mean", True, PROMPTS)
    encoder.set_max_length(query=12, passage=30)
    encoder.save(tmp_path)
    read = {path.relative_to(tmp_path).as_posix(): json.loads(path.read_text()) for path in tmp_path.rglob("*.json")}
    for name, kinds in (("config.json", SERVER_CONFIG), ("1_Pooling/config.json", SERVER_POOLING)):
        assert {key: type(read[name].get(key)) for key in kinds} == kinds
    assert not any(name.endswith("Classification") for name in read["config.json"]["architectures"])
    assert type(read["sentence_bert_config.json"]["max_seq_length"]) is int
    assert all(type(text) is str for text in read["config_sentence_transformers.json"]["prompts"].values())
    assert {module["type"] for module in read["modules.json"]} == {
        f"sentence_transformers.models.{kind}" for kind in ("Transformer", "Pooling", "Normalize")
    }
    with safe_open(tmp_path / "model.safetensors", "pt") as weights:
        assert {"embeddings.LayerNorm.weight", "encoder.layer.1.output.dense.bias"} <= set(weights.keys())
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))  # as the server reads it: it cuts for itself
    assert tokenizer.truncation is None and tokenizer.padding is None
    short = [text for text in SENTENCES if len(tokenizer.encode(text).ids) <= 30]
    assert [tokenizer.encode(text).ids for text in short] == encoder.token_ids(short, None)


# Training needs


def test_dropout_is_set_in_every_layer_and_not_in_the_saved_configuration(encoder, tmp_path):
    encoder.train()
    tokens = encoder.pad(encoder.token_ids(SENTENCES, None))
    assert not torch.equal(encoder(tokens)[0], encoder(tokens)[0])  # BERT's own 10 %
    encoder.set_dropout(0.0)
    assert torch.equal(encoder(tokens)[0], encoder(tokens)[0])
    encoder.save(tmp_path)
    assert Encoder.from_pretrained(tmp_path).backbone.config.hidden_dropout_prob == 0.1


def test_every_trained_weight_gets_a_gradient(encoder):
    encoder(encoder.pad(encoder.token_ids(SENTENCES, None)))[0].sum().backward()
    without = {name for name, weight in encoder.named_parameters() if weight.requires_grad and weight.grad is None}
    frozen = {name for name, weight in encoder.named_parameters() if not weight.requires_grad}
    assert without == set() and frozen == {"backbone.pooler.dense.weight", "backbone.pooler.dense.bias"}


def test_encoding_leaves_the_mode_as_it_was(encoder):
    for training in (True, False):
        encoder.train(training)
        encoder.encode(["mice"])
        assert encoder.training is training and encoder.backbone.encoder.training is training


def test_padding_to_a_multiple_changes_no_vector(encoder):
    ids = encoder.token_ids(SENTENCES[:5], None)
    tokens = encoder.pad(ids, multiple=16)
    assert list(tokens) == ["input_ids", "attention_mask"] and tokens["input_ids"].shape == (5, 32)
    assert tokens["attention_mask"].sum(1).tolist() == [len(row) for row in ids]
    with torch.inference_mode():
        assert close(encoder.eval()(tokens)[0], encoder.encode(SENTENCES[:5]))


# Encoding many


def test_batches_hold_every_row_once_within_the_budget_and_the_longest_first():
    for seed in range(200):
        rng = np.random.default_rng(seed)
        lengths = rng.integers(0, 60, int(rng.integers(0, 40))).tolist()
        budget = int(rng.integers(1, 200))
        batches = [batch.tolist() for batch in token_batches(lengths, budget)]
        assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
        for batch in batches:
            assert len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= budget
        in_turn = [lengths[row] for batch in batches for row in batch]
        assert in_turn == sorted(lengths, reverse=True)


def test_what_is_no_text_is_named_by_its_place(encoder):
    with pytest.raises(DataError, match="text 2 to encode is NoneType, expected str"):
        encoder.encode(["a", "b", None])
    with pytest.raises(DataError, match="expected a list of texts to encode, got one text: 'metformin'"):
        encoder.encode("metformin")


def test_a_vector_that_is_not_finite_is_named_by_its_text(encoder):
    word = encoder.tokenizer.convert_tokens_to_ids("thyroid" if "thyroid" in encoder.tokenizer.vocab else "storm")
    with torch.no_grad():
        encoder.backbone.embeddings.word_embeddings.weight[word] = float("nan")
    assert np.isfinite(encoder.encode(SENTENCES[:7])).all()
    with pytest.raises(ModelError, match="not finite for: 'We report a case of thyroid storm"):
        encoder.encode(SENTENCES)


def test_blocks_that_are_missing_are_encoded_and_end_the_same_bytes(encoder, tmp_path):
    texts = SENTENCES * 2
    whole, broken = (BlockFolder(tmp_path / name, len(texts), 5) for name in ("whole", "broken"))
    encode_to_blocks(encoder, texts, "passage", whole, batch_tokens=64, bf16=False)
    assert close(whole.take(np.arange(len(texts))), encoder.encode(texts, kind="passage"))
    for index in (1, 4):
        broken.write(index, np.asarray(whole.read(index)))
    stamps = [broken.path(index).stat().st_mtime_ns for index in (1, 4)]
    encode_to_blocks(encoder, texts, "passage", broken, batch_tokens=64, bf16=False)
    assert broken.missing() == [] and [broken.path(i).stat().st_mtime_ns for i in (1, 4)] == stamps
    for index in range(whole.count):
        assert broken.path(index).read_bytes() == whole.path(index).read_bytes()


def test_bfloat16_is_what_was_asked_and_else_what_the_hardware_has(monkeypatch, log):
    cpu = torch.device("cpu")
    for has in (True, False):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda has=has: {"avx512_bf16": has, "amx_bf16": False})
        assert choose_bf16(None, cpu) is has
        assert choose_bf16(True, cpu) is True and choose_bf16(False, cpu) is False
    (message,) = log.messages  # of the second turn: asked for, and slow
    assert "--bf16: this hardware is not known to multiply in bfloat16" in message and "leave it out" in message


def test_what_is_made_ahead_comes_in_order_and_one_item_ahead_only():
    made, used = [], []

    def make(item):
        made.append(item)
        return item * 10

    for value in ahead(make, iter(range(5))):
        used.append(value)
        time.sleep(0.01)
        assert len(made) <= len(used) + 1
    assert used == [0, 10, 20, 30, 40] and made == list(range(5))
    assert list(ahead(make, [])) == []


def test_an_error_while_making_ahead_reaches_the_caller():
    with pytest.raises(DataError, match="no such"):
        list(ahead(lambda item: (_ for _ in ()).throw(DataError("no such")), [1, 2]))


def test_what_another_model_left_of_its_tokenizer_does_not_change_the_one_that_is_saved(tiny_encoder_folder, tmp_path):
    encoder = Encoder.from_pretrained(tiny_encoder_folder)
    wanted = encoder.token_ids(SENTENCES, None)
    (tmp_path / "special_tokens_map.json").write_text('{"cls_token": "[MASK]"}')
    (tmp_path / "added_tokens.json").write_text('{"aspirin": 7}')
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n")
    encoder.save(tmp_path)
    assert not (tmp_path / "added_tokens.json").exists() and not (tmp_path / "vocab.txt").exists()
    assert Encoder.from_pretrained(tmp_path).token_ids(SENTENCES, None) == wanted


def test_a_tokenizer_that_keeps_the_end_of_a_text_is_given_all_of_it(tiny_encoder_folder):
    encoder = Encoder.from_pretrained(tiny_encoder_folder)
    encoder.set_max_length(5, 5)
    encoder.tokenizer.truncation_side = "left"
    text = "mice " * 1000 + "aspirin statins insulin"
    assert encoder.token_ids([text], "query") == encoder.token_ids(["aspirin statins insulin"], "query")


def test_a_model_without_positions_takes_any_length():
    backbone = torch.nn.Module()
    for said in (-1, None, 0):
        backbone.config = SimpleNamespace(max_position_embeddings=said)
        assert positions(backbone) == UNBOUNDED
