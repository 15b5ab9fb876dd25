"""Corrected GeoJSON as a training set: nuclei of reviewed regions, and ignore regions everywhere else."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reader_files import SHAPE, assert_masks, box, corners, read_all, write_image

from nucleiseg.data.cache import SampleCache, load_all
from nucleiseg.data.readers.auto import AutoReader
from nucleiseg.data.readers.corrections import CorrectionsReader
from nucleiseg.data.readers.geojson import GeoJsonReader
from nucleiseg.errors import InputError


def square(
    *sides: float, kind: str = "annotation", classification: str | None = None, name: str = ""
) -> dict[str, Any]:
    ring = [*corners(*sides), corners(*sides)[0]]
    properties = {"objectType": kind, "classification": classification} | ({"name": name} if name else {})
    return {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}, "properties": properties}


OBJECTS = [
    square(2, 3, 8, 9, kind="detection"),  # reviewed
    square(10, 3, 14, 9),  # drawn by the user
    square(14, 12, 18, 20, kind="cell"),  # three quarters of it are outside
    square(2, 22, 6, 26, kind="detection"),  # not reviewed
    square(3, 10, 6, 12, classification="Ignore*"),
]


def write(root: Path, name: str, objects: list[dict[str, Any]]) -> None:
    root.mkdir(exist_ok=True)
    text = json.dumps({"type": "FeatureCollection", "features": objects}).encode()
    (root / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)


@pytest.mark.parametrize("region", [{"classification": "reviewed"}, {"name": "Reviewed by Ada"}])
@pytest.mark.parametrize("file", ["a.geojson", "a.geojson.gz"])
def test_only_reviewed_regions_count(tmp_path: Path, region: dict[str, str], file: str) -> None:
    write_image(tmp_path / "a.tif")
    write(tmp_path, file, [*OBJECTS, square(0, 0, 15, 18, **region)])
    sample = read_all(CorrectionsReader(root=tmp_path))["a"]
    assert_masks(sample, [box(2, 3, 8, 9), box(10, 3, 14, 9)])
    assert sample.ignore is not None
    outside = ~box(0, 0, 15, 18) | box(14, 12, 18, 20) | box(3, 10, 6, 12)
    np.testing.assert_array_equal(sample.ignore.plane, outside)
    assert (sample.noticed["unreviewed"], sample.noticed["ignored"]) == (1, 1)


def test_a_nucleus_that_leaves_its_region_is_whole_and_not_ignored(tmp_path: Path) -> None:
    write_image(tmp_path / "a.tif")
    write(tmp_path, "a.geojson", [square(4, 4, 10, 10), square(0, 0, 8, 32, classification="Reviewed")])
    sample = read_all(CorrectionsReader(root=tmp_path))["a"]
    assert_masks(sample, [box(4, 4, 10, 10)])
    assert sample.ignore is not None
    np.testing.assert_array_equal(sample.ignore.plane, ~box(0, 0, 8, 32) & ~box(4, 4, 10, 10))


def test_images_that_were_not_reviewed_are_skipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, edited = tmp_path / "images", tmp_path / "edited"
    for name in ("a", "b"):
        write_image(images / f"{name}.tif")
        write(edited, f"{name}.geojson", OBJECTS)
    with pytest.raises(InputError, match=r"No GeoJSON file .* has an annotation of the class or name Reviewed"):
        CorrectionsReader(root=edited, images=images).records()
    samples = read_all(CorrectionsReader(root=edited, images=images, reviewed="all"))
    assert {name: len(sample) for name, sample in samples.items()} == {"a": 4, "b": 4}
    write(edited, "b.geojson", [*OBJECTS, square(0, 0, *SHAPE, classification="Done")])
    reader = CorrectionsReader(root=edited, images=images, reviewed="Done")
    assert [len(sample) for sample in read_all(reader).values()] == [4]
    assert "Skipped 1 image without a region Done: a.geojson." in capsys.readouterr().err
    summaries = load_all(reader, SampleCache(tmp_path / "cache"))
    assert [summary.warnings.get("unreviewed") for summary in summaries] == [None]
    with pytest.raises(InputError, match=r"images=.*nowhere does not exist"):
        CorrectionsReader(root=edited, images=tmp_path / "nowhere").records()


def test_a_compressed_copy_is_not_read_twice(tmp_path: Path) -> None:
    write_image(tmp_path / "a.tif")
    for name in ("a.geojson", "a.geojson.gz"):
        write(tmp_path, name, OBJECTS)
    assert [record.name for record in GeoJsonReader(root=tmp_path).records()] == ["a"]
    (tmp_path / "a.geojson").unlink()
    reader = AutoReader(root=tmp_path).resolve()
    assert isinstance(reader, GeoJsonReader)
    assert len(read_all(reader)["a"]) == 3, "annotations beside detections are regions"
    (tmp_path / "a.geojson.gz").write_bytes(gzip.compress(b"{}")[:-9])
    with pytest.raises(InputError, match=r"a.geojson.gz is damaged, or not compressed by gzip"):
        GeoJsonReader(root=tmp_path).records()
