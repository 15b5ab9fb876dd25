"""Keep COCO's matches of each image, so that AP of any resample of images is an accumulation only.

Which truth a detection takes depends on the other detections of its image alone (`evaluation.greedy`).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nucleiseg.evaluation.accumulation import PooledClass
from nucleiseg.evaluation.greedy import match_greedily
from nucleiseg.evaluation.instances import Instances
from nucleiseg.evaluation.truth import ImageTruth

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""COCO's IoU thresholds, rounded as in pycocotools, since an IoU can be equal to one."""


@dataclass(frozen=True, eq=False)
class ImageMatches:
    """Which detections of one image found a truth, at each of COCO's IoU thresholds 0.50, 0.55 .. 0.95.

    Attributes:
        scores: (D,) float64 confidences in descending order; detections of equal score keep theirs.
        labels: (D,) int64 classes.
        ranks: (D,) int64 place of each detection among those of its class in the image, counted from 0: those below
            100 are what COCO's maxDets = 100 looks at.
        true_positive: (10, D) bool, whether each detection has found a truth at each IoU threshold.
        truths: label -> number of truths.
        ignored: (10, D) bool, whether each detection found no truth but lies in a crowd region at each IoU threshold;
            None where none is.
    """

    scores: np.ndarray
    labels: np.ndarray
    ranks: np.ndarray
    true_positive: np.ndarray
    truths: Mapping[int, int]
    ignored: np.ndarray | None = None


def match_image(truth: ImageTruth, results: Instances) -> ImageMatches:
    """Match the detections of one image with its truth, class by class.

    Args:
        truth: the true instances.
        results: the detections, in any order.
    """
    scores = np.asarray(results.scores, dtype=np.float64)
    order = np.argsort(-scores, kind="stable")
    labels = np.asarray(results.labels, dtype=np.int64)[order]
    ranks = np.zeros(len(order), np.int64)
    for label in np.unique(labels):
        of_class = np.flatnonzero(labels == label)
        ranks[of_class] = np.arange(len(of_class))
    masks = [results.masks[index] for index in order]
    matches = match_greedily(truth.masks, masks, truth.labels, labels, IOU_THRESHOLDS, truth.crowd)
    truths = dict(sorted(Counter(truth.labels).items()))
    ignored = matches.ignored if matches.ignored.any() else None
    return ImageMatches(scores[order], labels, ranks, matches.true_positive, truths, ignored)


def pooled_classes(images: Sequence[ImageMatches], limit: int | None = None) -> list[PooledClass]:
    """Put the detections of all images in one list by score, for each class that has a truth.

    Args:
        images: the images, in the order in which detections of the same score are to stand.
        limit: how many detections of each image and class count, the most confident first; None counts all.
    """
    labels = sorted({label for image in images for label in image.truths})
    return [_pooled_class(images, label, limit) for label in labels]


def ignored_in(image: ImageMatches) -> np.ndarray:
    """Return (10, D) bool: the image's ignored detections, none where it has no crowd region."""
    return np.zeros_like(image.true_positive) if image.ignored is None else image.ignored


def _pooled_class(images: Sequence[ImageMatches], label: int, limit: int | None) -> PooledClass:
    kept = [(image.labels == label) & (image.ranks < (limit or len(image.ranks))) for image in images]
    scores = np.concatenate([image.scores[chosen] for image, chosen in zip(images, kept, strict=True)])
    order = np.argsort(-scores, kind="stable")
    found = [image.true_positive[:, chosen] for image, chosen in zip(images, kept, strict=True)]
    ignored = [ignored_in(image)[:, chosen] for image, chosen in zip(images, kept, strict=True)]
    return PooledClass(
        image=np.repeat(np.arange(len(images)), [chosen.sum() for chosen in kept])[order],
        true_positive=np.concatenate(found, axis=1)[:, order],
        ignored=np.concatenate(ignored, axis=1)[:, order],
        truths=np.array([image.truths.get(label, 0) for image in images], dtype=np.int64),
    )
