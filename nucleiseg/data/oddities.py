"""What a data set may hold and somebody probably did not mean: found in each image, said once for all."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from nucleiseg.progress import say
from nucleiseg.structures import Sample

NAMES_SHOWN = 5


class Oddities(Protocol):
    """The oddities of one image, see `cache.Summary`; its length is the number of instances."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def empty_masks(self) -> int: ...  # noqa: D102
    @property
    def copies(self) -> int: ...  # noqa: D102
    @property
    def covering(self) -> int: ...  # noqa: D102
    def __len__(self) -> int: ...


def count_copies(sample: Sample, boxes: np.ndarray) -> int:
    """Return how many instances equal an earlier one pixel by pixel.

    Only instances of one box are compared, so the cost hardly grows with their number.

    Args:
        sample: the image's instances.
        boxes: (N, 4) tight box of each, x1, y1, x2, y2.
    """
    _, group, sizes = np.unique(boxes, axis=0, return_inverse=True, return_counts=True)
    seen = set()
    suspects = np.flatnonzero(sizes[group.reshape(-1)] > 1)
    for index in suspects:
        left, top, right, bottom = boxes[index].astype(int)
        inside = sample.layers[sample.layer_index[index], top:bottom, left:right] == index + 1
        seen.add((left, top, right, bottom, inside.tobytes()))
    return len(suspects) - len(seen)


def say_oddities(images: Sequence[Oddities]) -> None:
    """Print a sentence for each kind of oddity that the images of a data set have."""
    total, where = _sum(images, lambda image: image.empty_masks)
    if total:
        say(f"Skipped {total} empty mask{'s' * (total > 1)} in {where}.")
    total, where = _sum(images, lambda image: image.copies)
    if total:
        masks = "1 mask repeats" if total == 1 else f"{total} masks repeat"
        say(f"Warning: {masks} another of its image pixel by pixel, one nucleus too many each: {where}.")
    total, where = _sum(images, lambda image: image.covering)
    if total:
        masks = "1 mask covers" if total == 1 else f"{total} masks cover"
        say(f"Warning: {masks} the whole image; remove what is no nucleus: {where}.")
    total, where = _sum(images, lambda image: len(image) == 0)
    if total:
        have = "1 image has no nucleus and trains" if total == 1 else f"{total} images have no nucleus and train"
        say(f"Of {len(images)}, {have} as background: {where}.")


def _sum(images: Sequence[Oddities], count: Callable[[Oddities], int]) -> tuple[int, str]:
    """Return the sum of a count over the images, and the first names of those where it is not 0."""
    found = [(image.name, count(image)) for image in images if count(image)]
    more = f" and {len(found) - NAMES_SHOWN} more" if len(found) > NAMES_SHOWN else ""
    return sum(number for _, number in found), ", ".join(name for name, _ in found[:NAMES_SHOWN]) + more
