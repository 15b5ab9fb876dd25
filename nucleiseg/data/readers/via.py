"""VGG Image Annotator (VIA) 1, 2 and 3, as matterport's Mask R-CNN examples use it.

ROOT/**/via_region_data.json        {KEY: {"filename", "regions"}}; a project of VIA 2 has "_via_img_metadata"
ROOT/**/FILENAME                    the images
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from nucleiseg.data.readers.annotated import AnnotatedReader, Annotation, PackedInstances
from nucleiseg.data.readers.base import Record, digest_files
from nucleiseg.data.readers.outlines import ellipse, fill_outline, rectangle
from nucleiseg.data.readers.pairs import unique_names
from nucleiseg.data.readers.recognition import Evidence, Tree, images_and
from nucleiseg.errors import InputError, short
from nucleiseg.foreign_files import read_json
from nucleiseg.settings import settings

VIA3_SHAPES = {1: "point", 2: "rect", 3: "circle", 4: "ellipse", 5: "line", 6: "polyline", 7: "polygon"}
"""Numbers of shapes in VIA 3's `xy`."""

VIA3_NUMBERS = {"rect": ("x", "y", "width", "height"), "circle": ("cx", "cy", "r"), "ellipse": ("cx", "cy", "rx", "ry")}
"""What follows the number of a shape in `xy`, by the names of VIA 2."""

Region = tuple[str, dict[str, Any], str]
"""Name of the shape, its attributes as VIA 2 has them, and the name of its class."""


def is_via(document: object) -> bool:
    """Return whether parsed JSON is an export or a project of VIA."""
    if not isinstance(document, dict):
        return False
    if "_via_img_metadata" in document or ("metadata" in document and "file" in document and "view" in document):
        return True
    entries = list(document.values())[:5]
    return bool(entries) and all(isinstance(entry, dict) and {"filename", "regions"} <= set(entry) for entry in entries)


@settings
class ViaReader(AnnotatedReader):
    """Reads images with VIA's regions; polygons, ellipses, circles and rectangles are nuclei."""

    layout: ClassVar[str] = "a JSON file of the VGG Image Annotator and its images"

    @classmethod
    def recognize(cls, tree: Tree) -> Evidence | None:
        """Look for JSON files whose values have regions."""
        files = [path for path, document in tree.open_json().items() if is_via(document)]
        if not files:
            return None
        images = {path.name for path in tree.images()}
        listed = [name for path in files for name in _entries(path)]
        found = f"VGG Image Annotator: {images_and(len(listed), len(files), 'JSON file')}"
        return Evidence(found, "" if images & set(listed) else "image files of the names that the JSON file lists")

    def records(self) -> list[Record]:
        """List the images of all JSON files of VIA."""
        tree = self.require_root()
        images = {path.name: path for path in reversed(tree.images())}
        beside = {(path.parent, path.name): path for path in tree.images()}
        records: list[Record] = []
        for path in tree.with_suffix(".json"):
            if not is_via(read_json(path)):
                continue
            for place, name in enumerate(_entries(path)):
                image = beside.get((path.parent, name), images.get(name))
                problem = None if image else f"{path}: there is no image {short(name)} below {self.root}: add it."
                records.append(Record(Path(name).stem, image, (path,), problem, place))
        found = [record.image for record in records if record.image is not None]
        names = dict(zip(found, unique_names(found, self.root), strict=True))
        renamed = [
            Record(names[record.image], record.image, record.masks, record.problem, record.index)
            if record.image in names
            else record
            for record in records
        ]
        return self.require_records(renamed)

    def instances(self, record: Record, shape: tuple[int, int], noticed: Counter[str]) -> PackedInstances:
        """Rasterize the regions of an image."""
        path = record.masks[0]
        regions = list(_entries(path).values())[record.index]
        annotations = list(_nuclei(regions, shape, noticed, f"{path} ({record.name})"))
        return PackedInstances.from_annotations(annotations, shape, noticed, path)

    def key(self, record: Record) -> str:
        """Return a digest of the image and of its own regions."""
        own = json.dumps(list(_entries(record.masks[0]).values())[record.index])
        identity = f"via {self.version}\0{self.bits}\0{record.name}\0{hashlib.sha256(own.encode()).hexdigest()}"
        return digest_files(identity, [record.image] if record.image else [])


def _entries(path: Path) -> Mapping[str, list[Region]]:
    """Return the regions of each image of a file by the image's name."""
    status = path.stat()
    return _parse(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=8)  # an image is read at a time, its file not
def _parse(path: Path, *_: int) -> Mapping[str, list[Region]]:
    document = read_json(path)
    if "view" in document and "metadata" in document:
        return _parse_via3(document, path)
    entries = document.get("_via_img_metadata", document)
    found: dict[str, list[Region]] = {}
    for entry in entries.values() if isinstance(entries, dict) else ():
        if not isinstance(entry, dict) or not isinstance(entry.get("filename"), str):
            raise InputError(f"{path} has the entry {short(entry)} without a filename.")
        regions = entry.get("regions") or ()
        listed = found.setdefault(entry["filename"].replace("\\", "/").rpartition("/")[2], [])
        for region in regions.values() if isinstance(regions, dict) else regions:  # VIA 1 has a dictionary
            shape = region.get("shape_attributes") if isinstance(region, dict) else None
            if not isinstance(shape, dict):
                raise InputError(f"{path} has the region {short(region)} without shape_attributes.")
            listed.append((str(shape.get("name")), shape, _class_name(region.get("region_attributes"))))
    return found


def _parse_via3(document: Mapping[str, Any], path: Path) -> Mapping[str, list[Region]]:
    """Read a project of VIA 3: files, views of them, and shapes of the views as flat lists of numbers."""
    try:
        names = {
            str(view): str(document["file"][str(content["fid_list"][0])]["fname"])
            for view, content in document["view"].items()
        }
        found: dict[str, list[Region]] = {name.rpartition("/")[2]: [] for name in names.values()}
        for item in document["metadata"].values():
            numbers = item.get("xy") or [1]
            shape = VIA3_SHAPES.get(int(numbers[0]), "unknown")
            keys = {
                "rect": ("x", "y", "width", "height"),
                "circle": ("cx", "cy", "r"),
                "ellipse": ("cx", "cy", "rx", "ry"),
            }
            attributes = dict(zip(keys.get(shape, ()), numbers[1:], strict=False))
            if shape == "polygon":
                attributes = {"all_points_x": numbers[1::2], "all_points_y": numbers[2::2]}
            found[names[str(item["vid"])].rpartition("/")[2]].append((shape, attributes, _class_name(item.get("av"))))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path} is a project of VIA 3 that lacks a part ({error}): export it again.") from error
    return found


def _class_name(attributes: object) -> str:
    """Return the first attribute with a value: a text, or the option that is checked."""
    for value in attributes.values() if isinstance(attributes, dict) else ():
        if isinstance(value, str) and value:
            return value
        chosen = [str(key) for key, is_chosen in value.items() if is_chosen] if isinstance(value, dict) else []
        if chosen:
            return chosen[0]
    return ""


def _nuclei(regions: list[Region], shape: tuple[int, int], noticed: Counter[str], where: str) -> Iterator[Annotation]:
    for number, (kind, attributes, name) in enumerate(regions, 1):
        place = f"{where}: region {number}"
        if kind in ("point", "line", "polyline"):
            noticed["other_shapes"] += 1
            continue
        try:
            outline = _outline(kind, attributes)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{place} is a {kind} whose numbers are not complete ({error}).") from error
        yield Annotation(fill_outline([outline], shape, noticed, place), name)


def _outline(kind: str, attributes: dict[str, Any]) -> np.ndarray:
    """Return the (P, 2) vertices of a shape; VIA's theta is in radians.

    Raises:
        KeyError, TypeError, ValueError: if it is not complete, or of a kind that is not known.
    """
    if kind == "polygon":
        pairs = zip(attributes["all_points_x"], attributes["all_points_y"], strict=True)
        return np.array([[float(x), float(y)] for x, y in pairs]).reshape(-1, 2)
    if kind == "rect":
        left, top, width, height = (float(attributes[key]) for key in ("x", "y", "width", "height"))
        return rectangle(left, top, left + width, top + height)
    if kind in ("circle", "ellipse"):
        center = [float(attributes[key]) for key in ("cx", "cy")]
        radii = [float(attributes[key]) for key in (("r", "r") if kind == "circle" else ("rx", "ry"))]
        return ellipse(center, radii, float(attributes.get("theta", 0)))
    raise ValueError("polygon, rect, circle and ellipse are read")
