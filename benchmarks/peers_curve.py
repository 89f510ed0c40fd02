"""Parity: with FlagEmbedding's settings bioemb's losses are its losses, step by step, and the mined negatives its own.

    pip install -e '.[cpu,bench]'
    python benchmarks/peers_curve.py --model path/to/all-MiniLM-L6-v2 --texts abstracts.jsonl.gz
    python benchmarks/peers_curve.py --quick

Training: bioemb's command runs first and notes the rows of its batches; FlagEmbedding's trainer then gets the rows in
this order. Both in float32, without dropout, with linear decay from the same rate; no text occurs twice, so that
no passage is masked. Mining: all of the window's passages are asked for, none is filled up at random, and the sets are
compared; where two passages are at the window's edge with the same score but for the last digit, they may differ.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from measuring import chosen, make_parser, own_commands, parse, print_case, run_by_turns
from peer_mining import Window, like_flag_embedding
from peer_training import Training, flag_embedding_trainer
from reporting import Aim, Table, write_report
from texts import add_flags, describe, read_texts

GROUP, QUERY_TOKENS, PASSAGE_TOKENS = 2, 32, 128
TEMPERATURE, LEARNING_RATE = 0.02, 2e-5
WINDOW = Window(2, 52, 50)
SHOWN = (1, 2, 5, 10, 20, 30, 40, 50)  # steps in the table


def our_losses(options: argparse.Namespace) -> dict:
    """Train by the command, and write the rows in the order in which they were used."""
    from bioemb.config import TrainConfig
    from bioemb.stages.train import run
    from bioemb.trainer import Trainer

    losses, used, step = [], [], Trainer.step

    def noted(self, batches, *others, **named):
        loss, interrupted = step(self, batches, *others, **named)
        losses.append(loss)
        used.extend(int(row) for batch in batches for row in batch.rows)
        return loss, interrupted

    Trainer.step = noted
    run(
        TrainConfig(
            output_dir=str(options.folder / "ours"),
            model_name_or_path=str(options.folder / "model"),
            train_data=(str(options.folder / "rows.jsonl"),),
            train_group_size=GROUP,
            query_max_len=QUERY_TOKENS,
            passage_max_len=PASSAGE_TOKENS,
            per_device_train_batch_size=options.queries,
            temperature=TEMPERATURE,
            learning_rate=LEARNING_RATE,
            max_steps=options.steps,
        )
    )
    lines = (options.folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    (options.folder / "ordered.jsonl").write_text("".join(lines[row] + "\n" for row in used), encoding="utf-8")
    return {"losses": losses}


def peer_losses(options: argparse.Namespace) -> dict:
    """FlagEmbedding's own runner and trainer, which takes the rows as they stand."""
    from torch.utils.data import SequentialSampler

    folder = options.folder
    trainer = flag_embedding_trainer(
        Training(folder / "model", folder / "ordered.jsonl", GROUP, QUERY_TOKENS, PASSAGE_TOKENS, TEMPERATURE),
        {
            "output_dir": str(folder / "peer"),
            "per_device_train_batch_size": options.queries,
            "learning_rate": LEARNING_RATE,
            "max_steps": options.steps,
        },
    )
    losses = []
    compute_loss = trainer.compute_loss

    def noted(*arguments, **named):
        loss = compute_loss(*arguments, **named)
        losses.append(loss.item())
        return loss

    trainer.compute_loss = noted
    trainer._get_train_sampler = lambda dataset=None: SequentialSampler(dataset or trainer.train_dataset)
    trainer.train()
    return {"losses": losses}


def our_negatives(options: argparse.Namespace) -> dict:
    output = options.folder / "mined.jsonl"
    words = ["--model_name_or_path", str(options.folder / "model"), "--input_file", str(options.folder / "mine.jsonl")]
    words += ["--range_for_sampling", f"{WINDOW.first}-{WINDOW.stop}", "--negative_number", str(WINDOW.count)]
    words += ["--relative_margin", "none", "--max_positive_similarity", "none", "--on_short", "fewer", "--bf16", "no"]
    words += ["--embedder_query_max_length", str(PASSAGE_TOKENS), "--embedder_passage_max_length", str(PASSAGE_TOKENS)]
    done = subprocess.run(
        [sys.executable, "-m", "bioemb", "mine", *words, "--output_file", str(output)],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(done.stderr)
    return write_sets(options, [row["neg"] for row in read_lines(output)])


def peer_negatives(options: argparse.Namespace) -> dict:
    rows = read_lines(options.folder / "mine.jsonl")
    model = str(options.folder / "model")
    return write_sets(options, like_flag_embedding(model, rows, WINDOW, PASSAGE_TOKENS, fill=False))


def write_sets(options: argparse.Namespace, mined: list[list[str]]) -> dict:
    (options.folder / f"{options.one}.json").write_text(json.dumps(mined))
    return {"negatives": sum(map(len, mined))}


CASES = {
    "bioemb losses": our_losses,
    "FlagEmbedding losses": peer_losses,
    "bioemb negatives": our_negatives,
    "FlagEmbedding negatives": peer_negatives,
}
NEEDS = {  # what is reported is how both differ
    "bioemb losses": "FlagEmbedding losses",
    "FlagEmbedding losses": "bioemb losses",
    "bioemb negatives": "FlagEmbedding negatives",
    "FlagEmbedding negatives": "bioemb negatives",
}


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def prepare(folder: Path, options: argparse.Namespace) -> None:
    """The model without dropout; rows whose texts occur once; rows to mine for."""
    from bioemb.model_folder import find_folder

    shutil.copytree(find_folder(options.model), folder / "model")
    path = folder / "model" / "config.json"
    no_dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    path.write_text(json.dumps(json.loads(path.read_text()) | no_dropout))
    count = options.steps * options.queries
    texts = read_texts(options.texts, max(GROUP * count, options.rows))
    pairs = zip(texts[:count], texts[count : 2 * count], strict=True)
    rows = [{"query": text.title, "pos": [text.abstract], "neg": [other.abstract]} for text, other in pairs]
    write_lines(folder / "rows.jsonl", rows)
    write_lines(
        folder / "mine.jsonl", [{"query": text.title, "pos": [text.abstract]} for text in texts[: options.rows]]
    )


def write_lines(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def compare_losses(ours: list[float], peers: list[float], options: argparse.Namespace) -> tuple[Table, float]:
    """The losses of some steps beside each other, and the largest difference of all."""
    differences = [abs(one - other) for one, other in zip(ours, peers, strict=True)]
    rows = [
        [step, f"{ours[step - 1]:.6f}", f"{peers[step - 1]:.6f}", f"{differences[step - 1]:.1e}"]
        for step in SHOWN
        if step <= len(ours)
    ]
    caption = (
        f"Losses of {len(ours)} steps of {options.queries} queries x {GROUP} passages, temperature {TEMPERATURE}, "
        f"{describe(options.texts)}; the largest difference is {max(differences):.1e}"
    )
    return Table(caption, ["step", "bioemb", "FlagEmbedding", "difference"], rows), max(differences)


def compare_negatives(folder: Path, options: argparse.Namespace) -> tuple[Table, float]:
    """How far the sets agree: rows with the same set, and the share of negatives that both have."""
    ours, peers = (json.loads((folder / f"{name} negatives.json").read_text()) for name in ("bioemb", "FlagEmbedding"))
    both = sum(len({*one} & {*other}) for one, other in zip(ours, peers, strict=True))
    union = sum(len({*one} | {*other}) for one, other in zip(ours, peers, strict=True))
    same = sum({*one} == {*other} for one, other in zip(ours, peers, strict=True))
    caption = f"All negatives of ranks {WINDOW.first} to {WINDOW.stop} for {len(ours):,} titles"
    columns = ["rows", "with the same set", "negatives of either", "of both"]
    return Table(caption, columns, [[len(ours), same, union, both]]), both / union


def main() -> None:
    flags = make_parser(__doc__, without=("repeats",))
    add_flags(flags)
    flags.add_argument("--steps", type=int, default=50)
    flags.add_argument("--queries", type=int, default=8, help="of a step")
    flags.add_argument("--rows", type=int, default=1000, help="to mine for")
    options = parse(flags, steps=10, queries=4, rows=120)
    if options.one:
        print_case(CASES, options)
        return
    names = chosen(list(CASES), options, NEEDS)
    tables, difference, agreement = [], None, None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, options)
        runs, left_out = run_by_turns(own_commands(names, folder), 1, options.threads)
        if {"bioemb losses", "FlagEmbedding losses"} <= set(runs):
            curves = [runs[f"{name} losses"][0]["losses"] for name in ("bioemb", "FlagEmbedding")]
            table, difference = compare_losses(*curves, options)
            tables.append(table)
        if {"bioemb negatives", "FlagEmbedding negatives"} <= set(runs):
            table, agreement = compare_negatives(folder, options)
            tables.append(table)
    aims = [
        Aim("parity: largest difference of a step's loss from FlagEmbedding's", difference, at_most=1e-5),
        Aim("parity: share of the mined negatives that FlagEmbedding's window has too", agreement, 0.999),
    ]
    write_report("peers_curve", options, tables, aims, {"runs": runs, "left out": left_out})


if __name__ == "__main__":
    main()
