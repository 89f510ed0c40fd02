"""The recipe: what each setting of filter, mining and training is worth, chosen on held-out data, shown on test sets.

    python benchmarks/recipe.py --model path/to/all-MiniLM-L6-v2 --texts abstracts.jsonl.gz --pmc pmc_nxml \
        --xml pubmed_xml --questions medquad_qa.jsonl.gz --tasks evaluation/sets [MORE ...]

Titles with their abstracts (`--texts`), passages of full texts (`--pmc`) and terms with titles (`--xml`) are filtered,
mined and trained on by bioemb's commands. Each case changes a setting of `base` and sees as many queries, but where it
says otherwise; it is chosen by the tasks that `recipe_data.py` makes of what is held out, and never by the test sets,
whose queries are taken out of the training data. `recipe` is what was chosen. What is finished stays in `--work`: run
it again and it goes on; cases without all seeds are shown with those that they have.
"""

import argparse
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path

from measuring import REPOSITORY, aside, chosen, make_parser, own_commands, parse, print_case, run_by_turns
from peer_training import Training, flag_embedding_trainer, sentence_transformers_trainer
from quality import SEED, TASKS, cost_file, generate, prepare_start, score
from quality_training import OURS, START, run_peer
from recipe_cases import BESIDE, CASES, CHOSEN, FRESH, QUICK, Recipe, needed_for, trainings_of
from recipe_data import (
    CHOICE_TASKS,
    is_prepared,
    mined_rows,
    prepare_data,
    read_rows,
    spans,
    with_negatives,
    with_sources,
    write_rows,
)
from recipe_tables import PARTS, agreement_table, choice_table, cost_table, peers_table, points_beyond, test_table
from reporting import Aim, write_report
from texts import add_flags

CHOICE_TOKENS, TEST_TOKENS = 128, 256  # longest texts in evaluations
AT_ONCE = 64  # queries whose graph is in memory
LEAST_POINTS = 3.0  # that the mean of these is to gain
OF_ONE_RUN = "json one folder work repeats cases quick threads finished".split()
OF_SCORES = "seeds resamples examples bf16 score_on".split()
NOT_OF_THE_DATA = OF_ONE_RUN + OF_SCORES


def trainings_folder(folder: Path, options: argparse.Namespace) -> Path:
    """Trainings, their costs and scores: they depend on more than the data beside them."""
    return folder / f"{'bf16' if options.bf16 else 'float32'}-{options.examples}"


def run_case(options: argparse.Namespace) -> dict:
    """Train here; that it is finished, and what it cost, stands in the folder at the end."""
    from measuring import measured

    from bioemb.files import write_json

    case, seed = options.one.rsplit(SEED, 1)
    trainings = trainings_folder(options.folder, options)
    recipe, output = CASES[case], trainings / options.one
    with measured() as use:
        if recipe.models > 1 or recipe.start_share:
            start = options.folder / START
            average([trainings / job for job in trainings_of(case, int(seed))], start, recipe.start_share, output)
        elif recipe.package == OURS:
            train(recipe, int(seed), output, options)
        else:
            train_peer(recipe, int(seed), output, options)
    use["threads"] = options.threads
    write_json(cost_file(trainings, options.one), use)
    return use


def average(trained: list[Path], start: Path, share: float, output: Path) -> None:
    """The mean of the trained weights, moved by `share` of the way to those of the start."""
    from bioemb.config import AverageConfig
    from bioemb.stages.average import run

    models, weights = list(map(str, trained)), [(1 - share) / len(trained)] * len(trained)
    if share:
        models, weights = [*models, str(start)], [*weights, share]
    run(AverageConfig(tuple(models), str(output), tuple(weights), overwrite=True))


def train(recipe: Recipe, seed: int, output: Path, options: argparse.Namespace) -> None:
    from bioemb.config import TrainConfig
    from bioemb.stages.train import run

    data = training_data(options.folder, recipe)
    run(
        TrainConfig(
            output_dir=str(output),
            model_name_or_path=str(options.folder / recipe.start),
            train_data=tuple(map(str, data)),
            data_weights=(1.0, recipe.term_weight)[: len(data)] if recipe.term_weight != 1 else (),
            same_dataset_within_batch=True,
            train_group_size=1 + recipe.negatives,
            query_max_len=64,
            passage_max_len=options.passage_tokens,
            per_device_train_batch_size=recipe.queries,
            sub_batch_size=min(AT_ONCE, recipe.queries),
            temperature=recipe.temperature,
            directions=recipe.directions,
            learning_rate=recipe.learning_rate,
            dropout=recipe.dropout,
            warmup_ratio=0.1,
            max_steps=steps_of(recipe, options),
            bf16=options.bf16,
            seed=seed,
            dataloader_drop_last=True,
            overwrite_output_dir=True,
            resume_from_checkpoint="no",
        )
    )


def train_peer(recipe: Recipe, seed: int, output: Path, options: argparse.Namespace) -> None:
    """By the package's own trainer, with what it has of the settings, on the same rows."""
    rows, *others = (with_negatives(path, recipe.negatives) for path in training_data(options.folder, recipe))
    lengths, group = (64, options.passage_tokens), 1 + recipe.negatives
    training = Training(options.folder / recipe.start, rows, group, *lengths, recipe.temperature, tuple(others))
    steps = steps_of(recipe, options)
    settings = {
        "output_dir": str(output),
        "per_device_train_batch_size": recipe.queries,
        "learning_rate": recipe.learning_rate,
        "warmup_steps": steps // 10,
        "max_steps": steps,
        "bf16": options.bf16,
        "seed": seed,
        "dataloader_drop_last": True,
    }
    if recipe.package == "FlagEmbedding":
        trainer = flag_embedding_trainer(training, settings)
    else:
        trainer = sentence_transformers_trainer(training, settings, AT_ONCE if recipe.queries > AT_ONCE else None)
    run_peer(trainer, output)


def steps_of(recipe: Recipe, options: argparse.Namespace) -> int:
    return recipe.times * options.examples // recipe.queries


def training_data(folder: Path, recipe: Recipe) -> list[Path]:
    """The files that this recipe trains on, made where they are not there."""
    margin = "none" if recipe.relative_margin is None else str(recipe.relative_margin)
    words = ["--range_for_sampling", recipe.ranks, "--relative_margin", margin]
    mined = mined_rows(folder, recipe.keep_share, [*words, "--negative_number", str(max(1, recipe.negatives))])
    rows = folder / f"{mined.stem}_{len(recipe.kinds)}_kinds_{recipe.negatives}.jsonl"
    if not rows.exists():
        kept = [row for row in read_rows(mined) if row["kind"] in recipe.kinds]
        without = {"neg": [], "neg_scores": None, "neg_identities": None} if not recipe.negatives else {}
        write_rows(rows, (row | without for row in kept))
    others = [folder / "terms.jsonl"] * recipe.terms + ([spans(folder)] if recipe.spans else [])
    return [rows, *(path for path in others if path.stat().st_size)]


def folder_of(options: argparse.Namespace) -> Path:
    """The folder of this run's data, which may be there already."""
    from bioemb.manifest import work_key

    if options.tasks and not (options.texts and options.pmc and options.xml):
        raise SystemExit("--tasks are tests of a training on real data: name --texts, --pmc and --xml, too")
    settings = {key: str(value) for key, value in vars(options).items() if key not in NOT_OF_THE_DATA}
    return options.work / work_key(settings)


def prepare(folder: Path, options: argparse.Namespace) -> None:
    """The starts, the data and every case's rows; with `--finished` they must be there."""
    from bioemb.demo.model import write_starting_encoder

    if options.finished:
        if not is_prepared(folder):
            raise SystemExit(f"--finished, and there is nothing of these settings yet: {folder}")
        return
    folder.mkdir(parents=True, exist_ok=True)
    sources = with_sources(folder, options)
    pairs = generate(folder / "corpus", options.rows) if sources.generated else []
    prepare_start(folder / START, pairs, options)
    prepare_data(folder, sources)
    for case in chosen(list(CASES), options):
        training_data(folder, CASES[case])
        if CASES[case].start == FRESH and not (folder / FRESH).exists():
            texts = [text for row in read_rows(folder / "pairs.jsonl") for text in (row["query"], row["document"])]
            with aside(folder / FRESH) as part:
                write_starting_encoder(part, texts)


def flags_of() -> argparse.ArgumentParser:
    flags = make_parser(__doc__, without=("repeats",))
    add_flags(flags)
    flags.add_argument("--pmc", type=Path, help="full texts, JATS XML")
    flags.add_argument("--xml", type=Path, help="PubMed XML, for the terms")
    flags.add_argument(
        "--questions", type=Path, help='{"question","answer"} a line, to choose by: nothing trains on it'
    )
    flags.add_argument("--tasks", type=Path, nargs="+", help="folders with the test sets")
    flags.add_argument("--task", nargs="+", help=f"their names (default: {' '.join(TASKS)})")
    flags.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    flags.add_argument("--examples", type=int, default=2048, help="queries that a training sees")
    flags.add_argument("--passage_tokens", type=int, default=96, help="in training")
    flags.add_argument("--rows", type=int, default=2000, help="generated articles, where no --tasks are named")
    flags.add_argument("--bf16", action="store_true", help="train and evaluate in bfloat16")
    both = ["held-out", "tests"]
    flags.add_argument("--score_on", nargs="+", choices=both, default=both, help="held-out alone, to choose by it")
    flags.add_argument("--finished", action="store_true", help="make nothing more, only report what there is")
    flags.add_argument("--resamples", type=int, default=2000, help="of the bootstrap")
    flags.add_argument("--work", type=Path, default=REPOSITORY / "work" / "recipe", help="what is finished stays here")
    flags.set_defaults(dropout=None)
    return flags


def main() -> None:
    options = parse(flags_of(), examples=256, seeds=[0], rows=600, cases=list(QUICK))
    cases = chosen(list(CASES), options)
    if options.one:
        print_case({options.one: run_case}, options)
        return
    from bioemb.evaluation import find_tasks

    folder = folder_of(options)
    prepare(folder, options)
    there = [name for name in CHOICE_TASKS if (folder / "dev" / name).exists()]
    choice, tests = find_tasks(there, folder / "dev"), find_tasks(with_sources(folder, options).task, folder / "tests")
    starts = list(dict.fromkeys([START, *(CASES[case].start for case in cases)]))
    jobs = starts + [f"{case}{SEED}{seed}" for seed in options.seeds for case in cases]
    trainings = trainings_folder(folder, options)
    chosen_by: dict[str, list] = {}
    tested: dict[str, list] = {}

    def add(found: dict[str, list], tasks: list, tokens: int) -> None:
        lengths = argparse.Namespace(**vars(options) | {"passage_tokens": tokens})
        for job in jobs:
            if not is_ready(job, tasks, folder, options):
                continue
            model = (folder if job in starts else trainings) / job
            found |= score({job: model}, tasks, trainings, lengths)
            if not options.finished:
                with redirect_stdout(None):
                    report(chosen_by, tested, trainings, options)

    if "held-out" in options.score_on:
        add(chosen_by, choice, CHOICE_TOKENS)
    if "tests" in options.score_on:
        add(tested, tests, TEST_TOKENS)
    report(chosen_by, tested, trainings, options)


def is_ready(job: str, tasks: list, folder: Path, options: argparse.Namespace) -> bool:
    """Whether there is a model to score, trained now if it was not; with `--finished` whether there are its scores."""
    trainings = trainings_folder(folder, options)
    if options.finished:
        return is_scored(trainings, job, tasks)
    if job in (START, FRESH):
        return True
    train_missing(job, folder, options)
    return cost_file(trainings, job).exists()


def train_missing(job: str, folder: Path, options: argparse.Namespace) -> None:
    """Whatever of a job is not there: what it averages, then itself."""
    for needed in needed_for(job):
        if not cost_file(trainings_folder(folder, options), needed).exists():
            run_by_turns(own_commands([needed], folder), 1, options.threads)


def is_scored(trainings: Path, job: str, tasks: list) -> bool:
    """Whether this model's scores on all of the tasks are there."""
    saved = trainings / "saves" / "scores" / f"local__{job.replace(SEED, '-').replace(' ', '_')}"
    return all(any(saved.glob(f"*/{task.metadata.name}.json")) for task in tasks)


def report(choice: dict[str, list], tests: dict[str, list], trainings: Path, options: argparse.Namespace) -> None:
    """What there is so far, in full: a long run may be looked at, and stopped."""
    cases, (retrieval, others) = chosen(list(CASES), options), PARTS
    aims = [
        Aim(f"recipe: points gained, {part}", points_beyond(tests, CHOSEN, START, PARTS[part]), at_least=least)
        for part, least in ((retrieval, LEAST_POINTS), (others, 0))
        if CHOSEN in cases
    ]
    aims += [
        Aim(f"recipe: points of {own} beyond {peer}, {part}", points_beyond(tests, own, peer, metric), at_least=0)
        for own, peer in BESIDE
        for part, metric in PARTS.items()
        if {own, peer} <= set(cases)
    ]
    measurements = {
        "recipes": {case: asdict(recipe) for case, recipe in CASES.items()},
        **{
            what: {name: {of.task: of.score for of in run} for name, run in scores.items()}
            for what, scores in (("held out", choice), ("test", tests))
        },
    }
    tables = [choice_table(choice, options)] if choice else []
    if tests:
        agreement = agreement_table(choice, tests) if choice else None
        beside = peers_table(tests, options)
        tables += [test_table(tests, options), *([beside] if beside.rows else []), *([agreement] if agreement else [])]
    tables.append(cost_table(trainings, cases, options.seeds))
    write_report("recipe", options, tables, aims, measurements)


if __name__ == "__main__":
    main()
