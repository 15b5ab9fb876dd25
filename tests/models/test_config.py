"""What the model configuration accepts, and what every file of `conf/model` holds."""

import dataclasses
from pathlib import Path

import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from nucleiseg.errors import InputError
from nucleiseg.models.config import AnchorConfig, ModelConfig
from nucleiseg.models.mask_rcnn import build
from nucleiseg.models.pretrained_defaults import settled

FOLDER = Path(__file__).parents[2] / "conf" / "model"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))


def composed(name: str) -> dict:
    with initialize_config_dir(str(FOLDER), version_base="1.3"):
        return OmegaConf.to_container(compose(name), resolve=True)


def test_the_group_has_the_models_of_the_study() -> None:
    assert set(NAMES) == {
        *("r18_fpn", "r50_c4", "r101_c4", "r50_dc5", "r101_dc5", "r50_fpn", "r101_fpn", "x101_fpn"),
        "r50_fpn_as_in_study",
    }


@pytest.mark.parametrize("name", NAMES)
def test_every_file_of_the_group_gives_every_key_and_builds(name: str) -> None:
    mapping = composed(name)
    config = ModelConfig.from_dict(mapping)
    assert config.name == name
    assert config.to_dict().keys() == mapping.keys()
    for part in ("anchors", "rpn", "roi", "mask", "detection", "loss_weights"):
        assert config.to_dict()[part].keys() == mapping[part].keys()
    with torch.device("meta"):
        network = build(config, num_classes=2)
    assert sum(parameter.numel() for parameter in network.parameters()) > 1_000_000


@pytest.mark.parametrize("name", NAMES)
def test_a_leaf_is_a_few_lines_over_its_family(name: str) -> None:
    leaf = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    family = leaf.pop("defaults")[0].removeprefix("_family/").removesuffix("@_here_")
    base = yaml.safe_load((FOLDER / "_family" / f"{family}.yaml").read_text(encoding="utf-8"))
    leaf.pop("name")
    for key, value in leaf.items():
        assert value != base[key], f"{name}.yaml repeats {key}"
    assert composed(name)["family"] == family


@pytest.mark.parametrize("family", ["fpn", "c4", "dc5"])
def test_every_key_of_a_family_has_a_comment(family: str) -> None:
    lines = (FOLDER / "_family" / f"{family}.yaml").read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        group = line.startswith(tuple("abcdefghijklmnopqrstuvwxyz")) and line.endswith(":")
        paired = line.strip().startswith(("pixel_std", "pre_nms_test", "post_nms_test", "positive_fraction"))
        weights = "loss_weights:" in lines[max(0, number - 5) : number]
        key = ":" in line and not line.strip().startswith("#")
        if key and not (group or paired or weights or line == f"family: {family}"):
            assert lines[number - 1].strip().startswith("#"), line


def test_the_study_left_proposals_and_limits_at_these() -> None:
    c4 = ModelConfig.from_dict(composed("r50_c4"))
    rpn = c4.rpn
    assert (rpn.pre_nms_train, rpn.pre_nms_test, rpn.post_nms_train, rpn.post_nms_test) == (12000, 6000, 2000, 1000)
    assert c4.detection.limit == 500
    assert c4.anchors.sizes == (8, 16, 32, 64, 128)
    assert settled(dataclasses.replace(c4, weights="coco/r50_c4_3x")).pixel_std == (1, 1, 1)


def test_plain_python_and_back_is_the_same() -> None:
    config = ModelConfig.from_dict(composed("x101_fpn"))
    plain = config.to_dict()
    assert ModelConfig.from_dict(plain) == config
    assert isinstance(plain["anchors"]["sizes"], list)


def test_unknown_keys_are_named_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"model\.rpn\.batchsize is not a known key.*batch_size"):
        ModelConfig.from_dict({"name": "a", "rpn": {"batchsize": 3}})


@pytest.mark.parametrize(
    ("mapping", "sentence"),
    [
        ({}, "model is incomplete.*name"),
        ({"name": "a", "family": "c5"}, r"model\.family is 'c5'.*'fpn', 'c4', 'dc5'"),
        ({"name": "a", "fpn_channels": 96.5}, r"model\.fpn_channels is 96\.5; it accepts a whole number"),
        ({"name": "a", "fpn_channels": True}, r"model\.fpn_channels is True; it accepts a whole number"),
        ({"name": "a", "fpn_channels": 0}, r"model\.fpn_channels is 0; it accepts numbers above 0"),
        ({"name": "a", "pixel_mean": [1, 2]}, r"model\.pixel_mean is \[1, 2\].*a list of 3 values, each a number"),
        ({"name": "a", "anchors": 8}, r"model\.anchors is 8.*mapping with the keys sizes"),
        ({"name": "a", "anchors": {"sizes": []}}, r"model\.anchors\.sizes is empty"),
        ({"name": "a", "anchors": {"sizes": [8, 16]}}, r"model\.anchors\.sizes has 2 sizes"),
        ({"name": "a", "anchors": {"sizes": [8, 16, -32, 64, 128]}}, r"model\.anchors\.sizes.*above 0"),
        ({"name": "a", "detection": {"nms": 1.5}}, r"model\.detection\.nms is 1\.5.*from 0 to 1"),
        ({"name": "a", "loss_weights": {"mask": -1}}, r"model\.loss_weights\.mask is -1\.0.*nothing negative"),
        (
            {"name": "a", "family": "c4", "numerics": "torchvision"},
            r"model\.numerics=torchvision with model\.family=c4",
        ),
        ({"name": "a", "family": "dc5", "trunk": "resnet18"}, r"resnet18 with model\.family=dc5.*r50_dc5"),
        ({"name": "a", "rpn": {"positive_iou": 0.2}}, r"model\.rpn\.negative_iou=0\.3 is above"),
        ({"name": "a", "norm": "instance"}, r"model\.norm is 'instance'.*'frozen_bn', 'bn', 'gn'"),
        ({"name": "a", "roi_pool": "max"}, r"model\.roi_pool is 'max'; it accepts one of 'align', 'pool'"),
        ({"name": "a", "stride_in_1x1": "yes"}, r"model\.stride_in_1x1 is 'yes'; it accepts true or false"),
        ({"name": 3}, r"model\.name is 3; it accepts text"),
    ],
)
def test_a_bad_value_is_named_with_what_is_accepted(mapping: dict, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        ModelConfig.from_dict(mapping)


@pytest.mark.parametrize("given", [None, "r50_fpn", 3])
def test_something_else_than_a_mapping_is_refused(given: object) -> None:
    with pytest.raises(InputError, match=r"^model is .*; it accepts a mapping with the keys name, "):
        ModelConfig.from_dict(given)


def test_all_problems_are_told_together() -> None:
    with pytest.raises(InputError) as caught:
        ModelConfig.from_dict({"name": "a", "detection": {"nms": 2.0, "limit": 0}})
    assert len(caught.value.problems) == 2


def test_fpn_takes_any_number_of_sizes_on_every_level() -> None:
    config = ModelConfig(name="a", anchors=AnchorConfig(sizes=(8, 16), every_level=True))
    with torch.device("meta"):
        network = build(config, num_classes=1)
    assert network.rpn.head.cls_logits.out_channels == 2 * 3


def test_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        ModelConfig(name="a").name = "b"
