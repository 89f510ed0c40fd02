"""Small PubMed and PMC files for the tests of extraction, and the pairs that come out."""

import gzip
import json
import os
import signal
from pathlib import Path
from random import Random

WORDS = "heart liver kidney brain lung blood bone skin nerve muscle cell gene protein drug dose trial".split()


def abstract_of(word: str) -> str:
    """Forty words, of which no three in a row stand in the abstract of another word."""
    draw = Random(word)
    return " ".join(draw.choice(WORDS) if number % 2 else f"{word}{number}" for number in range(40)) + "."


def citation(pmid: int, word: str, version: int = 1, *, title: str = "", abstract: str = "", links: str = "") -> str:
    title, abstract = title or f"A trial of {word}.", abstract or abstract_of(word)
    return (
        f'<PubmedArticle><MedlineCitation><PMID Version="{version}">{pmid}</PMID><Article><Journal><JournalIssue>'
        f"<PubDate><Year>2020</Year></PubDate></JournalIssue></Journal><ArticleTitle>{title}</ArticleTitle>"
        f"<Abstract><AbstractText>{abstract}</AbstractText></Abstract><Language>eng</Language>"
        f"</Article>{links}</MedlineCitation></PubmedArticle>"
    )


def write_pubmed(path: Path, *parts: str) -> Path:
    text = f"<PubmedArticleSet>{''.join(parts)}</PubmedArticleSet>"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def write_pmc(path: Path, pmid: int, word: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    body = "".join(f"<p>{abstract_of(f'{word}p{n}')} {abstract_of(f'{word}q{n}')}</p>" for n in range(6))
    path.write_text(
        f'<article><front><article-meta><article-id pub-id-type="pmid">{pmid}</article-id><title-group><article-title>'
        f"A trial of {word}</article-title></title-group><abstract><p>{abstract_of(word)}</p></abstract>"
        f"</article-meta></front><body><sec><title>Results</title>{body}</sec></body></article>",
        encoding="utf-8",
    )
    return path


def pairs_of(path: str | Path) -> list[dict]:
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def die(*_) -> None:
    """What a worker does that is killed."""
    os.kill(os.getpid(), signal.SIGKILL)
