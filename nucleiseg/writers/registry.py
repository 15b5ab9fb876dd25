"""The output formats of a prediction: the values of `write=`, their writers and the names of their files.

A new format is a file with a `Writer` and one line here. This module imports none of them, so that reading a folder of
results does not load what writes them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from nucleiseg.errors import InputError

if TYPE_CHECKING:
    from nucleiseg.writers.base import Writer


@dataclass(frozen=True)
class Format:
    """An output format.

    Attributes:
        writer: its `Writer`, as "module:class".
        files: names of the files of all images.
        folder: folder of the files that each image has one of; None if it has none.
        suffix: end of their names, after the image's name.
        is_store: whether each of them is a folder of files.
    """

    writer: str
    files: tuple[str, ...] = ()
    folder: str | None = None
    suffix: str = ""
    is_store: bool = False


FORMATS: Mapping[str, Format] = {
    "coco": Format("nucleiseg.writers.submission:CocoWriter", files=("answer.json", "answer.zip")),
    "overlays": Format("nucleiseg.writers.overlay:OverlayWriter", folder="overlays", suffix=".png"),
    "geojson": Format("nucleiseg.writers.geojson:GeoJSONWriter", folder="geojson", suffix=".geojson"),
    "geojson.gz": Format("nucleiseg.writers.geojson:GeoJSONWriter", folder="geojson", suffix=".geojson.gz"),
    "labels": Format("nucleiseg.writers.label_images:LabelImageWriter", folder="labels", suffix="_labels.tif"),
    "vrdl2025": Format("nucleiseg.writers.submission:Vrdl2025Writer", files=("test-results.json", "test-results.zip")),
    "csv": Format("nucleiseg.writers.nucleus_tables:TableWriter", ("images.csv",), folder="nuclei", suffix=".csv"),
    "zarr": Format("nucleiseg.writers.ome_zarr_labels:ZarrWriter", folder="zarr", suffix=".zarr", is_store=True),
}

DEFAULT_FORMATS = ("coco", "overlays")


def check_formats(names: Sequence[str]) -> None:
    """Refuse formats that do not exist.

    Raises:
        InputError: with a sentence for each.
    """
    unknown = [name for name in names if name not in FORMATS]
    if unknown:
        raise InputError([f"write has {name!r}; it accepts a list of {', '.join(FORMATS)}." for name in unknown])


def make_writers(names: Sequence[str]) -> "dict[str, Writer]":
    """Make the writer of each format, by the format's name.

    Raises:
        InputError: for a format that does not exist, or whose package is not installed.
    """
    check_formats(names)
    writers = {}
    for name in dict.fromkeys(names):
        module, _, cls = FORMATS[name].writer.partition(":")
        writers[name] = getattr(import_module(module), cls)()
    return writers
