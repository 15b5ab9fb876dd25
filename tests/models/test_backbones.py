"""Backbones: detectron2's feature maps, torchvision's modules, widths, strides, freezing, normalization."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from golden_weights import FAMILIES, GoldenFamily
from torch import Tensor, nn
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.ops import FrozenBatchNorm2d

from nucleiseg.errors import InputError
from nucleiseg.models.backbones.families import BackboneParts, build_backbone
from nucleiseg.models.backbones.resnet import RESNETS, ResNetSpec, StageBuilder
from nucleiseg.models.norm import group_norm, make_norm_layer, resolve_norm_and_freeze
from nucleiseg.models.numerics import DETECTRON2, NUMERICS, TORCHVISION

TINY = ResNetSpec(depths=(1, 2, 1, 2), width_per_group=4, stem_channels=8, res2_channels=16)


def count(module: nn.Module) -> tuple[int, int]:
    """All parameters, and those that do not train."""
    parameters = list(module.parameters())
    return sum(p.numel() for p in parameters), sum(p.numel() for p in parameters if not p.requires_grad)


def bottom_up(body: nn.Module, images: Tensor) -> dict[str, Tensor]:
    names = {"maxpool": "stem", "layer1": "res2", "layer2": "res3", "layer3": "res4", "layer4": "res5"}
    maps = {}
    for name, module in body.items():
        images = module(images)
        if name in names:
            maps[names[name]] = images
    return maps


@pytest.mark.parametrize("name", FAMILIES)
def test_feature_maps_are_detectron2s(golden: Path, name: str) -> None:
    family = GoldenFamily.load(golden, name)
    parts = build_backbone(**family.backbone_arguments())
    parts.backbone.load_state_dict(family.part("backbone."))
    with torch.no_grad():
        maps = bottom_up(parts.backbone.body, family.network_input())
        outputs = parts.backbone(family.network_input())
    for stage, features in maps.items():
        expected = family.arrays[f"bottomup_{stage}"]
        np.testing.assert_allclose(features[0].numpy(), expected, rtol=1e-3, atol=1e-3, err_msg=stage)
    assert ("res5" in maps) == (family.family != "c4")
    if family.family == "fpn":
        assert list(outputs) == ["0", "1", "2", "3", "pool"]
        for level, features in enumerate(outputs.values(), 2):
            np.testing.assert_allclose(features[0].numpy(), family.arrays[f"fpn_p{level}"], rtol=1e-3, atol=1e-3)
    else:
        torch.testing.assert_close(
            outputs["0"], maps["res4" if family.family == "c4" else "res5"], rtol=1e-3, atol=1e-3
        )


def test_c4_res5_takes_the_weights_of_the_head(golden: Path) -> None:
    family = GoldenFamily.load(golden, "c4_r50")
    parts = build_backbone(**family.backbone_arguments())
    assert parts.res5 is not None
    parts.res5.load_state_dict(family.part("roi_heads.box_head."))
    assert parts.res5[0].conv1.stride == (2, 2)
    assert parts.res5[0].conv2.stride == (1, 1)
    pooled = torch.from_numpy(family.arrays["roi_pooled_first"])
    with torch.no_grad():
        features = parts.res5(pooled).mean(dim=(2, 3))
        logits = nn.functional.linear(
            features, *(family.weights[f"roi_heads.box_predictor.cls_score.{kind}"] for kind in ("weight", "bias"))
        )
    expected = np.roll(family.arrays["box_logits"][:3], 1, axis=1)
    np.testing.assert_allclose(logits.numpy(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", [name for name in RESNETS if RESNETS[name].res5_channels is None])
def test_stages_have_torchvisions_names_and_shapes(name: str) -> None:
    with torch.device("meta"):
        ours = build_backbone(backbone=name, norm="bn").backbone.body
        theirs = torchvision.models.get_model(name, weights=None)
    del theirs.fc
    shapes = [{key: value.shape for key, value in net.state_dict().items()} for net in (ours, theirs)]
    assert shapes[0] == shapes[1]


def test_the_narrow_resnet_differs_in_its_last_stage_alone() -> None:
    with torch.device("meta"):
        narrow, usual = (
            build_backbone(backbone=name, norm="gn").backbone.body.state_dict()
            for name in ("resnet18_narrow", "resnet18")
        )
    assert narrow.keys() == usual.keys()
    differing = {name for name, value in narrow.items() if value.shape != usual[name].shape}
    assert differing == {name for name in narrow if name.startswith("layer4.")}
    assert narrow["layer4.1.conv2.weight"].shape == (256, 256, 3, 3)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_stages_compute_what_torchvisions_do(name: str) -> None:
    ours = build_backbone(backbone=name, norm="bn").backbone.body
    theirs = torchvision.models.get_model(name, weights=None)
    theirs.fc = theirs.avgpool = nn.Identity()
    ours.load_state_dict(theirs.state_dict())
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert bottom_up(ours.eval(), images)["res5"].flatten(1).equal(theirs.eval()(images))


@pytest.mark.parametrize(
    ("family", "backbone", "parameters", "frozen"),
    [
        # without the RPN, the heads and C4's res5: from the convolutions' shapes alone
        ("c4", "resnet50", 8_512_704, 222_400),
        ("dc5", "resnet50", 23_454_912, 222_400),
        ("fpn", "resnet50", 26_799_296, 222_400),
        ("fpn", "resnet101", 45_739_200, 222_400),
        ("fpn", "resnext101_32x8d", 89_883_840, 425_152),
        ("c4", "resnet18", 2_778_304, 156_864),
        ("c4", "resnet34", 8_160_448, 230_592),
    ],
)
def test_parameter_counts(family: str, backbone: str, parameters: int, frozen: int) -> None:
    with torch.device("meta"):
        built = build_backbone(family=family, backbone=backbone, freeze_at=2)
    assert count(built.backbone) == (parameters, frozen)


@pytest.mark.parametrize(
    ("family", "shapes"),
    [
        ("c4", {"0": (64, 5, 7)}),
        ("dc5", {"0": (128, 5, 7)}),
        ("fpn", {"0": (24, 20, 28), "1": (24, 10, 14), "2": (24, 5, 7), "3": (24, 3, 4), "pool": (24, 2, 2)}),
    ],
)
def test_shapes_follow_the_nominal_strides(family: str, shapes: dict[str, tuple[int, ...]]) -> None:
    parts = build_backbone(family=family, backbone=TINY, norm="gn", fpn_channels=24)
    maps = parts.backbone(torch.rand(2, 3, 80, 112))
    assert {name: tuple(features.shape[1:]) for name, features in maps.items()} == shapes
    assert parts.backbone.out_channels == maps["0"].shape[1]
    for name, stride in parts.backbone.strides.items():
        assert tuple(maps[name].shape[2:]) == (-(-80 // stride), -(-112 // stride))
    assert parts.res5_channels == 128
    if parts.res5 is not None:
        assert parts.res5(torch.rand(3, 64, 14, 14)).shape == (3, 128, 7, 7)


def test_every_3x3_of_a_dilated_res5_is_dilated() -> None:
    parts = build_backbone(family="dc5", backbone=TINY)
    convolutions = [module for module in parts.backbone.body.layer4.modules() if isinstance(module, nn.Conv2d)]
    assert {conv.stride for conv in convolutions} == {(1, 1)}
    assert [conv.dilation for conv in convolutions if conv.kernel_size == (3, 3)] == [(2, 2), (2, 2)]


def test_the_stride_moves_between_convolutions() -> None:
    for stride_in_1x1 in (False, True):
        block = build_backbone(backbone=TINY, stride_in_1x1=stride_in_1x1).backbone.body.layer2[0]
        assert (block.conv1.stride == (2, 2)) == stride_in_1x1
        assert (block.conv2.stride == (2, 2)) != stride_in_1x1
        assert block.downsample[0].stride == (2, 2)


@pytest.mark.parametrize("freeze_at", range(6))
def test_freezing_counts_stages_from_the_stem(freeze_at: int) -> None:
    body = build_backbone(backbone=TINY, norm="bn", freeze_at=freeze_at).backbone.body
    parts = [("conv1", "bn1"), ("layer1",), ("layer2",), ("layer3",), ("layer4",)]
    for index, names in enumerate(parts):
        trains = {parameter.requires_grad for name in names for parameter in body[name].parameters()}
        assert trains == {index >= freeze_at}
        norms = [type(m) for name in names for m in body[name].modules() if "BatchNorm" in type(m).__name__]
        assert set(norms) == {FrozenBatchNorm2d if index < freeze_at else nn.BatchNorm2d}


def test_c4_never_freezes_the_res5_of_its_head() -> None:
    parts: BackboneParts = build_backbone(family="c4", backbone=TINY, norm="gn", freeze_at=5)
    assert parts.res5 is not None
    assert count(parts.res5)[1] == 0
    assert count(parts.backbone)[0] == count(parts.backbone)[1]


def test_group_norm_also_normalizes_the_pyramid() -> None:
    plain, normalized = (build_backbone(backbone=TINY, norm=norm).backbone for norm in ("frozen_bn", "gn"))
    assert isinstance(plain, BackboneWithFPN)
    assert plain.fpn.inner_blocks[0][0].bias is not None
    assert normalized.fpn.inner_blocks[0][0].bias is None
    assert isinstance(normalized.fpn.layer_blocks[0][1], nn.GroupNorm)


@pytest.mark.parametrize(("channels", "groups"), [(64, 32), (96, 32), (48, 16), (4, 4), (7, 1)])
def test_group_norm_takes_any_width(channels: int, groups: int) -> None:
    assert group_norm(channels).num_groups == groups


@pytest.mark.parametrize("needs_grad", [False, True])
def test_frozen_batch_norm_is_detectron2s(golden: Path, needs_grad: bool) -> None:
    units = np.load(golden / "units" / "units.npz")
    layer = make_norm_layer("frozen_bn", DETECTRON2.bn_eps)(3)
    layer.load_state_dict(
        {
            "weight": torch.tensor([0.5, -1.2, 2.0]),
            "bias": torch.tensor([0.1, 0.0, -3.0]),
            "running_mean": torch.tensor([1.0, -2.0, 0.5]),
            "running_var": torch.tensor([0.04, 9.0, 1e-6]),  # far below epsilon: it decides
        }
    )
    output = layer(torch.from_numpy(units["bn_x"]).requires_grad_(needs_grad)).detach().numpy()
    np.testing.assert_allclose(output, units["bn_y_grad_path" if needs_grad else "bn_y"], rtol=1e-5, atol=2e-5)


def test_random_backbones_start_from_kaiming_normal() -> None:
    torch.manual_seed(0)
    weight = build_backbone(family="c4", backbone="resnet50").backbone.body.layer1[1].conv2.weight
    assert weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        ({"family": "fpm"}, "family is 'fpm'"),
        ({"backbone": "resnet5"}, "backbone is 'resnet5'"),
        ({"backbone": "resnet18", "family": "dc5"}, "with family=dc5"),
        ({"backbone": "convnext_tiny", "family": "c4"}, "accepts one of resnet18, .* resnet34, .* with family=c4"),
        ({"norm": "layer"}, "norm is layer"),
    ],
)
def test_unknown_choices_are_named(arguments: dict[str, str], key: str) -> None:
    with pytest.raises(InputError, match=key):
        build_backbone(**arguments)


@pytest.mark.parametrize(
    ("arguments", "norm", "freeze_at"),
    [
        ((None, None, None), "gn", 0),
        ((None, "bn", 0), "bn", 0),
        (("zoo", None, None), "frozen_bn", 2),
        (("zoo", "bn", None), "bn", 2),
        (("zoo", "gn", None), "gn", 0),
        (("zoo", None, 0), "frozen_bn", 0),
    ],
)
def test_norm_and_freezing_follow_the_weights(
    arguments: tuple[str | None, str | None, int | None], norm: str, freeze_at: int
) -> None:
    chosen_norm, chosen_freeze_at, sentence = resolve_norm_and_freeze(*arguments)
    assert (chosen_norm, chosen_freeze_at) == (norm, freeze_at)
    assert norm in sentence
    assert sentence.endswith(".")


@pytest.mark.parametrize(
    ("arguments", "keys"),
    [
        ((None, "frozen_bn", None), ["norm=frozen_bn"]),
        ((None, None, 2), ["freeze_at=2"]),
        ((None, "frozen_bn", 1), ["norm=frozen_bn", "freeze_at=1"]),
        (("zoo", None, 6), ["freeze_at is 6"]),
        (("zoo", "instance", None), ["norm is instance"]),
    ],
)
def test_contradictions_are_refused(arguments: tuple[str | None, str | None, int | None], keys: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        resolve_norm_and_freeze(*arguments)
    assert len(caught.value.problems) == len(keys)
    for key, problem in zip(keys, caught.value.problems, strict=True):
        assert key in problem


def test_the_two_numerics_differ_in_every_knob() -> None:
    assert NUMERICS == {"detectron2": DETECTRON2, "torchvision": TORCHVISION}
    knobs = vars(DETECTRON2)
    assert all(knobs[name] != value for name, value in vars(TORCHVISION).items())


@pytest.mark.parametrize("basic", [False, True])
def test_frozen_normalization_is_folded_into_convolutions_exactly(basic: bool) -> None:
    """The same values and gradients as torchvision's forward, which normalizes after each convolution."""
    spec = ResNetSpec(depths=(1, 1, 1, 1), width_per_group=16, stem_channels=8, res2_channels=16, basic=basic)
    stage = StageBuilder(spec, "frozen_bn", 1e-5, stride_in_1x1=False).stage(1).double()
    for module in stage.modules():
        if isinstance(module, FrozenBatchNorm2d):
            for statistic in (module.weight, module.bias, module.running_mean):
                statistic.normal_()
            module.running_var.uniform_(0.5, 2)
    inputs = torch.randn(2, 16, 9, 9, dtype=torch.float64)
    found = stage(inputs)
    plain = torchvision.models.resnet.BasicBlock if basic else torchvision.models.resnet.Bottleneck
    expected = plain.forward(stage[0], inputs)
    torch.testing.assert_close(found, expected)
    weights = list(stage.parameters())
    direction = torch.randn_like(expected)
    for gradient, wanted in zip(
        torch.autograd.grad(found, weights, direction),
        torch.autograd.grad(expected, weights, direction),
        strict=True,
    ):
        torch.testing.assert_close(gradient, wanted)
