"""PubMed's XML without its lists of references: half of its bytes, which no record here needs, and so half of the work.

They are cut out of the bytes before the parser sees them, by their tag alone, which has no attributes. Lists in lists
are counted, so that a damaged tag ends in the parser's complaint, never in records that are missing without a word.
"""

NAME = b"ReferenceList>"
LONGEST = len(b"</ReferenceList>")


class ReferenceCutter:
    """Takes bytes in chunks of any size and gives them back without reference lists; only their line ends stay."""

    def __init__(self):
        self._rest = b""  # of the last chunk: the beginning of a tag
        self._depth = 0  # of lists within lists

    def cut(self, chunk: bytes) -> bytes:
        """What is to be kept of the bytes so far. An unfinished tag at their end is held back until the next call."""
        data = self._rest + chunk
        kept = []
        start, at = 0, data.find(NAME)
        while at >= 0:
            end = at + len(NAME)
            if data[at - 1 : at] == b"<":
                if not self._depth:
                    kept.append(data[start : at - 1])
                    start = at - 1
                self._depth += 1
            elif self._depth and data[at - 2 : at] == b"</":
                self._depth -= 1
                if not self._depth:
                    kept.append(b"\n" * data.count(b"\n", start, end))
                    start = end
            at = data.find(NAME, end)
        stop = _unfinished_tag(data)
        kept.append(b"\n" * data.count(b"\n", start, stop) if self._depth else data[start:stop])
        self._rest = data[stop:]
        return b"".join(kept)


def _unfinished_tag(data: bytes) -> int:
    """Where a tag begins that may be one of ours and that the end of the data cuts off; else the end."""
    start = data.rfind(b"<", max(len(data) - LONGEST + 1, 0))
    return start if start >= 0 and data.find(b">", start) < 0 else len(data)
