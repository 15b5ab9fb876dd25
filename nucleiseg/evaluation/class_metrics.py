"""Metrics of single classes, and which classes are confused: from the label maps of one image, added over images.

matched at IoU > 0.5, whatever the class        stroma  tumor  missed
rows: the truth                       stroma        31      4      11
columns: the results                  tumor          2     60       5
spurious       3      6
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nucleiseg.evaluation.contingency import ContingencyTable, contingency_table
from nucleiseg.evaluation.instance_metrics import MATCH_IOU, Tally, tally
from nucleiseg.evaluation.painting import paint
from nucleiseg.rle import RLE

NOTHING = -(2**31)
"""Stands for the class of no result (a missed truth), or of no truth (a spurious result): no label is that small."""

Pairs = Counter[tuple[int, int]]
"""(Label of a truth or `NOTHING`, label of its result or `NOTHING`) -> how many."""


@dataclass(frozen=True)
class LabeledMasks:
    """Instances of one image in label maps.

    Attributes:
        masks: N masks.
        labels: (N,) int64 classes, none of them `NOTHING`.
        scores: N confidences; None for truths.
        label_map: (H, W) int32, all of them painted: mask i has the value i + 1.
    """

    masks: Sequence[RLE]
    labels: np.ndarray
    scores: Sequence[float] | None
    label_map: np.ndarray

    @classmethod
    def of(
        cls,
        masks: Sequence[RLE],
        labels: Sequence[int],
        size: tuple[int, int],
        scores: Sequence[float] | None = None,
    ) -> "LabeledMasks":
        """Paint the masks of an image of a (height, width)."""
        return cls(masks, np.array(labels, np.int64), scores, paint(masks, *size, scores))

    def of_class(self, label: int) -> np.ndarray:
        """Return the (H, W) label map of the instances of one class alone."""
        chosen = np.flatnonzero(self.labels == label).tolist()
        masks = [self.masks[index] for index in chosen]
        scores = None if self.scores is None else [self.scores[index] for index in chosen]
        height, width = self.label_map.shape
        return paint(masks, height, width, scores)

    def shown(self) -> np.ndarray:
        """Return the (K,) int64 indices of the instances with a pixel in the label map, as a table numbers them."""
        pixels = np.bincount(self.label_map.ravel(order="F"), minlength=len(self.masks) + 1)[1:]
        return np.flatnonzero(pixels)


def tally_classes(truth: LabeledMasks, found: LabeledMasks, table: ContingencyTable) -> dict[int, Tally]:
    """Take the sums of the metrics of label maps of each class that occurs, in label maps of that class alone.

    Args:
        truth: the true instances of an image.
        found: its results that are counted.
        table: of the label maps with all classes.
    """
    labels = np.union1d(truth.labels, found.labels).tolist()
    if len(labels) == 1:
        return {labels[0]: tally(table)}
    return {label: tally(contingency_table(truth.of_class(label), found.of_class(label))) for label in labels}


def count_pairs(truth: LabeledMasks, found: LabeledMasks, table: ContingencyTable) -> Pairs:
    """Count how often a truth of one class was matched by a result of another, at IoU > 0.5 and whatever the classes.

    Every truth and every result is counted once: those without a partner, or without a pixel in the label map, with
    `NOTHING`.

    Args:
        truth: the true instances of an image.
        found: its results that are counted.
        table: of their label maps.
    """
    matched = table.iou > MATCH_IOU
    truths, results = truth.shown()[table.truth[matched]], found.shown()[table.prediction[matched]]
    pairs: Pairs = Counter(zip(truth.labels[truths].tolist(), found.labels[results].tolist(), strict=True))
    pairs.update((label, NOTHING) for label in np.delete(truth.labels, truths).tolist())
    pairs.update((NOTHING, label) for label in np.delete(found.labels, results).tolist())
    return pairs


def to_matrix(pairs: Mapping[tuple[int, int], int], names: Mapping[int, str]) -> dict[str, Any]:
    """Return a confusion matrix for JSON.

    Args:
        pairs: of all images.
        names: label -> name of each class, in the order of rows and columns.

    Returns:
        `classes`: K names; `matrix`: K + 1 rows of the truth's classes, then of spurious results, by K + 1 columns of
        the results' classes, then of missed truths; its last number is 0.
    """
    labels = [*names, NOTHING]
    matrix = [[pairs.get((row, column), 0) for column in labels] for row in labels]
    return {"classes": list(names.values()), "matrix": matrix}
