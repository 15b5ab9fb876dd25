"""The contract of a backbone, and the registry of their names.

For example:

    @register_backbone("my_net")            # in a module of yours, imported before the name is used
    def my_net(options: BackboneOptions) -> Backbone:
        return Backbone(
            body=MyNet(),                   # images to {"a": map, "b": map, "c": map, "d": map}
            channels={"a": 32, "b": 64, "c": 128, "d": 256},
            strides={"a": 4, "b": 8, "c": 16, "d": 32},
            stages=[("stem",), ("block1",), ("block2",), ("block3",), ("block4",)],
        )

    network = build(ModelConfig(name="mine", backbone="my_net"), num_classes=1)
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn

PYRAMID_STRIDES = (4, 8, 16, 32)
"""Strides of the maps that FPN needs, the finest first."""

BackboneFamily = Literal["fpn", "c4", "dc5"]
BackboneSource = Literal["registry", "timm"]


@dataclass(frozen=True, kw_only=True)
class BackboneOptions:
    """Settings that a builder gets.

    Attributes:
        family: maps to return. `fpn`: four maps of strides 4, 8, 16, 32. `c4`: the map of stride 16, with the stage
            after it as `Backbone.head`. `dc5`: the last stage's map, dilated to stride 16.
        norm: `frozen_bn`, `bn` or `gn`; `own` for backbones with normalization layers of their own.
        bn_eps: epsilon of `frozen_bn`.
        stride_in_1x1: ResNets: bottlenecks subsample in the first 1x1 convolution, not in the 3x3.
    """

    family: BackboneFamily = "fpn"
    norm: str = "frozen_bn"
    bn_eps: float = 1e-5
    stride_in_1x1: bool = False


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """A backbone with random weights, as its builder returns it.

    Attributes:
        body: takes (N, 3, H, W) normalized images and returns {name: (N, C, ceil(H / stride), ceil(W / stride))}, the
            finest map first.
        channels: C of each map, by its name, in the order of the maps.
        strides: nominal stride of each map.
        stages: names of the modules of `body` by stage, from the input up; `freeze_at=n` freezes the first n. By
            detectron2's count the first is the stem.
        head: family `c4`: the stage after the map of stride 16, applied to every pooled RoI (N, C, s, s) with a stride
            of 2; None in the other families.
        head_channels: output channels of `head`, or of the last stage.
    """

    body: nn.Module
    channels: Mapping[str, int]
    strides: Mapping[str, int]
    stages: Sequence[Sequence[str]] = ()
    head: nn.Sequential | None = None
    head_channels: int = 0


Builder = Callable[[BackboneOptions], Backbone]


@dataclass(frozen=True)
class BackboneEntry:
    """A name of the registry; see `register_backbone`."""

    name: str
    build: Builder
    families: tuple[BackboneFamily, ...]
    has_own_norm: bool


BACKBONES: dict[str, BackboneEntry] = {}
"""The registered backbones by name."""


def register_backbone(
    name: str, *, families: Sequence[BackboneFamily] = ("fpn",), has_own_norm: bool = True
) -> Callable[[Builder], Builder]:
    """Register the decorated builder under a name, which `ModelConfig.backbone` then accepts.

    Args:
        name: replaces an earlier entry of this name, so that a notebook's cell can run again.
        families: those that the builder supports.
        has_own_norm: the backbone ignores `BackboneOptions.norm` and uses its own normalization layers.
    """

    def register(build: Builder) -> Builder:
        BACKBONES[name] = BackboneEntry(name, build, tuple(families), has_own_norm)
        return build

    return register
