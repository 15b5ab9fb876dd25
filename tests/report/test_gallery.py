"""The gallery: the worst first, the numbers of the outcomes, pictures that are pictures, no image without need."""

import base64
import sys
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.append(str(Path(__file__).parent))
from report_data import SIDE, make_image, make_record

from nucleiseg.errors import InputError
from nucleiseg.report import gallery
from nucleiseg.report.gallery import Picture, gallery_images

SHARES = (0.9, 0.3, 0.6)
IMAGES = [make_image(index, share) for index, share in enumerate(SHARES)]
TRUTHS = {truth.name: truth for _, truth, _ in IMAGES}
PIXELS = {truth.name: image for image, truth, _ in IMAGES}


def decode(picture: Picture) -> np.ndarray:
    kind, data = picture.uri.split(",")
    assert kind == "data:image/webp;base64"
    pixels = np.asarray(Image.open(BytesIO(base64.b64decode(data))).convert("RGB"))
    assert pixels.shape == (picture.height, picture.width, 3)
    return pixels.astype(int)


def test_the_worst_come_first_and_only_they_are_read() -> None:
    asked = []

    def pixels(name: str) -> np.ndarray:
        asked.append(name)
        return PIXELS[name]

    shown = gallery_images(make_record(IMAGES), TRUTHS, pixels, most=2)
    assert [item.name for item in shown] == asked == ["image_1", "image_2"]
    worst = shown[0]
    assert worst.found + worst.missed == worst.truths
    assert worst.found + worst.false == worst.predictions
    assert worst.f1 == 2 * worst.found / (worst.truths + worst.predictions)
    assert worst.score_threshold == 0.5


def test_pictures_show_the_image_and_the_lines_on_it() -> None:
    (item,) = gallery_images(make_record(IMAGES), TRUTHS, PIXELS.__getitem__, most=1)
    image, truth, prediction = (decode(picture) for picture in (item.image, item.truth, item.prediction))
    assert image.shape == (7 * SIDE, 7 * SIDE, 3), "enlarged by a whole factor to about 640"
    yellow = np.array(gallery.STYLES["missed"].color)
    assert (abs(truth - yellow).max(axis=2) < 60).sum() > 100
    assert (abs(image - yellow).max(axis=2) < 60).sum() < 10
    assert abs(truth - image).mean() > 1
    assert abs(prediction - image).mean() > 0.3


def test_large_images_are_shrunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery, "LARGEST_SIDE", 48)
    (item,) = gallery_images(make_record(IMAGES), TRUTHS, PIXELS.__getitem__, most=1)
    assert (item.image.height, item.image.width) == (48, 48)


def test_images_that_cannot_be_had_are_left_out_with_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    def pixels(name: str) -> np.ndarray:
        if name == "image_1":
            raise InputError("the file is gone.")
        return PIXELS[name][:50] if name == "image_2" else PIXELS[name]

    assert [item.name for item in gallery_images(make_record(IMAGES), TRUTHS, pixels)] == ["image_0"]
    said = capsys.readouterr().err
    assert "the file is gone." in said
    assert f"50 x {SIDE} pixels" in said
    assert gallery_images(make_record(IMAGES), {}, pixels) == []


def test_an_empty_image_is_no_error() -> None:
    image, truth, results = IMAGES[0]
    empty = replace(truth, masks=[], labels=[]), replace(results, masks=[], scores=[], labels=[])
    (item,) = gallery_images(make_record([(image, *empty)]), {truth.name: empty[0]}, PIXELS.__getitem__)
    assert (item.f1, item.truths, item.predictions) == (1, 0, 0)
