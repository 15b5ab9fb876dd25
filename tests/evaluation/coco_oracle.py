"""Average precision by pycocotools, the reference that every number of ours is held against."""

import contextlib
import io
from collections.abc import Sequence

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from nucleiseg.evaluation.instances import Instances
from nucleiseg.evaluation.sizes import ALL_SIZES, SizeRange


def oracle(
    truths: Sequence[Instances],
    found: Sequence[Instances],
    kind: str,
    limits: Sequence[int],
    sizes: Sequence[SizeRange] = (ALL_SIZES,),
    thresholds: Sequence[float] | None = None,
) -> COCOeval:
    """Evaluate and accumulate. `limits` is pycocotools' maxDets list, ascending."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth, results = COCO(), COCO()
        categories = sorted({label for image in truths for label in image.labels})
        truth.dataset, results.dataset = _dataset(truths, categories), _dataset(found, categories)
        truth.createIndex()
        results.createIndex()
        engine = COCOeval(truth, results, kind)
        engine.params.maxDets = list(limits)
        engine.params.areaRng = [[size.least, size.most] for size in sizes]
        engine.params.areaRngLbl = [size.name for size in sizes]
        if thresholds is not None:
            engine.params.iouThrs = np.asarray(thresholds)
        engine.evaluate()
        engine.accumulate()
    return engine


def numbers(engine: COCOeval, classes: int | slice = slice(None), size: int = 0, limit: int = -1) -> list[float]:
    """AP, AP50, AP75 as pycocotools' summary takes them from its precision array (the summary insists on 100)."""
    precision = engine.eval["precision"][:, :, classes, size, limit]
    parts = precision, precision[0], precision[5]
    return [float(part[part > -1].mean()) if (part > -1).any() else np.nan for part in parts]


def _dataset(images: Sequence[Instances], categories: list[int]) -> dict[str, list]:
    annotations = []
    for number, image in enumerate(images):
        boxes = list(image.boxes or [coco_mask.toBbox(mask).tolist() for mask in image.masks])
        boxes += [region.box or coco_mask.toBbox(region.mask).tolist() for region in image.crowd]
        labels = [*image.labels, *(region.label for region in image.crowd)]
        for index, mask in enumerate([*image.masks, *(region.mask for region in image.crowd)]):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": labels[index],
                    "segmentation": dict(mask),
                    "bbox": list(boxes[index]),
                    "area": float(coco_mask.area(mask)),
                    "iscrowd": int(index >= len(image.masks)),
                    "score": image.scores[index] if image.scores else 1.0,
                }
            )
    masks = [[*image.masks, *(region.mask for region in image.crowd)] for image in images]
    sizes = [found[0]["size"] if found else (1, 1) for found in masks]
    entries = [{"id": number, "height": height, "width": width} for number, (height, width) in enumerate(sizes)]
    return {"images": entries, "annotations": annotations, "categories": [{"id": label} for label in categories]}
