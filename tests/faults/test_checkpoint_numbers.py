"""Numbers of a checkpoint that would scale images to nothing, or count nothing, are refused with the file's name."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from nucleiseg.errors import InputError
from nucleiseg.inference.predictor import Predictor
from nucleiseg.inference.settings import PredictionSettings
from nucleiseg.models.checkpoint import Metadata, save
from nucleiseg.models.config import ModelConfig
from nucleiseg.models.mask_rcnn import build


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = ModelConfig.from_dict({"name": "tiny", "backbone": "resnet18", "norm": "gn", "fpn_channels": 8})
    path = tmp_path_factory.mktemp("checkpoint") / "step.ckpt"
    save(path, build(config, num_classes=1), Metadata(model=config.to_dict(), preprocessing={"scale": 1.0}))
    return path


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"scale": math.nan}, "scale is nan"),
        ({"scale": 0.0}, "scale is 0.0"),
        ({"scale": 1e9}, "scale is 1000000000.0"),
        ({"scale": -1.0}, "scale is -1.0"),
        ({"score_threshold": math.nan}, "score_threshold is nan"),
        ({"score_threshold": 1.5}, "score_threshold is 1.5"),
        ({"step": -1}, "step is -1"),
        ({"preprocessing": {"scale": math.inf}}, "scale is inf"),
        ({"preprocessing": {"short": 0, "long": 5}}, "short is 0"),
        ({"preprocessing": {"mpp": -0.5}}, "mpp is -0.5"),
        ({"preprocessing": {"crop": [math.nan, 1.0], "short": 5}}, "crop is [nan, 1.0]"),
    ],
)
def test_numbers_out_of_range_are_refused(
    change: dict[str, Any], sentence: str, checkpoint: Path, tmp_path: Path
) -> None:
    content = torch.load(checkpoint, weights_only=True)
    content["nucleiseg"].update(change)
    torch.save(content, tmp_path / "changed.ckpt")
    with pytest.raises(InputError) as raised:
        Predictor.from_checkpoint(tmp_path / "changed.ckpt", PredictionSettings(device="cpu"))
    assert sentence in str(raised.value)
    assert "changed.ckpt" in str(raised.value)
