"""The layouts that `convert` writes: each is read again by a reader of `data.readers`, with the same masks.

folders   NAME/images/NAME.png, NAME/masks/00001.png, ...    every mask exactly; no classes
coco      images/NAME.png, annotations.json                  every mask exactly (run lengths), classes, ignore regions
geojson   NAME.png, NAME.geojson                             every mask exactly (pixel edges), classes, ignore regions
labels    NAME.png, NAME_masks.tif                           one label map: overlaps are lost; no classes
"""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from nucleiseg.data.classes import class_color
from nucleiseg.files import atomic_path
from nucleiseg.label_maps import measure
from nucleiseg.rle import RLE, Crop, area, compress, run_lengths
from nucleiseg.structures import EVERY_CLASS, Sample
from nucleiseg.writers.base import nucleus_ids
from nucleiseg.writers.geojson import (
    density_properties,
    make_feature,
    make_ignore_region,
    measure_nucleus,
    write_features,
)
from nucleiseg.writers.label_images import write_labels
from nucleiseg.writers.overlap_rules import SMALLEST_RULE, paint_by_size
from nucleiseg.writers.shape import measure_shape
from nucleiseg.writers.stains import is_hematoxylin_eosin, mean_stains

Layout = Literal["coco", "folders", "labels", "geojson"]
"""The values of `to=`."""

PNG_LEVEL = 1
"""Compression of images: a few per cent larger than at Pillow's 6, in a third of the time."""


@dataclass(eq=False)
class AnnotatedImage:
    """An image of a data set and its nuclei, as the layouts get them.

    Attributes:
        number: place in the data set, from 1.
        name: the stem of its files, which every file system takes.
        sample: pixels and nuclei.
        file: an image file with exactly these pixels, which is copied; None: the pixels are written as PNG.
        class_names: names of the labels 1, 2, ...
        mpp: micrometers per pixel; None if unknown.
    """

    number: int
    name: str
    sample: Sample
    file: Path | None
    class_names: tuple[str, ...]
    mpp: float | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W)."""
        return self.sample.image.shape[0], self.sample.image.shape[1]

    @cached_property
    def crops(self) -> list[Crop]:
        """The pixels of each nucleus."""
        return _crops_of(self.sample.layers, self.sample.layer_index)

    @cached_property
    def ignored(self) -> list[tuple[Crop, int]]:
        """The pixels of each ignore region, and the class that it holds (`structures.EVERY_CLASS`: any)."""
        regions = self.sample.ignore
        if regions is None:
            return []
        return list(zip(_crops_of(regions.layers, regions.layer_index), regions.labels.tolist(), strict=True))

    def to_rles(self, crops: Sequence[Crop]) -> list[RLE]:
        """Return masks over the whole image."""
        return compress([run_lengths(crop, *self.shape) for crop in crops], *self.shape)

    def write_pixels(self, folder: Path) -> Path:
        """Copy the image's file, or write a PNG, into a folder; return the path."""
        folder.mkdir(parents=True, exist_ok=True)
        if self.file is not None:
            path = folder / f"{self.name}{self.file.suffix.lower()}"
            shutil.copyfile(self.file, path)
        else:
            path = folder / f"{self.name}.png"
            Image.fromarray(self.sample.image).save(path, compress_level=PNG_LEVEL)
        return path


def _crops_of(layers: np.ndarray, layer_index: np.ndarray) -> list[Crop]:
    """Return the pixels of instance i, which has the value i + 1 on plane `layer_index[i]`."""
    boxes = measure(layers).boxes.astype(int).tolist()  # in the order of the values
    columns = enumerate(zip(layer_index, boxes, strict=True), 1)
    return [
        Crop(top, left, layers[plane, top:bottom, left:right] == value)
        for value, (plane, (left, top, right, bottom)) in columns
    ]


Losses = Counter[str]
"""How much of an image a layout cannot hold, by the kinds of `conversion.LOSSES`."""

Add = Callable[[Any], None]
"""Appends what `write_image` returned for an image to the file of all images."""


class DataSetFormat(Protocol):
    """A layout of a data set. A new one is a class and a line in `DATA_SET_FORMATS`."""

    has_classes: bool = False
    """Whether it holds the class of each nucleus, and ignore regions."""

    def write_image(self, folder: Path, image: AnnotatedImage) -> tuple[Losses, Any]:
        """Write the files of one image; return its losses, and what `assembly` needs; called in several threads."""
        ...

    @contextmanager
    def assembly(self, folder: Path, class_names: Sequence[str]) -> Iterator[Add]:
        """Write the file of all images from what `write_image` returned, in the order of the data set."""
        yield lambda record: None


class FoldersFormat(DataSetFormat):
    """One folder an image, one PNG of 1 bit a nucleus."""

    def write_image(self, folder: Path, image: AnnotatedImage) -> tuple[Losses, Any]:
        """Write the image and its masks, numbered from 1 in the order of the nuclei."""
        image.write_pixels(folder / image.name / "images")
        masks = folder / image.name / "masks"
        masks.mkdir()
        for number, crop in enumerate(image.crops, 1):
            mask = np.zeros(image.shape, bool)
            mask[crop.window] = crop.mask
            Image.fromarray(mask).save(masks / f"{number:05d}.png")
        return Counter(), None


class LabelsFormat(DataSetFormat):
    """A label map beside each image, named as Cellpose names it: its readers expect labels, whatever the values."""

    def write_image(self, folder: Path, image: AnnotatedImage) -> tuple[Losses, Any]:
        """Write the image and its label map; nucleus i (from 1) has the value i."""
        painted = paint_by_size(image.crops, image.shape)
        image.write_pixels(folder)
        write_labels(folder / f"{image.name}_masks.tif", painted, image.mpp, SMALLEST_RULE)
        return Counter(overlapping=painted.lost, hidden=painted.hidden), None


class GeoJsonFormat(DataSetFormat):
    """A GeoJSON file for QuPath beside each image, with the measurements of each nucleus."""

    has_classes = True

    def write_image(self, folder: Path, image: AnnotatedImage) -> tuple[Losses, Any]:
        """Write the image, the outlines of its nuclei along pixel edges, and its ignore regions as annotations."""
        image.write_pixels(folder)
        density = density_properties(len(image.crops), image.shape, image.mpp)
        write_features(folder / f"{image.name}.geojson", self._features(image), density)
        return Counter(), None

    def _features(self, image: AnnotatedImage) -> Iterator[dict[str, Any]]:
        pixels, labels = image.sample.image, image.sample.labels.tolist()
        ids = nucleus_ids(pixels, "annotated", zip(labels, image.to_rles(image.crops), strict=True))
        is_stained = is_hematoxylin_eosin(pixels)
        for identity, crop, label in zip(ids, image.crops, labels, strict=True):
            stains = mean_stains(pixels, crop) if is_stained else None
            measurements = measure_nucleus(measure_shape(crop.mask), image.mpp, stains)
            color = image.sample.classes[label - 1].color or class_color(label)
            yield make_feature(identity, crop, image.class_names[label - 1], color, measurements)
        regions = image.to_rles([crop for crop, _ in image.ignored])
        ids = nucleus_ids(
            pixels, "ignored", ((label, rle) for (_, label), rle in zip(image.ignored, regions, strict=True))
        )
        for identity, (crop, _) in zip(ids, image.ignored, strict=True):
            yield make_ignore_region(identity, crop)


class CocoFormat(DataSetFormat):
    """One `annotations.json` with compressed run lengths, which pycocotools and detectron2 read, and `images/`."""

    has_classes = True

    def write_image(self, folder: Path, image: AnnotatedImage) -> tuple[Losses, Any]:
        """Write the image; return its entry and its annotations without ids: nuclei, then crowd regions."""
        path = image.write_pixels(folder / "images")
        height, width = image.shape
        entry = {"id": image.number, "file_name": path.name, "height": height, "width": width}
        every = range(1, len(image.class_names) + 1)
        masks = [(crop, label, 0) for crop, label in zip(image.crops, image.sample.labels.tolist(), strict=True)]
        for crop, label in image.ignored:  # COCO has no region of every class: one of each
            masks += [(crop, number, 1) for number in ([label] if label != EVERY_CLASS else every)]
        rles = image.to_rles([crop for crop, *_ in masks])
        boxes = coco_mask.toBbox(rles).tolist() if rles else []
        annotations = [
            {
                "image_id": image.number,
                "category_id": label,
                "segmentation": rle,
                "bbox": box,
                "area": pixels,
                "iscrowd": is_crowd,
            }
            for (_, label, is_crowd), rle, box, pixels in zip(masks, rles, boxes, area(rles).tolist(), strict=True)
        ]
        return Counter(), (entry, annotations)

    @contextmanager
    def assembly(self, folder: Path, class_names: Sequence[str]) -> Iterator[Add]:
        """Write `annotations.json`, one annotation a line; memory holds the entries of the images."""
        categories = [{"id": number, "name": name} for number, name in enumerate(class_names, 1)]
        images: list[dict[str, Any]] = []
        count = 0
        with (
            atomic_path(folder / "annotations.json") as temporary,
            temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as handle,
        ):
            handle.write(f'{{"categories":{_json(categories)},\n"annotations":[')

            def add(record: tuple[dict[str, Any], list[dict[str, Any]]]) -> None:
                nonlocal count
                entry, annotations = record
                images.append(entry)
                for annotation in annotations:
                    handle.write(("\n" if count == 0 else ",\n") + _json({"id": (count := count + 1), **annotation}))

            yield add
            handle.write(f'\n],\n"images":{_json(images)}}}\n')


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


DATA_SET_FORMATS: Mapping[Layout, type[DataSetFormat]] = {
    "coco": CocoFormat,
    "folders": FoldersFormat,
    "labels": LabelsFormat,
    "geojson": GeoJsonFormat,
}
"""The class of each layout."""
