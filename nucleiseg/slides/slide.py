"""The contract of a slide: a pyramid of RGB levels that is read by regions.

For example:

    with closing(open_slide(Path("slide.svs"))) as slide:
        level = slide.level_for(4.0)
        pixels = slide.read(level, top=0, left=0, height=1024, width=1024)
"""

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from nucleiseg.errors import InputError

WHITE = 255
"""Of what a scanner left out, and of the glass around it."""

SAMPLES, SAMPLE_BYTES = 64, 1 << 16
"""Parts of a file that its digest covers: hashing every byte of a slide takes longer than reading its tissue."""


@dataclass(frozen=True)
class Level:
    """A level of the pyramid.

    Attributes:
        downsample: pixels of level 0 per pixel of this level, along each side; a whole number, so that every pixel
            begins at one of level 0.
        height: rows.
        width: columns.
    """

    downsample: int
    height: int
    width: int


@dataclass(frozen=True)
class Resolution:
    """Micrometers per pixel of level 0, and where the number is from.

    Attributes:
        mpp: micrometers per pixel.
        source: words for a log.
        is_guess: whether it follows from the objective's nominal power alone.
    """

    mpp: float
    source: str
    is_guess: bool = False


def power_resolution(power: float | None) -> Resolution | None:
    """Guess the resolution from an objective's nominal power: cameras have 0.25 µm at 40x on most scanners."""
    return Resolution(10 / power, f"the objective's power, {power:g}x", is_guess=True) if power else None


class Slide(ABC):
    """A slide that is open for reading; its methods may be called from several threads.

    Args:
        path: the file.

    Attributes:
        path: the file.
        levels: level 0 first, each smaller than the one before.
        resolution: what the file states; None if it states nothing plausible.
    """

    levels: tuple[Level, ...]
    resolution: Resolution | None

    def __init__(self, path: Path) -> None:
        self.path = path

    @abstractmethod
    def read(self, level: int, top: int, left: int, height: int, width: int) -> np.ndarray:
        """Read a region.

        Args:
            level: index into `levels`.
            top: first row, in pixels of the level.
            left: first column, in pixels of the level.
            height: rows.
            width: columns.

        Returns:
            (height, width, 3) uint8 RGB; white beyond the slide and where the scanner stored nothing.

        Raises:
            InputError: if the file is damaged there.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the file."""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of level 0."""
        return self.levels[0].height, self.levels[0].width

    def level_for(self, downsample: float) -> int:
        """Return the index of the smallest level that still has the wanted detail.

        Args:
            downsample: wanted pixels of level 0 per pixel; half a per cent of enlargement is accepted.
        """
        return max(n for n, level in enumerate(self.levels) if level.downsample <= max(downsample * 1.005, 1))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the file's size and of `SAMPLES` parts of it, spread evenly from its first to its last byte.

        Raises:
            InputError: if the file cannot be read.
        """
        try:
            bytes_ = self.path.stat().st_size
            digest = hashlib.sha256(str(bytes_).encode())
            with self.path.open("rb") as handle:
                for number in range(SAMPLES):
                    handle.seek(max(bytes_ - SAMPLE_BYTES, 0) * number // (SAMPLES - 1))
                    digest.update(handle.read(SAMPLE_BYTES))
        except OSError as error:
            raise InputError(f"{self.path} cannot be read ({error.strerror}): check the path.") from error
        return digest.hexdigest()


def pyramid(sizes: list[tuple[int, int]]) -> dict[int, Level]:
    """Choose the images of a file that are levels of one pyramid.

    Level 0 is the largest. An image belongs to it if its sides are those of level 0 divided by one whole number, up
    to a pixel of rounding; labels and photographs of the glass have other proportions.

    Args:
        sizes: (height, width) of each image.

    Returns:
        Index into `sizes` -> level, by rising downsample; of equal ones the first.

    Examples:
        >>> list(pyramid([(4000, 6000), (500, 400), (1000, 1500), (250, 375)]))
        [0, 2, 3]
    """
    height, width = max(sizes, key=lambda size: size[0] * size[1])
    levels: dict[int, tuple[int, Level]] = {}
    for index, (rows, columns) in enumerate(sizes):
        factor = round(max(height / rows, width / columns))
        is_level = abs(height / factor - rows) <= 1 and abs(width / factor - columns) <= 1
        if is_level and factor not in levels:
            levels[factor] = index, Level(factor, rows, columns)
    return dict(levels[factor] for factor in sorted(levels))
