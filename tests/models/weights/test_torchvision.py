"""torchvision's weights: its Mask R-CNN predicts the same as ours, and its ImageNet backbones load in all families."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from pycocotools import mask as coco_mask
from small_networks import image, small_network
from torch import Tensor, nn
from torchvision.models.detection import maskrcnn_resnet50_fpn, maskrcnn_resnet50_fpn_v2
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from nucleiseg.errors import InputError
from nucleiseg.inference.box_masks import to_rle
from nucleiseg.models.config import ModelConfig
from nucleiseg.models.mask_rcnn import MaskRCNN, build
from nucleiseg.models.part_configs import DetectionConfig, RPNConfig
from nucleiseg.models.weights.implied_settings import TORCHVISION, implied_settings
from nucleiseg.models.weights.importer import load_torchvision, load_torchvision_backbone
from nucleiseg.models.weights.weights_file import read_weights
from nucleiseg.structures import Prediction

PIXELS = {"pixel_mean": TORCHVISION.pixel_mean, "pixel_std": TORCHVISION.pixel_std, "stride_in_1x1": False}

PICTURES = [image(96, 128, seed=1), image(128, 96, seed=2), image(160, 64, seed=3)]


def ours(num_classes: int = 3, **changes: object) -> MaskRCNN:
    return build(
        ModelConfig(
            name="r50_fpn",
            numerics="torchvision",
            weights="torchvision",
            rpn=RPNConfig(pre_nms_test=200, post_nms_test=40),
            detection=DetectionConfig(score_threshold=0.05, limit=20),
            **{**PIXELS, **changes},
        ),
        num_classes,
    )


@pytest.fixture(scope="module", params=["as it comes", "with statistics of its own"])
def theirs(request: pytest.FixtureRequest) -> nn.Module:
    """Stock torchvision with random weights; in the second, normalization is not the identity it starts as."""
    torch.manual_seed(0)
    network = maskrcnn_resnet50_fpn(
        weights=None,
        weights_backbone=None,
        num_classes=4,
        min_size=64,
        max_size=1000,
        rpn_anchor_generator=AnchorGenerator(((8,), (16,), (32,), (64,), (128,)), ((0.5, 1.0, 2.0),) * 5),
        rpn_pre_nms_top_n_test=200,
        rpn_post_nms_top_n_test=40,
        box_detections_per_img=20,
    )
    if request.param != "as it comes":
        _take_statistics_of_a_picture(network)
    return network.eval()


def _take_statistics_of_a_picture(network: nn.Module) -> None:
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
            if name.endswith("bn3"):
                nn.init.constant_(module.weight, 0.2)  # as after training; 1 makes features of the order of 1000
    with torch.no_grad():
        network.backbone.train()(network.transform([PICTURES[0] / 255])[0].tensors)


def detections(network: nn.Module, picture: Tensor) -> Mapping[str, Tensor]:
    """What torchvision predicts, with masks as they lie in their boxes, of a picture that it does not resize."""
    network.transform.postprocess = lambda result, *_: result
    network.transform.min_size = (min(picture.shape[1:]),)
    with torch.no_grad():
        return network([picture / 255])[0]


def pasted_by_torchvision(network: nn.Module, detected: Mapping[str, Tensor], size: tuple[int, int]) -> np.ndarray:
    """(N, H, W) probabilities that torchvision's own post-processing makes of what it detected."""
    (result,) = GeneralizedRCNNTransform.postprocess(network.transform, [dict(detected)], [size], [size])
    return result["masks"][:, 0].numpy()


def pasted(prediction: Prediction) -> np.ndarray:
    return np.stack([coco_mask.decode(rle) for rle in to_rle(prediction)]).astype(bool)


@pytest.fixture(scope="module")
def with_their_weights(theirs: nn.Module) -> MaskRCNN:
    network = ours().eval()
    report = load_torchvision(network, theirs.state_dict())
    assert report.loaded == list(network.state_dict())
    assert report.sentences() == []
    return network


@pytest.mark.parametrize("picture", PICTURES, ids=["wide", "tall", "taller"])
def test_stock_maskrcnn_resnet50_fpn_predicts_the_same_in_ours(
    theirs: nn.Module, with_their_weights: MaskRCNN, picture: Tensor, request: pytest.FixtureRequest
) -> None:
    # Folded normalization rounds otherwise, and untouched weights make features of the order of 1000.
    slack = 50 if "as it comes" in request.node.name else 1
    expected = detections(theirs, picture)
    with torch.no_grad():
        found = with_their_weights([picture])[0]
    assert len(found) == len(expected["boxes"]) > 5
    assert torch.equal(found.labels, expected["labels"])
    torch.testing.assert_close(found.boxes, expected["boxes"], rtol=0, atol=1e-4 * slack)
    torch.testing.assert_close(found.scores, expected["scores"], rtol=0, atol=1e-5 * slack)
    torch.testing.assert_close(found.masks, expected["masks"][:, 0], rtol=0, atol=1e-4 * slack)
    soft = pasted_by_torchvision(theirs, expected, found.size)
    decided = np.abs(soft - 0.5) > 1e-3 * slack
    np.testing.assert_array_equal(pasted(found)[decided], soft[decided] >= 0.5)
    same_numbers = replace(found, boxes=expected["boxes"], masks=expected["masks"][:, 0])
    np.testing.assert_array_equal(pasted(same_numbers), soft >= 0.5)
    assert (soft >= 0.5).any()


def shapes_alone(network: nn.Module) -> dict[str, Tensor]:
    """Weights of the right shapes, all zero, that take no memory."""
    return {name: torch.zeros((), device="cpu").expand(value.shape) for name, value in network.state_dict().items()}


@pytest.fixture(scope="module")
def coco() -> dict[str, Tensor]:
    with torch.device("meta"):
        network = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None)  # 91 classes with the background
    return {name: value for name, value in shapes_alone(network).items() if "num_batches" not in name}


def test_names_from_before_torchvision_0_13(coco: dict[str, Tensor]) -> None:
    """The COCO file of 2018 has them; torchvision renames them as it loads."""
    old = {}
    for name, value in coco.items():
        name = re.sub(r"(inner|layer)_blocks\.(\d)\.0\.", r"\1_blocks.\2.", name)
        name = name.replace("rpn.head.conv.0.0.", "rpn.head.conv.")
        name = re.sub(r"mask_head\.(\d)\.0\.", lambda found: f"mask_head.mask_fcn{int(found[1]) + 1}.", name)
        old[name] = value
    assert len(set(old) - set(coco)) == 16 + 2 + 8
    with torch.device("meta"):
        network = ours(num_classes=90)
    assert load_torchvision(network, old).loaded == list(network.state_dict())


def test_other_classes_start_anew(coco: dict[str, Tensor]) -> None:
    network = ours(num_classes=1)
    (sentence,) = load_torchvision(network, coco).sentences()
    for layer in ("box_predictor.cls_score", "box_predictor.bbox_pred", "mask_predictor.mask_fcn_logits"):
        assert f"roi_heads.{layer}" in sentence
    assert "the file has 90 classes, this network 1" in sentence
    assert network.roi_heads.box_predictor.cls_score.weight.any()
    assert not network.roi_heads.box_head.fc6.weight.any()


def test_only_torchvisions_numerics_take_them(coco: dict[str, Tensor]) -> None:
    with pytest.raises(InputError, match=r"set numerics=torchvision"):
        load_torchvision(small_network(), coco)


def test_the_second_version_has_other_heads() -> None:
    with torch.device("meta"):
        network = maskrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None)
    with pytest.raises(InputError, match=r"torchvision's detection weights\) does not fit .* keys are not of this"):
        load_torchvision(ours(), shapes_alone(network))


@pytest.mark.parametrize(("eps", "counted", "expected"), [(None, True, 1e-5), (None, False, 0.0), (1e-3, False, 1e-3)])
def test_the_epsilon_in_training_is_kept(
    coco: dict[str, Tensor], eps: float | None, counted: bool, expected: float
) -> None:
    weights = coco | ({"backbone.body.bn1.num_batches_tracked": torch.tensor(3)} if counted else {})
    network = ours()
    load_torchvision(network, weights, bn_eps=eps)
    variance = network.backbone.body.bn1.running_var
    torch.testing.assert_close(variance, torch.full_like(variance, expected))


@pytest.mark.parametrize("family", ["fpn", "c4", "dc5"])
def test_a_backbone_of_imagenet_computes_the_same_features(family: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = torchvision.models.resnet50(weights=None)
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.normal_(module.running_mean, std=0.1)
    torch.save(theirs.state_dict(), tmp_path / "resnet50.pth")
    config = ModelConfig(name="x", family=family, weights="torchvision/resnet50", **PIXELS)
    network = build(config, 1)
    report = load_torchvision_backbone(network, tmp_path / "resnet50.pth")
    assert {note.name for note in report.ignored} >= {"fc.weight", "fc.bias"}
    assert "the file holds a backbone alone" in report.sentences()[0]
    assert len(report.sentences()) == 1
    pixels = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        stem = theirs.eval().maxpool(theirs.relu(theirs.bn1(theirs.conv1(pixels))))
        expected = theirs.layer3(theirs.layer2(theirs.layer1(stem)))
        found = pixels
        for name, module in network.backbone.body.items():
            found = module(found)
            if name == "layer3":
                break
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)
        if family == "c4":
            torch.testing.assert_close(network.roi_heads.box_head(found), theirs.layer4(expected), rtol=1e-4, atol=1e-2)
    assert set(report.loaded) >= {name for name in network.state_dict() if name.startswith("backbone.body.")}


def test_group_norm_replaces_the_backbones_normalization() -> None:
    with torch.device("meta"):
        weights = shapes_alone(torchvision.models.resnet50(weights=None))
    config = ModelConfig(name="x", weights="torchvision/resnet50", norm="gn", freeze_at=0, **PIXELS)
    network = build(config, 1)
    report = load_torchvision_backbone(network, weights)
    assert not network.backbone.body.conv1.weight.any()
    assert bool((network.backbone.body.bn1.weight == 1).all())
    assert any("normalization layers" in sentence for sentence in report.sentences())
    assert {note.name for note in report.ignored} >= {"bn1.weight", "bn1.running_var", "fc.weight"}


def test_a_stride_in_the_1x1_is_not_theirs() -> None:
    with torch.device("meta"):
        weights = shapes_alone(torchvision.models.resnet50(weights=None))
    config = ModelConfig(name="x", weights="torchvision/resnet50", **(PIXELS | {"stride_in_1x1": True}))
    sentences = load_torchvision_backbone(build(config, 1), weights).sentences()
    assert any("set stride_in_1x1=false" in sentence for sentence in sentences)


def test_settings_are_recognized(tmp_path: Path, coco: dict[str, Tensor]) -> None:
    for number, weights in enumerate([coco, {"layer1.0.conv1.weight": torch.zeros(1), "conv1.weight": torch.zeros(1)}]):
        path = tmp_path / f"{number}.pth"
        torch.save(weights, path)
        assert implied_settings(read_weights(path)) == TORCHVISION
