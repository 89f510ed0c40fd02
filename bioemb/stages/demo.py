"""`bioemb demo`: the whole path, offline, on a generated corpus with a small fresh encoder."""

import shutil
import time
from pathlib import Path

from bioemb.config import DemoConfig
from bioemb.errors import ConfigError
from bioemb.files import read_records
from bioemb.log import logger
from bioemb.manifest import begin, finish
from bioemb.stages.run import parse_recipe, run_steps

# The recipe of the demonstration: what a user would write, for an encoder that has learnt little yet.
RECIPE = {
    "extract": {"input_path": ["{root}/corpus/pubmed", "{root}/corpus/pmc"], "output_file": "{root}/pairs.jsonl"},
    "filter": {
        "model_path": "{root}/start",
        "folder_path": "{root}/pairs.jsonl",
        "out_file_path": "{root}/kept.jsonl",
        "sim_threshold": 0.2,  # of this encoder: another one's cosines lie elsewhere
    },
    "mine": {
        "model_name_or_path": "{root}/start",
        "input_file": "{root}/kept.jsonl",
        "output_file": "{root}/mined.jsonl",
        "range_for_sampling": "10-100",
        "negative_number": 7,
        "relative_margin": 0.05,
    },
    "train": {
        "model_name_or_path": "{root}/start",
        "train_data": "{root}/mined.jsonl",
        "output_dir": "{root}/trained",
        "train_group_size": 2,
        "query_max_len": 32,
        "passage_max_len": 128,
        "per_device_train_batch_size": 64,
        "max_steps": 200,
        "learning_rate": 4e-3,  # high, because the encoder is fresh and small; 1e-5 to 5e-5 for a pretrained one
        "warmup_ratio": 0.1,
        "temperature": 0.05,
        "logging_steps": 25,
    },
    "evaluate": {
        "model_path": "{root}/trained",
        "baseline_model_path": "{root}/start",
        "bm25": True,
        "local_data": "{root}/corpus/eval",
        "task": ["demo-retrieval", "demo-sts"],
        "save_folder": "{root}/scores",
    },
}


def run(config: DemoConfig) -> str:
    """Make the corpus and the encoder, then run the recipe; what is complete is skipped unless it is to start over."""
    root, start = Path(config.output_dir), time.perf_counter()
    if config.overwrite and root.exists():
        if any(root.iterdir()) and not (root / "corpus.manifest.json").exists():
            raise ConfigError(f"{root} was not made by this command; name another --output_dir")
        shutil.rmtree(root)
    told = [make_corpus(root / "corpus", config.records, config.seed)]
    recipe = {**RECIPE, "train": {**RECIPE["train"], "seed": config.seed}}
    extract, *rest = parse_recipe(recipe, str(root), overwrite=False)
    told.append(run_steps([extract]))
    told.append(make_encoder(root / "start", root / "pairs.jsonl", config.seed))
    told.append(run_steps(rest))
    minutes = (time.perf_counter() - start) / 60
    note = "The corpus is generated: these scores say nothing about real biomedical text."
    look = f"everything is in {root}; `bioemb report {root}` writes a page about it"
    return "\n\n".join([*told, f"{note}\n{minutes:.1f} minutes; {look}"])


def make_corpus(folder: Path, records: int, seed: int) -> str:
    """The generated corpus, unless it is there."""
    from bioemb.demo.corpus import write_corpus

    description = {"stage": "corpus", "settings": {"records": records, "seed": seed}, "inputs": {}, "models": {}}
    if not begin(folder, description, overwrite=False):
        return f"== corpus\n{folder} is complete; nothing to do"
    logger.info("generate a corpus of %d records", records)
    counts = write_corpus(folder, records, seed)
    finish(folder, description, counts)
    lines = "\n".join(f"  {name.replace('_', ' '):<22} {count:>7,}" for name, count in counts.items())
    return f"== corpus (generated)\n{lines}"


def make_encoder(folder: Path, pairs: Path, seed: int) -> str:
    """A small fresh encoder whose words are those of the pairs, unless it is there."""
    from bioemb.demo.model import write_starting_encoder

    if not (folder / "modules.json").exists():
        logger.info("make a small encoder and warm it up")
        texts = dict.fromkeys(
            text for located in read_records([pairs]) for text in (located.record["query"], located.record["document"])
        )
        write_starting_encoder(folder, list(texts), seed)
    return f"== starting encoder\n{folder}: fresh, warmed up on crops of the corpus's own texts, never on pairs"
