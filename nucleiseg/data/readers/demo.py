"""The embedded data set, drawn from a seed with nothing to download; and how to write any data set as folders."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image

from nucleiseg.data.checks import is_whole
from nucleiseg.data.layers import pack, unpack
from nucleiseg.data.readers.base import Reader, Record
from nucleiseg.data.synthetic.images import Drawing, draw
from nucleiseg.errors import InputError
from nucleiseg.structures import Sample

DRAWING_VERSION = 1
"""Part of the cache's keys: counts up whenever the same seed draws other images."""

SPARSEST, SPREAD = 22, 5.0
"""Nuclei aimed at in 256x256 pixels of the sparsest image, and how many times as many the densest may have."""

GOLDEN_RATIO = 0.6180339887498949
"""Multiples of it modulo 1 fill the unit interval evenly, however many images there are."""


@dataclass(frozen=True)
class DemoReader(Reader):
    """Draws images instead of reading them.

    Image `demo_007` is the same for every number of images, so that a larger set contains the smaller one.

    Args:
        images: how many images there are.
        size: height and width of each in pixels.
        seed: other seeds give other images.

    Raises:
        InputError: when a value is no whole number or out of range.
    """

    images: int = 12
    size: int = 256
    seed: int = 0

    class_names: ClassVar[tuple[str, ...]] = ("nucleus",)
    drawn: ClassVar[bool] = True

    def __post_init__(self) -> None:
        problems = [
            f"data.{key}={value} is not accepted: give a whole number from {least}."
            for key, value, least in (("images", self.images, 1), ("size", self.size, 32), ("seed", self.seed, 0))
            if not is_whole(value, least)
        ]
        if problems:
            raise InputError(problems)

    def records(self) -> list[Record]:
        """List the images' names."""
        return [Record(name=f"demo_{index:03d}") for index in range(self.images)]

    def drawing(self, index: int) -> Drawing:
        """Draw one image: dense and sparse ones alternate, nuclei from 22 to 110 in 256x256 pixels."""
        density = SPARSEST * SPREAD ** (index * GOLDEN_RATIO % 1)
        nuclei = max(round(density * self.size**2 / 256**2), 1)
        return draw(self.seed, index, self.size, self.size, nuclei)

    def read(self, record: Record) -> Sample:
        """Draw one image with its instances, all of class 1."""
        drawing = self.drawing(_index(record))
        layers, layer_index = pack(drawing.masks(), drawing.image.shape[:2])
        labels = np.ones(len(drawing.nuclei), dtype=np.int64)
        return Sample(record.name, drawing.image, layers, layer_index, labels)

    def key(self, record: Record) -> str:
        """Return a digest of what the image is drawn from."""
        recipe = f"demo {DRAWING_VERSION} {self.seed} {self.size} {_index(record)}"
        return hashlib.sha256(recipe.encode()).hexdigest()


def _index(record: Record) -> int:
    return int(record.name.rpartition("_")[2])


def write_folders(reader: Reader, root: Path) -> None:
    """Write a data set as the reader `folders` reads it: one folder an image, one mask a nucleus.

        ROOT/demo_000/images/demo_000.png        ROOT/demo_000/masks/mask_0001.png, mask_0002.png, ...

    Args:
        reader: what to write.
        root: the folder; made where missing.
    """
    for record in reader.records():
        sample = reader.read(record)
        images, masks = root / record.name / "images", root / record.name / "masks"
        for folder in (images, masks):
            folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(sample.image).save(images / f"{record.name}.png")
        for number, mask in enumerate(unpack(sample.layers, sample.layer_index), 1):
            Image.fromarray(mask.astype(np.uint8) * 255).save(masks / f"mask_{number:04d}.png")
