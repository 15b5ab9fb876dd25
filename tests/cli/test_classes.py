"""Three classes and ignore regions, from `train` to `leaderboard` and every format of `predict`."""

import csv
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from pycocotools import mask as coco_mask

from nucleiseg.cli.evaluate import evaluate
from nucleiseg.cli.leaderboard import leaderboard
from nucleiseg.cli.predict import predict
from nucleiseg.cli.train import train
from nucleiseg.models.checkpoint import load
from nucleiseg.run_folder import read_config

Composed = Callable[..., dict[str, Any]]

IDS = {"tumor": 4, "stroma": 2, "dead": 9}
"""COCO's category ids: neither 1, 2, 3 nor in the order of the names."""

COLORS = {"tumor": (190, 30, 60), "stroma": (40, 60, 190), "dead": (30, 150, 60)}
SIDE = 96


def discs(number: int) -> list[tuple[np.ndarray, str]]:
    """Discs on a grid with the class of each; the dead are rare."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    found = []
    for place, (row, column) in enumerate((r, c) for r in range(12, SIDE, 24) for c in range(12, SIDE, 24)):
        name = "dead" if place == 5 and number % 3 == 0 else ("tumor", "stroma")[(place + number) % 2]
        found.append(((rows - row) ** 2 + (columns - column) ** 2 <= 64, name))
    return found


def write_data(root: Path, count: int) -> None:
    """The same images as COCO and as the VRDL homework of 2025; the last disc of each is a crowd region in COCO."""
    document: dict[str, Any] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": number, "name": name} for name, number in IDS.items()],
    }
    (root / "coco").mkdir(parents=True)
    for number in range(count):
        pixels = np.full((SIDE, SIDE, 3), 230, np.uint8)
        folder = root / "vrdl" / f"image_{number}"
        folder.mkdir(parents=True)
        labels = {name: np.zeros((SIDE, SIDE), np.uint16) for name in IDS}
        for place, (mask, name) in enumerate(discs(number), 1):
            pixels[mask] = COLORS[name]
            labels[name][mask] = place
            encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
            document["annotations"].append(
                {
                    "id": len(document["annotations"]) + 1,
                    "image_id": number,
                    "category_id": IDS[name],
                    "segmentation": {"size": [SIDE, SIDE], "counts": encoded["counts"].decode()},
                    "iscrowd": int(place == 16),
                }
            )
        document["images"].append({"id": number, "file_name": f"{number}.png", "height": SIDE, "width": SIDE})
        Image.fromarray(pixels).save(root / f"coco/{number}.png")
        tifffile.imwrite(folder / "image.tif", pixels)
        for name, plane in labels.items():
            if plane.any():
                tifffile.imwrite(folder / f"class{IDS[name]}.tif", plane)
    (root / "coco/annotations.json").write_text(json.dumps(document))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classes")
    write_data(folder, 6)
    return folder


SMALL = [
    "data.cache_dir=none",
    "aug=none",
    "aug.resize.short=96",
    "aug.resize.long=96",
    "model.anchors.sizes=[16,16,16,16,16]",
    "model.fpn_channels=32",
    "model.rpn.post_nms_train=100",
    "model.rpn.post_nms_test=60",
    "model.roi.batch_size=64",
    "model.roi.fc_dim=64",
    "model.mask.convs=1",
    "model.mask.channels=32",
    "optim.lr=0.02",
    "trainer.accelerator=cpu",
    "logger=[]",
]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_three_classes_from_training_to_leaderboard(
    composed: Composed, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, images = tmp_path / "runs/coco", root / "coco"
    of_data = ["data=coco", f"data.root={images}", "data.val=['4','5']", "data.repeat_threshold=0.9"]
    train(composed("train", *of_data, *SMALL, "trainer.max_steps=60", "checkpoint.every=60"), run)
    assert "Classes (nuclei): 1 stroma (44), 2 tumor (44), 3 dead (2)." in capsys.readouterr().err
    assert read_config(run)["data"]["classes"] == ["stroma", "tumor", "dead"]
    checkpoint = run / "checkpoints/step_000060.ckpt"
    network, metadata = load(checkpoint)
    assert (network.num_classes, metadata.category_ids) == (3, (2, 4, 9))
    assert metadata.class_names == ("stroma", "tumor", "dead")

    out, formats = tmp_path / "out", ["coco", "overlays", "geojson", "labels", "csv", "vrdl2025"]
    keys = {"score_threshold": 0.01, "count_threshold": 0.3, "device": "cpu"}
    assert predict(checkpoint=checkpoint, input=images, output=out, write=formats, **keys) == 0
    results = json.loads((out / "answer.json").read_text())
    assert {result["category_id"] for result in results} <= set(IDS.values())
    counts = rows(out / "counts.csv")
    for line in counts:
        assert int(line["count"]) == sum(int(line[f"count_{name}"]) for name in metadata.class_names)
        nuclei = rows(out / f"nuclei/{line['image']}.csv")
        features = json.loads((out / f"geojson/{line['image']}.geojson").read_text())["features"]
        of_features = [feature["properties"]["classification"]["name"] for feature in features]
        assert [nucleus["class"] for nucleus in nuclei] == of_features
        assert of_features.count("tumor") == int(line["count_tumor"])
        assert (out / f"overlays/{line['image']}.png").exists()

    scores = {}
    for name, truth in (("file", images / "annotations.json"), ("folder", images)):
        output = tmp_path / f"{name}.json"
        evaluate(predictions=out / "answer.json", truth=truth, output=output, cache_dir=tmp_path / "cache")
        scores[name] = json.loads(output.read_text())
    assert scores["file"]["per_class"] == scores["folder"]["per_class"]
    assert scores["file"]["confusion"] == scores["folder"]["confusion"]
    assert scores["file"]["crowd_regions"] == 6
    assert scores["file"]["confusion"]["classes"] == ["stroma", "tumor", "dead"]
    matrix = np.array(scores["file"]["confusion"]["matrix"])
    groups = scores["file"]["per_class"]
    assert matrix[:-1].sum(axis=1).tolist() == [groups[name]["truths"] for name in metadata.class_names]
    assert matrix[:, :-1].sum(axis=0).tolist() == [groups[name]["count"] for name in metadata.class_names]

    leaderboard(runs=str(run), output=str(tmp_path / "board"), cache_dir=str(tmp_path / "evals"), device="cpu")
    (line,) = rows(tmp_path / "board/leaderboard.csv")
    assert {"ap50/tumor", "pq/stroma", "mean/pq", "agnostic/ap50"} <= line.keys()
    page = (tmp_path / "board/report.html").read_text()
    assert "Confusion matrix" in page
    assert "spurious" in page


@pytest.mark.slow
def test_class_files_are_answered_by_their_numbers(composed: Composed, root: Path, tmp_path: Path) -> None:
    """Trained on class2, class4 and class9 of the VRDL homework of 2025."""
    run, out = tmp_path / "run", tmp_path / "out"
    of_data = ["data=vrdl2025", f"data.root={root / 'vrdl'}", "data.val=['image_4','image_5']"]
    train(composed("train", *of_data, *SMALL, "trainer.max_steps=60", "checkpoint.every=60"), run)
    checkpoint = run / "checkpoints/step_000060.ckpt"
    assert load(checkpoint)[1].class_names == ("class2", "class4", "class9")
    keys = {"score_threshold": 0.01, "device": "cpu"}
    predict(checkpoint=checkpoint, input=root / "coco", output=out, write=["vrdl2025"], **keys)
    with zipfile.ZipFile(out / "test-results.zip") as archive:
        numbers = {result["category_id"] for result in json.loads(archive.read("test-results.json"))}
    assert numbers
    assert numbers <= {2, 4, 9}
