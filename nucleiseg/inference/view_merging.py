"""Merge the detections of several views of one image, by agreement or by detectron2's policy.

`agreement`: detections of different views whose boxes overlap are one nucleus. Its score is the sum of their scores
over the number of views, so that a detection which one view alone has sinks; boxes and mask probabilities are averaged:

    view 1   .9 .8 .        nucleus a: (.9 + .7) / 2 = .8
    view 2   .7 .  .6       nucleus b: .8 / 2 = .4,   nucleus c: .6 / 2 = .3

`detectron2`: the boxes of all views go through one non-maximum suppression with their scores, and the masks of those
that are kept are computed in every view and averaged (`GeneralizedRCNNWithTTA` in modeling/test_time_augmentation.py).
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torchvision.ops import batched_nms, box_iou

from nucleiseg.structures import Prediction

SAME_NUCLEUS = 0.6
"""Least IoU of the boxes of two views of one nucleus: above that of neighbors (0.5 is kept by box NMS), and below that
of one nucleus in two views, which is some 0.8 for a diameter of 16 pixels and a box that is off by one."""


def merge_by_agreement(views: Sequence[Prediction], score_threshold: float = 0.0) -> Prediction:
    """Merge the detections of several views; the more of them see a nucleus, the higher its score.

    In descending score, a detection that belongs to no nucleus yet starts one, and takes from each other view the
    detection of its class with the highest IoU of boxes, if that is at least `SAME_NUCLEUS` and free.

    Args:
        views: the detections of each view, undone: all in pixels of the same image, each in descending score.
        score_threshold: merged detections have a score above this.

    Returns:
        The nuclei in descending score; of one view, its detections unchanged.
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


def merge_boxes(views: Sequence[Prediction], nms: float, limit: int) -> Prediction:
    """Pool the detections of several views and suppress those that overlap a more confident one of their class.

    Args:
        views: the detections of each view, undone: all in pixels of the same image.
        nms: IoU of boxes above which the less confident of two detections is dropped.
        limit: most detections to keep.

    Returns:
        The detections in descending score, with the boxes, scores and masks of their own views.
    """
    pooled = _concatenate(views)
    return pooled[batched_nms(pooled.boxes, pooled.scores, pooled.labels, nms)[:limit]]


def _concatenate(views: Sequence[Prediction]) -> Prediction:
    """Return the detections of all views, one view after the other."""
    return replace(
        views[0],
        boxes=torch.cat([view.boxes for view in views]),
        scores=torch.cat([view.scores for view in views]),
        labels=torch.cat([view.labels for view in views]),
        masks=torch.cat([view.masks for view in views]),
    )
