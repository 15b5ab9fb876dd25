"""The container that every metric takes: the instances of one image, true or detected.

For example:

    detected = Instances.from_prediction(predictor.predict(image))
    Matching([truth], [detected]).pooled().result()
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

from nucleiseg.evaluation.boxes import Box
from nucleiseg.inference.box_masks import to_rle
from nucleiseg.rle import RLE, area
from nucleiseg.structures import EVERY_CLASS, Prediction


@dataclass(frozen=True)
class CrowdRegion:
    """A region of instances that are not annotated one by one (COCO's `iscrowd`): neither positive nor negative.

    Attributes:
        mask: its pixels, at least one.
        label: the class of its instances, or `structures.EVERY_CLASS`.
        box: the box that the file gives; None: the tight box of the mask.
    """

    mask: RLE
    label: int
    box: Box | None = None

    def labels(self, known: Iterable[int]) -> list[int]:
        """Return the classes that it ignores, of all that are known."""
        return list(known) if self.label == EVERY_CLASS else [self.label]


@dataclass(frozen=True)
class Instances:
    """The instances of one image.

    Attributes:
        masks: N masks over the image, each with a pixel.
        scores: N confidences, in any order; empty for truths.
        labels: N classes.
        boxes: N boxes; None where the source gives none: they are the tight boxes of the masks.
        crowd: for truths, regions whose instances are not annotated one by one; none of them is among the masks.
    """

    masks: list[RLE] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    boxes: list[Box] | None = None
    crowd: tuple[CrowdRegion, ...] = ()

    @classmethod
    def from_prediction(cls, prediction: Prediction) -> Self:
        """Take the detections whose mask has a pixel, over the image that the prediction refers to."""
        masks = to_rle(prediction)
        kept = area(masks).nonzero()[0].tolist()
        scores, labels = prediction.scores.tolist(), prediction.labels.tolist()
        return cls([masks[i] for i in kept], [scores[i] for i in kept], [labels[i] for i in kept])
