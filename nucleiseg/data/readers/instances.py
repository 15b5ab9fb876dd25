"""Read the mask files of one image as its instances, with a sentence for each file that cannot be used."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from nucleiseg.data.layers import MOST_PLANES, TooManyPlanesError, pack, pack_labels
from nucleiseg.data.readers.base import Record
from nucleiseg.data.readers.masks import MaskFile, read_mask
from nucleiseg.data.readers.pixels import Pixels
from nucleiseg.errors import InputError
from nucleiseg.progress import counted
from nucleiseg.structures import EVERY_CLASS, IgnoreRegions

MASKS_AT_ONCE = 64
"""Decoded masks that may wait for the packing: bounds the memory (1 MB each for 1000 x 1000 pixels)."""


def read_instances(
    record: Record, image: Pixels, problems: list[str], noticed: Counter[str]
) -> tuple[np.ndarray, np.ndarray, IgnoreRegions | None]:
    """Pack the masks of an image, or number the nuclei of its label map.

    Args:
        record: names the mask files.
        image: the decoded image, which they must fit.
        problems: gets a sentence for each file that cannot be used.
        noticed: counts warnings by the kinds of `data_warnings.SENTENCES`.

    Returns:
        The layers, the layer index and the ignore regions of a `Sample`; they mean nothing where there are problems.
    """
    masks = usable_masks(record, image, problems, noticed)
    if len(record.masks) != 1:
        return *_pack(record, masks, image.shape, problems), None
    for mask in masks:
        assert mask.values is not None
        ignore = None
        if mask.ignore is not None:
            ignore = IgnoreRegions(*pack_labels(mask.ignore), np.array([EVERY_CLASS], np.int64))
            noticed["ignored"] = 1
        if mask.is_label_map:
            noticed["label_maps"] = 1
            noticed["scattered"] = mask.scattered
            return *pack_labels(mask.values), ignore
        parts = cv2.connectedComponents(mask.values.astype(np.uint8), connectivity=8)[0] - 1
        noticed["parts"] = int(parts > 1)
        return *pack([mask.values]), ignore
    return *pack([], image.shape), None


def _pack(
    record: Record, masks: Iterator[MaskFile], shape: tuple[int, int], problems: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Pack masks of one nucleus each, adding a sentence to `problems` where they overlap beyond measure."""
    try:
        return pack((mask.values for mask in masks if mask.values is not None), shape)
    except TooManyPlanesError as error:
        look = (
            f"{error.large} of the first {error.count} cover more than half of the image: they look inverted (the "
            "background marked instead of the nucleus)"
            if error.large > error.count / 2
            else "each mask should mark one nucleus"
        )
        problems.append(
            f"The {len(record.masks)} masks of image {record.name} ({record.masks[0].parent}) overlap one another more "
            f"than {MOST_PLANES} deep; {look}."
        )
        return pack([], shape)


def usable_masks(
    record: Record, image: Pixels | None, problems: list[str], noticed: Counter[str]
) -> Iterator[MaskFile]:
    """Yield the masks that are not empty, adding a sentence to `problems` for what cannot be used.

    Masks of a wrong size share one sentence: they are hundreds where the image was resized after annotation.
    Without an image (it is broken) sizes and orientations are not compared.
    """
    misfits: list[tuple[Path, MaskFile]] = []
    turned: list[tuple[Path, MaskFile]] = []
    for path, mask in _decode_masks(record.masks, image):
        if isinstance(mask, InputError):
            problems.extend(mask.problems)
        elif image is not None and (mask.values is None or mask.shape != image.shape):
            misfits.append((path, mask))
        elif image is not None and mask.orientation != image.orientation and not _is_decided_by_size(mask, image):
            turned.append((path, mask))
        elif mask.values is not None and mask.values.any():
            noticed["thresholded"] += mask.thresholded
            yield mask
        else:
            noticed["empty"] += 1
    if image is None:
        return
    if misfits:
        path, found = misfits[0]
        cause = (
            f" The image has the EXIF orientation {image.orientation}, which is applied."
            if image.orientation != found.orientation
            else ""
        )
        problems.append(
            f"{path} is {found.shape[1]} x {found.shape[0]} pixels and does not fit its image {record.image} of "
            f"{image.shape[1]} x {image.shape[0]}{_as_others(len(misfits), 'nor does', 'nor do')}: masks must have the "
            f"size of their image.{cause}"
        )
    if turned:
        path, found = turned[0]
        problems.append(
            f"{record.image} has the EXIF orientation {image.orientation}, its mask {path} has {found.orientation}"
            f"{_as_others(len(turned), 'as has', 'as have')}: it is ambiguous whether the masks "
            "belong to the turned image. Save both upright, without the EXIF tag (1)."
        )


def _is_decided_by_size(mask: MaskFile, image: Pixels) -> bool:
    """Return whether a mask that fits an image turned by 90 degrees would not fit the one that is stored."""
    return (mask.orientation >= 5) != (image.orientation >= 5) and image.shape[0] != image.shape[1]


def _as_others(count: int, one: str, many: str) -> str:
    """Return ` (nor does 1 other mask of this image)`, or nothing where there is one mask."""
    return f" ({one if count == 2 else many} {counted(count - 1, 'other mask')} of this image)" if count > 1 else ""


def _decode_masks(paths: Sequence[Path], image: Pixels | None) -> Iterator[tuple[Path, MaskFile | InputError]]:
    """Yield each file with its mask or what is wrong with it, in order, decoded by threads.

    Pillow releases the interpreter while it decodes, so that two threads on two cores take half the time.
    """
    area = None if image is None else image.shape[0] * image.shape[1]
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
        for start in range(0, len(paths), MASKS_AT_ONCE):
            batch = paths[start : start + MASKS_AT_ONCE]
            read = partial(_mask_or_error, alone=len(paths) == 1, area=area)
            yield from zip(batch, pool.map(read, batch), strict=True)


def _mask_or_error(path: Path, alone: bool, area: int | None) -> MaskFile | InputError:
    try:
        return read_mask(path, alone, area)
    except InputError as error:
        return error
