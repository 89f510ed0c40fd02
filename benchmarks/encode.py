"""Encoding texts of mixed length: bioemb beside sentence-transformers and FlagEmbedding, in time, memory and digits.

    pip install -e '.[cpu,bench]'
    python benchmarks/encode.py --model path/to/all-MiniLM-L6-v2 --texts abstracts.jsonl.gz
    python benchmarks/encode.py --quick

Every case encodes the same texts, of 10 to 300 words, cut at the same number of tokens, after a few to warm up; its
imports and the loading of the model are not counted. The tokens that go through the model are counted at its
embedding layer, padding and repeated batches included. Cosines are with bioemb's float32 vectors.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

from measuring import (
    Summary,
    chosen,
    in_best,
    make_parser,
    measured,
    own_commands,
    parse,
    print_case,
    ratio,
    run_by_turns,
    summarise,
)
from products import PRODUCTS, forward_gflop, matrix_products, pace, share_of_products
from reporting import Aim, Table, write_report
from texts import add_flags, describe, mixed_lengths, read_texts

WARM_UP = 16  # texts
REFERENCE = "bioemb float32"
LEAST_COSINE = 0.9998


def ours(options: argparse.Namespace, bf16: bool) -> dict:
    from bioemb.process_settings import settle

    settle()  # as the commands do
    from bioemb.encoder import Encoder

    encoder = Encoder.from_pretrained(options.model)
    encoder.set_max_length(options.max_length, options.max_length)
    return run(options, lambda texts: encoder.encode(texts, kind="passage", bf16=bf16), encoder.backbone)


def sentence_transformers(options: argparse.Namespace, bf16: bool) -> dict:
    import torch
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(
        options.model, device="cpu", model_kwargs={"torch_dtype": torch.bfloat16 if bf16 else torch.float32}
    )
    model.max_seq_length = options.max_length
    return run(options, lambda texts: model.encode(texts, normalize_embeddings=True), model[0].auto_model)


def flag_embedding(options: argparse.Namespace) -> dict:
    from FlagEmbedding import FlagModel

    model = FlagModel(options.model, use_fp16=False, pooling_method="mean", devices="cpu")
    return run(options, lambda texts: model.encode(texts, max_length=options.max_length), model.model)


CASES: dict[str, Callable[[argparse.Namespace], dict]] = {
    PRODUCTS: matrix_products,
    REFERENCE: lambda options: ours(options, False),
    "bioemb bf16": lambda options: ours(options, True),
    "sentence-transformers float32": lambda options: sentence_transformers(options, False),
    "sentence-transformers bf16": lambda options: sentence_transformers(options, True),
    "FlagEmbedding float32": flag_embedding,
}


def run(options: argparse.Namespace, encode: Callable, backbone) -> dict:
    """Encode the prepared texts; the vectors stay in the folder, the numbers are what is reported."""
    import numpy as np

    texts = json.loads((options.folder / "texts.json").read_text())
    tokens = [0]

    def count(module, inputs, output) -> None:
        tokens[0] += output.shape[:-1].numel()

    encode(texts[:WARM_UP])
    backbone.get_input_embeddings().register_forward_hook(count)
    with measured() as use:
        vectors = encode(texts)
    np.save(options.folder / f"{options.one}.npy", np.asarray(vectors, np.float32))
    return {**use, "tokens": tokens[0]}


def work_of(options: argparse.Namespace, folder: Path) -> dict:
    """Tokens of the texts without padding, and the products' GFLOP that they need."""
    from transformers import AutoConfig, AutoTokenizer

    config = AutoConfig.from_pretrained(options.model)
    texts = json.loads((folder / "texts.json").read_text())
    ids = AutoTokenizer.from_pretrained(options.model)(texts, truncation=True, max_length=options.max_length)
    lengths = [len(row) for row in ids["input_ids"]]
    return {"tokens": sum(lengths), "gflop": forward_gflop(config, lengths)}


def cosines(folder: Path, case: str) -> tuple[float, float]:
    """The least and the median cosine of a case's vectors with the reference's."""
    import numpy as np

    one, other = (np.load(folder / f"{name}.npy") for name in (case, REFERENCE))
    both = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    found = np.einsum("nd,nd->n", one, other) / both
    return float(found.min()), float(np.median(found))


def make_table(summary: Summary, work: dict, close: dict, options: argparse.Namespace) -> Table:
    """A row for each case, the time of each as a multiple of the fastest of ours."""
    best = in_best("bioemb bf16", summary)
    rows = []
    for case in [name for name in summary if name != PRODUCTS]:
        of = summary[case]
        rows.append(
            [
                case,
                of["cpu"],
                of["wall"],
                options.count / of["cpu"].median,
                ratio(summary, case, best),
                f"{100 * (of['tokens'].median / work['tokens'] - 1):.1f} %" if of["tokens"].median else None,
                of["peak_mb"].median,
                share_of_products(summary, case, work["gflop"]),
                *([f"{value:.5f}" for value in close[case]] if case in close else [None, None]),
            ]
        )
    columns = [
        "case",
        "CPU s (least, most)",
        "wall s",
        "texts a CPU s",
        f"times {best}",
        "extra tokens",
        "peak MB",
        "of the product rate",
        "least cosine",
        "median",
    ]
    caption = (
        f"{options.count:,} texts of 10 to 300 words, {work['tokens']:,} tokens, {work['gflop']:,.0f} GFLOP, "
        f"{describe(options.texts)}, {options.threads} threads{pace(summary)}"
    )
    return Table(caption, columns, rows)


def make_aims(summary: Summary, close: dict) -> list[Aim]:
    def times(case: str) -> float | None:
        return ratio(summary, case, in_best("bioemb bf16", summary))

    least = close["bioemb bf16"][0] if "bioemb bf16" in close else None
    return [
        Aim("encoding: times as fast as sentence-transformers float32", times("sentence-transformers float32"), 2.5),
        Aim("encoding: times as fast as sentence-transformers bf16", times("sentence-transformers bf16"), 1.3),
        Aim("encoding: times as fast as FlagEmbedding float32", times("FlagEmbedding float32"), 5),
        Aim("encoding: least cosine of bf16 with float32", least, LEAST_COSINE),
    ]


def main() -> None:
    flags = make_parser(__doc__)
    add_flags(flags)
    flags.add_argument("--count", type=int, default=2000, help="texts")
    flags.add_argument("--max_length", type=int, default=512, help="tokens of a text at most")
    options = parse(flags, count=200, repeats=1, max_length=256)
    if options.one:
        print_case(CASES, options)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts = mixed_lengths(read_texts(options.texts, options.count))
        (folder / "texts.json").write_text(json.dumps(texts))
        runs, left_out = run_by_turns(
            own_commands(chosen(list(CASES), options), folder), options.repeats, options.threads
        )
        done = [case for case in runs if (folder / f"{case}.npy").exists()]
        close = {case: cosines(folder, case) for case in done} if REFERENCE in done else {}
        work = work_of(options, folder)
    summary = summarise(runs)
    write_report(
        "encode",
        options,
        [make_table(summary, work, close, options)],
        make_aims(summary, close),
        {"runs": runs, "left out": left_out, "work": work, "cosines": close},
    )


if __name__ == "__main__":
    main()
