"""AP of kept matches, the way the leaderboard pools them, for one list of images."""

from collections.abc import Sequence

import numpy as np

from nucleiseg.evaluation.accumulation import resampled_ap
from nucleiseg.evaluation.coco_ap import APResult
from nucleiseg.evaluation.matches import IOU_THRESHOLDS, ImageMatches, pooled_classes


def pooled_ap(images: Sequence[ImageMatches], weights: np.ndarray | None = None, limit: int | None = None) -> APResult:
    """Compute what `coco_ap.average_precision` does, from images whose detections are matched.

    Args:
        images: the images; of detections with the same score those of the first image come first, as in COCO's tools.
        weights: (images,) integers: how many times each image is listed; None lists each once.
        limit: how many detections of each image and class count, the most confident first; None counts all.

    Returns:
        AP, AP50 and AP75; all NaN if no image with a weight has a truth.
    """
    times = np.ones(len(images), np.int64) if weights is None else np.asarray(weights)
    listed = [image for image, count in zip(images, times.tolist(), strict=True) for _ in range(count)]
    classes = pooled_classes(listed, limit)
    once = np.ones((1, len(listed)))
    of_thresholds = [float(resampled_ap(classes, [index], once)[0]) for index in range(len(IOU_THRESHOLDS))]
    return APResult(float(np.mean(of_thresholds)), of_thresholds[0], of_thresholds[5])
