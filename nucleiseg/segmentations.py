"""Convert the three forms of masks in COCO files to compressed run lengths.

pycocotools does not validate its input: wrong run lengths make it write outside of its memory. So all numbers
are checked.
"""

import re
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from pycocotools import mask as coco_mask

from nucleiseg.errors import short
from nucleiseg.foreign_files import is_number, whole_number
from nucleiseg.rle import RLE, compress

FORMS = "a polygon list, or {size, counts} with run lengths as a list or as COCO's compressed text"

LONGEST_OUTLINE = 1_000_000
"""Most pixels of the outlines of an instance; the rasterizer allocates 100 bytes for each."""

MOST_POLYGONS = 2_000
"""Most polygons of an instance; the time of their union grows with the square, to 0.1 s for these."""

BYTES_AS_TEXT = re.compile(r"b(['\"]).*\1", re.DOTALL)


def to_rle(segmentation: Any, height: int, width: int) -> RLE | None:  # noqa: ANN401
    """Convert a segmentation of a file to compressed run lengths.

    Args:
        segmentation: a list of polygons `[x1, y1, x2, y2, ...]`, or `{"size": [height, width], "counts": ...}` with
            run lengths as a list of numbers or as compressed text, which is not validated here.
        height: rows of the image.
        width: columns of the image.

    Returns:
        The mask; None if no polygon has three points. A polygon without area has no pixel.

    Raises:
        ValueError: whose text is the predicate of a sentence on the mask.
    """
    if isinstance(segmentation, dict):
        return _from_runs(segmentation, height, width)
    if isinstance(segmentation, list):
        return _from_polygons(segmentation, height, width)
    raise ValueError(f"is {short(segmentation)} instead of {FORMS}")


def _from_runs(segmentation: dict[str, Any], height: int, width: int) -> RLE:
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if not isinstance(size, list) or len(size) != 2:
        raise ValueError(f"has the size {short(size)} instead of [height, width]")
    if size != [height, width]:
        found = f"{short(size[1])} x {short(size[0])}"
        raise ValueError(f"is {found} pixels (width x height), the image {width} x {height}")
    if isinstance(counts, str):
        if BYTES_AS_TEXT.fullmatch(counts):
            raise ValueError(
                f"has counts that are Python's text of bytes ({short(counts, 24)}): write counts.decode() where the "
                "file was made with str(counts)"
            )
        return RLE(size=[height, width], counts=counts)
    if not isinstance(counts, list):
        raise ValueError(f"has the counts {short(counts)} instead of a text or a list of numbers")
    runs = [whole_number(run) for run in counts]
    known = [run for run in runs if run is not None and run >= 0]
    if len(known) < len(runs) or sum(known) != height * width:
        raise ValueError(f"has run lengths that do not add up to {height} x {width} pixels")
    return compress([_without_empty_runs(known)], height, width)[0]


def _without_empty_runs(runs: Sequence[int]) -> list[int]:
    """Join runs separated by an empty one; the first run, of zeros, may be empty."""
    values = [(place % 2, run) for place, run in enumerate(runs) if run]
    joined = [(value, sum(run for _, run in parts)) for value, parts in groupby(values, key=lambda pair: pair[0])]
    return [0] * (joined[0][0] == 1) + [run for _, run in joined]


def _from_polygons(polygons: list[Any], height: int, width: int) -> RLE | None:
    if len(polygons) > MOST_POLYGONS:
        raise ValueError(f"has {len(polygons):,} polygons, more than the {MOST_POLYGONS:,} that one instance may have")
    reach = 2 * max(height, width)
    outlines: list[list[float]] = []
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) % 2:
            raise ValueError(f"has the polygon {short(polygon)} instead of a list of points [x1, y1, x2, y2, ...]")
        if not all(is_number(value, reach) for value in polygon):
            raise ValueError(f"has a polygon that leaves the image of {width} x {height} pixels: {short(polygon)}")
        if len(polygon) >= 6:  # pycocotools would read two points as a box
            outlines.append([float(value) for value in polygon])
    if sum(map(_length, outlines)) > LONGEST_OUTLINE:
        raise ValueError(f"has an outline of more than {LONGEST_OUTLINE:,} pixels")
    if not outlines:
        return None
    merged = coco_mask.merge(coco_mask.frPyObjects(outlines, height, width))
    return RLE(size=[height, width], counts=merged["counts"].decode("ascii"))


def _length(outline: list[float]) -> float:
    """Return the length of a closed outline in the rasterizer's steps: the longer side of each edge."""
    x, y = outline[::2], outline[1::2]
    edges = zip(x, y, x[1:] + x[:1], y[1:] + y[:1], strict=True)
    return sum(max(abs(x2 - x1), abs(y2 - y1)) + 1 for x1, y1, x2, y2 in edges)
