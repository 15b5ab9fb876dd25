"""What follows the weights, and that a network's own configuration leaves nothing open."""

from dataclasses import fields

import pytest
import torch
from small_networks import small_network

from nucleiseg.errors import InputError
from nucleiseg.models.config import ModelConfig
from nucleiseg.models.pretrained_defaults import (
    MSRA,
    PIXEL_STD,
    SCRATCH,
    UNIT_VARIANCE,
    PretrainedDefaults,
    defaults_of,
    resolved,
)


@pytest.mark.parametrize(
    ("weights", "backbone", "expected"),
    [
        (None, "resnet50", SCRATCH),
        ("auto", "resnet50", SCRATCH),
        ("coco/r50_c4_3x", "resnet50", MSRA),
        ("coco/r101_fpn_3x", "resnet101", MSRA),
        ("coco/x101_fpn_3x", "resnext101_32x8d", UNIT_VARIANCE),
        ("torchvision/imagenet_resnet50", "resnet50", UNIT_VARIANCE),
        ("mine.pkl", "resnet50", MSRA),
    ],
)
def test_open_settings_follow_the_weights(weights: str | None, backbone: str, expected: PretrainedDefaults) -> None:
    config = ModelConfig(name="a", weights=weights, backbone=backbone)  # type: ignore[arg-type]
    assert defaults_of(config) == expected


def test_settings_that_are_given_stay() -> None:
    config = ModelConfig(name="a", weights="mine.pkl", norm="bn", freeze_at=0, stride_in_1x1=False, pixel_std=PIXEL_STD)
    assert defaults_of(config) == PretrainedDefaults("bn", 0, stride_in_1x1=False)


def test_filters_of_another_normalization_are_not_frozen() -> None:
    assert defaults_of(ModelConfig(name="a", weights="mine.pkl", norm="gn")).freeze_at == 0
    trained_with_gn = PretrainedDefaults("gn", 3, stride_in_1x1=False)
    assert defaults_of(ModelConfig(name="a", weights="mine.ckpt", norm="gn"), trained_with_gn).freeze_at == 3


def test_settling_is_done_once() -> None:
    config = resolved(ModelConfig(name="a", weights="coco/r50_c4_3x", family="c4"))
    assert all(getattr(config, field.name) is not None for field in fields(PretrainedDefaults))
    assert resolved(config) == config
    assert resolved(ModelConfig(name="a", weights="auto")).weights is None


def test_random_weights_are_never_frozen() -> None:
    for weights in (None, "auto"):
        with pytest.raises(InputError, match=r"norm=frozen_bn needs pretrained weights"):
            resolved(ModelConfig(name="a", weights=weights, norm="frozen_bn"))


def test_a_network_has_what_its_configuration_says() -> None:
    network = small_network(weights="mine.pkl")
    assert network.config == resolved(network.config)
    assert network.transform.image_std == [1.0, 1.0, 1.0]
    assert network.backbone.body.layer2[0].conv1.stride == (2, 2)
    scratch = small_network()
    assert scratch.transform.image_std == list(PIXEL_STD)
    assert scratch.backbone.body.layer2[0].conv1.stride == (1, 1)
    assert isinstance(scratch.backbone.body.bn1, torch.nn.GroupNorm)
