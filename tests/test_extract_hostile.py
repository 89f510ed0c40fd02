"""Broken and hostile files through the command: a counted drop or one clear line, and the pairs of the whole files."""

import gzip
import json
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from pubmed_files import citation, pairs_of, write_pubmed

from bioemb.cli import main
from bioemb.config import ExtractConfig
from bioemb.data import pmc
from bioemb.errors import DataError
from bioemb.manifest import manifest_path, read_manifest
from bioemb.records import PAIR_KINDS
from bioemb.stages import extract

HEAD = "<PubmedArticleSet>"
LAUGHS = "".join(f'<!ENTITY l{n + 1} "{f"&l{n};" * 10}">' for n in range(9))
HOSTILE = {
    "entities.xml": f'<!DOCTYPE PubmedArticleSet [<!ENTITY l0 "ha">{LAUGHS}]>{HEAD}'
    + citation(2, "two").replace("A trial", "&l9;")
    + "</PubmedArticleSet>",
    "outside.xml": f'<!DOCTYPE PubmedArticleSet [<!ENTITY o SYSTEM "file:///etc/hostname">]>{HEAD}'
    + citation(3, "three").replace("A trial", "&o;")
    + "</PubmedArticleSet>",
    "long.xml": HEAD + citation(4, "four").replace("A trial", "A" * (11 << 20)) + "</PubmedArticleSet>",
    "deep.xml": HEAD + citation(5, "five").replace("A trial", "<i>" * 5000 + "</i>" * 5000) + "</PubmedArticleSet>",
    "endless.xml": f"{HEAD}<PubmedArticle>" + "<a/>" * (1 << 19),
    "bomb.xml.gz": f"{HEAD}<PubmedArticle>" + " " * (9 << 20),
    "web.xml": "<!DOCTYPE html><html><body>404</body></html>",
    "nothing.xml": "",
    "bytes.xml": "\x00\x01\x02\x03",
}


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(text.encode(), 1) if path.suffix == ".gz" else text.encode())
    return path


@pytest.fixture
def config(tmp_path) -> ExtractConfig:
    write_pubmed(tmp_path / "raw" / "whole.xml", citation(1, "one"))
    return ExtractConfig(input_path=(str(tmp_path / "raw"),), output_file=str(tmp_path / "pairs.jsonl"))


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_one_line_for_the_user_or_a_counted_break(config, name, capsys, monkeypatch):
    monkeypatch.setattr(pmc, "RECORD_BYTES", 1 << 20)
    write(Path(config.input_path[0]) / name, HOSTILE[name])
    words = ["extract", "--input_path", *config.input_path, "--output_file", config.output_file]
    code = main(words)
    if code == 0:  # the parser left an entity alone: the record stands without it
        assert name in ("entities.xml", "outside.xml")
        queries = {pair["article_id"]: pair["query"] for pair in pairs_of(config.output_file)}
        assert len(queries) == 2 and max(map(len, queries.values())) < 40
        return
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert code == 2 and said.startswith("bioemb extract: ") and name in said, said
    assert main([*words, "--skip_broken_files", "--overwrite"]) == 0
    counts = read_manifest(config.output_file)["counts"]["files"]
    assert counts["kept"] == 1 and sum(counts["dropped"].values()) == 1
    assert {pair["article_id"] for pair in pairs_of(config.output_file)} == {"pmid:1"}


def check_laws(config: ExtractConfig, files: int) -> int:
    """Everything counted, every line whole; the number of broken files."""
    counts, pairs = read_manifest(config.output_file)["counts"], pairs_of(config.output_file)
    assert counts["files"]["read"] == files
    for kind in PAIR_KINDS:
        funnel = counts[kind]
        dropped_records = sum(counts["records"]["dropped"].values())
        nameless = dropped_records - sum(count for why, count in counts["records"]["dropped"].items() if "later" in why)
        assert funnel["read"] == funnel["kept"] + sum(funnel["dropped"].values())
        assert funnel["read"] == counts["records"]["read"] - nameless
        assert funnel["pairs"] == sum(pair["kind"] == kind for pair in pairs)
    return sum(counts["files"]["dropped"].values())


@pytest.mark.parametrize("packed", [False, True])
def test_cut_and_flipped_files_leave_every_record_counted(config, packed):
    """What the parser lets pass is a record, else the file counts as broken, or the stage stops."""
    raw, draw = Path(config.input_path[0]), Random(5)
    name = "n.xml.gz" if packed else "n.xml"
    sound = write_pubmed(raw / name, *(citation(pmid, f"word{pmid}") for pmid in range(10, 16))).read_bytes()
    skipping, broken = replace(config, skip_broken_files=True, overwrite=True), 0
    for _ in range(40):
        damaged = bytearray(sound[: draw.randint(1, len(sound))] if draw.random() < 0.3 else sound)
        for _ in range(draw.randint(1, 3)):
            damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
        (raw / name).write_bytes(damaged)
        extract.run(skipping)
        is_broken = check_laws(config, files=2)
        broken += is_broken
        manifest_path(config.output_file).unlink()
        Path(config.output_file).unlink()
        if is_broken:
            with pytest.raises(DataError, match=name):
                extract.run(config)
            manifest_path(config.output_file).unlink()
    assert broken >= 12


def test_a_record_of_strange_characters_is_written_as_whole_lines(config):
    strange = (
        "line\u2028separator \u0085 next tab&#9;and &#10; newline &quot;quotes&quot; \\ back \U0001d4d0 &#xFFFD; " * 3
    )
    write_pubmed(Path(config.input_path[0]) / "n.xml", citation(7, "seven", abstract=strange + citation_words()))
    extract.run(config)
    lines = Path(config.output_file).read_bytes().split(b"\n")
    pairs = [json.loads(line) for line in lines if line]
    assert [pair["article_id"] for pair in pairs] == ["pmid:7", "pmid:1"]
    assert '"quotes" \\ back \U0001d4d0' in pairs[0]["document"]


def citation_words() -> str:
    return " ".join(f"more{number}" for number in range(40))
