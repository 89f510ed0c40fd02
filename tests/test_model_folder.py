"""What a model folder says of itself, old and new; what is wrong with it, in one line; and when its hash changes."""

import json
import shutil

import pytest
import torch

from bioemb.encoder import Encoder
from bioemb.errors import ModelError
from bioemb.model_folder import Layout, find_folder, read_layout, weights_hash, write_layout

OLD = "sentence_transformers.models."
NEW = ("sentence_transformers.base.modules.transformer.", "sentence_transformers.sentence_transformer.modules.pooling.",
       "sentence_transformers.base.modules.normalize.")  # fmt: skip
OLD_POOLING = {
    "word_embedding_dimension": 32, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": False,
    "pooling_mode_max_tokens": False, "pooling_mode_mean_sqrt_len_tokens": False,
    "pooling_mode_weightedmean_tokens": False, "pooling_mode_lasttoken": False, "include_prompt": True,
}  # fmt: skip


@pytest.fixture
def folder(tiny_encoder_folder, tmp_path):
    """A plain transformers folder that may be changed."""
    return shutil.copytree(tiny_encoder_folder, tmp_path / "model")


def put(path, value):
    path.parent.mkdir(exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")


def put_modules(folder, *kinds, prefixes=(OLD, OLD, OLD)):
    paths = {"Transformer": "", "Pooling": "1_Pooling", "Normalize": "2_Normalize"}
    put(
        folder / "modules.json",
        [
            {"idx": i, "name": str(i), "path": paths.get(kind, f"{i}_{kind}"), "type": prefixes[min(i, 2)] + kind}
            for i, kind in enumerate(kinds)
        ],
    )


def complaint(folder):
    with pytest.raises(ModelError) as caught:
        Encoder.from_pretrained(folder)
    message = str(caught.value)
    assert "\n" not in message and str(folder) in message and len(message) < 500
    return message


# Reading


def test_a_plain_transformers_folder_says_nothing(folder):
    assert read_layout(folder) == Layout(folder, None, None, None, False, {})


@pytest.mark.parametrize(
    ("flag", "pooling"),
    [
        ("pooling_mode_cls_token", "cls"),
        ("pooling_mode_mean_tokens", "mean"),
        ("pooling_mode_max_tokens", "max"),
        ("pooling_mode_lasttoken", "last"),
    ],
)
def test_the_older_layout_is_read(folder, flag, pooling):
    put_modules(folder, "Transformer", "Pooling", "Normalize")
    put(folder / "1_Pooling" / "config.json", {**OLD_POOLING, flag: True})
    put(folder / "sentence_bert_config.json", {"max_seq_length": 17, "do_lower_case": True})
    put(folder / "config_sentence_transformers.json", {"prompts": {"query": "q: ", "document": "d: "}})
    assert read_layout(folder) == Layout(folder, pooling, True, 17, True, {"query": "q: ", "passage": "d: "})


@pytest.mark.parametrize(("mode", "pooling"), [("cls", "cls"), ("mean", "mean"), ("max", "max"), ("lasttoken", "last")])
def test_the_newer_layout_is_read(folder, mode, pooling):
    put_modules(folder, "Transformer", "Pooling", prefixes=NEW)
    put(folder / "1_Pooling" / "config.json", {"embedding_dimension": 32, "pooling_mode": mode, "include_prompt": True})
    put(folder / "sentence_bert_config.json", {"transformer_task": "feature-extraction"})
    put(folder / "config_sentence_transformers.json", {"prompts": {"query": None, "passage": "p: ", "other": "x"}})
    assert read_layout(folder) == Layout(folder, pooling, True, None, False, {"query": "", "passage": "p: "})


def test_the_oldest_layout_keeps_the_backbone_in_a_folder_of_its_own(folder):
    inner = shutil.copytree(folder, folder.parent / "old" / "0_Transformer")
    outer = inner.parent
    put(
        outer / "modules.json",
        [
            {"idx": 0, "name": "0", "path": "0_Transformer", "type": OLD + "Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": OLD + "Pooling"},
        ],
    )
    put(outer / "1_Pooling" / "config.json", {**OLD_POOLING, "pooling_mode_cls_token": True})
    put(inner / "sentence_roberta_config.json", {"max_seq_length": 9})
    assert read_layout(outer) == Layout(inner, "cls", True, 9, False, {"query": "", "passage": ""})
    assert Encoder.from_pretrained(outer).max_length["query"] == 9
    before = weights_hash(outer)
    (inner / "model.safetensors").write_bytes(b"other weights")
    assert weights_hash(outer) != before


@pytest.mark.parametrize(
    ("said", "normalize"),
    [({}, True), ({"similarity_fn_name": "cosine"}, True), ({"similarity_fn_name": "dot"}, False)],
)
def test_vectors_have_length_1_but_where_the_folder_compares_them_by_their_products(folder, said, normalize):
    put_modules(folder, "Transformer", "Pooling")
    put(folder / "1_Pooling" / "config.json", {**OLD_POOLING, "pooling_mode_mean_tokens": True})
    put(folder / "config_sentence_transformers.json", said)
    assert read_layout(folder).normalize is normalize


def test_of_two_prompts_for_passages_the_one_counts_that_sentence_transformers_takes(folder):
    put_modules(folder, "Transformer", "Pooling")
    put(folder / "1_Pooling" / "config.json", {**OLD_POOLING, "pooling_mode_mean_tokens": True})
    put(folder / "config_sentence_transformers.json", {"prompts": {"passage": "p: ", "document": "d: "}})
    assert read_layout(folder).prompts["passage"] == "d: "


@pytest.mark.parametrize("name", ["added_tokens.json", "special_tokens_map.json", "model.safetensors.index.json"])
def test_every_file_that_decides_vectors_is_in_the_hash(folder, name):
    before = weights_hash(folder)
    put(folder / name, {})
    assert weights_hash(folder) != before


@pytest.mark.parametrize("pooling", ["cls", "mean", "max", "last"])
def test_what_is_written_is_read_again(folder, pooling):
    for normalize in (False, True):
        layout = Layout(folder, pooling, normalize, 23, normalize, {"query": "a ", "passage": "b "})
        write_layout(folder, layout, 32)
        assert read_layout(folder) == layout


def test_the_written_layout_is_the_one_that_all_servers_read(folder):
    write_layout(folder, Layout(folder, "mean", True, 40, False, {"query": "q: ", "passage": ""}), 32)
    written = {
        path.relative_to(folder).as_posix(): json.loads(path.read_text())
        for path in folder.rglob("*.json")
        if path.name not in ("config.json", "tokenizer.json", "tokenizer_config.json") or path.parent != folder
    }
    assert written == {
        "modules.json": [
            {"idx": 0, "name": "0", "path": "", "type": OLD + "Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": OLD + "Pooling"},
            {"idx": 2, "name": "2", "path": "2_Normalize", "type": OLD + "Normalize"},
        ],
        "1_Pooling/config.json": {**OLD_POOLING, "pooling_mode_mean_tokens": True},
        "sentence_bert_config.json": {"max_seq_length": 40, "do_lower_case": False},
        "config_sentence_transformers.json": {
            "__version__": {"sentence_transformers": "3.0.0"}, "model_type": "SentenceTransformer",
            "prompts": {"query": "q: ", "document": ""}, "default_prompt_name": None, "similarity_fn_name": "cosine",
        },
    }  # fmt: skip
    assert (folder / "2_Normalize").is_dir()


# What cannot be loaded


def test_a_path_that_is_no_folder_is_named(tmp_path):
    (tmp_path / "model.safetensors").touch()
    for name, said in (
        (tmp_path / "none", "there is no model folder"),
        ("./none", "there is no model folder ./none"),
        ("a/b/c", "there is no model folder a/b/c"),
        (tmp_path / "model.safetensors", "is a file; a model is a folder"),
    ):
        with pytest.raises(ModelError, match=said):
            find_folder(name)


def test_an_empty_folder_is_no_model(tmp_path):
    assert "no config.json" in complaint(tmp_path)


def test_a_folder_without_a_tokenizer_says_which_files_it_may_be(folder):
    (folder / "tokenizer.json").unlink()
    assert "no tokenizer (none of tokenizer.json, vocab.txt" in complaint(folder)


def test_a_folder_without_weights_and_one_with_pickled_weights_are_refused(folder):
    (folder / "model.safetensors").unlink()
    assert "no .safetensors weights" in complaint(folder)
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    assert "never loaded because they can run code" in complaint(folder)


@pytest.mark.parametrize("kinds", [["Transformer", "Pooling", "Dense"], ["Pooling"], ["StaticEmbedding"], []])
def test_modules_other_than_those_known_are_named(folder, kinds):
    put_modules(folder, *kinds)
    put(folder / "1_Pooling" / "config.json", {**OLD_POOLING, "pooling_mode_mean_tokens": True})
    assert f"modules.json names {sorted(kinds)}; known are Transformer, Pooling, Normalize" in complaint(folder)


@pytest.mark.parametrize(
    "config",
    [
        OLD_POOLING,
        {**OLD_POOLING, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True},
        {**OLD_POOLING, "pooling_mode_mean_sqrt_len_tokens": True},
        {"pooling_mode": "weightedmean"},
        {"pooling_mode": None},
        {},
    ],
)
def test_pooling_that_is_not_known_is_never_guessed(folder, config):
    put_modules(folder, "Transformer", "Pooling")
    put(folder / "1_Pooling" / "config.json", config)
    assert "expected one way of pooling" in complaint(folder)


def test_pooling_that_leaves_the_prompt_out_is_refused_where_there_is_one(folder):
    put_modules(folder, "Transformer", "Pooling")
    put(folder / "1_Pooling" / "config.json", {"pooling_mode": "mean", "include_prompt": False})
    assert Encoder.from_pretrained(folder).layout.pooling == "mean"
    put(folder / "config_sentence_transformers.json", {"prompts": {"query": "q: "}})
    assert "include_prompt is false" in complaint(folder)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("modules.json", "["),
        ("modules.json", "{}"),
        ("modules.json", "[1]"),
        ("modules.json", '[{"type": "a.Transformer"}]'),
        ("1_Pooling/config.json", "{"),
        ("1_Pooling/config.json", "[]"),
        ("sentence_bert_config.json", "nonsense"),
        ("config_sentence_transformers.json", "[1]"),
        ("config.json", "{"),
        ("config.json", "{}"),
        ("config.json", '{"model_type": "no-such-model"}'),
        ("config.json", '{"model_type": "t5"}'),
        ("tokenizer.json", '{"version"'),
        ("model.safetensors", "not weights"),
    ],
)
def test_a_damaged_file_is_one_line(folder, name, content):
    write_layout(folder, Layout(folder, "mean", True, 40, False, {}), 32)
    put(folder / name, content)
    complaint(folder)


def test_weights_that_are_cut_off_are_one_line(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    assert "cannot be loaded" in complaint(folder)


def edited_weights(folder, edit):
    from safetensors.torch import load_file, save_file

    weights = {name: value.clone() for name, value in load_file(folder / "model.safetensors").items()}
    save_file(edit(weights), folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("edit", "missing"),
    [
        (lambda weights: {f"model.{name}": value for name, value in weights.items()}, 37),
        (lambda weights: {name: value for name, value in weights.items() if "layer.1" not in name}, 16),
        (lambda weights: {**weights, "encoder.layer.0.output.dense.bias": weights["pooler.dense.bias"][:7].clone()}, 1),
    ],
    ids=["other names", "a layer less", "another shape"],
)
def test_a_model_never_starts_with_random_weights_unasked(folder, edit, missing):
    edited_weights(folder, edit)
    assert f"{missing} of the weights that config.json asks for are not there" in complaint(folder)


def test_a_pooler_may_be_absent_and_is_the_same_every_time(folder, tmp_path):
    edited_weights(folder, lambda weights: {name: v for name, v in weights.items() if "pooler" not in name})
    for name in ("a", "b"):
        Encoder.from_pretrained(folder).save(tmp_path / name)
        torch.rand(3)  # another state of the random numbers
    assert weights_hash(tmp_path / "a") == weights_hash(tmp_path / "b")


# The hash


def test_the_hash_changes_with_whatever_changes_vectors_and_with_nothing_else(folder):
    write_layout(folder, Layout(folder, "mean", True, 40, False, {}), 32)
    hashes = [weights_hash(folder)]
    for name in ("README.md", "checkpoint-500/config.json", "checkpoint-500/model.safetensors", "eval/config.json"):
        put(folder / name, "{}")
    assert weights_hash(folder) == hashes[0]
    for name in (
        "model.safetensors",
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "modules.json",
        "1_Pooling/config.json",
        "sentence_bert_config.json",
        "config_sentence_transformers.json",
    ):
        path = folder / name
        path.write_bytes(path.read_bytes() + b" ")
        hashes.append(weights_hash(folder))
    put(folder / "model-00002-of-00002.safetensors", "more weights")
    hashes.append(weights_hash(folder))
    assert len(set(hashes)) == len(hashes) == 10


def test_the_hash_is_of_the_content_and_not_of_the_place(folder, tmp_path):
    assert weights_hash(shutil.copytree(folder, tmp_path / "other name")) == weights_hash(folder)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("1_Pooling/config.json", {"pooling_mode": ["cls", "mean"]}, "expected one way of pooling"),
        ("1_Pooling/config.json", {"pooling_mode": {"cls": True}}, "expected one way of pooling"),
        ("config_sentence_transformers.json", {"prompts": ["q: "]}, "expected a text under each name"),
        (
            "config_sentence_transformers.json",
            {"prompts": {"query": 3}},
            "expected a text under each name of 'prompts'",
        ),
        ("sentence_bert_config.json", {"max_seq_length": "512"}, "max_seq_length is '512'; expected a whole number"),
        ("sentence_bert_config.json", {"max_seq_length": 12.0}, "max_seq_length is 12.0; expected a whole number"),
        ("sentence_bert_config.json", {"max_seq_length": -1}, "max_seq_length is -1; expected a whole number"),
    ],
)
def test_settings_of_another_shape_are_refused(folder, name, value, said):
    put_modules(folder, "Transformer", "Pooling")
    put(folder / "1_Pooling" / "config.json", {**OLD_POOLING, "pooling_mode_mean_tokens": True})
    put(folder / name, value)
    assert said in complaint(folder)
