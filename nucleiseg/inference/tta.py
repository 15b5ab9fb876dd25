"""Test-time augmentation: predict views of an image, undo each, and merge what they agree on.

A view is one of the eight symmetries of the square, at one scale. Turning and flipping a box and the grid of mask
probabilities over it moves numbers and changes none, so undoing a view is exact. Detections of different views that
overlap are one nucleus: its score is the sum of their scores over the number of views, so that a detection which one
view alone has sinks; boxes and mask probabilities are averaged.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torchvision.ops import box_iou

from nucleiseg.structures import Prediction

TTA = Literal["none", "flips", "rotations", "study"]
"""The choice of views; `none` predicts the image alone."""

SAME_NUCLEUS = 0.6
"""Least IoU of the boxes of two views of one nucleus: above that of neighbors (0.5 is kept by box NMS), and below that
of one nucleus in two views, which is some 0.8 for a diameter of 16 pixels and a box that is off by one."""


@dataclass(frozen=True)
class Symmetry:
    """A symmetry of the square: a flip, then quarter turns.

    Attributes:
        quarter_turns: counterclockwise, 0 .. 3.
        flip: whether columns are reversed first.
    """

    quarter_turns: int = 0
    flip: bool = False

    def apply(self, image: Tensor) -> Tensor:
        """Return a (..., h, w) image as this view shows it; its sides are swapped by an odd number of turns."""
        flipped = image.flip(-1) if self.flip else image
        return torch.rot90(flipped, self.quarter_turns, (-2, -1)).contiguous()

    def undo(self, prediction: Prediction) -> Prediction:
        """Return the detections of a view in pixels of the image before `apply`."""
        boxes, (height, width) = prediction.boxes, prediction.size
        for _ in range(self.quarter_turns):  # row i, column j of the view are column width - i and row j before a turn
            x1, y1, x2, y2 = boxes.unbind(dim=1)
            boxes = torch.stack([height - y2, x1, height - y1, x2], dim=1)
            height, width = width, height
        masks = torch.rot90(prediction.masks, -self.quarter_turns, (-2, -1))
        if self.flip:
            x1, y1, x2, y2 = boxes.unbind(dim=1)
            boxes, masks = torch.stack([width - x2, y1, width - x1, y2], dim=1), masks.flip(-1)
        return replace(prediction, boxes=boxes, masks=masks, size=(height, width))


@dataclass(frozen=True)
class Views:
    """The views of one choice of `TTA`: each symmetry at each scale.

    Attributes:
        symmetries: of the image.
        shorts: network pixels of the image's shorter side, one a scale; empty: the scale of the prediction.
    """

    symmetries: tuple[Symmetry, ...] = (Symmetry(),)
    shorts: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.symmetries) * max(len(self.shorts), 1)


VIEWS: dict[TTA, Views] = {
    "none": Views(),
    "flips": Views((Symmetry(), Symmetry(flip=True), Symmetry(2), Symmetry(2, flip=True))),
    "rotations": Views(tuple(Symmetry(turns, flip) for flip in (False, True) for turns in range(4))),
    "study": Views((Symmetry(), Symmetry(flip=True)), shorts=(1500, 1600, 1700)),
}
"""`flips`: left to right, top to bottom, both. `rotations`: all eight symmetries, since tissue has no upper side.
`study`: the scales and flips that the reproduced study configured."""


def merge_views(views: Sequence[Prediction], score_threshold: float = 0.0) -> Prediction:
    """Merge the detections of several views of one image.

    In descending score, a detection that belongs to no nucleus yet starts one, and takes from each other view the
    detection of its class with the highest IoU of boxes, if that is at least `SAME_NUCLEUS` and free.

    Args:
        views: the detections of each view, undone: all in pixels of the same image, each in descending score.
        score_threshold: merged detections have a score above this.

    Returns:
        The nuclei in descending score; of one view, its detections as they are.
    """
    pooled = _concatenate(views)
    view = torch.cat([torch.full((len(found),), number) for number, found in enumerate(views)])
    free = torch.ones(len(pooled), dtype=torch.bool)
    nuclei = []
    for first in pooled.scores.sort(descending=True, stable=True).indices.tolist():
        if not free[first]:
            continue
        members = [first]
        iou = box_iou(pooled.boxes[first : first + 1], pooled.boxes)[0]
        near = free & (iou >= SAME_NUCLEUS) & (pooled.labels == pooled.labels[first])
        for number in set(view[near].tolist()) - {int(view[first])}:
            candidates = torch.where(near & (view == number))[0]
            members.append(int(candidates[iou[candidates].argmax()]))
        members.sort()  # so that sums do not depend on which view was most confident
        free[members] = False
        nuclei.append(torch.tensor(members))
    if not nuclei:
        return pooled
    merged = replace(
        pooled,
        boxes=torch.stack([pooled.boxes[members].mean(dim=0) for members in nuclei]),
        scores=torch.stack([pooled.scores[members].sum() / len(views) for members in nuclei]),
        labels=torch.stack([pooled.labels[members[0]] for members in nuclei]),
        masks=torch.stack([pooled.masks[members].mean(dim=0) for members in nuclei]),
    )
    best_first = merged.scores.sort(descending=True, stable=True).indices
    return merged[best_first[merged.scores[best_first] > score_threshold]]


def _concatenate(views: Sequence[Prediction]) -> Prediction:
    """Return the detections of all views, one view after the other."""
    return replace(
        views[0],
        boxes=torch.cat([view.boxes for view in views]),
        scores=torch.cat([view.scores for view in views]),
        labels=torch.cat([view.labels for view in views]),
        masks=torch.cat([view.masks for view in views]),
    )
