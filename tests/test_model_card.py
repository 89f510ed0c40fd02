"""The model card: its metadata as YAML reads it, its programs as Python runs them, its numbers as they are."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from training_runs import small_run, write_examples

from bioemb.card_data import TrainingSet
from bioemb.encoder import Encoder
from bioemb.lineage import Origin
from bioemb.manifest import describe, finish
from bioemb.model_card import POOL, SERVER_POOLING, Facts, model_card, with_section
from bioemb.stages import train

FACTS = Facts(
    name="my-model",
    base_model="BAAI/bge-base-en-v1.5",
    base_is_hub=True,
    width=768,
    pooling="cls",
    normalize=True,
    max_length=256,
    prompts={"query": "find: ", "passage": ""},
    recipe=[("learning_rate", "1e-05"), ("fp16", "True")],
    sets=[
        TrainingSet("mined.jsonl", 12_345, {"kind": {"title_abstract": 345, "a|b": 12_000}, "license": {}}),
        TrainingSet("org/data:pairs@v1", 7, {"kind": {"": 7}, "license": {"CC BY": 7}}, is_hub=True),
    ],
    rows=12_352,
    steps=1000,
    loss="InfoNCE",
    processes=2,
    held_out={"mrr": 0.81234, "recall@1": 0.7},
    held_out_before={"mrr": 0.5},
    version="0.1.0",
)


def metadata(card: str) -> dict:
    return yaml.safe_load(card.split("---\n")[1])


def programs(card: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", card, re.DOTALL)


def test_the_metadata_is_what_the_hub_reads():
    found = metadata(model_card(FACTS))
    assert found["base_model"] == "BAAI/bge-base-en-v1.5" and found["datasets"] == ["org/data"]
    assert (found["library_name"], found["pipeline_tag"]) == ("sentence-transformers", "sentence-similarity")
    assert "feature-extraction" in found["tags"]
    at_home = metadata(model_card(replace(FACTS, base_is_hub=False, base_model="my-start", sets=FACTS.sets[:1])))
    assert "base_model" not in at_home and "datasets" not in at_home


def test_data_and_scores_stand_in_tables():
    lines = model_card(FACTS).splitlines()
    assert "| set | rows | kind | license |" in lines
    assert r"| mined.jsonl | 12,345 | a\|b 12,000, title_abstract 345 |  |" in lines
    assert "| org/data:pairs@v1 | 7 | not said 7 | CC BY 7 |" in lines
    assert "| mrr | 0.5000 | 0.8123 |" in lines and "| recall@1 |  | 0.7000 |" in lines


def test_the_card_says_what_the_data_were_made_from_of_which_date_and_what_was_dropped():
    names = ("pubmed26n0009.xml.gz", "pubmed26n1334.xml.gz", "PMC7.xml", "pubmed_mine.xml")
    records = {"read": 1200, "kept": 1000, "dropped": {"replaced by a later record": 150, "no identifier": 50}}
    pairs = {"read": 1000, "kept": 700, "dropped": {"language": 300}, "pairs": 2100}
    sources = {"pubmed": {"records": 990, "revised": "2026-01-15"}, "pmc": {"records": 10}}
    origins = [
        Origin("pairs.jsonl", "extract", names, {"records": records, "title_passage": pairs, "sources": sources}),
        Origin("mined.jsonl", "mine", ("pairs.jsonl",), {"rows": {"read": 2100, "kept": 2100, "dropped": {}}, "n": 7}),
    ]
    lines = model_card(replace(FACTS, origins=origins)).splitlines()
    assert (
        "`pairs.jsonl` was made from 4 XML files, of which 2 of PubMed's (pubmed26n0009 to pubmed26n1334): 990 records "
        "of PubMed (the last revised on 2026-01-15) and 10 articles of PMC."
    ) in lines
    start = lines.index("| stage | of what | read | kept | dropped |")
    assert lines[start + 2 : start + 6] == [
        "| extract (pairs.jsonl) | records | 1,200 | 1,000 | 150 replaced by a later record, 50 no identifier |",
        "|  | title_passage | 1,000 | 700 (2,100 pairs) | 300 language |",
        "| mine (mined.jsonl) | rows | 2,100 | 2,100 |  |",
        "",
    ]
    assert "XML" not in model_card(FACTS) and "| stage |" not in model_card(FACTS)
    older = Origin("p.jsonl", "extract", ("a.xml",), {"records": records})
    assert "`p.jsonl` was made from 1 XML file." in model_card(replace(FACTS, origins=[older]))


def test_many_kinds_are_cut_and_the_rest_counted():
    some = TrainingSet("a", 99, {"kind": {f"k{number:02}": 20 - number for number in range(15)}})
    assert "k11 9, others 21 |" in model_card(replace(FACTS, sets=[some]))


def test_the_recipe_is_a_command():
    assert "accelerate launch train.py \\\n    --learning_rate 1e-05 \\\n    --fp16 True\n```" in model_card(FACTS)


def test_a_section_is_replaced_or_added():
    card = with_section("# a\n\n## B\n\nold\n\n### sub\n\n## C\n\nc\n", "B", "new\n")
    assert card == "# a\n\n## B\n\nnew\n\n## C\n\nc\n"
    assert with_section(card, "C", "d") == "# a\n\n## B\n\nnew\n\n## C\n\nd\n"
    assert with_section(card, "D", "d") == card + "\n## D\n\nd\n"
    assert with_section(card, "B", "new") == card


@pytest.fixture
def config(tmp_path, tiny_encoder_folder):
    return small_run(tmp_path, tiny_encoder_folder)


@pytest.mark.parametrize("pooling", POOL)
def test_the_cards_programs_give_the_encoders_vectors(config, monkeypatch, pooling):
    other = write_examples(Path(config.output_dir).with_name("eval.jsonl"), 5, seed=3)
    config = replace(config, sentence_pooling_method=pooling, normlized=pooling != "max", max_steps=2, query_max_len=24,
                     query_instruction_for_retrieval="find: ", eval_data=(str(other),))  # fmt: skip
    train.run(config)
    card = (Path(config.output_dir) / "README.md").read_text()
    monkeypatch.chdir(Path(config.output_dir).parent)
    encoder = Encoder.from_pretrained(config.output_dir)
    query = encoder.encode(["aspirin after stroke"], kind="query")
    peer, alone = programs(card)
    for program, texts in ((alone, ["Mice were fed."]), (peer, ["Aspirin halves early recurrence.", "Mice were fed."])):
        if program is peer:
            pytest.importorskip("sentence_transformers")
        names: dict = {}
        exec(program, names)
        expected = query @ encoder.encode(texts, kind="passage").T
        np.testing.assert_allclose(np.asarray(names["scores"]), expected, rtol=0, atol=1e-4)
    assert (
        "--train_data train.jsonl \\\n    --output_dir out \\\n" in card
        and "--max_steps 2" in card
        and "--query_instruction_for_retrieval 'find: '" in card
    )
    assert "| train.jsonl | 14 |" in card and str(config.output_dir) not in card
    assert re.search(r"\| mrr \| 0\.\d{4} \| [01]\.\d{4} \|", card)


@pytest.mark.parametrize("pooling", POOL)
def test_the_cards_server_command_is_of_a_folder_that_the_server_reads(config, pooling):
    """text-embeddings-inference wants tokenizer.json, safetensors and a BERT's config; it has no pooling by maximum."""
    train.run(replace(config, sentence_pooling_method=pooling, max_steps=1, query_instruction_for_retrieval="find: "))
    folder = Path(config.output_dir)
    card = (folder / "README.md").read_text()
    found = re.search(r"text-embeddings-router --model-id (\S+) --pooling (\S+)\n", card)
    if pooling == "max":
        assert found is None and "text-embeddings-router" not in card
        return
    assert found.groups() == ("out", SERVER_POOLING[pooling]) and '`"prompt_name": "query"` or `"document"`' in card
    flags = json.loads((folder / "1_Pooling" / "config.json").read_text())
    names = {"mean": "mean_tokens", "cls": "cls_token", "last": "lasttoken"}
    assert [key for key, value in flags.items() if value and "mode" in key] == [f"pooling_mode_{names[pooling]}"]
    assert json.loads((folder / "config.json").read_text())["model_type"] == "bert"
    assert {"tokenizer.json", "model.safetensors"} <= {path.name for path in folder.iterdir()}
    prompts = json.loads((folder / "config_sentence_transformers.json").read_text())["prompts"]
    assert prompts == {"query": "find: ", "document": ""}


def test_training_follows_the_manifests_of_its_data_into_the_card(config):
    counts = {"rows": {"read": 20, "kept": 14, "dropped": {"no negatives": 6}}}
    finish(config.train_data[0], describe("mine", {}, []), counts)
    train.run(replace(config, max_steps=1, eval_share=0.2))
    card = (Path(config.output_dir) / "README.md").read_text()
    assert "| mine (train.jsonl) | rows | 20 | 14 | 6 no negatives |" in card
    found = re.search(r"\| train \(out\) \| rows \| 14 \| (\d+) \| (\d+) held out \|", card)
    assert int(found[1]) + int(found[2]) == 14 and f"| train.jsonl | {found[1]} |" in card


def test_the_cards_funnel_starts_at_all_rows(config):
    train.run(replace(config, max_steps=1, eval_share=0.4, max_example_num_per_dataset=9))
    card = (Path(config.output_dir) / "README.md").read_text()
    found = re.search(r"\| train \(out\) \| rows \| 14 \| (\d+) \| (.*) \|", card)
    dropped = re.findall(r"(\d+) ([a-z ]+)", found[2])
    assert found[1] == "9" and "beyond max example num per dataset" in dict(map(reversed, dropped))
    assert int(found[1]) + sum(int(count) for count, _ in dropped) == 14
