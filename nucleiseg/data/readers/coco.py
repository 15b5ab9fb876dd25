"""COCO JSON with image files beside it: COCO, LIVECell, CVAT, Roboflow and what they export.

    ROOT/annotations.json               {"images": [...], "annotations": [...], "categories": [...]}, several are joined
    ROOT/**/FILE_NAME                   the images, in whatever folder

Polygons are rasterized by pycocotools' rule, as in COCO's own evaluation.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from nucleiseg.data.readers.annotated import AnnotatedReader, Annotation, PackedInstances
from nucleiseg.data.readers.base import Record, digest_files
from nucleiseg.data.readers.outlines import read_color
from nucleiseg.data.readers.recognition import Evidence, Tree, images_and
from nucleiseg.errors import InputError, raise_problems, short, some
from nucleiseg.foreign_files import read_json, whole_number
from nucleiseg.progress import counted, echo
from nucleiseg.rle import decode_crop
from nucleiseg.segmentations import to_rle
from nucleiseg.settings import settings
from nucleiseg.structures import Color

CROWD = (1, "1", True)
"""Values of "iscrowd" of a region in which nuclei are not separated."""


@dataclass(frozen=True)
class Document:
    """A COCO file.

    Attributes:
        images: the entries of its images.
        annotations: image id -> (place in the file, entry) of each annotation.
        names: category id -> name.
        colors: category id -> color, of categories that have one (COCO's panoptic files).
    """

    images: list[dict[str, Any]]
    annotations: Mapping[object, list[tuple[int, dict[str, Any]]]]
    names: Mapping[object, str]
    colors: Mapping[object, Color]


def is_coco(document: object) -> bool:
    """Return whether parsed JSON has images and annotations; LIVECell's annotations of one class are a dictionary."""
    return (
        isinstance(document, dict)
        and isinstance(document.get("images"), list)
        and isinstance(document.get("annotations"), list | dict)
    )


@settings
class CocoReader(AnnotatedReader):
    """Reads images with the annotations of COCO files.

    Crowd regions are ignore regions. An image file that several entries name is read with the first of them.

    Attributes:
        root: the folder with the JSON files and the images, or one JSON file.
    """

    layout: ClassVar[str] = 'a COCO JSON file ("images", "annotations", "categories") and its images'

    @classmethod
    def recognize(cls, tree: Tree) -> Evidence | None:
        """Look for JSON files with images and annotations."""
        documents = [document for document in tree.open_json().values() if is_coco(document)]
        if not documents:
            return None
        images = sum(len(document["images"]) for document in documents)
        found = f"COCO JSON: {images_and(images, sum(len(d['annotations']) for d in documents), 'annotation')}"
        folder = Tree.of(tree.root.parent) if tree.root.is_file() else tree
        return Evidence(found, "" if folder.images() else "image files beside the JSON file")

    def records(self) -> list[Record]:
        """List the images of all COCO files.

        Raises:
            InputError: if the root does not exist, or has no COCO file.
        """
        tree = self.require_root()
        files = [path for path in tree.with_suffix(".json") if is_coco(read_json(path))]
        folder = self.root.parent if self.root.is_file() else self.root
        index: dict[str, list[Path]] = {}
        for path in Tree.of(folder).images():
            index.setdefault(path.name, []).append(path)
        records: list[Record] = []
        repeated = 0
        seen: set[Path] = set()
        for path in files:
            for place, entry in enumerate(_load(path).images):
                record = _find_image(entry, place, path, index)
                if record.image in seen:
                    repeated += 1
                    continue
                if record.image is not None:
                    seen.add(record.image)
                records.append(record)
        if repeated:
            entries = counted(repeated, "image entry", "image entries")
            echo(f"Warning: skipped {entries} of image files that are listed already.")
        return self.require_records(_with_unique_names(records, folder))

    def instances(self, record: Record, shape: tuple[int, int], noticed: Counter[str]) -> PackedInstances:
        """Rasterize the annotations of an image."""
        document, entry = self._entry(record)
        size = whole_number(entry.get("height")), whole_number(entry.get("width"))
        if None not in size and size != shape:
            raise InputError(
                f"{record.image} has {shape[1]} x {shape[0]} pixels (width x height), its entry in {record.masks[0]} "
                f"{size[1]} x {size[0]}: take the annotations of this image."
            )
        problems: list[str] = []
        annotations = list(_annotations(document, entry, shape, f"{record.masks[0]}", problems))
        raise_problems(problems)
        return PackedInstances.from_annotations(annotations, shape, noticed, record.masks[0])

    def key(self, record: Record) -> str:
        """Return a digest of the image and of its own entries, so that other images' annotations do not count."""
        document, entry = self._entry(record)
        content = [entry, document.annotations.get(_id(entry), []), sorted(document.names.items(), key=str)]
        own = json.dumps([*content, *([sorted(document.colors.items(), key=str)] if document.colors else [])])
        identity = f"coco {self.version}\0{self.bits}\0{record.name}\0{hashlib.sha256(own.encode()).hexdigest()}"
        return digest_files(identity, [record.image] if record.image else [])

    def _entry(self, record: Record) -> tuple[Document, dict[str, Any]]:
        document = _load(record.masks[0])
        return document, document.images[record.index]


def _load(path: Path) -> Document:
    status = path.stat()
    return _parse(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=8)  # an image is read at a time, its file not
def _parse(path: Path, *_: int) -> Document:
    document = read_json(path)
    if not is_coco(document):
        raise InputError(f'{path} is not a COCO file with "images" and "annotations".')
    listed = document["annotations"]
    grouped: dict[object, list[tuple[int, dict[str, Any]]]] = {}
    for place, entry in enumerate(listed.values() if isinstance(listed, dict) else listed, 1):
        if isinstance(entry, dict):
            grouped.setdefault(_id({"id": entry.get("image_id")}), []).append((place, entry))
    listed_categories = document.get("categories")
    categories = [
        item for item in (listed_categories if isinstance(listed_categories, list) else []) if isinstance(item, dict)
    ]
    names = {_id(item): str(item.get("name", item.get("id"))) for item in categories}
    colors = {_id(item): color for item in categories if (color := read_color(item.get("color"))) is not None}
    images = [entry for entry in document["images"] if isinstance(entry, dict)]
    known = {_id(entry) for entry in images}
    if unknown := sum(len(items) for number, items in grouped.items() if number not in known):
        echo(f"Warning: {path} has {counted(unknown, 'annotation')} of images that it does not list.")
    return Document(images, grouped, names, colors)


def _id(entry: Mapping[str, Any]) -> object:
    """Return an id as a whole number where it is one (7.0 is 7), else as text."""
    number = whole_number(entry.get("id"))
    return number if number is not None else str(entry.get("id"))


def _find_image(entry: Mapping[str, Any], place: int, path: Path, index: Mapping[str, list[Path]]) -> Record:
    """Find the file of an entry by its name; its folders decide between files of one name."""
    file_name = entry.get("file_name")
    parts = tuple(part for part in str(file_name).replace("\\", "/").split("/") if part not in ("", "."))
    name = Path(parts[-1]).stem if parts else str(entry.get("id"))
    candidates = index.get(parts[-1], []) if parts and isinstance(file_name, str) else []
    for depth in range(min(len(parts), 8), 1, -1):  # the longest tail of the path that one file has
        fitting = [found for found in candidates if found.parts[-depth:] == parts[-depth:]]
        candidates = fitting or candidates
    if len(candidates) > 1:  # train/1.png and val/1.png for train.json
        hinted = [found for found in candidates if set(found.parent.parts[-2:]) & {path.stem, path.parent.name}]
        candidates = hinted or candidates
    problem = None
    if not candidates:
        problem = f"{path}: image {place + 1} has the file_name {short(file_name)}, which is not below {path.parent}."
    elif len(candidates) > 1:
        problem = f"{path}: the file_name {short(file_name)} fits {some(candidates)}: write folders into file_name."
    return Record(name, None if problem else candidates[0], (path,), problem, place)


def _with_unique_names(records: list[Record], root: Path) -> list[Record]:
    """Put the folders before the names of images that share one."""
    count = Counter(record.name for record in records)
    named = []
    for record in records:
        name = record.name
        if count[name] > 1 and record.image is not None:
            name = "_".join(record.image.relative_to(root).with_suffix("").parts)
        named.append(Record(name, record.image, record.masks, record.problem, record.index))
    return named


def _annotations(
    document: Document,
    entry: Mapping[str, Any],
    shape: tuple[int, int],
    where: str,
    problems: list[str],
) -> Iterator[Annotation]:
    """Yield nuclei and crowd regions of an image, adding a sentence to `problems` for each that is not sound."""
    for place, item in document.annotations.get(_id(entry), []):
        try:
            rle = to_rle(item.get("segmentation"), *shape)
            crop = None if rle is None else decode_crop(rle)
        except ValueError as error:
            problems.append(f"{where}: annotation {place} {error} (image {short(entry.get('file_name'))}).")
            continue
        category = _id({"id": item.get("category_id")})
        name = document.names.get(category, str(item.get("category_id")))
        number = category if isinstance(category, int) else None
        yield Annotation(crop, name, item.get("iscrowd") in CROWD, number, document.colors.get(category))
