"""ResNet trunks in the three families: C4, DC5 and FPN.

    stem /4   res2 /4   res3 /8   res4 /16   res5 /32
                                  |                     C4:  one map; res5 works on every RoI, in the head
                                             |          DC5: one map; res5 dilated instead of strided, so /16 too
              |         |         |          |          FPN: a pyramid of five maps, /4 to /64

The stages are torchvision's blocks under torchvision's names (conv1, bn1, layer1 .. layer4 are the stem, res2 .. res5).
Convolutions start from a Kaiming-normal fan-out distribution, those of the FPN from Kaiming-uniform with a = 1, as
in detectron2 (its `c2_msra_fill` and `c2_xavier_fill`).
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor, nn
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.resnet import BasicBlock, Bottleneck

from nucleiseg.errors import InputError
from nucleiseg.models.norm import NormLayer, make_norm_layer

FAMILIES = ("c4", "dc5", "fpn")
"""The choices of `model.family`."""

STAGES = ("layer1", "layer2", "layer3", "layer4")
"""res2 .. res5 under torchvision's names."""


@dataclass(frozen=True)
class TrunkSpec:
    """The widths and depths of a ResNet or ResNeXt.

    Attributes:
        depths: blocks in res2 .. res5.
        groups: groups of the 3x3 convolutions.
        width_per_group: channels of a group in res2; doubled in each further stage.
        stem_channels: channels of the stem.
        res2_channels: output channels of res2; doubled in each further stage.
        basic: blocks of two 3x3 convolutions (ResNet-18), not bottlenecks.
    """

    depths: tuple[int, int, int, int]
    groups: int = 1
    width_per_group: int = 64
    stem_channels: int = 64
    res2_channels: int = 256
    basic: bool = False

    @property
    def stage_channels(self) -> tuple[int, int, int, int]:
        """Output channels of res2 .. res5."""
        return (self.res2_channels, self.res2_channels * 2, self.res2_channels * 4, self.res2_channels * 8)


TRUNKS: dict[str, TrunkSpec] = {
    "resnet18": TrunkSpec(depths=(2, 2, 2, 2), res2_channels=64, basic=True),
    "resnet50": TrunkSpec(depths=(3, 4, 6, 3)),
    "resnet101": TrunkSpec(depths=(3, 4, 23, 3)),
    "resnext101_32x8d": TrunkSpec(depths=(3, 4, 23, 3), groups=32, width_per_group=8),
}
"""The choices of `model.trunk`."""


class BottleneckStrideIn1x1(Bottleneck):
    """A bottleneck that subsamples in its first 1x1 convolution, as in He et al. 2016 and the MSRA weights.

    torchvision's subsamples in the 3x3 ("ResNet V1.5"). The parameters are the same.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **kwargs)
        self.conv1.stride, self.conv2.stride = self.conv2.stride, self.conv1.stride


class SingleMapBackbone(nn.Module):
    """A trunk with one output map of stride 16 (C4 and DC5).

    Attributes:
        body: the stages, under torchvision's names.
        out_channels: channels of the map.
        strides: {"0": 16}.
        size_divisibility: 1: inputs are padded to the batch's largest image and no further.
    """

    def __init__(self, stages: nn.Sequential, output: str, out_channels: int) -> None:
        super().__init__()
        self.body = IntermediateLayerGetter(stages, return_layers={output: "0"})
        self.out_channels = out_channels
        self.strides = {"0": 16}
        self.size_divisibility = 1

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return {"0": (N, out_channels, ceil(H / 16), ceil(W / 16))} for (N, 3, H, W) normalised images."""
        return self.body(images)


class PyramidBackbone(BackboneWithFPN):
    """A trunk with a feature pyramid (Lin et al. 2017): maps "0" .. "3" (p2 .. p5) and "pool" (p6).

    Attributes:
        strides: the nominal strides, {"0": 4, "1": 8, "2": 16, "3": 32, "pool": 64}.
        size_divisibility: 32: with inputs padded to it, each map is exactly half the one below.
    """

    def __init__(self, stages: nn.Sequential, in_channels: tuple[int, ...], channels: int, norm: str) -> None:
        return_layers = {stage: str(index) for index, stage in enumerate(STAGES)}
        norm_layer = make_norm_layer(norm) if norm == "gn" else None  # detectron2's FPN: biases, no normalisation
        super().__init__(stages, return_layers, list(in_channels), channels, norm_layer=norm_layer)
        self.strides = {"0": 4, "1": 8, "2": 16, "3": 32, "pool": 64}
        self.size_divisibility = 32


class Trunk(NamedTuple):
    """What `build_trunk` makes.

    Attributes:
        backbone: images to named feature maps; has `out_channels`, `strides` (by map name, nominal) and
            `size_divisibility`.
        res5: for C4, the stage that the head applies to each pooled RoI (stride 2); None in the other families.
        res5_channels: output channels of res5, wherever it lies.
    """

    backbone: SingleMapBackbone | PyramidBackbone
    res5: nn.Sequential | None
    res5_channels: int


def build_trunk(
    *,
    family: str = "fpn",
    trunk: str | TrunkSpec = "resnet50",
    norm: str = "frozen_bn",
    bn_eps: float = 1e-5,
    stride_in_1x1: bool = False,
    freeze_at: int = 0,
    fpn_channels: int = 256,
) -> Trunk:
    """Build a trunk with random weights.

    Args:
        family: one of `FAMILIES`.
        trunk: a name in `TRUNKS`, or widths and depths of one's own.
        norm: `frozen_bn`, `bn` or `gn`. With `gn` the convolutions of the FPN are normalised as well.
        bn_eps: epsilon of `frozen_bn`.
        stride_in_1x1: bottlenecks subsample in the first 1x1 (weights of MSRA's ResNet-50 and -101), not in the 3x3.
        freeze_at: stages that do not train, counted from the stem (1: stem, 2: stem and res2, ...). Batch
            normalisation in them keeps its statistics too. C4's res5 belongs to the head and is never frozen.
        fpn_channels: channels of each map of the pyramid.

    Raises:
        InputError: an unknown family or trunk, or ResNet-18 in another family than FPN.
    """
    if family not in FAMILIES:
        raise InputError(f"model.family={family} is not known: choose one of {', '.join(FAMILIES)}.")
    spec = _find_spec(trunk)
    if spec.basic and family != "fpn":
        raise InputError(f"model.trunk={trunk} exists in the FPN family only, not with model.family={family}.")
    builder = _StageBuilder(spec, norm, bn_eps, stride_in_1x1, freeze_at)
    stages = builder.stages(last="layer3" if family == "c4" else "layer4", dilate_res5=family == "dc5")
    channels = spec.stage_channels
    if family == "fpn":
        return Trunk(PyramidBackbone(stages, channels, fpn_channels, norm), None, channels[3])
    if family == "dc5":
        return Trunk(SingleMapBackbone(stages, "layer4", channels[3]), None, channels[3])
    res5 = builder.stage(3, frozen=False)
    _initialize(res5)
    return Trunk(SingleMapBackbone(stages, "layer3", channels[2]), res5, channels[3])


def _find_spec(trunk: str | TrunkSpec) -> TrunkSpec:
    if isinstance(trunk, TrunkSpec):
        return trunk
    if trunk not in TRUNKS:
        raise InputError(f"model.trunk={trunk} is not known: choose one of {', '.join(TRUNKS)}.")
    return TRUNKS[trunk]


@dataclass(frozen=True)
class _StageBuilder:
    """Builds the stem and the stages of one trunk."""

    spec: TrunkSpec
    norm: str
    bn_eps: float
    stride_in_1x1: bool
    freeze_at: int

    def stages(self, last: str, dilate_res5: bool) -> nn.Sequential:
        """Return stem and stages up to `last`, the first `freeze_at` of them frozen."""
        modules = self._stem(frozen=self.freeze_at >= 1)
        for index, name in enumerate(STAGES[: STAGES.index(last) + 1]):
            frozen = self.freeze_at >= index + 2
            modules[name] = self.stage(index, frozen=frozen, dilate=dilate_res5 and name == "layer4")
        stages = nn.Sequential(modules)
        _initialize(stages)
        return stages

    def stage(self, index: int, *, frozen: bool, dilate: bool = False) -> nn.Sequential:
        """Return res(index + 2): its first block changes channels and, but for res2, halves the map.

        Dilated, it keeps the map instead, and *every* 3x3 has dilation 2, the first block's too: torchvision's
        `replace_stride_with_dilation` leaves that one at 1.
        """
        block = self._block
        in_channels = self.spec.stem_channels if index == 0 else self.spec.stage_channels[index - 1]
        out_channels = self.spec.stage_channels[index]
        norm_layer = self._norm_layer(frozen)
        stride = 1 if index == 0 or dilate else 2
        planes = out_channels // block.expansion
        options = {
            "groups": self.spec.groups,
            # torchvision wants the width of a group as a share of 64ths of `planes`
            "base_width": 64 * (self.spec.width_per_group << index) // planes,
            "dilation": 2 if dilate else 1,
            "norm_layer": norm_layer,
        }
        shortcut = None
        if stride != 1 or in_channels != out_channels:
            projection = nn.Conv2d(in_channels, out_channels, kernel_size=1, stride=stride, bias=False)
            shortcut = nn.Sequential(projection, norm_layer(out_channels))
        blocks = [block(in_channels, planes, stride, shortcut, **options)]
        blocks += [block(out_channels, planes, **options) for _ in range(1, self.spec.depths[index])]
        stage = nn.Sequential(*blocks)
        return stage.requires_grad_(not frozen)

    def _stem(self, frozen: bool) -> OrderedDict[str, nn.Module]:
        channels = self.spec.stem_channels
        conv1 = nn.Conv2d(3, channels, kernel_size=7, stride=2, padding=3, bias=False).requires_grad_(not frozen)
        bn1 = self._norm_layer(frozen)(channels).requires_grad_(not frozen)
        maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        return OrderedDict(conv1=conv1, bn1=bn1, relu=nn.ReLU(inplace=True), maxpool=maxpool)

    @property
    def _block(self) -> type[BasicBlock] | type[Bottleneck]:
        if self.spec.basic:
            return BasicBlock
        return BottleneckStrideIn1x1 if self.stride_in_1x1 else Bottleneck

    def _norm_layer(self, frozen: bool) -> NormLayer:
        norm = "frozen_bn" if frozen and self.norm == "bn" else self.norm  # or its statistics would go on moving
        return make_norm_layer(norm, self.bn_eps)


def _initialize(module: nn.Module) -> None:
    for child in module.modules():
        if isinstance(child, nn.Conv2d):
            nn.init.kaiming_normal_(child.weight, mode="fan_out", nonlinearity="relu")
