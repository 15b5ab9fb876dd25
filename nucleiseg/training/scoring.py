"""The columns of a validation: scores and losses of its images together."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nucleiseg.evaluation.scoring import ScoredImage, best_threshold, evaluate_scored


@dataclass(frozen=True)
class ValidatedImage:
    """What a rank found in one validation image; picklable, so that ranks can exchange it.

    Attributes:
        index: number of the image among those of the validation, counted from 0.
        scored: its true instances and the detections.
        losses: the network's losses of the image, by name; None if they are not computed.
    """

    index: int
    scored: ScoredImage
    losses: dict[str, float] | None = None


def validation_columns(images: Sequence[ValidatedImage]) -> tuple[dict[str, float], float | None]:
    """Score the images of a validation together.

    Args:
        images: at least one, in the order of their indices.

    Returns:
        The `val/` columns (AP50 at all detections and at 100, mean losses; without those that are undefined) and the
        score threshold with the best F1 (None if there was nothing to choose by).
    """
    scored = [image.scored for image in images]
    ap = evaluate_scored(scored).ap
    columns = {"val/ap50": ap.at_all.masks.ap50, "val/ap50_100": ap.at_100.masks.ap50, **mean_losses(images)}
    return {key: value for key, value in columns.items() if not math.isnan(value)}, best_threshold(scored)


def mean_losses(images: Sequence[ValidatedImage]) -> dict[str, float]:
    """Return the means over the images of the losses, and of their sum."""
    losses = [image.losses for image in images if image.losses is not None]
    if not losses:
        return {}
    means = {f"val/{name}": math.fsum(image[name] for image in losses) / len(losses) for name in losses[0]}
    return {"val/loss": math.fsum(means.values()), **means}
