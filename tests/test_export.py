"""The ONNX graph against PyTorch for any batch, what int8 costs against a naive count, and what is refused."""

import json
import os
import shutil
import sys

import numpy as np
import pytest
import torch
from tiny_encoder import MAX_LENGTH, SENTENCES, WIDTH, write_tiny_encoder
from transformers import AutoTokenizer, RobertaConfig, RobertaModel

from bioemb import cli, onnx_graph
from bioemb.config import ExportConfig
from bioemb.encoder import Encoder
from bioemb.errors import ConfigError, ModelError
from bioemb.model_folder import Layout
from bioemb.onnx_graph import OnnxEncoder, require_exportable, write_graph, write_int8
from bioemb.stages import export

pytest.importorskip("onnxruntime", reason="install bioemb[onnx] to export")
pytest.importorskip("onnxscript", reason="install bioemb[onnx] to export")
PROMPTS = {"query": "a case of: ", "passage": ""}
STS = [  # the score falls with the row: any other order would show
    {"sentence1": left, "sentence2": right, "score": float(number)}
    for number, (left, right) in enumerate(zip(SENTENCES, SENTENCES[3:] + SENTENCES[:3], strict=True))
]


@pytest.fixture(scope="module")
def model_folder(tiny_encoder_folder, tmp_path_factory):
    """A folder as training saves it."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    Encoder.from_pretrained(tiny_encoder_folder, pooling="mean", prompts=PROMPTS).save(folder)
    return folder


@pytest.fixture(scope="module")
def exported(model_folder, tmp_path_factory):
    """What the command wrote, with int8 beside and a task scored."""
    folder = tmp_path_factory.mktemp("exported")
    (folder / "data").mkdir()
    (folder / "data" / "near.jsonl").write_text("".join(json.dumps(row) + "\n" for row in STS))
    words = {"--model_path": model_folder, "--output_dir": folder / "model", "--quantize": "int8", "--task": "near"}
    words["--local_data"] = folder / "data"
    assert cli.main(["export", *(str(word) for pair in words.items() for word in pair)]) == 0
    return folder / "model"


@pytest.fixture
def graph(exported):
    return exported / "onnx" / "model.onnx"


def random_batches(encoder, seed):
    """Ragged batches of token ids of one text to nine, whose lengths go from one token to all that the model takes."""
    rng = np.random.default_rng(seed)
    for _ in range(8):
        lengths = rng.integers(1, MAX_LENGTH + 1, int(rng.integers(1, 10)))
        yield [rng.integers(5, encoder.backbone.config.vocab_size, length).tolist() for length in lengths]


def vectors_of(encoder, token_ids):
    """PyTorch's, each text alone."""
    with torch.no_grad():
        return np.concatenate([encoder(encoder.pad([ids]))[0].numpy() for ids in token_ids])


def close(left, right, tolerance=1e-5):
    np.testing.assert_allclose(left, right, rtol=0, atol=tolerance)
    return True


# The graph


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("pooling", ["cls", "mean", "max"])
def test_the_graph_gives_pytorchs_vectors_for_ragged_batches_of_any_size(exported, graph, pooling, normalize):
    encoder = Encoder.from_pretrained(exported, pooling, normalize).eval()
    onnx = OnnxEncoder(encoder, graph)
    for token_ids in random_batches(encoder, seed=3):
        assert close(onnx.embed(token_ids), vectors_of(encoder, token_ids), 1e-5 if normalize else 5e-5)


def test_texts_prompts_and_order_are_the_encoders(exported, graph):
    encoder = Encoder.from_pretrained(exported)
    assert encoder.layout.prompts == PROMPTS
    onnx = OnnxEncoder(encoder, graph)
    for kind in ("query", "passage", None):
        assert close(onnx.encode(SENTENCES, kind=kind), encoder.encode(SENTENCES, kind=kind))
    assert onnx.encode([]).shape == (0, WIDTH)


def test_its_inputs_and_outputs_have_the_names_and_axes_that_servers_use(graph):
    import onnxruntime

    session = onnxruntime.InferenceSession(graph)
    assert [(each.name, each.shape, each.type) for each in session.get_inputs()] == [
        ("input_ids", ["texts", "tokens"], "tensor(int64)"),
        ("attention_mask", ["texts", "tokens"], "tensor(int64)"),
    ]
    assert [(each.name, each.shape) for each in session.get_outputs()] == [
        ("last_hidden_state", ["texts", "tokens", WIDTH])
    ]


def test_the_folder_serves_those_who_know_nothing_of_bioemb(exported, graph, model_folder):
    import onnxruntime

    tokens = AutoTokenizer.from_pretrained(exported)(SENTENCES, padding=True, truncation=True, return_tensors="np")
    feed = {name: tokens[name].astype(np.int64) for name in ("input_ids", "attention_mask")}
    (hidden,) = onnxruntime.InferenceSession(graph).run(["last_hidden_state"], feed)
    mask = tokens["attention_mask"][:, :, None]
    mean = (hidden * mask).sum(1) / mask.sum(1)
    vectors = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    assert close(vectors, Encoder.from_pretrained(model_folder).encode(SENTENCES))
    peer = pytest.importorskip("sentence_transformers").SentenceTransformer(str(exported), device="cpu")
    assert close(vectors, peer.encode(SENTENCES))


def test_positions_that_begin_above_the_paddings_agree_too_and_the_encoder_is_left_as_it_was(model_folder, tmp_path):
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48}
    torch.manual_seed(1)
    config = RobertaConfig(vocab_size=350, max_position_embeddings=44, initializer_range=0.3, **sizes)
    backbone = RobertaModel(config, add_pooling_layer=False)
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(config.pad_token_id)
    layout = Layout(model_folder, "mean", True, MAX_LENGTH, False, PROMPTS)
    encoder = Encoder(backbone, tokenizer, layout).train()
    before = encoder.encode(SENTENCES)
    write_graph(encoder, tmp_path / "model.onnx")
    assert encoder.training and encoder.packs and backbone.config._attn_implementation == "bioemb_packed"
    assert np.array_equal(encoder.encode(SENTENCES), before)
    assert close(OnnxEncoder(encoder, tmp_path / "model.onnx").encode(SENTENCES), before)


def test_weights_beyond_one_files_size_stand_beside_and_are_found(exported, graph, tmp_path, monkeypatch):
    import onnx_ir

    monkeypatch.setattr(onnx_graph, "MAX_FILE_BYTES", 1)
    onnx_graph.save_graph(onnx_ir.load(graph), tmp_path / "model.onnx")
    write_int8(tmp_path / "model.onnx", tmp_path / "model_int8.onnx")
    assert {"model.onnx", "model.onnx_data", "model_int8.onnx"} <= set(os.listdir(tmp_path))
    encoder = Encoder.from_pretrained(exported)
    for name in ("model.onnx", "model_int8.onnx"):
        expected = OnnxEncoder(encoder, graph.with_name(name)).encode(SENTENCES)
        assert np.array_equal(OnnxEncoder(encoder, tmp_path / name).encode(SENTENCES), expected)


# int8


def test_int8_weights_are_a_quarter_and_no_sum_of_two_products_overflows_16_bits(graph):
    import onnx_ir

    weights = onnx_ir.load(graph.with_name("model_int8.onnx")).graph.initializers.values()
    matrices = [weight.const_value.numpy() for weight in weights if weight.const_value.dtype == onnx_ir.DataType.INT8]
    matrices = [matrix for matrix in matrices if matrix.ndim == 2]
    assert len(matrices) >= 2 * 6  # each layer's four of attention and two after it
    assert 2 * 255 * max(np.abs(matrix.astype(int)).max() for matrix in matrices) < 2**15


def test_what_int8_costs_is_in_the_manifest_as_counted_by_hand(exported, graph):
    from scipy.stats import spearmanr

    counts = json.loads((exported.parent / "model.manifest.json").read_text())["counts"]
    encoder = Encoder.from_pretrained(exported)
    int8 = OnnxEncoder(encoder, graph.with_name("model_int8.onnx"))
    _, texts = export.read_texts(ExportConfig(model_path="", output_dir=""))
    pairs = zip(int8.encode(texts).astype(float), encoder.encode(texts).astype(float), strict=True)
    cosines = sorted(a @ b / (a @ a) ** 0.5 / (b @ b) ** 0.5 for a, b in pairs)
    assert counts["texts"] == len(texts) == 130
    assert counts["int8"]["least_cosine"] == pytest.approx(cosines[0], abs=1e-6)
    assert counts["int8"]["median_cosine"] == pytest.approx((cosines[64] + cosines[65]) / 2, abs=1e-6)
    assert 0.9 < cosines[0] < 0.9999 and counts["largest_difference"] < 1e-5
    (task,) = counts["int8"]["scores"]["tasks"]
    for model, row in zip((encoder, int8), task["models"], strict=True):
        left, right = (model.encode([pair[f"sentence{side}"] for pair in STS]) for side in (1, 2))
        expected = spearmanr((left * right).sum(1), [pair["score"] for pair in STS]).statistic
        assert row["score"] == pytest.approx(expected, abs=1e-4)


# What is refused, and what is left then


def complaint(capsys, *words):
    """The one line that the command ends with."""
    capsys.readouterr()
    assert cli.main(["export", *map(str, words)]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("bioemb export: ")]
    return line


def test_a_graph_of_other_weights_is_refused(tmp_path, graph):
    encoder = Encoder.from_pretrained(write_tiny_encoder(tmp_path, seed=1), pooling="mean")
    with pytest.raises(ModelError, match=r"other vectors than PyTorch: they differ by up to \d.*the bound is 1e-04"):
        export.check(encoder, graph, SENTENCES, 1e-4)


def test_a_graph_above_the_bound_is_not_kept(capsys, model_folder, graph, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "write_graph", lambda encoder, path: shutil.copy(graph, path))
    words = ["--model_path", model_folder, "--output_dir", tmp_path / "out"]
    assert "differ by up to" in complaint(capsys, *words, "--max_difference", "1e-12")
    assert os.listdir(tmp_path / "out") == []
    assert cli.main(["export", *map(str, words)]) == 0  # and does not stand in the way of another run
    assert sorted(os.listdir(tmp_path / "out" / "onnx")) == ["model.onnx"] and not list(tmp_path.rglob(".*"))
    assert cli.main(["export", *map(str, words)]) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert "quantize was 'none', is 'int8'; use --overwrite" in complaint(capsys, *words, "--quantize", "int8")


def test_decoders_and_their_pooling_are_refused(model_folder):
    encoder = Encoder.from_pretrained(model_folder, pooling="last")
    with pytest.raises(ModelError, match="pools by last; exported are cls, mean, max"):
        require_exportable(encoder)
    encoder.backbone.encoder.layer[0].is_causal = True
    with pytest.raises(ModelError, match=r"is a decoder \(bert\); only encoders are exported"):
        require_exportable(encoder)


def test_a_backbone_that_cannot_be_written_is_one_line_and_left_as_it_was(model_folder, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise torch.onnx.OnnxExporterError("a page\nof advice") from TypeError("no such operator\nand a graph")

    monkeypatch.setattr(torch.onnx, "export", fail)
    encoder = Encoder.from_pretrained(model_folder)
    with pytest.raises(ModelError, match=r"\(bert\) cannot be exported: torch's exporter says 'no such operator'$"):
        write_graph(encoder, tmp_path / "model.onnx")
    assert os.listdir(tmp_path) == [] and encoder.backbone.config._attn_implementation == "bioemb_packed"


def test_without_onnxruntime_the_extra_is_named(model_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(
        ConfigError, match=r"the export needs onnxruntime; install it with: pip install 'bioemb\[onnx\]'"
    ):
        require_exportable(Encoder.from_pretrained(model_folder))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--quantize", "int4"], "--quantize: expected one of none, int8, got 'int4'"),
        (["--format", "openvino"], "--format: expected one of onnx, got 'openvino'"),
        (["--max_difference", "0"], "max_difference is 0.0; expected a number between 0 and 1"),
        (["--task", "BIOSSES"], "nothing is quantized; say --quantize int8"),
        (["--quantize", "int8", "--local_data", "."], "--local_data is given without --task"),
        (["--input_file", "none.jsonl"], "none.jsonl: no such file or folder"),
        (["--quantize", "int8", "--task", "none", "--local_data", "nowhere"], "nowhere: no such folder (local data)"),
    ],
)
def test_a_setting_that_cannot_work_is_one_line(capsys, model_folder, tmp_path, words, said):
    assert said in complaint(capsys, "--model_path", model_folder, "--output_dir", tmp_path / "out", *words)
    assert not (tmp_path / "out").exists()


def test_files_without_texts_are_named(capsys, model_folder, tmp_path):
    (tmp_path / "empty.jsonl").touch()
    words = ["--model_path", model_folder, "--output_dir", tmp_path / "out", "--input_file", tmp_path / "empty.jsonl"]
    assert "empty.jsonl: there are no texts to compare" in complaint(capsys, *words)


def test_a_model_is_never_exported_over_itself(capsys, model_folder):
    words = ["--model_path", model_folder, "--output_dir", f"{model_folder}/../{model_folder.name}", "--overwrite"]
    assert "is the model's own folder; name another" in complaint(capsys, *words)
