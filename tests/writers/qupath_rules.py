"""QuPath's rules for importing GeoJSON, 0.4 to 0.8: raises where QuPath would, or would import something else.

After its sources: PathIO (file), QuPathTypeAdapters (features), ROITypeAdapters (geometry), GsonTools (numbers).
"""

import gzip
import json
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn
from uuid import UUID

import numpy as np
from shapely import from_geojson, is_valid, set_precision
from shapely.geometry.base import BaseGeometry

OBJECT_TYPES = ("detection", "annotation", "cell", "tile")


def read_qupath(path: Path) -> list[dict[str, Any]]:
    """Read the features of a file.

    Raises:
        ValueError: for anything that QuPath refuses, drops or takes for something else.
    """
    text = gzip.decompress(path.read_bytes()) if path.name.endswith(".gz") else path.read_bytes()
    if not path.name.endswith((".geojson", ".json", ".geojson.gz", ".json.gz")):
        raise ValueError(f"QuPath does not know the extension of {path.name}")
    document = json.loads(text.decode("utf-8"), parse_constant=_refuse)
    if document["type"] != "FeatureCollection":
        raise ValueError("not a FeatureCollection")
    for feature in document["features"]:
        check_feature(feature)
    ids = [feature["id"] for feature in document["features"]]
    if len(set(ids)) < len(ids):
        raise ValueError("an id occurs twice")
    return document["features"]


def check_feature(feature: dict[str, Any]) -> None:
    if feature["type"] != "Feature":
        raise ValueError("not a Feature")
    UUID(feature["id"])  # anything else is dropped
    properties = feature["properties"]
    if properties.get("objectType") not in OBJECT_TYPES:
        raise ValueError("without a known objectType in properties, an annotation is made")
    if "objectType" in feature:
        raise ValueError("objectType belongs into properties")
    classification = properties.get("classification")
    if isinstance(classification, dict):
        if not isinstance(classification["name"], str) or not _is_color(classification["color"]):
            raise ValueError("a classification needs a name and a color [r, g, b]")
    elif not isinstance(classification, str | None):
        raise ValueError("a classification is an object, a name or null")
    for name, value in properties.get("measurements", {}).items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not isinstance(name, str) or not (is_number or value in ("NaN", "Infinity", "-Infinity")):
            raise ValueError(f"measurement {name} is {value!r}")
    for name, value in properties.get("metadata", {}).items():
        if not isinstance(value, str):
            raise ValueError(f"metadata {name} is no text")
    check_geometry(feature["geometry"])


def check_geometry(geometry: dict[str, Any]) -> BaseGeometry:
    """Return the geometry as QuPath gets it, rounded to 0.01; refuse what is empty or not valid."""
    if geometry["type"] not in ("Polygon", "MultiPolygon"):
        raise ValueError(f"a nucleus is no {geometry['type']}")
    coordinates = geometry["coordinates"]
    for polygon in coordinates if geometry["type"] == "MultiPolygon" else [coordinates]:
        for ring in polygon:
            if len(ring) < 4 or ring[0] != ring[-1]:
                raise ValueError("a ring is not closed")
    shape = from_geojson(json.dumps(geometry))
    rounded = set_precision(shape, 0.01, mode="pointwise")
    if shape.is_empty or not is_valid(rounded):
        raise ValueError("empty, or not valid after rounding")
    return rounded


def rasterize(geometry: dict[str, Any], height: int, width: int) -> np.ndarray:
    """Return the pixels whose centers lie in a geometry, by the even-odd rule over all of its rings."""
    polygons = geometry["coordinates"] if geometry["type"] == "MultiPolygon" else [geometry["coordinates"]]
    inside = np.zeros((height, width), dtype=bool)
    for ring in (ring for polygon in polygons for ring in polygon):
        for (x1, y1), (x2, y2) in pairwise(ring):
            if x1 == x2:  # a vertical edge flips all pixels to its right
                inside[min(y1, y2) : max(y1, y2), x1:] ^= True
    return inside


def _is_color(value: object) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(type(v) is int and 0 <= v <= 255 for v in value)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
