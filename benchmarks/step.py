"""One training step of an encoder on real pairs: bioemb beside FlagEmbedding and sentence-transformers.

    pip install -e '.[cpu,bench]'
    python benchmarks/step.py --model path/to/all-MiniLM-L6-v2 --texts abstracts.jsonl.gz
    python benchmarks/step.py --quick

Each case trains through its package's own trainer for a few steps: a title is the query, its abstract the positive,
another article's abstract the negative; queries to 64 tokens, passages to 256 (`--mixed`: abstracts made to have 10 to
300 words). A step is what passes from the end of one to the end of the next, the preparation of its batch included; the
first is not counted. Every trainer gets the same model folder, whose dropout is `--dropout`; with `--own_dropout` that
of the model for the peers and none for bioemb, as users of each get it. Memory is the peak of the whole process.
"""

import argparse
import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from measuring import (
    Summary,
    chosen,
    cpu_seconds,
    in_best,
    make_parser,
    own_commands,
    parse,
    peak_mb,
    print_case,
    ratio,
    run_by_turns,
    summarise,
)
from peer_training import Training, flag_embedding_trainer, sentence_transformers_trainer
from products import PRODUCTS, forward_gflop, matrix_products, pace, share_of_products
from reporting import Aim, Table, write_report
from texts import Text, add_flags, describe, mixed_lengths, read_texts

QUERY_TOKENS, PASSAGE_TOKENS, GROUP = 64, 256, 2
TEMPERATURE, LEARNING_RATE = 0.02, 1e-5
LARGE = "large batch: "


class Steps:
    """When each step ended."""

    def __init__(self):
        self.ends: list[tuple[float, float]] = []

    def end(self) -> None:
        self.ends.append((cpu_seconds(), time.perf_counter()))

    def costs(self) -> dict:
        """Median CPU and wall seconds of the steps but the first, and the peak until now."""
        pairs = list(zip(self.ends, self.ends[1:], strict=False))
        cpu, wall = (statistics.median(after[i] - before[i] for before, after in pairs) for i in (0, 1))
        return {"cpu": cpu, "wall": wall, "peak_mb": peak_mb()}


def sub_batch_queries(options: argparse.Namespace) -> int:
    """As many queries, each with its passages, as have the texts that the peer runs at once."""
    return max(1, options.sub_batch // (1 + GROUP))


def ours(options: argparse.Namespace, bf16: bool, sub_batch_size: int | None = None, compiled: bool = False) -> dict:
    from bioemb.process_settings import settle

    settle()  # as the command does
    from bioemb.config import TrainConfig
    from bioemb.stages.train import run
    from bioemb.trainer import Trainer

    steps, step = Steps(), Trainer.step

    def timed(*arguments, **named):
        result = step(*arguments, **named)
        steps.end()
        return result

    Trainer.step = timed
    with tempfile.TemporaryDirectory(dir=options.folder) as output:  # a finished training would not be run again
        run(
            TrainConfig(
                output_dir=output,
                model_name_or_path=str(options.folder / "model"),
                train_data=(str(options.folder / "rows.jsonl"),),
                train_group_size=GROUP,
                query_max_len=QUERY_TOKENS,
                passage_max_len=PASSAGE_TOKENS,
                per_device_train_batch_size=batch_of(options),
                sub_batch_size=sub_batch_size,
                temperature=TEMPERATURE,
                learning_rate=LEARNING_RATE,
                dropout=0.0 if options.own_dropout else options.dropout,
                max_steps=options.steps,
                bf16=bf16,
                torch_compile=compiled,
            )
        )
    return steps.costs()


def flag_embedding(options: argparse.Namespace, bf16: bool) -> dict:
    return run_trainer(flag_embedding_trainer(training_of(options), trainer_settings(options, bf16)))


def sentence_transformers(options: argparse.Namespace, bf16: bool, mini_batch_size: int | None = None) -> dict:
    settings = trainer_settings(options, bf16)
    return run_trainer(sentence_transformers_trainer(training_of(options), settings, mini_batch_size))


def training_of(options: argparse.Namespace) -> Training:
    folder = options.folder
    return Training(folder / "model", folder / "rows.jsonl", GROUP, QUERY_TOKENS, PASSAGE_TOKENS, TEMPERATURE)


def trainer_settings(options: argparse.Namespace, bf16: bool) -> dict:
    """For the trainers that are made of the one of transformers."""
    return {
        "output_dir": str(options.folder / options.one),
        "per_device_train_batch_size": batch_of(options),
        "learning_rate": LEARNING_RATE,
        "max_steps": options.steps,
        "bf16": bf16,
        "dataloader_drop_last": True,
    }


def run_trainer(trainer) -> dict:
    from transformers import TrainerCallback

    steps = Steps()

    class Ends(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            steps.end()

    trainer.add_callback(Ends())
    trainer.train()
    return steps.costs()


CASES = {
    PRODUCTS: matrix_products,
    "bioemb float32, one pass": lambda options: ours(options, False),
    "bioemb bf16, one pass": lambda options: ours(options, True),
    "bioemb float32, sub-batches": lambda options: ours(options, False, sub_batch_queries(options)),
    "bioemb bf16, sub-batches": lambda options: ours(options, True, sub_batch_queries(options)),
    "bioemb bf16, compiled": lambda options: ours(options, True, compiled=True),
    "sentence-transformers float32": lambda options: sentence_transformers(options, False),
    "sentence-transformers bf16": lambda options: sentence_transformers(options, True),
    "sentence-transformers float32, cached": lambda options: sentence_transformers(options, False, options.sub_batch),
    "sentence-transformers bf16, cached": lambda options: sentence_transformers(options, True, options.sub_batch),
    "FlagEmbedding float32": lambda options: flag_embedding(options, False),
    "FlagEmbedding bf16": lambda options: flag_embedding(options, True),
    LARGE + "bioemb bf16, sub-batches": lambda options: ours(options, True, sub_batch_queries(options)),
    LARGE + "sentence-transformers bf16, cached": lambda options: sentence_transformers(
        options, True, options.sub_batch
    ),
}


def batch_of(options: argparse.Namespace) -> int:
    return options.large if options.one.startswith(LARGE) else options.queries


def prepare(folder: Path, options: argparse.Namespace) -> dict[int, float]:
    """Rows and the model with the dropout asked for; the GFLOP of a step's needed products, by queries in a batch."""
    from transformers import AutoConfig, AutoTokenizer

    from bioemb.model_folder import find_folder

    shutil.copytree(find_folder(options.model), folder / "model")
    if not options.own_dropout:
        path = folder / "model" / "config.json"
        dropout = {"hidden_dropout_prob": options.dropout, "attention_probs_dropout_prob": options.dropout}
        path.write_text(json.dumps(json.loads(path.read_text()) | dropout))
    texts = read_texts(options.texts, options.steps * max(options.queries, options.large))
    if options.mixed:
        texts = [Text(text.title, cut) for text, cut in zip(texts, mixed_lengths(texts), strict=True)]
    with open(folder / "rows.jsonl", "w", encoding="utf-8") as out:
        for row, text in enumerate(texts):
            other = texts[(row + len(texts) // 2) % len(texts)]
            out.write(json.dumps({"query": text.title, "pos": [text.abstract], "neg": [other.abstract]}) + "\n")
    config, tokenizer = AutoConfig.from_pretrained(options.model), AutoTokenizer.from_pretrained(options.model)
    lengths = []
    for some, limit in (
        ([text.title for text in texts], QUERY_TOKENS),
        ([text.abstract for text in texts], PASSAGE_TOKENS),
    ):
        lengths.append([len(ids) for ids in tokenizer(some, truncation=True, max_length=limit)["input_ids"]])
    passes = 3  # forward, and two products as large backward
    one = passes * forward_gflop(config, [*lengths[0], *lengths[1] * GROUP]) / len(texts)
    return {count: one * count for count in {options.queries, options.large}}


def make_table(summary: Summary, names: list[str], queries: int, gflop: float, options: argparse.Namespace) -> Table:
    best = in_best("bioemb bf16, one pass", summary)
    rows = [
        [
            name.removeprefix(LARGE),
            summary[name]["cpu"],
            summary[name]["wall"],
            queries / summary[name]["cpu"].median,
            ratio(summary, name, best) if not name.startswith(LARGE) else None,
            summary[name]["peak_mb"].median,
            share_of_products(summary, name, gflop),
        ]
        for name in names
        if name in summary
    ]
    dropout = "each package's own dropout" if options.own_dropout else f"dropout {options.dropout}"
    caption = (
        f"{queries:,} queries x {GROUP} passages{' of 10 to 300 words' if options.mixed else ''}, sub-batches of "
        f"{options.sub_batch} texts, {dropout}, {gflop:,.0f} GFLOP a step, {describe(options.texts)}, "
        f"{options.threads} threads{pace(summary)}"
    )
    columns = [
        "case",
        "CPU s a step (least, most)",
        "wall s",
        "queries a CPU s",
        f"times {best}",
        "peak MB",
        "of the product rate",
    ]
    return Table(caption, columns, rows)


def make_aims(summary: Summary, options: argparse.Namespace) -> list[Aim]:
    one = in_best("bioemb bf16, one pass", summary)
    precision = one.removeprefix("bioemb ").removesuffix(", one pass")
    two, plain, other = (
        f"bioemb {precision}, sub-batches",
        f"sentence-transformers {precision}",
        "FlagEmbedding float32",
    )
    cached = f"{plain}, cached"
    step = f"step{' of mixed lengths' if options.mixed else ''}{', own dropout,' if options.own_dropout else ''}"

    def speed(what: str, peer: str, case: str, wanted: float) -> Aim:
        return Aim(f"{step} {what}", ratio(summary, peer, case), wanted)

    def memory(what: str, case: str, peer: str, wanted: float) -> Aim:
        return Aim(f"{step} {what}", ratio(summary, case, peer, "peak_mb"), at_most=wanted)

    large = summary.get(f"{LARGE}bioemb bf16, sub-batches")
    return [
        speed("in one pass: times FlagEmbedding float32's queries a CPU second", other, one, 2.5),
        speed(f"in one pass: times {plain}'s", plain, one, 1.8),
        memory(f"in one pass: of {plain}'s memory", one, plain, 1),
        speed(f"in sub-batches: times {plain} cached's", cached, two, 1.8),
        memory("in sub-batches: of its memory", two, cached, 1),
        speed(f"in sub-batches: times {plain}'s", plain, two, 1.5),
        memory(f"in sub-batches: of {plain}'s memory", two, plain, 0.5),
        Aim(f"{step} of 1,024 queries: peak MB", large["peak_mb"].median if large else None, at_most=4096),
    ]


def main() -> None:
    flags = make_parser(__doc__)
    add_flags(flags)
    flags.add_argument("--queries", type=int, default=64, help="of a step")
    flags.add_argument("--large", type=int, default=1024, help="queries of the large batch; 0: none")
    flags.add_argument("--sub_batch", type=int, default=24, help="texts whose graph is in memory at once")
    flags.add_argument("--steps", type=int, default=4, help="steps of a run; the first is not counted")
    flags.add_argument("--mixed", action="store_true", help="passages of 10 to 300 words, in place of whole abstracts")
    flags.add_argument("--dropout", type=float, default=0.0)
    flags.add_argument("--own_dropout", action="store_true", help="each package's own, in place of --dropout")
    options = parse(flags, queries=8, large=0, sub_batch=6, steps=3, repeats=1)
    if options.one:
        print_case(CASES, options)
        return
    names = [name for name in chosen(list(CASES), options) if options.large or not name.startswith(LARGE)]
    with tempfile.TemporaryDirectory() as folder:
        gflop = prepare(Path(folder), options)
        commands = own_commands(names, Path(folder))
        large = {name: commands.pop(name) for name in names if name.startswith(LARGE)}
        runs, left_out = run_by_turns(commands, options.repeats, options.threads)
        large_runs, large_left_out = run_by_turns(large, 1, options.threads)
    runs, left_out = runs | large_runs, left_out | large_left_out
    summary = summarise(runs)
    small = [name for name in names if not name.startswith(LARGE) and name != PRODUCTS]
    tables = [make_table(summary, small, options.queries, gflop[options.queries], options)]
    if large:
        tables.append(make_table(summary, list(large), options.large, gflop[options.large], options))
    measurements = {"runs": runs, "left out": left_out, "gflop": gflop}
    name = "step" + "_mixed" * options.mixed + "_own_dropout" * options.own_dropout if small else "step_large"
    write_report(name, options, [table for table in tables if table.rows], make_aims(summary, options), measurements)


if __name__ == "__main__":
    main()
