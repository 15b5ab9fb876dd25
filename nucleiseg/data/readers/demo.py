"""The embedded synthetic data set; and how to write any data set as folders."""

import hashlib
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from PIL import Image
from pydantic import Field

from nucleiseg.data.layers import pack, unpack
from nucleiseg.data.readers.base import Reader, Record
from nucleiseg.data.synthetic.rendering import SyntheticImage, render
from nucleiseg.settings import Seed, settings
from nucleiseg.structures import Sample

RENDERING_VERSION = 1
"""Part of the cache's keys: counts up whenever the same seed renders other images."""

SPARSEST, SPREAD = 22, 5.0
"""Nuclei aimed at in 256x256 pixels of the sparsest image, and how many times as many the densest may have."""

GOLDEN_RATIO = 0.6180339887498949
"""Multiples of it modulo 1 fill the unit interval evenly, however many images there are."""


@settings
class DemoReader(Reader):
    """Renders synthetic images.

    Image `demo_007` is the same for every number of images, so that a larger set contains the smaller one.

    Attributes:
        images: how many images there are. Each takes about a tenth of a second at 256 x 256 pixels.
        size: height and width of each in pixels; the densest of 2048 has 7,000 nuclei and takes a minute.
        seed: other seeds give other images.
    """

    images: Annotated[int, Field(ge=1, le=100_000)] = 12
    size: Annotated[int, Field(ge=32, le=2048)] = 256
    seed: Seed = 0

    synthetic: ClassVar[bool] = True

    def records(self) -> list[Record]:
        """List the images' names."""
        return [Record(name=f"demo_{index:03d}", index=index) for index in range(self.images)]

    def render(self, index: int) -> SyntheticImage:
        """Render one image: dense and sparse ones alternate, nuclei from 22 to 110 in 256x256 pixels."""
        density = SPARSEST * SPREAD ** (index * GOLDEN_RATIO % 1)
        nuclei = max(round(density * self.size**2 / 256**2), 1)
        return render(self.seed, index, self.size, self.size, nuclei)

    def read(self, record: Record) -> Sample:
        """Render one image with its instances, all of class 1."""
        rendered = self.render(record.index)
        layers, layer_index = pack(rendered.masks(), rendered.image.shape[:2])
        labels = np.ones(len(rendered.nuclei), dtype=np.int64)
        return Sample(record.name, rendered.image, layers, layer_index, labels)

    def key(self, record: Record) -> str:
        """Return a digest of what the image is rendered from."""
        recipe = f"demo {RENDERING_VERSION} {self.seed} {self.size} {record.index}"
        return hashlib.sha256(recipe.encode()).hexdigest()


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
