"""A model to the hub, over HTTP to a hub that this machine plays: what is sent, and what is said where it is not."""

import base64
import json
import shutil
import threading
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub
import pytest
from training_runs import small_run

from bioemb import cli
from bioemb.errors import BioembError, ConfigError
from bioemb.model_card import for_hub
from bioemb.stages import train

MODEL_FILES = {
    *("README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "modules.json"),
    *("sentence_bert_config.json", "config_sentence_transformers.json", "1_Pooling/config.json"),
}


class Hub(ThreadingHTTPServer):
    """Repositories with their files; `status` answers with an error in place of everything under a path."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.repositories: dict[str, dict] = {}  # {"private": bool, "files": {path: bytes}, "commits": int}
        self.status: dict[str, int] = {}
        self.asked: list[str] = []


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):  # noqa: N802
        self.answer(None)

    def do_POST(self):  # noqa: N802
        self.answer(self.rfile.read(int(self.headers["Content-Length"])))

    def answer(self, body):
        self.server.asked.append(f"{self.command} {self.path.partition('?')[0]}")
        for path, status in self.server.status.items():
            if self.path.startswith(path):
                return self.send(status, {"error": "no\nreally"})
        if self.headers.get("Authorization") != "Bearer good":
            return self.send(401, {"error": "Invalid username or password."})
        return self.send(200, self.found(self.path.partition("?")[0].removeprefix("/api/"), body))

    def found(self, path, body):
        known = self.server.repositories
        if path == "whoami-v2":
            return {"name": "me", "type": "user", "orgs": []}
        if path == "repos/create":
            wish = json.loads(body)
            name = f"{wish.get('organization') or 'me'}/{wish['name']}"
            private = wish["private"] if "private" in wish else wish["visibility"] == "private"
            known.setdefault(name, {"private": private, "files": {}, "commits": 0})
            return {"url": f"{huggingface_hub.constants.ENDPOINT}/{name}", "name": name}
        if path == "validate-yaml":
            return {"warnings": [], "errors": []}
        name = "/".join(path.split("/")[1:3])
        if "/preupload/" in path:
            asked = json.loads(body)["files"]
            return {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in asked]}
        if "/commit/" in path:
            known[name]["commits"] += 1
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    known[name]["files"][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            return {"commitUrl": f"{huggingface_hub.constants.ENDPOINT}/{name}/commit/c0", "commitOid": "c0"}
        return {"id": name, "private": known[name]["private"], "siblings": [], "tags": []}

    def send(self, status, record):
        body = json.dumps(record).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextmanager
def running(hub):
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield hub
    hub.shutdown()
    thread.join()
    hub.server_close()


@pytest.fixture
def hub(monkeypatch):
    with running(Hub()) as found:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{found.server_port}")
        monkeypatch.setenv("HF_TOKEN", "good")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield found


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_encoder_folder):
    """The output of a training run with checkpoints, a log and held-out scores."""
    config = replace(small_run(tmp_path_factory.mktemp("push"), tiny_encoder_folder), max_steps=4, eval_share=0.2)
    train.run(config)
    return Path(config.output_dir)


def said(capsys, *words):
    code = cli.main(["push", *map(str, words)])
    out, err = capsys.readouterr()
    return code, out, [line for line in err.splitlines() if line.startswith("bioemb")]


def test_the_models_own_files_go_into_a_private_repository_in_one_commit_and_nothing_else(hub, trained, capsys):
    assert (trained / "checkpoint-3").is_dir() and (trained / "metrics.jsonl").exists()
    code, out, _ = said(capsys, "--model_path", trained, "--repo_id", "me/minilm")
    repository = hub.repositories["me/minilm"]
    assert code == 0 and out.strip().endswith("/me/minilm")
    assert repository["private"] and repository["commits"] == 1
    assert {*repository["files"]} == MODEL_FILES
    for name, content in repository["files"].items():
        assert name == "README.md" or content == (trained / name).read_bytes()


def test_the_card_on_the_hub_loads_the_model_by_its_name_there(hub, trained, capsys):
    said(capsys, "--model_path", trained, "--repo_id", "me/minilm")
    card, own = hub.repositories["me/minilm"]["files"]["README.md"].decode(), (trained / "README.md").read_text()
    assert 'SentenceTransformer("me/minilm")' in card and 'AutoModel.from_pretrained("me/minilm")' in card
    assert "--model-id me/minilm --pooling" in card and '"out"' not in card
    assert for_hub(own, "out") == own and for_hub("# x\n", "a/b") == "# x\n"
    assert card.replace("me/minilm", "out") == own


def test_a_repository_of_the_user_is_found_without_naming_him_and_public_ones_are_asked_for(hub, trained, capsys):
    assert said(capsys, "--model_path", trained, "--repo_id", "open", "--private", "no")[0] == 0
    assert not hub.repositories["me/open"]["private"] and hub.repositories["me/open"]["commits"] == 1
    code, _, (line,) = said(capsys, "--model_path", trained, "--repo_id", "me/open")
    assert code == 2 and "me/open is public; make it private there first, or push with --private no" in line
    assert hub.repositories["me/open"]["commits"] == 1


@pytest.mark.parametrize(
    ("token", "status", "message"),
    [
        (None, {}, "no token for the hub here; run `hf auth login`, or set HF_TOKEN"),
        ("bad", {}, "the hub does not know this token"),
        ("good", {"/api/repos": 403, "/api/models": 403}, "this token may not write to me/minilm"),
        ("good", {"/api/models/me/minilm/commit": 500}, "the hub refuses me/minilm ("),
    ],
)
def test_what_the_hub_refuses_is_one_line(hub, trained, capsys, monkeypatch, tmp_path, token, status, message):
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    monkeypatch.delenv("HF_TOKEN") if token is None else monkeypatch.setenv("HF_TOKEN", token)
    hub.status = status
    code, out, lines = said(capsys, "--model_path", trained, "--repo_id", "me/minilm")
    assert (code, out, len(lines)) == (2, "", 1) and message in lines[0]
    assert not hub.repositories.get("me/minilm", {}).get("files")


def test_no_hub_no_model_and_no_name_are_one_line_each(hub, trained, capsys, monkeypatch, tmp_path):
    for words, message in (
        (("--model_path", trained, "--repo_id", "a/b/c"), "'a/b/c' is no name of the hub's; expected `you/model`"),
        (("--model_path", tmp_path / "gone", "--repo_id", "me/x"), "there is no model folder"),
        (("--model_path", tmp_path, "--repo_id", "me/x"), "has no config.json"),
    ):
        code, _, (line,) = said(capsys, *words)
        assert code == 2 and message in line
    assert hub.repositories == {}
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:1")
    code, _, (line,) = said(capsys, "--model_path", trained, "--repo_id", "me/x")
    assert code == 2 and "the hub cannot be reached" in line


def test_a_module_outside_the_folder_is_not_pushed(hub, trained, tmp_path, capsys):
    (tmp_path / "model").mkdir()
    for path in trained.glob("*.*"):
        if path.is_file():
            (tmp_path / "model" / path.name).write_bytes(path.read_bytes())
    modules = json.loads((trained / "modules.json").read_text())
    modules[1]["path"] = "../secret"
    (tmp_path / "model" / "modules.json").write_text(json.dumps(modules))
    code, _, (line,) = said(capsys, "--model_path", tmp_path / "model", "--repo_id", "me/x")
    assert code == 2 and "the module ../secret does not lie inside" in line and hub.repositories == {}


def test_training_pushes_what_it_saved(hub, tmp_path, tiny_encoder_folder):
    config = replace(small_run(tmp_path, tiny_encoder_folder), max_steps=1, push_to_hub="me/new")
    summary = train.run(config)
    assert "pushed to http" in summary and summary.endswith("/me/new") and hub.asked[0] == "GET /api/whoami-v2"
    files = hub.repositories["me/new"]["files"]
    assert files["model.safetensors"] == (tmp_path / "out" / "model.safetensors").read_bytes()
    assert hub.repositories["me/new"]["private"] and "me/new" not in (tmp_path / "out" / "README.md").read_text()


def test_a_wrong_token_ends_training_before_it_begins_and_a_failed_push_leaves_the_model(
    hub, tmp_path, tiny_encoder_folder, monkeypatch
):
    config = replace(small_run(tmp_path, tiny_encoder_folder), max_steps=1, push_to_hub="me/new")
    monkeypatch.setenv("HF_TOKEN", "bad")
    with pytest.raises(ConfigError, match="does not know this token"):
        train.run(config)
    assert not (tmp_path / "out").exists()
    monkeypatch.setenv("HF_TOKEN", "good")
    hub.status = {"/api/models/me/new/commit": 500}
    with pytest.raises(BioembError, match=r"trained and saved in .*, but not pushed: .* \(`bioemb push --model_path"):
        train.run(config)
    assert (tmp_path / "out" / "model.safetensors").exists() and train.run(config).endswith("nothing to do")


def test_an_exported_graph_goes_along(hub, trained, tmp_path, capsys):
    folder = shutil.copytree(trained, tmp_path / "exported")
    (folder / "onnx").mkdir()
    for name in ("model.onnx", "model_quantized.onnx", "notes.txt"):
        (folder / "onnx" / name).write_text(name)
    said(capsys, "--model_path", folder, "--repo_id", "me/exported")
    files = hub.repositories["me/exported"]["files"]
    assert {*files} == MODEL_FILES | {"onnx/model.onnx", "onnx/model_quantized.onnx"}
