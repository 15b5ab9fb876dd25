"""ResNet backbones in the three families: C4, DC5 and FPN.

    stem /4   res2 /4   res3 /8   res4 /16   res5 /32
                                  |                     C4:  one map; res5 works on every RoI, in the head
                                             |          DC5: one map; res5 dilated instead of strided, so /16 too
              |         |         |          |          FPN: a pyramid of five maps, /4 to /64

Names are torchvision's: conv1 and bn1 are the stem, layer1 .. layer4 are res2 .. res5. The pyramid's convolutions start
from a Kaiming-uniform distribution with a = 1, which is also detectron2's (`c2_xavier_fill`).
"""

from typing import NamedTuple

from torch import Tensor, nn
from torchvision.models.detection.backbone_utils import BackboneWithFPN

from nucleiseg.errors import InputError
from nucleiseg.models.backbones.resnet import RESNETS, STAGES, ResNetSpec, StageBuilder, Stages
from nucleiseg.models.norm import make_norm_layer

FAMILIES = ("c4", "dc5", "fpn")
"""The choices of `model.family`."""


class SingleMapBackbone(nn.Module):
    """A backbone with one output map of stride 16 (C4 and DC5).

    Attributes:
        body: the stages, under torchvision's names.
        out_channels: channels of the map.
        strides: {"0": 16}.
        size_divisibility: 1: inputs are padded to the batch's largest image and no further.
    """

    def __init__(self, stages: nn.Sequential, output: str, out_channels: int) -> None:
        super().__init__()
        self.body = Stages(stages, return_layers={output: "0"})
        self.out_channels = out_channels
        self.strides = {"0": 16}
        self.size_divisibility = 1

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return {"0": (N, out_channels, ceil(H / 16), ceil(W / 16))} for (N, 3, H, W) normalised images."""
        return self.body(images)


class PyramidBackbone(BackboneWithFPN):
    """A backbone with a feature pyramid (Lin et al. 2017): maps "0" .. "3" (p2 .. p5) and "pool" (p6).

    Attributes:
        strides: the nominal strides, {"0": 4, "1": 8, "2": 16, "3": 32, "pool": 64}.
        size_divisibility: 32: with inputs padded to it, each map is exactly half the one below.
    """

    def __init__(self, stages: nn.Sequential, in_channels: tuple[int, ...], channels: int, norm: str) -> None:
        return_layers = {stage: str(index) for index, stage in enumerate(STAGES)}
        norm_layer = make_norm_layer(norm) if norm == "gn" else None  # detectron2's FPN: biases, no normalisation
        super().__init__(stages, return_layers, list(in_channels), channels, norm_layer=norm_layer)
        self.body = Stages(stages, return_layers=return_layers)
        self.strides = {"0": 4, "1": 8, "2": 16, "3": 32, "pool": 64}
        self.size_divisibility = 32


class BackboneParts(NamedTuple):
    """What `build_backbone` makes.

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
    family: str = "fpn",
    backbone: str | ResNetSpec = "resnet50",
    norm: str = "frozen_bn",
    bn_eps: float = 1e-5,
    stride_in_1x1: bool = False,
    freeze_at: int = 0,
    fpn_channels: int = 256,
) -> BackboneParts:
    """Build a backbone with random weights.

    Args:
        family: one of `FAMILIES`.
        backbone: a name in `RESNETS`, or widths and depths of one's own.
        norm: `frozen_bn`, `bn` or `gn`. With `gn` the convolutions of the FPN are normalised as well.
        bn_eps: epsilon of `frozen_bn`.
        stride_in_1x1: bottlenecks subsample in the first 1x1 (weights of MSRA's ResNet-50 and -101), not in the 3x3.
        freeze_at: stages that do not train, counted from the stem (1: stem, 2: stem and res2, ...). Batch
            normalisation in them keeps its statistics too. C4's res5 belongs to the head and is never frozen.
        fpn_channels: channels of each map of the pyramid.

    Raises:
        InputError: an unknown family or backbone, or ResNet-18 in another family than FPN.
    """
    if family not in FAMILIES:
        raise InputError(f"model.family={family} is not known: choose one of {', '.join(FAMILIES)}.")
    spec = _find_spec(backbone)
    if spec.basic and family != "fpn":
        raise InputError(f"model.backbone={backbone} exists in the FPN family only, not with model.family={family}.")
    builder = StageBuilder(spec, norm, bn_eps, stride_in_1x1, freeze_at)
    stages = builder.stages(last="layer3" if family == "c4" else "layer4", dilate_res5=family == "dc5")
    channels = spec.stage_channels
    if family == "fpn":
        return BackboneParts(PyramidBackbone(stages, channels, fpn_channels, norm), None, channels[3])
    if family == "dc5":
        return BackboneParts(SingleMapBackbone(stages, "layer4", channels[3]), None, channels[3])
    res5 = builder.stage(3, frozen=False)
    return BackboneParts(SingleMapBackbone(stages, "layer3", channels[2]), res5, channels[3])


def _find_spec(backbone: str | ResNetSpec) -> ResNetSpec:
    if isinstance(backbone, ResNetSpec):
        return backbone
    if backbone not in RESNETS:
        raise InputError(f"model.backbone={backbone} is not known: choose one of {', '.join(RESNETS)}.")
    return RESNETS[backbone]
