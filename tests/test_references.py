"""Lists of references are cut out whatever the chunks, and a damaged one ends in an error, not in missing records."""

import re
from pathlib import Path
from random import Random

import pytest

from bioemb.data.articles import read_articles
from bioemb.data.references import ReferenceCutter
from bioemb.errors import DataError

OPENING, CLOSING = b"<ReferenceList>", b"</ReferenceList>"
INNERMOST = re.compile(rb"<ReferenceList>(?:(?!</?ReferenceList>).)*</ReferenceList>", re.DOTALL)


def naive_cut(data: bytes) -> bytes:
    """The innermost lists first, until none is left; their line ends stay."""
    while True:
        shorter = INNERMOST.sub(lambda match: b"\n" * match[0].count(b"\n"), data)
        if shorter == data:
            return data
        data = shorter


def random_xml(draw: Random, depth: int = 0) -> bytes:
    pieces = [
        b"<A>",
        b"x",
        b"\n",
        b"</A>",
        b"<ReferenceLis",
        b"ReferenceList>",
        b"<ReferenceList/>",
        b"&lt;",
        b"/",
        b"<",
    ]
    made = []
    for _ in range(draw.randint(0, 8)):
        inside = depth < 3 and draw.random() < 0.3
        made.append(OPENING + random_xml(draw, depth + 1) + CLOSING if inside else draw.choice(pieces))
        if made[-1] == b"<":  # alone it would open a tag with what follows
            made.append(b" ")
        if made[-1] == b"/":
            made.append(b" ")
    return b"".join(made)


def test_any_chunks_give_what_is_left_of_the_whole():
    shortened = 0
    for seed in range(400):
        draw = Random(seed)
        data, cutter, kept, start = b"<Set>" + random_xml(draw) + b"</Set>\n", ReferenceCutter(), [], 0
        while start < len(data):
            size = draw.choice([1, 2, 5, 20, 60])
            kept.append(cutter.cut(data[start : start + size]))
            start += size
        expected = naive_cut(data)
        assert b"".join(kept) == expected, seed
        shortened += len(data) - len(expected)
    assert shortened > 10_000


def test_the_end_of_a_record_is_never_held_back():
    data = b"<PubmedArticle><ReferenceList>\n<Reference/></ReferenceList></PubmedArticle>"
    assert ReferenceCutter().cut(data) == b"<PubmedArticle>\n</PubmedArticle>"


def record(pmid: int, references: str) -> str:
    citation = f"<MedlineCitation><PMID>{pmid}</PMID><Article><ArticleTitle>Otters swim</ArticleTitle></Article>"
    return f"<PubmedArticle>{citation}</MedlineCitation><PubmedData>{references}</PubmedData></PubmedArticle>"


def test_references_change_no_article_and_no_line_of_an_error(tmp_path: Path):
    lists = "<ReferenceList>\n<Reference><Citation>Eels &amp; <i>otters</i></Citation></Reference>\n</ReferenceList>"
    (tmp_path / "with.xml").write_text(f"<PubmedArticleSet>{record(1, lists)}{record(2, lists * 2)}</PubmedArticleSet>")
    (tmp_path / "without.xml").write_text(f"<PubmedArticleSet>{record(1, '')}{record(2, '')}</PubmedArticleSet>")
    assert list(read_articles(tmp_path / "with.xml")) == list(read_articles(tmp_path / "without.xml"))
    (tmp_path / "broken.xml").write_text(f"<PubmedArticleSet>{record(1, lists)}\n<oops></PubmedArticleSet>")
    with pytest.raises(DataError, match=r"broken.xml, line 4: "):
        list(read_articles(tmp_path / "broken.xml"))


@pytest.mark.parametrize("broken", ["<ReferenceList>", "</ReferenceList>", "<ReferenceList></ReferenceLisT>"])
def test_a_damaged_tag_is_an_error_and_swallows_no_record_silently(tmp_path: Path, broken: str):
    whole = "<ReferenceList><Reference/></ReferenceList>"
    records = [record(1, whole), record(2, broken), *(record(pmid, whole) for pmid in range(3, 9))]
    (tmp_path / "n.xml").write_text(f"<PubmedArticleSet>{''.join(records)}</PubmedArticleSet>")
    found = []
    with pytest.raises(DataError, match="not well-formed"):
        found.extend(article.pmid for article in read_articles(tmp_path / "n.xml"))
    assert found == [1]
