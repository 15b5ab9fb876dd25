"""The main job from plain configuration: train, resume, predict; and what is refused before any work."""

import csv
import json
import zipfile
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

import nucleiseg
from nucleiseg.cli import check
from nucleiseg.cli import train as training
from nucleiseg.cli.predict import predict
from nucleiseg.cli.resume import resume
from nucleiseg.cli.train import train
from nucleiseg.data.datamodule import NucleiDataModule
from nucleiseg.errors import InputError
from nucleiseg.models.mask_rcnn import MaskRCNN
from nucleiseg.run_tables import find_checkpoint
from nucleiseg.training.callbacks.checkpoints import Checkpoints

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
    assert f"The run's folder: {run}\n" in said
    assert said.endswith(f"Done: python predict.py checkpoint={run} input=FILE_OR_FOLDER\n")
    assert "the data are SYNTHETIC" in said
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


def test_the_loader_samples_the_anchors_of_this_network(
    composed: Composed, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samplers = []

    def take(network: MaskRCNN, _: object, data: NucleiDataModule, *__: object, **___: object) -> None:
        samplers.extend([data.prepare_batch, network.anchor_sampler()])

    monkeypatch.setattr(training.run, "train", take)
    train(composed("train", *tiny, "data.val=none"), tmp_path)
    assert samplers[0] == samplers[1]
    assert samplers[0] is not None


def write_index(run: Path, *scores: str) -> None:
    """Write an index of steps 1, 2, ... with these `val/ap50`."""
    lines = [f"{step},checkpoints/step_{step:06d}.ckpt,{score}\n" for step, score in enumerate(scores, 1)]
    (run / "index.csv").write_text("step,path,val/ap50\n" + "".join(lines))


def test_a_runs_best_checkpoint_is_found(tmp_path: Path) -> None:
    write_index(tmp_path, "0.5", "0.7", "0.6", "")
    assert find_checkpoint(tmp_path) == tmp_path / "checkpoints" / "step_000002.ckpt"
    write_index(tmp_path, "", "")
    assert find_checkpoint(tmp_path) == tmp_path / "checkpoints" / "step_000002.ckpt"
    assert find_checkpoint(tmp_path / "index.csv") == tmp_path / "index.csv"
    with pytest.raises(InputError, match="a folder without"):
        find_checkpoint(tmp_path.parent)


def status(run: Path) -> dict[str, Any]:
    return json.loads((run / "status.json").read_text(encoding="utf-8"))


@pytest.fixture
def short(composed: Composed, tiny: list[str], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A run of one step without validation; how long a step takes is not tried out."""
    monkeypatch.setattr(check, "probe_step", lambda *_: 1.0)
    return composed("train", *tiny, "trainer.max_steps=1", "validation.losses=false", "data.val=none")


def test_a_resume_that_cannot_begin_leaves_the_run_as_it_is(short: dict[str, Any], tmp_path: Path) -> None:
    given = deepcopy(short)
    train(short, tmp_path, hydra_files={"overrides.yaml": "- seed=1\n"})
    assert short == given, "the caller's configuration is not ours to change"
    before = status(tmp_path)
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for config in (short, {**short, "seed": -1}):
        with pytest.raises(InputError, match=r"holds a run already|seed is -1"):
            train(config, tmp_path, hydra_files={"overrides.yaml": "- seed=2\n"})
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == files
    assert (tmp_path / ".hydra" / "overrides.yaml").read_text() == "- seed=1\n"
    config = tmp_path / "config.yaml"
    config.write_text(config.read_text().replace("images: 4", "images: 5"))
    changed = config.read_text()
    with pytest.raises(InputError, match="The data have changed"):
        resume([f"resume={tmp_path}", "trainer.max_steps=2"])
    assert status(tmp_path) == before
    assert config.read_text() == changed


def test_a_bad_setting_is_refused_before_a_file_of_the_run_is_written(short: dict[str, Any], tmp_path: Path) -> None:
    short["seed"] = None
    with pytest.raises(InputError, match="seed is null; it accepts"):
        train(short, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {".lock", "status.json"}
    assert "seed is null" in status(tmp_path)["reason"]


def test_what_a_resume_changes_is_written_down(short: dict[str, Any], tmp_path: Path) -> None:
    train(short, tmp_path)
    resume([f"resume={tmp_path}", "trainer.max_steps=2", "trainer.log_every=1"])
    resume([f"resume={tmp_path}"])
    config = OmegaConf.load(tmp_path / "config.yaml")
    assert (config.trainer.max_steps, config.trainer.log_every, config.optim.schedule.total_steps) == (2, 1, 1)
    assert status(tmp_path)["state"] == "done"
    assert len(rows(tmp_path / "metrics.csv")) == 2


def test_a_run_stopped_in_its_data_check_is_resumed(
    short: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training, "_prepare_data", interrupt)
        train(short, tmp_path)
    assert status(tmp_path)["state"] == "interrupted"
    assert f"python train.py resume={tmp_path} continues it." in capsys.readouterr().err
    resume([f"resume={tmp_path}"])
    assert status(tmp_path)["state"] == "done"
    assert json.loads((tmp_path / "splits.json").read_text())["train"]


@pytest.mark.parametrize("is_first", [True, False])
def test_an_unexpected_error_is_recorded_in_the_status_by_the_first_rank(
    short: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_first: bool
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("nothing to divide by")

    monkeypatch.setattr(training, "_build_network", fail)
    monkeypatch.setattr(training, "is_first_rank", lambda: is_first)
    monkeypatch.setattr(training, "is_first_rank", lambda: is_first)
    with pytest.raises(ZeroDivisionError):
        train(short, tmp_path)
    if is_first:
        assert status(tmp_path) | {"state": "failed", "reason": "nothing to divide by"} == status(tmp_path)
    assert (tmp_path / "status.json").exists() == (tmp_path / "config.yaml").exists() == is_first


def test_the_reason_recorded_by_the_loop_stays(
    short: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short["trainer"]["max_steps"] = 3

    def fail(self: object, trainer: object, module: object, step: int) -> None:
        if step == 2:
            raise MemoryError("full")

    monkeypatch.setattr(Checkpoints, "on_step_end", fail)
    with pytest.raises(InputError, match=r"memory is not enough \(full\)"):
        train(short, tmp_path)
    assert status(tmp_path) | {"state": "failed", "steps": 2, "of": 3} == status(tmp_path)
    assert "memory is not enough (full)" in status(tmp_path)["reason"]


def test_a_resumed_run_keeps_its_configuration(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"optim\.lr=1 cannot be given; it accepts trainer\.\*"):
        resume([f"resume={tmp_path}", "optim.lr=1"])
    with pytest.raises(InputError, match=r"there is no config\.yaml in it"):
        resume([f"resume={tmp_path}"])


def test_bad_data_are_recorded_in_the_status_too(composed: Composed, tmp_path: Path) -> None:
    config = composed("train", "data=folders", f"data.root={tmp_path / 'nowhere'}")
    with pytest.raises(InputError, match="nowhere does not exist"):
        train(config, tmp_path)
    assert status(tmp_path)["state"] == "failed"
    assert "nowhere does not exist" in status(tmp_path)["reason"]
