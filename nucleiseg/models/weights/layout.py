"""Order of channels and classes, and the epsilon of batch normalization, which differ besides names.

Anchors do not: with detectron2's numerics our anchors and the RPN's outputs are in its order, all ratios of the first
size first (torchvision: all sizes of the first ratio first). Nor do box deltas, which have no columns for the
background.
"""

from typing import Any

from torch import Tensor, nn

STEM = "backbone.body.conv1.weight"
"""Its input channels are the image's: BGR in detectron2, RGB here."""

CLASS_LOGITS = "roi_heads.box_predictor.cls_score."
"""The background's row: the last in detectron2, the first here."""

BN_EPS = 1e-5
"""Epsilon that batch normalization is trained with, torch's default; only torchvision's COCO weights have none."""


def from_detectron2(name: str, tensor: Tensor, *, bgr: bool = True) -> Tensor:
    """Bring an array of detectron2 into our order.

    Args:
        name: ours.
        tensor: theirs.
        bgr: whether the weights expect BGR images.
    """
    if name == STEM and bgr:
        return tensor.flip(1)
    return tensor.roll(1, dims=0) if name.startswith(CLASS_LOGITS) else tensor


def to_detectron2(name: str, tensor: Tensor) -> Tensor:
    """Bring an array of ours into detectron2's order; the inverse of `from_detectron2`."""
    if name == STEM:
        return tensor.flip(1)
    return tensor.roll(-1, dims=0) if name.startswith(CLASS_LOGITS) else tensor


def with_our_epsilon(network: nn.Module, name: str, tensor: Tensor, their_eps: float) -> Tensor:
    """Shift a running variance so that variance + epsilon stays as in training.

    Args:
        network: whose layer has an epsilon of its own (0 in torchvision's numerics).
        name: ours, of any entry; all but running variances are returned as they are.
        tensor: the file's.
        their_eps: epsilon in training.
    """
    if not name.endswith(".running_var"):
        return tensor
    difference = their_eps - epsilon(network, name)
    return (tensor + difference).clamp(min=0) if difference else tensor


def epsilon(network: nn.Module, name: str) -> float:
    """Return the epsilon of the normalization layer that an entry of the state dict belongs to."""
    layer: Any = network.get_submodule(name.rpartition(".")[0])
    return layer.eps
