"""Ranges of size for which average precision is computed: for nuclei, and COCO's.

COCO calls an object small below 32 x 32 pixels. That is a disc of 36 pixels across, and at 40x (0.25 micrometers a
pixel) nine nuclei in ten are smaller, so its ranges hardly distinguish nuclei. Ours are octaves of the equivalent
diameter, that of the disc with as many pixels:

- below 16 pixels a nucleus is smaller than one cell of the stride-16 map on which C4 and DC5 look for it, and a pixel
  of its outline weighs so much that IoU thresholds above 0.75 are hardly reached;
- 16 to 32 pixels holds the typical nucleus;
- above 32 pixels are large nuclei, and those that were merged.

Both kinds of images we looked at, H&E at 40x (median 18 pixels) and the fluorescence and bright-field images of the
2018 Data Science Bowl (21 pixels), have 34 to 38 % of their nuclei below 16, 53 to 54 % between, and 9 to 12 % above.
"""

from math import pi
from typing import NamedTuple


class SizeRange(NamedTuple):
    """A range of sizes.

    Attributes:
        name: of the range, in keys of the report.
        least: smallest number of pixels of a mask, in the source image; included.
        most: largest number of pixels; included, as in COCO's tool: an object of 1,024 pixels is small and medium.
    """

    name: str
    least: float
    most: float


UNBOUNDED = 1e10
"""Pixels that no mask has."""


def _disc(diameter: float) -> float:
    """Return the area of a disc: never a whole number, so that no mask is in two ranges."""
    return pi / 4 * diameter**2


ALL_SIZES = SizeRange("all", 0, UNBOUNDED)

NUCLEI_SIZES = (
    SizeRange("diameter_below_16", 0, _disc(16)),
    SizeRange("diameter_16_to_32", _disc(16), _disc(32)),
    SizeRange("diameter_above_32", _disc(32), UNBOUNDED),
)
"""Octaves of the equivalent diameter in pixels of the source image."""

COCO_SIZES = (
    SizeRange("coco_small", 0, 32**2),
    SizeRange("coco_medium", 32**2, 96**2),
    SizeRange("coco_large", 96**2, UNBOUNDED),
)
"""Those of https://cocodataset.org/#detection-eval."""

SIZES = NUCLEI_SIZES + COCO_SIZES
