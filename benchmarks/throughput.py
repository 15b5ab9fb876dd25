"""Measure steps per second of the training loop, the network's share of a step, and the share of the device's roofline.

    python -m benchmarks.throughput                                   # r50_c4, r50_fpn, x101_fpn; 1 and 8 images; GPU
    python -m benchmarks.throughput models=r50_fpn batches=1 precisions=bf16 steps=50

The roofline divides the operations of a step's convolutions and matrix products by the device's peak in that precision:
that of its data sheet if it is known, else that of a large matrix product in the same run. The columns show all three.
Busy is the time in which the device computes; the network is forward (without targets), backward and optimizer.
"""

from dataclasses import dataclass

import torch

from benchmarks import breakdown, operations, options
from benchmarks.measure import chosen_device, in_child, measure
from benchmarks.precision import PRECISIONS, product_precision
from benchmarks.result import Result, Row
from nucleiseg.data.datamodule import default_workers
from nucleiseg.models.precision_context import float32_context

PEAKS = {
    "H200": {"float32": 67.0, "tf32": 494.7, "bf16": 989.4},
    "H100": {"float32": 67.0, "tf32": 494.7, "bf16": 989.4},
    "A100": {"float32": 19.5, "tf32": 156.0, "bf16": 312.0},
}
"""10^12 operations per second by NVIDIA's data sheets (SXM, dense; the sheets of Hopper print those with sparsity)."""


@dataclass(frozen=True)
class Options:
    """Keys of the command line.

    Attributes:
        models: files of conf/model.
        batches: images per step.
        precisions: see `benchmarks.training_step`.
        nuclei: nuclei in an image of `size` x `size`; a crop has a quarter of them.
        size: side of the synthetic images in pixels.
        resize: side of the network's input in pixels.
        steps: measured steps of the loop.
        warmup: unmeasured steps before; see `benchmarks.breakdown`. On a CPU, without workers, 2 are enough.
        profiled: steps whose operators are timed.
        device: `auto` takes a CUDA GPU if there is one.
        product: side of the matrices whose product measures the device's peak.
    """

    models: tuple[str, ...] = ("r50_c4", "r50_fpn", "x101_fpn")
    batches: tuple[int, ...] = (1, 8)
    precisions: tuple[str, ...] = tuple(PRECISIONS)
    nuclei: int = 600
    size: int = 1000
    resize: int = 608
    steps: int = 30
    warmup: int = 100
    profiled: int = 3
    device: str = "auto"
    product: int = 8192


@dataclass(frozen=True)
class Case:
    """One row."""

    model: str
    batch: int
    precision: str
    chosen: Options


def main(chosen: Options) -> Result:
    """Measure every model at every batch size and precision, each in a fresh process."""
    rows = [
        in_child(measure_case, Case(model, batch, precision, chosen))
        for model in chosen.models
        for batch in chosen.batches
        for precision in chosen.precisions
    ]
    title = f"The training loop at {chosen.resize} x {chosen.resize}, {chosen.steps} steps"
    return Result("throughput", title, rows)


def measure_case(case: Case) -> Row:
    """Measure the loop, then profile single steps."""
    chosen, device = case.chosen, chosen_device(case.chosen.device)
    shared = {"model": case.model, "batch": case.batch, "precision": case.precision, "device": device}
    threads = torch.get_num_threads()
    loop = breakdown.Options(
        nuclei=chosen.nuclei,
        size=chosen.size,
        resize=chosen.resize,
        steps=chosen.steps,
        warmup=chosen.warmup,
        threads=threads,
        workers=default_workers(),
        **shared,  # type: ignore[arg-type]
    )
    spent = breakdown.train(loop)
    parts = breakdown.parts_of(spent.seconds)
    alone = operations.Options(
        nuclei=max(chosen.nuclei // 4, 1),
        crop=chosen.resize,
        steps=chosen.profiled,
        threads=threads,
        top=0,
        **shared,  # type: ignore[arg-type]
    )
    profiled = operations.profile_step(alone)
    seconds = parts[breakdown.STEP] / chosen.steps
    return {
        "model": case.model,
        "images a step": case.batch,
        "precision": case.precision,
        "steps a second": 1 / seconds,
        "images a second": case.batch / seconds,
        "network, %": 100 * (1 - parts[breakdown.OTHER] / parts[breakdown.STEP]),
        "busy, %": 100 * sum(_number(row["seconds"]) for row in profiled[:2]) / seconds,
        "peak memory, MB": spent.memory_mb,
        **roofline(_number(profiled[0]["GFLOP"]), seconds, case.precision, device, chosen.product),
    }


def roofline(gflop: float, seconds: float, precision: str, device: str, product: int) -> Row:
    """Return operations, peaks, the steps per second of the roofline, and the share of it that is reached."""
    sheet, reached = peak_of_sheet(precision, device), peak_of_product(precision, device, product)
    best = 1000 * (sheet or reached) / gflop
    return {
        "TFLOP a step": gflop / 1000,
        "peak by data sheet, TFLOP/s": sheet,
        "peak of a product, TFLOP/s": reached,
        "roofline, steps a second": best,
        "of the roofline, %": 100 / (seconds * best),
    }


def peak_of_sheet(precision: str, device: str) -> float | None:
    """Return the device's peak by its data sheet in 10^12 operations per second; None for unknown devices."""
    if torch.device(device).type != "cuda":
        return None
    name = torch.cuda.get_device_name()
    return next((peaks[precision] for known, peaks in PEAKS.items() if known in name), None)


def peak_of_product(precision: str, device: str, side: int) -> float:
    """Measure the 10^12 operations per second of a product of two matrices of side x side."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    with float32_context(product_precision(precision), device):
        cost = measure(lambda _: left @ right, 5, device=device, warmup=2)
    return 2 * side**3 / cost.seconds / 1e12


def _number(value: object) -> float:
    assert isinstance(value, int | float)
    return value


if __name__ == "__main__":
    options.run(Options, main)
