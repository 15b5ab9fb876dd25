"""Our networks as detectron2's files: the round trip loses nothing, and any installation reads them."""

import pickle
import pickletools
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_weights import FAMILIES, GoldenFamily
from small_networks import SPEC, small_config, small_network

from nucleiseg.errors import InputError
from nucleiseg.models.backbones.resnet import ResNetSpec
from nucleiseg.models.mask_rcnn import build
from nucleiseg.models.weights.exporter import detectron2_arrays, save_detectron2
from nucleiseg.models.weights.implied_settings import ImpliedSettings, implied_settings
from nucleiseg.models.weights.importer import load_detectron2
from nucleiseg.models.weights.weights_file import read_weights


@pytest.mark.parametrize("name", FAMILIES)
def test_the_round_trip_is_equal_key_for_key(golden: Path, tmp_path: Path, name: str) -> None:
    family = GoldenFamily.load(golden, name)
    path = tmp_path / "exported.pkl"
    save_detectron2(family.network(), path)
    exported = pickle.loads(path.read_bytes(), encoding="latin1")
    assert exported["__author__"] == "nucleiseg"
    expected = {key: array for key, array in family.raw.items() if key not in family.scalars["legacy_extra_keys"]}
    assert exported["model"].keys() == expected.keys()
    for key, array in expected.items():
        assert exported["model"][key].dtype == array.dtype
        np.testing.assert_array_equal(exported["model"][key], array, err_msg=key)
        assert exported["model"][key].flags.writeable
    again = family.random_network()
    load_detectron2(again, path)
    assert all(torch.equal(value, family.weights[key]) for key, value in again.state_dict().items())


def test_old_installations_read_it(tmp_path: Path) -> None:
    path = tmp_path / "exported.pkl"
    save_detectron2(small_network(), path)
    content = path.read_bytes()
    assert pickletools.optimize(content)[1] <= 3
    named = {argument for opcode, argument, _ in pickletools.genops(content) if opcode.name == "GLOBAL"}
    assert named == {"numpy ndarray", "numpy dtype"}


@pytest.mark.parametrize("norm", ["gn", "bn"])
@pytest.mark.parametrize(("family", "basic"), [("fpn", True), ("fpn", False), ("c4", False), ("dc5", False)])
def test_networks_that_are_not_in_the_zoo_return_too(tmp_path: Path, family: str, basic: bool, norm: str) -> None:
    backbone = ResNetSpec(depths=(1, 1, 1, 1), res2_channels=64, basic=True) if basic else SPEC
    torch.manual_seed(0)
    network, other = (build(small_config(family, norm=norm), 2, backbone=backbone) for _ in range(2))
    save_detectron2(network, tmp_path / "exported.pkl")
    report = load_detectron2(other, tmp_path / "exported.pkl")
    assert report.loaded == list(network.state_dict())
    assert not report.ignored
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in other.state_dict().items())


def test_names_of_group_norm_are_detectron2s() -> None:
    names = set(detectron2_arrays(small_network("fpn", norm="gn")))
    layers = ("stem.conv1", "res2.0.conv1", "res3.0.shortcut")
    assert {f"backbone.bottom_up.{layer}.norm.{part}" for layer in layers for part in ("weight", "bias")} <= names
    assert {
        "backbone.fpn_lateral2.weight",
        "backbone.fpn_lateral2.norm.bias",
        "backbone.fpn_output5.norm.weight",
    } <= names
    assert "backbone.fpn_lateral2.bias" not in names  # detectron2's convolutions have none before a normalization


def test_arrays_are_float32() -> None:
    arrays = detectron2_arrays(small_network().half())
    assert {array.dtype for array in arrays.values()} == {np.dtype("float32")}


def test_numerics_of_torchvision_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be exported"):
        save_detectron2(small_network(numerics="torchvision"), tmp_path / "exported.pkl")
    assert not list(tmp_path.iterdir())


def test_c4_of_basic_blocks_is_refused() -> None:
    with torch.device("meta"):
        network = build(small_config("c4", backbone="resnet18"), 1)
    with pytest.raises(InputError, match="backbone=resnet18 and family=c4 cannot be exported"):
        detectron2_arrays(network)


def test_a_narrow_last_stage_is_refused(tmp_path: Path) -> None:
    with torch.device("meta"):
        network = build(small_config(backbone="resnet18_narrow", norm="gn"), 1)
    with pytest.raises(InputError, match="backbone=resnet18_narrow cannot be exported"):
        save_detectron2(network, tmp_path / "exported.pkl")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("stride_in_1x1", [True, False])
def test_the_file_tells_what_its_weights_depend_on(tmp_path: Path, stride_in_1x1: bool) -> None:
    network = small_network(
        pixel_mean=(1.0, 2.0, 3.0), pixel_std=(4.0, 5.5, 6.0), stride_in_1x1=stride_in_1x1, norm="bn"
    )
    save_detectron2(network, tmp_path / "exported.pkl")
    told = implied_settings(read_weights(tmp_path / "exported.pkl"))
    assert told == ImpliedSettings((1.0, 2.0, 3.0), (4.0, 5.5, 6.0), stride_in_1x1, bgr=True)
    assert load_detectron2(network, tmp_path / "exported.pkl").sentences() == []


@pytest.mark.parametrize("settings", [None, {}, {"pixel_mean": [1, 2], "pixel_std": "abc"}])
def test_a_file_in_our_name_that_tells_nothing_is_refused(tmp_path: Path, settings: object) -> None:
    path = tmp_path / "exported.pkl"
    path.write_bytes(pickle.dumps({"model": {"a": np.ones(1)}, "__author__": "nucleiseg", "settings": settings}))
    with pytest.raises(InputError, match="has unreadable values of pixel_mean, pixel_std, stride_in_1x1"):
        implied_settings(read_weights(path))
