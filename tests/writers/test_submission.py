"""answer.json and answer.zip as a COCO board reads them."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from predicted_images import predicted_image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from nucleiseg.inference.box_masks import crops, to_rle
from nucleiseg.structures import Prediction
from nucleiseg.writers.base import FinishedImage
from nucleiseg.writers.submission import CocoWriter, Vrdl2025Writer, open_items, to_results, write_zip


def make_prediction() -> Prediction:
    masks = torch.ones(3, 14, 14)
    masks[0, :, 7:] = 0
    masks[1] = 0  # no pixel
    return Prediction(
        boxes=torch.tensor([[2.0, 1.0, 10.0, 9.0], [0.0, 0.0, 5.0, 5.0], [12.0, 4.0, 20.0, 8.0]]),
        scores=torch.tensor([0.9, 0.8, 0.1]),
        labels=torch.tensor([1, 1, 2]),
        masks=masks,
        size=(10, 20),
    )


def test_results_are_those_with_a_pixel() -> None:
    prediction = make_prediction()
    results = to_results(prediction, to_rle(prediction), image_id=4)
    assert [(result["image_id"], result["category_id"], result["score"]) for result in results] == [
        (4, 1, 0.9),
        (4, 2, 0.1),
    ]
    assert results[0]["bbox"] == [2, 1, 4, 8]  # tight around the mask: the left half of the box
    for result, crop in zip(results, [list(crops(prediction))[i] for i in (0, 2)], strict=True):
        full = np.zeros((10, 20), dtype=bool)
        full[crop.window] = crop.mask
        np.testing.assert_array_equal(coco_mask.decode(result["segmentation"]), full)


def test_categories_keep_the_numbers_of_the_annotations(tmp_path: Path) -> None:
    image = predicted_image([np.eye(9, dtype=bool)] * 2, [1, 2], class_names=("stroma", "tumor"))
    image.category_ids = (4, 9)
    assert [result["category_id"] for result in CocoWriter().write_image(tmp_path / "unused", image)] == [4, 9]


@pytest.mark.parametrize(
    ("names", "numbers"),
    [(("class1", "class2", "class3"), [1, 3]), (("class2", "class3", "class4"), [2, 4]), (("nucleus",), [1, 3])],
)
def test_the_board_of_2025_numbers_classes_by_their_files(
    tmp_path: Path, names: tuple[str, ...], numbers: list[int]
) -> None:
    first, second = np.eye(9, dtype=bool), np.tri(9, dtype=bool)
    image, writer = predicted_image([first, second], [1, 3], class_names=names), Vrdl2025Writer()
    with writer.assembly(tmp_path) as add:
        add(FinishedImage(image.source, 9, 9, writer.write_image(tmp_path / "unused", image)))
    with zipfile.ZipFile(tmp_path / "test-results.zip") as archive:
        assert archive.namelist() == ["test-results.json"]
        results = json.loads(archive.read("test-results.json"))
    assert results == json.loads((tmp_path / "test-results.json").read_text())
    assert [result["category_id"] for result in results] == numbers
    for result, mask in zip(results, (first, second), strict=True):
        assert set(result) == {"image_id", "category_id", "segmentation", "bbox", "score"}
        assert result["image_id"] == 7
        np.testing.assert_array_equal(coco_mask.decode(result["segmentation"]), mask)


def test_no_instance_gives_no_result() -> None:
    assert to_results(make_prediction()[:0], [], image_id=1) == []


def test_files_load_in_coco_tools(tmp_path: Path) -> None:
    prediction = make_prediction()
    with open_items(tmp_path / "new" / "answer.json") as add:
        for image_id in (3, 1):
            add(to_results(prediction, to_rle(prediction), image_id))
    write_zip(tmp_path / "new" / "answer.json")
    answer = json.loads((tmp_path / "new" / "answer.json").read_text())
    assert len(answer) == 4
    with zipfile.ZipFile(tmp_path / "new" / "answer.zip") as archive:
        assert archive.namelist() == ["answer.json"]
        assert json.loads(archive.read("answer.json")) == answer
    truth = COCO()
    truth.dataset = {
        "info": {},
        "images": [{"id": 1}, {"id": 3}],
        "categories": [{"id": 1}, {"id": 2}],
        "annotations": [],
    }
    truth.createIndex()
    assert sorted(truth.loadRes(answer).getAnnIds(imgIds=[3])) == [1, 2]


def test_an_answer_without_results_is_an_empty_list(tmp_path: Path) -> None:
    with open_items(tmp_path / "answer.json") as add:
        add([])
    assert json.loads((tmp_path / "answer.json").read_text()) == []


def test_a_failure_leaves_the_old_answer(tmp_path: Path) -> None:
    (tmp_path / "answer.json").write_text("old")
    with pytest.raises(KeyError), open_items(tmp_path / "answer.json"):
        raise KeyError
    assert [path.name for path in tmp_path.iterdir()] == ["answer.json"]
    assert (tmp_path / "answer.json").read_text() == "old"
