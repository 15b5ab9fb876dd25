"""Anybody's result files: what is accepted, and what is refused with which sentence."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from drawn_masks import image, rectangle

from nucleiseg.errors import InputError
from nucleiseg.evaluation.results import Results, read_results
from nucleiseg.evaluation.truth import Truth, Unreadable

TRUTH = Truth(
    images=(image("a", [], image_id=1), image("b", [], image_id=2)),
    categories={1: "nucleus"},
    unreadable=(Unreadable("c", 3, ["damaged"]),),
)
MASK = rectangle(2, 3, 7, 9)


def result(image_id: object = 1, **changes: object) -> dict[str, Any]:
    return {"image_id": image_id, "category_id": 1, "segmentation": MASK, "score": 0.5, **changes}


def read(tmp_path: Path, document: object) -> Results:
    (tmp_path / "answer.json").write_text(json.dumps(document))
    return read_results(tmp_path / "answer.json", TRUTH)


def test_results_are_grouped_by_image(tmp_path: Path) -> None:
    results = read(tmp_path, [result(2, score=1), result(1), result(2, segmentation=[[3, 2, 9, 2, 9, 7, 3, 6]])])
    assert sorted(results.images) == [1, 2]
    assert results.images[2].scores == [1.0, 0.5]
    assert results.images[2].masks[0] == MASK
    assert results.images[2].labels == [1, 1]
    assert results.notes == ()


def test_boxes_that_are_given_are_taken(tmp_path: Path) -> None:
    results = read(tmp_path, [result(1, bbox=[1, 2, 3.5, 4]), result(1), result(1, bbox=[]), result(2)])
    assert results.images[1].boxes == [(1, 2, 3.5, 4), (3, 2, 6, 5), (3, 2, 6, 5)]  # the mask's tight box where none is
    assert results.images[2].boxes is None


def test_ids_and_classes_that_are_whole_numbers_written_as_floats(tmp_path: Path) -> None:
    results = read(tmp_path, [result(1.0, category_id=1.0), result(2, category_id="nucleus")])
    assert list(results.images) == [1, 2]
    assert [type(number) for number in results.images] == [int, int]
    assert results.images[1].labels == results.images[2].labels == [1]


@pytest.mark.parametrize("segmentation", [[], [[4, 4]], [[1, 2, 5, 2, 9, 2]], rectangle(0, 0, 0, 0)])
def test_results_without_a_pixel_are_left_out(tmp_path: Path, segmentation: object) -> None:
    results = read(tmp_path, [result(bbox=[4, 4, 0, 0], segmentation=segmentation), result(score=0.3)])
    assert results.images[1].scores == [0.3]
    assert results.notes == ("Results without a pixel are left out: 1.",)


def test_more_pairs_than_memory_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nucleiseg.evaluation.results.MOST_PAIRS", 5)
    (tmp_path / "answer.json").write_text(json.dumps([result()] * 3))
    crowded = Truth(images=(image("a", [MASK, MASK], image_id=1),), categories={1: "nucleus"})
    with pytest.raises(InputError, match=r"image a has 3 results and 2 truths, more than the 5 pairs"):
        read_results(tmp_path / "answer.json", crowded)


def test_no_result_at_all(tmp_path: Path) -> None:
    assert read(tmp_path, []).images == {}


def test_results_of_unreadable_images_are_left_out(tmp_path: Path) -> None:
    assert list(read(tmp_path, [result(3), result(1)]).images) == [1]


def test_repeated_masks_are_noted(tmp_path: Path) -> None:
    results = read(tmp_path, [result(), result(score=0.4), result(2)])
    (note,) = results.notes
    assert note.startswith("Results that repeat the mask of another in the same image")
    assert note.endswith(": 1.")


@pytest.mark.parametrize(
    "names",
    [["answer.json"], ["x/mine.json", "__MACOSX/x/._mine.json", "readme.txt"], ["answer.json", "sidecar.json"]],
)
def test_a_zip(tmp_path: Path, names: list[str]) -> None:
    with zipfile.ZipFile(tmp_path / "answer.zip", "w") as archive:
        for name in names:
            archive.writestr(name, json.dumps([result()]))
    assert read_results(tmp_path / "answer.zip", TRUTH).images[1].masks == [MASK]


@pytest.mark.parametrize(("names", "holds"), [([], "no JSON file"), (["a.json", "b.json"], "2 JSON files")])
def test_a_zip_without_one_answer(tmp_path: Path, names: list[str], holds: str) -> None:
    with zipfile.ZipFile(tmp_path / "answer.zip", "w") as archive:
        for name in names:
            archive.writestr(name, "[]")
    with pytest.raises(InputError, match=rf"answer\.zip holds {holds}"):
        read_results(tmp_path / "answer.zip", TRUTH)


def test_a_damaged_zip(tmp_path: Path) -> None:
    path = tmp_path / "answer.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("answer.json", json.dumps([result()]))
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"score": 0.5', b'"score": 0.6'))  # the checksum tells
    with pytest.raises(InputError, match=r"answer\.json cannot be unpacked"):
        read_results(path, TRUTH)


@pytest.mark.parametrize("flip", [0x01, 0x10, 0xFF])
def test_no_flipped_byte_of_a_zip_is_believed(tmp_path: Path, flip: int) -> None:
    path = tmp_path / "answer.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("answer.json", json.dumps([result(score=place / 7) for place in range(8)]))
    data, results = path.read_bytes(), read_results(path, TRUTH)
    refused = 0
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ flip]) + data[place + 1 :])
        try:
            assert read_results(path, TRUTH) == results
        except InputError:
            refused += 1
    assert refused > len(data) / 2


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ({"annotations": [], "images": []}, "is a COCO data set, which is truth"),
        ({"x": 1}, "holds a JSON dict; expected is a COCO result file"),
        ([1], "result 1 is of type int"),
        ([result(), {"id": 1, "file_name": "a.png"}], "result 2 has no image_id, category_id, segmentation, score"),
        ([{"image_id": 1, "category_id": 1, "bbox": [], "score": 1}], "has no segmentation but a box"),
        ([result(image_id=[1])], r"result 1 has the image_id \[1\]"),
        ([result(image_id=True)], "result 1 has the image_id True"),
        ([result(image_id=1.5)], "result 1 has the image_id 1.5"),
        ([result(category_id=None)], r"result 1 has the category_id None instead of .* \(1 \(nucleus\)\)"),
        ([result(score=True)], "result 1 has the score True"),
        ([result(score=10**400)], "result 1 has the score 1000"),
        ([result(bbox=[1, 2, 1e300, 4])], "result 1 has the bbox .* in pixels of the image .30 x 20"),
        ([result(bbox=[1, 2, float("inf"), 4])], "result 1 has the bbox"),
        ([result(segmentation={"size": [20, 30], "counts": "b'04'"})], "result 1 .*Python's text of bytes"),
        ([result(segmentation={"size": [20, 30], "counts": "\ud800"})], "result 1 .* has run lengths that are damaged"),
        ([result(score="high")], "result 1 has the score 'high'"),
        ([result(score=float("nan"))], "result 1 has the score nan"),
        ([result(bbox=[1, 2, 3])], r"result 1 has the bbox \[1, 2, 3\] instead of \[x, y, width, height\]"),
        ([result(bbox=[1, 2, -3, 4])], "result 1 has the bbox"),
        ([result(bbox=[1, 2, "3", 4])], "result 1 has the bbox"),
        (
            [result(7), result(8), result(8)],
            r"lacks the image ids 7, 8, of which there are results \(3\); it has 1, 2, 3",
        ),
        ([result("1")], "lacks the image ids '1', of which"),
        ([result(category_id=0)], r"has results of category_id 0 \(1 of them\); the truth has 1 \(nucleus\)"),
        (
            [result(2), result(2, segmentation=rectangle(0, 0, 1, 1, (10, 10)))],
            r"mask of result 2 \(image b, id 2\) is 10 x 10 pixels \(width x height\), the image 30 x 20",
        ),
        (
            [result(), *[result(segmentation={"size": [20, 30], "counts": "11"})] * 3],
            r"mask of result 2 .* do not add up to 20 x 30 pixels.* More such masks in this image: 2",
        ),
    ],
)
def test_what_is_refused(tmp_path: Path, document: object, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as error:
        read(tmp_path, document)
    assert str(tmp_path / "answer.json") in str(error.value)
    assert len(error.value.problems) == 1
