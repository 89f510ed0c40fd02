"""The machine's own pace, what large matrix products reach on so many threads, and how much of it a case uses."""

import argparse
import statistics
import time

from measuring import has_bf16, number

PRODUCTS = "matrix products"  # the case's name
SIDE = 2048
REPEATS = 7


def matrix_products(options: argparse.Namespace) -> dict:
    """GFLOP per CPU second and per wall second, in float32 and, if the processor has it, bfloat16."""
    import torch

    torch.set_num_threads(options.threads)
    torch.set_float32_matmul_precision("highest")  # with others float32 may become bfloat16 within the product
    work, rates = 2 * SIDE**3 / 1e9, {}
    for name, dtype in (("float32", torch.float32), *[("bf16", torch.bfloat16)] * has_bf16()):
        cpu, wall = _product_seconds(torch.randn(SIDE, SIDE).to(dtype))
        rates |= {f"{name}_per_cpu": work / cpu, f"{name}_per_wall": work / wall}
    return rates


def pace(summary: dict) -> str:
    """What large products reach, for the end of a caption; nothing where it was not measured."""
    rates = summary.get(PRODUCTS, {})
    found = [f"{number(rate.median)} in {key.split('_')[0]}" for key, rate in rates.items() if key.endswith("_per_cpu")]
    return f"; large products reach {' and '.join(found)} (GFLOP a CPU second)" if found else ""


def forward_gflop(config, lengths: list[int]) -> float:
    """The products' work for one pass of texts of so many tokens through a BERT-like encoder, without padding."""
    width, inner = config.hidden_size, config.intermediate_size
    linear = 2 * (4 * width**2 + 2 * width * inner) * sum(lengths)
    attention = 4 * width * sum(length**2 for length in lengths)
    return config.num_hidden_layers * (linear + attention) / 1e9


def share_of_products(summary: dict, case: str, gflop: float) -> str | None:
    """The work a CPU second, of what large products reach in the case's precision (`bf16` or else float32)."""
    rate = summary.get(PRODUCTS, {}).get("bf16_per_cpu" if "bf16" in case else "float32_per_cpu")
    return f"{100 * gflop / summary[case]['cpu'].median / rate.median:.0f} %" if rate else None


def _product_seconds(matrix) -> tuple[float, float]:
    cpu, wall = [], []
    for _ in range(REPEATS):
        began, began_cpu = time.perf_counter(), time.process_time()
        matrix @ matrix
        wall.append(time.perf_counter() - began)
        cpu.append(time.process_time() - began_cpu)
    return statistics.median(cpu[1:]), statistics.median(wall[1:])
