"""The settings that an exported network needs, against those that the golden networks were recorded with."""

from pathlib import Path

import pytest
import yaml
from golden_weights import FAMILIES, GoldenFamily

from nucleiseg.models.config import ModelConfig
from nucleiseg.models.part_configs import AnchorConfig
from nucleiseg.models.weights.detectron2_config import config_text, detectron2_settings

NOT_OURS = ("MODEL.WEIGHTS", "MODEL.DEVICE", "INPUT.", "MODEL.RESNETS.", "BATCH_SIZE_PER_IMAGE")
"""Overrides that say where and on what the golden networks ran, or that their backbones are narrow."""


@pytest.mark.parametrize("name", FAMILIES)
def test_golden_networks_have_the_settings_they_were_recorded_with(golden: Path, name: str) -> None:
    family = GoldenFamily.load(golden, name)
    settings = detectron2_settings(family.network().config, family.num_classes)
    overrides = {
        key: value
        for key, value in family.scalars["overrides"].items()
        if not any(part in key for part in NOT_OURS)
        and not (name.startswith("c4") and key.endswith(("POOLER_RESOLUTION", "FC_DIM", "NUM_CONV")))
    }
    assert overrides
    assert {key: settings[key] for key in overrides} == overrides
    std = [57.375, 57.12, 58.395] if name == "fpn_x101" else [1.0, 1.0, 1.0]
    assert settings["MODEL.PIXEL_STD"] == std
    assert settings["MODEL.PIXEL_MEAN"] == [103.53, 116.28, 123.675]
    assert settings["MODEL.RESNETS.STRIDE_IN_1X1"] == (name != "fpn_x101")


def test_what_follows_the_backbone_and_the_norm() -> None:
    x101 = detectron2_settings(ModelConfig(name="a", backbone="resnext101_32x8d", weights="z"), 1)
    assert x101["MODEL.RESNETS.DEPTH"] == 101
    assert (x101["MODEL.RESNETS.NUM_GROUPS"], x101["MODEL.RESNETS.WIDTH_PER_GROUP"]) == (32, 8)
    assert (x101["MODEL.RESNETS.NORM"], x101["MODEL.FPN.NORM"]) == ("FrozenBN", "")
    scratch = detectron2_settings(ModelConfig(name="a", roi_pool="pool"), 1)
    assert (scratch["MODEL.RESNETS.NORM"], scratch["MODEL.FPN.NORM"]) == ("GN", "GN")
    assert scratch["MODEL.ROI_BOX_HEAD.POOLER_TYPE"] == "ROIPool"
    every = ModelConfig(name="a", anchors=AnchorConfig(sizes=(8, 16), every_level=True))
    assert detectron2_settings(every, 1)["MODEL.ANCHOR_GENERATOR.SIZES"] == [[8, 16]]


def test_the_file_is_yaml_that_says_how_to_use_it() -> None:
    config = ModelConfig(name="r50_c4", family="c4", weights="coco/r50_c4_3x")
    text = config_text(config, "mine.pkl", ("tumor", "stroma"), 1.216)
    tree = yaml.safe_load(text)
    for key, value in detectron2_settings(config, 2).items():
        node = tree
        for part in key.split("."):
            node = node[part]
        assert node == value, key
    assert "mask_rcnn_R_50_C4_3x.yaml" in text
    assert 'merge_from_file("mine.yaml")' in text
    assert "# Classes, from 0: tumor, stroma." in text
    assert "1.216 times" in text
