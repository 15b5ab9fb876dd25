"""A network whose activations overflow, told from an image without nuclei."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from nucleiseg.errors import InputError
from nucleiseg.inference.images import find_images
from nucleiseg.inference.prediction_stream import predict_all
from nucleiseg.inference.predictor import Predictor
from nucleiseg.inference.settings import PredictionSettings
from nucleiseg.models.checkpoint import Metadata
from nucleiseg.models.config import ModelConfig
from nucleiseg.models.mask_rcnn import MaskRCNN, build

IMAGE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
PREDICTION = PredictionSettings(device="cpu")


@pytest.fixture
def network() -> MaskRCNN:
    """A small network of random weights that keeps every detection."""
    config = ModelConfig(name="tiny", backbone="resnet18", norm="gn", fpn_channels=32)
    config = replace(config, roi=replace(config.roi, fc_dim=16), mask=replace(config.mask, convs=1, channels=8))
    config = replace(config, detection=replace(config.detection, score_threshold=0.0))
    torch.manual_seed(0)
    return build(config, num_classes=1)


def predictor_of(network: MaskRCNN) -> Predictor:
    return Predictor(network, Metadata(model={}, preprocessing={"scale": 1.0}), PREDICTION)


@torch.no_grad()
def enlarge(weight: Tensor) -> None:
    """Scale a weight to just below the largest float32."""
    weight.div_(weight.abs().max()).mul_(3e38)
    assert weight.isfinite().all()


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("backbone.fpn.inner_blocks.0.0.weight", "scores"),
        ("rpn.head.bbox_pred.weight", "boxes"),
        ("roi_heads.box_head.fc6.weight", "scores"),
    ],
)
def test_finite_weights_that_overflow_are_refused(network: MaskRCNN, part: str, name: str) -> None:
    enlarge(dict(network.named_parameters())[part])
    with pytest.raises(InputError, match=f"The network computes no finite {name}, though its weights are finite"):
        predictor_of(network).predict(IMAGE)


def test_an_image_without_detections_is_not_refused(network: MaskRCNN) -> None:
    assert len(predictor_of(network).predict(IMAGE))
    network.roi_heads.score_thresh = 1.0
    assert len(predictor_of(network).predict(IMAGE)) == 0


def test_every_image_is_reported_with_its_file(network: MaskRCNN, tmp_path: Path) -> None:
    Image.fromarray(IMAGE).save(tmp_path / "a.png")
    enlarge(network.roi_heads.box_head.fc6.weight)
    reported: list[str] = []
    assert not list(
        predict_all(predictor_of(network), find_images(tmp_path), lambda _, sentence: reported.append(sentence))
    )
    assert reported[0].startswith(f"{tmp_path / 'a.png'}: The network computes no finite scores")


def test_the_hooks_are_removed(network: MaskRCNN) -> None:
    predictor_of(network).predict(IMAGE)
    assert not network.rpn.head._forward_hooks
    assert not network.roi_heads.box_predictor._forward_hooks
