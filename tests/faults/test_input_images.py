"""Images under bad names and files that are not images: reported and counted, and all others are predicted."""

import csv
import json
import os
import re
import socket
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nucleiseg.cli.evaluate import evaluate
from nucleiseg.cli.predict import predict
from nucleiseg.errors import InputError
from nucleiseg.inference.image_ids import read_ids
from nucleiseg.inference.images import find_images
from nucleiseg.models.mask_rcnn import MaskRCNN
from nucleiseg.writers import result_set


@pytest.fixture
def predicted(tiny_checkpoint: Path, tmp_path: Path) -> Callable[..., int]:
    """Predict `in` into `out`, without overlays unless they are asked for."""

    def run(**keys: Any) -> int:  # noqa: ANN401
        paths = {"checkpoint": tiny_checkpoint, "input": tmp_path / "in", "output": tmp_path / "out"}
        return predict(**{**paths, "device": "cpu", "overlays": False, **keys})

    return run


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((40, 48, 3), 128, dtype=np.uint8)).save(path, "PNG")
    return path


def counted_images(folder: Path) -> list[str]:
    with (folder / "counts.csv").open(encoding="utf-8", newline="") as handle:
        return [row["image"] for row in csv.DictReader(handle)]


def test_images_of_one_name_in_two_folders_are_predicted_apart(predicted: Callable[..., int], tmp_path: Path) -> None:
    for name in ("a.png", "site1/a.png", "site2/a.png", "site2/a.tif", "N/images/N.png", "N/masks/1.png"):
        put(tmp_path / "in" / name)
    assert predicted(overlays=True) == 0
    names = ["a", "N", "site1/a", "site2/a.png", "site2/a.tif"]
    assert sorted(counted_images(tmp_path / "out")) == sorted(names)
    overlays = {
        str(path.relative_to(tmp_path / "out/overlays").as_posix()) for path in (tmp_path / "out").rglob("*.png")
    }
    assert {name for name in overlays if "-" not in name} == {"a.png", "N.png", "site1/a.png"} | {
        "site2/a.png.png",
        "site2/a.tif.png",
    }
    files = [entry["file_name"] for entry in json.loads((tmp_path / "out/images.json").read_text())]
    assert sorted(files) == ["N/images/N.png", "a.png", "site1/a.png", "site2/a.png", "site2/a.tif"]
    again = find_images(tmp_path / "in", tmp_path / "out/images.json")
    assert [image.problem for image in again] == [None] * 5


@pytest.mark.skipif(os.name == "nt", reason="Windows takes none of these names")
def test_no_name_costs_the_others_their_result(
    predicted: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [
        "n" * 240,
        "line\nbreak", 'quo"te', "it's", "50%", "-rf", "CON", "a:b", "back\\slash", " space ", "a.b.c", "=1+1",
        "A", "a", "\x1b[31mred", os.fsdecode(b"bytes\xff"), "核" * 80,
    ]  # fmt: skip
    for name in names:
        put(tmp_path / "in" / f"{name}.png")
    assert predicted(overlays=True) == 0
    assert len(counted_images(tmp_path / "out")) == len(names)
    assert len(list((tmp_path / "out/overlays").rglob("*.png"))) == len(names)
    with zipfile.ZipFile(tmp_path / "out/answer.zip") as archive:
        assert archive.read("answer.json") == (tmp_path / "out/answer.json").read_bytes()
    entries = read_ids(tmp_path / "out/images.json")
    assert {entry["file_name"] for entry in entries} == {f"{name}.png" for name in names}
    assert capsys.readouterr().err.count("failed") == 0


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX has these files")
def test_files_that_would_block_are_reported_and_the_others_predicted(
    predicted: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = put(tmp_path / "in/good.png").parent
    os.mkfifo(folder / "fifo.png")
    (folder / "device.png").symlink_to("/dev/zero")
    (folder / "gone.png").symlink_to(folder / "nowhere")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    (folder / "empty.png").touch()
    (folder / "folder.png").mkdir()
    monkeypatch.chdir(folder)  # a socket's path has at most some 100 letters
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind("socket.png")
        assert predicted() == 6
    said = capsys.readouterr().err
    assert "fifo.png is a named pipe, not a regular file" in said
    assert "device.png is a device" in said
    assert "socket.png is a socket" in said
    assert "6 images failed: device.png, empty.png, fifo.png, gone.png, loop.png, socket.png." in said
    assert counted_images(tmp_path / "out") == ["good"]


def put_ids(path: Path, *entries: tuple[str, Any]) -> Path:
    path.write_text(json.dumps([{"file_name": name, "id": number} for name, number in entries]))
    return path


def test_ids_as_text_and_file_names_with_folders_and_backslashes(
    predicted: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("x/a.png", "y/a.png", "z/b.png", "c.png"):
        put(tmp_path / "in" / name)
    pairs = (("x/a.png", "x_1"), ("y\\a.png", "y_1"), ("C:\\data\\b.png", 7.0), ("./c.png", 3), ("n" * 5000, "long"))
    ids = put_ids(tmp_path / "ids.json", *pairs, ("no\0thing.png", "null"))
    assert predicted(ids=ids) == 2
    assert "is listed in the file of image ids, but missing: put it at" in capsys.readouterr().err
    written = [(entry["file_name"], entry["id"]) for entry in json.loads((tmp_path / "out/images.json").read_text())]
    assert written == [("x/a.png", "x_1"), ("y\\a.png", "y_1"), ("C:\\data\\b.png", 7), ("./c.png", 3)]
    assert counted_images(tmp_path / "out") == ["x/a", "y/a", "C:/data/b", "c"]
    results = json.loads((tmp_path / "out/answer.json").read_text())
    assert {result["image_id"] for result in results} <= {"x_1", "y_1", 7, 3}
    listing = put_ids(tmp_path / "in/list.json", *pairs[:4])
    assert [image.path.name for image in find_images(listing) if image.path.exists()] == ["a.png", "a.png", "c.png"]


def test_an_entry_that_could_be_two_images_is_reported(tmp_path: Path) -> None:
    for name in ("x/a.png", "y/a.png", "b.png"):
        put(tmp_path / "in" / name)
    images = find_images(tmp_path / "in", put_ids(tmp_path / "ids.json", ("a.png", 1), ("b.png", 2)))
    assert [image.problem is None for image in images] == [False, True]
    with pytest.raises(InputError, match=r"a\.png of the file of image ids could be x.a\.png or y.a\.png"):
        images[0].read()


def test_images_that_are_not_listed_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(tmp_path / "in/a.png")
    put(tmp_path / "in/b.png")
    find_images(tmp_path / "in", put_ids(tmp_path / "ids.json", ("a.png", 1)))
    assert "1 image not listed in the file of image ids passed over: b.png." in capsys.readouterr().err


def test_a_killed_prediction_is_resumed_by_its_command(
    predicted: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b", "c"):
        put(tmp_path / f"in/{name}.png")
    forward, runs = MaskRCNN.forward, []

    def interrupted(network: MaskRCNN, *arguments: Any) -> Any:  # noqa: ANN401
        runs.append(1)
        if len(runs) == 3:
            raise KeyboardInterrupt
        return forward(network, *arguments)

    monkeypatch.setattr(MaskRCNN, "forward", interrupted)
    with pytest.raises(KeyboardInterrupt):
        predicted()
    with pytest.raises(InputError, match=r"score_threshold was 0\.05 and is 0\.2"):
        predicted(resume=True, score_threshold=0.2)
    assert predicted(resume=True, device="auto") == 0
    resumed = re.search(r"Resuming: (\d) of 3 images are finished\.", capsys.readouterr().err)
    finished = int(resumed[1]) if resumed else 0  # 2, or fewer where a thread had not yet begun to write
    assert 1 <= finished <= 2
    calls = 3 + 3 - finished
    assert len(runs) == calls
    assert counted_images(tmp_path / "out") == ["a", "b", "c"]
    assert predicted(resume=True) == 0
    assert len(runs) == calls
    (tmp_path / "out" / result_set.SWAP).mkdir()
    with pytest.raises(InputError, match="was interrupted while it replaced an older one"):
        evaluate(predictions=tmp_path / "out/answer.json", truth=tmp_path / "in", output=tmp_path / "metrics.json")
