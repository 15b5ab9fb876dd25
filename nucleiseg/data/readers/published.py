"""Layouts of single published data sets: NuInsSeg, CryoNuSeg, TNBC and the VRDL homework of 2025.

NuInsSeg    ORGAN/tissue images/NAME.png       ORGAN/label masks modify/NAME.tif
CryoNuSeg   tissue images/NAME.tif             RATER/**/label masks modify/NAME.tif
TNBC        Slide_NN/NAME.png                  GT_NN/NAME.png (semantic)
VRDL 2025   NAME/image.tif                     NAME/class1.tif, class2.tif, ...
"""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Annotated, ClassVar

import cv2
import numpy as np
from pydantic import Field

from nucleiseg.data.readers.annotated import AnnotatedReader, Annotation, PackedInstances
from nucleiseg.data.readers.base import Record
from nucleiseg.data.readers.masks import read_labels, split_ignored, to_plane
from nucleiseg.data.readers.pairs import pair_by_stem, unique_names
from nucleiseg.data.readers.pixels import decode_pixels
from nucleiseg.data.readers.recognition import Evidence, Tree, images_and
from nucleiseg.errors import InputError, some
from nucleiseg.label_maps import measure
from nucleiseg.rle import Crop, tight_crop
from nucleiseg.settings import settings

IMAGES, LABELS = "tissue images", "label masks modify"
"""Folders of NuInsSeg and CryoNuSeg. `label masks`, where overlaps have a number of their own, is never read."""

VAGUE = ("vague", "ambig")
"""Parts of the name of NuInsSeg's folder of masks of ambiguous areas."""

SOLID = 0.9
"""Share of its convex hull that a single nucleus fills; two that touch leave a notch on either side."""

LARGE = 30
"""Pixels of a region whose outline is smooth enough for its solidity to mean something."""


def _in_folder(tree: Tree, name: str) -> list[Path]:
    return [path for path in tree.images() if path.parent.name.lower() == name]


@settings
class NuInsSegReader(AnnotatedReader):
    """Reads NuInsSeg's organs from `label masks modify`; ambiguous areas are counted in a warning."""

    layout: ClassVar[str] = f"ORGAN/{IMAGES}/NAME.png and ORGAN/{LABELS}/NAME.tif (NuInsSeg)"

    @classmethod
    def recognize(cls, tree: Tree) -> Evidence | None:
        """Look for folders `label masks modify` beside `tissue images`."""
        masks = [path for path in _in_folder(tree, LABELS) if _rater(path, tree.root) is None]
        if not masks:
            return None
        organs = {path.parent.parent for path in masks}
        images = [path for path in _in_folder(tree, IMAGES) if path.parent.parent in organs]
        found = f"NuInsSeg: {images_and(len(images), len(masks), 'label map')}"
        return Evidence(found, "" if images else f"images in ORGAN/{IMAGES}")

    def records(self) -> list[Record]:
        """List the images of all organs."""
        tree = self.require_root()
        masks = _in_folder(tree, LABELS)
        names = dict(zip(masks, unique_names(masks, self.root), strict=True))
        records: list[Record] = []
        for organ in dict.fromkeys(path.parent.parent for path in masks):
            own = [path for path in masks if path.parent.parent == organ]
            images = [path for path in _in_folder(tree, IMAGES) if path.parent.parent == organ]
            vague = {}
            for path in tree.images():
                folders = " ".join(path.relative_to(organ).parts[:-1]).lower() if organ in path.parents else ""
                if any(word in folders for word in VAGUE):
                    vague[path.stem] = path
            for record in pair_by_stem(own, images, self.root, "label map"):
                if record.image is not None:
                    areas = [vague[record.image.stem]] if record.image.stem in vague else []
                    record = replace(record, name=names[record.masks[0]], masks=(*record.masks, *areas))
                records.append(record)
        return self.require_records(records)

    def instances(self, record: Record, shape: tuple[int, int], noticed: Counter[str]) -> PackedInstances:
        """Read the label map; the connected parts of the mask of ambiguous areas are ignore regions."""
        path, *vague = record.masks
        labels = read_labels(path, shape, noticed)
        return PackedInstances.from_labels(labels, noticed, ignore=_components(vague[0], shape)[1] if vague else None)


@settings
class CryoNuSegReader(AnnotatedReader):
    """Reads CryoNuSeg with the annotations of one rater.

    Attributes:
        rater: the folder of the rater, as it is called in the data set.
    """

    rater: Annotated[str, Field(min_length=1)] = "Annotator 1 (biologist)"

    layout: ClassVar[str] = f"{IMAGES}/NAME.tif and RATER/{LABELS}/NAME.tif (CryoNuSeg)"

    @classmethod
    def recognize(cls, tree: Tree) -> Evidence | None:
        """Look for folders `label masks modify` below a folder whose name begins with `Annotator`."""
        masks = [path for path in _in_folder(tree, LABELS) if _rater(path, tree.root) is not None]
        if not masks:
            return None
        raters = {_rater(path, tree.root) for path in masks}
        images = _in_folder(tree, IMAGES)
        found = f"CryoNuSeg: {images_and(len(images), len(raters), 'rater')}"
        return Evidence(found, "" if images else f"images in {IMAGES}")

    def records(self) -> list[Record]:
        """List the images with the label maps of the rater.

        Raises:
            InputError: if there is no such rater, naming those that there are.
        """
        tree = self.require_root()
        masks = _in_folder(tree, LABELS)
        raters = {str(_rater(path, self.root)): None for path in masks}
        chosen = [path for path in masks if _rater(path, self.root) == self.rater]
        if masks and not chosen:
            raise InputError(f"{self.root} has no rater {self.rater}; it has {some(raters)}: set rater to one of them.")
        return self.require_records(pair_by_stem(chosen, _in_folder(tree, IMAGES), self.root, "label map"))

    def instances(self, record: Record, shape: tuple[int, int], noticed: Counter[str]) -> PackedInstances:
        """Read the label map."""
        return PackedInstances.from_labels(read_labels(record.masks[0], shape, noticed), noticed)


def _rater(path: Path, root: Path) -> str | None:
    """Return the folder of a rater above a file, the outermost of those that are nested in one of their own name."""
    folders = path.relative_to(root).parts[:-1]
    return next((name for name in folders if name.lower().startswith("annotator")), None)


@settings
class TnbcReader(AnnotatedReader):
    """Reads TNBC, whose semantic masks do not separate nuclei that touch: each connected region is one nucleus."""

    layout: ClassVar[str] = "Slide_NN/NAME.png and GT_NN/NAME.png (TNBC)"

    @classmethod
    def recognize(cls, tree: Tree) -> Evidence | None:
        """Look for folders `Slide_NN` and `GT_NN`."""
        slides, masks = _numbered(tree, "slide"), _numbered(tree, "gt")
        if not masks:
            return None
        found = f"TNBC: {images_and(len(slides), len(masks), 'semantic mask')}"
        return Evidence(found, "" if slides.keys() & masks.keys() else "images in Slide_NN of the masks' names")

    def records(self) -> list[Record]:
        """List the images that have a mask."""
        tree = self.require_root()
        slides, masks = _numbered(tree, "slide"), _numbered(tree, "gt")
        records = [Record(f"{key[0]}_{key[1]}", slides[key], (mask,)) for key, mask in masks.items() if key in slides]
        return self.require_records(records)

    def instances(self, record: Record, shape: tuple[int, int], noticed: Counter[str]) -> PackedInstances:
        """Take the connected regions, and count those that look like several nuclei."""
        count, regions = _components(record.masks[0], shape)
        found = measure(regions[None])
        for value, (left, top, right, bottom) in zip(found.values, found.boxes.astype(int).tolist(), strict=True):
            inside = regions[top:bottom, left:right] == value
            noticed["fused"] += int(np.count_nonzero(inside)) >= LARGE and _solidity(inside) < SOLID
        assert len(found.values) == count
        return PackedInstances.from_labels(regions, noticed)


def _numbered(tree: Tree, prefix: str) -> dict[tuple[str, str], Path]:
    """Return the images in folders PREFIX_NN by (NN, stem)."""
    pattern = re.compile(rf"{prefix}_(\d+)", re.IGNORECASE)
    found = {}
    for path in tree.images():
        if match := pattern.fullmatch(path.parent.name):
            found[match[1], path.stem] = path
    return found


def _components(path: Path, shape: tuple[int, int]) -> tuple[int, np.ndarray]:
    """Return the number of connected regions of a binary mask, and their (H, W) int32 label map."""
    pixels = decode_pixels(path, shape[0] * shape[1])
    if pixels.values is None or pixels.shape != shape:
        found = f"{pixels.shape[1]} x {pixels.shape[0]}"
        raise InputError(f"{path} is {found} pixels and its image {shape[1]} x {shape[0]}: both must have one size.")
    plane, _ = to_plane(pixels.values)
    count, regions = cv2.connectedComponents((plane > plane.max(initial=0) / 2).astype(np.uint8), connectivity=8)
    return count - 1, regions


def _solidity(mask: np.ndarray) -> float:
    """Return the share of its convex hull that a region fills; the hull goes around its pixels, not their centers."""
    points = np.argwhere(mask).astype(np.int32)
    corners = np.concatenate([points + np.array(corner, np.int32) for corner in ((0, 0), (0, 1), (1, 0), (1, 1))])
    return len(points) / float(cv2.contourArea(cv2.convexHull(corners)))


@settings
class ClassFilesReader(AnnotatedReader):
    """Reads the VRDL homework of 2025: one folder per image with a label map for each class."""

    layout: ClassVar[str] = "NAME/image.tif and NAME/class1.tif, ... for every image (VRDL homework 2025)"

    @classmethod
    def recognize(cls, tree: Tree) -> Evidence | None:
        """Look for `image.tif` with `class1.tif` and others."""
        images, maps = _class_files(tree)
        if not maps:
            return None
        files = sum(map(len, maps.values()))
        found = f"VRDL homework 2025: {images_and(len(images), files, 'label map')}"
        return Evidence(found, "" if images else "image.tif beside the class files")

    def records(self) -> list[Record]:
        """List the images; a class that an image lacks has no file."""
        images, maps = _class_files(self.require_root())
        records = [Record(folder.name, image, tuple(maps[folder])) for folder, image in images.items()]
        return self.require_records(records)

    def instances(self, record: Record, shape: tuple[int, int], noticed: Counter[str]) -> PackedInstances:
        """Take each number of each class for a nucleus: numbers begin anew in each class."""
        annotations: list[Annotation] = []
        for path in record.masks:
            number = int(path.stem.removeprefix("class"))
            labels, vague = split_ignored(read_labels(path, shape, noticed))
            if vague is not None:
                annotations.append(Annotation(tight_crop(0, 0, vague), path.stem, is_ignored=True, number=number))
            found = measure(labels[None])
            for value, (left, top, right, bottom) in zip(found.values, found.boxes.astype(int).tolist(), strict=True):
                crop = Crop(top, left, labels[top:bottom, left:right] == value)
                annotations.append(Annotation(crop, path.stem, number=number))
        return PackedInstances.from_annotations(annotations, shape, noticed, record.masks[0])


def _class_files(tree: Tree) -> tuple[dict[Path, Path], dict[Path, list[Path]]]:
    """Return image.tif and the class files of each folder that has class files."""
    maps: dict[Path, list[Path]] = {}
    for path in tree.images((".tif", ".tiff", ".png")):
        if re.fullmatch(r"class\d+", path.stem):
            maps.setdefault(path.parent, []).append(path)
    images = {path.parent: path for path in tree.images() if path.stem == "image" and path.parent in maps}
    return images, maps
