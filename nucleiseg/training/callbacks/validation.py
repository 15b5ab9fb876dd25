"""Losses, AP50 and the score threshold on the validation images, without a trace in the training."""

import time
from dataclasses import dataclass
from itertools import chain, islice

import pytorch_lightning as pl
import torch
from torch import Tensor

from nucleiseg.data.datamodule import NucleiDataModule
from nucleiseg.evaluation.instances import Instances
from nucleiseg.evaluation.scoring import ScoredImage
from nucleiseg.evaluation.truth import ImageTruth
from nucleiseg.structures import Prediction, Sample, Target
from nucleiseg.training.eval_mode import eval_mode
from nucleiseg.training.module import NucleiModule
from nucleiseg.training.ranks import gathered
from nucleiseg.training.scoring import ValidatedImage, validation_columns
from nucleiseg.training.settings import ValidationSettings

SEED = 0
"""Of the sampling in the validation losses: every checkpoint is measured on the same anchors."""


@dataclass(frozen=True)
class ValidationResult:
    """What a validation found.

    Attributes:
        columns: `val/...` of the log.
        score_threshold: the one with the best F1; None if there was nothing to choose by.
        images: how many images were looked at.
        pictures: the first images of this rank with their predictions, to be drawn.
    """

    columns: dict[str, float]
    score_threshold: float | None
    images: int
    pictures: list[tuple[Sample, Prediction]]


class Validation:
    """Looks at the validation images when `Checkpoints` asks for it; each rank takes its share.

    Args:
        settings: how many images, whether losses are computed too, and how many pictures are kept.
    """

    def __init__(self, settings: ValidationSettings) -> None:
        self.settings = settings
        self._truths: dict[int, ImageTruth] = {}

    def run(self, trainer: pl.Trainer, module: NucleiModule) -> ValidationResult | None:
        """Validate; every rank must call it. None if there is nothing to validate on."""
        data: NucleiDataModule = trainer.datamodule  # type: ignore[attr-defined]
        if not data.val_records:
            return None
        start = time.monotonic()
        images = islice(enumerate(data.val_dataloader()), trainer.global_rank, self.settings.images, trainer.world_size)
        own: list[ValidatedImage] = []
        pictures: list[tuple[Sample, Prediction]] = []
        with eval_mode(module.network), trainer.precision_plugin.forward_context():
            for index, batch in images:
                sample = data.cache.load(data.reader, data.val_records[index])
                prediction, losses = self._look_at(module, *trainer.strategy.batch_to_device(batch))
                prediction = prediction.rescaled((sample.image.shape[0], sample.image.shape[1]))
                if index not in self._truths:  # the same at each validation
                    self._truths[index] = ImageTruth.of(sample, index)
                scored = ScoredImage(self._truths[index], Instances.from_prediction(prediction))
                own.append(ValidatedImage(index, scored, losses))
                if len(pictures) < self.settings.overlays:
                    pictures.append((sample, prediction))
        results = sorted(chain.from_iterable(gathered(own)), key=lambda result: result.index)
        columns, threshold = validation_columns(results)
        columns["val/time"] = time.monotonic() - start
        return ValidationResult(columns, threshold, len(results), pictures)

    def _look_at(
        self, module: NucleiModule, images: list[Tensor], targets: list[Target]
    ) -> tuple[Prediction, dict[str, float] | None]:
        """Return the prediction of one image, in its pixels, and its losses where they are asked for."""
        losses = None
        if self.settings.losses:
            torch.manual_seed(SEED)
            values = module.network.validation_losses(images, targets)
            names = module.network.loss_names
            losses = dict(zip(names, torch.stack([values[name].float() for name in names]).tolist(), strict=True))
        return module.network(images)[0].to("cpu"), losses
