"""What an article is about, in single terms: MeSH headings, keywords and substances of a PubMed record.

Left out are NLM's check tags, which an indexer ticks for every article (Humans, Mice, Aged), and places.
"""

from collections.abc import Iterator, Sequence

from lxml import etree

from bioemb.data.xml_stream import plain_text
from bioemb.records import stable_hash

CHECK_TAGS = frozenset(
    name.casefold()
    for name in (
        *("Humans", "Human", "Male", "Female", "Pregnancy", "Animals", "Animal", "Comparative Study"),
        *("Infant, Newborn", "Infant", "Child, Preschool", "Child", "Adolescent", "Adolescence", "Young Adult"),
        *("Adult", "Middle Aged", "Middle Age", "Aged", "Aged, 80 and over"),
        *("Bats", "Cats", "Cattle", "Chick Embryo", "Cricetinae", "Dogs", "Guinea Pigs", "Mice", "Rabbits", "Rats"),
    )
)
FEWEST_LETTERS = 3


def read_terms(citation: etree._Element) -> tuple[str, ...]:
    """The terms of a MedlineCitation in its order, each once whatever its case."""
    found: dict[str, str] = {}
    for element in _named(citation):
        term = plain_text(element)
        key = term.casefold()
        if key not in CHECK_TAGS and sum(map(str.isalpha, term)) >= FEWEST_LETTERS:
            found.setdefault(key, term)
    return tuple(found.values())


def draw_terms(terms: Sequence[str], count: int, key: str) -> list[str]:
    """`count` of the terms at random, or all; the draw depends on the key and the terms alone, not on their order."""
    return sorted(terms, key=lambda term: (stable_hash(f"{key}\0{term}"), term))[:count]


def _named(citation: etree._Element) -> Iterator[etree._Element]:
    for part in citation.iterchildren("ChemicalList", "MeshHeadingList", "KeywordList"):
        for item in part.iterchildren():
            if item.tag == "Keyword":
                yield item
            for name in item.iterchildren("NameOfSubstance", "DescriptorName"):
                if name.get("Type") != "Geographic":
                    yield name
