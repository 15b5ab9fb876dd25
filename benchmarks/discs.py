"""Synthetic nuclei in exact numbers: discs of one size on randomly chosen cells of a grid.

Only the density differs between two rows of a table.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from nucleiseg.errors import InputError
from nucleiseg.structures import Sample, Target

RADIUS = 6
"""Radius of a nucleus in pixels: 2,000 such nuclei just fit into 608 x 608."""


@dataclass(frozen=True)
class Discs:
    """Discs that may touch but do not overlap.

    Attributes:
        side: height and width of the image.
        radius: radius of each disc in pixels; its diameter is 2 * radius + 1.
        corners: (N, 2) int64, x and y of the first pixel of each disc's box.
    """

    side: int
    radius: int
    corners: np.ndarray

    def __len__(self) -> int:
        return len(self.corners)

    @property
    def pitch(self) -> int:
        """Side of a disc's box in pixels."""
        return 2 * self.radius + 1

    @property
    def disc(self) -> np.ndarray:
        """Mask of one disc, (pitch, pitch) bool."""
        offsets = np.arange(self.pitch) - self.radius
        return offsets[:, None] ** 2 + offsets**2 <= self.radius**2

    @property
    def boxes(self) -> np.ndarray:
        """Boxes of the discs, (N, 4) float32 x1, y1, x2, y2."""
        return np.concatenate([self.corners, self.corners + self.pitch], axis=1).astype(np.float32)

    @property
    def plane(self) -> np.ndarray:
        """Label map, (side, side) int32: disc i has the value i + 1."""
        plane = np.zeros((self.side, self.side), np.int32)
        for value, (x, y) in enumerate(self.corners, 1):
            plane[y : y + self.pitch, x : x + self.pitch][self.disc] = value
        return plane

    def masks(self) -> Iterator[np.ndarray]:
        """Yield the (side, side) uint8 mask of each disc, 0 or 1."""
        for x, y in self.corners:
            mask = np.zeros((self.side, self.side), np.uint8)
            mask[y : y + self.pitch, x : x + self.pitch] = self.disc
            yield mask


def sample_discs(count: int, side: int, seed: int = 0, radius: int = RADIUS) -> Discs:
    """Place discs on randomly chosen cells of a grid.

    Args:
        count: number of discs.
        side: height and width of the image in pixels.
        seed: of the random choice.
        radius: radius of each disc in pixels.

    Raises:
        InputError: if the discs do not fit into the image.
    """
    pitch = 2 * radius + 1
    columns = side // pitch
    if count > columns**2:
        raise InputError(f"{count} nuclei do not fit into {side} x {side} pixels; at most {columns**2} do.")
    cells = np.random.default_rng(seed).permutation(columns**2)[:count]
    return Discs(side, radius, np.stack([cells % columns, cells // columns], axis=1) * pitch)


def noise_image(side: int, seed: int = 0) -> np.ndarray:
    """Return a (side, side, 3) uint8 image of noise; no speed here depends on an image's contents."""
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def as_sample(discs: Discs, name: str) -> Sample:
    """Return the discs as a reader's sample with one label-map layer."""
    image, plane = noise_image(discs.side), discs.plane.astype(np.uint16)
    return Sample(name, image, plane[None], np.zeros(len(discs), np.int64), np.ones(len(discs), np.int64))


def as_target(discs: Discs, seed: int | None = None) -> Target:
    """Return the discs as nucleiseg's training target."""
    count = len(discs)
    return Target(
        boxes=torch.from_numpy(discs.boxes),
        labels=torch.ones(count, dtype=torch.int64),
        layers=torch.from_numpy(discs.plane)[None],
        layer_index=torch.zeros(count, dtype=torch.int64),
        values=torch.arange(1, count + 1),
        seed=seed,
    )


def as_mask_stack(discs: Discs) -> dict[str, torch.Tensor]:
    """Return the discs as torchvision's training target, a dict with (N, side, side) uint8 masks."""
    masks = np.stack(list(discs.masks())) if len(discs) else np.zeros((0, discs.side, discs.side), np.uint8)
    return {
        "boxes": torch.from_numpy(discs.boxes),
        "labels": torch.ones(len(discs), dtype=torch.int64),
        "masks": torch.from_numpy(masks),
    }
