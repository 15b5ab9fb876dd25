"""Backbones beyond ResNets: torchvision's ConvNeXt and Swin, models of timm, and those that users register."""

import importlib.util
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from small_networks import image, small_config, target
from torch import Tensor, nn

from nucleiseg.errors import InputError
from nucleiseg.models.backbones.families import build_backbone
from nucleiseg.models.backbones.registry import BACKBONES, Backbone, BackboneOptions, register_backbone
from nucleiseg.models.checkpoint import Metadata, load, save
from nucleiseg.models.config import ModelConfig
from nucleiseg.models.mask_rcnn import MaskRCNN, build
from nucleiseg.models.pretrained import resolve_weights
from nucleiseg.models.weights.importer import load_torchvision_backbone

TIMM = {"backbone": "test_convnext", "backbone_source": "timm"}
"""The smallest ConvNeXt of timm, 0.3 million parameters."""


class Pyramid(nn.Module):
    """Four strided convolutions with batch normalization."""

    def __init__(self, strides: tuple[int, ...] = (4, 2, 2, 2)) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(3 if stage == 0 else 8, 8, stride, stride), nn.BatchNorm2d(8), nn.ReLU())
            for stage, stride in enumerate(strides)
        )

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        maps = {}
        for name, stage in zip("abcd", self.stages, strict=True):
            maps[name] = images = stage(images)
        return maps


@pytest.fixture
def my_net() -> Iterator[str]:
    """The name of a registered backbone, forgotten after the test."""

    @register_backbone("my_net")
    def my_net(options: BackboneOptions) -> Backbone:
        return Backbone(
            body=Pyramid(),
            channels=dict.fromkeys("abcd", 8),
            strides=dict(zip("abcd", (4, 8, 16, 32), strict=True)),
            stages=[(f"stages.{stage}",) for stage in range(4)],
        )

    yield "my_net"
    BACKBONES.pop("my_net", None)


def train_two_steps(network: MaskRCNN) -> list[float]:
    """Return the losses of two steps on one image, after which the network has predicted."""
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=1e-3)
    losses = []
    for _ in range(2):
        loss = sum(network.train()([image()], [target(6)]).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    with torch.no_grad():
        prediction = network.eval()([image()])[0]
    assert prediction.size == (96, 80)
    return losses


@pytest.mark.parametrize("changes", [TIMM, {"backbone": "swin_t"}, {"backbone": "my_net"}], ids=lambda c: c["backbone"])
def test_a_backbone_trains_two_steps_and_predicts(changes: dict[str, str], my_net: str) -> None:
    torch.manual_seed(0)
    network = build(small_config(**changes), 1)
    assert network.config.norm == "own"
    first, second = train_two_steps(network)
    assert 0 < second < first
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name


def test_c4_of_basic_blocks_trains_two_steps_and_predicts() -> None:
    torch.manual_seed(0)
    network = build(small_config("c4", backbone="resnet18"), 1)
    first, second = train_two_steps(network)
    assert 0 < second < first
    assert network.roi_heads.box_predictor.cls_score.in_features == 512


@pytest.mark.parametrize("name", ["convnext_tiny", "swin_t"])
def test_maps_are_torchvisions(name: str) -> None:
    """The last map before its LayerNorm is what torchvision's classifier computes."""
    backbone = build_backbone(backbone=name, norm="own", fpn_channels=8).backbone
    theirs = torchvision.models.get_model(name, weights=None).eval()
    body = backbone.body.eval()
    body.features.load_state_dict(theirs.features.state_dict())
    body.norms = nn.ModuleList(nn.Identity() for _ in range(4))
    images = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        maps = body(images)
        expected = theirs.features(images)
    assert [tuple(features.shape[2:]) for features in maps.values()] == [(16, 24), (8, 12), (4, 6), (2, 3)]
    assert maps["3"].equal(expected.permute(0, 3, 1, 2) if name == "swin_t" else expected)


@pytest.mark.parametrize("name", ["convnext_tiny", "swin_t"])
def test_imagenet_weights_load_but_for_the_norms_of_the_maps(name: str) -> None:
    theirs = torchvision.models.get_model(name, weights=None).state_dict()
    network = build(small_config(backbone=name, weights=f"torchvision/imagenet_{name}"), 1)
    report = load_torchvision_backbone(network, theirs)
    body = {key.removeprefix("backbone.body."): value for key, value in network.state_dict().items()}
    assert {key for key in theirs if key.startswith("features.")} == {
        key.removeprefix("backbone.body.") for key in report.loaded
    }
    assert all(body[key].equal(theirs[key]) for key in theirs if key.startswith("features."))
    assert "backbone.body.norms" in report.sentences()[0]
    assert {note.name.partition(".")[0] for note in report.ignored} <= {"classifier", "head", "norm"}


def test_timm_weights_of_a_file_give_timms_features(tmp_path: Path) -> None:
    theirs = timm.create_model("test_convnext").eval()
    save_file(theirs.state_dict(), tmp_path / "weights.safetensors")
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    images = torch.rand(1, 3, 64, 96)
    for file in ("weights.safetensors", "weights.pth"):
        start = resolve_weights(small_config(**TIMM, weights=str(tmp_path / file)))
        network = build(start.config, 1).eval()
        report = start.load(network)
        assert all(name.startswith("backbone.body.") for name in report.loaded)
        with torch.no_grad():
            maps = network.backbone.body(images)
            expected = theirs.forward_intermediates(images, intermediates_only=True)
        assert len(report.loaded) == len(network.backbone.body.state_dict())
        for found, wanted in zip(maps.values(), expected[-4:], strict=True):
            assert found.equal(wanted)


def test_timm_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "other.safetensors")
    with pytest.raises(InputError, match=r"the weights of the file of test_convnext cannot be loaded"):
        resolve_weights(small_config(**TIMM, weights=str(tmp_path / "other.safetensors")))
    (tmp_path / "damaged.safetensors").write_bytes(b"no weights")
    with pytest.raises(InputError, match=r"damaged\.safetensors cannot be read as weights"):
        resolve_weights(small_config(**TIMM, weights=str(tmp_path / "damaged.safetensors")))


def test_without_timms_weights_auto_starts_from_random_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: object, **options: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("timm.models._builder.load_pretrained", offline)
    start = resolve_weights(small_config(**TIMM, weights="auto"))
    assert start.config.weights is None
    assert "timm's weights of test_convnext cannot be loaded (no network)" in start.sentences[0]
    with pytest.raises(InputError, match="cannot be loaded"):
        resolve_weights(small_config(**TIMM, weights="timm/test_convnext"))
    with pytest.raises(InputError, match="it accepts timm/test_convnext with this backbone"):
        resolve_weights(small_config(**TIMM, weights="timm/convnext_tiny"))


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("swin_tiny_patch4_window7_224", "for images of any size, and this one takes 224 x 224 pixels"),
        ("test_vit", "backbone is 'test_vit'; it accepts a model of timm"),
        ("convmixer_768_32", "with maps of strides 4, 8, 16 and 32|returns feature maps"),
        ("bat_resnext26ts", "backbone is 'bat_resnext26ts'; .* fails on 96 x 64 pixels: AssertionError"),
    ],
)
def test_models_of_timm_without_a_pyramid_are_refused(name: str, sentence: str) -> None:
    config = small_config(backbone=name, backbone_source="timm")
    with torch.device("meta"), pytest.raises(InputError, match=sentence):
        build(config, 1)


def test_timm_freezes_stages_with_their_batch_normalization() -> None:
    built = build_backbone(backbone="test_resnet", source="timm", norm="own", freeze_at=2, fpn_channels=8)
    features = built.backbone.body.features
    frozen = {name.partition(".")[0] for name, p in features.named_parameters() if not p.requires_grad}
    trained = {name.partition(".")[0] for name, p in features.named_parameters() if p.requires_grad}
    assert frozen == {"conv1", "layer1"}
    assert trained == {"layer2", "layer3", "layer4"}
    before = {key: value.clone() for key, value in features.state_dict().items() if "layer1" in key}
    built.backbone.train()(torch.rand(2, 3, 64, 64))
    assert all(features.state_dict()[key].equal(value) for key, value in before.items())


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs the package timm: pip install 'nucleiseg\[timm\]'"):
        ModelConfig(name="a", **TIMM)


def test_a_checkpoint_needs_its_backbone_registered(tmp_path: Path, my_net: str) -> None:
    network = build(small_config(backbone=my_net), 1)
    save(tmp_path / "step.ckpt", network, Metadata(model=network.config.to_dict()))
    assert load(tmp_path / "step.ckpt")[0].config == network.config
    BACKBONES.pop(my_net)
    with pytest.raises(InputError, match=r"model\.backbone is 'my_net'.*registered by importing its module first"):
        load(tmp_path / "step.ckpt")


def test_a_backbone_that_breaks_the_contract_is_refused(my_net: str) -> None:
    whole = BACKBONES[my_net].build

    @register_backbone("my_net")
    def coarse(options: BackboneOptions) -> Backbone:
        return replace(whole(options), strides=dict(zip("abcd", (2, 4, 8, 16), strict=True)))

    with pytest.raises(InputError, match=r"strides 2, 4, 8, 16 .* family fpn needs strides 4, 8, 16, 32"):
        build(small_config(backbone=my_net), 1)


def test_stages_that_nobody_named_cannot_be_frozen(my_net: str) -> None:
    whole = BACKBONES[my_net].build
    register_backbone("my_net")(lambda options: replace(whole(options), stages=()))
    with pytest.raises(InputError, match=r"freeze_at is 1; it accepts 0 with backbone=my_net"):
        build(small_config(backbone=my_net, weights="mine.pth", freeze_at=1), 1)
