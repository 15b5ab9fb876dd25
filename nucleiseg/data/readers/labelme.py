"""LabelMe: a JSON file with shapes for every image.

ROOT/**/NAME.png        ROOT/**/NAME.json      {"shapes": [{"label", "points", "shape_type", "mask"}], "imagePath"}
"""

import base64
import binascii
import io
from collections import Counter
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from nucleiseg.data.readers.annotated import AnnotatedReader, Annotation, PackedInstances
from nucleiseg.data.readers.base import Record
from nucleiseg.data.readers.outlines import ellipse, fill_outline, points_of, rectangle
from nucleiseg.data.readers.pairs import pair_by_stem
from nucleiseg.data.readers.polygons import union
from nucleiseg.data.readers.recognition import Evidence, Tree, images_and
from nucleiseg.errors import InputError
from nucleiseg.foreign_files import MOST_PIXELS, read_json
from nucleiseg.rle import Crop, tight_crop
from nucleiseg.settings import settings


def is_labelme(document: object) -> bool:
    """Return whether parsed JSON has shapes."""
    return isinstance(document, dict) and isinstance(document.get("shapes"), list)


@settings
class LabelMeReader(AnnotatedReader):
    """Reads images with LabelMe's shapes; shapes of one label and group are parts of one nucleus."""

    layout: ClassVar[str] = "NAME.png and NAME.json (LabelMe) of equal names"

    @classmethod
    def recognize(cls, tree: Tree) -> Evidence | None:
        """Look for JSON files with shapes and images of their names."""
        if not any(is_labelme(document) for document in tree.open_json().values()):
            return None
        files = tree.with_suffix(".json")
        images = {path.stem for path in tree.images()} & {path.stem for path in files}
        found = f"LabelMe: {images_and(len(images), len(files), 'JSON file')}"
        return Evidence(found, "" if images else "images of the JSON files' names")

    def records(self) -> list[Record]:
        """List the images that have shapes; others are named."""
        tree = self.require_root()
        files = [path for path in tree.with_suffix(".json") if is_labelme(read_json(path))]
        return self.require_records(pair_by_stem(files, tree.images(), self.root, "JSON file"))

    def instances(self, record: Record, shape: tuple[int, int], noticed: Counter[str]) -> PackedInstances:
        """Rasterize the shapes."""
        (path,) = record.masks
        parts: dict[object, list[Annotation]] = {}
        for number, entry in enumerate(read_json(path)["shapes"], 1):
            where = f"{path}: shape {number}"
            if not isinstance(entry, dict):
                raise InputError(f"{where} is not a group of keys.")
            kind, label = entry.get("shape_type") or "polygon", str(entry.get("label") or "")
            if kind in ("point", "points", "line", "linestrip"):
                noticed["other_shapes"] += 1
                continue
            crop = _fill(entry, kind, shape, noticed, where)
            group = entry.get("group_id")
            parts.setdefault((label, str(group)) if group is not None else number, []).append(Annotation(crop, label))
        return PackedInstances.from_annotations([_join(part) for part in parts.values()], shape, noticed, path)


def _join(parts: list[Annotation]) -> Annotation:
    crops = [part.crop for part in parts if part.crop is not None]
    return Annotation(union(crops) if crops else None, parts[0].name)


def _fill(entry: dict[str, Any], kind: str, shape: tuple[int, int], noticed: Counter[str], where: str) -> Crop | None:
    points = points_of(entry.get("points"), where)
    if kind == "polygon":
        return fill_outline([points], shape, noticed, where)
    if len(points) != 2 or kind not in ("rectangle", "circle", "mask"):
        raise InputError(
            f"{where} is a {kind} of {len(points)} points; it accepts a polygon, or a rectangle, circle or mask of two."
        )
    if kind == "mask":
        # at the upper left corner of its box, which may be a fraction of a pixel, and cut at the border
        left, top = (int(np.clip(np.rint(value), -(2**31), 2**31)) for value in points.min(axis=0))
        rows, columns = slice(max(-top, 0), max(shape[0] - top, 0)), slice(max(-left, 0), max(shape[1] - left, 0))
        return tight_crop(max(top, 0), max(left, 0), _decode_mask(entry.get("mask"), where)[rows, columns])
    if kind == "circle":  # its center and a point on it
        radius = float(np.hypot(*(points[1] - points[0])))
        return fill_outline([ellipse(points[0], (radius, radius))], shape, noticed, where)
    return fill_outline([rectangle(*points.min(axis=0), *points.max(axis=0))], shape, noticed, where)


def _decode_mask(value: object, where: str) -> np.ndarray:
    """Decode the base64 PNG of a shape's box, bool since LabelMe 5.4 and uint8 since 5.8."""
    try:
        picture = Image.open(io.BytesIO(base64.b64decode(str(value), validate=True)), formats=["PNG"])
        if picture.width * picture.height > MOST_PIXELS:
            raise ValueError("it is too large")
        return np.asarray(picture.convert("L")) > 0
    except (binascii.Error, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{where} has a mask that cannot be decoded ({error}).") from error
