"""GeoJSON as QuPath imports it: every mask comes back, ids are stable, measurements are those of the pixels."""

import gzip
import json
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from predicted_images import SIDE, predicted_image, square_masks
from qupath_rules import check_feature, rasterize, read_qupath

from nucleiseg.data.classes import CLASS_COLORS
from nucleiseg.writers.geojson import GeoJSONWriter


def ring() -> np.ndarray:
    mask = np.ones((SIDE, SIDE), bool)
    mask[2:-2, 2:-2] = False
    return mask


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(masks=square_masks())
def test_every_mask_comes_back(tmp_path: Path, masks: list[np.ndarray]) -> None:
    for name in ("a.geojson", "a.geojson.gz"):
        GeoJSONWriter().write_image(tmp_path / name, predicted_image(masks))
        features = read_qupath(tmp_path / name)
        with_a_pixel = [mask for mask in masks if mask.any()]
        assert len(features) == len(with_a_pixel)
        for feature, mask in zip(features, with_a_pixel, strict=True):
            np.testing.assert_array_equal(rasterize(feature["geometry"], SIDE, SIDE), mask)
            assert feature["properties"]["measurements"]["Area px^2"] == mask.sum()


def test_a_feature(tmp_path: Path) -> None:
    names = ('épithélium, "a"', "stroma")
    image = predicted_image([ring(), np.eye(SIDE, dtype=bool)], [2, 1], class_names=names, mpp=0.5)
    GeoJSONWriter().write_image(tmp_path / "a.geojson", image)
    first, second = read_qupath(tmp_path / "a.geojson")
    assert first["properties"]["classification"] == {"name": "stroma", "color": list(CLASS_COLORS[1])}
    assert second["properties"]["classification"]["name"] == names[0]
    assert first["geometry"]["type"] == "Polygon"
    assert len(first["geometry"]["coordinates"]) == 2
    assert second["geometry"]["type"] == "MultiPolygon"
    measurements = first["properties"]["measurements"]
    assert measurements["Area µm^2"] == ring().sum() / 4
    assert measurements["Detection probability"] == 0.95
    assert measurements.keys() == {
        "Area µm^2", "Perimeter µm", "Circularity", "Eccentricity", "Solidity", "Detection probability",
    }  # fmt: skip
    assert first["properties"]["objectType"] == "detection"


def test_the_density_stands_beside_the_features(tmp_path: Path) -> None:
    """7 x 7 nuclei in an image of 9 x 9 pixels of 0.5 um: 2 in 20.25 um^2."""
    GeoJSONWriter().write_image(tmp_path / "a.geojson", predicted_image([ring(), ring()], mpp=0.5))
    document = json.loads((tmp_path / "a.geojson").read_text())
    assert document["properties"] == {"nuclei": 2, "nuclei_per_mm2": round(2e6 / 20.25, 4), "um_per_px": 0.5}
    assert len(read_qupath(tmp_path / "a.geojson")) == 2


def test_ids_are_the_same_in_every_run_and_differ_within_one(tmp_path: Path) -> None:
    twins = [ring(), ring(), np.eye(SIDE, dtype=bool)]
    image, again = predicted_image(twins), predicted_image(twins)
    ids = [nucleus.id for nucleus in image.nuclei]
    assert ids == [nucleus.id for nucleus in again.nuclei]
    assert len(set(ids)) == 3
    assert {UUID(identity).version for identity in ids} == {5}
    again = predicted_image(twins)
    again.pixels[0, 0] ^= 1
    assert not {nucleus.id for nucleus in again.nuclei} & set(ids)
    again = predicted_image(twins)
    again.checkpoint = "another"
    assert not {nucleus.id for nucleus in again.nuclei} & set(ids)
    fewer = predicted_image(twins[2:])
    assert fewer.nuclei[0].id == ids[2]


def test_files_are_the_same_to_the_byte(tmp_path: Path) -> None:
    image = predicted_image([ring()])
    for name in ("a.geojson", "b.geojson", "a.geojson.gz", "b.geojson.gz"):
        GeoJSONWriter().write_image(tmp_path / name, image)
    plain = (tmp_path / "a.geojson").read_bytes()
    assert plain == (tmp_path / "b.geojson").read_bytes()
    assert (tmp_path / "a.geojson.gz").read_bytes() == (tmp_path / "b.geojson.gz").read_bytes()
    assert gzip.decompress((tmp_path / "a.geojson.gz").read_bytes()) == plain


def test_an_image_without_nuclei_is_an_empty_collection(tmp_path: Path) -> None:
    GeoJSONWriter().write_image(tmp_path / "a.geojson", predicted_image([]))
    assert json.loads((tmp_path / "a.geojson").read_text()) == {"type": "FeatureCollection", "features": []}


@pytest.mark.parametrize(
    "change",
    [
        {"id": "nucleus 1"},
        {"objectType": "detection"},
        {"properties": {}},
        {"properties": {"objectType": "nucleus"}},
        {"properties": {"objectType": "detection", "classification": {"name": "a"}}},
        {"properties": {"objectType": "detection", "classification": {"name": "a", "color": [0.5, 0, 0]}}},
        {"properties": {"objectType": "detection", "measurements": {"a": None}}},
        {"properties": {"objectType": "detection", "metadata": {"a": 1}}},
        {"geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1]]]}},
        {"geometry": {"type": "Polygon", "coordinates": [[[0, 0], [2, 2], [2, 0], [0, 2], [0, 0]]]}},
        {"geometry": {"type": "MultiPolygon", "coordinates": []}},
    ],
)
def test_the_port_of_qupaths_rules_raises(tmp_path: Path, change: dict) -> None:
    GeoJSONWriter().write_image(tmp_path / "a.geojson", predicted_image([ring()]))
    (feature,) = read_qupath(tmp_path / "a.geojson")
    with pytest.raises((ValueError, KeyError)):
        check_feature({**feature, **change})


def test_the_port_of_qupaths_rules_refuses_nan(tmp_path: Path) -> None:
    (tmp_path / "a.geojson").write_text('{"type": "FeatureCollection", "features": [], "a": NaN}')
    with pytest.raises(ValueError, match="NaN is no JSON"):
        read_qupath(tmp_path / "a.geojson")
