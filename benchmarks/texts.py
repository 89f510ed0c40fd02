"""Titles and abstracts for the benchmarks: real ones from JSON lines, or generated ones where there are none."""

import gzip
import json
import sys
from pathlib import Path
from random import Random
from typing import NamedTuple

from measuring import REPOSITORY, aside

MODEL = "sentence-transformers/all-MiniLM-L6-v2"  # the hub's name; a folder does as well
GENERATED = "generated"


class Text(NamedTuple):
    title: str
    abstract: str


def add_flags(flags, model: str = MODEL) -> None:
    """`--texts`, and `--model` with its default."""
    flags.add_argument("--texts", type=Path, help='{"title","abstract"} a line (default: generated)')
    add_model_flag(flags, model)


def add_model_flag(flags, model: str = MODEL) -> None:
    """`--model`; with `--quick` a small encoder that needs no hub stands in for the default."""
    default = GENERATED if "--quick" in sys.argv[1:] else model
    words = f"encoder: a folder, a hub name, or `{GENERATED}`, a small one (default: {model}; quick: {GENERATED})"
    flags.add_argument("--model", type=_encoder, default=default, help=words)


def _encoder(name: str) -> str:
    """The folder of the generated encoder, written where it is not there; any other name as it is."""
    folder = REPOSITORY / "work" / "generated_encoder"
    if name == GENERATED and not folder.exists():
        from bioemb.demo.model import write_starting_encoder

        with aside(folder) as part:
            write_starting_encoder(part, [text.abstract for text in generate_texts(500)])
    return str(folder) if name == GENERATED else name


def read_texts(path: Path | None, count: int) -> list[Text]:
    """The first `count` with different titles and abstracts; generated where none were named."""
    if path is None:
        return generate_texts(count)
    if not path.exists():
        raise SystemExit(f"{path} is not there")
    found: dict[str, Text] = {}
    titles: set[str] = set()
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else open(path, encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            title, abstract = record["title"], record["abstract"]
            if len(found) < count and title and abstract and title not in titles and abstract not in found:
                titles.add(title)
                found[abstract] = Text(title, abstract)
    if len(found) < count:
        raise SystemExit(f"{path} has {len(found):,} different abstracts; {count:,} were asked for")
    return list(found.values())


def generate_texts(count: int) -> list[Text]:
    """Of the demonstration's generator: templates filled with invented names, numbered to be different."""
    from bioemb.demo.articles import make_records
    from bioemb.demo.concepts import make_concepts

    records = make_records(make_concepts(seed=0), max(100, 2 * count), seed=0)
    flawless = [record.article for record in records if not record.flaw]
    return [
        Text(f"{article.title} ({row})", " ".join(part.text for part in article.abstract) + f" Series {row}.")
        for row, article in enumerate(flawless[:count])
    ]


def mixed_lengths(texts: list[Text], shortest: int = 10, longest: int = 300, seed: int = 0) -> list[str]:
    """Each abstract, repeated and then cut to a number of words drawn evenly between the two."""
    random = Random(seed)
    result = []
    for text in texts:
        wanted, words = random.randint(shortest, longest), text.abstract.split()
        result.append(" ".join((words * (wanted // len(words) + 1))[:wanted]))
    return result


def describe(path: Path | None) -> str:
    """What the texts are, for a table's caption."""
    return f"real PubMed texts ({path.name})" if path else "generated texts"
