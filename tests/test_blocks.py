"""Arrays in blocks against the same array whole; tables against the rows they were written from."""

import numpy as np
import pyarrow as pa
import pytest

from bioemb.blocks import FEW, BlockFolder
from bioemb.errors import DataError
from bioemb.tables import ROWS_PER_BATCH, open_table, write_table

SCHEMA = pa.schema([("text", pa.string()), ("numbers", pa.list_(pa.int64())), ("identity", pa.int64())])


def case(seed, folder):
    """(whole array, its empty folder of blocks): lopsided in rows, shape, type and block size."""
    rng = np.random.default_rng(seed)
    rows, shape = int(rng.integers(0, 60)), ((), (3,), (2, 5))[seed % 3]
    whole = rng.integers(-1000, 1000, (rows, *shape)).astype((np.float32, np.int64, np.float16)[seed // 3 % 3])
    return whole, BlockFolder(folder / str(seed), rows, int(rng.integers(1, 20))), rng


def test_blocks_read_in_order_are_the_array(tmp_path):
    for seed in range(60):
        whole, blocks, rng = case(seed, tmp_path)
        for index in rng.permutation(blocks.count):
            blocks.write(index, whole[blocks.span(index)])
        covered = [row for span, _ in blocks.blocks() for row in range(span.start, span.stop)]
        assert covered == list(range(len(whole)))
        for span, values in blocks.blocks():
            assert values.dtype == whole.dtype
            np.testing.assert_array_equal(values, whole[span])


def test_take_is_plain_indexing_in_any_order_with_repeats(tmp_path):
    for seed in range(60):
        whole, blocks, rng = case(seed, tmp_path)
        for index in range(blocks.count):
            blocks.write(index, whole[blocks.span(index)])
        for most in (90, 40 * FEW):  # few rows of a block are read one by one
            rows = rng.integers(0, len(whole), int(rng.integers(1, most))) if len(whole) else np.empty(0, np.int64)
            taken = blocks.take(rows)
            if len(rows):
                assert taken.dtype == whole.dtype
                np.testing.assert_array_equal(taken, whole[rows])
                np.testing.assert_array_equal(blocks.take(rows.tolist()), whole[rows])
        assert len(blocks.take(np.empty(0, np.int64))) == 0


def test_missing_are_exactly_the_blocks_that_were_not_written(tmp_path):
    for seed in range(40):
        whole, blocks, rng = case(seed, tmp_path)
        written = set(np.flatnonzero(rng.random(blocks.count) < 0.5).tolist())
        for index in written:
            blocks.write(index, whole[blocks.span(index)])
        same = BlockFolder(blocks.folder, blocks.rows, blocks.block_rows)  # as a run that goes on sees it
        assert same.missing() == [index for index in range(blocks.count) if index not in written]


def test_the_number_of_blocks_and_their_rows_by_hand(tmp_path):
    blocks = BlockFolder(tmp_path, 10, 4)
    assert (blocks.count, [blocks.span(index) for index in range(3)]) == (3, [slice(0, 4), slice(4, 8), slice(8, 10)])
    assert (BlockFolder(tmp_path, 8, 4).count, BlockFolder(tmp_path, 0, 4).count) == (2, 0)
    assert list(BlockFolder(tmp_path, 0, 4).blocks()) == []


def test_a_block_is_memory_mapped_and_cannot_be_changed(tmp_path):
    blocks = BlockFolder(tmp_path, 4, 4)
    blocks.write(0, np.arange(4.0))
    assert isinstance(blocks.read(0), np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        blocks.read(0)[0] = 7


def test_a_block_that_cannot_be_written_leaves_nothing_behind(tmp_path):
    blocks = BlockFolder(tmp_path, 2, 2)
    with pytest.raises(ValueError, match="allow_pickle"):
        blocks.write(0, np.array([{}, None], dtype=object))
    assert list(tmp_path.iterdir()) == [] and blocks.missing() == [0]


def test_absent_and_damaged_blocks_are_named(tmp_path):
    blocks = BlockFolder(tmp_path, 5, 2)
    blocks.write(0, np.ones((2, 3)))
    whole = blocks.path(0).read_bytes()
    for size in (0, 5, 20, len(whole) - 1):
        blocks.path(1).write_bytes(whole[:size])
        with pytest.raises(DataError, match="delete it and start again") as caught:
            blocks.read(1)
        assert str(caught.value).startswith(str(blocks.path(1))) and "\n" not in str(caught.value)
        with pytest.raises(DataError, match="delete it and start again") as caught:
            blocks.take(np.array([0, 2]))
        assert str(caught.value).startswith(str(blocks.path(1)))
    with pytest.raises(DataError, match="no such block"):
        blocks.take(np.array([0, 4]))


def test_a_block_is_kept_row_by_row_however_it_came(tmp_path):
    blocks, whole = BlockFolder(tmp_path, 6, 3), np.arange(24.0).reshape(4, 6).T  # columns stand together
    for index in range(2):
        blocks.write(index, whole[blocks.span(index)])
    np.testing.assert_array_equal(blocks.take(np.array([5, 0, 3])), whole[[5, 0, 3]])


# Tables


def rows_of(count):
    return [
        {"text": f"passage µ{i}" * (i % 3), "numbers": list(range(i % 5)), "identity": None if i % 7 == 0 else i << 40}
        for i in range(count)
    ]


@pytest.mark.parametrize("count", [0, 1, ROWS_PER_BATCH, 2 * ROWS_PER_BATCH + 3])
def test_a_table_holds_its_rows_by_number_slice_and_column(tmp_path, count):
    rows = rows_of(count)
    write_table(tmp_path / "new" / "rows.arrow", SCHEMA, iter(rows))
    table = open_table(tmp_path / "new" / "rows.arrow")
    assert len(table) == count and list(table) == rows
    for begin, end in ((0, 2), (count // 2, count), (count - 1, count + 5)):
        assert table["text"][max(begin, 0) : end] == [row["text"] for row in rows[max(begin, 0) : end]]
    if count:
        assert table[count - 1] == rows[-1]
        assert table[[count - 1, 0, count // 2]]["identity"] == [rows[i]["identity"] for i in (-1, 0, count // 2)]


def test_rows_that_end_in_an_error_leave_no_table(tmp_path):
    def rows():
        yield from rows_of(2 * ROWS_PER_BATCH)
        raise DataError("bad row", "a.jsonl", 7)

    with pytest.raises(DataError):
        write_table(tmp_path / "rows.arrow", SCHEMA, rows())
    assert list(tmp_path.iterdir()) == []


def test_the_same_rows_give_the_same_bytes(tmp_path):
    for name in ("a.arrow", "b.arrow"):
        write_table(tmp_path / name, SCHEMA, rows_of(1500))
    assert (tmp_path / "a.arrow").read_bytes() == (tmp_path / "b.arrow").read_bytes()
