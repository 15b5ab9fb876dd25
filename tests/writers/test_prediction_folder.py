"""A folder of results: every file of it, for images good and bad."""

import csv
import json
import threading
import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from nucleiseg.errors import InputError
from nucleiseg.inference.images import InputImage, find_images
from nucleiseg.inference.predictor import PreparedImage
from nucleiseg.models.checkpoint import Metadata
from nucleiseg.structures import Prediction
from nucleiseg.transforms.preprocessing import Preprocessing
from nucleiseg.writers import overlay
from nucleiseg.writers.prediction_folder import predict_to_folder
from nucleiseg.writers.prediction_run import PredictionSummary


class FixedPredictor:
    """Finds three squares in every image; the last has a mask without a pixel."""

    def __init__(self, detections: int = 100, score_threshold: float | None = None, least: float = 0.05) -> None:
        self.detections = detections
        self.score_threshold = least
        self.metadata = Metadata(model={}, score_threshold=score_threshold)

    preprocessing = Preprocessing(mpp=0.5)

    def mpp_of(self, path: Path) -> float | None:
        return None

    def prepare(self, image: np.ndarray, mpp: float | None = None) -> PreparedImage:
        return PreparedImage(image, torch.empty(0))

    def run(self, image: PreparedImage) -> Prediction:
        return Prediction(
            boxes=torch.tensor([[1.0, 1, 9, 9], [10, 1, 18, 9], [20, 1, 28, 9]]),
            scores=torch.tensor([0.9, 0.4, 0.3]),
            labels=torch.ones(3, dtype=torch.int64),
            masks=torch.tensor([1.0, 1.0, 0.0])[:, None, None].expand(3, 14, 14),
            size=image.pixels.shape[:2],
            capped=self.detections <= 3,
        )


@pytest.fixture
def images(tmp_path: Path) -> list[InputImage]:
    """Two images under the board's ids, and between them a damaged one."""
    for name in ("b.png", "a.png"):
        Image.fromarray(np.full((20, 30, 3), 128, dtype=np.uint8)).save(tmp_path / name)
    (tmp_path / "bad.png").write_bytes(b"damaged")
    names = {"b.png": 4, "bad.png": 8, "a.png": 2}
    entries = [{"file_name": name, "id": number, "height": 20, "width": 30} for name, number in names.items()]
    (tmp_path / "ids.json").write_text(json.dumps(entries))
    return find_images(tmp_path / "ids.json")


def results_in(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder, without what an unfinished prediction keeps in hidden ones."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    names = {path: path.relative_to(folder).as_posix() for path in files}
    return {name: path.read_bytes() for path, name in names.items() if not name.startswith(".")}


def predict(images: list[InputImage], output: Path, predictor: FixedPredictor, **settings: object) -> PredictionSummary:
    return predict_to_folder(predictor, images, output, **settings)  # type: ignore[arg-type]


def test_every_file_is_written_for_the_good_images(
    images: list[InputImage], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    summary = predict(images, output, FixedPredictor(score_threshold=0.45))
    assert summary.done == 2
    assert list(summary.failed) == ["bad.png"]
    answer = json.loads((output / "answer.json").read_text())
    assert [(result["image_id"], round(result["score"], 3)) for result in answer] == [
        (4, 0.9), (4, 0.4), (2, 0.9), (2, 0.4),
    ]  # fmt: skip
    with zipfile.ZipFile(output / "answer.zip") as archive:
        assert json.loads(archive.read("answer.json")) == answer
    with (output / "counts.csv").open() as handle:
        rows = list(csv.reader(handle))
    assert rows == [
        ["image", "image_id", "count", "threshold", "capped", "um_per_px", "nuclei_per_mm2"],
        ["b", "4", "1", "0.45", "false", "0.5", "6666.6667"],
        ["a", "2", "1", "0.45", "false", "0.5", "6666.6667"],
    ]
    assert json.loads((output / "images.json").read_text()) == [
        {"file_name": "b.png", "height": 20, "width": 30, "id": 4},
        {"file_name": "a.png", "height": 20, "width": 30, "id": 2},
    ]
    assert sorted(path.name for path in (output / "overlays").iterdir()) == ["a.png", "b.png"]
    assert "bad.png" in capsys.readouterr().err


def test_written_ids_are_ids_for_the_same_folder(images: list[InputImage], tmp_path: Path) -> None:
    predict(images, tmp_path / "out", FixedPredictor(), overlays=False)
    again = find_images(tmp_path, tmp_path / "out" / "images.json")
    assert {image.name: image.image_id for image in again} == {"a": 2, "b": 4}
    assert not (tmp_path / "out" / "overlays").exists()


@pytest.mark.parametrize(
    ("stored", "given", "count", "says"), [(0.35, None, 2, False), (0.35, 0.95, 0, False), (None, None, 1, True)]
)
def test_count_threshold(
    images: list[InputImage],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    stored: float | None,
    given: float | None,
    count: int,
    says: bool,
) -> None:
    predictor = FixedPredictor(score_threshold=stored)
    summary = predict(images[:1], tmp_path / "out", predictor, count_threshold=given, overlays=False)
    assert summary.nuclei == count
    assert ("no score threshold" in capsys.readouterr().err) == says


def test_what_the_predictor_leaves_out_is_not_counted_as_if_looked_for(
    images: list[InputImage], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predictor = FixedPredictor(score_threshold=0.35, least=0.8)
    summary = predict(images[:1], tmp_path / "out", predictor, overlays=False)
    assert summary.count_threshold == 0.8
    assert "use the threshold 0.8 instead of 0.35: the prediction keeps no score below it" in capsys.readouterr().err
    predict(images[:1], tmp_path / "out", predictor, count_threshold=0.85, overlays=False)
    assert "instead" not in capsys.readouterr().err


def test_limit_on_detections_is_reported_for_each_image(
    images: list[InputImage], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = predict(images, tmp_path / "out", FixedPredictor(detections=3), overlays=False)
    assert summary.done == 2
    assert capsys.readouterr().err.count("3 found, 3 allowed") == 2
    assert (tmp_path / "out" / "counts.csv").read_text().count("true") == 2


def test_no_good_image_still_leaves_whole_files(images: list[InputImage], tmp_path: Path) -> None:
    summary = predict(images[1:2], tmp_path / "out", FixedPredictor())
    assert summary.done == 0
    assert json.loads((tmp_path / "out" / "answer.json").read_text()) == []
    assert len((tmp_path / "out" / "counts.csv").read_text().splitlines()) == 1


def test_an_overlay_is_rendered_while_the_network_predicts_the_next_image(
    images: list[InputImage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_next, waited = threading.Event(), []

    class TellingPredictor(FixedPredictor):
        runs = 0

        def run(self, image: PreparedImage) -> Prediction:
            self.runs += 1
            if self.runs == 2:
                has_next.set()
            return super().run(image)

    def draw(path: Path, *_: object) -> None:
        waited.append(has_next.wait(10))
        path.parent.mkdir(exist_ok=True)
        path.touch()

    monkeypatch.setattr("nucleiseg.writers.overlay.write_overlay", draw)
    predict(images, tmp_path / "out", TellingPredictor())
    assert waited == [True, True]


def test_files_are_in_the_order_of_the_input_however_long_each_image_takes(
    images: list[InputImage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    second_is_drawn = threading.Event()

    def draw(path: Path, *_: object) -> None:
        assert second_is_drawn.wait(10) if path.stem == "b" else second_is_drawn.set() is None
        path.parent.mkdir(exist_ok=True)
        path.touch()

    monkeypatch.setattr("nucleiseg.writers.overlay.write_overlay", draw)
    summary = predict(images, tmp_path / "out", FixedPredictor(detections=3))
    assert summary.done == 2
    assert [line.split(",")[0] for line in (tmp_path / "out" / "counts.csv").read_text().splitlines()[1:]] == ["b", "a"]
    answer = json.loads((tmp_path / "out" / "answer.json").read_text())
    assert [result["image_id"] for result in answer] == [4, 4, 2, 2]
    said = capsys.readouterr().err
    assert said.index("b: 3 found") < said.index("bad.png") < said.index("a: 3 found")


@pytest.mark.parametrize(
    ("place", "error"),
    [("predictor.run", KeyboardInterrupt), ("overlay.write_overlay", OSError), ("predictor.prepare", RuntimeError)],
)
def test_what_stops_the_network_or_a_thread_leaves_the_former_files(
    images: list[InputImage],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    error: type[BaseException],
) -> None:
    def fail(*_: object) -> None:
        raise error("stopped")

    predictor, output = FixedPredictor(), tmp_path / "out"
    predict(images, output, predictor)
    files = results_in(output)
    owner, name = place.split(".")
    monkeypatch.setattr(predictor if owner == "predictor" else overlay, name, fail)
    with pytest.raises(error, match="stopped"):
        predict(images, output, predictor)
    assert results_in(output) == files


EVERYTHING = ("coco", "overlays", "geojson", "geojson.gz", "labels", "csv")


def test_every_format_is_written_and_replaced_as_a_whole(images: list[InputImage], tmp_path: Path) -> None:
    output = tmp_path / "out"
    predict(images, output, FixedPredictor(score_threshold=0.35), write=EVERYTHING)
    per_image = {f"{folder}/{name}{end}" for name in "ab" for folder, end in (
        ("overlays", ".png"), ("geojson", ".geojson"), ("geojson", ".geojson.gz"), ("labels", "_labels.tif"),
        ("nuclei", ".csv"),
    )}  # fmt: skip
    together = {"answer.json", "answer.zip", "counts.csv", "images.json", "images.csv"}
    assert results_in(output).keys() == per_image | together
    labels = tifffile.imread(output / "labels/a_labels.tif")
    with (output / "nuclei/a.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    features = json.loads((output / "geojson/a.geojson").read_text())["features"]
    assert [int(row["area_px"]) for row in rows] == np.bincount(labels.ravel())[1:].tolist() == [64, 64]
    assert [row["id"] for row in rows] == [feature["id"] for feature in features]
    predict(images[:1], output, FixedPredictor(), write=["geojson"])
    assert results_in(output).keys() == {"counts.csv", "images.json", "geojson/b.geojson"}
    assert not (output / "labels").exists()


def test_overlays_false_is_another_spelling(images: list[InputImage], tmp_path: Path) -> None:
    predict(images, tmp_path / "one", FixedPredictor(), overlays=False)
    predict(images, tmp_path / "two", FixedPredictor(), write=["coco"])
    one, two = results_in(tmp_path / "one"), results_in(tmp_path / "two")
    assert one.keys() == two.keys()
    assert one["answer.json"] == two["answer.json"]
    with pytest.raises(InputError, match="write has 'svg'"):
        predict(images, tmp_path / "three", FixedPredictor(), write=["svg"])
    assert not (tmp_path / "three").exists()


def test_a_resumed_prediction_has_the_same_files(images: list[InputImage], tmp_path: Path) -> None:
    class Stopping(FixedPredictor):
        runs = 0

        def run(self, image: PreparedImage) -> Prediction:
            self.runs += 1
            if self.runs == 2:
                raise KeyboardInterrupt
            return super().run(image)

    formats = [*EVERYTHING, *(["zarr"] if find_spec("ome_zarr") else [])]
    predict(images, tmp_path / "whole", FixedPredictor(), write=formats)
    with pytest.raises(KeyboardInterrupt):
        predict(images, tmp_path / "out", Stopping(), write=formats)
    predict(images, tmp_path / "out", FixedPredictor(), write=formats, resume=True)
    whole, resumed = results_in(tmp_path / "whole"), results_in(tmp_path / "out")
    whole.pop("answer.zip"), resumed.pop("answer.zip")  # holds times
    assert resumed == whole
