"""The door of prediction: its keys, what they stand for, and what it says."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nucleiseg.cli import predict as predicting
from nucleiseg.cli.predict import PredictKeys, predict
from nucleiseg.data.readers.demo import DemoReader
from nucleiseg.errors import InputError
from nucleiseg.models.mask_rcnn import MaskRCNN
from nucleiseg.run_tables import find_checkpoint


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one image in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    Image.fromarray(np.full((72, 90, 3), 128, dtype=np.uint8)).save(tmp_path / "in" / "a.png")
    return tmp_path / "in"


def test_demo_is_synthetic_where_no_such_folder_exists(
    tiny_checkpoint: Path, images: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predicting, "DEMO", DemoReader(images=2, size=72))
    keys = {"checkpoint": tiny_checkpoint, "input": "demo", "overlays": False, "device": "cpu"}
    images.rename("demo")
    assert predict(**keys, output="own") == 0
    assert (Path("own") / "images.json").read_text().count("a.png") == 1
    assert "SYNTHETIC" not in capsys.readouterr().err
    Path("demo").rename("elsewhere")
    assert predict(**keys, output="drawn") == 0
    assert [image["id"] for image in json.loads((Path("drawn") / "images.json").read_text())] == [1, 2]
    assert (Path("drawn") / "images.json").read_text().count("demo_000/images/demo_000.png") == 1
    assert "they are SYNTHETIC, not photographed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("detections", "many", "detections is 'many'; it accepts a whole number"),
        ("detections", 2.5, "detections is 2.5; it accepts a whole number"),
        ("score_threshold", "high", "score_threshold is 'high'; it accepts a number"),
        ("score_threshold", 1.5, "score_threshold is 1.5; it accepts a number from 0 to 1, or null"),
        ("count_threshold", "high", "count_threshold is 'high'; it accepts a number"),
        ("count_threshold", 50, "count_threshold is 50; it accepts a number from 0 to 1"),
        ("overlays", "maybe", "overlays is 'maybe'; it accepts true or false"),
        ("precision", "64", "precision is '64'; it accepts one of 32, tf32, 16-mixed, bf16-mixed"),
        ("precision", 16, "precision is 16; it accepts one of"),
        ("overlay", True, r"overlay is not a key; did you mean overlays\?"),
        ("write", ["coco", "geo"], "write has 'geo'; it accepts a list of coco, overlays, geojson"),
        ("write", "coco", "write is 'coco'; it accepts a list"),
    ],
)
def test_a_key_that_makes_no_sense_is_named(key: str, value: object, sentence: str) -> None:
    with pytest.raises(InputError, match=f"^{sentence}"):
        predict(checkpoint="nowhere", input="nowhere", **{key: value})


def test_the_reference_card_has_the_keys_of_the_command(composed: Callable[..., dict[str, Any]]) -> None:
    keys = PredictKeys(checkpoint="c", input="i").to_dict()
    assert composed("predict", "checkpoint=c", "input=i") == {**keys, "precision": 32}, "a number, as YAML reads it"


def test_an_output_that_cannot_be_written_is_refused_first(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for output in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match=rf"output={output}: {tmp_path / 'file'} is a file"):
            predict(checkpoint="nowhere", input="nowhere", output=output)


def test_the_tilde_is_the_users_home(tiny_checkpoint: Path, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(images.parent))
    monkeypatch.setenv("USERPROFILE", str(images.parent))
    (images.parent / "step.ckpt").write_bytes(tiny_checkpoint.read_bytes())
    assert predict(checkpoint="~/step.ckpt", input="~/in", output="~/2024", overlays=False, device="cpu") == 0
    assert (images.parent / "2024" / "answer.zip").exists()
    assert not Path("~").exists()


def test_the_precision_is_used_and_written_down(
    tiny_checkpoint: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[bool] = []
    forward = MaskRCNN.forward

    def watched(network: MaskRCNN, *arguments: Any) -> Any:  # noqa: ANN401
        used.append(torch.is_autocast_enabled("cpu"))
        return forward(network, *arguments)

    monkeypatch.setattr(MaskRCNN, "forward", watched)
    for precision, name in ((32, "32"), ("32", "32"), ("tf32", "tf32"), ("bf16-mixed", "bf16-mixed")):
        predict(
            checkpoint=tiny_checkpoint, input=images, output="out", overlays=False, device="cpu", precision=precision
        )
        assert json.loads((Path("out") / "answer.origin.json").read_text())["precision"] == name
    assert used == [False, False, False, True]
    with pytest.raises(InputError, match=r"^precision=16-mixed is for GPUs, .* precision=bf16-mixed"):
        predict(checkpoint=tiny_checkpoint, input=images, output="out", device="cpu", precision="16-mixed")


def test_digits_are_a_folders_name(tiny_checkpoint: Path, images: Path) -> None:
    images.rename("2023")
    assert predict(checkpoint=tiny_checkpoint, input=2023, output=2024, overlays=False, device="cpu") == 0
    assert (Path("2024") / "answer.zip").exists()


@pytest.mark.parametrize(("overlays", "ends"), [(False, "images.json.\n"), (True, "images.json, overlays.\n")])
def test_the_end_says_what_was_written(
    tiny_checkpoint: Path, images: Path, capsys: pytest.CaptureFixture[str], overlays: bool, ends: str
) -> None:
    (images / "bad.png").write_bytes(b"damaged")
    predict(checkpoint=tiny_checkpoint, input=images, count_threshold=1, overlays=overlays, device="cpu")
    said = capsys.readouterr().err
    assert f"1 image with 0 nuclei: {Path('predictions') / 'answer.zip'}, counts.csv, {ends}" in said
    assert "1 image failed: bad.png." in said


@pytest.mark.parametrize(
    ("scores", "sentence"),
    [
        (("0.7000000000000001", "0.5"), "step_000001.ckpt, the best of {} by val/ap50 (0.7000).\n"),
        (("", ""), "step_000002.ckpt, the last of {}: none was validated.\n"),
    ],
)
def test_the_chosen_checkpoint_is_logged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], scores: tuple[str, str], sentence: str
) -> None:
    lines = [f"{step},checkpoints/step_{step:06d}.ckpt,{score}\n" for step, score in enumerate(scores, 1)]
    (tmp_path / "index.csv").write_text("step,path,val/ap50\n" + "".join(lines))
    find_checkpoint(tmp_path)
    assert capsys.readouterr().err == "Using checkpoints/" + sentence.format(tmp_path)
