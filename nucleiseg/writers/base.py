"""The contract of a writer: what it gets for each image, and when.

    class PointWriter(Writer):
        def write_image(self, path, image):
            write_json(path, [list(nucleus.crop.window) for nucleus in image.nuclei])

One line in `writers.registry` makes it available as `write=[points]`.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol
from uuid import NAMESPACE_URL, uuid5

import numpy as np
import torch

from nucleiseg.data.classes import class_color
from nucleiseg.inference.box_masks import crops
from nucleiseg.inference.images import InputImage
from nucleiseg.rle import RLE, Crop, area, compress, run_lengths
from nucleiseg.structures import Color, Prediction
from nucleiseg.writers.overlap_rules import LabelImage, paint_by_probability
from nucleiseg.writers.shape import Shape, measure_shape
from nucleiseg.writers.stains import Stains, is_hematoxylin_eosin, mean_stains

NAMESPACE = uuid5(NAMESPACE_URL, "nucleiseg:nucleus")
"""Of the nuclei's ids (RFC 9562, section 5.5)."""

Record = Any
"""What a writer remembers of an image until all are predicted: anything that JSON holds."""


@dataclass(frozen=True)
class Nucleus:
    """A detection that counts.

    Attributes:
        id: a UUID, the same whenever this checkpoint predicts this mask in this image.
        crop: its pixels in the source image, at least one.
        rle: the same over the whole image.
        label: its class, 1 .. number of classes.
        score: its confidence, at least the count threshold.
    """

    id: str
    crop: Crop
    rle: RLE
    label: int
    score: float

    @cached_property
    def shape(self) -> Shape:
        """Its measurements, in pixels of the crop; formats share them."""
        return measure_shape(self.crop.mask)


@dataclass(eq=False)
class PredictedImage:
    """An image and its detections, as writers get them.

    Attributes:
        source: the input: name, file and id.
        pixels: (H, W, 3) uint8 RGB.
        prediction: the detections in these pixels, in descending score; those without a pixel too.
        threshold: least score of a detection that is counted, drawn and measured.
        class_names: names of the labels 1, 2, ...
        mpp: micrometers per pixel; None if unknown.
        checkpoint: digest of the checkpoint; empty if unknown.
        capped: whether the limit on detections was reached, so that nuclei may be missing.
        category_ids: number of each class in result files; None: the labels.
        class_colors: color of each class; None: `data.classes.CLASS_COLORS`.
    """

    source: InputImage
    pixels: np.ndarray
    prediction: Prediction
    threshold: float
    class_names: tuple[str, ...]
    mpp: float | None = None
    checkpoint: str = ""
    capped: bool = False
    category_ids: tuple[int, ...] | None = None
    class_colors: tuple[Color, ...] | None = None

    @cached_property
    def crops(self) -> list[Crop]:
        """The pixels of each detection, in the prediction's order."""
        return list(crops(self.prediction))

    @cached_property
    def rles(self) -> list[RLE]:
        """The same over the whole image."""
        size = self.prediction.size
        return compress([run_lengths(crop, *size) for crop in self.crops], *size)

    @cached_property
    def counted(self) -> np.ndarray:
        """(N,) bool: detections with a pixel and a score of at least the threshold."""
        return (area(self.rles) > 0) & (self.prediction.scores >= self.threshold).numpy()

    def class_name(self, label: int) -> str:
        """Return the name of a class; one without a name is called by its number."""
        return self.class_names[label - 1] if label <= len(self.class_names) else str(label)

    def class_color(self, label: int) -> Color:
        """Return the color of a class."""
        return class_color(label, self.class_colors)

    @property
    def class_counts(self) -> dict[str, int]:
        """Name of each class -> number of its nuclei that count."""
        counts = np.bincount(self.prediction.labels.numpy()[self.counted], minlength=len(self.class_names) + 1)
        return dict(zip(self.class_names, counts[1:].tolist(), strict=False))

    @cached_property
    def nuclei(self) -> list[Nucleus]:
        """The detections that count, in descending score."""
        labels, scores = self.prediction.labels.tolist(), self.prediction.scores.tolist()
        columns = zip(self.counted, self.crops, self.rles, labels, scores, strict=True)
        counted = [(crop, rle, label, score) for counts, crop, rle, label, score in columns if counts]
        ids = nucleus_ids(self.pixels, self.checkpoint, [(label, rle) for _, rle, label, _ in counted])
        return [Nucleus(identity, *columns) for identity, columns in zip(ids, counted, strict=True)]

    @cached_property
    def stains(self) -> list[Stains] | None:
        """The mean hematoxylin and eosin of each nucleus; None if the image does not look stained with them."""
        if not is_hematoxylin_eosin(self.pixels):
            return None
        return [mean_stains(self.pixels, nucleus.crop) for nucleus in self.nuclei]

    @cached_property
    def label_image(self) -> LabelImage:
        """The nuclei in one label map: the value of a nucleus is its number in `nuclei`, from 1."""
        return paint_by_probability(self.prediction[torch.from_numpy(self.counted)])


def nucleus_ids(pixels: np.ndarray, origin: str, nuclei: Iterable[tuple[int, RLE]]) -> list[str]:
    """Return a UUIDv5 for each nucleus of an image, the same whenever pixels, origin, class and mask are.

    Args:
        pixels: (H, W, 3) uint8, the image.
        origin: where the nuclei come from, as the digest of a checkpoint.
        nuclei: class and mask of each; equal ones get different ids.
    """
    content = hashlib.sha256(repr(pixels.shape).encode())
    content.update(np.ascontiguousarray(pixels).data)
    digest = content.hexdigest()
    twins: Counter[str] = Counter()
    ids = []
    for label, rle in nuclei:
        name = f"{digest}/{origin}/{label}/{rle['counts']}"
        ids.append(str(uuid5(NAMESPACE, f"{name}/{twins[name]}")))
        twins[name] += 1
    return ids


@dataclass(frozen=True)
class FinishedImage:
    """An image whose files are written, when the files of all images are assembled.

    Attributes:
        source: the input: name, file and id.
        height: rows of the image.
        width: columns of the image.
        record: what the writer's `write_image` returned for it.
    """

    source: InputImage
    height: int
    width: int
    record: Record


Add = Callable[[FinishedImage], None]
"""Appends an image to the files of all images."""


class Writer(Protocol):
    """One output format: a file an image, a file of all images, or both.

    Its files are named in `writers.registry`. They become visible together, when all images are predicted.
    """

    def write_image(self, path: Path, image: PredictedImage) -> Record:
        """Write the file of one image, and return what `assembly` needs of it; called in a thread, several at once.

        Args:
            path: the file, where the format has one an image; write it whole or not at all (`files.atomic_path`).
            image: the image and its detections.
        """
        return None

    def assembly(self, folder: Path) -> AbstractContextManager[Add]:
        """Return a context that writes the files of all images into a folder, with a function that appends an image.

        Images come in the order of the input. Memory must not grow with their number.
        """
        return nullcontext(lambda finished: None)
