"""Classify a mask file as one nucleus or as a label map of all nuclei of its image.

    one nucleus      0 and one other value, or nearly (JPEG noise, resized edges): cut at half of the maximum
    label map        a whole number for each nucleus, 0 for the background, -1 for regions to ignore; the only file of
                     its folder

Anything else is refused, since either reading would invent or lose nuclei in silence.
"""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from nucleiseg.data.readers.pixels import decode_pixels
from nucleiseg.errors import InputError
from nucleiseg.label_maps import measure

IGNORED = -1
"""Value of a label map where nuclei are not annotated (StarDist's convention for areas that its loss leaves out)."""

NEAR = 0.1
"""Values within this share of the maximum from 0, or from the maximum, count as 0 or as the maximum."""

MOST_BETWEEN = 0.01
"""Share of an image's pixels that noise and smoothed edges of a mask of one nucleus may lift off both ends."""

NOISY_PEAK = 128
"""Smallest maximum of whole numbers below which values in between are labels: noise needs a larger range."""

COLORED = 0.1
"""Share of the foreground whose channels must differ, by this share of the maximum, for its colors to mean anything."""

SMALLEST_LABEL = 4
"""Pixels of the smallest label that tells a label map from scattered values; annotated nuclei have more than 10."""

LEAST_FILL = 0.2
"""Share of its bounding box that a nucleus fills; an ellipse four times as long as wide fills 0.39 on the diagonal."""


@dataclass(frozen=True)
class MaskFile:
    """A mask file as it is read.

    Attributes:
        shape: (H, W).
        values: (H, W) bool, one nucleus; or whole numbers from 0, a label map; None if the file has not the expected
            size.
        orientation: the EXIF orientation that was applied, 1 to 8.
        thresholded: True if values between 0 and the maximum were cut at half of it.
        scattered: labels of a label map whose pixels lie far apart, as if two nuclei had one number.
        ignore: (H, W) bool, pixels of a label map that are `IGNORED`; None where there are none.
    """

    shape: tuple[int, int]
    values: np.ndarray | None
    orientation: int = 1
    thresholded: bool = False
    scattered: int = 0
    ignore: np.ndarray | None = None

    @property
    def is_label_map(self) -> bool:
        """True if the file holds all nuclei of its image."""
        return self.values is not None and self.values.dtype != np.bool_


def read_mask(path: Path, alone: bool = False, area: int | None = None) -> MaskFile:
    """Decode a mask file and classify its values.

    Whatever tools write is taken: 0 and 255, 0 and 1, 1 bit, 16 and 32 bits, three channels, palettes (by color, since
    which index is the background differs), transparency.

    Args:
        path: a file of any format that Pillow or tifffile opens, whatever its suffix.
        alone: True if it is the only mask of its image, so that it may be a label map.
        area: number of pixels of the image; a file of another size is not decoded.

    Raises:
        InputError: if the file cannot be decoded, or its values are neither those of one nucleus nor, if it is alone,
            of a label map.
    """
    pixels = decode_pixels(path, area)
    if pixels.values is None:
        return MaskFile(pixels.shape, None, pixels.orientation)
    values, colored = to_plane(pixels.values)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise InputError(f"{path} has pixels that are not finite (NaN): save it with 0 as the background.")
    if values.min(initial=0) < (IGNORED if alone else 0):
        raise InputError(f"{path} has negative values (down to {values.min():g}): save it with 0 as the background.")
    values, ignore = split_ignored(values)
    return replace(_interpret(values, colored, alone, path, pixels.orientation), ignore=ignore)


def split_ignored(values: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the values with background in place of `IGNORED`, and where those pixels are; None: nowhere."""
    ignore = values == IGNORED if values.dtype.kind in "if" else np.zeros(0, bool)
    return (np.where(ignore, 0, values), ignore) if ignore.any() else (values, None)


def read_labels(path: Path, shape: tuple[int, int], noticed: Counter[str]) -> np.ndarray:
    """Read a file that is known to be a label map, whatever its values look like.

    Args:
        path: the file; signed and floating-point values are accepted where they are whole numbers.
        shape: (H, W) of its image.
        noticed: counts a warning where a single label has several parts, as binary masks have.

    Returns:
        (H, W) int64, 0 is the background, `IGNORED` a region to ignore.

    Raises:
        InputError: if the file cannot be decoded, has another size, or values that are not whole numbers from -1.
    """
    pixels = decode_pixels(path, shape[0] * shape[1])
    if pixels.values is None or pixels.shape != shape:
        found = f"{pixels.shape[1]} x {pixels.shape[0]}"
        raise InputError(f"{path} is {found} pixels and its image {shape[1]} x {shape[0]}: both must have one size.")
    values, _ = to_plane(pixels.values)
    labels = check_labels(values, path, IGNORED)
    if len(np.unique(labels[labels > 0])) == 1:
        noticed["parts"] += cv2.connectedComponents((labels > 0).astype(np.uint8), connectivity=8)[0] > 2
    return labels


def check_labels(values: np.ndarray, path: Path, least: int = 0) -> np.ndarray:
    """Return the values of a label map as int64.

    Args:
        values: (H, W).
        path: the file, for errors.
        least: smallest value that is accepted: 0, the background, or `IGNORED`.

    Raises:
        InputError: if they are not whole numbers from `least`.
    """
    kind = values.dtype.kind
    is_whole = kind in "bui" or (kind == "f" and np.isfinite(values).all() and (values == np.rint(values)).all())
    in_range = is_whole and values.min(initial=0) >= least and values.max(initial=0) <= np.iinfo(np.int32).max
    if values.ndim != 2 or not in_range:
        ignored = f" ({IGNORED} marks regions to ignore)" if least == IGNORED else ""
        raise InputError(
            f"{path} is not a label map: it accepts a plane of whole numbers from 0, the background{ignored}."
        )
    return values.astype(np.int64)


def _interpret(values: np.ndarray, colored: bool, alone: bool, path: Path, orientation: int) -> MaskFile:
    inside = values if values.dtype == np.bool_ else values != 0
    peak = values.max(initial=0)
    if values.dtype == np.bool_ or np.count_nonzero(values == peak) == np.count_nonzero(inside) or peak == 0:
        return MaskFile(values.shape, inside, orientation)
    whole = values.dtype.kind != "f" or bool((values == np.rint(values)).all())
    between = (values > NEAR * float(peak)) & (values < (1 - NEAR) * float(peak))
    is_mask = not colored and between.mean() <= MOST_BETWEEN
    if is_mask and whole and _is_solid(values, between):
        is_mask = not alone and peak >= NOISY_PEAK
    elif is_mask and whole and alone:
        is_mask = peak >= NOISY_PEAK
    if is_mask:
        return MaskFile(values.shape, values >= float(peak) / 2, orientation, thresholded=True)
    looks_like_labels, scattered = _find_labels(values) if whole else (False, 0)
    if alone and looks_like_labels:
        return MaskFile(values.shape, values.astype(np.int64, copy=False), orientation, scattered=scattered)
    what = f"{len(np.unique(values)):,} different {'colors' if colored else 'values'}"
    guess = ", it looks like a label map beside other masks" if looks_like_labels else ""
    raise InputError(
        f"{path} holds {what}{guess}: a mask of one nucleus has 0 and one other value, a label map has a whole number "
        "for each nucleus, each in one place, and is the only file of its folder masks. Save it as one of them, "
        "without loss (PNG, TIFF)."
    )


def to_plane(pixels: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return the (H, W) plane that tells nuclei from background, and whether its values are colors.

    Alpha is the plane where the colors are the same wherever something shows; else only pixels that show count.
    """
    if pixels.ndim == 2:
        return pixels, False
    colors = pixels[:, :, :3]
    if pixels.shape[2] == 4:
        alpha = pixels[:, :, 3]
        shown = alpha > 0
        if alpha.min() != alpha.max():
            visible = colors[shown]
            if (visible == visible[0]).all():
                return alpha, False
            colors = colors * shown[:, :, None]
    used = [channel for channel in np.moveaxis(colors, 2, 0) if channel.any()]
    if not used:
        return colors[:, :, 0], False
    if len(used) == 1 or (len(used) == 3 and (used[0] == used[1]).all() and (used[1] == used[2]).all()):
        return used[0], False
    brightest, darkest = colors.max(axis=2), colors.min(axis=2)
    tolerance = COLORED * float(brightest.max())
    foreground = brightest > tolerance
    if ((brightest - darkest)[foreground] > tolerance).mean() <= COLORED:  # gray with the color noise of JPEG
        return brightest, False
    bits = 8 * colors.itemsize
    red, green, blue = np.moveaxis(colors.astype(np.int64), 2, 0)
    return red | green << bits | blue << 2 * bits, True


def _is_solid(values: np.ndarray, chosen: np.ndarray) -> bool:
    """Return whether most of the chosen pixels lie in 2 x 2 blocks of one value, as labels do and edges do not."""
    count = np.count_nonzero(chosen)
    rows = (values[1:] == values[:-1]) & chosen[1:]
    blocks = rows[:, 1:] & rows[:, :-1] & (values[1:, 1:] == values[1:, :-1])
    inside = np.zeros(values.shape, bool)
    for part in (inside[1:, 1:], inside[1:, :-1], inside[:-1, 1:], inside[:-1, :-1]):
        part |= blocks
    return bool(np.count_nonzero(inside) > count / 2)


def _find_labels(values: np.ndarray) -> tuple[bool, int]:
    """Return whether the values are labels, each in one place, and the number of labels that are not.

    The most frequent value is left out: noise around a single nucleus has one, too. Values of a class map are found in
    many nuclei; a nucleus that another divides still has most of its pixels in one part.
    """
    _, dense = np.unique(values, return_inverse=True)
    dense = dense.reshape(values.shape) + int(values.min() != 0)
    labels, boxes, areas = measure(dense[None])
    large = areas >= SMALLEST_LABEL
    compact = large & (areas >= LEAST_FILL * (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
    for index in np.flatnonzero(compact):
        left, top, right, bottom = boxes[index].astype(int)
        inside = (dense[top:bottom, left:right] == labels[index]).astype(np.uint8)
        *_, statistics, _ = cv2.connectedComponentsWithStats(inside, connectivity=8)
        compact[index] = 2 * statistics[1:, cv2.CC_STAT_AREA].max() > areas[index]
    others = np.arange(len(areas)) != areas.argmax()
    is_label_map = bool(areas[compact & others].sum() > areas[others].sum() / 2)
    return is_label_map, int((large & ~compact).sum())
