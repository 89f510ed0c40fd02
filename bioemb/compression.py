"""Bytes packed and unpacked: gzip and Zstandard, known by a file's first bytes or by its name's ending."""

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

DAMAGE = (EOFError, zlib.error, gzip.BadGzipFile)  # what reading a compressed file that is not whole raises
ZSTANDARD_BYTES = 1 << 14  # decompressed at once; small, because a few bytes may hold megabytes


@contextmanager
def decompressed(raw: io.BufferedReader) -> Iterator[io.BufferedIOBase]:
    """The bytes of an open file, decompressed when its first ones are those of gzip or Zstandard."""
    magic = raw.peek(4)[:4]
    if magic[:2] == b"\x1f\x8b":
        with gzip.open(raw) as plain:
            yield plain
    elif magic == b"\x28\xb5\x2f\xfd":
        yield io.BufferedReader(_ZstandardFrames(raw))
    else:
        yield raw


@contextmanager
def compressed(raw: io.BufferedIOBase, suffix: str) -> Iterator[io.BufferedIOBase]:
    """What is written here is packed into the file as the ending of its name says: ".gz", ".zst", else not."""
    if suffix == ".gz":
        with gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=6, mtime=0) as packed:
            yield packed
    elif suffix == ".zst":
        import zstandard

        with zstandard.ZstdCompressor(level=3).stream_writer(raw, closefd=False) as packed:
            yield packed
    else:
        yield raw


class _ZstandardFrames(io.RawIOBase):
    """The bytes in one or more Zstandard frames; as gzip does, it raises EOFError where the last one is cut off.

    zstandard's own readers end quietly there, and so would lose the rest of the file.
    """

    def __init__(self, raw: io.BufferedIOBase):
        self._raw, self._frame, self._ready = raw, self._new_frame(), memoryview(b"")

    @staticmethod
    def _new_frame():
        import zstandard

        return zstandard.ZstdDecompressor().decompressobj()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        while not self._ready:
            packed = self._frame.unused_data or self._raw.read(ZSTANDARD_BYTES)
            if not packed and self._frame.eof:
                return 0
            if not packed:
                raise EOFError("Compressed file ended before the end of its last frame")
            self._ready = memoryview(self._decompress(packed))
        size = min(len(buffer), len(self._ready))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        return size

    def _decompress(self, packed: bytes) -> bytes:
        import zstandard

        if self._frame.eof:
            self._frame = self._new_frame()
        try:
            return self._frame.decompress(packed)
        except zstandard.ZstdError as error:
            raise zlib.error(str(error)) from None  # so that readers need to know of one kind of damage
