"""Passages of a full text: whole paragraphs of one section, joined when short, split at sentence ends when long."""

import math
import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bioemb.data.text import count_words, split_sentences
from bioemb.records import Article, Section, same_text_key, stable_hash

# How likely a passage is drawn, relative to the others: methods resemble each other across articles.
WEIGHTS = {"METHODS": 0.25}


class Passage(NamedTuple):
    """A stretch of one section, and the section's place."""

    text: str
    kind: str  # of the section: INTRO, METHODS, ...
    path: tuple[str, ...]


def passages(article: Article, min_words: int = 60, max_words: int = 300) -> Iterator[Passage]:
    """Every passage of an article, in order, each text once; never across sections.

    Each has min_words to max_words words; sections shorter than that give none.
    """
    seen = set()
    for section in article.sections:
        for text in _section_passages(section, min_words, max_words):
            key = same_text_key(text)
            if key not in seen:
                seen.add(key)
                yield Passage(text, section.kind, section.path)


def draw_passages(candidates: Sequence[Passage], count: int, key: str) -> list[Passage]:
    """`count` different candidates (all, if there are fewer), in their order, by weight.

    The draw depends on `key` and the candidates alone, so that shards, processes and restarts change nothing.
    Weighted sampling without replacement after Efraimidis and Spirakis: the largest u^(1/weight).
    """
    generator = random.Random(stable_hash(key))
    marks = [generator.random() ** (1 / WEIGHTS.get(passage.kind, 1.0)) for passage in candidates]
    best = sorted(range(len(candidates)), key=marks.__getitem__, reverse=True)[:count]
    return [candidates[position] for position in sorted(best)]


def _section_passages(section: Section, min_words: int, max_words: int) -> Iterator[str]:
    for group in _groups(section.paragraphs, min_words):
        for text in _split(group, max_words):
            if count_words(text) >= min_words:
                yield text


def _groups(paragraphs: Sequence[str], min_words: int) -> list[str]:
    """Neighbouring paragraphs joined until each group has min_words; a short rest joins the last group."""
    groups: list[str] = []
    waiting = ""
    for paragraph in paragraphs:
        waiting = f"{waiting} {paragraph}" if waiting else paragraph
        if count_words(waiting) >= min_words:
            groups.append(waiting)
            waiting = ""
    if waiting and groups:
        groups[-1] = f"{groups[-1]} {waiting}"
    return groups


def _split(text: str, max_words: int) -> Iterator[str]:
    """The text in parts of about equal length at sentence ends, none above max_words."""
    words = count_words(text)
    if words <= max_words:
        yield text
        return
    target = math.ceil(words / math.ceil(words / max_words))
    part: list[str] = []
    size = 0
    for sentence in _sentences(text, max_words):
        length = count_words(sentence)
        if part and (size + length > max_words or size >= target):
            yield " ".join(part)
            part, size = [], 0
        part.append(sentence)
        size += length
    yield " ".join(part)


def _sentences(text: str, max_words: int) -> Iterator[str]:
    """Sentences; one that is longer than max_words in equal pieces."""
    for sentence in split_sentences(text):
        words = sentence.split()
        size = math.ceil(len(words) / math.ceil(len(words) / max_words))
        for start in range(0, len(words), size):
            yield " ".join(words[start : start + size])
