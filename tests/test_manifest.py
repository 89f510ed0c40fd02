"""What a stage has to do, by what its manifest says; the words for what differs; and the funnel that it keeps."""

import json

import pytest

from bioemb import __version__, manifest
from bioemb.errors import ConfigError, DataError
from bioemb.log import Funnel
from bioemb.manifest import begin, describe, differences, finish, manifest_path, read_manifest, work_folder, work_key
from bioemb.records import Pair, same_text_key, stable_hash

SETTINGS = {"threshold": 0.75, "kinds": ["a", "b"], "limit": None}


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text('{"a": 1}\n')
    return path


def description(source, stage="filter", model="0a", **settings):
    return describe(stage, {**SETTINGS, **settings}, [source], {"model_path": model})


def complete(output, description):
    """A stage that runs to its end."""
    assert begin(output, description, overwrite=False)
    output.write_text("result")
    finish(output, description, {"pairs": {"read": 3, "kept": 2, "dropped": {"short": 1}}})


def test_a_complete_output_of_the_same_leaves_nothing_to_do(tmp_path, source):
    output = tmp_path / "out.jsonl"
    complete(output, description(source))
    before = manifest_path(output).read_bytes()
    assert begin(output, description(source), overwrite=False) is False
    assert begin(output, description(source), overwrite=True) is False
    assert manifest_path(output).read_bytes() == before


def test_the_manifest_says_what_was_made_of_what(tmp_path, source):
    output = tmp_path / "out.jsonl"
    complete(output, description(source))
    found = json.loads((tmp_path / "out.jsonl.manifest.json").read_text())
    (input_hash,) = found["inputs"].values()
    assert list(found["inputs"]) == ["0 in.jsonl"] and len(input_hash) == 32
    del found["inputs"]
    assert found == {
        "bioemb": __version__, "stage": "filter", "settings": SETTINGS, "models": {"model_path": "0a"},
        "counts": {"pairs": {"read": 3, "kept": 2, "dropped": {"short": 1}}}, "complete": True,
    }  # fmt: skip


def test_an_interrupted_output_goes_on(tmp_path, source):
    output = tmp_path / "out.jsonl"
    assert begin(output, description(source), overwrite=False)
    assert read_manifest(output)["complete"] is False
    assert begin(output, description(source), overwrite=False)
    output.write_text("half an output that was renamed, and then the power went")
    assert begin(output, description(source), overwrite=False)


def test_a_complete_manifest_whose_output_is_gone_is_work_again(tmp_path, source):
    output = tmp_path / "out.jsonl"
    complete(output, description(source))
    output.unlink()
    assert begin(output, description(source), overwrite=False)
    assert read_manifest(output)["complete"] is False


def test_a_complete_manifest_whose_folder_was_emptied_is_work_again(tmp_path, source):
    output = tmp_path / "model"
    output.mkdir()
    finish(output, description(source), {})
    for overwrite in (False, True):
        assert begin(output, description(source), overwrite)


@pytest.mark.parametrize("is_complete", [True, False])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"threshold": 0.5}, "threshold was 0.75, is 0.5"),
        ({"kinds": ["a"]}, "kinds was ['a', 'b'], is ['a']"),
        ({"limit": 3}, "limit was None, is 3"),
        ({"new_setting": 1}, "new_setting was None, is 1"),
        ({"model": "0b"}, "model_path was '0a', is '0b'"),
        ({"stage": "mine"}, "stage was 'filter', is 'mine'"),
    ],
)
def test_an_output_made_otherwise_is_an_error_that_names_what_differs(tmp_path, source, change, said, is_complete):
    output = tmp_path / "out.jsonl"
    if is_complete:
        complete(output, description(source))
    else:
        begin(output, description(source), overwrite=False)
        output.write_text("as far as it came")
    before = manifest_path(output).read_bytes()
    with pytest.raises(ConfigError) as caught:
        begin(output, description(source, **change), overwrite=False)
    assert str(caught.value) == f"{output} was made otherwise: {said}; use --overwrite to replace it"
    assert manifest_path(output).read_bytes() == before
    assert begin(output, description(source, **change), overwrite=True) is True
    assert differences(read_manifest(output), description(source, **change)) == []


def test_a_changed_input_is_named_and_a_moved_one_is_the_same(tmp_path, source):
    output = tmp_path / "out.jsonl"
    complete(output, description(source))
    moved = tmp_path / "elsewhere" / "in.jsonl"
    moved.parent.mkdir()
    source.rename(moved)
    assert begin(output, description(moved), overwrite=False) is False
    moved.write_text('{"a": 2}\n')
    with pytest.raises(ConfigError, match="0 in.jsonl was '.{32}', is '.{32}'"):
        begin(output, description(moved), overwrite=False)


def test_many_inputs_have_one_hash_of_all_and_a_difference_is_still_said(tmp_path, monkeypatch):
    monkeypatch.setattr(manifest, "LISTED_INPUTS", 3)
    paths = [tmp_path / f"{name}.xml" for name in "abcde"]
    for path in paths:
        path.write_text(path.name)
    assert list(describe("extract", {}, paths[:3])["inputs"]) == ["0 a.xml", "1 b.xml", "2 c.xml"]
    many, output = describe("extract", {}, paths), tmp_path / "out.jsonl"
    assert many["inputs"]["all inputs"].startswith("5 files, combined hash ") and len(many["inputs"]) == 1
    assert describe("extract", {}, paths) == many
    complete(output, many)
    assert begin(output, many, overwrite=False) is False
    paths[1].write_text("changed")
    for others in (paths, paths[:4], [*paths[1:], paths[0]]):
        with pytest.raises(ConfigError, match="all inputs was '5 files, combined hash .*', is '[45] files, combined "):
            begin(output, describe("extract", {}, others), overwrite=False)


def test_of_many_differences_the_first_are_said(tmp_path):
    output, settings = tmp_path / "out.jsonl", {f"setting{number:02}": 1 for number in range(30)}
    complete(output, describe("filter", settings, []))
    with pytest.raises(ConfigError) as caught:
        begin(output, describe("filter", dict.fromkeys(settings, 2), []), overwrite=False)
    assert "setting07 was 1, is 2; and 22 more; use --overwrite" in str(caught.value)


def test_what_was_not_made_here_is_not_replaced_unasked(tmp_path, source):
    output, folder = tmp_path / "out.jsonl", tmp_path / "model"
    output.write_text("precious")
    folder.mkdir()
    (folder / "config.json").touch()
    for path in (output, folder):
        with pytest.raises(ConfigError, match="exists and was not made by this command; use --overwrite"):
            begin(path, description(source), overwrite=False)
        assert read_manifest(path) is None
    assert output.read_text() == "precious"
    assert begin(output, description(source), overwrite=True)


def test_an_empty_folder_made_beforehand_is_no_output(tmp_path, source):
    (tmp_path / "model").mkdir()
    assert begin(tmp_path / "model", description(source), overwrite=False)


@pytest.mark.parametrize("content", [b"", b'{"stage": ', b"[]", b"{}", b"\xff"])
def test_a_damaged_manifest_is_named(tmp_path, source, content):
    output = tmp_path / "out.jsonl"
    manifest_path(output).write_bytes(content)
    with pytest.raises(DataError, match="delete it to start over") as caught:
        begin(output, description(source), overwrite=False)
    assert str(caught.value).startswith(str(manifest_path(output)))


def test_the_key_of_a_work_folder_is_of_the_content_and_not_of_its_order(source):
    one = description(source)
    other = {name: one[name] for name in reversed(one)}
    assert work_key(one) == work_key(other) and len(work_key(one)) == 12
    assert len({work_key(description(source, limit=limit)) for limit in (None, 0, 1, "1", False)}) == 5
    assert str(work_folder("a/out.jsonl")) == "a/out.jsonl.work"


# The funnel, and the words of records.py


def test_what_is_read_is_what_is_kept_and_dropped():
    funnel, other = Funnel("filter: pairs"), Funnel("more")
    funnel.keep(1200)
    funnel.drop("too short", 30)
    funnel.drop("no abstract", 270)
    funnel.drop("never", 0)
    other.keep()
    other.drop("too short")
    funnel.add(json.loads(json.dumps(other.as_dict())))
    assert funnel.as_dict() == {"read": 1502, "kept": 1201, "dropped": {"no abstract": 270, "too short": 31}}
    assert funnel.table().splitlines() == [
        "filter: pairs",
        "  read                          1,502",
        "    dropped: no abstract          270",
        "    dropped: too short             31",
        "  kept                          1,201  (80.0%)",
    ]


def test_an_empty_funnel_divides_by_nothing():
    assert Funnel("x").table().splitlines()[-1].split() == ["kept", "0"]


def test_extras_of_a_pair_cannot_hide_a_field():
    pair = Pair("q", "d", "title_abstract", "pmid:1", 7, {"year": 1999, "query": "other", "identity": 0})
    assert pair.as_record() == {
        "query": "q", "document": "d", "kind": "title_abstract", "article_id": "pmid:1", "identity": 7, "year": 1999,
    }  # fmt: skip
    assert list(pair.as_record())[:2] == ["query", "document"]


def test_a_texts_hash_is_the_same_everywhere_and_fits_its_bits():
    assert stable_hash("BRCA1") == 0x59E765A2D049D8CB >> 1  # `printf BRCA1 | b2sum -l 64`
    hashes = {stable_hash(f"text {i}", bits) for i in range(500) for bits in (63,)}
    assert len(hashes) == 500 and all(0 <= value < 1 << 63 for value in hashes)
    assert all(stable_hash(f"text {i}", 63) >> 43 == stable_hash(f"text {i}", 20) for i in range(50))


def test_texts_that_read_the_same_share_a_key():
    same = ["Aspirin lowers risk.", " aspirin  LOWERS\trisk", "ASPIRIN lowers\nrisk . "]
    assert len({same_text_key(text) for text in same}) == 1
    assert same_text_key("aspirin lowers risk?") != same_text_key(same[0])


def test_a_run_that_left_no_output_does_not_stand_in_the_way_of_another(tmp_path, source):
    output = tmp_path / "out.jsonl"
    assert begin(output, description(source), overwrite=False)
    assert begin(output, description(source, threshold=0.5), overwrite=False)
    assert read_manifest(output)["settings"]["threshold"] == 0.5
