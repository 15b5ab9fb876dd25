"""Readers of JSON outlines: QuPath's GeoJSON, LabelMe, VGG Image Annotator."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from reader_files import SHAPE, assert_masks, box, corners, read_all, write_image

from nucleiseg.data.readers.geojson import GeoJsonReader
from nucleiseg.data.readers.labelme import LabelMeReader
from nucleiseg.data.readers.via import ViaReader
from nucleiseg.errors import InputError
from nucleiseg.structures import EVERY_CLASS, NucleusClass

FIRST, SECOND = box(2, 3, 8, 9), box(10, 15, 20, 24)


def ring(*sides: float) -> list[list[float]]:
    return [*corners(*sides), corners(*sides)[0]]


def polygon(*rings: list[list[float]]) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": list(rings)}


def feature(geometry: object, kind: str | None = "detection", classification: object = None) -> dict[str, Any]:
    properties = {"objectType": kind} if kind else {}
    return {"type": "Feature", "geometry": geometry, "properties": properties | {"classification": classification}}


def geojson(root: Path, document: object, name: str = "a.geojson") -> GeoJsonReader:
    write_image(root / "a.tif")
    (root / name).write_text(json.dumps(document))
    return GeoJsonReader(root=root)


BOTH = [feature(polygon(ring(2, 3, 8, 9))), feature(polygon(ring(10, 15, 20, 24)))]


@pytest.mark.parametrize("name", ["a.geojson", "a_nuclei.geojson", "a.tif.geojson", "a.json"])
@pytest.mark.parametrize("document", [{"type": "FeatureCollection", "features": BOTH}, BOTH])
def test_geojson_forms_and_names(tmp_path: Path, document: object, name: str) -> None:
    (sample,) = read_all(geojson(tmp_path, document, name)).values()
    assert_masks(sample, [FIRST, SECOND])


@pytest.mark.parametrize("document", [BOTH[0], polygon(ring(2, 3, 8, 9))])
def test_a_single_feature_or_geometry(tmp_path: Path, document: object) -> None:
    assert_masks(read_all(geojson(tmp_path, document))["a"], [FIRST])


def test_holes_parts_classes_and_what_is_not_a_nucleus(tmp_path: Path) -> None:
    parts = {"type": "MultiPolygon", "coordinates": [[ring(0, 0, 3, 3)], [ring(10, 15, 20, 24), ring(12, 17, 14, 19)]]}
    cell = feature(polygon(ring(0, 0, 24, 32)), "cell", {"name": "Tumor", "color": [200, 0, 0]})
    cell["nucleusGeometry"] = polygon(ring(2, 3, 8, 9))
    document = [
        cell,
        feature(parts, classification="Stroma"),
        feature(polygon(ring(18, 2, 22, 6)), classification={"names": ["Immune cells", "CD8"]}),
        feature(polygon(ring(0, 0, 24, 32)), "annotation", "Region"),
        feature(polygon(ring(0, 26, 5, 30)), classification="Ignore*"),
        feature({"type": "Point", "coordinates": [3, 3]}),
        feature(polygon(ring(0, 0, 0, 0))),
    ]
    reader = geojson(tmp_path, document)
    sample = read_all(reader)["a"]
    with_hole = (box(0, 0, 3, 3) | SECOND) & ~box(12, 17, 14, 19)
    assert_masks(sample, [FIRST, with_hole, box(18, 2, 22, 6)])
    assert sample.ignore is not None
    assert (sample.ignore.plane == box(0, 26, 5, 30)).all()
    assert sample.ignore.labels.tolist() == [EVERY_CLASS]
    assert sample.noticed == {"regions": 1, "ignored": 1, "other_shapes": 1, "invalid": 1}
    assert reader.names(reader.records()[0]) == ("Tumor", "Stroma", "Immune cells: CD8")
    tumor = NucleusClass("Tumor", color=(200, 0, 0))
    assert sample.classes == (NucleusClass("Immune cells: CD8"), NucleusClass("Stroma"), tumor)
    assert sample.labels.tolist() == [3, 2, 1]


def test_annotations_are_nuclei_where_there_is_nothing_else(tmp_path: Path) -> None:
    document = {"features": [feature(polygon(ring(2, 3, 8, 9)), None)]}
    assert_masks(read_all(geojson(tmp_path, document))["a"], [FIRST])


@pytest.mark.parametrize(
    ("geometry", "words"),
    [
        (None, "feature 1 has the geometry None; it accepts a Polygon"),
        ({"type": "Circle"}, "feature 1 has the geometry"),
        ({"type": "Polygon", "coordinates": [[1, 2]]}, "points that are not pairs of numbers"),
        ({"type": "Polygon", "coordinates": 5}, "coordinates that are not lists of rings"),
        (polygon([["x", "y"], [1, 2], [3, 4]]), "points that are not pairs of numbers"),  # type: ignore[list-item]
        (polygon(ring(0, 0, 1e300, 1)), "feature 1 has 5 vertices"),
    ],
)
def test_geometries_that_are_not_sound_are_named(tmp_path: Path, geometry: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_all(geojson(tmp_path, [feature(geometry)]))


def encoded(mask: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def shape(points: object, kind: str | None = "polygon", label: str = "nucleus", **fields: object) -> dict[str, Any]:
    return {"label": label, "points": points, "group_id": None, "shape_type": kind} | fields


def labelme(root: Path, *shapes: object) -> LabelMeReader:
    write_image(root / "a.png")
    document = {"version": "5.8.1", "shapes": list(shapes), "imagePath": "..\\images\\a.png", "imageData": None}
    (root / "a.json").write_text(json.dumps(document))
    return LabelMeReader(root=root)


@pytest.mark.parametrize("dtype", [bool, np.uint8])
def test_labelme_shapes(tmp_path: Path, dtype: type) -> None:
    mask = np.ones((10, 9), dtype)
    mask[0, 0] = 0
    reader = labelme(
        tmp_path,
        shape(corners(2, 3, 8, 9), None, "tumor"),
        shape([[24.2, 20.4], [14.8, 9.8]], "mask", mask=encoded(mask)),
        shape([[28, 2], [25, 7]], "rectangle"),
        shape([[5, 18], [5, 14]], "circle"),
        shape([[5, 18]], "point"),
        shape([[5, 18], [8, 18]], "line"),
    )
    sample = read_all(reader)["a"]
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]] + 0.5
    disc = (rows - 18) ** 2 + (columns - 5) ** 2 < 16
    second = SECOND.copy()
    second[10, 15] = False
    assert_masks(sample, [FIRST, second, box(2, 25, 7, 28), disc])
    assert sample.noticed == {"other_shapes": 2}
    assert reader.names(reader.records()[0])[:2] == ("tumor", "nucleus")


def test_shapes_of_one_group_are_one_nucleus(tmp_path: Path) -> None:
    parts = [shape(corners(2, 3, 8, 9), group_id=4), shape(corners(10, 15, 20, 24), group_id=4)]
    assert_masks(read_all(labelme(tmp_path, *parts))["a"], [FIRST | SECOND])


def test_a_mask_is_cut_at_the_border(tmp_path: Path) -> None:
    masks = [shape([[-3, -2], [2, 3]], "mask", mask=encoded(np.ones((6, 6), bool)))]
    masks.append(shape([[40, 2], [44, 3]], "mask", mask=encoded(np.ones((2, 5), bool))))
    sample = read_all(labelme(tmp_path, *masks))["a"]
    assert_masks(sample, [box(0, 0, 4, 3)])
    assert sample.noticed == {"invalid": 1}


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (shape([[1, 1]], "rectangle"), "shape 1 is a rectangle of 1 points"),
        (shape([[1, 1], [2, 2]], "star"), "shape 1 is a star of 2 points"),
        (shape([[1, 1], [2, 2]], "mask", mask="%%"), "mask that cannot be decoded"),
        (shape([[1, 1], [2, 2]], "mask"), "mask that cannot be decoded"),
        (shape("abc"), "points that are not pairs"),
        (7, "shape 1 is not a group of keys"),
    ],
)
def test_labelme_shapes_that_are_not_sound_are_named(tmp_path: Path, entry: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_all(labelme(tmp_path, entry))


def region(name: str, attributes: object = None, **numbers: object) -> dict[str, Any]:
    return {"shape_attributes": {"name": name} | numbers, "region_attributes": attributes or {}}


REGIONS = [
    region("polygon", {"type": "tumor"}, all_points_x=[3, 9, 9, 3], all_points_y=[2, 2, 8, 8]),
    region("rect", {"type": {"stroma": True, "other": False}}, x=15, y=10, width=9, height=10),
    region("circle", cx=28, cy=5, r=3),
    region("ellipse", cx=5, cy=18, rx=4, ry=2, theta=np.pi / 2),
    region("point", cx=5, cy=5),
]


def via(root: Path, document: object) -> ViaReader:
    write_image(root / "train/a.png")
    (root / "train/via_region_data.json").write_text(json.dumps(document))
    return ViaReader(root=root)


def entry(regions: object) -> dict[str, Any]:
    return {"filename": "a.png", "size": 12, "regions": regions, "file_attributes": {}}


@pytest.mark.parametrize(
    "document",
    [
        {"a.png12": entry(REGIONS)},
        {"a.png12": entry({str(place): item for place, item in enumerate(REGIONS)})},
        {"_via_settings": {}, "_via_img_metadata": {"a.png12": entry(REGIONS)}},
    ],
    ids=["2", "1", "project"],
)
def test_via_1_and_2(tmp_path: Path, document: object) -> None:
    reader = via(tmp_path, document)
    sample = read_all(reader)["a"]
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]] + 0.5
    circle = (rows - 5) ** 2 + (columns - 28) ** 2 < 9
    ellipse = ((rows - 18) / 4) ** 2 + ((columns - 5) / 2) ** 2 < 1
    assert_masks(sample, [FIRST, SECOND, circle, ellipse])
    assert sample.noticed == {"other_shapes": 1}
    assert reader.names(reader.records()[0]) == ("tumor", "stroma", "", "")


def test_via_3(tmp_path: Path) -> None:
    document = {
        "file": {"1": {"fid": 1, "fname": "a.png"}},
        "view": {"9": {"fid_list": [1]}},
        "metadata": {
            "x": {"vid": "9", "xy": [7, 3, 2, 9, 2, 9, 8, 3, 8], "av": {"1": "tumor"}},
            "y": {"vid": "9", "xy": [2, 15, 10, 9, 10], "av": {}},
            "z": {"vid": "9", "xy": [], "av": {}},
        },
    }
    reader = via(tmp_path, document)
    sample = read_all(reader)["a"]
    assert_masks(sample, [FIRST, SECOND])
    assert sample.noticed == {"other_shapes": 1}
    assert reader.names(reader.records()[0]) == ("tumor", "")


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (
            {"k": entry([region("polygon", all_points_x=[1, 2])])},
            "region 1 is a polygon whose numbers",
        ),
        ({"k": entry([region("star")])}, "region 1 is a star"),
        ({"k": entry([7])}, "the region 7 without shape_attributes"),
        ({"k": {"filename": 7, "regions": []}}, "without a filename"),
        ({"k": {"filename": "b.png", "regions": []}}, "there is no image 'b.png' below"),
        ({"file": {}, "view": {"1": {"fid_list": ["2"]}}, "metadata": {}}, "a project of VIA 3 that lacks a part"),
    ],
)
def test_via_files_that_are_not_sound_are_named(tmp_path: Path, document: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_all(via(tmp_path, document))


def test_the_key_of_via_follows_own_regions_alone(tmp_path: Path) -> None:
    write_image(tmp_path / "train/b.png")

    def keys(regions: object) -> list[str]:
        other = {"filename": "b.png", "regions": regions}
        reader = via(tmp_path, {"a": entry(REGIONS), "b": other})
        return [reader.key(record) for record in reader.records()]

    before, after = keys([]), keys(REGIONS[:1])
    assert after[0] == before[0]
    assert after[1] != before[1]
