"""The main job from plain configuration: train, resume, predict; and what is refused before any work."""

import csv
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import nucleiseg
from nucleiseg.doors.predicting import find_checkpoint, predict
from nucleiseg.doors.training import resume, train
from nucleiseg.errors import InputError

Composed = Callable[..., dict[str, Any]]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_train_resume_and_predict(
    composed: Composed, tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    train(composed("train", *tiny, "trainer.max_steps=3", "checkpoint.every=2"), run)

    said = capsys.readouterr().err
    assert "the data are DRAWN" in said
    assert "nothing is frozen" in said
    assert "3 steps of" in said
    assert [row["step"] for row in rows(run / "metrics.csv")] == ["1", "2", "3"]
    assert [row["path"] for row in rows(run / "index.csv")] == [
        "checkpoints/step_000002.ckpt",
        "checkpoints/step_000003.ckpt",
    ]
    assert all(row["val/ap50"] for row in rows(run / "index.csv"))
    assert json.loads((run / "status.json").read_text())["state"] == "done"
    split = json.loads((run / "splits.json").read_text())
    assert not set(split["train"]) & set(split["val"])

    rates = [row["lr"] for row in rows(run / "metrics.csv")]
    resume([f"resume={run}", "trainer.max_steps=5"])
    metrics = rows(run / "metrics.csv")
    assert [row["step"] for row in metrics] == ["1", "2", "3", "4", "5"]
    assert [row["lr"] for row in metrics[:3]] == rates
    assert "optim:\n" in (run / "config.yaml").read_text()

    images = tmp_path / "images"
    images.mkdir()
    picture = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(picture).save(images / "a.png")
    (images / "broken.png").write_bytes(b"no image")
    checkpoint = run / "checkpoints" / "step_000005.ckpt"
    failed = predict(checkpoint=checkpoint, input=images, output=tmp_path / "out", score_threshold=0.0, device="cpu")
    assert failed == 1
    with zipfile.ZipFile(tmp_path / "out" / "answer.zip") as archive:
        results = json.loads(archive.read("answer.json"))
    assert all(result["segmentation"]["size"] == [60, 80] for result in results)
    assert (tmp_path / "out" / "overlays" / "a.png").exists()
    assert [row["image"] for row in rows(tmp_path / "out" / "counts.csv")] == ["a"]
    assert predict(checkpoint=run, input="demo", output=tmp_path / "demo", overlays=False, device="cpu") == 0
    assert len(rows(tmp_path / "demo" / "counts.csv")) == 4
    assert nucleiseg.load(run / "checkpoints" / "last.ckpt", device="cpu").predict(picture).size == (60, 80)


def test_a_runs_best_checkpoint_is_found(tmp_path: Path) -> None:
    header = "step,path,val/ap50\n"
    (tmp_path / "index.csv").write_text(header + "1,a,0.5\n2,b,0.7\n3,c,0.6\n4,d,\n")
    assert find_checkpoint(tmp_path) == tmp_path / "b"
    (tmp_path / "index.csv").write_text(header + "1,a,\n2,b,\n")
    assert find_checkpoint(tmp_path) == tmp_path / "b"
    assert find_checkpoint(tmp_path / "index.csv") == tmp_path / "index.csv"
    with pytest.raises(InputError, match="a folder without"):
        find_checkpoint(tmp_path.parent)


def test_a_run_is_not_resumed_on_other_data(composed: Composed, tiny: list[str], tmp_path: Path) -> None:
    train(composed("train", *tiny, "trainer.max_steps=1", "validation.losses=false"), tmp_path)
    config = tmp_path / "config.yaml"
    config.write_text(config.read_text().replace("images: 4", "images: 5"))
    with pytest.raises(InputError, match="The data have changed"):
        resume([f"resume={tmp_path}", "trainer.max_steps=2"])


def test_a_resumed_run_keeps_its_configuration(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"optim\.lr=1 cannot be given; only trainer\.\* can"):
        resume([f"resume={tmp_path}", "optim.lr=1"])
    with pytest.raises(InputError, match=r"there is no config\.yaml in it"):
        resume([f"resume={tmp_path}"])


def test_bad_data_are_told_in_the_status_too(composed: Composed, tmp_path: Path) -> None:
    config = composed("train", "data=folders", f"data.root={tmp_path / 'nowhere'}")
    with pytest.raises(InputError, match="nowhere does not exist"):
        train(config, tmp_path)
    status = json.loads((tmp_path / "status.json").read_text())
    assert status["state"] == "failed"
    assert "nowhere does not exist" in status["reason"]
    assert not (tmp_path / "config.yaml").exists()
