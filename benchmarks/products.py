"""The machine's own pace, what large matrix products reach on so many threads, and how much of it a case uses."""

import argparse
import statistics
import time

from measuring import has_bf16

SIDE = 2048
REPEATS = 7


def matrix_products(options: argparse.Namespace) -> dict:
    """GFLOP per CPU second and per wall second, in float32 (the better of torch's two ways) and, if any, bfloat16."""
    import torch

    torch.set_num_threads(options.threads)
    rates: dict[str, float] = {}
    ways = [
        ("float32", torch.float32, "highest"),
        ("float32", torch.float32, "medium"),
        *[("bf16", torch.bfloat16, "medium")] * has_bf16(),
    ]
    for name, dtype, precision in ways:
        torch.set_float32_matmul_precision(precision)
        cpu, wall = _product_seconds(torch.randn(SIDE, SIDE).to(dtype))
        work = 2 * SIDE**3 / 1e9
        for kind, seconds in (("cpu", cpu), ("wall", wall)):
            key = f"{name}_per_{kind}"
            rates[key] = max(rates.get(key, 0.0), work / seconds)
    return rates


def forward_gflop(config, lengths: list[int]) -> float:
    """The products' work for one pass of texts of so many tokens through a BERT-like encoder, without padding."""
    width, inner = config.hidden_size, config.intermediate_size
    linear = 2 * (4 * width**2 + 2 * width * inner) * sum(lengths)
    attention = 4 * width * sum(length**2 for length in lengths)
    return config.num_hidden_layers * (linear + attention) / 1e9


def share_of_products(summary: dict, case: str, gflop: float) -> str | None:
    """The work a CPU second, of what large products reach in the case's precision (`bf16` or else float32)."""
    rates = summary.get("matrix products")
    if not rates:
        return None
    rate = rates["bf16_per_cpu" if "bf16" in case else "float32_per_cpu"].median
    return f"{100 * gflop / summary[case]['cpu'].median / rate:.0f} %"


def _product_seconds(matrix) -> tuple[float, float]:
    cpu, wall = [], []
    for _ in range(REPEATS):
        began, began_cpu = time.perf_counter(), time.process_time()
        matrix @ matrix
        wall.append(time.perf_counter() - began)
        cpu.append(time.process_time() - began_cpu)
    return statistics.median(cpu[1:]), statistics.median(wall[1:])
