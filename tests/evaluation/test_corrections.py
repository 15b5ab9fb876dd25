"""Edited objects are compared with predicted ones by id, and by overlap where ids are lost."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nucleiseg.data.readers.geojson import QuPathObject, read_objects
from nucleiseg.errors import InputError
from nucleiseg.evaluation.corrections import count_corrections, find_corrections
from nucleiseg.rle import Crop

SHAPE = (40, 50)


def square(place: int, identity: str = "", name: str = "nucleus", side: int = 6) -> QuPathObject:
    """A square in a grid of 5 columns, so that no two of different places touch."""
    return QuPathObject(identity, name, Crop(place // 5 * 8, place % 5 * 8, np.ones((side, side), bool)))


def test_each_outcome() -> None:
    predicted = [square(place, f"id{place}") for place in range(5)]
    edited = [square(0, "id0"), square(1, "id1", side=5), square(2, "id2", "tumor"), square(7, "new"), square(8)]
    found = find_corrections(predicted, edited, SHAPE)
    outcomes = ["accepted", "redrawn", "reclassified", "deleted", "deleted", "added", "added"]
    assert [correction.outcome for correction in found] == outcomes
    assert found[1].before is predicted[1]
    assert found[1].after is edited[1]
    assert found[3].after is found[5].before is None


def test_lost_ids_are_replaced_by_overlap() -> None:
    predicted = [square(0, "a"), square(1, "b"), square(2, "c")]
    edited = [square(1, "x", side=5), square(0, "y"), square(2, "z", side=4)]  # IoU 25 / 36, 1 and 16 / 36
    found = find_corrections(predicted, edited, SHAPE)
    assert [correction.outcome for correction in found] == ["accepted", "redrawn", "deleted", "added"]


def test_a_moved_nucleus_keeps_its_id_and_two_halves_have_one_partner() -> None:
    left = QuPathObject("", "nucleus", Crop(0, 0, np.ones((6, 4), bool)))
    right = QuPathObject("", "nucleus", Crop(0, 4, np.ones((6, 2), bool)))
    found = find_corrections([square(3, "a"), square(0, "b")], [square(9, "a"), left, right], SHAPE)
    assert [correction.outcome for correction in found] == ["redrawn", "redrawn", "added"]
    assert found[1].after is left


@given(
    kept=st.sets(st.integers(0, 19)),
    new=st.sets(st.integers(0, 19)),
    has_ids=st.booleans(),
)
def test_counts_of_sets(kept: set[int], new: set[int], has_ids: bool) -> None:
    predicted = [square(place, f"id{place}") for place in range(10)]
    edited = [square(place, f"id{place}" if has_ids else "") for place in sorted(kept | new)]
    counts = count_corrections(find_corrections(predicted, edited, SHAPE))
    there = {place for place in kept | new if place < 10}
    expected = Counter(accepted=len(there), deleted=10 - len(there), added=len((kept | new) - there))
    assert counts == +expected


def test_objects_of_a_file_with_ids_classes_and_ignored_regions(tmp_path: Path) -> None:
    ring = [[1, 1], [4, 1], [4, 3], [1, 3], [1, 1]]
    polygon = {"type": "Polygon", "coordinates": [ring]}
    features = [
        {"type": "Feature", "id": "a", "geometry": polygon, "properties": {"classification": {"name": "tumor"}}},
        {"type": "Feature", "geometry": polygon, "properties": {"objectType": "annotation"}},
        {"type": "Feature", "id": "c", "geometry": polygon, "properties": {"classification": "Ignore*"}},
        {"type": "Feature", "id": "d", "geometry": {"type": "Point", "coordinates": [1, 1]}, "properties": {}},
    ]
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    first, second, ignored = read_objects(path, SHAPE)
    assert ignored.id == "c"
    assert (first.id, first.name) == ("a", "tumor")
    assert (second.id, second.name) == ("", "")
    assert (first.crop.row, first.crop.column, first.crop.mask.shape) == (1, 1, (2, 3))
    path.write_text("{}")
    with pytest.raises(InputError, match=r"a.geojson is not GeoJSON: it accepts a FeatureCollection"):
        read_objects(path, SHAPE)
