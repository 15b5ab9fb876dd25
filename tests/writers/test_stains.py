"""Optical densities against scikit-image's color deconvolution, and which images have them."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from predicted_images import SIDE, predicted_image
from qupath_rules import read_qupath

from nucleiseg.data.readers.demo import DemoReader
from nucleiseg.rle import Crop
from nucleiseg.writers.geojson import GeoJSONWriter, make_feature
from nucleiseg.writers.nucleus_tables import TableWriter
from nucleiseg.writers.stains import VECTORS, is_hematoxylin_eosin, mean_stains


def stained(densities: np.ndarray) -> np.ndarray:
    """Return the uint8 RGB pixels of (..., 3) densities of hematoxylin, eosin and DAB."""
    vectors = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
    return np.rint(255 * 10 ** -(densities @ vectors)).astype(np.uint8)


def test_known_densities_come_back() -> None:
    pixels = stained(np.broadcast_to([0.8, 0.3, 0.0], (4, 5, 3)))
    found = mean_stains(pixels, Crop(1, 2, np.ones((2, 2), bool)))
    assert (found.hematoxylin, found.eosin) == pytest.approx((0.8, 0.3), abs=0.01)


@hypothesis_settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_densities_are_those_of_scikit_image_where_none_is_negative(seed: int) -> None:
    """Its logarithms have the base 10^-6, so 6 times its values; its vectors are rounded ones, not of length 1."""
    from skimage.color import rgb2hed

    generator = np.random.default_rng(seed)
    pixels = stained(generator.uniform(0.1, 0.6, (8, 8, 3)))
    mask = generator.random((5, 4)) < 0.6
    mask[0, 0] = True
    expected = 6 * rgb2hed(pixels)[2:7, 3:7][mask].mean(axis=0) * np.linalg.norm(VECTORS, axis=1)
    np.testing.assert_allclose(mean_stains(pixels, Crop(2, 3, mask)), expected[:2], atol=1e-9)


def test_images_of_other_kinds_have_no_stains() -> None:
    generator = np.random.default_rng(0)
    gray = np.repeat(generator.integers(0, 256, (64, 64, 1), dtype=np.uint8), 3, axis=2)
    fluorescence = np.zeros((64, 64, 3), np.uint8)
    fluorescence[20:30, 20:30] = (200, 20, 200)
    dab = stained(generator.uniform(0, 1, (64, 64, 1)) * [0.3, 0.0, 1.0])
    blank = np.full((64, 64, 3), 255, np.uint8)
    assert not any(map(is_hematoxylin_eosin, (gray, fluorescence, dab, blank)))
    assert is_hematoxylin_eosin(stained(generator.uniform(0, 1, (64, 64, 1)) * [1.0, 0.2, 0.0]))
    reader = DemoReader(images=2, size=64)
    assert all(is_hematoxylin_eosin(reader.read(record).image) for record in reader.records())


def test_tables_and_features_have_them_where_the_image_does(tmp_path: Path) -> None:
    mask = np.eye(SIDE, dtype=bool)
    image, other = predicted_image([mask]), predicted_image([mask])
    image.pixels[:] = stained(np.array([0.5, 0.25, 0.0]))
    other.pixels[:] = 128
    for kind, (name, shown) in enumerate({"a": image, "b": other}.items()):
        GeoJSONWriter().write_image(tmp_path / f"{name}.geojson", shown)
        TableWriter().write_image(tmp_path / f"{name}.csv", shown)
        (feature,) = read_qupath(tmp_path / f"{name}.geojson")
        with (tmp_path / f"{name}.csv").open() as handle:
            (line,) = csv.DictReader(handle)
        columns = [line["hematoxylin_od"], line["eosin_od"]]
        if kind:
            assert columns == ["", ""]
            assert not any("OD" in key for key in feature["properties"]["measurements"])
        else:
            measured = feature["properties"]["measurements"]
            assert [measured["Hematoxylin OD mean"], measured["Eosin OD mean"]] == [float(text) for text in columns]
            assert float(columns[0]) == pytest.approx(0.5, abs=0.02)


def test_measurements_that_are_not_finite_are_texts() -> None:
    crop = Crop(0, 0, np.ones((1, 1), bool))
    identity = "00000000-0000-5000-8000-000000000000"
    feature = make_feature(identity, crop, "a", (1, 2, 3), {"a": float("nan"), "b": float("-inf"), "c": 1.5})
    assert feature["properties"]["measurements"] == {"a": "NaN", "b": "-Infinity", "c": 1.5}
    json.dumps(feature, allow_nan=False)
