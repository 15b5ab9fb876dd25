"""QuPath's GeoJSON, a file of the image's name: PUMA's and everybody's own annotations.

    ROOT/**/NAME.tif        ROOT/**/NAME.geojson (or NAME_nuclei.geojson, NAME.json)

Where a file has detections or cells, they are the nuclei, and annotations are regions around them. Coordinates are
pixels of the image at full resolution.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from nucleiseg.data.readers.annotated import AnnotatedReader, Annotation, PackedInstances
from nucleiseg.data.readers.base import Record
from nucleiseg.data.readers.outlines import fill_outline, points_of, read_color
from nucleiseg.data.readers.pairs import pair_by_stem
from nucleiseg.data.readers.polygons import union
from nucleiseg.data.readers.recognition import Evidence, Tree, images_and
from nucleiseg.errors import InputError, short
from nucleiseg.foreign_files import read_json
from nucleiseg.rle import Crop
from nucleiseg.settings import settings
from nucleiseg.structures import Color

GEOMETRIES = ("Polygon", "MultiPolygon", "Point", "MultiPoint", "LineString", "MultiLineString", "GeometryCollection")

NUCLEI = ("detection", "cell")
"""QuPath's `objectType` of nuclei, beside which an annotation is a region."""


def is_geojson(document: object) -> bool:
    """Return whether parsed JSON is a FeatureCollection, a list of features, one feature or a bare geometry."""
    if isinstance(document, list):
        return bool(document) and all(isinstance(item, dict) and "geometry" in item for item in document[:5])
    if not isinstance(document, dict):
        return False
    return isinstance(document.get("features"), list) or document.get("type") in ("Feature", *GEOMETRIES)


@settings
class GeoJsonReader(AnnotatedReader):
    """Reads images with QuPath's objects; those of a class that begins with `Ignore` are ignore regions."""

    layout: ClassVar[str] = "NAME.tif and NAME.geojson (QuPath) of equal names"

    @classmethod
    def recognize(cls, tree: Tree) -> Evidence | None:
        """Look for JSON files with features and images of their names."""
        files = tree.with_suffix(".geojson", ".json")
        opened = tree.open_json()
        if not opened or not any(is_geojson(document) for document in opened.values()):
            return None
        stems = [path.stem for path in tree.images()]
        images = [stem for stem in stems if any(path.name.startswith(stem) for path in files)]
        found = f"QuPath GeoJSON: {images_and(len(images), len(files), 'GeoJSON file')}"
        return Evidence(found, "" if images else "images of the GeoJSON files' names")

    def records(self) -> list[Record]:
        """List the images that have a GeoJSON file; others are named."""
        tree = self.require_root()
        files = [path for path in tree.with_suffix(".geojson", ".json") if is_geojson(read_json(path))]
        return self.require_records(pair_by_stem(files, tree.images(), self.root, "GeoJSON file"))

    def instances(self, record: Record, shape: tuple[int, int], noticed: Counter[str]) -> PackedInstances:
        """Rasterize the nuclei."""
        (path,) = record.masks
        return PackedInstances.from_annotations(_nuclei(path, shape, noticed), shape, noticed, path)


def _features(document: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    """Return the features of any of GeoJSON's forms."""
    if isinstance(document, dict):
        listed = document.get("features")
        document = listed if isinstance(listed, list) else [document]
    features = [item for item in document if isinstance(item, dict)]
    return [item if "geometry" in item else {"geometry": item} for item in features]


def _nuclei(path: Path, shape: tuple[int, int], noticed: Counter[str]) -> Iterator[Annotation]:
    features = _features(read_json(path))
    kinds = [_object_type(feature) for feature in features]
    has_nuclei = any(kind in NUCLEI for kind in kinds)
    for number, (feature, kind) in enumerate(zip(features, kinds, strict=True), 1):
        name = _class_name(feature)
        if has_nuclei and kind not in NUCLEI and not name.lower().startswith("ignore"):
            noticed["regions"] += 1
        else:
            geometry = feature.get("nucleusGeometry") or feature.get("geometry")
            polygons = _polygons(geometry, f"{path}: feature {number}")
            if polygons is None:
                noticed["other_shapes"] += 1
                continue
            filled = [fill_outline(rings, shape, noticed, f"{path}: feature {number}") for rings in polygons]
            parts = [crop for crop in filled if crop is not None]
            is_ignored = name.lower().startswith("ignore")
            crop = union(parts) if parts else None
            yield Annotation(crop, "" if is_ignored else name, is_ignored, color=_class_color(feature))


def _polygons(geometry: Any, where: str) -> list[list[np.ndarray]] | None:  # noqa: ANN401
    """Return the rings of each polygon of a geometry; None for points and lines.

    Raises:
        InputError: if it is not a geometry.
    """
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    if kind not in GEOMETRIES:
        raise InputError(f"{where} has the geometry {short(geometry)}; it accepts a Polygon or MultiPolygon.")
    if kind not in ("Polygon", "MultiPolygon"):
        return None
    coordinates = geometry.get("coordinates")
    polygons = [coordinates] if kind == "Polygon" else coordinates
    if not isinstance(polygons, list) or not all(isinstance(rings, list) for rings in polygons):
        raise InputError(f"{where} has coordinates that are not lists of rings.")
    return [[points_of(ring, where) for ring in rings] for rings in polygons]


def _object_type(feature: dict[str, Any]) -> str:
    """Return QuPath's type of an object under one of its names; TIAToolbox writes it beside the properties."""
    properties = feature.get("properties")
    for place in (properties if isinstance(properties, dict) else {}, feature):
        for key in ("objectType", "object_type"):
            if isinstance(place.get(key), str):
                return str(place[key]).lower()
    return "annotation"


def _class_name(feature: dict[str, Any]) -> str:
    """Return the name of an object's class: a text, {"name": ...} or {"names": [...]} in QuPath."""
    properties = feature.get("properties")
    value = properties.get("classification") if isinstance(properties, dict) else None
    if isinstance(value, dict):
        names = value.get("names")
        value = value.get("name") or (": ".join(map(str, names)) if isinstance(names, list) else None)
    return value if isinstance(value, str) else ""


def _class_color(feature: dict[str, Any]) -> Color | None:
    """Return the color of an object's class: `color` since QuPath 0.4, `colorRGB` before."""
    properties = feature.get("properties")
    value = properties.get("classification") if isinstance(properties, dict) else None
    return read_color(value.get("color", value.get("colorRGB"))) if isinstance(value, dict) else None


@dataclass(frozen=True)
class QuPathObject:
    """An object of a GeoJSON file with an area in its image.

    Attributes:
        id: its id; empty where the file has none.
        name: the name of its class; empty where it has none.
        crop: its pixels.
    """

    id: str
    name: str
    crop: Crop


def read_objects(path: Path, shape: tuple[int, int]) -> list[QuPathObject]:
    """Read the objects of a file with their ids: detections, cells and annotations alike.

    Points, lines, objects without a pixel, and those of a class that begins with `Ignore` are left out.

    Args:
        path: the GeoJSON file.
        shape: (H, W) of the image.

    Raises:
        InputError: if the file is not GeoJSON, or a geometry is not one.
    """
    document = read_json(path)
    if not is_geojson(document):
        raise InputError(f"{path} is not GeoJSON: it accepts a FeatureCollection, as QuPath exports objects.")
    objects = []
    for number, feature in enumerate(_features(document), 1):
        name, where = _class_name(feature), f"{path}: feature {number}"
        polygons = _polygons(feature.get("nucleusGeometry") or feature.get("geometry"), where)
        filled = [fill_outline(rings, shape, Counter(), where) for rings in polygons or []]
        parts = [crop for crop in filled if crop is not None]
        if parts and not name.lower().startswith("ignore"):
            objects.append(QuPathObject(str(feature.get("id") or ""), name, union(parts)))
    return objects
