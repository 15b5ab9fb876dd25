"""Measure time and memory of a training step by number of nuclei, for nucleiseg and stock torchvision.

    python -m benchmarks.training_step                                   # r18_fpn, 608 x 608, 50, 600, 2,000 nuclei
    python -m benchmarks.training_step models=r50_fpn,r50_fpn_torchvision,stock_fpn nuclei=50,150,600,2000 steps=3
    python -m benchmarks.training_step models=r50_c4,stock_c4 nuclei=150
    python -m benchmarks.training_step models=r50_fpn precision=bf16 device=cuda batch=8

Forward, backward and SGD on images in memory. Neither time nor memory should grow with the nuclei. A model is a file of
conf/model; `NAME_torchvision` is the same in torchvision's numerics; `stock_fpn` and `stock_c4` are torchvision's own
R50-FPN and an R50-C4 of its parts, with the same stages frozen. `benchmarks.networks` makes untrained networks work as
hard as trained ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks import options
from benchmarks.discs import as_mask_stack, as_target, noise_image, sample_discs
from benchmarks.measure import Cost, chosen_device, in_child, measure
from benchmarks.networks import TrainedProposals, build_network, calibrate, is_stock
from benchmarks.precision import product_precision
from benchmarks.result import Result, Row, relation
from nucleiseg.models.precision_context import float32_context, precision_context

Batch = tuple[list[Tensor], list[Any]]
"""Images (3, side, side) on the network's device (ours uint8, stock's float32 in 0 .. 1) and targets (ours `Target`s,
stock's dicts with masks)."""

LEARNING_RATE = 1e-5
"""Too small for an untrained network to diverge within a few steps; the value does not affect the cost."""


@dataclass(frozen=True)
class Options:
    """Keys of the command line.

    Attributes:
        models: models to compare; see the module.
        nuclei: nuclei per image.
        crop: side of each image in pixels.
        batch: images per step.
        steps: measured steps.
        threads: CPU threads.
        precision: float32, tf32 or bf16.
        device: `auto` takes a CUDA GPU if there is one.
    """

    models: tuple[str, ...] = ("r18_fpn",)
    nuclei: tuple[int, ...] = (50, 600, 2000)
    crop: int = 608
    batch: int = 1
    steps: int = 5
    threads: int = 2
    precision: str = "float32"
    device: str = "auto"


@dataclass(frozen=True)
class Case:
    """One row: see `Options`."""

    model: str
    nuclei: int
    crop: int
    batch: int
    steps: int
    threads: int
    precision: str
    device: str


class Step:
    """Training steps of one case.

    Args:
        case: model, images and device.

    Attributes:
        network: calibrated network in training mode on the case's device.
    """

    def __init__(self, case: Case) -> None:
        torch.set_num_threads(case.threads)
        torch.manual_seed(0)
        self.case = case
        self.precision = product_precision(case.precision)
        self.network = build_network(case.model, case.crop).to(case.device).train()
        trained = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.SGD(trained, lr=LEARNING_RATE, momentum=0.9)
        TrainedProposals(self.network)
        calibrate(self.network, self.batch(0)[0])

    def __call__(self, batch: Batch) -> None:
        """Take one step."""
        with float32_context(self.precision, self.case.device):
            torch.stack(list(self.losses(batch).values())).sum().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the network's losses."""
        with precision_context(self.precision, self.case.device):
            return self.network(*batch)

    def batch(self, number: int) -> Batch:
        """Make the images of step `number`, each with other nuclei."""
        seeds = range(number * self.case.batch, (number + 1) * self.case.batch)
        images, targets = zip(*(self._example(seed) for seed in seeds), strict=True)
        return list(images), list(targets)

    def _example(self, seed: int) -> tuple[Tensor, Any]:
        case = self.case
        image = torch.from_numpy(noise_image(case.crop, seed)).permute(2, 0, 1).contiguous()
        discs = sample_discs(case.nuclei, case.crop, seed)
        if is_stock(case.model):
            masks = as_mask_stack(discs)
            return (image.float() / 255).to(case.device), {key: masks[key].to(case.device) for key in masks}
        return image.to(case.device), as_target(discs, seed).to(case.device)


def main(chosen: Options) -> Result:
    """Measure every model with every number of nuclei, each case in a fresh process."""
    shared = {name: getattr(chosen, name) for name in ("crop", "batch", "steps", "threads", "precision")}
    cases = [
        Case(model=model, nuclei=count, device=chosen_device(chosen.device), **shared)
        for model in chosen.models
        for count in chosen.nuclei
    ]
    rows = [row(case) for case in cases]
    images = f"{chosen.batch} x {chosen.crop} x {chosen.crop}"
    title = f"A training step, {images}, {chosen.precision}, {chosen.threads} threads, median of {chosen.steps}"
    return Result("training_step", title, related(rows))


def row(case: Case) -> Row:
    """Measure one case."""
    cost = in_child(measure_step, case)
    return {
        "model": case.model,
        "nuclei in each": case.nuclei,
        "seconds": cost.seconds,
        "CPU seconds": cost.cpu_seconds,
        "peak memory, MB": cost.memory_mb,
    }


def measure_step(case: Case) -> Cost:
    """Time training steps after one warm-up step."""
    step = Step(case)
    return measure(step, case.steps, prepare=step.batch, device=case.device)


def related(rows: Sequence[Row]) -> list[Row]:
    """Add to each row its growth over its model's first row, and its share of stock's for the same number of nuclei."""
    by_case = {(cells["model"], cells["nuclei in each"]): cells for cells in rows}
    columns = {"time": "seconds", "memory": "peak memory, MB"}
    whole = []
    for cells in rows:
        first = next(other for other in rows if other["model"] == cells["model"])
        stock = by_case.get((stock_of(str(cells["model"])), cells["nuclei in each"]))
        growth = {f"growth of {name}": relation(cells, first, column) for name, column in columns.items()}
        share = {f"{name} / stock": relation(cells, stock, column) for name, column in columns.items()}
        whole.append({**cells, **growth, **share})
    return whole


def stock_of(model: str) -> str:
    """Return the stock model that a model is compared with."""
    return "stock_c4" if "c4" in model else "stock_fpn"


if __name__ == "__main__":
    options.run(Options, main)
