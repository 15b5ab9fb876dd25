"""QuPath's GeoJSON, a file of the image's name: PUMA's and everybody's own annotations.

    ROOT/**/NAME.tif        ROOT/**/NAME.geojson (or NAME_nuclei.geojson, NAME.geojson.gz, NAME.json)

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


SUFFIXES = (".geojson", ".json", ".geojson.gz")


def geojson_files(tree: Tree) -> list[Path]:
    """Return the GeoJSON files of a folder; of a file and its compressed copy the file alone."""
    files = tree.with_suffix(*SUFFIXES)
    copies = {path for path in files if path.suffix.lower() == ".gz" and path.with_suffix("") in files}
    return [path for path in files if path not in copies and is_geojson(read_json(path))]


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
        files = tree.with_suffix(*SUFFIXES)
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
        return self.require_records(pair_by_stem(geojson_files(tree), tree.images(), self.root, "GeoJSON file"))

    def instances(self, record: Record, shape: tuple[int, int], noticed: Counter[str]) -> PackedInstances:
        """Rasterize the nuclei."""
        (path,) = record.masks
        return PackedInstances.from_annotations(_nuclei(path, shape, noticed), shape, noticed, path)


def features_of(document: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    """Return the features of any of GeoJSON's forms."""
    if isinstance(document, dict):
        listed = document.get("features")
        document = listed if isinstance(listed, list) else [document]
    features = [item for item in document if isinstance(item, dict)]
    return [item if "geometry" in item else {"geometry": item} for item in features]


def _nuclei(path: Path, shape: tuple[int, int], noticed: Counter[str]) -> Iterator[Annotation]:
    features = features_of(read_json(path))
    has_nuclei = any(_object_type(feature) in NUCLEI for feature in features)
    for number, feature in enumerate(features, 1):
        is_ignored = is_ignore_class(class_name(feature))
        if has_nuclei and _object_type(feature) not in NUCLEI and not is_ignored:
            noticed["regions"] += 1
        elif (crops := _fill(feature, shape, noticed, f"{path}: feature {number}")) is not None:
            name = "" if is_ignored else class_name(feature)
            yield Annotation(union(crops) if crops else None, name, is_ignored, color=_class_color(feature))


def _fill(feature: dict[str, Any], shape: tuple[int, int], noticed: Counter[str], where: str) -> list[Crop] | None:
    """Return the pixels of each polygon of a feature that has some; None (and a warning) for points and lines."""
    polygons = _polygons(feature.get("nucleusGeometry") or feature.get("geometry"), where)
    if polygons is None:
        noticed["other_shapes"] += 1
        return None
    filled = [fill_outline(rings, shape, noticed, where) for rings in polygons]
    return [crop for crop in filled if crop is not None]


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


def read_polygons(path: Path) -> list[list[np.ndarray]]:
    """Read the areas of a file, whatever objects they are; points and lines are left out.

    Returns:
        For each polygon its rings, the shell first, then holes: (P, 2) x, y in pixels.

    Raises:
        InputError: if the file is not GeoJSON, or a geometry is not one.
    """
    document = read_json(path)
    if not is_geojson(document):
        raise InputError(f"{path} is not GeoJSON: it accepts a FeatureCollection, as QuPath exports objects.")
    features = enumerate(features_of(document), 1)
    return [
        polygon
        for number, feature in features
        for polygon in _polygons(feature.get("geometry"), f"{path}: feature {number}") or []
    ]


def _object_type(feature: dict[str, Any]) -> str:
    """Return QuPath's type of an object under one of its names; TIAToolbox writes it beside the properties."""
    properties = feature.get("properties")
    for place in (properties if isinstance(properties, dict) else {}, feature):
        for key in ("objectType", "object_type"):
            if isinstance(place.get(key), str):
                return str(place[key]).lower()
    return "annotation"


def is_ignore_class(name: str) -> bool:
    """Return whether a class is that of ignore regions: QuPath's `Ignore*`, and others that begin so."""
    return name.lower().startswith("ignore")


def own_name(feature: dict[str, Any]) -> str:
    """Return the name that a user gave an object; empty where there is none."""
    properties = feature.get("properties")
    name = properties.get("name") if isinstance(properties, dict) else None
    return name if isinstance(name, str) else ""


def class_name(feature: dict[str, Any]) -> str:
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
        title: its own name, which QuPath shows beside the class; empty where it has none.
        color: of its class; None where the file has none.
    """

    id: str
    name: str
    crop: Crop
    title: str = ""
    color: Color | None = None


def read_objects(path: Path, shape: tuple[int, int], noticed: Counter[str] | None = None) -> list[QuPathObject]:
    """Read the objects of a file with their ids: detections, cells and annotations alike, regions included.

    Points, lines and objects without a pixel are left out.

    Args:
        path: the GeoJSON file.
        shape: (H, W) of the image.
        noticed: counts warnings; None: they are not counted.

    Raises:
        InputError: if the file is not GeoJSON, or a geometry is not one.
    """
    document = read_json(path)
    if not is_geojson(document):
        raise InputError(f"{path} is not GeoJSON: it accepts a FeatureCollection, as QuPath exports objects.")
    noticed = Counter() if noticed is None else noticed
    objects = []
    for number, feature in enumerate(features_of(document), 1):
        crops = _fill(feature, shape, noticed, f"{path}: feature {number}")
        if crops:
            identity, name, title = str(feature.get("id") or ""), class_name(feature), own_name(feature)
            objects.append(QuPathObject(identity, name, union(crops), title, _class_color(feature)))
        elif crops is not None:
            noticed["invalid"] += 1
    return objects
