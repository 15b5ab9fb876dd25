"""The door of prediction: its keys, what they stand for, and what it says."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nucleiseg.doors.predicting import predict
from nucleiseg.models.checkpoint import Metadata, save
from nucleiseg.models.config import ModelConfig
from nucleiseg.models.mask_rcnn import build

MODEL: dict[str, Any] = {
    "name": "tiny",
    "trunk": "resnet18",
    "norm": "gn",
    "fpn_channels": 32,
    "roi": {"fc_dim": 16},
    "mask": {"convs": 1, "channels": 8},
    "detection": {"score_threshold": 0.0, "limit": 5},
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that has learnt nothing."""
    path = tmp_path_factory.mktemp("run") / "step.ckpt"
    torch.manual_seed(0)
    config = ModelConfig.from_dict(MODEL)
    save(path, build(config, num_classes=1), Metadata(model=config.to_dict(), scale=1.0))
    return path


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one image in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    Image.fromarray(np.full((72, 90, 3), 128, dtype=np.uint8)).save(tmp_path / "in" / "a.png")
    return tmp_path / "in"


def test_demo_is_drawn_where_there_is_no_such_folder(
    checkpoint: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = {"checkpoint": checkpoint, "input": "demo", "overlays": False, "device": "cpu"}
    images.rename("demo")
    assert predict(**keys, output="own") == 0
    assert (Path("own") / "images.json").read_text().count("a.png") == 1
    assert "DRAWN" not in capsys.readouterr().err
    Path("demo").rename("elsewhere")
    assert predict(**keys, output="drawn") == 0
    assert (Path("drawn") / "images.json").read_text().count("demo_00") == 4
    assert "they are DRAWN, not photographed" in capsys.readouterr().err
