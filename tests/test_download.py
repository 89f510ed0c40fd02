"""Downloads from a server that fails in every way there is: the right bytes, or one clear error; nothing uncounted."""

import gzip
import hashlib
import json
import logging
import random
import socket
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from file_server import broken_after, from_elsewhere, running_server, status, whole, without_ranges

from bioemb.cli import main
from bioemb.config import DownloadConfig
from bioemb.data import download as machinery
from bioemb.data.download import Fetcher, FetchError, has_md5, in_parallel
from bioemb.errors import BioembError, ConfigError, DataError
from bioemb.flags import parse
from bioemb.stages import download
from bioemb.stages.download_sources import LATEST, pmc_versions, pubmed_numbers

BODY = random.Random(1).randbytes(300_001)  # more than a chunk, and no whole number of them


def md5_of(body: bytes) -> str:
    return hashlib.md5(body).hexdigest()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """No wait of its own, and no proxy in between."""
    monkeypatch.setattr(machinery, "FIRST_WAIT", 0.001)
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def server():
    with running_server() as running:
        yield running


def serve(server, path, *answers):
    server.answers[path] = list(answers)
    return server.url + path


def fetched(server, tmp_path, *answers, attempts=3):
    """What a fetch of these answers leaves under the name."""
    path = tmp_path / "file"
    Fetcher(attempts, 5).fetch(serve(server, "/file", *answers), path, md5_of(BODY))
    assert not (tmp_path / "file.part").exists()
    return path.read_bytes()


# One file


def test_a_file_arrives_whole(server, tmp_path):
    assert fetched(server, tmp_path, whole(BODY)) == BODY
    assert server.asked == [("/file", "")]


def test_what_breaks_off_is_continued_at_the_next_byte(server, tmp_path):
    answers = [broken_after(count, BODY) for count in (100_000, 7, 1)]
    assert fetched(server, tmp_path, *answers, whole(BODY), attempts=2) == BODY
    assert [asked for _, asked in server.asked] == ["", "bytes=100000-", "bytes=100007-", "bytes=100008-"]


def test_what_an_earlier_run_left_is_continued(server, tmp_path):
    (tmp_path / "file.part").write_bytes(BODY[:1234])
    assert fetched(server, tmp_path, whole(BODY)) == BODY
    assert server.asked == [("/file", "bytes=1234-")]


def test_a_whole_part_is_renamed_without_a_request(server, tmp_path):
    (tmp_path / "file.part").write_bytes(BODY)
    assert fetched(server, tmp_path, whole(BODY)) == BODY
    assert server.asked == []


@pytest.mark.parametrize("left", [BODY[:999], b"other" * 999, BODY + b"more"], ids=["cut", "another", "longer"])
@pytest.mark.parametrize("answer", [whole, without_ranges, from_elsewhere])
def test_whatever_was_left_and_whatever_the_server_knows_of_ranges_the_bytes_are_right(server, tmp_path, left, answer):
    (tmp_path / "file.part").write_bytes(left)
    assert fetched(server, tmp_path, answer(BODY)) == BODY
    assert len(server.asked) <= 3


def test_a_server_without_ranges_that_always_breaks_off_is_given_up(server, tmp_path):
    cut = broken_after(1000, BODY)

    def always_from_the_start(handler):
        del handler.headers["Range"]
        cut(handler)

    with pytest.raises(FetchError, match="the connection broke off, 3 tries in a row without a new byte"):
        fetched(server, tmp_path, always_from_the_start)
    assert len(server.asked) == 1 + 3  # the first one brought bytes


def test_a_wrong_checksum_is_fetched_once_more_and_then_an_error_that_leaves_nothing(server, tmp_path):
    with pytest.raises(FetchError, match="arrived twice with another md5 than") as caught:
        fetched(server, tmp_path, whole(BODY[:-1]))
    assert caught.value.reason == "wrong checksum" and not caught.value.is_outage
    assert len(server.asked) == 2 and list(tmp_path.iterdir()) == []


def test_a_second_try_may_have_the_right_bytes(server, tmp_path):
    assert fetched(server, tmp_path, whole(BODY[:-1]), whole(BODY)) == BODY


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(server, tmp_path, code):
    assert fetched(server, tmp_path, status(code), status(code), whole(BODY)) == BODY


@pytest.mark.parametrize("code", [400, 401, 403, 404, 410])
def test_what_will_not_pass_is_not(server, tmp_path, code):
    with pytest.raises(FetchError, match=f"HTTP {code}") as caught:
        fetched(server, tmp_path, status(code), whole(BODY))
    assert len(server.asked) == 1 and not caught.value.is_outage
    assert caught.value.reason == ("not found" if code in (404, 410) else f"HTTP {code}")


def test_a_server_that_stays_busy_is_given_up_after_so_many_tries(server):
    with pytest.raises(FetchError, match="HTTP 503, 4 tries in a row") as caught:
        Fetcher(4, 5).read(serve(server, "/busy", status(503)))
    assert len(server.asked) == 4 and caught.value.is_outage


def test_waits_double_and_are_no_shorter_than_the_server_asks(server, monkeypatch):
    waits = []
    monkeypatch.setattr(Fetcher, "_pause", lambda self, seconds: waits.append(seconds))
    monkeypatch.setattr(machinery, "FIRST_WAIT", 1.0)
    in_a_minute = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    busy = [status(503, Retry_After=value) for value in ("7", in_a_minute, "soon")] + [status(503)]
    url = serve(server, "/busy", *busy, whole(b"at last"))
    assert Fetcher(5, 5).read(url) == b"at last"
    assert waits[0] == 7 and 55 < waits[1] <= 60
    assert 0.5 * 4 <= waits[2] <= 1.5 * 4 and 0.5 * 8 <= waits[3] <= 1.5 * 8


def test_a_server_that_asks_for_hours_is_left_alone(server):
    with pytest.raises(FetchError, match="asks to come back in 7,200 s"):
        Fetcher(5, 5).read(serve(server, "/busy", status(503, Retry_After="7200")))
    assert len(server.asked) == 1


def test_a_server_that_says_nothing_has_failed_after_the_timeout(server):
    url, start = serve(server, "/slow", lambda _: time.sleep(2), whole(b"now")), time.perf_counter()
    fetcher = Fetcher(2, 0.1)
    assert fetcher.read(serve(server, "/first", whole(b"hello"))) == b"hello"
    assert fetcher.read(url) == b"now" and time.perf_counter() - start < 1


def test_the_waits_end_when_it_is_stopped(server, monkeypatch):
    monkeypatch.setattr(machinery, "FIRST_WAIT", 1000.0)
    fetcher = Fetcher(5, 5)
    results = in_parallel(lambda url: fetcher.read(url), [serve(server, "/b", status(503))] * 2, 2, fetcher.stop)
    start = time.perf_counter()
    fetcher.stop()
    with pytest.raises(FetchError, match="stopped"):
        next(results)
    assert time.perf_counter() - start < 2


def test_results_come_in_the_order_of_the_items_and_not_all_are_begun_at_once():
    begun = []

    def work(number):
        begun.append(number)
        time.sleep(0.002 * (number % 3))
        return number * number

    results = in_parallel(work, iter(range(50)), 2, lambda: None)
    assert next(results) == 0 and len(begun) < 12
    assert list(results) == [number * number for number in range(1, 50)]


def test_a_part_that_cannot_be_written_is_an_error_that_names_it(server, tmp_path):
    (tmp_path / "file.part").mkdir()
    with pytest.raises(DataError, match=r"file\.part: cannot be written: Is a directory"):
        fetched(server, tmp_path, whole(BODY))


def test_an_interruption_is_one_line_and_130(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(download, "prepare", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert main(["download", "pmc", "--ids", "PMC1", "--output_dir", str(tmp_path)]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "bioemb download: interrupted; run it again to go on"


# PubMed


def pubmed(server, tmp_path, *words):
    folder = str(tmp_path / "raw")
    words = ["pubmed", "--output_dir", folder, "--base_url", server.url + "/mirror/", "--attempts", "2", *words]
    return parse(DownloadConfig, words, "bioemb download")


def serve_pubmed(server, year, numbers, what="baseline"):
    """Files of different lengths, their md5, the folder's listing; {name: body}."""
    bodies = {f"pubmed{year}n{n:04}.xml.gz": BODY[: 1000 * n] for n in numbers}
    for name, body in bodies.items():
        serve(server, f"/mirror/{what}/{name}", whole(body))
        serve(server, f"/mirror/{what}/{name}.md5", whole(f"MD5({name})= {md5_of(body)}\n".encode()))
    page = "".join(f'<a href="{name}">{name}</a> <a href="{name}.md5">{name}.md5</a>\n' for name in bodies)
    serve(server, f"/mirror/{what}/", whole(f"<html>{page}".encode()))
    return bodies


def in_folder(tmp_path):
    return {path.name: path.read_bytes() for path in (tmp_path / "raw").iterdir()}


def test_the_files_named_are_put_beside_their_md5_and_asked_for_once(server, tmp_path):
    bodies = serve_pubmed(server, 26, range(1, 10))
    said = download.run(pubmed(server, tmp_path, "--files", "2-4", "7"))
    names = [f"pubmed26n{n:04}.xml.gz" for n in (2, 3, 4, 7)]
    have = in_folder(tmp_path)
    assert sorted(have) == sorted(names + [f"{name}.md5" for name in names])
    assert all(have[name] == bodies[name] for name in names)
    assert "read  " in said and "fetched 4 (0.0 MB in " in said and said.endswith("0 were there")
    before = len(server.asked)
    again = download.run(pubmed(server, tmp_path, "--files", "2-4", "7", "--year", "26"))
    assert again.endswith("fetched 0, 4 were there") and len(server.asked) == before


def test_the_year_is_the_newest_that_the_server_lists_and_all_are_the_files_of_a_year(server, tmp_path):
    serve_pubmed(server, 26, [1335, 1337], "updatefiles")
    page = b"pubmed25n1500.xml.gz pubmed26n1335.xml.gz pubmed26n1337.xml.gz"
    serve(server, "/mirror/updatefiles/", whole(page))
    download.run(pubmed(server, tmp_path, "--what", "updatefiles", "--files", "all"))
    assert {name for name in in_folder(tmp_path) if name.endswith("gz")} == {
        "pubmed26n1335.xml.gz",
        "pubmed26n1337.xml.gz",
    }
    with pytest.raises(ConfigError, match="has no files of the year 24; its newest are of 26"):
        download.run(pubmed(server, tmp_path, "--what", "updatefiles", "--files", "all", "--year", "24"))


def test_a_file_with_its_right_md5_on_the_server_is_not_fetched_again(server, tmp_path):
    bodies = serve_pubmed(server, 26, [1, 2])
    download.run(pubmed(server, tmp_path, "--files", "1-2", "--year", "26"))
    first, second = (tmp_path / "raw" / name for name in bodies)
    first.with_name(first.name + ".md5").unlink()  # an interruption between the two
    second.write_bytes(b"damaged")
    server.asked.clear()
    said = download.run(pubmed(server, tmp_path, "--files", "1-2", "--year", "26"))
    assert said.endswith("1 were there") and second.read_bytes() == bodies[second.name]
    asked = sorted(path.rpartition("/")[2] for path, _ in server.asked)
    assert asked == [f"{first.name}.md5", second.name, f"{second.name}.md5"]


def test_each_failure_is_counted_by_its_reason_and_the_others_are_fetched(server, tmp_path, log):
    bodies = serve_pubmed(server, 26, [1, 2, 3, 5, 6])
    names = sorted(bodies)
    serve(server, f"/mirror/baseline/{names[0]}", broken_after(500, bodies[names[0]]), whole(bodies[names[0]]))
    serve(server, f"/mirror/baseline/{names[1]}", whole(b"wrong"))
    serve(server, f"/mirror/baseline/{names[2]}.md5", whole(b"<html>Maintenance"))
    serve(server, f"/mirror/baseline/{names[3]}", status(503, Retry_After="0"))
    log.set_level(logging.INFO, "bioemb")
    with pytest.raises(FetchError, match="^4 of 6 failed; the same command tries them again$"):
        download.run(pubmed(server, tmp_path, "--files", "1-6", "--year", "26"))
    have = in_folder(tmp_path)
    assert {name for name in have if name in bodies} == {names[0], names[4]}
    assert have[names[0]] == bodies[names[0]]
    lines = [line.split() for line in log.messages[-1].splitlines()]
    assert ["read", "6"] in lines and ["kept", "2", "(33.3%)"] in lines
    for reason in ("wrong checksum", "no checksum", "not found", "HTTP 503"):
        assert f"dropped: failed: {reason} 1".split() in lines
    assert any("md5 holds no md5, but '<html>Maintenance'" in message for message in log.messages)


def test_a_server_that_fails_all_the_time_is_soon_left_alone(server, tmp_path):
    serve_pubmed(server, 26, range(1, 100))
    for path in list(server.answers):
        serve(server, path, status(500))
    with pytest.raises(FetchError, match="the 5th failure in a row, so this stops; the same command goes on later"):
        download.run(pubmed(server, tmp_path, "--files", "1-99", "--year", "26"))
    assert len(server.asked) < 50


def test_nothing_that_listens_is_one_clear_line_and_soon(tmp_path, capsys):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    start = time.perf_counter()
    for words in (["pubmed", "--files", "1-500"], ["pubmed", "--files", "3", "--year", "26"], ["pmc", "--ids", "PMC1"]):
        where = ["--output_dir", str(tmp_path / "raw"), "--base_url", f"http://{address}"]
        assert main(["download", *words, *where]) == 2
        said = capsys.readouterr().err.splitlines()[-1]
        assert said.startswith(f"bioemb download: cannot reach {address} (Connection refused); check the network")
    assert time.perf_counter() - start < 5


def test_numbers_and_ranges_are_read():
    assert pubmed_numbers(("1-3", "25")) == [1, 2, 3, 25]
    assert pubmed_numbers(("25 2-3,3", "1")) == [1, 2, 3, 25]
    assert pubmed_numbers(("all",)) is None


@pytest.mark.parametrize("words", [(), ("3-1",), ("0-4",), ("1-",), ("one",), ("1-20", "all"), ("99999",), ("",)])
def test_numbers_that_are_none_are_refused(words):
    with pytest.raises(ConfigError, match="--files"):
        pubmed_numbers(words)


# PMC


def pmc(server, tmp_path, *words):
    words = ["pmc", "--output_dir", str(tmp_path / "raw"), "--base_url", server.url, "--attempts", "2", *words]
    return parse(DownloadConfig, words, "bioemb download")


def serve_pmc(server, name, license_code="CC BY", **fields):
    """A full text with its metadata; the text."""
    body = f"<article>{name}</article>".encode() * (len(name) + 3)
    address = f"s3://pmc-oa-opendata/{name}/{name}.xml?md5={md5_of(body)}"
    record = {"pmcid": name.split(".")[0], "license_code": license_code, "xml_url": address, **fields}
    serve(server, f"/metadata/{name}.json", whole(json.dumps(record).encode()))
    serve(server, f"/{name}/{name}.xml?md5={md5_of(body)}", status(400))  # the md5 is no part of the key
    serve(server, f"/{name}/{name}.xml", whole(body))
    return body


def serve_versions(server, number, *versions):
    prefixes = "".join(f"<CommonPrefixes><Prefix>PMC{number}.{v}/</Prefix></CommonPrefixes>" for v in versions)
    page = f'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{prefixes}</ListBucketResult>'
    serve(server, f"/?list-type=2&prefix=PMC{number}.&delimiter=%2F", whole(page.encode()))


def test_the_version_named_or_the_highest_is_fetched_with_its_metadata(server, tmp_path):
    bodies = {name: serve_pmc(server, name) for name in ("PMC12.2", "PMC12.10", "PMC7.1", "PMC7.2")}
    serve_versions(server, 12, 2, 10)
    said = download.run(pmc(server, tmp_path, "--ids", "PMC12", "pmc7.1"))
    have = in_folder(tmp_path)
    assert sorted(have) == ["PMC12.10.json", "PMC12.10.xml", "PMC7.1.json", "PMC7.1.xml"]
    assert all(have[f"{name}.xml"] == bodies[name] for name in ("PMC12.10", "PMC7.1"))
    assert json.loads(have["PMC7.1.json"])["license_code"] == "CC BY" and "fetched 2" in said
    server.asked.clear()
    assert download.run(pmc(server, tmp_path, "--ids", "PMC12.10", "PMC7.1")).endswith("fetched 0, 2 were there")
    assert server.asked == []


def test_licences_not_asked_for_are_left_out_and_counted(server, tmp_path):
    for name, code in (("PMC1.1", "CC BY"), ("PMC2.1", "CC BY-NC"), ("PMC3.1", "TDM"), ("PMC4.1", None)):
        serve_pmc(server, name, code)
    ids = ("--ids", "PMC1.1", "PMC2.1", "PMC3.1", "PMC4.1")
    said = download.run(pmc(server, tmp_path, *ids, "--license", "cc-by", "CC0")).splitlines()
    assert sorted(in_folder(tmp_path)) == ["PMC1.1.json", "PMC1.1.xml"]
    for reason in ("CC BY-NC", "TDM", "none said"):
        assert f"dropped: licence: {reason} 1".split() in [line.split() for line in said]
    assert not any(path.endswith(".xml") and "PMC1" not in path for path, _ in server.asked)


def test_articles_that_are_not_open_or_have_no_xml_are_counted_and_no_failure(server, tmp_path):
    serve_pmc(server, "PMC1.1", xml_url=None)
    serve_pmc(server, "PMC2.1", xml_url="s3://pmc-oa-opendata/PMC2.1/PMC2.1.xml")
    serve_versions(server, 3)
    said = download.run(pmc(server, tmp_path, "--ids", "PMC1.1", "PMC2.1", "PMC3", "PMC4.1")).splitlines()
    lines = [line.split() for line in said]
    assert "dropped: no XML of it 2".split() in lines
    assert "dropped: not among PMC's open full texts 2".split() in lines and ["kept", "0", "(0.0%)"] in lines


@pytest.mark.parametrize("answer", [b"<html>", b"[1]", b'{"xml_url": 3}', b"\xff\xfe"])
def test_metadata_that_are_none_fail(server, tmp_path, answer, log):
    serve(server, "/metadata/PMC1.1.json", whole(answer))
    with pytest.raises(FetchError, match="^1 of 1 failed"):
        download.run(pmc(server, tmp_path, "--ids", "PMC1.1"))
    assert any("PMC1.1.json is no metadata, but b" in message for message in log.messages)


def test_a_damaged_text_is_fetched_again_and_a_damaged_json_too(server, tmp_path):
    bodies = {name: serve_pmc(server, name) for name in ("PMC1.1", "PMC2.1")}
    ids = ("--ids", *bodies)
    download.run(pmc(server, tmp_path, *ids))
    want = in_folder(tmp_path)
    (tmp_path / "raw" / "PMC1.1.xml").write_bytes(b"<article>")
    (tmp_path / "raw" / "PMC2.1.json").write_bytes(b'{"xml')
    assert download.run(pmc(server, tmp_path, *ids)).endswith("1 were there")
    assert in_folder(tmp_path) == want


def test_ids_are_read_of_any_text_the_inventory_and_gzip_too(tmp_path):
    path = tmp_path / "ids.csv.gz"
    path.write_bytes(
        gzip.compress(
            b'Bucket,Key\n"pmc-oa-opendata","metadata/PMC5.2.json",311\n"pmc-oa-opendata","metadata/PMC5.10.json",9\n\n'
            b"PMC77\nPMC8.1\nPMC8\nPMC8.3\n12345\n"
        )
    )
    versions, others = pmc_versions(("PMC9", "3.4"), str(path))
    assert versions == {9: LATEST, 3: 4, 5: 10, 77: LATEST, 8: LATEST}
    assert others == {"named more than once": 3, "no PMC id in the line": 2}


def test_ids_that_are_none_are_refused(tmp_path):
    plain, cut = str(tmp_path / "ids"), str(tmp_path / "cut.gz")
    Path(plain).write_text("31418825\n")
    Path(cut).write_bytes(gzip.compress(b"PMC1\n" * 999)[:-9])
    said = {"PMC0": "such as PMC123", "10.1/x": "such as PMC123", plain: "no line names an article", cut: "to its end"}
    for ids, file in ((("PMC0",), None), (("10.1/x",), None), ((), plain), ((), cut)):
        with pytest.raises(BioembError, match=said[file or ids[0]]):
            pmc_versions(ids, file)
    with pytest.raises(ConfigError, match="--ids or --ids_file must be given for pmc"):
        pmc_versions((), None)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("pubmed --ids PMC1", "ids is for pmc, and the source is pubmed"),
        ("pmc --files 1", "files is for pubmed, and the source is pmc"),
        ("pubmed --files 1 --year 2026", "year is 2026; expected its last two digits"),
        ("pubmed --files 1 --connections 99", "connections is 99; expected 1 to 16"),
        ("pubmed --files 1 --base_url ftp://x", "base_url is 'ftp://x'; expected an address that begins with http"),
        ("pubmed --files 1 --timeout 0", "timeout is 0.0; expected more than 0 seconds"),
        ("arxiv --files 1", "--source: expected one of pubmed, pmc, got 'arxiv'"),
    ],
)
def test_settings_that_cannot_work_are_refused_before_any_request(words, said):
    with pytest.raises(ConfigError) as caught:
        parse(DownloadConfig, [*words.split(), "--output_dir", "o"], "bioemb download")
    assert said in str(caught.value)


def test_has_md5_agrees_with_known_digests(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")  # RFC 1321, A.5
    assert has_md5(tmp_path / "a", "900150983cd24fb0d6963f7d28e17f72")
    assert has_md5(tmp_path / "a", "900150983CD24FB0D6963F7D28E17F72")
    assert not has_md5(tmp_path / "a", "d41d8cd98f00b204e9800998ecf8427e") and not has_md5(tmp_path / "b", "9")
