"""Match with faster-coco-eval: IoU and matching once, then precision for any images, classes, sizes and limits.

No other file imports the library. It computes what pycocotools does, in C++, and accepts any number of detections.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster

from nucleiseg.evaluation.boxes import tight_boxes
from nucleiseg.evaluation.instances import Instances
from nucleiseg.evaluation.sizes import ALL_SIZES, SizeRange
from nucleiseg.rle import area


class APResult(NamedTuple):
    """Average precision, 0 .. 1; NaN where there is no truth.

    Attributes:
        ap: mean over IoU thresholds 0.50, 0.55 .. 0.95.
        ap50: at IoU threshold 0.50.
        ap75: at IoU threshold 0.75.
    """

    ap: float
    ap50: float
    ap75: float


@dataclass(frozen=True)
class Precision:
    """Interpolated precision of a set of images.

    Attributes:
        values: (IoU thresholds 10, recalls 101, classes, sizes, limits) float64, -1 where there is no truth.
        labels: the classes, in their order in `values`.
        limits: limit on detections -> its index in `values`.
    """

    values: np.ndarray
    labels: Sequence[int]
    limits: Mapping[int | None, int]

    def result(self, limit: int | None = None, *, label: int | None = None, size: int = 0) -> APResult:
        """Average over recalls, and over the classes that have a truth.

        Args:
            limit: one of the limits that the matching was made with.
            label: the class; None averages over all.
            size: index of the range of sizes.
        """
        classes = [label is None or label == known for known in self.labels]
        chosen = self.values[:, :, classes, size, self.limits[limit]]
        return APResult(*map(_mean, (chosen, chosen[0], chosen[5])))


class Matching(COCOeval_faster):
    """The matches of all detections of a set of images.

    Args:
        truths: the true instances of each image.
        found: those detected in each image, in the same order.
        kind: whether IoU is that of masks or of boxes.
        limits: how many detections of each image and class count, the most confident first; None counts all.
        sizes: ranges of size. As in COCO, truths outside a range are neither found nor missed, and neither are
            detections outside it that match nothing; the size is always that of the mask.
    """

    _evalImgs_cpp: list[Any]  # noqa: N815
    """What the engine accumulates: image by image within a size, size by size within a class."""

    def __init__(
        self,
        truths: Sequence[Instances],
        found: Sequence[Instances],
        *,
        kind: Literal["segm", "bbox"] = "segm",
        limits: Sequence[int | None] = (None,),
        sizes: Sequence[SizeRange] = (ALL_SIZES,),
    ) -> None:
        self.labels = sorted({int(label) for image in truths for label in image.labels})
        datasets = (_dataset(images, self.labels, kind) for images in (truths, found))
        super().__init__(*datasets, iouType=kind, print_function=_silent, separate_eval=True)
        most = max([1, *(len(image.masks) for image in found)])
        numbers = {limit: limit or most for limit in limits}
        self.params.maxDets = sorted(set(numbers.values()))
        self._limits = {limit: self.params.maxDets.index(number) for limit, number in numbers.items()}
        self.params.areaRng = [[size.least, size.most] for size in sizes]
        self.params.areaRngLbl = [size.name for size in sizes]
        self._images = len(truths)
        if self.labels:
            self.evaluate()
            self._all_matches: list[Any] = self._evalImgs_cpp

    def pooled(self) -> Precision:
        """Return the precision of all images together."""
        return self._precision(slice(None), range(self._images))

    def of_image(self, index: int) -> Precision:
        """Return the precision of one image alone, from the same matches."""
        return self._precision(slice(index, None, self._images), [index])

    def _precision(self, matches: slice, images: Sequence[int]) -> Precision:
        if not self.labels:
            shape = (10, 101, 0, len(self.params.areaRng), len(self.params.maxDets))
            return Precision(np.zeros(shape), self.labels, self._limits)
        self._evalImgs_cpp = self._all_matches[matches]
        self._paramsEval.imgIds = [index + 1 for index in images]
        self.accumulate()
        return Precision(np.asarray(self.eval["precision"]), self.labels, self._limits)


def _mean(precision: np.ndarray) -> float:
    defined = precision[precision > -1]
    return float(defined.mean()) if defined.size else np.nan


def _dataset(images: Sequence[Instances], labels: list[int], kind: str) -> COCO:
    """Build the engine's data set; the engine leaves out instances of a class without a truth."""
    annotations: list[dict[str, Any]] = []
    for image_id, image in enumerate(images, 1):
        crowd = [(region, label) for region in image.crowd for label in region.labels(labels)]
        masks = [*image.masks, *(region.mask for region, _ in crowd)]
        classes = [*image.labels, *(label for _, label in crowd)]
        boxes: Sequence[tuple[float, ...]] = [()] * len(masks)
        if kind == "bbox":
            of_crowd = [region.box or tight_boxes([region.mask])[0] for region, _ in crowd]
            boxes = [*(image.boxes or tight_boxes(image.masks)), *of_crowd]
        for index, pixels in enumerate(area(masks).tolist()):
            annotation = {
                "id": len(annotations) + 1,
                "image_id": image_id,
                "category_id": int(classes[index]),
                "segmentation": masks[index],
                "bbox": list(boxes[index]),
                "area": pixels,
                "iscrowd": int(index >= len(image.masks)),
            }
            if image.scores:
                annotation["score"] = float(image.scores[index])
            annotations.append(annotation)
    entries = [{"id": image_id, "height": 0, "width": 0} for image_id in range(1, len(images) + 1)]
    categories = [{"id": label, "name": str(label)} for label in labels]
    return COCO({"images": entries, "annotations": annotations, "categories": categories}, print_function=_silent)


def _silent(*_: object) -> None:
    """Drop the engine's progress lines."""
