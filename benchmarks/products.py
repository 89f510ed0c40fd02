"""The machine's own pace: what large matrix products of two square matrices reach on so many threads."""

import argparse
import statistics
import time

SIDE = 2048
REPEATS = 7


def matrix_products(options: argparse.Namespace) -> dict:
    """GFLOP per CPU second and per wall second, in float32 (the better of torch's two ways) and bfloat16."""
    import torch

    torch.set_num_threads(options.threads)
    rates: dict[str, float] = {}
    ways = [
        ("float32", torch.float32, "highest"),
        ("float32", torch.float32, "medium"),
        ("bf16", torch.bfloat16, "medium"),
    ]
    for name, dtype, precision in ways:
        torch.set_float32_matmul_precision(precision)
        cpu, wall = _product_seconds(torch.randn(SIDE, SIDE).to(dtype))
        work = 2 * SIDE**3 / 1e9
        for kind, seconds in (("cpu", cpu), ("wall", wall)):
            key = f"{name}_per_{kind}"
            rates[key] = max(rates.get(key, 0.0), work / seconds)
    return rates


def _product_seconds(matrix) -> tuple[float, float]:
    cpu, wall = [], []
    for _ in range(REPEATS):
        began, began_cpu = time.perf_counter(), time.process_time()
        matrix @ matrix
        wall.append(time.perf_counter() - began)
        cpu.append(time.process_time() - began_cpu)
    return statistics.median(cpu[1:]), statistics.median(wall[1:])
