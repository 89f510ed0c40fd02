"""The model card: a README.md with the hub's metadata, how to use the model, and what it was trained on and how.

Pure: facts in, Markdown out. What is learnt later, scores of an evaluation say, joins it by `with_section`.
"""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from bioemb.card_data import TrainingSet, data_section
from bioemb.errors import DataError

if TYPE_CHECKING:
    from bioemb.lineage import Origin

TAGS = (
    "bioemb",  # by which a card is known to be ours
    "sentence-transformers",
    "sentence-similarity",
    "feature-extraction",
    "biomedical",
    "text-embeddings-inference",
)
FRONT = re.compile(r"---\n(.*?\n)---\n", re.DOTALL)  # YAML metadata at the top of a card
POOL = {  # transformers' last hidden state [n, t, d] and the mask [n, t, 1] to vectors [n, d]
    "mean": "(hidden * mask).sum(1) / mask.sum(1)",
    "cls": "hidden[:, 0]",
    "last": "hidden[torch.arange(len(hidden)), mask[..., 0].sum(1) - 1]",
    "max": "hidden.masked_fill(mask == 0, -torch.inf).amax(1)",
}
SERVER_POOLING = {"mean": "mean", "cls": "cls", "last": "last-token"}  # text-embeddings-inference has no max
EVALUATION = "Evaluation"  # the section that an evaluation fills
NO_SCORES = "None yet: `bioemb evaluate --model_path THIS_FOLDER --task ...` writes scores here."


@dataclass(frozen=True)
class Facts:
    """What a card says. Scores are by name, 0 to 1; `recipe` are flags and values as they were typed."""

    name: str
    base_model: str
    base_is_hub: bool
    width: int
    pooling: str
    normalize: bool
    max_length: int
    prompts: Mapping[str, str]  # by "query" and "passage"
    recipe: Sequence[tuple[str, str]]
    sets: Sequence[TrainingSet]
    rows: int  # trained on
    steps: int
    loss: str
    processes: int
    held_out: Mapping[str, float]
    held_out_before: Mapping[str, float]
    version: str
    origins: "Sequence[Origin]" = ()  # of the training data, the first stage first


def model_card(facts: Facts) -> str:
    """The whole card as Markdown with YAML metadata in front."""
    parts = [
        _metadata(facts),
        f"# {facts.name}\n\n{_summary(facts)}\n",
        f"## Use\n\n{_use(facts)}\n",
        f"## Training data\n\n{data_section(facts.sets, facts.origins)}\n",
        f"## Recipe\n\n{_recipe(facts)}\n",
        *([f"## Held-out queries\n\n{_held_out(facts)}\n"] if facts.held_out else []),
        f"## {EVALUATION}\n\n{NO_SCORES}\n",
        f"## Limits\n\n{_limits()}\n",
    ]
    return "\n".join(parts)


def with_section(card: str, title: str, body: str) -> str:
    """The card with this text under `## title`, in the place of what stood there, or at the end."""
    section = f"## {title}\n\n{body.strip()}\n"
    found = re.search(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", card, re.MULTILINE | re.DOTALL)
    if found is None:
        return f"{card.rstrip()}\n\n{section}"
    rest = card[found.end() :]
    return card[: found.start()] + section + ("\n" + rest if rest else "")


def with_metadata(card: str, key: str, value: Any) -> str:
    """The card with this value under a key of its YAML metadata; every other line stays as it is.

    Raises DataError where the card has no metadata.
    """
    front = FRONT.match(card)
    if front is None:
        raise DataError("the model card does not begin with metadata between lines of ---")
    entry = yaml.safe_dump({key: value}, sort_keys=False, allow_unicode=True)
    old = re.search(rf"^{re.escape(key)}:.*\n(?:[ -].*\n|\n)*", front[1], re.MULTILINE)
    lines = front[1][: old.start()] + entry + front[1][old.end() :] if old else front[1] + entry
    return card[: front.start(1)] + lines + card[front.end(1) :]


def for_hub(card: str, repo_id: str) -> str:
    """The card whose programs load the model by its name on the hub, in place of its folder's."""
    title = re.search(r"^# (.+)$", card, re.MULTILINE)
    use = re.search(r"^## Use\n.*?(?=^## |\Z)", card, re.MULTILINE | re.DOTALL)
    if title is None or use is None:
        return card
    programs = use[0].replace(f'("{title[1]}")', f'("{repo_id}")')
    programs = programs.replace(f"--model-id {shlex.quote(title[1])} ", f"--model-id {repo_id} ")
    return card[: use.start()] + programs + card[use.end() :]


def is_ours(card: str) -> bool:
    """Whether this is a card that `model_card` made, whatever else has been written into it since."""
    front = FRONT.match(card)
    return front is not None and f"- {TAGS[0]}" in front[1].splitlines()


def _metadata(facts: Facts) -> str:
    lines = ["---", "library_name: sentence-transformers", "pipeline_tag: sentence-similarity", "tags:"]
    lines += [f"- {tag}" for tag in TAGS]
    if facts.base_is_hub:
        lines.append(f"base_model: {facts.base_model}")
    hub = [training_set.name.partition("@")[0].partition(":")[0] for training_set in facts.sets if training_set.is_hub]
    if hub:
        lines += ["datasets:", *(f"- {name}" for name in dict.fromkeys(hub))]
    return "\n".join([*lines, "---"]) + "\n"


def _summary(facts: Facts) -> str:
    base = f"[{facts.base_model}](https://huggingface.co/{facts.base_model})" if facts.base_is_hub else facts.base_model
    length = " of length 1, so that a dot product is a cosine" if facts.normalize else ""
    return (
        f"A text-embedding model: {base}, fine-tuned on {facts.rows:,} examples. It turns texts of up to "
        f"{facts.max_length:,} tokens into vectors of {facts.width:,} numbers{length}; texts that answer each other "
        "lie close together."
    )


def _use(facts: Facts) -> str:
    query, passage = (facts.prompts.get(kind, "") for kind in ("query", "passage"))
    before = ""
    if query or passage:
        before = f"Queries are read after {query!r} and passages after {passage!r}; the examples do it.\n\n"
    normalize = "    vectors = torch.nn.functional.normalize(vectors, dim=1)\n" if facts.normalize else ""
    similarity = "cosines" if facts.normalize else "dot products"
    use = f"""{before}```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("{facts.name}")
query = model.encode(["aspirin after stroke"], prompt_name="query")
passages = model.encode(["Aspirin halves early recurrence.", "Mice were fed."], prompt_name="document")
scores = query @ passages.T  # {similarity}
```

With transformers alone:

```python
import torch
from transformers import AutoModel, AutoTokenizer

tokenizer, model = AutoTokenizer.from_pretrained("{facts.name}"), AutoModel.from_pretrained("{facts.name}").eval()


def encode(texts, prompt):
    texts = [prompt + text for text in texts]
    tokens = tokenizer(texts, padding=True, padding_side="right", truncation=True, return_tensors="pt")
    with torch.no_grad():
        hidden = model(**tokens).last_hidden_state
    mask = tokens["attention_mask"][..., None]
    vectors = {POOL[facts.pooling]}
{normalize}    return vectors


scores = encode(["aspirin after stroke"], {query!r}) @ encode(["Mice were fed."], {passage!r}).T
```
"""
    if facts.pooling in SERVER_POOLING:
        use += f"""
With text-embeddings-inference, which takes `"prompt_name": "query"` or `"document"` beside `"inputs"`:

```
text-embeddings-router --model-id {shlex.quote(facts.name)} --pooling {SERVER_POOLING[facts.pooling]}
```
"""
    return use.rstrip()


def _recipe(facts: Facts) -> str:
    flags = " \\\n    ".join(f"--{name} {value}".rstrip() for name, value in facts.recipe)
    command = f"accelerate launch train.py \\\n    {flags}" if flags else "accelerate launch train.py"
    return (
        f"Loss: {facts.loss}. {facts.steps:,} steps on {facts.processes} "
        f"{'process' if facts.processes == 1 else 'processes'}, with bioemb {facts.version}; what is not named has its "
        f"default:\n\n```\n{command}\n```"
    )


def _held_out(facts: Facts) -> str:
    lines = ["| held-out queries of the training data | before | after |", "|---|---|---|"]
    for name, score in facts.held_out.items():
        before = facts.held_out_before.get(name)
        lines.append(f"| {name} | {'' if before is None else f'{before:.4f}'} | {score:.4f} |")
    return "\n".join(lines) + (
        "\n\nEach query is asked of all passages that were held out with it. This says that training worked, not how "
        "good the model is elsewhere."
    )


def _limits() -> str:
    return (
        "The scores say that texts are about the same thing, not that what they say is true. The model knows the "
        "languages and fields of its base model and of the training data. Its licence follows from theirs and is not "
        "set here."
    )
