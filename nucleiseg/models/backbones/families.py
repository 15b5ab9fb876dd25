"""Backbones in the three families: C4, DC5 and FPN.

    stem /4   res2 /4   res3 /8   res4 /16   res5 /32
                                  |                     C4:  one map; res5 works on every RoI, in the head
                                             |          DC5: one map; res5 dilated instead of strided, so /16 too
              |         |         |          |          FPN: a pyramid of five maps, /4 to /64

The pyramid's convolutions start from a Kaiming-uniform distribution with a = 1, which is also detectron2's
(`c2_xavier_fill`).
"""

from difflib import get_close_matches
from typing import NamedTuple, get_args

from torch import Tensor, nn
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.ops import FeaturePyramidNetwork, FrozenBatchNorm2d
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from nucleiseg.errors import InputError
from nucleiseg.models.backbones.registry import (
    BACKBONES,
    PYRAMID_STRIDES,
    Backbone,
    BackboneEntry,
    BackboneFamily,
    BackboneOptions,
    BackboneSource,
)
from nucleiseg.models.backbones.resnet import ResNetSpec, build_resnet
from nucleiseg.models.backbones.timm_models import timm_entry
from nucleiseg.models.norm import make_norm_layer

FAMILIES: tuple[BackboneFamily, ...] = get_args(BackboneFamily)
"""The choices of `family`."""


class SingleMapBackbone(nn.Module):
    """A backbone with one output map of stride 16 (C4 and DC5).

    Attributes:
        body: the stages, under their own names.
        out_channels: channels of the map.
        strides: {"0": 16}.
        size_divisibility: 1: inputs are padded to the batch's largest image and no further.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.body = backbone.body
        (self.out_channels,) = backbone.channels.values()
        self.strides = {"0": 16}
        self.size_divisibility = 1

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return {"0": (N, out_channels, ceil(H / 16), ceil(W / 16))} for (N, 3, H, W) normalized images."""
        (features,) = self.body(images).values()
        return {"0": features}


class PyramidBackbone(BackboneWithFPN):
    """A backbone with a feature pyramid (Lin et al. 2017): maps "0" .. "3" (p2 .. p5) and "pool" (p6).

    The constructor of BackboneWithFPN splits a model into its children; here the body returns its maps itself.

    Attributes:
        strides: the nominal strides, {"0": 4, "1": 8, "2": 16, "3": 32, "pool": 64}.
        size_divisibility: 32: with inputs padded to it, each map is exactly half the one below.
    """

    def __init__(self, backbone: Backbone, channels: int, norm: str) -> None:
        nn.Module.__init__(self)
        norm_layer = make_norm_layer(norm) if norm == "gn" else None  # detectron2's FPN: biases, no normalization
        self.body = backbone.body
        self.fpn = FeaturePyramidNetwork(
            list(backbone.channels.values()), channels, extra_blocks=LastLevelMaxPool(), norm_layer=norm_layer
        )
        self.out_channels = channels
        self.strides = {"0": 4, "1": 8, "2": 16, "3": 32, "pool": 64}
        self.size_divisibility = 32

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the five maps, (N, out_channels, ceil(H / stride), ceil(W / stride)) each."""
        maps = self.body(images).values()
        return self.fpn({str(index): features for index, features in enumerate(maps)})


class BackboneParts(NamedTuple):
    """A backbone in its family, as `build_backbone` returns it.

    Attributes:
        backbone: images to named feature maps; has `out_channels`, `strides` (by map name, nominal) and
            `size_divisibility`.
        res5: for C4, the stage that the head applies to each pooled RoI (stride 2); None in the other families.
        res5_channels: output channels of res5, wherever it lies.
    """

    backbone: SingleMapBackbone | PyramidBackbone
    res5: nn.Sequential | None
    res5_channels: int


def build_backbone(
    *,
    family: BackboneFamily = "fpn",
    backbone: str | ResNetSpec = "resnet50",
    source: BackboneSource = "registry",
    norm: str = "frozen_bn",
    bn_eps: float = 1e-5,
    stride_in_1x1: bool = False,
    freeze_at: int = 0,
    fpn_channels: int = 256,
) -> BackboneParts:
    """Build a backbone with random weights.

    Args:
        family: one of `FAMILIES`.
        backbone: a registered name, a model of timm, or widths and depths of a ResNet of one's own.
        source: of the name.
        norm: `frozen_bn`, `bn` or `gn`; `own` for backbones with normalization layers of their own. With `gn` the
            convolutions of the FPN are normalized as well.
        bn_eps: epsilon of `frozen_bn`.
        stride_in_1x1: bottlenecks subsample in the first 1x1 (weights of MSRA's ResNet-50 and -101), not in the 3x3.
        freeze_at: stages that are not trained, from the input up (1: stem, 2: stem and res2, ...). Batch normalization
            in them keeps its statistics too. C4's res5 belongs to the head and is never frozen.
        fpn_channels: channels of each map of the pyramid.

    Raises:
        InputError: an unknown family, norm or backbone, or one that does not support the family or freezing.
    """
    if family not in FAMILIES:
        raise InputError(f"family is {family!r}; it accepts one of {', '.join(FAMILIES)}.")
    options = BackboneOptions(family=family, norm=norm, bn_eps=bn_eps, stride_in_1x1=stride_in_1x1)
    if isinstance(backbone, ResNetSpec):
        parts = build_resnet(backbone, options)
    else:
        entry = find_backbone(backbone, source)
        require_family(entry, family)
        parts = entry.build(options)
    _require_maps(parts, family, backbone)
    if freeze_at > 0 and not parts.stages:
        raise InputError(f"freeze_at is {freeze_at}; it accepts 0 with backbone={backbone}, which names no stages.")
    for names in parts.stages[:freeze_at]:
        for name in names:
            freeze(parts.body, name, bn_eps)
    if family == "fpn":
        return BackboneParts(PyramidBackbone(parts, fpn_channels, norm), None, parts.head_channels)
    return BackboneParts(SingleMapBackbone(parts), parts.head, parts.head_channels)


def find_backbone(name: str, source: BackboneSource = "registry") -> BackboneEntry:
    """Return the entry of a registered backbone, or of a model of timm.

    Raises:
        InputError: no such name; or timm is needed and not installed.
    """
    if source == "timm":
        return timm_entry(name)
    if name not in BACKBONES:
        close = get_close_matches(name, BACKBONES, n=1, cutoff=0.7)
        meant = f"Did you mean {close[0]}? " if close else ""
        raise InputError(
            f"backbone is {name!r}; it accepts one of {', '.join(BACKBONES)}. {meant}For a model of timm set "
            "backbone_source=timm; a backbone of your own is registered by importing its module first."
        )
    return BACKBONES[name]


def require_family(entry: BackboneEntry, family: BackboneFamily) -> None:
    """Raise an InputError if a backbone does not support a family."""
    if family not in entry.families:
        supporting = [other.name for other in BACKBONES.values() if family in other.families]
        raise InputError(f"backbone is {entry.name!r}; it accepts one of {', '.join(supporting)} with family={family}.")


def _require_maps(parts: Backbone, family: BackboneFamily, name: object) -> None:
    """Refuse a builder's result that breaks the contract, before a network of other strides trains on it."""
    expected = PYRAMID_STRIDES if family == "fpn" else (16,)
    found = tuple(parts.strides.values())
    if found != expected or parts.channels.keys() != parts.strides.keys():
        raise InputError(
            f"backbone {name} has maps of strides {', '.join(map(str, found))} with channels for "
            f"{', '.join(parts.channels)}; family {family} needs strides {', '.join(map(str, expected))}, each with "
            "its channels."
        )


def freeze(body: nn.Module, name: str, bn_eps: float) -> None:
    """Freeze a module of a backbone in place; its batch normalization becomes FrozenBatchNorm2d.

    Args:
        body: the backbone.
        name: of the module.
        bn_eps: epsilon of the frozen normalization.
    """
    body.get_submodule(name).requires_grad_(False)
    for full_name, module in list(body.named_modules()):
        if isinstance(module, nn.BatchNorm2d) and (full_name == name or full_name.startswith(f"{name}.")):
            parent, _, last = full_name.rpartition(".")
            setattr(body.get_submodule(parent), last, _frozen(module, bn_eps))


def _frozen(module: nn.BatchNorm2d, eps: float) -> nn.Module:
    if type(module) is not nn.BatchNorm2d:  # timm's, with an activation inside
        from timm.layers import freeze_batch_norm_2d

        return freeze_batch_norm_2d(module)
    frozen = FrozenBatchNorm2d(module.num_features, eps=eps)
    frozen.load_state_dict(module.state_dict())
    return frozen
