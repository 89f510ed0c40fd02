"""Held-out evaluation sets: articles and statements about (disease, agent) pairs that no training record is about.

    <folder>/demo-retrieval/    BEIR layout: corpus.jsonl, queries.jsonl, qrels/test.tsv
    <folder>/demo-sts.jsonl     {"sentence1","sentence2","score"}, 0 to 4

A query names its disease and agent otherwise than its relevant documents do, but for `SAME_NAME_RATE` of the documents;
so does a sentence what it shares with its other one, but for about that share of the pairs.
"""

from pathlib import Path
from random import Random

from bioemb.demo.concepts import SPECIALTIES, Concept, Subject, random_for, subject_pairs, symptoms_by_specialty
from bioemb.demo.prose import (
    QUESTIONS,
    STATEMENTS,
    Voice,
    all_names,
    fill,
    one_name_each,
    other_names,
    write_abstract,
    write_title,
)
from bioemb.files import json_line, write_aside

RETRIEVAL, STS = "demo-retrieval", "demo-sts"
DOCUMENTS, QUERIES, STS_PAIRS = 1000, 200, 400
SAME_NAME_RATE = 0.20  # documents that use their query's names, STS pairs that may use each other's
FIRST_DOCUMENT = 950_000_001  # beyond the training records' PMIDs


def write_heldout(folder: Path, concepts: list[Concept], seed: int) -> dict[str, int]:
    """Write both sets; gives how much is in them."""
    subjects = _subjects(concepts, seed)
    voices = [one_name_each(subject, random_for(seed, "query-voice", n)) for n, subject in enumerate(subjects)]
    _write_queries(folder / RETRIEVAL, subjects, voices, seed)
    relevant = _write_documents(folder / RETRIEVAL, subjects, voices, seed)
    with write_aside(folder / f"{STS}.jsonl") as out:
        for number in range(STS_PAIRS):
            out.write(json_line(_sts_pair(number, concepts, subjects, random_for(seed, "sts", number))))
    return {"documents": DOCUMENTS, "queries": QUERIES, "relevant": relevant, "sts_pairs": STS_PAIRS}


def _subjects(concepts: list[Concept], seed: int) -> list[Subject]:
    """The held-out subjects in a random order; the first QUERIES of them are asked for."""
    random, symptoms = random_for(seed, "heldout"), symptoms_by_specialty(concepts)
    pairs = subject_pairs(concepts, seed, held_out=True)
    return [Subject(disease, agent, random.choice(symptoms[disease.specialty])) for disease, agent in pairs]


def _write_queries(folder: Path, subjects: list[Subject], voices: list[Voice], seed: int) -> None:
    with write_aside(folder / "queries.jsonl") as out:
        for number, (subject, voice) in enumerate(zip(subjects[:QUERIES], voices, strict=False)):
            random = random_for(seed, "query", number)
            text = fill(random.choice(QUESTIONS), subject.disease.specialty, voice, random)
            out.write(json_line({"_id": f"q{number + 1}", "text": text}))


def _write_documents(folder: Path, subjects: list[Subject], voices: list[Voice], seed: int) -> int:
    """Document n is about subject n modulo their number; the number of relevant documents comes back."""
    same_name = set(random_for(seed, "same-name").sample(range(DOCUMENTS), round(SAME_NAME_RATE * DOCUMENTS)))
    relevant = 0
    with write_aside(folder / "corpus.jsonl") as corpus, write_aside(folder / "qrels" / "test.tsv") as qrels:
        qrels.write("query-id\tcorpus-id\tscore\n")
        for number in range(DOCUMENTS):
            random, which = random_for(seed, "document", number), number % len(subjects)
            subject, voice = subjects[which], voices[which]
            if number not in same_name:
                voice = other_names(subject, voice)
            title, abstract = write_title(subject, voice, random), write_abstract(subject, voice, random)
            document_id = str(FIRST_DOCUMENT + number)
            text = " ".join(part.text for part in abstract)
            corpus.write(json_line({"_id": document_id, "title": title, "text": text}))
            if which < QUERIES:
                qrels.write(f"q{which + 1}\t{document_id}\t1\n")
                relevant += 1
    return relevant


def _sts_pair(number: int, concepts: list[Concept], subjects: list[Subject], random: Random) -> dict:
    """Score: 0 other specialty, 1 same specialty, 2 to 4 one to three concepts in common."""
    score = number % 5
    first = random.choice(subjects)
    second = _other_subject(first, max(score - 1, 0), concepts, random, elsewhere=score == 0)
    first_voice = one_name_each(first, random)
    second_voice = all_names(second)
    if random.random() >= SAME_NAME_RATE:
        second_voice = {
            role: tuple(name for name in names if name not in first_voice[role]) for role, names in second_voice.items()
        }
    sentences = (
        fill(random.choice(STATEMENTS), subject.disease.specialty, voice, random)
        for subject, voice in ((first, first_voice), (second, second_voice))
    )
    return {"sentence1": next(sentences), "sentence2": next(sentences), "score": float(score)}


def _other_subject(first: Subject, shared: int, concepts: list[Concept], random: Random, *, elsewhere: bool) -> Subject:
    """A subject with exactly so many of the first one's concepts, from another specialty if `elsewhere`."""
    specialty = first.disease.specialty
    if elsewhere:
        specialty = random.choice([name for name in SPECIALTIES if name != specialty])
    kept = set(random.sample(range(3), shared))
    parts = []
    for place, concept in enumerate(first):
        rivals = [c for c in concepts if c.specialty == specialty and c.kind == concept.kind and c != concept]
        parts.append(concept if place in kept else random.choice(rivals))
    return Subject(*parts)
