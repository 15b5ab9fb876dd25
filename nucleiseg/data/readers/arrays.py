"""PanNuke and CoNIC: all patches of a data set as NumPy arrays, which are mapped into memory, never read whole.

PanNuke     Fold 1/images/fold1/{images,types}.npy, Fold 1/masks/fold1/masks.npy (S, 256, 256, 6)
CoNIC       images.npy (S, 256, 256, 3), labels.npy (S, 256, 256, 2), patch_info.csv
"""

import csv
import hashlib
from abc import abstractmethod
from collections import Counter
from pathlib import Path
from typing import ClassVar

import numpy as np

from nucleiseg.data.layers import pack_labels
from nucleiseg.data.readers.annotated import AnnotatedReader, Annotation, PackedInstances
from nucleiseg.data.readers.base import Record
from nucleiseg.data.readers.images import to_rgb
from nucleiseg.data.readers.masks import check_labels
from nucleiseg.data.readers.recognition import Evidence, Tree, images_and
from nucleiseg.errors import InputError
from nucleiseg.files import require_regular_file
from nucleiseg.foreign_files import MOST_PIXELS
from nucleiseg.label_maps import measure
from nucleiseg.progress import counted
from nucleiseg.rle import Crop
from nucleiseg.settings import settings

PANNUKE_CLASSES = ("Neoplastic", "Inflammatory", "Connective", "Dead", "Epithelial")
"""Channels of PanNuke's masks; the sixth is the background."""

CONIC_CLASSES = ("Neutrophil", "Epithelial", "Lymphocyte", "Plasma", "Eosinophil", "Connective")
"""Classes 1 to 6 of CoNIC and Lizard."""


def map_array(path: Path, last_axis: int) -> np.ndarray:
    """Map an (S, H, W, C) array of numbers into memory; pickled objects are refused.

    Raises:
        InputError: if the file is of another kind or shape.
    """
    require_regular_file(path)
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{path} is not an array of numbers ({error}).") from error
    if (
        not isinstance(array, np.ndarray)
        or array.ndim != 4
        or array.shape[3] != last_axis
        or array.dtype.kind not in "buif"
    ):
        raise InputError(f"{path} is not an array of numbers of shape (images, height, width, {last_axis}).")
    if array.shape[1] * array.shape[2] > MOST_PIXELS:
        raise InputError(f"{path} has images of more than {MOST_PIXELS:,} pixels.")
    return array


@settings
class ArraysReader(AnnotatedReader):
    """Base of readers of two arrays: images and annotations.

    Attributes:
        channels: last axis of the array of annotations.
    """

    channels: ClassVar[int] = 0

    @abstractmethod
    def pair(self, tree: Tree) -> list[tuple[Path, Path]]:
        """Return each array of images with that of its annotations."""

    def patch_names(self, images: Path, count: int) -> list[str]:
        """Return the name of each patch of an array of images."""
        folder = images.parent.name if images.parent != self.root else "patch"
        return [f"{folder}_{index:04d}" for index in range(count)]

    def records(self) -> list[Record]:
        """List the patches of all arrays."""
        records: list[Record] = []
        for images, masks in self.pair(self.require_root()):
            shape, other = map_array(images, 3).shape, map_array(masks, self.channels).shape
            if shape[:3] != other[:3]:
                raise InputError(
                    f"{images} holds {shape[:3]} (images, height, width), {masks} {other[:3]}: not one set."
                )
            names = self.patch_names(images, shape[0])
            records += [Record(name, images, (masks,), index=index) for index, name in enumerate(names)]
        return self.require_records(records)

    def image(self, record: Record, noticed: Counter[str]) -> np.ndarray:
        """Decode one patch; PanNuke's are floating-point numbers from 0 to 255."""
        assert record.image is not None
        return to_rgb(np.array(map_array(record.image, 3)[record.index]), record.image, self.bits)

    def key(self, record: Record) -> str:
        """Return a digest of one patch and its annotations."""
        assert record.image is not None
        digest = hashlib.sha256(f"{type(self).__name__} {self.version}\0{self.bits}\0{record.name}".encode())
        for array in (map_array(record.image, 3), map_array(record.masks[0], self.channels)):
            patch = np.ascontiguousarray(array[record.index])
            digest.update(f"\0{patch.dtype.str}{patch.shape}".encode() + patch.tobytes())
        return digest.hexdigest()


@settings
class PanNukeReader(ArraysReader):
    """Reads PanNuke's folds; a nucleus is a pair of channel and number, so that overlaps of classes survive."""

    layout: ClassVar[str] = "Fold N/images/foldN/images.npy and Fold N/masks/foldN/masks.npy (PanNuke)"
    channels: ClassVar[int] = 6

    @classmethod
    def recognize(cls, tree: Tree) -> Evidence | None:
        """Look for `masks.npy` whose last axis is 6, and `images.npy`."""
        masks = [path for path in tree.files if path.name == "masks.npy"]
        array = tree.open(masks[0], lambda path: map_array(path, cls.channels)) if masks else None
        if array is None:
            return None
        images = [path for path in tree.files if path.name == "images.npy"]
        found = f"PanNuke: {images_and(len(array), len(masks), 'array')} of masks (the number of images is the first's)"
        return Evidence(found, "" if images else "images.npy")

    def pair(self, tree: Tree) -> list[tuple[Path, Path]]:
        """Pair the arrays of each fold by the name of their folder."""
        images = {path.parent.name: path for path in tree.files if path.name == "images.npy"}
        masks = [path for path in tree.files if path.name == "masks.npy"]
        if missing := [path for path in masks if path.parent.name not in images and len(images) != 1]:
            raise InputError(f"{missing[0]} has no images.npy in a folder {missing[0].parent.name}.")
        return [(images.get(path.parent.name, next(iter(images.values()))), path) for path in masks]

    def instances(self, record: Record, shape: tuple[int, int], noticed: Counter[str]) -> PackedInstances:
        """Take each number of each channel for a nucleus."""
        path = record.masks[0]
        masks = np.array(map_array(path, self.channels)[record.index])
        annotations: list[Annotation] = []
        for channel, name in enumerate(PANNUKE_CLASSES):
            layers, _ = pack_labels(check_labels(masks[:, :, channel], path))
            found = measure(layers)
            for value, (left, top, right, bottom) in zip(found.values, found.boxes.astype(int).tolist(), strict=True):
                crop = Crop(top, left, layers[0, top:bottom, left:right] == value)
                annotations.append(Annotation(crop, name, number=channel + 1))
        return PackedInstances.from_annotations(annotations, shape, noticed, path)


@settings
class ConicReader(ArraysReader):
    """Reads CoNIC's patches; those of one image stay in one part of a split (`patch_info.csv` names them)."""

    layout: ClassVar[str] = "images.npy, labels.npy and patch_info.csv (CoNIC)"
    channels: ClassVar[int] = 2

    @classmethod
    def recognize(cls, tree: Tree) -> Evidence | None:
        """Look for `labels.npy` whose last axis is 2, and `images.npy`."""
        labels = [path for path in tree.files if path.name == "labels.npy"]
        array = tree.open(labels[0], lambda path: map_array(path, cls.channels)) if labels else None
        if array is None:
            return None
        found = f"CoNIC: {counted(len(array), 'image')}"
        return Evidence(
            found, "" if labels[0].with_name("images.npy") in tree.files else "images.npy beside labels.npy"
        )

    @property
    def default_group(self) -> str | None:
        """The image from which a patch was cut, where `patch_info.csv` names it."""
        return r"^(.+)-\d+$" if self.root.is_dir() and any(self.root.rglob("patch_info.csv")) else None

    def pair(self, tree: Tree) -> list[tuple[Path, Path]]:
        """Pair the arrays of each folder."""
        labels = [path for path in tree.files if path.name == "labels.npy"]
        return [(path.with_name("images.npy"), path) for path in labels]

    def patch_names(self, images: Path, count: int) -> list[str]:
        """Return the names that `patch_info.csv` gives, such as `consep_1-0004`."""
        table = images.with_name("patch_info.csv")
        if not table.is_file():
            return super().patch_names(images, count)
        require_regular_file(table)
        with table.open(encoding="utf-8", newline="") as handle:
            names = [row[-1].strip() for row in csv.reader(handle) if row][1:]
        if len(names) != count or len(set(names)) != count:
            raise InputError(f"{table} names {len(set(names)):,} patches, {images} holds {count:,}.")
        return names

    def instances(self, record: Record, shape: tuple[int, int], noticed: Counter[str]) -> PackedInstances:
        """Take the label map, whose numbers begin anew in each patch, and the class at each nucleus."""
        path = record.masks[0]
        patch = np.array(map_array(path, self.channels)[record.index])
        labels = check_labels(patch[:, :, 0], path)
        classes = check_labels(patch[:, :, 1], path)
        names = class_names(labels, classes, CONIC_CLASSES)
        return PackedInstances.from_labels(labels, noticed, names, numbered=CONIC_CLASSES)


def class_names(labels: np.ndarray, classes: np.ndarray, names: tuple[str, ...]) -> dict[int, str]:
    """Return the name of each label's class: the most frequent number in a class map among its pixels.

    Args:
        labels: (H, W) label map.
        classes: (H, W) numbers of classes; 0 is none.
        names: of the classes 1, 2, ...
    """
    inside = (labels != 0) & (classes != 0)
    most = int(classes.max(initial=0)) + 1
    pairs, counts = np.unique(labels[inside] * most + classes[inside], return_counts=True)
    found: dict[int, str] = {}
    for pair in pairs[np.argsort(counts, kind="stable")].tolist():  # the most frequent comes last
        label, number = divmod(pair, most)
        found[label] = names[number - 1] if number <= len(names) else str(number)
    return found
