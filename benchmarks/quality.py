"""Final quality: bioemb, FlagEmbedding and sentence-transformers trained on the same examples from the same start.

    pip install -e '.[cpu,bench]'
    python benchmarks/quality.py --model path/to/all-MiniLM-L6-v2 --texts abstracts.jsonl.gz --tasks DIR [DIR ...]
    python benchmarks/quality.py --quick

Titles with their abstracts are mined by `bioemb mine` with the starting model, once, as many negatives as a group has.
Each package then trains with its own trainer, in a process of its own, for the same steps of the same size, rate,
schedule, temperature and lengths, with several seeds: these order the rows, and draw the dropout (`--dropout`: where
none is named the peers have the model's own, and bioemb none, as users of each get it). Every folder is scored by
`bioemb.evaluation` on the same local tasks, by the mean of its tokens, cut at the passages' length.

Intervals: each resample draws a task's queries (or pairs) anew, the same for all runs, and each package's runs anew.
Without --tasks all is generated: a corpus, its tasks, and a small fresh encoder to start from.

What is finished stays in `--work`, under the settings that it was made with: run it again and it goes on. To compare
training times let nothing else run.
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from measuring import (
    REPOSITORY,
    aside,
    chosen,
    make_parser,
    own_commands,
    parse,
    print_case,
    run_by_turns,
    summarise,
)
from quality_training import CASES, OURS, START
from reporting import Aim, Table, write_report
from seeds import differences, interval
from texts import add_flags, read_texts

TASKS = ("med", "bioasq_snippets", "umnsrs_similarity", "umnsrs_relatedness")
GENERATED_TASKS = ("demo-retrieval", "demo-sts")
WARM_UP = 30  # steps of the generated encoder, without labels
SEED = ", seed "  # between a case and its seed
NOT_OF_A_TRAINING = "json one folder work seeds repeats cases tasks task quick threads resamples".split()


def run_case(options: argparse.Namespace) -> dict:
    """Train here; that it is finished, and what it cost, stands in the folder at the end."""
    from bioemb.files import write_json

    case, seed = options.one.rsplit(SEED, 1)
    output = options.folder / options.one
    use = CASES[case](options, int(seed), output) | {"threads": options.threads}
    write_json(cost_file(options.folder, options.one), use)
    return use


def cost_file(folder: Path, job: str) -> Path:
    return folder / f"{job}.cost.json"


def prepare(options: argparse.Namespace) -> tuple[Path, list[Path], list[str]]:
    """The folder of this run with the start and the mined rows in it; folders and names of the tasks."""
    from bioemb.manifest import work_key

    settings = {key: str(value) for key, value in vars(options).items() if key not in NOT_OF_A_TRAINING}
    folder = options.work / work_key({**settings, "generated": not options.tasks})
    folder.mkdir(parents=True, exist_ok=True)
    tasks, names = options.tasks, options.task or (TASKS if options.tasks else GENERATED_TASKS)
    if tasks:
        for name in names:
            folder_with(name, tasks)  # before anything is trained
        pairs = [{"query": text.title, "pos": [text.abstract]} for text in read_texts(options.texts, options.rows)]
    else:
        tasks = [folder / "corpus" / "eval"]
        pairs = generate(folder / "corpus", options.rows)
    prepare_start(folder / START, pairs, options)
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs), encoding="utf-8")
    mine(folder, options)
    return folder, tasks, list(names)


def prepare_start(start: Path, pairs: list[dict], options: argparse.Namespace) -> None:
    """The encoder that all begin from: the one named, or a small fresh one that knows the words of the pairs."""
    from bioemb.demo.model import write_starting_encoder
    from bioemb.model_folder import find_folder, read_layout

    if start.exists():
        return
    with aside(start) as part:
        if options.tasks:
            shutil.copytree(find_folder(options.model), part)
        else:
            texts = [text for row in pairs for text in (row["query"], *row["pos"])]
            write_starting_encoder(part, texts, warm_up_steps=WARM_UP)
        pooling = read_layout(part).pooling
        if pooling != "mean":
            sys.exit(f"{options.model} pools by {pooling}; the trainers compared here are told to pool by the mean")
        if options.dropout is not None:
            path = part / "config.json"
            dropout = {"hidden_dropout_prob": options.dropout, "attention_probs_dropout_prob": options.dropout}
            path.write_text(json.dumps(json.loads(path.read_text()) | dropout))


def generate(corpus: Path, count: int) -> list[dict]:
    """A generated corpus with its tasks; `count` of its titles with their abstracts."""
    from bioemb.data import read_articles
    from bioemb.demo.corpus import write_corpus
    from bioemb.records import Article

    write_corpus(corpus, records=2 * count)
    articles = [
        article
        for path in sorted((corpus / "pubmed").rglob("*.xml*"))
        for article in read_articles(path)
        if isinstance(article, Article) and article.abstract
    ]
    pairs = {article.title: " ".join(part.text for part in article.abstract) for article in articles if article.title}
    return [{"query": title, "pos": [abstract]} for title, abstract in list(pairs.items())[:count]]


def mine(folder: Path, options: argparse.Namespace) -> None:
    """Hard negatives by the command, unless they are there; a row without goes, since no peer takes it."""
    words = ["--model_name_or_path", str(folder / START), "--input_file", str(folder / "pairs.jsonl")]
    words += ["--range_for_sampling", options.ranks, "--negative_number", str(options.group - 1)]
    words += ["--relative_margin", "0.05", "--on_short", "drop", "--output_file", str(folder / "rows.jsonl")]
    command = [sys.executable, "-m", "bioemb", "mine", *words]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)


def score(folders: dict[str, Path], tasks: list, folder: Path, options: argparse.Namespace) -> dict[str, list]:
    """Each model's scores on the tasks; those of an earlier run are read again."""
    from bioemb.config import EvaluateConfig
    from bioemb.evaluation import evaluate
    from bioemb.stages.evaluate import load_model

    found = {}
    for name, model in folders.items():
        config = EvaluateConfig(
            model_path=str(model),
            pooling_method="mean",
            query_max_len=options.passage_tokens,
            passage_max_len=options.passage_tokens,
            bf16=options.bf16,
        )
        found[name] = evaluate(load_model(str(model), name.replace(SEED, "-"), config), tasks, folder / "saves")
        print(f"{name}: {', '.join(f'{of.task} {100 * of.score:.2f}' for of in found[name])}", file=sys.stderr)
    return found


def scores_table(scores: dict[str, list], options: argparse.Namespace) -> Table:
    """Points of 100 by package and task, over the seeds."""
    tasks = [of.task for of in scores[START]]
    rows = []
    for case in (START, *CASES):
        runs = runs_of(scores, case)
        if runs:
            points = np.array([[100 * of.score for of in run] for run in runs])  # [seeds, tasks]
            columns = [*points.T, points.mean(axis=1)]
            rows.append([case, *(mean_and_spread(column) for column in columns)])
    caption = (
        f"{options.steps:,} steps of {options.queries} queries x {options.group} passages, rate "
        f"{options.learning_rate:g}, temperature {options.temperature:g}, {options.seeds} seeds: nDCG@10 or Spearman's "
        "correlation, in points; the mean (least, most)"
    )
    return Table(caption, ["package", *tasks, "mean of tasks"], rows)


def mean_and_spread(values: np.ndarray) -> str:
    bounds = f" ({values.min():.2f}, {values.max():.2f})" if len(values) > 1 else ""
    return f"{values.mean():.2f}{bounds}"


def runs_of(scores: dict[str, list], case: str) -> list[list]:
    return [of for name, of in scores.items() if name == case or name.startswith(f"{case}{SEED}")]


def compare(scores: dict[str, list], options: argparse.Namespace) -> tuple[Table, dict[str, float]]:
    """bioemb less each other, with 95 % intervals; the differences of the means over the tasks."""
    tasks, means, rows = [of.task for of in scores[START]], {}, []
    mine = runs_of(scores, OURS)
    for case in [case for case in (START, *CASES) if case != OURS and runs_of(scores, case) and mine]:
        theirs, cells, drawn, found = runs_of(scores, case), [], [], []
        for place in range(len(tasks)):
            one, other = [run[place] for run in theirs], [run[place] for run in mine]
            drawn.append(differences(one, other, options.resamples, np.random.default_rng([0, place])))
            found.append(np.mean([of.score for of in other]) - np.mean([of.score for of in one]))
            cells.append(with_interval(found[-1], drawn[-1]))
        means[case] = 100 * float(np.mean(found))
        rows.append([case, *cells, with_interval(np.mean(found), np.mean(drawn, axis=0))])
    caption = "bioemb less the other, in points [95 % interval over queries or pairs, and over seeds]"
    return Table(caption, ["less", *tasks, "mean of tasks"], rows), means


def with_interval(difference: float, drawn: np.ndarray) -> str:
    low, high = interval(drawn)
    return f"{100 * difference:+.2f} [{100 * low:+.2f}, {100 * high:+.2f}]"


def costs_table(costs: dict[str, list[dict]]) -> Table:
    """The threads are those of the runs, of which some may be of an earlier start of this program."""
    rows = [
        [case, of["cpu"], of["wall"], of["peak_mb"].median, of.get("threads")] for case, of in summarise(costs).items()
    ]
    return Table("Training alone", ["package", "CPU s (least, most)", "wall s", "peak MB", "threads"], rows)


def flags_of() -> argparse.ArgumentParser:
    flags = make_parser(__doc__, without=("repeats",))
    add_flags(flags)
    flags.add_argument("--tasks", type=Path, nargs="+", help="folders with local tasks, as --local_data of evaluate")
    flags.add_argument("--task", nargs="+", help=f"their names (default: {' '.join(TASKS)})")
    flags.add_argument("--seeds", type=int, default=3)
    flags.add_argument("--rows", type=int, default=16_000, help="titles with abstracts to mine and train on")
    flags.add_argument("--ranks", default="10-100", help="where negatives are mined")
    flags.add_argument("--steps", type=int, default=250)
    flags.add_argument("--queries", type=int, default=64, help="of a step")
    flags.add_argument("--group", type=int, default=2, help="passages of a query, its positive first")
    flags.add_argument("--query_tokens", type=int, default=64)
    flags.add_argument("--passage_tokens", type=int, default=256)
    flags.add_argument("--learning_rate", type=float, default=2e-5)
    flags.add_argument("--warmup_steps", type=int, default=0)
    flags.add_argument("--temperature", type=float, default=0.02)
    flags.add_argument("--dropout", type=float, help="of all three (default: each package's own)")
    flags.add_argument("--bf16", action="store_true", help="train and evaluate in bfloat16")
    flags.add_argument("--resamples", type=int, default=10_000, help="of the bootstrap")
    flags.add_argument("--work", type=Path, default=REPOSITORY / "work" / "quality", help="what is finished stays here")
    return flags


def main() -> None:
    quick = {"rows": 600, "seeds": 2, "steps": 40, "queries": 16, "learning_rate": 1e-3, "temperature": 0.05}
    options = parse(flags_of(), **quick, resamples=2000)
    jobs = [f"{case}{SEED}{seed}" for seed in range(options.seeds) for case in chosen(list(CASES), options)]
    if options.one:
        print_case({options.one: run_case}, options)
        return
    from bioemb.evaluation import find_tasks

    folder, task_folders, names = prepare(options)
    tasks = [task for name in names for task in find_tasks(name, folder_with(name, task_folders))]
    todo = [job for job in jobs if not cost_file(folder, job).exists()]
    _, left_out = run_by_turns(own_commands(todo, folder), 1, options.threads)
    finished = [job for job in jobs if cost_file(folder, job).exists()]
    costs: dict[str, list[dict]] = {}
    for job in finished:
        costs.setdefault(job.rsplit(SEED, 1)[0], []).append(json.loads(cost_file(folder, job).read_text()))
    scores = score({START: folder / START, **{job: folder / job for job in finished}}, tasks, folder, options)
    table, means = compare(scores, options)
    aims = [
        Aim(f"final quality: points beyond {case}'s, mean of tasks", means.get(case), at_least=0)
        for case in CASES
        if case != OURS
    ]
    measurements = {
        "runs": costs,
        "scores": {name: {of.task: of.score for of in own} for name, own in scores.items()},
        "left out": left_out,
    }
    write_report("quality", options, [scores_table(scores, options), table, costs_table(costs)], aims, measurements)


def folder_with(name: str, folders: list[Path]) -> Path:
    """The first folder that has data of this name."""
    from bioemb.evaluation.local_tasks import find_files

    for folder in folders:
        if find_files(name, folder):
            return folder
    raise SystemExit(f"there is no task {name} in {', '.join(map(str, folders))}")


if __name__ == "__main__":
    main()
