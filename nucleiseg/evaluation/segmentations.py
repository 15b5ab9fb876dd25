"""The three ways in which COCO writes a mask, brought to one: compressed run lengths."""

from math import isfinite
from typing import Any

from pycocotools import mask as coco_mask

from nucleiseg.inference.box_masks import RLE, compress

FORMS = "a polygon list, or {size, counts} with run lengths as a list or as COCO's compressed text"


def to_rle(segmentation: Any, height: int, width: int) -> RLE:  # noqa: ANN401
    """Turn a segmentation from a file into compressed run lengths of an image of a known size.

    Args:
        segmentation: a list of polygons `[x1, y1, x2, y2, ...]`, or `{"size": [height, width], "counts": ...}` with
            run lengths as a list of numbers or as compressed text. Text is not looked into (`label_maps.sound` does
            that for all masks of an image at once).
        height: rows of the image.
        width: columns of the image.

    Raises:
        ValueError: saying what is wrong with it, as the end of a sentence on the mask.
    """
    if isinstance(segmentation, dict):
        return _from_runs(segmentation, height, width)
    if isinstance(segmentation, list):
        return _from_polygons(segmentation, height, width)
    raise ValueError(f"is {_short(segmentation)} instead of {FORMS}")


def _from_runs(segmentation: dict[str, Any], height: int, width: int) -> RLE:
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if not isinstance(size, list) or len(size) != 2:
        raise ValueError(f"has the size {_short(size)} instead of [height, width]")
    if size != [height, width]:
        raise ValueError(f"is {size[1]} x {size[0]} pixels (width x height), the image {width} x {height}")
    if isinstance(counts, str):
        return RLE(size=[height, width], counts=counts)
    if not isinstance(counts, list):
        raise ValueError(f"has the counts {_short(counts)} instead of a text or a list of numbers")
    if not all(isinstance(run, int) and run >= 0 for run in counts) or sum(counts) != height * width:
        raise ValueError(f"has run lengths that do not add up to {height} x {width} pixels")
    return compress([counts], height, width)[0]


def _from_polygons(polygons: list[Any], height: int, width: int) -> RLE:
    reach = 2 * max(height, width)  # the rasteriser follows every edge pixel by pixel, wherever it leads
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            raise ValueError(f"has the polygon {_short(polygon)} instead of three or more points [x1, y1, x2, y2, ...]")
        if not all(isinstance(value, int | float) and isfinite(value) and abs(value) <= reach for value in polygon):
            raise ValueError(f"has a polygon that leaves the image of {width} x {height} pixels: {_short(polygon)}")
    if not polygons:
        raise ValueError("has no polygon")
    merged = coco_mask.merge(coco_mask.frPyObjects([list(map(float, polygon)) for polygon in polygons], height, width))
    return RLE(size=[height, width], counts=merged["counts"].decode("ascii"))


def _short(value: Any) -> str:  # noqa: ANN401
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
