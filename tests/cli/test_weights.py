"""A run starts from the weights it was told, records which, and needs them no more once it has a checkpoint."""

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from nucleiseg.cli.resume import resume
from nucleiseg.cli.train import train
from nucleiseg.errors import InputError
from nucleiseg.models import checkpoint, zoo
from nucleiseg.models.config import ModelConfig
from nucleiseg.models.download import digest
from nucleiseg.models.mask_rcnn import MaskRCNN, build
from nucleiseg.models.weights.exporter import save_detectron2

Composed = Callable[..., dict[str, Any]]
NAME = "coco/r18_fpn_3x"


@pytest.fixture
def coco(composed: Composed, tiny: list[str]) -> MaskRCNN:
    """COCO weights of a narrow network with ResNet-18, which the zoo does not have."""
    model = ModelConfig.from_dict({**composed("train", *tiny)["model"], "weights": "z"})
    torch.manual_seed(5)
    return build(model, 80)


@pytest.fixture
def source(coco: MaskRCNN, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the zoo have them, at an address that is a file's; return the file."""
    path = tmp_path / "zoo" / "model_final_000000.pkl"
    path.parent.mkdir()
    save_detectron2(coco, path)
    entry = replace(
        zoo.ZOO["coco/r50_fpn_3x"],
        name=NAME,
        backbone="resnet18",
        address=path.as_uri(),
        digest=f"md5:{digest(path, 'md5')[:6]}",
    )
    monkeypatch.setitem(zoo.ZOO, NAME, entry)
    monkeypatch.setattr(zoo, "_WIDTHS", {family: {} for family in zoo._WIDTHS})
    monkeypatch.setenv("NUCLEISEG_CACHE", str(tmp_path / "cache"))
    return path


def steps(run: Path) -> list[str]:
    with (run / "metrics.csv").open(newline="") as file:
        return [row["step"] for row in csv.DictReader(file)]


def model_of(run: Path) -> dict[str, Any]:
    return yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))["model"]


def test_auto_starts_from_coco_and_a_resumed_run_asks_nobody(
    composed: Composed,
    tiny: list[str],
    coco: MaskRCNN,
    source: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    short = ["trainer.max_steps=2", "checkpoint.every=1", "optim.lr=1e-6", "data.val=none"]
    train(composed("train", *tiny, *short, "model.weights=auto"), run)

    said = capsys.readouterr().err
    words = f"{NAME} ({zoo.ZOO[NAME].digest.replace(':', ' ')}...)"
    assert f"Starting from {words}." in said
    assert "the file has 80 classes, this network 1" in said
    assert "norm frozen_bn, stem and res2 are frozen" in said
    recorded = model_of(run)
    assert (recorded["weights"], recorded["norm"], recorded["freeze_at"]) == (NAME, "frozen_bn", 2)

    source.unlink()
    (tmp_path / "cache" / "weights" / source.name).unlink()
    network, metadata = checkpoint.load(run / "checkpoints" / "step_000002.ckpt")
    assert metadata.weights == words
    assert metadata.model == recorded == network.config.to_dict()
    assert torch.equal(network.backbone.body.conv1.weight, coco.backbone.body.conv1.weight)

    resume([f"resume={run}", "trainer.max_steps=3"])
    assert steps(run) == ["1", "2", "3"]
    assert checkpoint.load(run / "checkpoints" / "step_000003.ckpt")[1].weights == words
    assert checkpoint.load(run / "checkpoints" / "last.ckpt")[1].weights == words


def test_auto_without_a_network_trains_from_scratch_loudly(
    composed: Composed, tiny: list[str], source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source.unlink()
    run = tmp_path / "run"
    run.mkdir()
    train(composed("train", *tiny, "trainer.max_steps=1", "data.val=none", "model.weights=auto"), run)
    said = capsys.readouterr().err
    assert "FROM SCRATCH" in said
    assert f"put it at {tmp_path / 'cache' / 'weights' / source.name}" in said
    assert (model_of(run)["weights"], model_of(run)["norm"]) == (None, "gn")
    assert checkpoint.load(run / "checkpoints" / "step_000001.ckpt")[1].weights == "random"


def test_weights_that_cannot_be_had_end_the_run_before_it_starts(
    composed: Composed, tiny: list[str], source: Path, tmp_path: Path
) -> None:
    source.unlink()
    with pytest.raises(InputError, match="cannot be downloaded"):
        train(composed("train", *tiny, f"model.weights={NAME}"), tmp_path)
    assert not (tmp_path / "splits.json").exists()
    assert "cannot be downloaded" in (tmp_path / "status.json").read_text()


def test_a_run_that_saved_nothing_yet_is_resumed_from_the_same_weights_or_not_at_all(
    composed: Composed, tiny: list[str], source: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    config = composed("train", *tiny, "trainer.max_steps=1", "data.val=none", "model.weights=auto")
    train(config, run)
    for file in ("metrics.csv", "index.csv", "checkpoints/last.ckpt", "checkpoints/step_000001.ckpt"):
        (run / file).unlink()
    cached = tmp_path / "cache" / "weights" / source.name
    cached.rename(tmp_path / "elsewhere.pkl")
    source.unlink()
    with pytest.raises(InputError, match=f"{NAME} is not on this computer"):
        resume([f"resume={run}"])
    (tmp_path / "elsewhere.pkl").rename(cached)
    resume([f"resume={run}"])
    assert steps(run) == ["1"]


def test_fine_tuning_from_a_checkpoint(composed: Composed, tiny: list[str], tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    short = ["trainer.max_steps=1", "data.val=none", "optim.lr=1e-6"]
    for folder in (first, second):
        folder.mkdir()
    train(composed("train", *tiny, *short, "model.norm=bn"), first)
    file = first / "checkpoints" / "step_000001.ckpt"
    train(composed("train", *tiny, *short, f"model.weights={file}"), second)
    theirs, _ = checkpoint.load(file)
    ours, metadata = checkpoint.load(second / "checkpoints" / "step_000001.ckpt")
    assert ours.config.norm == "bn"
    assert metadata.weights.endswith("step 1, started from: random)")
    torch.testing.assert_close(ours.rpn.head.cls_logits.weight, theirs.rpn.head.cls_logits.weight, atol=1e-4, rtol=0)
