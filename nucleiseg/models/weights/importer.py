"""Weights of detectron2 and torchvision into our networks."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from nucleiseg.models.mask_rcnn import MaskRCNN
from nucleiseg.models.weights.report import ImportReport


@dataclass(frozen=True)
class Normalisation:
    """The settings that weights were trained with and a network needs to match; None where a file does not tell.

    Attributes:
        pixel_mean: RGB, 0 to 255.
        pixel_std: RGB.
        stride_in_1x1: bottlenecks subsample in their first 1x1 convolution.
    """

    pixel_mean: tuple[float, float, float] | None
    pixel_std: tuple[float, float, float] | None
    stride_in_1x1: bool | None


def normalisation(path: str | os.PathLike[str]) -> Normalisation:
    """Tell the settings that a file of detectron2 or torchvision implies."""
    raise NotImplementedError


def load_detectron2(network: MaskRCNN, path: str | os.PathLike[str]) -> ImportReport:
    """Load a detectron2 `.pkl` or `.pth`, or a Caffe2-style ImageNet `.pkl`, into the network, in place."""
    raise NotImplementedError


def load_torchvision(network: MaskRCNN, weights: str | os.PathLike[str] | Mapping[str, Tensor]) -> ImportReport:
    """Load torchvision's Mask R-CNN with R50-FPN into a network of torchvision numerics, in place."""
    raise NotImplementedError


def load_torchvision_backbone(network: MaskRCNN, weights: str | os.PathLike[str] | Mapping[str, Tensor]) -> ImportReport:
    """Load a torchvision classification ResNet (ImageNet) into the network's trunk, in place."""
    raise NotImplementedError
