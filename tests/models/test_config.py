"""What the model configuration accepts, and what every file of `conf/model` holds."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from nucleiseg.errors import InputError
from nucleiseg.models.config import ModelConfig
from nucleiseg.models.mask_rcnn import build
from nucleiseg.models.part_configs import AnchorConfig, LossWeights
from nucleiseg.models.pretrained_defaults import resolved
from nucleiseg.run_folder import read_config

FOLDER = Path(__file__).parents[2] / "conf" / "model"
NAMES = sorted(path.stem for path in FOLDER.glob("[!_]*.yaml"))


def composed(name: str) -> dict:
    with initialize_config_dir(str(FOLDER), version_base="1.3"):
        return OmegaConf.to_container(compose(name), resolve=True)


def test_the_group_has_the_models_of_the_study() -> None:
    assert set(NAMES) == {
        *("r18_fpn", "r50_c4", "r101_c4", "r50_dc5", "r101_dc5", "r50_fpn", "r101_fpn", "x101_fpn"),
        *("r50_fpn_as_in_study", "convnext_tiny_fpn", "swin_t_fpn", "timm_fpn", "nuclei_fpn"),
    }


@pytest.mark.parametrize("name", NAMES)
def test_every_file_of_the_group_gives_every_key_and_builds(name: str) -> None:
    mapping = composed(name)
    config = ModelConfig.from_dict(mapping)
    assert config.name == ("timm_convnext_tiny_fpn" if name == "timm_fpn" else name)
    assert config.to_dict().keys() == mapping.keys()
    for part in ("anchors", "rpn", "roi", "mask", "detection", "loss_weights"):
        assert config.to_dict()[part].keys() == mapping[part].keys()
    with torch.device("meta"):
        network = build(config, num_classes=2)
    assert sum(parameter.numel() for parameter in network.parameters()) > 1_000_000


OLD = json.loads(Path(__file__).with_name("configs_of_version_0_1.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", OLD)
def test_composed_values_are_those_of_version_0_1(name: str) -> None:
    """The old files hold `trunk`, and numbers for keys that have no effect in their family."""
    assert ModelConfig.from_dict(OLD[name]) == ModelConfig.from_dict(composed(name))


def test_a_key_under_its_old_and_new_name_is_refused() -> None:
    with pytest.raises(InputError, match=r"^model\.trunk is now model\.backbone; give model\.backbone alone\.$"):
        ModelConfig.from_dict({"name": "a", "trunk": "resnet50", "backbone": "resnet101"})


def test_an_old_configuration_of_a_run_has_the_current_names(tmp_path: Path) -> None:
    text = "model: {name: a, family: c4, trunk: resnet101, fpn_channels: 256, mask: {pool: 14}}\nseed: 3\n"
    (tmp_path / "config.yaml").write_text(text, encoding="utf-8")
    config = read_config(tmp_path)
    assert config["seed"] == 3
    assert config["model"] == {
        **{"name": "a", "family": "c4", "backbone": "resnet101", "fpn_channels": None},
        "mask": {"pool": None},
    }
    assert ModelConfig.from_dict(config["model"]).backbone == "resnet101"


def diff(path: Path) -> dict:
    return {key: value for key, value in yaml.safe_load(path.read_text(encoding="utf-8")).items() if key != "defaults"}


def bases(name: str) -> list[str]:
    """Return the files that a file of the group begins with, in Hydra's order."""
    listed = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8")).get("defaults", [])
    own = [entry.removesuffix("@_here_") for entry in listed if entry != "_self_"]
    return [file for entry in own for file in (*bases(entry), entry)]


@pytest.mark.parametrize("name", NAMES)
def test_a_model_changes_values_of_its_family(name: str) -> None:
    base: dict = {}
    for file in bases(name):
        base |= diff(FOLDER / f"{file}.yaml")
    for key, value in diff(FOLDER / f"{name}.yaml").items():
        assert value != base[key], f"{name}.yaml repeats {key}"
    assert f"_family/{composed(name)['family']}" in bases(name)


@pytest.mark.parametrize("family", ["fpn", "c4", "dc5"])
def test_a_family_is_a_short_diff(family: str) -> None:
    path = FOLDER / "_family" / f"{family}.yaml"
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 15
    base = diff(FOLDER / "_base.yaml")
    for key, value in diff(path).items():
        assert value != base[key], f"{family}.yaml repeats {key}"


def test_every_key_of_the_base_has_a_comment() -> None:
    lines = (FOLDER / "_base.yaml").read_text(encoding="utf-8").splitlines()
    uncommented = [
        line.strip().partition(":")[0]
        for number, line in enumerate(lines)
        if ":" in line and not line.strip().startswith("#") and not lines[number - 1].strip().startswith("#")
    ]
    groups = ["anchors", "rpn", "roi", "mask", "detection"]  # their keys are commented
    paired = ["pixel_std", "pre_nms_test", "post_nms_test", "positive_fraction"]  # the line before explains both
    losses = [field.name for field in dataclasses.fields(LossWeights)]
    assert set(uncommented) <= {"name", *groups, *paired, *losses}


def test_the_defaults_of_the_class_are_those_of_r50_fpn() -> None:
    assert ModelConfig.from_dict(composed("r50_fpn")) == ModelConfig(name="r50_fpn", weights="auto")


def test_the_study_left_proposals_and_limits_at_these() -> None:
    c4 = ModelConfig.from_dict(composed("r50_c4"))
    rpn = c4.rpn
    assert (rpn.pre_nms_train, rpn.pre_nms_test, rpn.post_nms_train, rpn.post_nms_test) == (12000, 6000, 2000, 1000)
    assert c4.detection.limit == 500
    assert c4.anchors.sizes == (8, 16, 32, 64, 128)
    assert resolved(dataclasses.replace(c4, weights="coco/r50_c4_3x")).pixel_std == (1, 1, 1)


def test_plain_python_and_back_is_the_same() -> None:
    config = ModelConfig.from_dict(composed("x101_fpn"))
    plain = config.to_dict()
    assert ModelConfig.from_dict(plain) == config
    assert isinstance(plain["anchors"]["sizes"], list)


NUMBER = "it accepts a whole number from"


@pytest.mark.parametrize(
    ("mapping", "sentence"),
    [
        ({}, "model.name is missing; it accepts text."),
        (
            {"rpn": {"batchsize": 3}},
            "model.rpn.batchsize is not a key of model.rpn; did you mean model.rpn.batch_s",
        ),
        ({"family": "c5"}, "model.family is 'c5'; it accepts one of fpn, c4, dc5."),
        ({"fpn_channels": 96.5}, f"model.fpn_channels is 96.5; {NUMBER} 1 to 4,096, or null."),
        ({"fpn_channels": True}, f"model.fpn_channels is true; {NUMBER} 1 to 4,096, or null."),
        ({"fpn_channels": 10**9}, f"model.fpn_channels is 1000000000; {NUMBER} 1 to 4,096, or null."),
        ({"freeze_at": 6}, f"model.freeze_at is 6; {NUMBER} 0 to 5, or null."),
        (
            {"pixel_mean": [1, 2]},
            "model.pixel_mean is [1, 2]; it accepts a list of 3 values, each a number from 0 to 255",
        ),
        ({"anchors": 8}, "model.anchors is 8; it accepts the keys sizes, ratios, every_level."),
        ({"anchors": {"sizes": []}}, "model.anchors.sizes is []; it accepts a list of 1 to 128 numbers above 0"),
        ({"anchors": {"sizes": [8, 16]}}, "model.anchors.sizes has 2 sizes; it accepts 5 with model.family=fpn"),
        ({"anchors": {"sizes": [8, 16, -32, 64, 128]}}, "model.anchors.sizes is [8, 16, -32, 64, 128]; it accepts"),
        (
            {"anchors": {"sizes": [8] * 64, "ratios": [1, 2, 3], "every_level": True}},
            "model.anchors has 64 sizes with 3 ratios; it accepts up to 128 anchors at a place.",
        ),
        ({"rpn": {"pre_nms_train": 10**7}}, f"model.rpn.pre_nms_train is 10000000; {NUMBER} 1 to 50,000."),
        ({"rpn": {"positive_iou": 0.2}}, "model.rpn.negative_iou is 0.3; it accepts a number up to"),
        (
            {"roi": {"pool": 64, "fc_dim": 1024}},
            "model.roi.fc_dim is 1024; it accepts up to 512 with model.roi.pool=64",
        ),
        ({"roi": {"pool": 32, "batch_size": 10**5}}, "model.roi.batch_size is 100000; it accepts up to 8192 with"),
        ({"mask": {"pool": 10**6}}, f"model.mask.pool is 1000000; {NUMBER} 1 to 64, or null."),
        ({"detection": {"nms": 1.5}}, "model.detection.nms is 1.5; it accepts a number from 0 to 1."),
        ({"loss_weights": {"mask": -1}}, "model.loss_weights.mask is -1; it accepts a number from 0 to 1e+06."),
        ({"family": "c4", "numerics": "torchvision"}, "model.numerics is torchvision; it accepts detectron2 with"),
        (
            {"family": "dc5", "backbone": "resnet18"},
            "model.backbone is 'resnet18'; it accepts one of resnet50, resnet",
        ),
        ({"family": "dc5", "fpn_channels": 8}, "model.fpn_channels is 8; it accepts null with model.family=dc5, where"),
        ({"family": "c4", "roi": {"fc_dim": 9}}, "model.roi.fc_dim is 9; it accepts null with model.family=c4, where"),
        ({"family": "c4", "anchors": {"every_level": True}}, "model.anchors.every_level is true; it accepts null with"),
        ({"norm": "instance"}, "model.norm is 'instance'; it accepts one of frozen_bn, bn, gn, own, or null."),
        ({"roi_pool": "max"}, "model.roi_pool is 'max'; it accepts one of align, pool."),
        ({"stride_in_1x1": "yes"}, "model.stride_in_1x1 is 'yes'; it accepts true or false, or null."),
        ({"name": 3}, "model.name is 3; it accepts text."),
    ],
)
def test_a_bad_value_is_named_with_what_is_accepted(mapping: dict, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        ModelConfig.from_dict({"name": "a", **mapping} if mapping else {}, "model")
    (problem,) = caught.value.problems
    assert problem.startswith(sentence)


@pytest.mark.parametrize("given", [None, "r50_fpn", 3])
def test_something_else_than_a_mapping_is_refused(given: object) -> None:
    with pytest.raises(InputError, match=r"^model is .*; it accepts the keys name, "):
        ModelConfig.from_dict(given, "model")


def test_all_problems_are_reported_together() -> None:
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
