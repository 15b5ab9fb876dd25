"""Boxes as COCO has them: x, y, width, height in pixels of the image, x and y those of the top left corner."""

from collections.abc import Mapping, Sequence
from typing import Any

from pycocotools import mask as coco_mask

from nucleiseg.errors import short
from nucleiseg.foreign_files import is_number
from nucleiseg.rle import RLE

Box = tuple[float, float, float, float]
"""x, y, width, height in pixels of the image."""


def tight_boxes(masks: Sequence[RLE]) -> list[Box]:
    """Return the smallest box around each mask; a mask of one pixel has a box of 1 x 1."""
    return [tuple(box) for box in coco_mask.toBbox(list(masks)).tolist()] if masks else []


def read_box(entry: Mapping[str, Any], height: int, width: int) -> Box | None:
    """Read the box of an annotation or a result.

    Args:
        entry: the annotation or result, as JSON gives it.
        height: rows of the image.
        width: columns of the image.

    Returns:
        Its "bbox"; None if it has none, or an empty one, as some tools write.

    Raises:
        ValueError: saying what is wrong with it, as the end of a sentence on the entry.
    """
    values = entry.get("bbox")
    if values is None or values == []:
        return None
    reach = 2 * max(height, width)
    if not isinstance(values, list) or len(values) != 4 or not all(is_number(value, reach) for value in values):
        raise ValueError(
            f"has the bbox {short(values)} instead of [x, y, width, height] in pixels of the image ({width} x {height})"
        )
    x, y, box_width, box_height = map(float, values)
    if min(box_width, box_height) < 0:
        raise ValueError(f"has the bbox {short(values)} of a negative width or height: it is [x, y, width, height]")
    return x, y, box_width, box_height


def given_or_tight(given: Sequence[Box | None], masks: Sequence[RLE]) -> list[Box] | None:
    """Put tight boxes where no box is given.

    Args:
        given: for each mask its box, or None.
        masks: the masks.

    Returns:
        A box for each mask; None if no box is given at all.
    """
    if all(box is None for box in given):
        return None
    tight = iter(tight_boxes([mask for box, mask in zip(given, masks, strict=True) if box is None]))
    return [next(tight) if box is None else box for box in given]
