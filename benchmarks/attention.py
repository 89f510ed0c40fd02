"""Attention within each text on a CPU in bfloat16: `InCache` beside torch's own kernel, forward and backward.

    python benchmarks/attention.py

2,048 tokens in texts of one length, 12 heads of 32 numbers, as in all-MiniLM-L6-v2. The median of the calls; errors are
those of outputs against float64, relative to the largest.
"""

import argparse
import statistics
import time
from collections.abc import Callable

from measuring import has_bf16, make_parser, parse
from reporting import Table, write_report

TOKENS, HEADS, WIDTH = 2048, 12, 32
SCALE = WIDTH**-0.5


def milliseconds(work: Callable[[], object], calls: int) -> float:
    """Median CPU milliseconds of a call, after one that does not count."""
    found = []
    for _ in range(calls + 1):
        began = time.process_time()
        work()
        found.append(1000 * (time.process_time() - began))
    return statistics.median(found[1:])


def compare(length: int, calls: int) -> list[object]:
    """A row of the table."""
    import torch
    import torch.nn.functional as F

    from bioemb.packed_attention import InCache

    texts = TOKENS // length
    generator = torch.Generator().manual_seed(0)
    exact = [torch.randn(HEADS, texts * length, WIDTH, generator=generator, dtype=torch.float64) for _ in range(3)]
    half = [x.bfloat16().requires_grad_() for x in exact]
    by_text = [x.detach().unflatten(1, (texts, length)).transpose(0, 1).contiguous().requires_grad_() for x in half]
    ours = lambda: InCache.apply(*half, (length,) * texts, SCALE, False)  # noqa: E731
    torchs = lambda: F.scaled_dot_product_attention(*by_text, scale=SCALE)  # noqa: E731
    expected = F.scaled_dot_product_attention(*(x.detach().double() for x in by_text), scale=SCALE)
    cells: list[object] = [length]
    for work, inputs in ((torchs, by_text), (ours, half)):
        result = work()
        gradient = torch.ones_like(result)
        again = lambda result=result, inputs=inputs, gradient=gradient: torch.autograd.grad(  # noqa: E731
            result, inputs, gradient, retain_graph=True
        )
        cells += [milliseconds(work, calls), milliseconds(again, calls)]
    shaped = ours().unflatten(0, (texts, length)).transpose(1, 2)
    errors = [float((x.detach().double() - expected).abs().max() / expected.abs().max()) for x in (torchs(), shaped)]
    return [*cells, cells[1] / cells[3], cells[2] / cells[4], *(f"{100 * error:.2f} %" for error in errors)]


def run(options: argparse.Namespace) -> None:
    import torch

    torch.set_num_threads(options.threads)
    columns = ["tokens a text", "torch, ms", "backward", "in cache, ms", "backward"]
    columns += ["times as fast", "backward", "torch's error", "in cache"]
    rows = [compare(length, options.calls) for length in options.lengths]
    caption = f"{TOKENS:,} tokens, {HEADS} heads of {WIDTH}, bfloat16, {options.threads} threads"
    write_report("attention", options, [Table(caption, columns, rows)], [], {"rows": rows})


def main() -> None:
    flags = make_parser(__doc__, without=("repeats", "cases"))
    flags.add_argument("--lengths", type=int, nargs="+", default=[16, 32, 128, 256, 512], help="tokens of a text")
    flags.add_argument("--calls", type=int, default=20)
    flags.set_defaults(threads=1)
    options = parse(flags, calls=5)
    if has_bf16():
        run(options)
    else:  # as cases in bfloat16 are elsewhere
        print("left out: this processor has no instructions for bfloat16, in which alone attention is measured here")


if __name__ == "__main__":
    main()
