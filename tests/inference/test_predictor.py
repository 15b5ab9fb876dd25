"""The predictor around a network that answers what it is told."""

import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from torch import Tensor, nn

from nucleiseg.errors import InputError
from nucleiseg.inference.images import InputImage, find_images
from nucleiseg.inference.prediction_stream import AHEAD, predict_all
from nucleiseg.inference.predictor import Predictor
from nucleiseg.inference.settings import PredictionSettings
from nucleiseg.models.checkpoint import Metadata, save
from nucleiseg.models.config import ModelConfig
from nucleiseg.models.mask_rcnn import build
from nucleiseg.structures import Prediction
from nucleiseg.transforms.preprocessing import Preprocessing


class HalfImageNetwork(nn.Module):
    """Finds the left half of every image, and remembers what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.roi_heads = nn.Module()
        self.roi_heads.score_thresh, self.roi_heads.nms_thresh, self.roi_heads.detections_per_img = 0.05, 0.5, 100
        self.rpn = SimpleNamespace(_pre_nms_top_n={"testing": 150}, _post_nms_top_n={"testing": 150})
        self.seen: list[Tensor] = []

    def forward(self, images: list[Tensor]) -> list[Prediction]:
        self.seen += images
        return [self.find(*image.shape[1:]) for image in images]

    def find(self, height: int, width: int) -> Prediction:
        return Prediction(
            boxes=torch.tensor([[0.0, 0.0, width / 2, height]]),
            scores=torch.tensor([0.9]) + 0 * self.weight,
            labels=torch.tensor([1]),
            masks=torch.ones(1, 14, 14),
            size=(height, width),
        )


METADATA = Metadata(model={}, scale=1.25, preprocessing={"scale": 1.25})


def make(**settings: Any) -> Predictor:  # noqa: ANN401
    return Predictor(HalfImageNetwork(), METADATA, PredictionSettings(device="cpu", **settings))


IMAGE = np.random.default_rng(0).integers(0, 256, (40, 80, 3), dtype=np.uint8)


def test_predicts_at_the_training_scale_in_source_pixels(capsys: pytest.CaptureFixture[str]) -> None:
    predictor = make()
    prediction = predictor.predict(IMAGE)
    assert predictor.network.seen[0].shape == (3, 50, 100)
    assert predictor.network.seen[0].dtype == torch.uint8
    assert prediction.size == (40, 80)
    assert prediction.boxes.tolist() == [[0, 0, 40, 40]]
    assert not prediction.scores.requires_grad
    assert capsys.readouterr().err == ""


def test_at_scale_one_the_network_sees_the_image_itself() -> None:
    predictor = make(scale=1)
    predictor.predict(IMAGE)
    np.testing.assert_array_equal(predictor.network.seen[0].permute(1, 2, 0).numpy(), IMAGE)


@pytest.mark.parametrize(
    ("settings", "shape"),
    [({"short": 20}, (20, 40)), ({"short": 60, "long": 100}, (50, 100)), ({"scale": 0.5}, (20, 40)), ({}, (50, 100))],
)
def test_sizes_for_the_network(settings: dict[str, Any], shape: tuple[int, int]) -> None:
    assert make(**settings).preprocessing.shape(40, 80) == shape


def test_a_checkpoint_without_a_rule_predicts_at_its_one_scale(capsys: pytest.CaptureFixture[str]) -> None:
    old = Predictor(HalfImageNetwork(), Metadata(model={}, scale=1.25), PredictionSettings(device="cpu"))
    assert "stored one scale for images of any size: all are shown at 1.25" in capsys.readouterr().err
    assert old.preprocessing.shape(40, 80) == (50, 100)


def relative() -> Metadata:
    """Return what a training on images of 40 and 80 pixels with crops of half their sides stores."""
    rule = Preprocessing.of_training((0.5, 0.5), 40, 40, [(40, 40), (80, 80)], bits=12, mpp=0.5)
    return Metadata(model={}, scale=1.5, preprocessing=rule.to_dict())


def test_each_image_is_scaled_as_training_showed_it(capsys: pytest.CaptureFixture[str]) -> None:
    predictor = Predictor(HalfImageNetwork(), relative(), PredictionSettings(device="cpu"))
    for side in (40, 80):
        predictor.predict(np.zeros((side, side, 3), np.uint8))
    assert [tuple(image.shape[1:]) for image in predictor.network.seen] == [(80, 80), (80, 80)]
    assert capsys.readouterr().err == ""
    predictor.predict(np.zeros((160, 160, 3), np.uint8))
    assert predictor.network.seen[2].shape == (3, 160, 160)
    assert "larger than any of the training" in capsys.readouterr().err


def test_the_scale_follows_micrometers_per_pixel() -> None:
    for settings, given, side in (({}, None, 80), ({"mpp": 0.25}, None, 40), ({}, 1.0, 160), ({"mpp": 0.25}, 0.5, 80)):
        predictor = Predictor(HalfImageNetwork(), relative(), PredictionSettings(device="cpu", **settings))
        predictor.predict(np.zeros((40, 40, 3), np.uint8), given)
        assert predictor.network.seen[0].shape == (3, side, side)
    with pytest.raises(InputError, match="does not know the micrometers per pixel"):
        make(mpp=0.25)


def test_a_file_is_decoded_and_scaled_by_what_it_states(tmp_path: Path) -> None:
    pixels = np.full((40, 40), 900, np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", pixels, resolution=(40_000, 40_000), resolutionunit="CENTIMETER")  # 0.25 um
    predictor = Predictor(HalfImageNetwork(), relative(), PredictionSettings(device="cpu"))
    predictor.predict(tmp_path / "a.tif")
    list(predict_all(predictor, find_images(tmp_path), lambda *_: None))
    assert [tuple(image.shape[1:]) for image in predictor.network.seen] == [(40, 40), (40, 40)]
    assert {int(image.max()) for image in predictor.network.seen} == {900 // 16}
    brighter = Predictor(HalfImageNetwork(), relative(), PredictionSettings(device="cpu", bits=10, mpp=0.5))
    brighter.predict(tmp_path / "a.tif")
    assert brighter.network.seen[0].shape == (3, 80, 80)
    assert int(brighter.network.seen[0].max()) == 900 // 4


def test_an_image_larger_than_any_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="would be shown to the network at 80000 x 40000"):
        make(scale=1000).predict(IMAGE)


@pytest.mark.parametrize(("scale", "warns"), [(0.9, True), (1.01, False), (1.55, False), (1.6, True)])
def test_another_scale_than_in_training_is_reported_once(
    scale: float, warns: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    predictor = make(scale=scale)
    predictor.predict(IMAGE)
    predictor.predict(IMAGE)
    assert capsys.readouterr().err.count("trained at 1.25") == warns


def test_shorter_side_counts_as_the_scale_it_makes(capsys: pytest.CaptureFixture[str]) -> None:
    make(short=50).predict(IMAGE)
    assert capsys.readouterr().err == ""
    make(short=100).predict(IMAGE)
    assert "predicted at 2.50 network pixels" in capsys.readouterr().err


def test_limits_are_set_on_the_network() -> None:
    predictor = make(score_threshold=0.2, nms=0.4, detections=700)
    heads = predictor.network.roi_heads
    assert (heads.score_thresh, heads.nms_thresh, heads.detections_per_img) == (0.2, 0.4, 700)
    assert (predictor.detections, predictor.score_threshold) == (700, 0.2)
    assert predictor.network.rpn._post_nms_top_n == predictor.network.rpn._pre_nms_top_n == {"testing": 700}
    assert make(detections=20).network.rpn._post_nms_top_n == {"testing": 150}
    assert make().detections == 100


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"scale": 0.0}, "scale is 0.0; it accepts a number above 0, up to 1,000, or null"),
        ({"scale": float("nan")}, "scale is nan; it accepts"),
        ({"detections": 0}, "detections is 0; it accepts a whole number from 1 to 100,000"),
        ({"detections": 10**6}, "detections is 1000000; it accepts"),
        ({"short": 10**6}, "short is 1000000; it accepts a whole number from 1 to 100,000"),
        ({"long": 0}, "long is 0; it accepts"),
        ({"score_threshold": 1.5}, "score_threshold is 1.5; it accepts a number from 0 to 1"),
        ({"mpp": -0.5}, "mpp is -0.5; it accepts a number above 0"),
        ({"mpp": 0.5, "scale": 1.0}, r"scale \(1\) and .*mpp \(0.5\) all set the scale: give one of them"),
        ({"bits": 11}, "bits is 11; it accepts one of 8, 10, 12, 14, 16"),
        ({"nms": -1.0}, "nms is -1.0; it accepts"),
        ({"scale": 1.0, "short": 500}, "give one of them"),
        ({"precision": "8"}, "precision is '8'; it accepts one of 32, tf32"),
    ],
)
def test_senseless_settings_are_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        make(**settings)


def test_unknown_device_is_refused() -> None:
    with pytest.raises(InputError, match="device=warp cannot be used"):
        Predictor(HalfImageNetwork(), METADATA, PredictionSettings(device="warp"))


@pytest.mark.parametrize(
    "image",
    [np.zeros((5, 5), np.uint8), np.zeros((5, 5, 4), np.uint8), np.zeros((5, 5, 3)), np.zeros((0, 5, 3), np.uint8)],
)
def test_other_arrays_are_refused(image: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"\(H, W, 3\) uint8 RGB array, not"):
        make().predict(image)


def test_takes_a_path(tmp_path: Path) -> None:
    Image.fromarray(IMAGE[..., 0]).save(tmp_path / "grey.png")
    assert make().predict(tmp_path / "grey.png").size == (40, 80)


def test_bad_images_are_reported_and_the_others_predicted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "large", "z"):
        Image.fromarray(IMAGE).resize((len(name), 9)).save(tmp_path / f"{name}.png")
    (tmp_path / "b.png").write_bytes(b"damaged")
    find = HalfImageNetwork.find

    def find_if_small(self: HalfImageNetwork, height: int, width: int) -> Prediction:
        if width > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return find(self, height, width)

    monkeypatch.setattr(HalfImageNetwork, "find", find_if_small)
    reported: dict[str, str] = {}
    done = list(predict_all(make(), find_images(tmp_path), lambda image, text: reported.update({image.name: text})))
    assert [(image.name, prediction.size) for image, _, prediction in done] == [("a", (9, 1)), ("z", (9, 1))]
    assert reported.keys() == {"b", "large"}
    assert "does not fit into memory" in reported["large"]


def test_a_defect_of_ours_is_not_taken_for_a_bad_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(IMAGE).save(tmp_path / "a.png")

    def fail(*_: object) -> Prediction:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(HalfImageNetwork, "find", fail)
    with pytest.raises(RuntimeError, match="shapes"):
        list(predict_all(make(), [InputImage("a", tmp_path / "a.png", 1)], lambda *_: None))


def counting_inputs(folder: Path, count: int, monkeypatch: pytest.MonkeyPatch) -> tuple[list[InputImage], list[str]]:
    """Return images, and the growing list of the names of those that were read."""
    for number in range(count):
        Image.fromarray(IMAGE).save(folder / f"{number}.png")
    read, names = InputImage.read, []

    def count_and_read(self: InputImage, bits: int | None = None) -> np.ndarray:
        names.append(self.name)
        return read(self)

    monkeypatch.setattr(InputImage, "read", count_and_read)
    return find_images(folder), names


def test_the_next_images_are_read_while_the_network_has_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, names = counting_inputs(tmp_path, 2, monkeypatch)
    is_read, read = threading.Event(), InputImage.read

    def read_and_tell(self: InputImage, bits: int | None = None) -> np.ndarray:
        pixels = read(self)
        if self.name == "1":
            is_read.set()
        return pixels

    monkeypatch.setattr(InputImage, "read", read_and_tell)
    find, waited = HalfImageNetwork.find, []

    def find_after_the_next_is_read(self: HalfImageNetwork, height: int, width: int) -> Prediction:
        waited.append(is_read.wait(10))
        return find(self, height, width)

    monkeypatch.setattr(HalfImageNetwork, "find", find_after_the_next_is_read)
    assert len(list(predict_all(make(), images, lambda *_: None))) == 2
    assert waited == [True, True]
    assert sorted(names) == ["0", "1"]


def test_few_images_are_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, names = counting_inputs(tmp_path, 8, monkeypatch)
    for number, (image, _, _) in enumerate(predict_all(make(), images, lambda *_: None)):
        assert image.name == str(number)
        assert len(names) <= number + 1 + AHEAD
    assert len(names) == 8


def test_predictions_are_those_of_one_image_after_the_other(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    for number in range(6):
        shape = (20 + 7 * number, 50 - 5 * number, 3)
        Image.fromarray(generator.integers(0, 256, shape, dtype=np.uint8)).save(tmp_path / f"{number}.png")
    together, alone = make(scale=0.7), make(scale=0.7)
    for image, pixels, prediction in predict_all(together, find_images(tmp_path), lambda *_: None):
        expected = alone.predict(image.path)
        np.testing.assert_array_equal(pixels, image.read())
        assert prediction.size == expected.size
        assert prediction.boxes.tolist() == expected.boxes.tolist()
    assert len(together.network.seen) == 6
    for seen, expected_input in zip(together.network.seen, alone.network.seen, strict=True):
        torch.testing.assert_close(seen, expected_input, rtol=0, atol=0)


def test_too_little_memory_for_reading_is_reported_in_its_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, _ = counting_inputs(tmp_path, 3, monkeypatch)
    read = InputImage.read

    def read_if_small(self: InputImage, bits: int | None = None) -> np.ndarray:
        if self.name == "1":
            raise MemoryError
        return read(self)

    monkeypatch.setattr(InputImage, "read", read_if_small)
    events = []
    for image, _, _ in predict_all(make(), images, lambda image, _: events.append(f"{image.name} failed")):
        events.append(image.name)
    assert events == ["0", "1 failed", "2"]


def test_checkpoint_comes_back_as_the_same_predictor(tmp_path: Path) -> None:
    config = ModelConfig(name="tiny", backbone="resnet18", norm="gn", fpn_channels=32)
    config = replace(config, roi=replace(config.roi, fc_dim=16), mask=replace(config.mask, convs=1, channels=8))
    config = replace(config, detection=replace(config.detection, score_threshold=0.0))
    torch.manual_seed(0)
    network = build(config, num_classes=1)
    metadata = Metadata(model=config.to_dict(), scale=0.8, score_threshold=0.3)
    settings = PredictionSettings(detections=7, device="cpu")
    expected = Predictor(network, metadata, settings).predict(IMAGE)
    save(tmp_path / "step.ckpt", network, metadata)
    predictor = Predictor.from_checkpoint(tmp_path / "step.ckpt", settings)
    found = predictor.predict(IMAGE)
    assert predictor.metadata == metadata
    assert 0 < len(found) <= 7
    torch.testing.assert_close(found.boxes, expected.boxes, rtol=0, atol=0)
    torch.testing.assert_close(found.masks, expected.masks, rtol=0, atol=0)
    assert found.size == (40, 80)
