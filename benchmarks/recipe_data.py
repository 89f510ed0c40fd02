"""The data of `recipe.py`: pairs of titles, passages and terms, a slice of the articles held out, hard negatives.

An article is held out by the hash of its identity, and everything of it with it. What is held out becomes local tasks
to choose by: titles asked of abstracts, terms of titles, and questions, which nothing is trained on, of whole answers
and of a sentence or two of other answers.
What repeats a query of the evaluation is left out of all. Each step is a bioemb command, and goes on where it stopped.
"""

import argparse
import gzip
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random

from measuring import REPOSITORY, aside
from quality import GENERATED_TASKS, TASKS

from bioemb.records import stable_hash

HELD_OUT = 20  # one article of so many
QUERIES, DOCUMENTS = 400, 1500  # of a task to choose by, at most
SENTENCE_END = re.compile(r"(?<=[a-z0-9)%][.?!]) (?=[A-Z])")
SNIPPET_QUERIES, SNIPPETS = 1000, 6000  # of the task with sentences of answers
CHOICE_TASKS = ("dev-abstracts", "dev-terms", "dev-questions", "dev-snippets")


def with_sources(folder: Path, options: argparse.Namespace) -> argparse.Namespace:
    """A copy of the flags that says what the data are made of: what was named, or a generated corpus."""
    if options.tasks:
        return argparse.Namespace(**vars(options) | {"generated": False, "task": options.task or list(TASKS)})
    corpus = folder / "corpus"
    files = {"xml": corpus / "pubmed", "pmc": corpus / "pmc", "questions": None, "tasks": [corpus / "eval"]}
    return argparse.Namespace(**vars(options) | files | {"generated": True, "task": list(GENERATED_TASKS)})


def is_prepared(folder: Path) -> bool:
    return (folder / "terms.jsonl").exists()  # the last that is made


def prepare_data(folder: Path, options: argparse.Namespace) -> None:
    """pairs.jsonl and terms.jsonl to train on, and the folder dev/ to choose by."""
    if is_prepared(folder):
        return
    extract = ["--skip_broken_files", "yes", "--input_path"]
    bioemb(
        *("extract", "--kinds", "title_passage", "abstract_passage", "--passages_per_article", "10"),
        *("--output_file", folder / "all_passages.jsonl", *extract, options.pmc),
    )
    bioemb("extract", "--kinds", "term_title", "--output_file", folder / "all_terms.jsonl", *extract, options.xml)
    passages, terms = read_rows(folder / "all_passages.jsonl"), read_rows(folder / "all_terms.jsonl")
    if options.generated:
        output = folder / "all_abstracts.jsonl"
        bioemb("extract", "--kinds", "title_abstract", "--output_file", output, *extract, options.xml)
        abstracts = read_rows(output)
    else:
        abstracts = list(read_abstracts(options.texts))
    write_choice_tasks(folder / "dev", abstracts, terms, options.questions)
    for name, rows in (("pairs", [*abstracts, *passages]), ("terms", terms)):
        write_rows(folder / f"{name}_with_tests.jsonl", (row for row in rows if not is_held_out(row)))
        if not rows:  # a generated corpus has no terms
            write_rows(folder / f"{name}.jsonl", rows)
            continue
        tests = ["--train_data", folder / f"{name}_with_tests.jsonl", "--output_file", folder / f"{name}.jsonl"]
        bioemb(
            "decontaminate", *tests, "--local_data", joined(folder / "tests", options.tasks), "--task", *options.task
        )


def spans(folder: Path) -> Path:
    """Each title with one to three sentences of its abstract: as long as a snippet, and no hard negatives."""
    output = folder / "spans.jsonl"
    if not output.exists():
        rows = []
        for row in read_rows(folder / "pairs.jsonl"):
            sentences = SENTENCE_END.split(row["document"])
            if row["kind"] == "title_abstract" and len(sentences) > 3:
                random = Random(row["identity"])
                first, count = random.randrange(len(sentences) - 2), random.randint(1, 3)
                rows.append(row | {"kind": "title_span", "document": " ".join(sentences[first : first + count])})
        write_rows(output, rows)
    return output


def mined_rows(folder: Path, keep_share: float | None, words: list[str]) -> Path:
    """The pairs that the filter keeps, with hard negatives by these flags of `mine`."""
    name = "_".join(["mined", f"{keep_share}", *(word.lstrip("-") for word in words)]).replace(
        "relative_margin", "margin"
    )
    output = folder / f"{name}.jsonl"
    if not output.exists():
        kept, mined = kept_pairs(folder, keep_share), folder / "mined.jsonl"
        lengths = ["--embedder_query_max_length", "64", "--embedder_passage_max_length", "128"]
        files = ["--input_file", kept, "--output_file", mined, "--overwrite", "yes"]  # which keeps the vectors
        bioemb("mine", "--model_name_or_path", folder / "start", *files, *lengths, *words)
        with aside(output) as part:
            shutil.copyfile(mined, part)
    return output


def with_negatives(path: Path, count: int) -> Path:
    """The rows as the peers take them: no other keys, and another row's positive for those without hard negatives."""
    output = path.with_name(f"{path.stem}_peers.jsonl")
    if not output.exists():
        rows, random = read_rows(path), Random(0)
        positives = [row.get("pos") or [row["document"]] for row in rows]
        drawn = ([random.choice(positives)[0] for _ in range(count)] for _ in rows)
        kept = (
            (row["query"], pos, row.get("neg") or neg) for row, pos, neg in zip(rows, positives, drawn, strict=True)
        )
        write_rows(output, ({"query": query, "pos": pos, "neg": neg} for query, pos, neg in kept))
    return output


def kept_pairs(folder: Path, keep_share: float | None) -> Path:
    """The pairs of the highest cosines of each kind; all of them where no share is named."""
    output = folder / f"kept_{keep_share}.jsonl"
    if keep_share is None:
        return folder / "pairs.jsonl"
    if not output.exists():
        kept = folder / "kept.jsonl"
        files = ["--folder_path", folder / "pairs.jsonl", "--out_file_path", kept, "--overwrite", "yes"]
        rule = ["--keep_share", str(keep_share), "--max_length", "128"]
        bioemb("filter", "--model_path", folder / "start", *files, *rule)
        with aside(output) as part:
            shutil.copyfile(kept, part)
    return output


def bioemb(*words: object) -> None:
    """Run the command; end with its error where it has one."""
    command = [sys.executable, "-m", "bioemb", *map(str, words)]
    if subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL).returncode:
        sys.exit(f"{' '.join(command)} failed")


def read_abstracts(path: Path) -> Iterator[dict]:
    """Titles with their abstracts, as pairs."""
    for row in zipped_rows(path):
        pair = {"query": row["title"], "document": row["abstract"], "kind": "title_abstract"}
        yield pair | {"identity": stable_hash(str(row["pmid"]))}  # as `extract` would give it


def is_held_out(row: dict) -> bool:
    return row["identity"] % HELD_OUT == 0


def write_choice_tasks(folder: Path, abstracts: list[dict], terms: list[dict], questions: Path | None) -> None:
    """Local tasks of the articles held out, and of questions where there are some."""
    of_articles = [(row["query"], row["document"]) for row in abstracts if is_held_out(row)]
    others = [row["document"] for row in abstracts if not is_held_out(row)]
    write_task(folder / "dev-abstracts", of_articles, others)
    if terms:
        of_terms = [(row["query"], row["document"]) for row in terms if is_held_out(row)]
        write_task(folder / "dev-terms", of_terms, [row["document"] for row in terms if not is_held_out(row)])
    if questions:
        rows = sorted(zipped_rows(questions), key=lambda row: stable_hash(row["question"] + row["answer"]))
        answers = [(row["question"], row["answer"]) for row in rows]
        write_task(folder / "dev-questions", answers[:DOCUMENTS], [answer for _, answer in answers[:DOCUMENTS]])
        snippets = [(question, snippet(question, answer)) for question, answer in answers[DOCUMENTS:]]
        others = [text for _, text in snippets]
        write_task(folder / "dev-snippets", snippets, others, SNIPPET_QUERIES, SNIPPETS)


def snippet(question: str, answer: str) -> str:
    """One or two sentences of an answer, as evaluations on snippets have them."""
    sentences = SENTENCE_END.split(answer)
    random = Random(stable_hash(question))
    first = random.randrange(len(sentences))
    return " ".join(sentences[first : first + random.randint(1, 2)])


def write_task(
    folder: Path, pairs: list[tuple[str, str]], others: list[str], queries: int = QUERIES, documents: int = DOCUMENTS
) -> None:
    """A task in the BEIR layout: some of the pairs' queries; their documents among others, all that answer marked."""
    asked = list(dict.fromkeys(query for query, _ in pairs))[:queries]
    number_of = {query: f"q{number}" for number, query in enumerate(asked)}
    found = dict.fromkeys([document for query, document in pairs if query in number_of] + others)
    place = {document: str(number) for number, document in enumerate(list(found)[:documents])}
    answers = dict.fromkeys(
        (number_of[query], place[document]) for query, document in pairs if query in number_of and document in place
    )
    write_rows(folder / "corpus.jsonl", ({"_id": of, "title": "", "text": text} for text, of in place.items()))
    write_rows(folder / "queries.jsonl", ({"_id": of, "text": text} for text, of in number_of.items()))
    lines = ["query-id\tcorpus-id\tscore", *(f"{query}\t{document}\t1" for query, document in answers)]
    (folder / "qrels").mkdir(exist_ok=True)
    (folder / "qrels" / "test.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def joined(folder: Path, sources: list[Path]) -> Path:
    """One folder with links to all tasks of several."""
    folder.mkdir(exist_ok=True)
    for source in sources:
        for entry in source.iterdir():
            if not (folder / entry.name).exists():
                (folder / entry.name).symlink_to(entry.resolve())
    return folder


def zipped_rows(path: Path) -> list[dict]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def read_rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write_rows(path: Path, rows: Iterable[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with aside(path) as part:
        part.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
