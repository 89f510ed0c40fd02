"""Records in and out: what is written comes back, what is damaged is one clear line, and nothing is half there."""

import bz2
import datetime
import gzip
import io
import json
import random
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet
import pytest
import zstandard

from bioemb.errors import ConfigError, DataError
from bioemb.files import (
    RECORD_SUFFIXES,
    Located,
    check_output_name,
    hash_file,
    json_line,
    list_files,
    open_read,
    read_records,
    text_field,
    write_aside,
    write_json,
)

RECORDS = [{"query": f"what is {i} µg?", "pos": ["a" * i, "β\n"], "n": i, "none": None} for i in range(1, 40)]
JSON_SUFFIXES = [".jsonl", ".jsonl.gz", ".jsonl.zst"]


def write(path, records):
    with write_aside(path) as out:
        out.writelines(map(json_line, records))
    return path


def records_of(path):
    return [located.record for located in read_records([path])]


def complaint(path):
    """The error that reading the file ends in: one line, and it names the file."""
    with pytest.raises(DataError) as caught:
        list(read_records([path]))
    message = str(caught.value)
    assert "\n" not in message and message.startswith(str(path)) and len(message) < 400
    return caught.value


# Reading


@pytest.mark.parametrize("suffix", JSON_SUFFIXES)
def test_what_is_written_is_read_again_with_its_lines(tmp_path, suffix):
    path = write(tmp_path / f"rows{suffix}", RECORDS)
    assert list(read_records([path])) == [Located(record, path, line) for line, record in enumerate(RECORDS, start=1)]


def test_parquet_gives_the_same_records_with_their_rows(tmp_path):
    path = tmp_path / "rows.parquet"
    pa.parquet.write_table(pa.Table.from_pylist(RECORDS), path, row_group_size=7)
    assert list(read_records([path])) == [Located(record, path, row) for row, record in enumerate(RECORDS, start=1)]


def test_files_are_read_one_after_the_other_each_with_its_own_lines(tmp_path):
    first, second = write(tmp_path / "b.jsonl", RECORDS[:2]), write(tmp_path / "a.jsonl.gz", RECORDS[2:5])
    places = [(located.path, located.line) for located in read_records([first, str(second)])]
    assert places == [(first, 1), (first, 2), (second, 1), (second, 2), (second, 3)]


def test_compression_is_known_by_the_bytes_and_not_by_the_name(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(gzip.compress(b'{"a": 1}\n'))
    assert records_of(path) == [{"a": 1}]


def test_frames_and_members_one_after_the_other_are_one_file(tmp_path):
    parts = [b'{"a": 1}\n{"a"', b": 2}\n", b"", b'{"a": 3}']
    for name, compress in (("rows.jsonl.zst", zstandard.compress), ("rows.jsonl.gz", gzip.compress)):
        (tmp_path / name).write_bytes(b"".join(map(compress, parts)))
        assert records_of(tmp_path / name) == [{"a": 1}, {"a": 2}, {"a": 3}]


def test_a_byte_order_mark_is_no_part_of_the_first_record(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\n{"a": 2}\n')
    assert records_of(path) == [{"a": 1}, {"a": 2}]


def test_blank_lines_are_skipped_and_counted_as_lines(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('\n{"a": 1}\n   \n\r\n{"a": 2}', encoding="utf-8")
    assert [(located.record["a"], located.line) for located in read_records([path])] == [(1, 2), (2, 5)]


@pytest.mark.parametrize("layout", ["[{}, {}]", "[\n{},\n{}\n]\n", "\n\n  [{},\n\n{}]", "[ {}\n, {}]"])
def test_a_json_array_is_read_as_its_elements(tmp_path, layout):
    path = tmp_path / "rows.json"
    path.write_text(layout.format(*map(json.dumps, RECORDS)), encoding="utf-8")
    assert records_of(path) == RECORDS[:2]


def test_an_empty_file_and_an_empty_array_hold_no_records(tmp_path):
    for name, text in (("a.jsonl", ""), ("b.json", "[]"), ("c.jsonl", "\n\n")):
        (tmp_path / name).write_text(text)
        assert records_of(tmp_path / name) == []


# Bad input


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ('{"a": 1}\n{"a": }\n', 2, "not JSON (Expecting value at column 7)"),
        ('{"a": 1}\n{"a": 1\n', 2, "not JSON"),
        ('{"a": 1} {"b": 2}\n', 1, "Extra data at column 10"),
        ('{"a": 1}\n\n"text"\n', 3, "expected a JSON object, got str 'text'"),
        ('{"a": 1}\nnull\n', 2, "expected a JSON object, got null"),
        ('{"a": 1}\n[1, 2]\n', 2, "expected a JSON object, got list"),
        ('[{"a": 1},\n{"b" 2}]\n', 2, "not JSON (Expecting ':' delimiter at column 6)"),
        ('[{"a": 1},\n 7]\n', None, "element 2: expected a JSON object, got int '7'"),
        ('{"a": 1}\n{"a": NaN}\n', 2, "NaN is no number in JSON"),
        ('{"a": -Infinity}\n', 1, "-Infinity is no number in JSON"),
        ('{"a": "\\ud83d\\ude00"}\n{"a": "x\\uD83D"}\n', 2, "half a character"),
        ('{"a": 1' + "0" * 5000 + "}\n", 1, "not usable as JSON"),
        ('{"a": 1}\n{"a": ' + "[" * 100_000 + "\n", 2, "not usable as JSON"),
        ("query\tpos\n" + "long " * 100, 1, "not JSON (Expecting value at column 1): 'query\\tpos'"),
    ],
)
def test_what_is_no_record_is_named_by_file_and_line(tmp_path, text, line, said):
    path = tmp_path / "rows.jsonl"
    path.write_text(text, encoding="utf-8")
    error = complaint(path)
    assert said in str(error) and error.line == line


def test_records_before_the_bad_one_are_not_lost(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n{"a": 2}\noops\n')
    rows = read_records([path])
    assert [next(rows).record["a"], next(rows).record["a"]] == [1, 2]
    with pytest.raises(DataError, match="line 3: not JSON"):
        next(rows)


def test_bytes_that_are_not_utf8_are_named_by_line_and_column(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": "na\xefve"}\n')
    assert "line 2: not UTF-8 (byte 0xef at column 10)" in str(complaint(path))


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress])
def test_a_compressed_file_that_is_cut_anywhere_is_an_error(tmp_path, compress):
    packed = compress("".join(map(json_line, RECORDS)).encode())
    path = tmp_path / "rows.jsonl.packed"
    for size in {4, 9, len(packed) // 3, len(packed) // 2, len(packed) - 9, len(packed) - 1}:
        path.write_bytes(packed[:size])
        assert "damaged or cut off" in str(complaint(path))


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress])
def test_bytes_of_a_cut_file_are_an_error_for_every_reader(tmp_path, compress):
    path = tmp_path / "qrels.tsv.packed"
    path.write_bytes(compress(bytes(range(200)) * 50)[:-3])
    with pytest.raises(DataError, match="damaged or cut off") as caught, open_read(path) as handle:
        handle.read()
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.ZstdCompressor(write_checksum=True).compress])
def test_a_compressed_file_with_a_flipped_bit_is_an_error(tmp_path, compress):
    rng = random.Random(0)
    packed = compress("".join(map(json_line, RECORDS)).encode())
    path = tmp_path / "rows.jsonl.packed"
    for _ in range(30):
        damaged = bytearray(packed)
        damaged[rng.randrange(len(packed) // 4, len(packed))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        complaint(path)


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress])
def test_what_stands_behind_the_compressed_data_is_an_error(tmp_path, compress):
    path = tmp_path / "rows.jsonl.packed"
    path.write_bytes(compress(b'{"a": 1}\n') + b"<html>")
    assert "damaged or cut off" in str(complaint(path))


def test_a_few_compressed_bytes_are_not_unpacked_all_at_once(tmp_path):
    path = tmp_path / "zeros.zst"
    path.write_bytes(zstandard.compress(bytes(1 << 20)) * 40)  # 40 MB in 2 kB
    with open_read(path) as handle:
        assert len(handle.read1(1 << 16)) <= 1 << 16
        assert len(handle.raw._ready) <= 1 << 20


def test_numbers_that_parquet_lacks_are_null_and_infinite_ones_are_named(tmp_path):
    rows = [{"query": "a", "year": 2001.0, "scores": [0.5]}, {"query": "b", "year": float("nan"), "scores": None}]
    rows += [{"query": "c", "year": None, "scores": [float("nan"), 0.25]}]
    pa.parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    found = [record for record, *_ in read_records([tmp_path / "rows.parquet"])]
    assert found == [rows[0], {**rows[1], "year": None}, {**rows[2], "scores": [None, 0.25]}]
    pa.parquet.write_table(pa.Table.from_pylist([*rows, {"scores": [float("-inf")]}]), tmp_path / "rows.parquet")
    assert "rows.parquet, line 4: JSON has no number -inf" in str(complaint(tmp_path / "rows.parquet"))


def test_a_file_that_is_not_there_a_folder_and_what_is_no_parquet_are_named(tmp_path):
    (tmp_path / "rows.parquet").write_bytes(b"PAR1 and no more of it")
    assert "no such file" in str(complaint(tmp_path / "none.jsonl"))
    assert "no such file" in str(complaint(tmp_path / "none.parquet"))
    assert "got a folder" in str(complaint(tmp_path))
    assert "not readable as Parquet" in str(complaint(tmp_path / "rows.parquet"))


def test_a_file_of_another_compression_is_an_error(tmp_path):
    path = tmp_path / "rows.jsonl.bz2"
    path.write_bytes(bz2.compress(b'{"a": 1}\n'))
    complaint(path)


def test_errors_of_the_reader_are_not_taken_for_the_files(tmp_path):
    path = write(tmp_path / "rows.jsonl", RECORDS)
    with pytest.raises(FileNotFoundError, match="mine"), open_read(path):
        raise FileNotFoundError("mine")


# Fields


def test_a_text_field_is_given_or_the_keys_there_are_named(tmp_path):
    located = Located({"title": "A", "n": 3, "none": None}, tmp_path / "rows.jsonl", 7)
    assert text_field(located, "title") == "A"
    for key, flag, said in (
        ("titel", "--key_y", "line 7: no key 'titel'; the record has 'title', 'n', 'none'; name another with --key_y"),
        ("titel", "", "line 7: no key 'titel'; the record has 'title', 'n', 'none'"),
        ("n", "", "line 7: 'n' is int '3', expected text"),
        ("none", "", "line 7: 'none' is null, expected text"),
    ):
        with pytest.raises(DataError) as caught:
            text_field(located, key, flag)
        assert str(caught.value).endswith(said)


# Finding


def test_folders_are_searched_below_sorted_and_files_are_taken_as_named(tmp_path):
    names = ["b/2.jsonl", "b/1.json.gz", "a.parquet", "c.jsonl.zst", "D.JSONL", "x.txt", "b/notes.md"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    expected = sorted(tmp_path / name for name in names[:5])
    assert list_files(tmp_path, RECORD_SUFFIXES) == expected
    assert list_files([tmp_path / "x.txt", str(tmp_path)], RECORD_SUFFIXES) == [tmp_path / "x.txt", *expected]
    assert list_files([tmp_path / "a.parquet", tmp_path], RECORD_SUFFIXES)[1:] == [
        path for path in expected if path.name != "a.parquet"
    ]


def test_what_stages_keep_beside_their_outputs_is_no_input(tmp_path):
    for name in (
        "mined.jsonl",
        "mined.jsonl.manifest.json",
        "mined.jsonl.stats.json",
        "mined.jsonl.contamination.json",
        "gone.jsonl.manifest.json",
        "gone.jsonl.stats.json",
        "mined.jsonl.work/tables-0a1b/counts.json",
        ".mined.jsonl.123.part.jsonl",
        ".ipynb_checkpoints/mined.jsonl",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert list_files(tmp_path, RECORD_SUFFIXES) == [tmp_path / "mined.jsonl"]
    (tmp_path / "cohort.stats.json").touch()  # beside no output: data of that name
    assert list_files(tmp_path, RECORD_SUFFIXES) == [tmp_path / "cohort.stats.json", tmp_path / "mined.jsonl"]


def test_an_empty_folder_a_folder_of_others_and_a_missing_path_are_named(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.csv").touch()
    for path, said in (
        ("empty", "no file here ends in .json, .jsonl (found: nothing)"),
        ("other", "no file here ends in .json, .jsonl (found: a.csv)"),
        ("none", "no such file or folder"),
    ):
        with pytest.raises(DataError) as caught:
            list_files([tmp_path / path], (".json", ".jsonl"))
        assert str(caught.value) == f"{tmp_path / path}: {said}"


# Writing


@pytest.mark.parametrize("suffix", JSON_SUFFIXES)
def test_a_writer_that_fails_leaves_nothing_behind_and_an_older_file_as_it_was(tmp_path, suffix):
    path = tmp_path / "new folder" / f"rows{suffix}"
    for before in ([], RECORDS[:3]):
        if before:
            write(path, before)
        with pytest.raises(ZeroDivisionError), write_aside(path) as out:
            out.write(json_line(RECORDS[5]) * 10_000)
            raise ZeroDivisionError
        assert list(path.parent.iterdir()) == [path] * bool(before)
    assert records_of(path) == RECORDS[:3]


def test_nothing_stands_under_the_name_before_all_is_written(tmp_path):
    path = tmp_path / "rows.jsonl"
    with write_aside(path) as out:
        out.write('{"a": 1}\n')
        out.flush()
        assert not path.exists() and list_files_or_none(tmp_path) == []
    assert path.read_text() == '{"a": 1}\n'


def list_files_or_none(folder):
    """What a stage that reads the folder meanwhile would take."""
    try:
        return list_files(folder, RECORD_SUFFIXES)
    except DataError:
        return []


@pytest.mark.parametrize("suffix", JSON_SUFFIXES)
def test_the_same_records_give_the_same_bytes_whenever_and_wherever_written(tmp_path, suffix, monkeypatch):
    first = write(tmp_path / f"one{suffix}", RECORDS).read_bytes()
    monkeypatch.setattr("time.time", lambda: 2_000_000_000.0)
    assert write(tmp_path / f"another name{suffix}", RECORDS).read_bytes() == first


def test_what_is_packed_is_what_the_plain_file_holds(tmp_path):
    plain, packed, zipped = (write(tmp_path / f"rows{suffix}", RECORDS).read_bytes() for suffix in JSON_SUFFIXES)
    assert gzip.decompress(packed) == plain
    assert zstandard.ZstdDecompressor().stream_reader(io.BytesIO(zipped)).read() == plain
    assert plain == "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in RECORDS).encode()


def test_lines_keep_characters_and_write_dates_and_decimals_as_text():
    record = {"a": "µ\u2028 ", "when": datetime.date(2020, 2, 29), "price": Decimal("1.50")}
    assert json_line(record) == '{"a": "µ\u2028 ", "when": "2020-02-29", "price": "1.50"}\n'
    assert json_line({"for": datetime.timedelta(hours=1.5)}) == '{"for": "1:30:00"}\n'


def test_numbers_that_are_not_finite_are_refused_by_name_and_bytes_too():
    with pytest.raises(DataError, match="'score': nan"):
        json_line({"query": "a", "score": float("nan")})
    with pytest.raises(DataError, match="no bytes, and the record holds bytes .*leave that column out"):
        json_line({"query": "a", "vector": b"\0\1"})
    with pytest.raises(TypeError, match="set is not JSON"):
        json_line({"query": {1}})


def test_write_json_gives_what_json_reads(tmp_path):
    write_json(tmp_path / "a.json", {"a": ["µ", 1.5, None]})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"a": ["µ", 1.5, None]}


def test_the_hash_of_a_file_depends_on_every_byte(tmp_path):
    path = tmp_path / "a"
    hashes = set()
    for content in (b"", b"a", b"b", b"ab", b"a" * 300_000, b"a" * 299_999 + b"b"):
        path.write_bytes(content)
        hashes.add(hash_file(path))
    assert len(hashes) == 6
    path.write_bytes(b"abc")
    assert hash_file(path) == "cf4ab791c62b8d2b2109c90275287816"  # BLAKE2b-128 of "abc", as `b2sum -l 128` gives it


@pytest.mark.parametrize(
    ("name", "said"), [("k.parquet", "would be JSON lines, not Parquet"), ("", "is a folder; name a")]
)
def test_an_output_that_would_not_be_what_its_name_says_is_refused(tmp_path, name, said):
    with pytest.raises(ConfigError, match=said):
        check_output_name(tmp_path / name)
    check_output_name(tmp_path / "new.jsonl")
    check_output_name(tmp_path / ("é" * 100))
    with pytest.raises(ConfigError, match="name has 202 bytes, expected 200 at most"):
        check_output_name(tmp_path / ("é" * 101))


def test_what_cannot_be_written_is_said_with_the_outputs_name(tmp_path):
    (tmp_path / "file").write_text("")
    below, long = tmp_path / "file" / "out.jsonl", tmp_path / ("x" * 300)
    for path, why in ((below, "part of its path is a file, not a folder"), (long, "File name too long")):
        with pytest.raises(ConfigError, match=f"cannot write {path}: ({why})"), write_aside(path):
            pass
