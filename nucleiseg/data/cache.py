"""Decoded samples on the disk: made once, checked at the start of a run, then mapped into memory."""

import os
from dataclasses import dataclass

import numpy as np

from nucleiseg.data.readers.base import Reader, Record
from nucleiseg.structures import Sample


@dataclass(frozen=True)
class Summary:
    """What the data check and the splits need to know of one image, without its pixels.

    Attributes:
        name: the image's name.
        height, width: its size in pixels.
        boxes: (N, 4) float32 x1, y1, x2, y2, tight around each instance, in pixels of the source image.
        empty_masks: annotations that were skipped because they mark no pixel.
        key: the reader's content key of the record (for a fingerprint of the data set).
    """

    name: str
    height: int
    width: int
    boxes: np.ndarray
    empty_masks: int
    key: str

    def __len__(self) -> int:
        """The number of instances."""
        return len(self.boxes)


class SampleCache:
    """A folder of decoded samples, one file an image.

    Args:
        folder: where the files lie; None: no files, every sample is read from its source.
    """

    def __init__(self, folder: str | os.PathLike[str] | None) -> None:
        raise NotImplementedError

    def load(self, reader: Reader, record: Record) -> Sample:
        """Return the sample (its arrays may be mapped from the file, copy on write)."""
        raise NotImplementedError

    def prepare(self, reader: Reader, record: Record) -> Summary:
        """Check the cached sample against its source, make it where it is missing or stale, and summarise it.

        From then on `load` on this object trusts the file (a spawned worker gets that knowledge with the object).
        """
        raise NotImplementedError


def load_all(reader: Reader, cache: SampleCache) -> list[Summary]:
    """Prepare every record of `reader`, with a progress bar, and report all problems together.

    Raises:
        InputError: one, with a sentence for each problem found in any image.
    """
    raise NotImplementedError
