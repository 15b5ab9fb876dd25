"""The reader `coco`: all forms of masks, ids with gaps, and what exporters make of file names."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from reader_files import SHAPE, assert_masks, box, corners, read_all, write_image

from nucleiseg.data.readers.coco import CocoReader
from nucleiseg.errors import InputError
from nucleiseg.evaluation.instances import CrowdRegion
from nucleiseg.evaluation.truth import ImageTruth
from nucleiseg.rle import RLE, decode_crop
from nucleiseg.structures import NucleusClass

SQUARE = box(2, 3, 8, 9)


def rle(mask: np.ndarray) -> RLE:
    encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return RLE(size=list(encoded["size"]), counts=encoded["counts"].decode())


def polygon(*box_corners: float) -> list[float]:
    return [value for corner in corners(*box_corners) for value in corner]


def annotation(segmentation: object, image: object = 7, **fields: object) -> dict[str, Any]:
    return {"id": 1, "image_id": image, "category_id": 3, "iscrowd": 0, "segmentation": segmentation} | fields


def write(root: Path, annotations: Any, name: str = "annotations.json", **image: object) -> Path:  # noqa: ANN401
    entry = {"id": 7, "file_name": "a.png", "height": SHAPE[0], "width": SHAPE[1]} | image
    document = {
        "images": [entry],
        "annotations": annotations,
        "categories": [{"id": 3, "name": "tumor"}, {"id": 9, "name": "stroma"}],
    }
    root.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(json.dumps(document))
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_image(tmp_path / "images/a.png")
    return tmp_path


def test_polygons_and_both_forms_of_run_lengths(root: Path) -> None:
    other, third = box(10, 10, 20, 20), box(0, 28, 24, 32)
    counts = np.diff(np.flatnonzero(np.diff(np.r_[2, other.ravel(order="F"), 2])))
    write(
        root,
        [
            annotation([polygon(2, 3, 8, 9)]),
            annotation({"size": list(SHAPE), "counts": counts.tolist()}),
            annotation(dict(rle(third)), category_id=9),
        ],
    )
    reader = CocoReader(root=root)
    sample = read_all(reader)["a"]
    assert_masks(sample, [SQUARE, other, third])
    assert sample.classes == (NucleusClass("stroma", 9), NucleusClass("tumor", 3))
    assert sample.labels.tolist() == [2, 2, 1]
    assert sample.noticed == {}
    assert reader.names(reader.records()[0]) == ("tumor", "tumor", "stroma")
    assert CocoReader(root=root / "annotations.json").records() == reader.records()


def test_overlapping_nuclei_keep_all_their_pixels(root: Path) -> None:
    write(root, [annotation([polygon(2, 3, 8, 9)]), annotation([polygon(4, 5, 12, 12)])])
    sample = read_all(CocoReader(root=root))["a"]
    assert_masks(sample, [SQUARE, box(4, 5, 12, 12)])
    assert len(sample.layers) == 2


def test_ids_with_gaps_and_as_floats_and_texts(root: Path) -> None:
    write_image(root / "images/b.png")
    images = [{"id": 1000, "file_name": "a.png"}, {"id": "x", "file_name": "b.png"}]
    masks = [annotation([polygon(2, 3, 8, 9)], 1000.0), annotation([polygon(2, 3, 9, 9)], "x")]
    (root / "a.json").write_text(json.dumps({"images": images, "annotations": masks}))
    samples = read_all(CocoReader(root=root))
    assert_masks(samples["a"], [SQUARE])
    assert_masks(samples["b"], [box(2, 3, 9, 9)])


def test_crowd_regions_are_ignore_regions(root: Path) -> None:
    write(root, [annotation([polygon(2, 3, 8, 9)]), annotation(dict(rle(box(0, 0, 20, 20))), iscrowd=1)])
    sample = read_all(CocoReader(root=root))["a"]
    assert_masks(sample, [SQUARE])
    assert sample.noticed == {"ignored": 1}
    assert sample.ignore is not None
    assert (sample.ignore.plane == box(0, 0, 20, 20)).all()
    assert sample.ignore.labels.tolist() == [1]
    truth = ImageTruth.of(sample, 7)
    assert truth.crowd == (CrowdRegion(rle(box(0, 0, 20, 20)), 1),)


def test_polygons_without_an_area_are_skipped_and_counted(root: Path) -> None:
    write(root, [annotation([polygon(2, 3, 8, 9)]), annotation([]), annotation([[1, 1, 5, 5]])])
    sample = read_all(CocoReader(root=root))["a"]
    assert_masks(sample, [SQUARE])
    assert sample.noticed == {"invalid": 2}


def test_annotations_of_one_class_may_be_a_dictionary(root: Path) -> None:
    write(root, {"5": annotation([polygon(2, 3, 8, 9)])})
    assert_masks(read_all(CocoReader(root=root))["a"], [SQUARE])


@pytest.mark.parametrize("file_name", ["a.png", "images/a.png", "data\\images\\a.png", "/home/me/images/a.png"])
def test_file_names_with_folders_of_another_computer(root: Path, file_name: str) -> None:
    write(root, [annotation([polygon(2, 3, 8, 9)])], file_name=file_name)
    assert_masks(read_all(CocoReader(root=root))["a"], [SQUARE])


def test_files_of_one_name_are_found_by_their_split(tmp_path: Path) -> None:
    for split, column in (("train", 3), ("valid", 13)):
        write_image(tmp_path / split / "a.png")
        write(tmp_path / split, [annotation([polygon(2, column, 8, 9 + column)])], "_annotations.coco.json")
    samples = read_all(CocoReader(root=tmp_path))
    assert list(samples) == ["train_a", "valid_a"]
    assert_masks(samples["valid_a"], [box(2, 13, 8, 22)])


def test_an_image_that_two_entries_name_is_read_once(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = [{"id": number, "file_name": "a.png"} for number in (1, 2)]
    masks = [annotation([polygon(2, 3, 8, 9)], 1), annotation([polygon(5, 3, 8, 9)], 2)]
    (root / "a.json").write_text(json.dumps({"images": images, "annotations": masks}))
    assert_masks(read_all(CocoReader(root=root))["a"], [SQUARE])
    assert "Warning: skipped 1 image entry of image files that are listed already." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("entry", "segmentation", "words"),
    [
        ({"file_name": "b.png"}, [], "file_name 'b.png', which is not below"),
        ({"file_name": None}, [], "file_name None, which is not below"),
        ({"height": 30}, [], "has 32 x 24 pixels .* its entry .* 32 x 30"),
        ({}, {"size": [32, 24], "counts": "0"}, "annotation 1 is 24 x 32 pixels"),
        ({}, {"size": [24, 32], "counts": "b'xy'"}, "text of bytes"),
        ({}, {"size": [24, 32], "counts": "zz"}, "annotation 1 has damaged run lengths"),
        ({}, [[0, 0, 1e9, 0, 1, 1]], "leaves the image"),
        ({}, "mask.png", "annotation 1 is 'mask.png' instead of"),
    ],
)
def test_unsound_entries_are_named(root: Path, entry: dict[str, Any], segmentation: object, words: str) -> None:
    write(root, [annotation(segmentation)], **entry)
    with pytest.raises(InputError, match=words):
        read_all(CocoReader(root=root))


def test_the_key_follows_own_annotations_alone(root: Path) -> None:
    write_image(root / "images/b.png")
    images = [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}]
    masks = [annotation([polygon(2, 3, 8, 9)], 1), annotation([polygon(5, 3, 8, 9)], 2)]

    def keys() -> list[str]:
        (root / "a.json").write_text(json.dumps({"images": images, "annotations": masks}))
        reader = pickle.loads(pickle.dumps(CocoReader(root=root)))
        return [reader.key(record) for record in reader.records()]

    before = keys()
    masks[1]["segmentation"] = [polygon(5, 3, 8, 20)]
    after = keys()
    assert after[0] == before[0]
    assert after[1] != before[1]


@given(st.data())
def test_run_lengths_decode_as_pycocotools_does(data: st.DataObject) -> None:
    height, width = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9))
    seed, share = data.draw(st.integers(0, 999)), data.draw(st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]))
    mask = np.random.default_rng(seed).random((height, width)) < share
    crop = decode_crop(rle(mask))
    decoded = np.zeros_like(mask)
    if crop is not None:
        decoded[crop.window] = crop.mask
        assert crop.mask[0].any()
        assert crop.mask[:, -1].any()
    np.testing.assert_array_equal(decoded, mask)
