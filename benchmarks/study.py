"""Time the study's six training runs: 2,400 steps of one image, a checkpoint every 200.

    python -m benchmarks.study                                        # 24 synthetic images of 1000 x 1000
    python -m benchmarks.study data=DIR precision=bf16
    python -m benchmarks.study rows=1,4                               # the first and the fourth run only
    python -m benchmarks.study models=r18_fpn steps=20                # other models

Times include checkpoints. Weights are random and the learning rate is near zero, so that measuring needs no download;
neither changes the time (see `benchmarks.networks`).
"""

import csv
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks import options
from benchmarks.breakdown import prepare_network
from benchmarks.measure import chosen_device, in_child
from benchmarks.precision import product_precision
from benchmarks.result import Result, Row
from nucleiseg.data.cache import SampleCache, load_all
from nucleiseg.data.datamodule import NucleiDataModule
from nucleiseg.data.readers.base import Reader
from nucleiseg.data.readers.demo import DemoReader
from nucleiseg.data.readers.folders import FoldersReader
from nucleiseg.data.settings import DataSettings
from nucleiseg.devices import peak_memory_mb
from nucleiseg.errors import InputError
from nucleiseg.models.checkpoint import Metadata
from nucleiseg.run_folder import INDEX, METRICS
from nucleiseg.training import run
from nucleiseg.training.settings import CheckpointSettings, OptimSettings, TrainerSettings
from nucleiseg.transforms.preprocessing import Preprocessing
from nucleiseg.transforms.recipe import Range, Recipe, Resize

TABLE: tuple[tuple[str, Range | None], ...] = (
    ("r50_c4", None),
    ("r50_c4", (0.5, 2.0)),
    ("r50_c4", (2.0, 10.0)),
    ("r101_c4", None),
    ("r50_fpn", None),
    ("r50_fpn_as_in_study", None),
)
"""Model and saturation range of each run."""


@dataclass(frozen=True)
class Options:
    """Keys of the command line.

    Attributes:
        data: root of a data set for the reader `folders`; empty: synthetic images.
        images: number of synthetic images.
        size: side of each synthetic image in pixels.
        resize: side of the network's input in pixels.
        steps: steps of each run.
        every: steps between two checkpoints.
        rows: runs of `TABLE`, counted from 1.
        models: models to use instead, for a trial.
        precision: float32, tf32 or bf16.
        device: `auto` takes a CUDA GPU if there is one.
    """

    data: str = ""
    images: int = 24
    size: int = 1000
    resize: int = 608
    steps: int = 2400
    every: int = 200
    rows: tuple[int, ...] = tuple(range(1, len(TABLE) + 1))
    models: tuple[str, ...] = ()
    precision: str = "tf32"
    device: str = "auto"

    def __post_init__(self) -> None:
        if unknown := [row for row in self.rows if not 1 <= row <= len(TABLE)]:
            raise InputError(f"rows is {','.join(map(str, unknown))}; it accepts 1 to {len(TABLE)}.")

    def reader(self) -> Reader:
        """Build the reader of the data set."""
        return FoldersReader(root=Path(self.data)) if self.data else DemoReader(images=self.images, size=self.size)


@dataclass(frozen=True)
class Case:
    """One run.

    Attributes:
        model: a file of conf/model.
        saturation: see `Recipe`.
        cache: folder with the decoded images.
        chosen: what all runs share.
    """

    model: str
    saturation: Range | None
    cache: Path
    chosen: Options


def main(chosen: Options) -> Result:
    """Decode the images once, then train each setting in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        load_all(chosen.reader(), SampleCache(folder))
        table: list[tuple[str, Range | None]] = [(model, None) for model in chosen.models]
        table = table or [TABLE[row - 1] for row in chosen.rows]
        rows = [in_child(train, Case(model, saturation, Path(folder), chosen)) for model, saturation in table]
    title = f"The study's runs: {chosen.steps} steps of one image, a checkpoint every {chosen.every}"
    return Result("study", f"{title}, {chosen.precision}", with_total(rows))


def with_total(rows: Sequence[Row]) -> list[Row]:
    """Return the rows, and after several one with the minutes of all."""
    if len(rows) < 2:
        return list(rows)
    total: Row = dict.fromkeys(rows[0])
    return [*rows, {**total, "model": "all", "minutes": sum(float(row["minutes"] or 0) for row in rows)}]


def train(case: Case) -> Row:
    """Train one setting and time it, from the network's making to the last checkpoint."""
    chosen = case.chosen
    device = chosen_device(chosen.device)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        data = data_module(case)
        network = prepare_network(case.model, data)
        data.prepare_batch = network.anchor_sampler()
        run.train(
            network,
            Metadata(model=network.config.to_dict()),
            data,
            run_dir,
            optim=OptimSettings(lr=1e-5),
            trainer=TrainerSettings(
                max_steps=chosen.steps,
                accelerator=device,  # type: ignore[arg-type]
                precision=product_precision(chosen.precision),
            ),
            checkpoint=CheckpointSettings(every=chosen.every),
        )
        seconds = time.perf_counter() - start
        steps, checkpoints = _read(run_dir / METRICS), _read(run_dir / INDEX)
    return {
        "model": case.model,
        "saturation": str(case.saturation) if case.saturation else "off",
        "minutes": seconds / 60,
        "ms a step, median": 1000 * statistics.median(float(row["time/step"]) for row in steps),
        "ms of it waiting for data, median": 1000 * statistics.median(float(row["time/data"]) for row in steps),
        "checkpoints": len(checkpoints),
        "peak memory, MB": peak_memory_mb(torch.device(device)),
    }


def data_module(case: Case) -> NucleiDataModule:
    """Return the data: all images train."""
    data = NucleiDataModule(
        case.chosen.reader(),
        Recipe(saturation=case.saturation, resize=Resize(short=case.chosen.resize)),
        Preprocessing(),
        DataSettings(val=(), cache_dir=str(case.cache)),
        total_steps=case.chosen.steps,
    )
    data.setup()
    return data


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


if __name__ == "__main__":
    options.run(Options, main)
