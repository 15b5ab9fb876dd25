"""A training of milliseconds: a stand-in for Mask R-CNN, drawn images, and `run.train` on them.

As a script, it trains a real but narrow Mask R-CNN in a process of its own, which a test may kill:

    python tiny.py RUN_DIR STEPS WORKERS DEVICES BATCH
"""

import csv
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import Logger
from pytorch_lightning.profilers import Profiler
from torch import Tensor, nn

from nucleiseg.data.datamodule import NucleiDataModule
from nucleiseg.data.readers.demo import DemoReader
from nucleiseg.data.settings import DataSettings
from nucleiseg.models.checkpoint import Metadata
from nucleiseg.models.config import ModelConfig
from nucleiseg.models.mask_rcnn import MaskRCNN, build
from nucleiseg.models.part_configs import DetectionConfig, LossWeights, MaskConfig, RoIConfig, RPNConfig
from nucleiseg.structures import Prediction, Target
from nucleiseg.training import run
from nucleiseg.training.settings import CheckpointSettings, OptimSettings, TrainerSettings, ValidationSettings
from nucleiseg.transforms.preprocessing import Preprocessing
from nucleiseg.transforms.recipe import Recipe, Resize

SIDE = 48

LOSSES = tuple(f"loss_{field.name}" for field in fields(LossWeights))


class TinyNetwork(nn.Module):
    """Speaks as a Mask R-CNN does; its losses depend on pixels, boxes, random draws and running statistics.

    Args:
        seed: of its initial weights.
        broken_after: calls in training after which a loss becomes infinite.
        fails_after: calls in training after which it raises.
    """

    loss_names = LOSSES

    def __init__(self, seed: int = 0, broken_after: int | None = None, fails_after: int | None = None) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.backbone = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Linear(8, len(LOSSES))
        self.broken_after = broken_after
        self.fails_after = fails_after
        self.calls = 0

    def forward(
        self, images: list[Tensor], targets: list[Target] | None = None
    ) -> dict[str, Tensor] | list[Prediction]:
        if targets is None:
            assert not self.training
            return [self.predict(image) for image in images]
        assert self.training
        self.calls += 1
        if self.fails_after is not None and self.calls > self.fails_after:
            raise RuntimeError("killed")
        return self.losses(images, targets)

    def losses(self, images: list[Tensor], targets: list[Target]) -> dict[str, Tensor]:
        total = torch.zeros(len(LOSSES))
        for image, target in zip(images, targets, strict=True):
            generator = None if target.seed is None else torch.Generator().manual_seed(target.seed)
            noise = torch.rand(len(LOSSES), generator=generator) + torch.rand(len(LOSSES))  # and torch's global state
            found = self.head(self.backbone(image[None] / 255.0).mean(dim=(0, 2, 3)))
            total = total + (found - len(target) / 10 - noise) ** 2
        losses = dict(zip(LOSSES, total, strict=True))
        if self.broken_after is not None and self.calls > self.broken_after:
            losses["loss_mask"] = losses["loss_mask"] * torch.inf
        return losses

    def validation_losses(self, images: list[Tensor], targets: list[Target]) -> dict[str, Tensor]:
        with torch.no_grad():
            return self.losses(images, targets)

    def predict(self, image: Tensor) -> Prediction:
        """Find the four quarters of the image."""
        height, width = image.shape[1:]
        x, y = width / 2, height / 2
        boxes = torch.tensor([[0, 0, x, y], [x, 0, width, y], [0, y, x, height], [x, y, width, height]])
        scores = self.head(self.backbone(image[None] / 255.0).mean(dim=(0, 2, 3)))[:4].sigmoid().sort(descending=True)
        return Prediction(boxes, scores.values, torch.ones(4, dtype=torch.int64), torch.ones(4, 4, 4), (height, width))


def narrow_mask_rcnn() -> MaskRCNN:
    """A whole Mask R-CNN with few channels: about half a second a step."""
    torch.manual_seed(0)
    config = ModelConfig(
        name="narrow",
        backbone="resnet18",
        fpn_channels=16,
        rpn=RPNConfig(post_nms_train=50, post_nms_test=50, batch_size=32),
        roi=RoIConfig(batch_size=32, fc_dim=32),
        mask=MaskConfig(convs=1, channels=16),
        detection=DetectionConfig(limit=50),
    )
    return build(config, 1)


def make_data(
    steps: int, *, workers: int = 0, accumulate: int = 1, val: object = 0.34, batch: int = 2
) -> NucleiDataModule:
    """Six drawn images, two of them for validation."""
    return NucleiDataModule(
        DemoReader(images=6, size=SIDE, seed=1),
        Recipe(crop=(0.75, 0.75), resize=Resize(short=SIDE, long=SIDE), saturation=(0.5, 2)),
        Preprocessing(scale=1.0),
        DataSettings(val=val, batch_size=batch, workers=workers, cache_dir="none"),
        seed=3,
        total_steps=steps,
        accumulate=accumulate,
    )


def train_tiny(
    folder: Path,
    steps: int = 6,
    *,
    resume: bool = False,
    workers: int = 0,
    network: nn.Module | None = None,
    optim: OptimSettings | None = None,
    val: object = 0.34,
    batch: int = 2,
    every: int = 2,
    keep: int | None = None,
    validation: ValidationSettings | None = None,
    callbacks: Sequence[pl.Callback] = (),
    loggers: Sequence[Logger] = (),
    hyperparameters: Mapping[str, object] | None = None,
    lightning_profiler: Profiler | None = None,
    **trainer: object,
) -> TinyNetwork:
    """Train a network, by default a tiny one, into `folder`, and return it."""
    network = network or TinyNetwork()
    model = network.config.to_dict() if isinstance(network, MaskRCNN) else {}
    settings = TrainerSettings(max_steps=steps, **{"accelerator": "cpu", "log_every": 3, **trainer})
    data = make_data(steps, workers=workers, accumulate=settings.accumulate, val=val, batch=batch)
    data.setup()
    if isinstance(network, MaskRCNN):
        data.prepare_batch = network.anchor_sampler()
    run.train(
        network,
        Metadata(model=model),
        data,
        folder,
        optim=optim or OptimSettings(lr=0.05),
        trainer=settings,
        checkpoint=CheckpointSettings(every=every, keep=keep),
        validation=validation or ValidationSettings(),
        seed=5,
        resume=resume,
        callbacks=callbacks,
        loggers=loggers,
        hyperparameters=hyperparameters,
        profiler=lightning_profiler,
    )
    return network


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def what_was_computed(folder: Path) -> list[dict[str, str]]:
    """Return the rows of metrics.csv without the columns that measure time."""
    return [{key: value for key, value in row.items() if "time" not in key} for row in read(folder / "metrics.csv")]


def final_weights(folder: Path) -> dict[str, Tensor]:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, steps, workers, devices, batch = sys.argv[1:]
    train_tiny(
        Path(folder),
        int(steps),
        workers=int(workers),
        resume=True,
        network=narrow_mask_rcnn(),
        optim=OptimSettings(lr=0.01),
        batch=int(batch),
        devices=int(devices),
        log_every=1,
    )
