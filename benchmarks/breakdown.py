"""Break a step of the training loop down into network, targets and overhead.

    python -m benchmarks.breakdown                                    # r50_fpn, about 150 nuclei in a crop, CPU
    python -m benchmarks.breakdown model=r50_c4 steps=20 device=cuda precision=bf16 workers=4

The run is that of `train.py` (cache, recipe, loader, Lightning, logs) without checkpoints and validation. Targets
(matching, sampling, masks) and everything outside forward, backward and optimizer should take less than 5 % of a step
on the CPU, 10 % on a GPU.
"""

import logging
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch

from benchmarks import options
from benchmarks.measure import chosen_device, in_child
from benchmarks.networks import TrainedProposals, build_network, calibrate
from benchmarks.precision import product_precision
from benchmarks.result import Result, Row
from benchmarks.sample_loading import DiscReader
from benchmarks.stopwatch import Stopwatch
from nucleiseg.data.datamodule import NucleiDataModule
from nucleiseg.data.settings import DataSettings
from nucleiseg.devices import peak_memory_mb
from nucleiseg.errors import InputError
from nucleiseg.models import roi_heads, rpn
from nucleiseg.models.checkpoint import Metadata
from nucleiseg.models.mask_rcnn import MaskRCNN
from nucleiseg.training.loggers import MetricsCsv
from nucleiseg.training.module import NucleiModule
from nucleiseg.training.plan import CheckpointPlan
from nucleiseg.training.settings import OptimSettings, TrainerSettings
from nucleiseg.training.trainer import make_trainer, run_callbacks
from nucleiseg.transforms.preprocessing import Preprocessing
from nucleiseg.transforms.recipe import Recipe, Resize

STEP, FORWARD, BACKWARD, OPTIMIZER = "a step", "forward", "backward", "optimizer"

OTHER = "all that is not the network"

TARGETS = (
    (rpn.ProposalNetwork, "sample", "targets: matching and sampling anchors"),
    (roi_heads.RoIHeads, "sample", "targets: matching and sampling RoIs"),
    (roi_heads, "mask_targets", "targets: masks"),
)
"""Parts of the forward pass that make targets. Anchors are sampled when a batch is collated; without workers that time
belongs to the loop, and only the check that the sampled anchors fit remains here."""


@dataclass(frozen=True)
class Options:
    """Keys of the command line.

    Attributes:
        model: a file of conf/model.
        nuclei: nuclei in an image of `size` x `size`; a crop has a quarter of them.
        size: side of the synthetic images in pixels.
        resize: side of the network's input in pixels.
        steps: measured steps.
        warmup: unmeasured steps before: they start threads, select kernels, allocate the optimizer's memory and use up
            the batches that workers have prepared (up to 16, which hide a slow loader for a long time).
        batch: images per step.
        threads: CPU threads.
        workers: processes that load samples.
        precision: float32, tf32 or bf16.
        device: `auto` takes a CUDA GPU if there is one.
    """

    model: str = "r50_fpn"
    nuclei: int = 600
    size: int = 1000
    resize: int = 608
    steps: int = 5
    warmup: int = 2
    batch: int = 1
    threads: int = 2
    workers: int = 0
    precision: str = "float32"
    device: str = "auto"

    def __post_init__(self) -> None:
        if min(self.warmup, self.steps) < 1:
            raise InputError(f"warmup={self.warmup} steps={self.steps}: give at least 1 of each.")


class Stages(pl.Callback):
    """Times Lightning's stages, and whole steps from the end of one to the end of the next.

    Args:
        watch: stopwatch, reset after the warm-up.
        warmup: number of warm-up steps.
    """

    def __init__(self, watch: Stopwatch, warmup: int) -> None:
        self.watch, self.warmup = watch, warmup

    def on_before_backward(self, *args: Any) -> None:  # noqa: ANN401
        """Start timing the backward pass."""
        self.watch.start(BACKWARD)

    def on_after_backward(self, *args: Any) -> None:  # noqa: ANN401
        """Stop timing the backward pass."""
        self.watch.stop(BACKWARD)

    def on_before_optimizer_step(self, *args: Any) -> None:  # noqa: ANN401
        """Start timing the optimizer."""
        self.watch.start(OPTIMIZER)

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:  # noqa: ANN401
        """Stop timing the optimizer and the step, and start the next step."""
        self.watch.stop(OPTIMIZER)
        self.watch.stop(STEP)
        if trainer.global_step == self.warmup:
            self.watch.reset()
        self.watch.start(STEP)


def main(chosen: Options) -> Result:
    """Measure training steps in a fresh process."""
    seconds = in_child(train, chosen).seconds
    title = (
        f"{chosen.model}, {chosen.precision}, {chosen.batch} x {chosen.resize} x {chosen.resize}: "
        f"where {chosen.steps} steps of the training loop go"
    )
    return Result("breakdown", title, as_rows(seconds, chosen.steps))


def as_rows(seconds: dict[str, float], steps: int) -> list[Row]:
    """Return the parts as milliseconds and shares of a step.

    Args:
        seconds: seconds of each part, summed over all steps.
        steps: number of steps.
    """
    return [
        {"part": name, "ms a step": 1000 * value / steps, "share, %": 100 * value / seconds[STEP]}
        for name, value in parts_of(seconds).items()
    ]


def parts_of(seconds: dict[str, float]) -> dict[str, float]:
    """Return parts that add up to a step, with targets separated from the forward pass, and the loop's overhead."""
    targets = {name: value for name, value in seconds.items() if name.startswith("targets")}
    network = {
        "network: forward": seconds[FORWARD] - sum(targets.values()),
        "network: backward": seconds[BACKWARD],
        "network: optimizer": seconds[OPTIMIZER],
    }
    loop = seconds[STEP] - seconds[FORWARD] - seconds[BACKWARD] - seconds[OPTIMIZER]
    parts = {**network, **targets, "loop: data, transfers, logs": loop}
    return {**parts, OTHER: sum(targets.values()) + loop, STEP: seconds[STEP]}


class Spent(NamedTuple):
    """Cost of a run of some steps.

    Attributes:
        seconds: seconds of each part, summed over all steps.
        memory_mb: as in `measure.Cost`.
    """

    seconds: dict[str, float]
    memory_mb: float | None


def train(chosen: Options) -> Spent:
    """Run the loop for `warmup` and `steps` steps."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    torch.set_num_threads(chosen.threads)
    device = chosen_device(chosen.device)
    watch = Stopwatch(device)
    steps = chosen.warmup + chosen.steps
    precision = product_precision(chosen.precision)
    settings = TrainerSettings(max_steps=steps, accelerator=device, precision=precision)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder:
        data = data_module(chosen, Path(folder), steps)
        network = prepare_network(chosen.model, data)
        data.prepare_batch = network.anchor_sampler()
        watch_network(network, watch)
        plan = CheckpointPlan(10**9, 10**9, 1, None)  # beyond the last step, which would write one
        # first, so that the work of the other callbacks after a step counts as the loop's, not the optimizer's
        csv = MetricsCsv(Path(folder), network.loss_names)
        callbacks = [Stages(watch, chosen.warmup), *run_callbacks(Path(folder), csv, settings, plan)]
        # too small for an untrained network to diverge; the value does not affect the cost
        optim = OptimSettings(lr=1e-5)
        module = NucleiModule(network, Metadata(model=network.config.to_dict()), optim, steps)
        trainer = make_trainer(Path(folder), settings, plan, callbacks, [csv], validates=False)
        trainer.fit(module, datamodule=data)
    return Spent(watch.seconds(), peak_memory_mb(torch.device(device)))


def data_module(chosen: Options, folder: Path, steps: int) -> NucleiDataModule:
    """Return a data module of four synthetic images."""
    counts = tuple(chosen.nuclei + index for index in range(4))
    data = NucleiDataModule(
        DiscReader(counts=counts, size=chosen.size),
        Recipe(saturation=(0.5, 2.0), resize=Resize(short=chosen.resize)),
        Preprocessing(),
        DataSettings(
            val="none",  # type: ignore[arg-type]
            cache_dir=str(folder / "cache"),
            batch_size=chosen.batch,
            workers=chosen.workers,
        ),
        total_steps=steps,
    )
    data.setup()
    return data


def prepare_network(model: str, data: NucleiDataModule) -> MaskRCNN:
    """Build an untrained network whose steps cost as much as those of a trained one.

    Args:
        model: a file of conf/model.
        data: data module after `setup`; one of its samples calibrates the network.
    """
    torch.manual_seed(0)
    network = build_network(model, 0)
    assert isinstance(network, MaskRCNN)
    TrainedProposals(network)
    sample = data.cache.load(data.reader, data.train_records[0])
    image, _ = data.train_transform(sample, 0)
    calibrate(network, [image])
    return network


def watch_network(network: MaskRCNN, watch: Stopwatch) -> None:
    """Time the forward pass and the functions in it that make targets."""
    watch.wrap(network, "forward", FORWARD)
    for owner, attribute, name in TARGETS:
        watch.wrap(owner, attribute, name)


if __name__ == "__main__":
    options.run(Options, main)
