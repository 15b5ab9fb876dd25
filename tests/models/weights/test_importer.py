"""detectron2's weights in our networks: everything accounted for, or a sentence."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden_weights import FAMILIES, GoldenFamily
from torch import Tensor

from nucleiseg.errors import InputError
from nucleiseg.models.mask_rcnn import MaskRCNN
from nucleiseg.models.part_configs import AnchorConfig
from nucleiseg.models.weights.implied_settings import implied_settings
from nucleiseg.models.weights.importer import load_detectron2
from nucleiseg.models.weights.layout import from_detectron2, to_detectron2
from nucleiseg.models.weights.weights_file import read_weights

PREDICTORS = ("box_predictor.cls_score", "box_predictor.bbox_pred", "mask_predictor.mask_fcn_logits")
RESNETS = ("backbone.bottom_up.", "backbone.", "roi_heads.")


def write(path: Path, weights: dict[str, np.ndarray], **rest: Any) -> Path:  # noqa: ANN401
    path.write_bytes(pickle.dumps({"model": weights, "__author__": "somebody", **rest}))
    return path


def bare_backbone(family: GoldenFamily) -> dict[str, np.ndarray]:
    """The backbone of a golden network with bare names, as ImageNet files have them."""
    stripped = {
        next(name.removeprefix(p) for p in RESNETS if name.startswith(p)): name
        for name in family.raw
        if name.startswith(RESNETS)
    }
    return {bare: family.raw[name] for bare, name in stripped.items() if bare.startswith(("stem.", "res"))}


def caffe2_name(name: str) -> str:
    """`res2.0.conv1.norm.weight` -> `res2_0_branch2a_bn_s`, written out apart from the code that undoes it."""
    stage, *rest = name.split(".")
    if stage == "stem":
        layer = "res_conv1_bn" if "norm" in rest else "conv1"
    else:
        block, convolution = rest[:2]
        layer = (
            f"{stage}_{block}_"
            + {"shortcut": "branch1", "conv1": "branch2a", "conv2": "branch2b", "conv3": "branch2c"}[convolution]
        )
        layer += "_bn" if "norm" in rest else ""
    ending = {"running_mean": "rm", "running_var": "riv", "bias": "b", "weight": "s" if "norm" in rest else "w"}
    return f"{layer}_{ending[rest[-1]]}"


def snapshot(network: MaskRCNN) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> set[str]:
    return {name for name in first if torch.equal(first[name], second[name])}


@pytest.mark.parametrize("name", FAMILIES)
def test_every_entry_is_loaded_and_every_key_accounted_for(golden: Path, name: str) -> None:
    family = GoldenFamily.load(golden, name)
    network = family.random_network()
    for value in network.state_dict().values():
        value.fill_(float("nan"))
    report = load_detectron2(network, family.path)
    assert report.loaded == list(network.state_dict())
    assert not any(value.isnan().any() for value in network.state_dict().values())
    assert {note.name for note in report.ignored} == set(family.scalars["legacy_extra_keys"])
    assert len(report.loaded) + len(report.ignored) == len(family.raw)
    assert report.sentences() == []


def test_channels_and_classes_change_places(golden: Path) -> None:
    family = GoldenFamily.load(golden, "fpn_r50")
    ours, theirs = family.weights, family.raw
    stem = theirs["backbone.bottom_up.stem.conv1.weight"]
    np.testing.assert_array_equal(ours["backbone.body.conv1.weight"].numpy(), stem[:, ::-1])
    logits = theirs["roi_heads.box_predictor.cls_score.bias"]
    np.testing.assert_array_equal(ours["roi_heads.box_predictor.cls_score.bias"].numpy(), [logits[-1], *logits[:-1]])
    for name in ours:
        assert torch.equal(from_detectron2(name, to_detectron2(name, ours[name])), ours[name])


@pytest.mark.parametrize("name", ["c4_r101", "fpn_r50"])
def test_other_classes_start_anew_and_nothing_else_does(golden: Path, name: str) -> None:
    family = GoldenFamily.load(golden, name)
    network = family.random_network(num_classes=7)
    before = snapshot(network)
    report = load_detectron2(network, family.path)
    kept = {name for name in before if any(layer in name for layer in PREDICTORS)}
    assert set(report.loaded) == set(before) - kept
    assert kept <= same(before, network.state_dict())
    assert same(family.weights, network.state_dict()) >= set(report.loaded)
    (sentence,) = report.sentences()
    assert all(layer in sentence for layer in PREDICTORS)
    assert f"the file has {family.num_classes} classes, this network 7" in sentence


@pytest.mark.parametrize(
    ("name", "anchors", "counts"),
    [
        ("c4_r50", AnchorConfig(sizes=(8, 16)), "15 anchors a cell, this network 6"),
        ("fpn_r50", AnchorConfig(every_level=True), "3 anchors a cell, this network 15"),
    ],
)
def test_other_anchors_start_anew(golden: Path, name: str, anchors: AnchorConfig, counts: str) -> None:
    family = GoldenFamily.load(golden, name)
    network = family.random_network(anchors=anchors)
    report = load_detectron2(network, family.path)
    assert {note.name for note in report.reinitialized} == {"rpn.head.cls_logits", "rpn.head.bbox_pred"}
    assert torch.equal(network.rpn.head.conv[0][0].weight, family.weights["rpn.head.conv.0.0.weight"])
    assert counts in report.sentences()[0]


def without(weights: dict[str, np.ndarray], part: str) -> dict[str, np.ndarray]:
    return {name: array for name, array in weights.items() if part not in name}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda raw: without(raw, "deconv.bias"),
            r"1 entries .* not in it \(roi_heads.mask_predictor.conv5_mask.bias\)",
        ),
        (lambda raw: without(raw, "mask_head"), r"12 entries .*, and 7 more\)"),
        (lambda raw: {**raw, "roi_heads.keypoint_head.w": np.ones(1)}, r"1 of its keys .*keypoint_head\.w"),
        (
            lambda raw: {**raw, "backbone.fpn_lateral3.bias": np.ones(7)},
            r"1 arrays have another shape \(backbone.fpn.inner_blocks.1.0.bias \(7,\) instead of \(16,\)\)",
        ),
        (lambda raw: {**raw, "roi_heads.box_predictor.cls_score.weight": np.ones((9, 5))}, "another shape"),
    ],
)
def test_what_is_not_accounted_for_is_refused_and_nothing_changes(
    golden: Path, tmp_path: Path, change: Callable[[dict], dict], sentence: str
) -> None:
    family = GoldenFamily.load(golden, "fpn_r50")
    network = family.random_network()
    before = snapshot(network)
    with pytest.raises(InputError, match=sentence) as caught:
        load_detectron2(network, write(tmp_path / "other.pkl", change(family.raw)))
    assert "other.pkl" in str(caught.value)
    assert same(before, network.state_dict()) == set(before)


def test_a_model_of_another_family_is_refused_with_both_named(golden: Path) -> None:
    network = GoldenFamily.load(golden, "fpn_r50").random_network()
    with pytest.raises(InputError, match=r"a model of family C4 with ResNet-50\) does not fit a model of family fpn"):
        load_detectron2(network, GoldenFamily.load(golden, "c4_r50").path)


def test_other_numerics_are_refused(golden: Path) -> None:
    family = GoldenFamily.load(golden, "fpn_r50")
    with pytest.raises(InputError, match=r"set numerics=detectron2"):
        load_detectron2(family.random_network(numerics="torchvision"), family.path)


def test_a_training_of_ones_own_loads_in_any_precision(golden: Path, tmp_path: Path) -> None:
    family = GoldenFamily.load(golden, "c4_r50")
    weights = {name: torch.from_numpy(array).half() for name, array in family.raw.items()}
    path = tmp_path / "model_0001599.pth"
    torch.save({"model": weights, "optimizer": {"state": {}}, "iteration": 1599}, path)
    network = family.random_network()
    report = load_detectron2(network, path)
    assert report.loaded == list(network.state_dict())
    for name, value in network.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, family.weights[name].half().float()), name


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("form", ["bare", "caffe2", "blobs"])
def test_a_backbone_alone(golden: Path, tmp_path: Path, name: str, form: str) -> None:
    family = GoldenFamily.load(golden, name)
    weights = bare_backbone(family)
    if form != "bare":
        weights = {caffe2_name(key): array for key, array in weights.items()}
        weights |= {
            "fc1000_w": np.ones(3),
            "fc1000_b": np.ones(3),
            "conv1_b": np.zeros(4),
            "conv1_w_momentum": np.ones(1),
        }
    path = tmp_path / "R-50.pkl"
    path.write_bytes(pickle.dumps({"blobs": weights} if form == "blobs" else weights))
    network = family.random_network()
    before = snapshot(network)
    report = load_detectron2(network, path)
    c4 = family.family == "c4"
    backbone = {
        key for key in before if key.startswith(("backbone.body.", "roi_heads.box_head.") if c4 else "backbone.body.")
    }
    assert set(report.loaded) == backbone
    assert same(family.weights, network.state_dict()) >= backbone
    assert same(before, network.state_dict()) == set(before) - backbone
    parts = {note.name for note in report.reinitialized}
    assert {"rpn.head", "roi_heads.box_predictor", "roi_heads.mask_predictor"} <= parts
    assert ("backbone.fpn" in parts) == (family.family == "fpn")
    assert ("roi_heads.box_head" in parts) == (not c4)
    assert len(report.ignored) == (0 if form == "bare" else 4)


def test_statistics_that_caffe2_left_out_change_nothing(golden: Path, tmp_path: Path) -> None:
    family = GoldenFamily.load(golden, "c4_r50")
    weights = {caffe2_name(key): array for key, array in bare_backbone(family).items() if "running" not in key}
    path = tmp_path / "R-50.pkl"
    path.write_bytes(pickle.dumps(weights, protocol=2))
    network = family.random_network()
    load_detectron2(network, path)
    norm = network.backbone.body.bn1
    features = torch.randn(2, 4, 5, 5)
    affine = features * norm.weight[:, None, None] + norm.bias[:, None, None]
    torch.testing.assert_close(norm(features), affine, rtol=1e-6, atol=1e-6)
    assert torch.equal(norm.weight, family.weights["backbone.body.bn1.weight"])


def test_an_epsilon_of_the_network_is_made_up_for(golden: Path, tmp_path: Path) -> None:
    family = GoldenFamily.load(golden, "fpn_r50")
    path = write(tmp_path / "R-50.pkl", bare_backbone(family))
    network = family.random_network(numerics="torchvision")
    load_detectron2(network, path)
    features = torch.randn(1, 4, 3, 3)
    torch.testing.assert_close(network.backbone.body.bn1(features), family.network().backbone.body.bn1(features))
    assert network.backbone.body.bn1.eps == 0


def test_group_norm_in_the_network_replaces_batch_norm(golden: Path) -> None:
    family = GoldenFamily.load(golden, "fpn_r50")
    network = family.random_network(norm="gn", freeze_at=0)
    report = load_detectron2(network, family.path)
    (sentence,) = report.sentences()
    assert "normalization layers, since the file has batch normalization and the network GroupNorm" in sentence
    assert torch.equal(network.backbone.body.conv1.weight, family.weights["backbone.body.conv1.weight"])
    assert bool((network.backbone.body.bn1.weight == 1).all())
    assert all(".norm." in note.name or "fpn_" in note.name for note in report.ignored)
    assert len(report.loaded) + len(report.ignored) >= len(family.raw)


def test_group_norm_in_the_file_needs_it_in_the_network(golden: Path, tmp_path: Path) -> None:
    family = GoldenFamily.load(golden, "c4_r50")
    path = write(tmp_path / "gn.pkl", without(family.raw, "running_"))
    network = family.random_network(norm="gn", freeze_at=0)
    assert load_detectron2(network, path).loaded == list(network.state_dict())
    with pytest.raises(InputError, match=r"set norm=gn"):
        load_detectron2(family.random_network(), path)


def test_trainable_batch_norm_counts_from_where_it_was(golden: Path) -> None:
    family = GoldenFamily.load(golden, "c4_r50")
    network = family.random_network(norm="bn")
    report = load_detectron2(network, family.path)
    missing = set(network.state_dict()) - set(report.loaded)
    assert missing
    assert all(name.endswith("num_batches_tracked") for name in missing)


@pytest.mark.parametrize("name", FAMILIES)
def test_settings_are_recognized(golden: Path, name: str) -> None:
    family = GoldenFamily.load(golden, name)
    found = implied_settings(read_weights(family.path))
    config = family.config()
    assert (found.pixel_mean, found.pixel_std, found.stride_in_1x1) == (
        config.pixel_mean,
        config.pixel_std,
        config.stride_in_1x1,
    )
    assert found.bgr


def test_settings_that_differ_are_reported(golden: Path) -> None:
    family = GoldenFamily.load(golden, "fpn_x101")
    network = family.random_network(stride_in_1x1=True, pixel_std=(1.0, 1.0, 1.0))
    sentences = load_detectron2(network, family.path).sentences()
    assert len(sentences) == 2
    assert "pixel_std is [1,1,1]" in sentences[0]
    assert "set pixel_std=[58.395,57.12,57.375]" in sentences[0]
    assert "set stride_in_1x1=false" in sentences[1]


@pytest.mark.parametrize(
    ("mean", "std", "author", "bgr", "stride"),
    [
        ([103.53, 116.28, 123.675], [57.375, 57.12, 58.395], "", True, False),
        ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375], "", False, False),
        ([103.53, 116.28, 123.675], [1.0, 1.0, 1.0], "", True, True),
        (None, None, "torchvision", False, False),
    ],
)
def test_what_a_file_says_of_its_pixels_comes_first(
    golden: Path,
    tmp_path: Path,
    mean: list[float] | None,
    std: list[float] | None,
    author: str,
    bgr: bool,
    stride: bool,
) -> None:
    family = GoldenFamily.load(golden, "c4_r50")
    pixels = {} if mean is None else {"pixel_mean": np.float32(mean).reshape(3, 1, 1), "pixel_std": np.float32(std)}
    path = write(tmp_path / "own.pkl", {**family.raw, **pixels}, __author__=author)
    found = implied_settings(read_weights(path))
    assert (found.bgr, found.stride_in_1x1, found.pixel_mean) == (bgr, stride, (123.675, 116.28, 103.53))
    network = family.random_network()
    load_detectron2(network, read_weights(path))
    stem = torch.from_numpy(family.raw["backbone.stem.conv1.weight"])
    assert torch.equal(network.backbone.body.conv1.weight, stem.flip(1) if bgr else stem)


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("c4_r50", "BGR images, pixel_std=[1,1,1], stride_in_1x1=true, detectron2's"),
        ("fpn_x101", "BGR images, pixel_std=[58.395,57.12,57.375], stride_in_1x1=false, detectron2's"),
    ],
)
def test_assumptions_about_a_file_without_settings_are_reported(
    golden: Path, tmp_path: Path, name: str, taken: str
) -> None:
    family = GoldenFamily.load(golden, name)
    path = tmp_path / "mine.pth"
    weights = {key: torch.from_numpy(array) for key, array in without(family.raw, "pixel_").items()}
    torch.save({"model": weights}, path)
    (sentence,) = load_detectron2(family.random_network(), path).sentences()
    assert "does not say how it was trained" in sentence
    assert taken in sentence
    torch.save({"model": {**weights, "pixel_mean": torch.tensor([123.675, 116.28, 103.53])}}, path)
    assert not implied_settings(read_weights(path)).assumed
    assert not implied_settings(read_weights(path)).bgr


def test_resnet_18_has_no_one_origin(tmp_path: Path) -> None:
    weights = {"backbone.bottom_up.res2.0.conv2.weight": np.zeros((8, 8, 3, 3), dtype=np.float32)}
    found = implied_settings(read_weights(write(tmp_path / "r18.pkl", weights)))
    assert (found.pixel_mean, found.pixel_std, found.stride_in_1x1, found.bgr) == (None, None, None, True)
