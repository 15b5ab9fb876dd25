"""ResNets and ResNeXts as backbones, from torchvision's blocks under torchvision's names.

conv1 and bn1 are the stem, layer1 .. layer4 are res2 .. res5.

torchvision's own constructors fix the widths, and put neither the stride in the 1x1 nor the dilation where
detection weights expect them, so the stages are built here. Convolutions start from a Kaiming-normal
fan-out distribution (detectron2's `c2_msra_fill`).
"""

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.resnet import BasicBlock, Bottleneck

from nucleiseg.models.backbones.registry import PYRAMID_STRIDES, Backbone, BackboneOptions, register_backbone
from nucleiseg.models.norm import convolve, make_norm_layer

STAGES = ("layer1", "layer2", "layer3", "layer4")
"""res2 .. res5 under torchvision's names."""


@dataclass(frozen=True)
class ResNetSpec:
    """Widths and depths of a ResNet or ResNeXt.

    Attributes:
        depths: blocks in res2 .. res5.
        groups: groups of the 3x3 convolutions.
        width_per_group: channels of a group in res2; doubled in each further stage.
        stem_channels: channels of the stem.
        res2_channels: output channels of res2; doubled in each further stage.
        res5_channels: output channels of res5; None doubles those of res4.
        basic: blocks of two 3x3 convolutions (ResNet-18), not bottlenecks.
    """

    depths: tuple[int, int, int, int]
    groups: int = 1
    width_per_group: int = 64
    stem_channels: int = 64
    res2_channels: int = 256
    res5_channels: int | None = None
    basic: bool = False

    @property
    def stage_channels(self) -> tuple[int, int, int, int]:
        """Output channels of res2 .. res5."""
        width = self.res2_channels
        return (width, width * 2, width * 4, self.res5_channels or width * 8)

    @property
    def layers(self) -> int:
        """Number in the name (ResNet-50): convolutions of the blocks, of the stem, and the classifier."""
        return (2 if self.basic else 3) * sum(self.depths) + 2


RESNETS: dict[str, ResNetSpec] = {
    "resnet18": ResNetSpec(depths=(2, 2, 2, 2), res2_channels=64, basic=True),
    # res5 holds three quarters of ResNet-18's parameters, and its map of stride 32 sees only the largest nuclei
    "resnet18_narrow": ResNetSpec(depths=(2, 2, 2, 2), res2_channels=64, res5_channels=256, basic=True),
    "resnet34": ResNetSpec(depths=(3, 4, 6, 3), res2_channels=64, basic=True),
    "resnet50": ResNetSpec(depths=(3, 4, 6, 3)),
    "resnet101": ResNetSpec(depths=(3, 4, 23, 3)),
    "resnet152": ResNetSpec(depths=(3, 8, 36, 3)),
    "resnext50_32x4d": ResNetSpec(depths=(3, 4, 6, 3), groups=32, width_per_group=4),
    "resnext101_32x8d": ResNetSpec(depths=(3, 4, 23, 3), groups=32, width_per_group=8),
    "wide_resnet50_2": ResNetSpec(depths=(3, 4, 6, 3), width_per_group=128),
    "wide_resnet101_2": ResNetSpec(depths=(3, 4, 23, 3), width_per_group=128),
}
"""The ResNets by torchvision's names, and `resnet18_narrow`."""


class FoldedBasicBlock(BasicBlock):
    """torchvision's block of two 3x3 convolutions, with frozen normalization folded into them."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, planes, h, w), h and w divided by the stride."""
        out = self.relu(convolve(x, self.conv1, self.bn1))
        out = convolve(out, self.conv2, self.bn2)
        return self.relu(out.add_(_shortcut(self, x)))


class FoldedBottleneck(Bottleneck):
    """torchvision's bottleneck, with frozen normalization folded into its convolutions."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, 4 planes, h, w), h and w divided by the stride."""
        out = self.relu(convolve(x, self.conv1, self.bn1))
        out = self.relu(convolve(out, self.conv2, self.bn2))
        out = convolve(out, self.conv3, self.bn3)
        return self.relu(out.add_(_shortcut(self, x)))


class BottleneckStrideIn1x1(FoldedBottleneck):
    """A bottleneck that subsamples in its first 1x1 convolution, as in He et al. 2016 and the MSRA weights.

    torchvision's subsamples in the 3x3 ("ResNet V1.5"). The parameters are the same.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **kwargs)
        self.conv1.stride, self.conv2.stride = self.conv2.stride, self.conv1.stride


def _shortcut(block: BasicBlock | Bottleneck, x: Tensor) -> Tensor:
    """Return the shortcut of a block: its input, projected where the shape changes."""
    return x if block.downsample is None else convolve(x, block.downsample[0], block.downsample[1])


class Stages(IntermediateLayerGetter):
    """The stem and the stages up to the last requested one; returns the requested maps by name."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return each chosen stage's map for (N, 3, H, W) normalized images."""
        out = {}
        x = self["maxpool"](self["relu"](convolve(x, self["conv1"], self["bn1"])))
        for name in [name for name in STAGES if name in self]:
            x = self[name](x)
            if name in self.return_layers:
                out[self.return_layers[name]] = x
        return out


@dataclass(frozen=True)
class StageBuilder:
    """Builds the stem and the stages of one backbone, with random weights.

    Attributes:
        spec: widths and depths.
        norm: `frozen_bn`, `bn` or `gn`.
        bn_eps: epsilon of `frozen_bn`.
        stride_in_1x1: bottlenecks subsample in the first 1x1 convolution, not in the 3x3.
    """

    spec: ResNetSpec
    norm: str
    bn_eps: float
    stride_in_1x1: bool

    def stages(self, last: str, dilate_res5: bool) -> nn.Sequential:
        """Return the stem and the stages up to `last`."""
        channels = self.spec.stem_channels
        conv1 = nn.Conv2d(3, channels, kernel_size=7, stride=2, padding=3, bias=False)
        _initialize(conv1)
        bn1 = make_norm_layer(self.norm, self.bn_eps)(channels)
        maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        modules: OrderedDict[str, nn.Module] = OrderedDict(
            conv1=conv1, bn1=bn1, relu=nn.ReLU(inplace=True), maxpool=maxpool
        )
        for index, name in enumerate(STAGES[: STAGES.index(last) + 1]):
            modules[name] = self.stage(index, dilate=dilate_res5 and name == "layer4")
        return nn.Sequential(modules)

    def stage(self, index: int, *, dilate: bool = False) -> nn.Sequential:
        """Return res(index + 2): its first block changes channels and, but for res2, halves the map.

        Dilated, it keeps the map instead, and *every* 3x3 has dilation 2, the first block's too: torchvision's
        `replace_stride_with_dilation` leaves that one at 1.
        """
        block: type[FoldedBasicBlock | FoldedBottleneck]
        if self.spec.basic:
            block = FoldedBasicBlock
        else:
            block = BottleneckStrideIn1x1 if self.stride_in_1x1 else FoldedBottleneck
        in_channels = self.spec.stem_channels if index == 0 else self.spec.stage_channels[index - 1]
        out_channels = self.spec.stage_channels[index]
        norm_layer = make_norm_layer(self.norm, self.bn_eps)
        stride = 1 if index == 0 or dilate else 2
        planes = out_channels // block.expansion
        options = {
            "groups": self.spec.groups,
            # torchvision wants the width of a group as a share of 64ths of `planes`; basic blocks accept 64 alone
            "base_width": 64 if self.spec.basic else 64 * (self.spec.width_per_group << index) // planes,
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
        _initialize(stage)
        return stage


def _initialize(module: nn.Module) -> None:
    """Initialize convolutions, and make bottlenecks with a trained norm start as the identity (Goyal et al. 2017).

    From scratch, the last features of R50-C4 otherwise grow with depth, and its losses reach 30 in the first ten
    steps at the recipe's learning rate; with this they stay below 4. ResNet-18 is shallow enough without.
    """
    for child in module.modules():
        if isinstance(child, nn.Conv2d):
            nn.init.kaiming_normal_(child.weight, mode="fan_out", nonlinearity="relu")
        if isinstance(child, Bottleneck) and isinstance(child.bn3, nn.GroupNorm | nn.BatchNorm2d):
            nn.init.zeros_(child.bn3.weight)


def build_resnet(spec: ResNetSpec, options: BackboneOptions) -> Backbone:
    """Build a ResNet with random weights.

    Args:
        spec: widths and depths.
        options: in `c4`, res5 becomes the head; in `dc5` it is dilated.
    """
    builder = StageBuilder(spec, options.norm, options.bn_eps, options.stride_in_1x1)
    is_c4, is_pyramid = options.family == "c4", options.family == "fpn"
    stages = builder.stages(last="layer3" if is_c4 else "layer4", dilate_res5=options.family == "dc5")
    names = STAGES if is_pyramid else ("layer3" if is_c4 else "layer4",)
    strides = PYRAMID_STRIDES if is_pyramid else (16,)
    return Backbone(
        body=Stages(stages, return_layers={name: name for name in names}),
        channels={name: spec.stage_channels[STAGES.index(name)] for name in names},
        strides=dict(zip(names, strides, strict=True)),
        stages=[("conv1", "bn1"), *((name,) for name in STAGES if name in stages._modules)],
        head=builder.stage(3) if is_c4 else None,
        head_channels=spec.stage_channels[3],
    )


for _name, _spec in RESNETS.items():
    # DC5 needs bottlenecks: neither torchvision nor detectron2 dilates blocks of two 3x3 convolutions.
    register_backbone(_name, families=("fpn", "c4") if _spec.basic else ("fpn", "c4", "dc5"), has_own_norm=False)(
        partial(build_resnet, _spec)
    )
