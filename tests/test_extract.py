"""The extraction of files: everything counted, the latest record taken, the same bytes however it was run."""

import gzip
import json
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from bioemb.config import ExtractConfig
from bioemb.errors import ConfigError, DataError
from bioemb.manifest import read_manifest
from bioemb.records import PAIR_KINDS
from bioemb.stages import extract

WORDS = "heart liver kidney brain lung blood bone skin nerve muscle cell gene protein drug dose trial".split()


def abstract_of(word: str) -> str:
    """Forty words, of which no three in a row stand in the abstract of another word."""
    draw = Random(word)
    return " ".join(draw.choice(WORDS) if number % 2 else f"{word}{number}" for number in range(40)) + "."


def citation(pmid: int, word: str, version: int = 1, *, title: str = "", abstract: str = "", links: str = "") -> str:
    title, abstract = title or f"A trial of {word}.", abstract or abstract_of(word)
    return (
        f'<PubmedArticle><MedlineCitation><PMID Version="{version}">{pmid}</PMID><Article><Journal><JournalIssue>'
        f"<PubDate><Year>2020</Year></PubDate></JournalIssue></Journal><ArticleTitle>{title}</ArticleTitle>"
        f"<Abstract><AbstractText>{abstract}</AbstractText></Abstract><Language>eng</Language>"
        f"</Article>{links}</MedlineCitation></PubmedArticle>"
    )


def write_pubmed(path: Path, *parts: str) -> Path:
    text = f"<PubmedArticleSet>{''.join(parts)}</PubmedArticleSet>"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def write_pmc(path: Path, pmid: int, word: str) -> Path:
    body = "".join(f"<p>{abstract_of(f'{word}p{n}')} {abstract_of(f'{word}q{n}')}</p>" for n in range(6))
    path.write_text(
        f'<article><front><article-meta><article-id pub-id-type="pmid">{pmid}</article-id><title-group><article-title>'
        f"A trial of {word}</article-title></title-group><abstract><p>{abstract_of(word)}</p></abstract>"
        f"</article-meta></front><body><sec><title>Results</title>{body}</sec></body></article>",
        encoding="utf-8",
    )
    return path


def pairs_of(path: str | Path) -> list[dict]:
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def config(tmp_path) -> ExtractConfig:
    raw = tmp_path / "raw"
    write_pubmed(raw / "n2.xml.gz", citation(1, "first"), citation(2, "old"), citation(3, "gone"), citation(5, "v"))
    write_pubmed(
        raw / "n10.xml",
        citation(2, "new"),
        "<DeleteCitation><PMID>3</PMID><PMID>7</PMID></DeleteCitation>",
        citation(4, "last"),
        citation(5, "latest", 2),
        citation(5, "older", 1),
    )
    write_pmc(raw / "PMC1.xml", 1, "first")
    write_pmc(raw / "PMC8.nxml", 8, "alone")
    return ExtractConfig(input_path=(str(raw),), output_file=str(tmp_path / "pairs.jsonl"))


def test_the_latest_record_counts_and_deletions_delete(config):
    extract.run(config)
    titles = {
        (pair["article_id"], pair["query"]) for pair in pairs_of(config.output_file) if pair["kind"] == PAIR_KINDS[0]
    }
    assert titles == {
        ("pmid:1", "A trial of first."),
        ("pmid:2", "A trial of new."),
        ("pmid:4", "A trial of last."),
        ("pmid:5", "A trial of latest."),
        ("pmid:8", "A trial of alone"),
    }


def test_every_record_is_a_pair_or_a_drop_for_each_kind(config):
    extract.run(config)
    counts, pairs = read_manifest(config.output_file)["counts"], pairs_of(config.output_file)
    assert counts["records"]["read"] == 10 and counts["records"]["deletions"] == 2
    assert counts["records"]["dropped"] == {"deleted by a later record": 1, "replaced by a later record": 3}
    for kind in PAIR_KINDS:
        funnel = counts[kind]
        assert funnel["read"] == 10 == funnel["kept"] + sum(funnel["dropped"].values())
        assert funnel["pairs"] == sum(pair["kind"] == kind for pair in pairs)
    assert counts["title_abstract"]["dropped"]["PubMed's record has it"] == 1
    assert counts["title_passage"]["kept"] == 2


def test_an_article_has_one_identity_in_pubmed_and_pmc(config):
    extract.run(config)
    by_article: dict[str, set] = {}
    for pair in pairs_of(config.output_file):
        by_article.setdefault(pair["article_id"], set()).add(pair["identity"])
    assert all(len(identities) == 1 for identities in by_article.values())
    assert len(set.union(*by_article.values())) == len(by_article) == 5


def test_the_output_is_the_same_for_any_number_of_processes_and_after_an_interruption(config, monkeypatch):
    extract.run(config)
    expected = Path(config.output_file).read_bytes()
    parallel = replace(config, output_file=config.output_file + ".2.jsonl", num_proc=2)
    extract.run(parallel)
    assert Path(parallel.output_file).read_bytes() == expected
    interrupted = replace(config, output_file=config.output_file + ".3.jsonl")
    made = []

    def stop_at_the_third(paths, *rest):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.extend(paths)
        make_part(paths, *rest)

    make_part = extract.make_part
    monkeypatch.setattr(extract, "make_part", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        extract.run(interrupted)
    assert not Path(interrupted.output_file).exists()
    monkeypatch.setattr(extract, "make_part", lambda paths, *rest: (made.extend(paths), make_part(paths, *rest)))
    extract.run(interrupted)
    assert len(made) == len(set(made)) == 4  # no file was read twice
    assert Path(interrupted.output_file).read_bytes() == expected
    assert extract.run(interrupted).endswith("nothing to do")


def test_a_broken_file_stops_the_stage_or_is_counted(config):
    raw = Path(config.input_path[0])
    whole = gzip.compress(f"<PubmedArticleSet>{citation(20, 'kept')}{citation(21, 'cut')}</PubmedArticleSet>".encode())
    (raw / "n11.xml.gz").write_bytes(whole[:-20])
    with pytest.raises(DataError, match="n11.xml.gz"):
        extract.run(config)
    extract.run(replace(config, skip_broken_files=True, overwrite=True))
    counts = read_manifest(config.output_file)["counts"]
    assert sum(counts["files"]["dropped"].values()) == 1 and counts["files"]["kept"] == 4


def test_numbers_in_names_count_as_numbers():
    names = ["u/pubmed26n1335.xml", "b/pubmed26n0999.xml", "b/pubmed26n1000.xml", "b/n10.xml", "b/n9.xml"]
    ordered = sorted(map(Path, names), key=extract.natural_order)
    assert [path.name for path in ordered] == [
        "n9.xml",
        "n10.xml",
        "pubmed26n0999.xml",
        "pubmed26n1000.xml",
        "pubmed26n1335.xml",
    ]


def test_other_settings_are_refused_and_folders_without_xml_named(config, tmp_path):
    extract.run(config)
    with pytest.raises(ConfigError, match="min_title_words was 3, is 2"):
        extract.run(replace(config, min_title_words=2))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: no file here ends in \.xml"):
        extract.run(replace(config, input_path=(str(tmp_path / "empty"),)))
    with pytest.raises(ConfigError, match="keep_types"):
        extract.run(replace(config, keep_types=("Poem",)))
