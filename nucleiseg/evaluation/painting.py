"""Paint COCO run lengths into one label map an image, without decoding a mask of the image's size for each instance.

COCO's compressed text holds the differences of run lengths in groups of six bits: one bit marks a number that
continues, five bits carry it, lowest first; the last group's top bit is the sign. From the fourth run on, the
difference is to the run before the last (https://github.com/cocodataset/cocoapi, `rleToString` in maskApi.c). All masks
of an image are decoded together: 2,000 of them in some 10 ms.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nucleiseg.rle import RLE

GROUP_BITS = 5
"""Bits of a number in one character."""

CONTINUES, SIGN = 0x20, 0x10
"""The bit of a number that has more characters, and the sign bit of its last one."""

DAMAGED = re.compile(r"[^0-o]|[P-o]{7}|[P-o]\Z|\A\Z")
"""Signs of a damaged text of run lengths: other characters, a number of more than seven (35 bits: the sums of a whole
file do not overflow 64), a last number without its end, nothing at all."""


class MaskRuns(NamedTuple):
    """The foreground runs of a list of masks, column-major, in the order of the masks.

    Attributes:
        instance: (R,) int64, the mask that each run belongs to, counted from 0.
        start: (R,) int64, first pixel of each run: column * height + row.
        stop: (R,) int64, the pixel after its last one.
    """

    instance: np.ndarray
    start: np.ndarray
    stop: np.ndarray

    def areas(self, count: int) -> np.ndarray:
        """Return the (count,) int64 number of pixels of each mask."""
        areas = np.zeros(count, np.int64)
        np.add.at(areas, self.instance, self.stop - self.start)
        return areas


def decode(masks: Sequence[RLE]) -> MaskRuns:
    """Decode the masks of one image.

    Args:
        masks: sound run lengths (see `sound`), all of one image size.
    """
    if not masks:
        nothing = np.zeros(0, np.int64)
        return MaskRuns(nothing, nothing, nothing)
    lengths, first = _run_lengths([mask["counts"] for mask in masks])
    ends = np.cumsum(lengths)
    per_mask = np.diff(first, append=len(lengths))
    before = np.repeat(ends[first] - lengths[first], per_mask)
    ones = (np.arange(len(lengths)) - np.repeat(first, per_mask)) % 2 == 1
    stop = (ends - before)[ones]
    return MaskRuns(np.repeat(np.arange(len(masks)), per_mask)[ones], stop - lengths[ones], stop)


def sound(masks: Sequence[RLE], height: int, width: int) -> np.ndarray:
    """Check which masks are COCO run lengths that fill an image exactly: pycocotools crashes on others.

    Args:
        masks: N masks; their `size` is ignored.
        height: rows of the image.
        width: columns of the image.

    Returns:
        (N,) bool.
    """
    return areas(masks, height, width) >= 0


def areas(masks: Sequence[RLE], height: int, width: int) -> np.ndarray:
    """Count the pixels of masks that may be damaged.

    Args:
        masks: N masks; their `size` is ignored.
        height: rows of the image.
        width: columns of the image.

    Returns:
        (N,) int64; -1 for masks that are not COCO run lengths which fill the image exactly.
    """
    counted = np.full(len(masks), -1, np.int64)
    well_formed = [index for index, mask in enumerate(masks) if not DAMAGED.search(mask["counts"])]
    if well_formed:
        lengths, first = _run_lengths([masks[index]["counts"] for index in well_formed])
        place = np.arange(len(lengths)) - np.repeat(first, np.diff(first, append=len(lengths)))
        fills = np.add.reduceat(lengths, first) == height * width
        # an empty run beyond the first makes pycocotools' boxes wrong
        is_sound = fills & (np.minimum.reduceat(np.where(place == 0, lengths, lengths - 1), first) >= 0)
        pixels = np.add.reduceat(np.where(place % 2, lengths, 0), first)
        counted[well_formed] = np.where(is_sound, pixels, -1)
    return counted


def shares_inside(masks: Sequence[RLE], region: np.ndarray) -> np.ndarray:
    """Return the share of each mask's pixels that lie in a region.

    Args:
        masks: N masks of one image, each with a pixel.
        region: (H, W) bool.

    Returns:
        (N,) float64, 0 .. 1.
    """
    runs = decode(masks)
    before = np.concatenate([[0], np.cumsum(region.ravel(order="F"))])
    inside = np.zeros(len(masks), np.int64)
    np.add.at(inside, runs.instance, before[runs.stop] - before[runs.start])
    return inside / np.maximum(runs.areas(len(masks)), 1)


def paint(masks: Sequence[RLE], height: int, width: int, scores: Sequence[float] | None = None) -> np.ndarray:
    """Paint masks into one label map, in ascending score: of overlapping masks the most confident is on top.

    Of masks with the same score the smaller is on top, so that no small nucleus vanishes below a large one; of the same
    size too, the one that is listed first. Results hold no probabilities of pixels, by which the writers of label
    images resolve overlaps.

    Args:
        masks: N masks of one image.
        height: rows of the image.
        width: columns of the image.
        scores: N confidences; None paints truths, by size alone.

    Returns:
        (H, W) int32 in column-major memory: 0 is background, mask i (counted from 0) has the value i + 1. A mask that
        is hidden by others has no pixel.
    """
    runs = decode(masks)
    count = len(masks)
    confidence = np.zeros(count) if scores is None else np.asarray(scores, dtype=np.float64)
    order = np.lexsort((-np.arange(count), -runs.areas(count), confidence))
    rank = np.empty(count, np.int64)
    rank[order] = np.arange(count)
    by_rank = np.argsort(rank[runs.instance], kind="stable")
    flat = np.zeros(width * height, np.int32)
    for value, start, stop in zip(*(column[by_rank].tolist() for column in runs), strict=True):
        flat[start:stop] = value + 1  # a slice a run: a large mask costs no more memory than a small one
    return flat.reshape(width, height).T


def _run_lengths(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the int64 run lengths of all texts, one after the other, and the index of each text's first one."""
    groups = np.frombuffer("".join(texts).encode("ascii"), np.uint8).astype(np.int64) - ord("0")
    is_last = (groups & CONTINUES) == 0
    last = np.flatnonzero(is_last)
    begin = np.concatenate([[0], last[:-1] + 1])
    place = np.arange(len(groups)) - np.repeat(begin, last - begin + 1)
    numbers = np.add.reduceat((groups & (CONTINUES - 1)) << (GROUP_BITS * place), begin)
    numbers -= np.where(groups[last] & SIGN, np.int64(1) << (GROUP_BITS * (last - begin + 1)), 0)
    ends = np.cumsum([len(text) for text in texts])
    first = np.concatenate([[0], np.cumsum(is_last)[ends[:-1] - 1]])
    _undo_differences(numbers, first)
    return numbers, first


def _undo_differences(numbers: np.ndarray, first: np.ndarray) -> None:
    """Add to each number, from the fourth of its mask on, the one before the last; in place.

    So run 1, 3, 5 ... of a mask are the cumulative sums of one chain of differences, run 2, 4, 6 ... of another.
    """
    position = np.arange(len(numbers)) - np.repeat(first, np.diff(first, append=len(numbers)))
    for head in (1, 2):
        chain = np.flatnonzero((position >= head) & (position % 2 == head % 2))
        sums = np.cumsum(numbers[chain])
        heads = np.flatnonzero(position[chain] == head)
        before = sums[heads] - numbers[chain[heads]]
        numbers[chain] = sums - np.repeat(before, np.diff(heads, append=len(chain)))
