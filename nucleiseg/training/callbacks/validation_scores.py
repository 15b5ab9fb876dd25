"""Compute scores, losses and the score threshold of a validation from the outputs of Lightning's loop."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import pytorch_lightning as pl

from nucleiseg.data.datamodule import NucleiDataModule
from nucleiseg.evaluation.instances import Instances
from nucleiseg.evaluation.scoring import ScoredImage, best_threshold, evaluate_scored
from nucleiseg.evaluation.truth import ImageTruth
from nucleiseg.structures import Prediction, Sample
from nucleiseg.training.module import Batch, ValidationOutput
from nucleiseg.training.ranks import gathered


@dataclass(frozen=True)
class ValidatedImage:
    """Result of one validation image; picklable, so that ranks can exchange it.

    Attributes:
        index: number of the image among those of the validation, counted from 0.
        scored: its true instances and the detections.
        losses: the network's losses of the image, by name; None if they are not computed.
    """

    index: int
    scored: ScoredImage
    losses: dict[str, float] | None = None


@dataclass(frozen=True)
class ValidationResult:
    """Result of a validation.

    Attributes:
        columns: the `val/` columns of `metrics.csv`, as they are written there.
        score_threshold: the one with the best F1; None if there was nothing to choose by.
        images: how many images were validated, on all ranks.
        pictures: the first images of this rank with their predictions.
    """

    columns: dict[str, float]
    score_threshold: float | None
    images: int
    pictures: list[tuple[Sample, Prediction]]


class ValidationScores(pl.Callback):
    """Score the validation images of all ranks together, and log `val/*` for callbacks to monitor.

    Args:
        overlays: how many pictures are kept.

    Attributes:
        result: of the last validation; None before the first.
    """

    def __init__(self, overlays: int = 0) -> None:
        self.overlays = overlays
        self.result: ValidationResult | None = None
        self._truths: dict[int, ImageTruth] = {}
        self._images: list[ValidatedImage] = []
        self._pictures: list[tuple[Sample, Prediction]] = []
        self._start = 0.0

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock, and forget the last validation."""
        self._start = time.monotonic()
        self._images, self._pictures = [], []

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,  # noqa: ANN401
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the instances found in an image, in its own pixels, beside the true ones."""
        data: NucleiDataModule = trainer.datamodule  # type: ignore[attr-defined]
        output: ValidationOutput = outputs
        index = data.val_indices()[batch_idx]
        sample = data.load(data.val_records[index])
        prediction = output["prediction"].to("cpu").rescaled((sample.image.shape[0], sample.image.shape[1]))
        if index not in self._truths:  # the same at each validation
            self._truths[index] = ImageTruth.of(sample, index)
        scored = ScoredImage(self._truths[index], Instances.from_prediction(prediction))
        self._images.append(ValidatedImage(index, scored, output["losses"]))
        if len(self._pictures) < self.overlays:
            self._pictures.append((sample, prediction))

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Score the images of all ranks; `MetricsLog` hands the numbers to the loggers, with the row of their step."""
        found = {image.index: image for image in chain.from_iterable(gathered(self._images))}  # some on two ranks
        data: NucleiDataModule = trainer.datamodule  # type: ignore[attr-defined]
        columns, threshold = validation_columns([found[index] for index in sorted(found)], data.class_names)
        pl_module.log_dict(columns, logger=False, rank_zero_only=False)
        columns["val/time"] = time.monotonic() - self._start
        self.result = ValidationResult(columns, threshold, len(found), self._pictures)


def validation_columns(
    images: Sequence[ValidatedImage], class_names: Sequence[str] = ()
) -> tuple[dict[str, float], float | None]:
    """Score the images of a validation together.

    Args:
        images: at least one, in the order of their indices.
        class_names: names of the labels 1, 2, ...

    Returns:
        The `val/` columns (AP50 at all detections and at 100, with several classes `val/ap50/NAME` of each, mean
        losses; without those that are undefined) and the score threshold with the best F1 (None if there was nothing to
        choose by).
    """
    scored = [image.scored for image in images]
    ap = evaluate_scored(scored, categories=dict(enumerate(class_names, 1))).ap
    columns = {"val/ap50": ap.at_all.masks.ap50, "val/ap50_100": ap.at_100.masks.ap50, **mean_losses(images)}
    if len(class_names) > 1:
        columns |= {f"val/ap50/{name}": group.at_all.masks.ap50 for name, group in ap.per_class.items()}
    return {key: value for key, value in columns.items() if not math.isnan(value)}, best_threshold(scored)


def mean_losses(images: Sequence[ValidatedImage]) -> dict[str, float]:
    """Return the means over the images of the losses, and of their sum."""
    losses = [image.losses for image in images if image.losses is not None]
    if not losses:
        return {}
    means = {f"val/{name}": math.fsum(image[name] for image in losses) / len(losses) for name in losses[0]}
    return {"val/loss": math.fsum(means.values()), **means}
