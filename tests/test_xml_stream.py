"""Broken and hostile files: whole records come out, then one clear error; nothing is fetched, expanded or hoarded."""

import gzip
import random
import subprocess
import sys
from pathlib import Path

import pytest
from lxml import etree

from bioemb.data.articles import read_articles
from bioemb.data.xml_stream import stream_records
from bioemb.errors import DataError

HEAD = b'<?xml version="1.0" encoding="utf-8"?>\n<PubmedArticleSet>\n'


def record(pmid: int, title: str = "Otters swim") -> bytes:
    article = f"<Article><ArticleTitle>{title} {pmid}.</ArticleTitle></Article>"
    citation = f'<MedlineCitation><PMID Version="1">{pmid}</PMID>{article}</MedlineCitation>'
    return f"<PubmedArticle>{citation}</PubmedArticle>\n".encode()


def whole_file(count: int = 5) -> bytes:
    return HEAD + b"".join(record(pmid) for pmid in range(1, count + 1)) + b"</PubmedArticleSet>\n"


def read_until_break(path: Path) -> tuple[list, DataError | None]:
    found = []
    try:
        for article in read_articles(path):
            found.append(article)
    except DataError as error:
        return found, error
    return found, None


def parses(content: bytes) -> bool:
    try:
        etree.fromstring(content)
    except etree.XMLSyntaxError:
        return False
    return True


def pmids(found: list) -> list[int]:
    return [article.pmid for article in found]


def test_a_truncated_file_gives_its_whole_records_then_an_error_that_names_it(tmp_path: Path):
    content, path = whole_file(), tmp_path / "cut.xml"
    ends = [content.index(b"</PubmedArticle>", content.index(b">%d</PMID>" % pmid)) + 16 for pmid in range(1, 6)]
    for cut in range(0, len(content) - 3, 4):
        path.write_bytes(content[:cut])
        found, error = read_until_break(path)
        whole = sum(end <= cut for end in ends)
        assert pmids(found) == list(range(1, whole + 1)), cut
        if cut <= content.rindex(b"</PubmedArticleSet>"):
            assert error is not None and str(error).startswith(str(path)), cut


def test_a_truncated_gzip_gives_what_could_be_decompressed(tmp_path: Path):
    content = HEAD + b"".join(record(pmid, f"Otters {random.Random(pmid).random()}") for pmid in range(1, 3000))
    packed, path = gzip.compress(content, mtime=0), tmp_path / "cut.xml.gz"
    counts = []
    for share in (0.0, 0.2, 0.5, 0.8, 0.99):
        path.write_bytes(packed[: max(12, int(len(packed) * share))])
        found, error = read_until_break(path)
        assert pmids(found) == list(range(1, len(found) + 1))
        assert error is not None and str(path) in str(error)
        counts.append(len(found))
    assert counts == sorted(counts) and counts[0] == 0 and 1000 < counts[2] < 2000


def test_flipped_bits_end_in_records_or_one_error(tmp_path: Path):
    content, path = whole_file(), tmp_path / "flipped.xml"
    outcomes = set()
    for seed in range(300):
        generator = random.Random(seed)
        damaged = bytearray(content)
        for _ in range(generator.randint(1, 4)):
            damaged[generator.randrange(len(damaged))] ^= 1 << generator.randrange(8)
        path.write_bytes(bytes(damaged))
        found, error = read_until_break(path)
        is_whole = parses(bytes(damaged))
        assert is_whole or error is not None
        assert error is None or not is_whole or not found, "a whole file with records is read"
        outcomes.add(error is None)
    assert outcomes == {True, False}


def test_flipped_bits_of_a_gzip_end_in_records_or_one_error(tmp_path: Path):
    packed, path = gzip.compress(whole_file(50), mtime=0), tmp_path / "flipped.xml.gz"
    for seed in range(100):
        generator = random.Random(seed)
        damaged = bytearray(packed)
        damaged[generator.randrange(len(damaged))] ^= 1 << generator.randrange(8)
        path.write_bytes(bytes(damaged))
        found, error = read_until_break(path)
        assert error is not None or pmids(found) == list(range(1, 51))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"  \n", "empty"),
        (b"<!DOCTYPE html><html><head><meta></head></html>", "web page"),
        (b"<html><body>Not found</body></html>", "root is <html>"),
        (b"<eFetchResult><ERROR>busy</ERROR></eFetchResult>", "root is <eFetchResult>"),
        (b'"<?xml version=\\"1.0\\" ?>"', "not well-formed"),
        (HEAD + record(1, "Otters \xff").replace(b"\xc3\xbf", b"\xff") + b"</PubmedArticleSet>", "not well-formed"),
        (HEAD + record(1, "Otters &alpha;") + b"</PubmedArticleSet>", "alpha"),
        (whole_file() + whole_file(), "XML declaration allowed only at the start"),
        (b"\x1f\x8b\x08\x00garbage", "compressed"),
        (b"\x28\xb5\x2f\xfdgarbage", "compressed"),
    ],
)
def test_what_is_no_such_xml_is_refused_with_its_reason(content: bytes, words: str, tmp_path: Path):
    path = tmp_path / "odd.xml"
    path.write_bytes(content)
    error = read_until_break(path)[1]
    assert error is not None and words in str(error) and str(path) in str(error)


def test_an_error_names_the_line_of_the_break(tmp_path: Path):
    path = tmp_path / "broken.xml"
    path.write_bytes(HEAD + record(1) + record(2) + b"<PubmedArticle></Oops>")
    found, error = read_until_break(path)
    assert pmids(found) == [1, 2]
    assert error is not None and error.line == 5 and f"{path}, line 5" in str(error)


def test_an_empty_set_holds_no_record_and_is_no_error(tmp_path: Path):
    path = tmp_path / "none.xml"
    path.write_bytes(b"<PubmedArticleSet></PubmedArticleSet>")
    assert read_until_break(path) == ([], None)


def test_compression_is_told_by_the_bytes_not_by_the_name(tmp_path: Path):
    (tmp_path / "packed.xml").write_bytes(gzip.compress(whole_file()))
    (tmp_path / "plain.xml.gz").write_bytes(whole_file())
    for name in ("packed.xml", "plain.xml.gz"):
        assert pmids(list(read_articles(tmp_path / name))) == [1, 2, 3, 4, 5]


def test_encodings_are_read_as_declared(tmp_path: Path):
    path = tmp_path / "latin.xml"
    for encoding in ("iso-8859-1", "utf-16"):
        text = whole_file(1).decode().replace("utf-8", encoding).replace("Otters", "Ötters")
        path.write_bytes(text.encode(encoding))
        assert next(iter(read_articles(path))).title == "Ötters swim 1."


def with_entities(entities: str, title: str) -> bytes:
    dtd = f"<!DOCTYPE PubmedArticleSet [{entities}]>"
    return dtd.encode() + b"<PubmedArticleSet>" + record(1, title) + record(2) + b"</PubmedArticleSet>"


def test_entities_that_multiply_are_not_expanded(tmp_path: Path):
    path = tmp_path / "laughs.xml"
    for depth in (2, 9):
        laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, depth + 1))
        path.write_bytes(with_entities(f'<!ENTITY l0 "ha">{laughs}', f"Otters &l{depth};"))
        found, error = read_until_break(path)
        assert (error is not None and "amplification" in str(error)) or found[0].title == f"Otters &l{depth}; 1."
        assert (error is None) == (depth == 2)


def test_an_external_entity_is_not_fetched(tmp_path: Path):
    secret, path = tmp_path / "secret.txt", tmp_path / "thief.xml"
    secret.write_text("SECRET")
    path.write_bytes(with_entities(f'<!ENTITY x SYSTEM "{secret.as_uri()}">', "Otters &x;"))
    assert [article.title for article in read_articles(path)] == ["Otters &x; 1.", "Otters swim 2."]


def test_an_external_dtd_is_neither_needed_nor_fetched(tmp_path: Path):
    path = tmp_path / "dtd.xml"
    for dtd in (
        b'SYSTEM "http://dtd.invalid/x.dtd"',
        b'SYSTEM "missing.dtd"',
        b'PUBLIC "-//x" "http://dtd.invalid/x.dtd"',
    ):
        path.write_bytes(
            whole_file().replace(b"<PubmedArticleSet>", b"<!DOCTYPE PubmedArticleSet " + dtd + b"><PubmedArticleSet>")
        )
        assert pmids(list(read_articles(path))) == [1, 2, 3, 4, 5]


def test_deep_nesting_is_refused(tmp_path: Path):
    path = tmp_path / "deep.xml"
    deep = b"<i>" * 100_000 + b"</i>" * 100_000
    path.write_bytes(HEAD + record(1) + b"<PubmedArticle>" + deep + b"</PubmedArticle></PubmedArticleSet>")
    found, error = read_until_break(path)
    assert pmids(found) == [1] and error is not None and "depth" in str(error)


def test_a_stretch_without_records_is_refused_at_the_limit(tmp_path: Path):
    path = tmp_path / "junk.xml.gz"
    path.write_bytes(gzip.compress(HEAD + record(1) + b"<a/>" * 1_000_000 + b"</PubmedArticleSet>"))
    stream = stream_records(path, ("PubmedArticle",), (), record_bytes=1 << 20)
    assert next(stream).tag == "PubmedArticle"
    with pytest.raises(DataError, match="1 MB without the end of a record"):
        next(stream)


PEAK = """
import sys
from bioemb.data.articles import read_articles
found = sum(1 for _ in read_articles(sys.argv[1]))
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))  # ru_maxrss counts the parent's
print(found, int(peak.split()[1]) >> 10)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_memory_does_not_grow_with_the_file(tmp_path: Path):
    peaks = []
    for count in (100, 20_000):
        path = tmp_path / f"{count}.xml.gz"
        path.write_bytes(gzip.compress(HEAD + record(1, "<i>O</i>tters" * 40) * count + b"</PubmedArticleSet>", 1))
        run = subprocess.run([sys.executable, "-c", PEAK, path], capture_output=True, text=True, check=True)
        found, peak = map(int, run.stdout.split())
        assert found == count
        peaks.append(peak)
    assert peaks[1] - peaks[0] < 8  # MB; the tree of all records would take more than 100


BOMB = """
import resource, sys
from bioemb.data.articles import read_articles
from bioemb.errors import DataError
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]), -1))
try:
    for article in read_articles(sys.argv[1]):
        pass
except DataError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of address space are Linux's")
@pytest.mark.parametrize("filling", [b"x", b" ", b"<i/>"])
def test_a_gzip_bomb_ends_in_an_error_within_bounded_memory(filling: bytes, tmp_path: Path):
    path = tmp_path / "bomb.xml.gz"
    with gzip.open(path, "wb", 1) as out:
        out.write(HEAD + record(1) + b"<PubmedArticle><MedlineCitation>")
        for _ in range(120):
            out.write(filling * ((1 << 20) // len(filling)))
    limit = 3 << 29  # 1.5 GB of address space, most of it libraries and the tree of empty elements
    run = subprocess.run([sys.executable, "-c", BOMB, path, str(limit)], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    assert str(path) in run.stdout
