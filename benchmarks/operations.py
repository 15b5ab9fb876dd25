"""Profile the operators of a training step: time and rate of convolutions and matrix products.

    python -m benchmarks.operations                                   # r50_fpn, 608 x 608, 150 nuclei
    python -m benchmarks.operations model=r50_c4 nuclei=150 steps=1

Their rate is compared with that of a single large convolution in the same process: if the rates agree and little else
is in the step, no float32 program on this machine can be much faster. Operations are counted by torch's FLOP counter.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import options
from benchmarks.measure import chosen_device, in_child, measure
from benchmarks.precision import product_precision
from benchmarks.result import Result, Row
from benchmarks.training_step import Batch, Case, Step
from nucleiseg.models.precision_context import precision_context

HEAVY = ("convolution", "conv2d", "addmm", "mm", "bmm", "baddbmm", "linear")
"""Words in the names of operators that compute convolutions or matrix products."""


@dataclass(frozen=True)
class Options:
    """Keys of the command line.

    Attributes:
        model: see `benchmarks.training_step`.
        nuclei: nuclei per image.
        crop: side of each image in pixels.
        batch: images per step.
        steps: profiled steps.
        threads: CPU threads.
        precision: float32, tf32 or bf16.
        device: `auto` takes a CUDA GPU if there is one.
        top: number of rows for the slowest operators.
    """

    model: str = "r50_fpn"
    nuclei: int = 150
    crop: int = 608
    batch: int = 1
    steps: int = 2
    threads: int = 2
    precision: str = "float32"
    device: str = "auto"
    top: int = 10


def main(chosen: Options) -> Result:
    """Profile training steps in a fresh process."""
    title = (
        f"{chosen.model}, {chosen.precision}, {chosen.batch} x {chosen.crop} x {chosen.crop}, {chosen.nuclei} nuclei: "
        f"operations of a training step, mean of {chosen.steps}"
    )
    return Result("operations", title, in_child(profile_step, chosen))


def profile_step(chosen: Options) -> list[Row]:
    """Return the rows: products, everything else, the single convolution, the slowest operators."""
    shared = {name: getattr(chosen, name) for name in ("model", "nuclei", "crop", "batch", "steps", "threads")}
    step = Step(Case(**shared, precision=chosen.precision, device=chosen_device(chosen.device)))
    step(step.batch(0))
    gflop = count_gflop(lambda: step(step.batch(1)))
    batches = [step.batch(number) for number in range(2, 2 + chosen.steps)]
    seconds = operator_seconds(step, batches, step.case.device)
    seconds = {name: value / chosen.steps for name, value in seconds.items()}
    heavy = sum(value for name, value in seconds.items() if is_heavy(name))
    whole = sum(seconds.values())
    rows = [
        as_row("convolutions and matrix products", heavy, whole, gflop),
        as_row("everything else", whole - heavy, whole),
        as_row("for comparison: a single 3x3 convolution", *single_convolution(step.case)),
    ]
    longest = sorted(seconds.items(), key=lambda item: -item[1])[: chosen.top]
    return rows + [as_row(name, value, whole) for name, value in longest]


def as_row(name: str, seconds: float, whole: float | None, gflop: float | None = None) -> Row:
    """Return a row, with the rate if operations are known and the share if a total is given."""
    return {
        "what": name,
        "seconds": seconds,
        "share, %": whole and 100 * seconds / whole,
        "GFLOP": gflop,
        "GFLOP/s": gflop and gflop / seconds,
    }


def is_heavy(name: str) -> bool:
    """Return whether an operator (`aten::mm`) computes convolutions or matrix products."""
    words = name.removeprefix("aten::").strip("_").split("_")
    return any(word in HEAVY for word in words)


def count_gflop(work: Callable[[], object]) -> float:
    """Count the 10^9 floating-point operations of convolutions and matrix products; a multiply-add counts as two."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() / 1e9


def operator_seconds(step: Step, batches: list[Batch], device: str) -> dict[str, float]:
    """Return the self time of each operator in these steps in seconds; on a GPU, that of its kernels."""
    on_gpu = torch.device(device).type == "cuda"
    activities = [ProfilerActivity.CPU, ProfilerActivity.CUDA] if on_gpu else [ProfilerActivity.CPU]
    with profile(activities=activities) as profiler:
        for batch in batches:
            step(batch)
    events = [event for event in profiler.key_averages() if event.device_type == DeviceType.CPU]
    attribute = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    return {event.key: getattr(event, attribute) / 1e6 for event in events}


def single_convolution(case: Case, channels: int = 256, side: int = 152) -> tuple[float, None, float]:
    """Time a 3x3 convolution, forward and backward: a layer of the pyramid's finest map at 608 x 608.

    Returns:
        Seconds, None for the total of `as_row`, and 10^9 operations.
    """
    layer = nn.Conv2d(channels, channels, 3, padding=1).to(case.device)
    features = torch.randn(case.batch, channels, side, side, device=case.device, requires_grad=True)

    def work(_: object = None) -> None:
        with precision_context(product_precision(case.precision), case.device):
            layer(features).sum().backward()

    return measure(work, 10, device=case.device, warmup=3).seconds, None, count_gflop(work)


if __name__ == "__main__":
    options.run(Options, main)
