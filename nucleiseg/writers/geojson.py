"""`write=[geojson]`: the nuclei of an image as detections that QuPath 0.4 to 0.8 imports, with class and measurements.

Outlines follow pixel edges (`writers.outlines`), in level-0 pixels, y down. QuPath reads `objectType` from a feature's
properties (without it 100,000 nuclei arrive as annotations), keeps an `id` that is a UUID, and takes a class by name
with its color as [r, g, b] (its sources: QuPathTypeAdapters, GsonTools, ROITypeAdapters).
"""

import gzip
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from io import TextIOWrapper
from itertools import repeat
from math import isfinite
from pathlib import Path
from typing import IO, Any

from nucleiseg.files import atomic_path
from nucleiseg.rle import Crop
from nucleiseg.structures import Color
from nucleiseg.writers.base import Nucleus, PredictedImage, Record, Writer
from nucleiseg.writers.counts import nuclei_per_mm2
from nucleiseg.writers.outlines import Polygon, trace
from nucleiseg.writers.shape import Shape
from nucleiseg.writers.stains import Stains

LEVEL = 6
"""Of the compression: a few per cent larger than at 9, in a third of the time."""

DIGITS = 4
"""Digits after the point of measurements."""

IGNORE_CLASS, IGNORE_COLOR = "Ignore*", [180, 180, 180]
"""QuPath's own class of regions that are not to be measured, and its color there."""

NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
"""Gson's texts of numbers that JSON does not have."""


class GeoJSONWriter(Writer):
    """A FeatureCollection an image, a feature a line; compressed where the file ends in `.gz`."""

    def write_image(self, path: Path, image: PredictedImage) -> Record:
        """Write the nuclei of one image; memory holds one feature at a time."""
        features = (
            to_feature(nucleus, image.class_name(nucleus.label), image.class_color(nucleus.label), image.mpp, stains)
            for nucleus, stains in zip(image.nuclei, image.stains or repeat(None), strict=False)
        )
        write_features(path, features, density_properties(len(image.nuclei), image.prediction.size, image.mpp))
        return None


def density_properties(count: int, size: tuple[int, int], mpp: float | None) -> dict[str, float]:
    """Return the number and the density of an image's nuclei; empty where micrometers per pixel are not known.

    Args:
        count: number of nuclei.
        size: (height, width) of the image in pixels.
        mpp: micrometers per pixel.
    """
    if mpp is None:
        return {}
    return {"nuclei": count, "nuclei_per_mm2": nuclei_per_mm2(count, size, mpp), "um_per_px": mpp}


def write_features(path: Path, features: Iterable[dict[str, Any]], properties: Mapping[str, float]) -> None:
    """Write a FeatureCollection, one feature a line, whole or not at all; compressed if the file ends in `.gz`.

    Args:
        path: the file.
        features: taken one at a time.
        properties: of the image, a foreign member of the collection (RFC 7946, section 6.1), which QuPath passes over.
    """
    with open_features(path, properties) as add:
        for feature in features:
            add(feature)


@contextmanager
def open_features(path: Path, properties: Mapping[str, float]) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Write a FeatureCollection as features come, see `write_features`.

    Yields:
        A function that appends a feature.
    """
    with atomic_path(path) as temporary, _open(temporary) as handle:
        head = f'"properties":{json.dumps(properties, separators=(",", ":"))},' if properties else ""
        handle.write(f'{{"type":"FeatureCollection",{head}"features":[')
        separator = "\n"

        def add(feature: dict[str, Any]) -> None:
            nonlocal separator
            handle.write(separator + json.dumps(feature, ensure_ascii=False, separators=(",", ":")))
            separator = ",\n"

        yield add
        handle.write("\n]}\n")


def to_feature(
    nucleus: Nucleus, class_name: str, color: Color, mpp: float | None, stains: Stains | None = None
) -> dict[str, Any]:
    """Return a detected nucleus as a GeoJSON feature for QuPath.

    Args:
        nucleus: the nucleus.
        class_name: name of its class.
        color: color of its class.
        mpp: micrometers per pixel; None gives measurements in pixels.
        stains: its optical densities; None: not measured.
    """
    measurements = measure_nucleus(nucleus.shape, mpp, stains) | {"Detection probability": round(nucleus.score, DIGITS)}
    return make_feature(nucleus.id, nucleus.crop, class_name, color, measurements)


def make_feature(
    identity: str, crop: Crop, class_name: str, color: Color, measurements: Mapping[str, float]
) -> dict[str, Any]:
    """Return the outline of a nucleus as a GeoJSON feature for QuPath.

    Args:
        identity: a UUID.
        crop: its pixels, at least one.
        class_name: the name of its class.
        color: the color of its class.
        measurements: columns of QuPath's table. Those that are not finite are written as texts ("NaN"), which QuPath
            reads as numbers; JSON has no other way.
    """
    return {
        "type": "Feature",
        "id": identity,
        "geometry": to_geometry(trace(crop.mask, crop.row, crop.column)),
        "properties": {
            "objectType": "detection",
            "classification": {"name": class_name, "color": list(color)},
            "measurements": {
                name: value if isfinite(value) else NOT_FINITE[str(value)] for name, value in measurements.items()
            },
        },
    }


def make_ignore_region(identity: str, crop: Crop) -> dict[str, Any]:
    """Return an ignore region as a QuPath annotation of the class `Ignore*`.

    Args:
        identity: a UUID.
        crop: its pixels, at least one.
    """
    return {
        "type": "Feature",
        "id": identity,
        "geometry": to_geometry(trace(crop.mask, crop.row, crop.column)),
        "properties": {"objectType": "annotation", "classification": {"name": IGNORE_CLASS, "color": IGNORE_COLOR}},
    }


def to_geometry(polygons: list[Polygon]) -> dict[str, Any]:
    """Return polygons as a Polygon or MultiPolygon whose rings are closed: their first point is repeated."""
    coordinates = [[[list(point) for point in [*ring, ring[0]]] for ring in polygon] for polygon in polygons]
    if len(coordinates) == 1:
        return {"type": "Polygon", "coordinates": coordinates[0]}
    return {"type": "MultiPolygon", "coordinates": coordinates}


def measure_nucleus(shape: Shape, mpp: float | None, stains: Stains | None = None) -> dict[str, float]:
    """Return what QuPath shows in its table, under the names that it uses itself where it has one.

    Args:
        shape: of the nucleus, in pixels.
        mpp: micrometers per pixel; None gives measurements in pixels.
        stains: mean optical densities of the nucleus; None leaves them out.
    """
    unit, size = ("px", 1.0) if mpp is None else ("µm", mpp)
    values = {
        f"Area {unit}^2": shape.area * size**2,
        f"Perimeter {unit}": shape.perimeter * size,
        "Circularity": shape.circularity,
        "Eccentricity": shape.eccentricity,
        "Solidity": shape.solidity,
    }
    if stains is not None:
        values |= {"Hematoxylin OD mean": stains.hematoxylin, "Eosin OD mean": stains.eosin}
    return {name: round(value, DIGITS) for name, value in values.items()}


@contextmanager
def _open(path: Path) -> Iterator[IO[str]]:
    """Open a file for UTF-8 text with Unix line ends, compressed (without a time) if it ends in `.gz`."""
    with ExitStack() as stack:
        binary: Any = stack.enter_context(path.open("wb"))
        if path.suffix == ".gz":
            binary = stack.enter_context(
                gzip.GzipFile(filename="", mode="wb", compresslevel=LEVEL, fileobj=binary, mtime=0)
            )
        yield stack.enter_context(TextIOWrapper(binary, encoding="utf-8", errors="backslashreplace", newline="\n"))
