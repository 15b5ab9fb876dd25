"""How long a training step takes and how much memory it needs, as nuclei become many.

    python -m benchmarks.training_step                                    # r18_fpn, one crop of 608 x 608
    python -m benchmarks.training_step model=r50_fpn crop=608 batch=1 nuclei=50,600,2000
    python -m benchmarks.training_step crop=320 batch=2 nuclei=60 threads=2

Each number of nuclei is measured in a process of its own, so that its peak of memory is its own. Neither time nor
memory should grow with the number of nuclei. On a machine with other work to do, the CPU seconds of one thread
(threads=1) are the number to trust. Peak memory comes from `getrusage`, so this runs on Linux and macOS.
"""

import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table
from torch import Tensor

from nucleiseg.errors import InputError
from nucleiseg.models.config import ModelConfig
from nucleiseg.models.mask_rcnn import build
from nucleiseg.structures import Target

MODELS = Path(__file__).parents[1] / "conf" / "model"
RADIUS = 6
"""Pixels of a nucleus: 2,000 of them just fit into 608 x 608."""

DEFAULTS = {"model": "r18_fpn", "crop": "608", "batch": "1", "nuclei": "50,600,2000", "steps": "5", "threads": "2"}


class Case(NamedTuple):
    """What to measure: see `DEFAULTS`."""

    model: str
    crop: int
    batch: int
    nuclei: int
    steps: int
    threads: int


class Cost(NamedTuple):
    """Median seconds of a step by the clock and of CPU time, and the process's peak of memory in MB."""

    clock: float
    cpu: float
    memory: float


def main(arguments: Sequence[str]) -> None:
    """Measure every number of nuclei and print a table.

    Args:
        arguments: `key=value` words as on the command line.

    Raises:
        InputError: for an unknown key.
    """
    given = dict(argument.partition("=")[::2] for argument in arguments)
    if unknown := given.keys() - DEFAULTS.keys():
        raise InputError(f"Not a key: {', '.join(sorted(unknown))}; there are {', '.join(DEFAULTS)}.")
    options = DEFAULTS | given
    numbers = {key: int(options[key]) for key in ("crop", "batch", "steps", "threads")}
    cases = [Case(model=options["model"], nuclei=int(count), **numbers) for count in options["nuclei"].split(",")]
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        costs = pool.map(measure, cases, chunksize=1)
    Console(width=100).print(as_table(cases, costs))


def measure(case: Case) -> Cost:
    """Take training steps (forward, backward, SGD) after a first one that is not counted."""
    torch.set_num_threads(case.threads)
    torch.manual_seed(0)
    network = build(model_config(case.model), num_classes=1).train()
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-3)
    clock, cpu = [], []
    for step in range(case.steps + 1):
        images = [torch.randint(0, 256, (3, case.crop, case.crop), dtype=torch.uint8) for _ in range(case.batch)]
        targets = [discs(case.nuclei, case.crop, seed=step * case.batch + i) for i in range(case.batch)]
        start = time.perf_counter(), time.process_time()
        losses: dict[str, Tensor] = network(images, targets)
        torch.stack(list(losses.values())).sum().backward()
        optimiser.step()
        optimiser.zero_grad()
        clock.append(time.perf_counter() - start[0])
        cpu.append(time.process_time() - start[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kB on Linux, bytes on macOS
    memory = peak / (1e6 if sys.platform == "darwin" else 1e3)
    return Cost(statistics.median(clock[1:]), statistics.median(cpu[1:]), memory)


def model_config(name: str) -> ModelConfig:
    """Read a file of conf/model."""
    if not (MODELS / f"{name}.yaml").is_file():
        known = sorted(path.stem for path in MODELS.glob("*.yaml"))
        raise InputError(f"No model named {name}; there are {', '.join(known)}.")
    with initialize_config_dir(str(MODELS), version_base="1.3"):
        values = OmegaConf.to_container(compose(name), resolve=True)
    return ModelConfig.from_dict(values)  # type: ignore[arg-type]


def discs(count: int, side: int, seed: int) -> Target:
    """Draw nuclei of one size on the cells of a grid, chosen at random."""
    pitch = 2 * RADIUS + 1
    columns = side // pitch
    if count > columns**2:
        raise InputError(f"{count} nuclei do not fit into {side} x {side}; at most {columns**2} do.")
    cells = torch.randperm(columns**2, generator=torch.Generator().manual_seed(seed))[:count]
    offsets = torch.arange(pitch) - RADIUS
    disc = offsets[:, None] ** 2 + offsets**2 <= RADIUS**2
    layers = torch.zeros(1, side, side, dtype=torch.int32)
    corners = torch.stack([cells % columns, cells // columns], dim=1) * pitch
    for value, (x, y) in enumerate(corners.tolist(), 1):
        layers[0, y : y + pitch, x : x + pitch][disc] = value
    return Target(
        boxes=torch.cat([corners, corners + pitch], dim=1).float(),
        labels=torch.ones(count, dtype=torch.int64),
        layers=layers,
        layer_index=torch.zeros(count, dtype=torch.int64),
        values=torch.arange(1, count + 1),
        seed=seed,
    )


def as_table(cases: list[Case], costs: list[Cost]) -> Table:
    """Return the measurements as a table."""
    case = cases[0]
    images = f"{case.batch} x {case.crop} x {case.crop}"
    table = Table(title=f"{case.model}, {images}, {case.threads} threads: a training step, median of {case.steps}")
    for column in ("nuclei in each", "seconds", "CPU seconds", "peak memory, MB"):
        table.add_column(column, justify="right")
    for measured, cost in zip(cases, costs, strict=True):
        table.add_row(f"{measured.nuclei:,}", f"{cost.clock:.2f}", f"{cost.cpu:.2f}", f"{cost.memory:,.0f}")
    return table


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except InputError as error:
        sys.exit(str(error))
