"""torchvision's ConvNeXt (Liu et al. 2022) and Swin Transformer (Liu et al. 2021) as backbones, family `fpn`.

Both reduce the map in the even-numbered modules of `features` and compute in the odd-numbered ones, so that modules 1,
3, 5 and 7 return the maps of strides 4, 8, 16 and 32. As in the authors' Mask R-CNNs, each map passes a LayerNorm of
its own before the pyramid.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torchvision
from torch import Tensor, nn

from nucleiseg.models.backbones.registry import PYRAMID_STRIDES, Backbone, BackboneOptions, register_backbone

MAP_MODULES = (1, 3, 5, 7)
"""Modules of `features` whose outputs have strides 4, 8, 16 and 32."""


class FeatureStages(nn.Module):
    """The stages of a torchvision classifier, with a LayerNorm after each of its four maps.

    Args:
        features: its modules, under torchvision's names.
        channels: of the four maps.
        is_channels_last: the modules compute on (N, H, W, C).
    """

    def __init__(self, features: nn.Sequential, channels: list[int], *, is_channels_last: bool) -> None:
        super().__init__()
        self.features = features
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in channels)
        self.is_channels_last = is_channels_last

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the maps "0" to "3" of strides 4 to 32 for (N, 3, H, W) normalized images."""
        maps = {}
        for number, module in enumerate(self.features):
            images = module(images)
            if number in MAP_MODULES:
                index = MAP_MODULES.index(number)
                pixels = images if self.is_channels_last else images.permute(0, 2, 3, 1)
                maps[str(index)] = self.norms[index](pixels).permute(0, 3, 1, 2).contiguous()
        return maps


def build_stages(
    model: Callable[..., Any], channels: list[int], options: BackboneOptions, *, is_channels_last: bool
) -> Backbone:
    """Build the stages of a torchvision model with random weights.

    Args:
        model: makes the classifier.
        channels: of its four maps.
        options: only family `fpn` is supported.
        is_channels_last: as in `FeatureStages`.
    """
    names = [str(index) for index in range(len(PYRAMID_STRIDES))]
    stages = [(f"features.{number - 1}", f"features.{number}") for number in MAP_MODULES]
    return Backbone(
        body=FeatureStages(model(weights=None).features, channels, is_channels_last=is_channels_last),
        channels=dict(zip(names, channels, strict=True)),
        strides=dict(zip(names, PYRAMID_STRIDES, strict=True)),
        stages=[stages[0][:1], stages[0][1:], *stages[1:]],
    )


def _register(name: str, first: int, *, is_channels_last: bool) -> None:
    channels = [first << stage for stage in range(len(PYRAMID_STRIDES))]
    model = getattr(torchvision.models, name)
    register_backbone(name)(partial(build_stages, model, channels, is_channels_last=is_channels_last))


for _name, _first in (("convnext_tiny", 96), ("convnext_small", 96), ("convnext_base", 128)):
    _register(_name, _first, is_channels_last=False)
for _name, _first in (("swin_t", 96), ("swin_s", 96), ("swin_b", 128)):
    _register(_name, _first, is_channels_last=True)
