"""What a step of the real training loop is made of: the network, its targets, and everything around it.

    python -m benchmarks.breakdown                                    # r50_fpn, about 150 nuclei in a crop, CPU
    python -m benchmarks.breakdown model=r50_c4 steps=20 device=cuda precision=bf16 workers=4

A run as `train.py` makes it: cache, recipe, loader, Lightning, logs; without checkpoints and validation. All that is
not forward, backward and optimiser, and of the forward pass what finds out what the network should have said
(matching, sampling, masks), is to be less than 5 % of a step on the CPU, 10 % on a GPU.
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
from nucleiseg.training.module import NucleiModule
from nucleiseg.training.plan import CheckpointPlan
from nucleiseg.training.run import callbacks, make_trainer
from nucleiseg.training.schedule import Schedule
from nucleiseg.training.settings import OptimSettings, TrainerSettings, ValidationSettings
from nucleiseg.transforms.preprocessing import Preprocessing
from nucleiseg.transforms.recipe import Recipe, Resize

STEP, FORWARD, BACKWARD, OPTIMISER = "a step", "forward", "backward", "optimiser"

OTHER = "all that is not the network"

TARGETS = (
    (rpn.ProposalNetwork, "sample", "targets: matching and sampling anchors"),
    (roi_heads.RoIHeads, "sample", "targets: matching and sampling RoIs"),
    (roi_heads, "mask_targets", "targets: masks"),
)
"""What forward does that a network in prediction does not. (Anchors are sampled where batches are put together: what of
that is not a worker's is part of the loop. Here remains to look whether they fit.)"""


@dataclass(frozen=True)
class Options:
    """Keys of the command line.

    Attributes:
        model: a file of conf/model.
        nuclei: in an image of `size` x `size`; a crop holds a quarter of them.
        size: side of the drawn images in pixels.
        resize: side of the network's input in pixels.
        steps: that count.
        warmup: steps before, that do not: threads, kernels chosen by trial, the memory of the optimiser, and the
            samples that workers have made before the first step (up to 16 batches; a loader that is a little too
            slow lives on them for long).
        batch: images a step.
        threads: of the CPU.
        workers: processes that load samples.
        precision: float32, tf32 or bf16.
        device: auto takes a CUDA GPU where there is one.
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
    """Stops the time of Lightning's stages, and of whole steps from the end of one to the end of the next.

    Args:
        watch: is reset when the first steps are over.
        warmup: how many these are.
    """

    def __init__(self, watch: Stopwatch, warmup: int) -> None:
        self.watch, self.warmup = watch, warmup

    def on_before_backward(self, *args: Any) -> None:  # noqa: ANN401
        """The losses are there."""
        self.watch.start(BACKWARD)

    def on_after_backward(self, *args: Any) -> None:  # noqa: ANN401
        """The gradients are there."""
        self.watch.stop(BACKWARD)

    def on_before_optimizer_step(self, *args: Any) -> None:  # noqa: ANN401
        """The optimiser begins."""
        self.watch.start(OPTIMISER)

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:  # noqa: ANN401
        """The optimiser is done; what comes until here again is one step."""
        self.watch.stop(OPTIMISER)
        self.watch.stop(STEP)
        if trainer.global_step == self.warmup:
            self.watch.reset()
        self.watch.start(STEP)


def main(chosen: Options) -> Result:
    """Train some steps in a process of its own and say where the time went."""
    seconds = in_child(train, chosen).seconds
    title = (
        f"{chosen.model}, {chosen.precision}, {chosen.batch} x {chosen.resize} x {chosen.resize}: "
        f"where {chosen.steps} steps of the training loop go"
    )
    return Result("breakdown", title, as_rows(seconds, chosen.steps))


def as_rows(seconds: dict[str, float], steps: int) -> list[Row]:
    """Return the parts as milliseconds and shares of a step.

    Args:
        seconds: of each part, all steps together.
        steps: how many these were.
    """
    return [
        {"part": name, "ms a step": 1000 * value / steps, "share, %": 100 * value / seconds[STEP]}
        for name, value in parts_of(seconds).items()
    ]


def parts_of(seconds: dict[str, float]) -> dict[str, float]:
    """Return parts that add up to a step: the targets apart from the forward pass they belong to, and the loop."""
    targets = {name: value for name, value in seconds.items() if name.startswith("targets")}
    network = {
        "network: forward": seconds[FORWARD] - sum(targets.values()),
        "network: backward": seconds[BACKWARD],
        "network: optimiser": seconds[OPTIMISER],
    }
    loop = seconds[STEP] - seconds[FORWARD] - seconds[BACKWARD] - seconds[OPTIMISER]
    parts = {**network, **targets, "loop: data, transfers, logs": loop}
    return {**parts, OTHER: sum(targets.values()) + loop, STEP: seconds[STEP]}


class Spent(NamedTuple):
    """What a run of some steps took.

    Attributes:
        seconds: of each part, all steps together.
        memory_mb: as in `measure.Cost`.
    """

    seconds: dict[str, float]
    memory_mb: float | None


def train(chosen: Options) -> Spent:
    """Run the loop for `steps` steps after the first ones."""
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
        plan = CheckpointPlan(10**9, 10**9, 1, None)  # the last step would have one
        # first: what the others do after a step is the loop's, not the optimiser's
        callback_list = [
            Stages(watch, chosen.warmup),
            *callbacks(Path(folder), settings, plan, ValidationSettings(), losses=network.loss_names),
        ]
        optim = OptimSettings(lr=1e-5)  # so small that no untrained network diverges; its value costs nothing
        module = NucleiModule(network, Metadata(model=network.config.to_dict()), optim, Schedule.of(optim, steps))
        make_trainer(Path(folder), settings, callback_list).fit(module, datamodule=data)
    return Spent(watch.seconds(), peak_memory_mb(torch.device(device)))


def data_module(chosen: Options, folder: Path, steps: int) -> NucleiDataModule:
    """Return the loop's data: four drawn images."""
    counts = tuple(chosen.nuclei + index for index in range(4))
    data = NucleiDataModule(
        DiscReader(counts=counts, size=chosen.size),
        Recipe(saturation=(0.5, 2.0), resize=Resize(short=chosen.resize)),
        Preprocessing(),
        DataSettings(val=(), cache_dir=str(folder / "cache"), batch_size=chosen.batch, workers=chosen.workers),
        total_steps=steps,
    )
    data.setup()
    return data


def prepare_network(model: str, data: NucleiDataModule) -> MaskRCNN:
    """Return an untrained network of ours that trains as hard as a trained one.

    Args:
        model: a file of conf/model.
        data: set up; a sample of it calibrates the network.
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
    """Time the forward pass, and the functions in it that make targets."""
    watch.wrap(network, "forward", FORWARD)
    for owner, attribute, name in TARGETS:
        watch.wrap(owner, attribute, name)


if __name__ == "__main__":
    options.run(Options, main)
