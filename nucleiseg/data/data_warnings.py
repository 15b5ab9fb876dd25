"""Find what is suspicious in a data set, count it per image and report it once for all images."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from nucleiseg.errors import some
from nucleiseg.progress import echo
from nucleiseg.structures import Sample

HEAVY = 0.5
"""Share of an image that one mask, or of a mask that others, may cover without a warning."""

SENTENCES = {
    "empty": ("Skipped 1 empty mask in {where}.", "Skipped {count} empty masks in {where}."),
    "label_maps": (
        "Read 1 mask file as a label map of all nuclei of its image: {where}.",
        "Read {count} mask files as label maps of all nuclei of their image: {where}.",
    ),
    "scattered": (
        "Warning: 1 label of a label map marks pixels far apart, as if two nuclei had one number: {where}.",
        "Warning: {count} labels of label maps mark pixels far apart, as if two nuclei had one number: {where}.",
    ),
    "thresholded": (
        "Warning: 1 mask has values between 0 and its maximum (JPEG, or resized) and is cut at half of it: {where}.",
        "Warning: {count} masks have values between 0 and their maximum (JPEG, or resized) and are cut at half of it: "
        "{where}.",
    ),
    "invalid": (
        "Skipped 1 annotation without a pixel (fewer than three points, no area, or outside its image): {where}.",
        "Skipped {count} annotations without a pixel (fewer than three points, no area, or outside their image): "
        "{where}.",
    ),
    "other_shapes": (
        "Skipped 1 annotation that is not an area (a point or a line): {where}.",
        "Skipped {count} annotations that are not areas (points or lines): {where}.",
    ),
    "regions": (
        "Skipped 1 annotation beside detections, read as a region: {where}.",
        "Skipped {count} annotations beside detections, read as regions: {where}.",
    ),
    "cut": (
        "Warning: 1 annotation reaches beyond its image and is cut at the border: {where}.",
        "Warning: {count} annotations reach beyond their image and are cut at the border: {where}.",
    ),
    "ignored": (
        "Note: 1 crowd or ambiguous region is neither trained on nor scored: {where}.",
        "Note: {count} crowd or ambiguous regions are neither trained on nor scored: {where}.",
    ),
    "unreviewed": (
        "Note: 1 image is reviewed in part; the rest of it is neither trained on nor scored: {where}.",
        "Note: {count} images are reviewed in part; the rest of them is neither trained on nor scored: {where}.",
    ),
    "fused": (
        "Warning: 1 region of a semantic mask looks like several touching nuclei, read as one (semantic masks do not "
        "separate nuclei that touch): {where}.",
        "Warning: {count} regions of semantic masks look like several touching nuclei, each read as one (semantic "
        "masks do not separate nuclei that touch): {where}.",
    ),
    "parts": (
        "Warning: 1 image has a single mask of several parts, read as one nucleus; if it marks all nuclei, number them "
        "(a label map): {where}.",
        "Warning: {count} images have a single mask of several parts, read as one nucleus; if it marks all nuclei, "
        "number them (a label map): {where}.",
    ),
    "copies": (
        "Warning: 1 mask repeats another of its image pixel by pixel, one nucleus too many each: {where}.",
        "Warning: {count} masks repeat another of its image pixel by pixel, one nucleus too many each: {where}.",
    ),
    "covering": (
        "Warning: 1 mask covers the whole image; remove the background: {where}.",
        "Warning: {count} masks cover the whole image; remove the background: {where}.",
    ),
    "large": (
        "Warning: 1 mask covers more than half of its image; it looks inverted, with the background marked instead of "
        "the nucleus: {where}.",
        "Warning: {count} masks cover more than half of their image; they look inverted, with the background marked "
        "instead of the nucleus: {where}.",
    ),
    "overlapping": (
        "Warning: 1 mask lies by more than half under other masks of its image; is a nucleus annotated twice? {where}.",
        "Warning: {count} masks lie by more than half under other masks of their image; are nuclei annotated twice? "
        "{where}.",
    ),
    "not_finite": (
        "Warning: 1 image has pixels that are not finite (NaN), shown as black: {where}.",
        "Warning: {count} images have pixels that are not finite (NaN), shown as black: {where}.",
    ),
}
"""Kind of warning -> the sentence for one and for several, in the order of printing."""


class ImageWarnings(Protocol):
    """The warnings of one image, see `cache.Summary`; its length is the number of instances."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def warnings(self) -> Mapping[str, int]: ...  # noqa: D102
    def __len__(self) -> int: ...


def find_warnings(sample: Sample, boxes: np.ndarray, areas: np.ndarray) -> dict[str, int]:
    """Count the warnings about the instances of an image, together with those of its reader.

    Args:
        sample: the image's instances.
        boxes: (N, 4) tight box of each, x1, y1, x2, y2.
        areas: (N,) pixels of each.

    Returns:
        Name in `SENTENCES` -> count, without zeros.
    """
    whole = sample.image.shape[0] * sample.image.shape[1]
    copied, copies = _find_copies(sample, boxes)
    found = Counter(sample.noticed)
    found["copies"] = copies
    found["covering"] = int((areas == whole).sum())
    found["large"] = int(((areas > HEAVY * whole) & (areas < whole)).sum())
    if len(sample.layers) > 1:
        shared = np.count_nonzero(sample.layers, axis=0) > 1
        under = sum(np.bincount(plane[shared], minlength=len(areas) + 1)[1:] for plane in sample.layers)
        found["overlapping"] = int(((under > HEAVY * areas) & (2 * areas <= whole) & ~copied).sum())
    return {**+found}


def _find_copies(sample: Sample, boxes: np.ndarray) -> tuple[np.ndarray, int]:
    """Return which instances equal another one pixel by pixel, (N,) bool, and how many are superfluous.

    Only instances of one box are compared, so the cost hardly grows with their number.
    """
    _, group, sizes = np.unique(boxes, axis=0, return_inverse=True, return_counts=True)
    equal: dict[tuple[int, int, int, int, bytes], list[int]] = {}
    for index in np.flatnonzero(sizes[group.reshape(-1)] > 1):
        left, top, right, bottom = boxes[index].astype(int)
        inside = sample.layers[sample.layer_index[index], top:bottom, left:right] == index + 1
        equal.setdefault((left, top, right, bottom, inside.tobytes()), []).append(int(index))
    copied = np.zeros(len(boxes), bool)
    for indices in equal.values():
        copied[indices] = len(indices) > 1
    return copied, sum(len(indices) - 1 for indices in equal.values())


def print_data_warnings(images: Sequence[ImageWarnings]) -> None:
    """Print a sentence for each kind of warning that the images of a data set have."""
    for kind, (one, many) in SENTENCES.items():
        found = [(image.name, image.warnings[kind]) for image in images if image.warnings.get(kind)]
        if found:
            count = sum(number for _, number in found)
            where = some([name for name, _ in found])
            echo((one if count == 1 else many).format(count=count, where=where))
    empty = [image.name for image in images if len(image) == 0]
    if empty:
        have = "1 image has" if len(empty) == 1 else f"{len(empty)} images have"
        echo(f"Of {len(images)}, {have} no nucleus: {some(empty)}.")
