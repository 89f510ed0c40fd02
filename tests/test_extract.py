"""The extraction of files: everything counted, the latest record taken, the same bytes however it was run."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest
from pubmed_files import abstract_of, citation, die, pairs_of, write_pmc, write_pubmed

from bioemb.config import ExtractConfig
from bioemb.data.pmc_metadata import PmcMetadata, metadata_path, with_metadata
from bioemb.errors import BioembError, ConfigError, DataError
from bioemb.manifest import read_manifest
from bioemb.records import PAIR_KINDS, Article
from bioemb.stages import extract


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


def test_the_manifest_has_the_records_of_each_source_and_the_newest_revision_of_pubmeds(config):
    revised = "<DateRevised><Year>{}</Year><Month>{}</Month><Day>{}</Day></DateRevised>"
    days = (("2024", "02", "09"), ("2023", "12", "31"), ("2031", "02", "30"), ("", "01", "01"))  # the last two are none
    parts = [citation(20 + n, f"w{n}", links=revised.format(*day)) for n, day in enumerate(days)]
    write_pubmed(Path(config.input_path[0]) / "n7.xml", *parts)
    extract.run(config)
    sources = read_manifest(config.output_file)["counts"]["sources"]
    assert sources == {"pubmed": {"records": 8, "revised": "2024-02-09"}, "pmc": {"records": 2}}


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


def test_a_worker_that_is_killed_is_a_clear_error_and_the_work_goes_on(config, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(extract, "make_part", die)
        with pytest.raises(BioembError, match="killed while it read a file.*smaller --num_proc"):
            extract.run(replace(config, num_proc=2))
    extract.run(config)
    assert len(pairs_of(config.output_file)) > 5


def test_an_error_of_a_worker_is_the_same_as_without_workers(config):
    (Path(config.input_path[0]) / "n7.xml").write_text("<html>")
    for processes in (1, 2):
        with pytest.raises(DataError, match="n7.xml, line 1: this is a web page"):
            extract.run(replace(config, num_proc=processes))


def test_numbers_in_names_count_as_numbers():
    names = ["a/pubmed26n1335.xml", "b/pubmed26n0999.xml", "b/pubmed26n1000.xml", "b/n10.xml", "b/n9.xml"]
    ordered = sorted(map(Path, names), key=extract.natural_order)
    assert [path.name for path in ordered] == [
        "n9.xml",
        "n10.xml",
        "pubmed26n0999.xml",
        "pubmed26n1000.xml",
        "pubmed26n1335.xml",
    ]


def test_updates_come_after_the_baseline_whatever_their_folders_are_called(tmp_path):
    old, new = tmp_path / "old" / "pubmed26n0001.xml", tmp_path / "new" / "pubmed26n1300.xml"
    write_pubmed(old, citation(1, "early"), citation(2, "withdrawn"))
    write_pubmed(new, citation(1, "late"), "<DeleteCitation><PMID>2</PMID></DeleteCitation>")
    for folders in ((old, new), (new, old)):
        output = tmp_path / f"{folders[0].parent.name}-first.jsonl"
        extract.run(ExtractConfig(tuple(str(path.parent) for path in folders), str(output)))
        assert [pair["query"] for pair in pairs_of(output)] == ["A trial of late."]


def test_what_one_record_says_is_retracted_is_left_out_of_the_other_too(tmp_path):
    mark = "<PublicationTypeList><PublicationType>Retracted Publication</PublicationType></PublicationTypeList>"
    marked = citation(2, "two").replace("</Article>", f"{mark}</Article>")
    write_pubmed(tmp_path / "raw" / "n1.xml", citation(1, "one"), marked, citation(3, "three"))
    for number, word in enumerate(("one", "two", "three"), start=1):
        write_pmc(tmp_path / "raw" / f"PMC{number}.xml", number, word)
    (tmp_path / "raw" / "PMC3.json").write_text('{"pmcid": "PMC3", "license_code": "CC0", "is_retracted": true}')
    config = ExtractConfig((str(tmp_path / "raw"),), str(tmp_path / "pairs.jsonl"))
    extract.run(config)
    assert {pair["article_id"] for pair in pairs_of(config.output_file)} == {"pmid:1"}
    counts = read_manifest(config.output_file)["counts"]
    assert counts["records"] == {
        "read": 6, "kept": 4, "dropped": {"retracted by its other record": 2}, "deletions": 0
    }  # fmt: skip
    reasons = {"PubMed's record has it": 1, "retracted": 1, "retracted by its other record": 2}
    assert counts["title_abstract"]["dropped"] == {**reasons, "type: Retracted Publication": 1}
    kept = replace(config, keep_types=("Retracted Publication",), output_file=str(tmp_path / "kept.jsonl"))
    extract.run(kept)
    assert {pair["article_id"] for pair in pairs_of(kept.output_file)} == {"pmid:1", "pmid:2", "pmid:3"}


def test_other_settings_are_refused_and_folders_without_xml_named(config, tmp_path):
    extract.run(config)
    with pytest.raises(ConfigError, match="min_title_words was 3, is 2"):
        extract.run(replace(config, min_title_words=2))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: no file here ends in \.xml"):
        extract.run(replace(config, input_path=(str(tmp_path / "empty"),)))
    with pytest.raises(ConfigError, match="keep_types"):
        extract.run(replace(config, keep_types=("Poem",)))


def identities_of(config: ExtractConfig) -> dict[str, int]:
    """article_id -> identity; each article has one."""
    extract.run(config)
    found = {(pair["article_id"], pair["identity"]) for pair in pairs_of(config.output_file)}
    assert len(found) == len({name for name, _ in found})
    return dict(found)


def link(kind: str, pmid: int) -> str:
    return (
        f'<CommentsCorrectionsList><CommentsCorrections RefType="{kind}"><PMID>{pmid}</PMID></CommentsCorrections>'
        "</CommentsCorrectionsList>"
    )


@pytest.fixture
def related(tmp_path) -> ExtractConfig:
    """Articles 10 and on: what belongs together stands in different files."""
    words = abstract_of("near").split()
    almost = " ".join([*words[:20], "other", *words[21:]])
    write_pubmed(
        tmp_path / "raw" / "a.xml",
        citation(10, "ten", links=link("RepublishedIn", 20)),
        citation(11, "eleven", abstract=abstract_of("same")),
        citation(12, "twelve", abstract=" ".join(words)),
        citation(13, "thirteen", title="A very long trial of thirteen drugs."),
        citation(14, "fourteen", links=link("CommentIn", 99)),
        citation(15, "fifteen"),
        citation(16, "sixteen", links=link("UpdateIn", 15)),
    )
    write_pubmed(
        tmp_path / "raw" / "b.xml",
        citation(20, "twenty"),
        citation(21, "more", abstract=abstract_of("same").upper()),
        citation(22, "less", abstract=almost),
        citation(23, "thirty", title="Reply to: A very long trial of thirteen drugs"),
        citation(24, "forty", links=link("CommentIn", 99)),
        citation(16, "sixteen"),
    )
    return ExtractConfig(
        input_path=(str(tmp_path / "raw"),), output_file=str(tmp_path / "pairs.jsonl"), keep_notices=True
    )


TOGETHER = [{10, 20}, {11, 21}, {12, 22}, {13, 23}, {14}, {15}, {16}, {24}]  # one comment speaks of 14 and of 24


def groups_of(identities: dict[str, int]) -> list[set[int]]:
    groups: dict[int, set[int]] = {}
    for name, identity in identities.items():
        groups.setdefault(identity, set()).add(int(name.removeprefix("pmid:")))
    return sorted(groups.values(), key=min)


def test_linked_equal_and_almost_equal_articles_have_one_identity_across_files(related):
    assert groups_of(identities_of(related)) == TOGETHER  # 16 lost its link to 15 with its later record
    counts = read_manifest(related.output_file)["counts"]["identity"]
    assert {name: counts[name] for name in ("articles", "identities", "sharing", "groups", "largest")} == {
        "articles": 12,
        "identities": 8,
        "sharing": 8,
        "groups": 4,
        "largest": 2,
    }
    assert counts["ties"] == {"links": 1, "title": 1, "abstract": 1, "doi": 0, "pmcid": 0, "near-duplicates": 2}


def test_near_duplicates_are_a_choice_and_a_threshold(related):
    without = identities_of(replace(related, near_duplicates=False))
    assert groups_of(without) == sorted([group for group in TOGETHER if 12 not in group] + [{12}, {22}], key=min)
    assert "near-duplicates" not in read_manifest(related.output_file)["counts"]["identity"]["ties"]
    stricter = identities_of(replace(related, near_duplicate_threshold=0.99, overwrite=True))
    assert stricter == without
    with pytest.raises(ConfigError, match="near_duplicate_threshold is 0.0"):
        replace(related, near_duplicate_threshold=0.0)


def test_identities_do_not_depend_on_the_files_and_their_order(related, tmp_path):
    expected = identities_of(related)
    raw = Path(related.input_path[0])
    (raw / "b.xml").rename(raw / "0.xml")
    late = citation(16, "sixteen")  # so that again the record without the link is the last of 16
    write_pubmed(raw / "c.xml", late)
    assert identities_of(replace(related, output_file=str(tmp_path / "other.jsonl"), num_proc=2)) == expected


def test_another_threshold_reads_no_file_again(related, monkeypatch):
    extract.run(related)
    monkeypatch.setattr(extract, "make_part", None)
    extract.run(replace(related, near_duplicate_threshold=0.9, overwrite=True))


def write_licensed(path: Path, pmid: int, word: str, deed: str) -> None:
    write_pmc(path, pmid, word)
    license = f'<permissions><license xmlns:xlink="http://www.w3.org/1999/xlink" xlink:href="{deed}"/></permissions>'
    path.write_text(path.read_text().replace("<abstract>", f"{license}<abstract>"))


def test_licences_are_counted_and_only_those_asked_for_give_full_text(tmp_path):
    for number, deed in enumerate(["by/4.0", "by-nc/4.0", "by/3.0"], start=1):
        deed = f"https://creativecommons.org/licenses/{deed}/"
        write_licensed(tmp_path / "raw" / f"PMC{number}.xml", number, f"word{number}", deed)
    write_pmc(tmp_path / "raw" / "PMC9.xml", 9, "unlicensed")
    everything = ExtractConfig(input_path=(str(tmp_path / "raw"),), output_file=str(tmp_path / "pairs.jsonl"))
    said = extract.run(everything)
    licenses = read_manifest(everything.output_file)["counts"]["licenses"]
    assert licenses == {
        "unknown": {"texts": 1, "pairs": 6},
        "CC BY": {"texts": 2, "pairs": 12},
        "CC BY-NC": {"texts": 1, "pairs": 6},
    }
    assert "license CC BY: 2 full texts, 12 pairs with them" in said
    free = replace(everything, output_file=str(tmp_path / "free.jsonl"), license=("cc-by", "CC0"))
    extract.run(free)
    pairs = pairs_of(free.output_file)
    assert {pair["license"] for pair in pairs if pair["kind"] != "title_abstract"} == {"CC BY"}
    assert sum(pair["kind"] == "title_abstract" for pair in pairs) == 4
    counts = read_manifest(free.output_file)["counts"]
    assert counts["title_passage"]["dropped"] == {"license: CC BY-NC": 1, "license: unknown": 1}
    assert counts["licenses"]["CC BY-NC"] == {"texts": 1, "pairs": 0}
    with pytest.raises(ConfigError, match="license 'CC-BYE' is none of CC0, .*did you mean 'cc by'"):
        extract.run(replace(free, license=("CC-BYE",)))


def test_metadata_beside_a_full_text_say_its_licence_and_that_it_is_retracted(tmp_path):
    raw, by = tmp_path / "raw", "https://creativecommons.org/licenses/by/4.0/"
    said = {1: ("CC BY-NC", False), 2: ("TDM", False), 3: (None, False), 4: ("CC BY", True), 5: ("CC0", "True")}
    for number, (code, is_retracted) in said.items():
        write_licensed(raw / f"PMC{number}.1.xml", number, f"word{number}", by)
        record = {"pmcid": f"PMC{number}", "license_code": code, "is_retracted": is_retracted}
        (raw / f"PMC{number}.1.json").write_text(json.dumps(record))
    write_licensed(raw / "PMC6.1.xml", 6, "word6", by)
    (raw / "notes.json").write_text("nothing of ours")
    config = ExtractConfig(input_path=(str(raw),), output_file=str(tmp_path / "pairs.jsonl"))
    extract.run(config)
    counts = read_manifest(config.output_file)["counts"]
    texts = {name: (of["texts"], of["pairs"]) for name, of in counts["licenses"].items()}
    assert texts == {"CC BY-NC": (1, 6), "TDM": (1, 6), "CC BY": (3, 12), "CC0": (1, 0)}
    assert counts["title_passage"]["dropped"] == {"retracted": 2}
    (raw / "PMC6.1.json").write_text('{"pmcid": "PMC6", "license_code": "CC0"}')
    with pytest.raises(ConfigError, match="11 PMC6.1.json was None"):
        extract.run(config)
    (raw / "PMC6.1.json").write_text("[]")
    with pytest.raises(DataError, match="PMC6.1.json: expected PMC's metadata of the full text beside it"):
        extract.run(replace(config, overwrite=True))


def test_metadata_speak_of_the_article_that_has_their_pmcid(tmp_path):
    article, record = Article("pmid:1", pmcid="PMC7", license="CC BY"), PmcMetadata("PMC7", "CC0", True)
    assert with_metadata(article, record) == replace(article, license="CC0", flags=frozenset({"retracted"}))
    assert with_metadata(replace(article, pmcid=""), record).license == "CC0"
    assert with_metadata(article, PmcMetadata("PMC8", "CC0", True)) == article
    for name in ("PMC7.1", "PMC7", "other"):
        (tmp_path / f"{name}.json").touch()
    found = [metadata_path(tmp_path / name) for name in ("PMC7.1.xml", "PMC7.1.nxml.gz", "PMC7.xml", "PMC9.xml")]
    assert [path and path.name for path in found] == ["PMC7.1.json", "PMC7.1.json", "PMC7.json", None]
    assert metadata_path(tmp_path / "other.xml") is None


def test_passages_have_the_length_asked_for(config):
    extract.run(replace(config, min_passage_words=20, max_passage_words=45))
    lengths = [
        len(pair["document"].split()) for pair in pairs_of(config.output_file) if pair["kind"] == "title_passage"
    ]
    assert lengths and min(lengths) >= 20 and max(lengths) <= 45
    with pytest.raises(ConfigError, match="the longest must be at least twice the shortest"):
        extract.run(replace(config, min_passage_words=50, max_passage_words=60, overwrite=True))


def test_small_files_share_a_part_and_large_ones_have_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(extract, "PARTS", 3)
    files = []
    for number, size in enumerate([100, 900, 10, 20, 30, 2000, 5, 5]):
        files.append(tmp_path / f"{number}.xml")
        files[-1].write_bytes(b" " * size)
    sizes = [[path.stat().st_size for path in paths] for paths in extract.bundle(files)]  # a third of all is 1023
    assert sizes == [[100, 900, 10], [20, 30], [2000], [5, 5]]
    monkeypatch.setattr(extract, "PART_BYTES", 60)
    sizes = [[path.stat().st_size for path in paths] for paths in extract.bundle(files)]
    assert sizes == [[100], [900], [10, 20, 30], [2000], [5, 5]]


def test_real_double_publications_share_an_identity(shared_data, tmp_path):
    names = ["mauriciomanoel__PubmedXMLtoBibtex", "qi29__main_finding_recognition", "nadianana__projet-RFID-nadia"]
    files = tuple(str(shared_data / "pubmed_xml" / name / "pubmed_result.xml") for name in names)
    if not all(Path(path).exists() for path in files):
        pytest.skip("the files with double publications are not there")
    config = ExtractConfig(input_path=files, output_file=str(tmp_path / "pairs.jsonl"))
    identities = identities_of(config)
    twice = [(25267608, 25059253), (19294535, 19277906), (21179391, 19963595)]  # two by title, one by its abstract
    assert all(identities[f"pmid:{one}"] == identities[f"pmid:{other}"] for one, other in twice)
    assert len(set(identities.values())) > 0.9 * len(identities)
