"""Where a file came from, followed through the manifests beside it as far as they are what they say."""

from bioemb.lineage import trace
from bioemb.manifest import describe, finish, manifest_path


def make(folder, name, stage, inputs=(), counts=None):
    """A file with a manifest, as a stage leaves them."""
    path = folder / name
    path.write_text(f"{name} {stage}")
    finish(path, describe(stage, {}, [folder / one for one in inputs]), counts or {})
    return path


def chain(folder):
    for name in ("pubmed26n0001.xml", "PMC1.xml"):
        (folder / name).write_text(name)
    make(folder, "pairs.jsonl", "extract", ["pubmed26n0001.xml", "PMC1.xml"], {"records": {"read": 9}})
    make(folder, "kept.jsonl", "filter", ["pairs.jsonl"])
    return make(folder, "mined.jsonl", "mine", ["kept.jsonl"])


def test_a_file_is_followed_back_to_the_raw_files_each_stage_once(tmp_path):
    mined = chain(tmp_path)
    other = make(tmp_path, "other.jsonl", "mine", ["kept.jsonl"])
    found = trace([mined, other, mined])
    assert [(origin.name, origin.stage) for origin in found] == [
        ("pairs.jsonl", "extract"),
        ("kept.jsonl", "filter"),
        ("mined.jsonl", "mine"),
        ("other.jsonl", "mine"),
    ]
    assert found[0].inputs == ("pubmed26n0001.xml", "PMC1.xml") and found[0].counts == {"records": {"read": 9}}


def test_an_input_that_has_changed_or_gone_is_not_followed(tmp_path):
    mined = chain(tmp_path)
    kept = tmp_path / "kept.jsonl"
    kept.write_text(kept.read_text() + "more")
    assert [origin.stage for origin in trace([mined])] == ["mine"]
    kept.unlink()
    assert [origin.stage for origin in trace([mined])] == ["mine"]
    assert trace([tmp_path / "PMC1.xml"]) == []


def test_a_manifest_that_is_damaged_or_of_an_unfinished_run_says_nothing(tmp_path, log):
    mined = chain(tmp_path)
    path = manifest_path(tmp_path / "kept.jsonl")
    path.write_text(path.read_text().replace('"complete": true', '"complete": false'))
    assert [origin.stage for origin in trace([mined])] == ["mine"] and not log.messages
    path.write_text("{")
    assert [origin.stage for origin in trace([mined])] == ["mine"]
    assert "kept.jsonl.manifest.json: the manifest is damaged" in log.messages[0]
