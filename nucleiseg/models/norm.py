"""Normalization layers of backbones, and defaults of normalization and freezing by the weights."""

import math
from collections.abc import Callable
from functools import partial
from typing import Literal, get_args

from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import FrozenBatchNorm2d

from nucleiseg.errors import InputError

NormName = Literal["frozen_bn", "bn", "gn", "own"]

NORMS: tuple[NormName, ...] = get_args(NormName)
"""The choices of `norm`."""

MAX_FREEZE_AT = 5
"""`freeze_at` counts as detectron2: 1 the stem, 2 stem and res2, ... 5 all stages up to res5."""

NormLayer = Callable[[int], nn.Module]
"""Makes the normalization of a feature map with so many channels."""


def group_norm(channels: int) -> nn.GroupNorm:
    """Return GroupNorm with 32 groups (Wu & He 2018), or with the most that divide the channels where 32 do not."""
    return nn.GroupNorm(math.gcd(32, channels), channels)


def make_norm_layer(norm: str, bn_eps: float = 1e-5) -> NormLayer:
    """Return the constructor of a kind of normalization.

    Args:
        norm: `frozen_bn` (four constant buffers, as pretrained detection weights have), `bn` or `gn`.
        bn_eps: epsilon of `frozen_bn` (see `Numerics.bn_eps`).

    Raises:
        InputError: `norm` is none of these.
    """
    _check_norm(norm)
    if norm == "frozen_bn":
        return partial(FrozenBatchNorm2d, eps=bn_eps)
    return nn.BatchNorm2d if norm == "bn" else group_norm


def convolve(inputs: Tensor, conv: nn.Conv2d, norm: nn.Module) -> Tensor:
    """Return `norm(conv(inputs))`.

    Frozen batch normalization is a constant factor and summand of each channel: they go into the (small) weights, so
    that the (large) feature map is written once instead of three times. The convolution has no bias.
    """
    if not isinstance(norm, FrozenBatchNorm2d):
        return norm(conv(inputs))
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    shift = norm.bias - norm.running_mean * scale
    weight = conv.weight * scale[:, None, None, None]
    return F.conv2d(inputs, weight, shift, conv.stride, conv.padding, conv.dilation, conv.groups)


def resolve_norm_and_freeze(
    weights: str | None, norm: NormName | None, freeze_at: int | None
) -> tuple[NormName, int, str]:
    """Resolve `norm` and `freeze_at` where they are None, and refuse contradictions.

    Batch statistics that are frozen at their initial values (mean 0, variance 1) normalize nothing: activations of a
    random 101-layer network then grow to a standard deviation of 14,000. And random filters that are frozen stay
    random. Both need pretrained weights; without them, GroupNorm works at one or two images per step.

    Args:
        weights: initial weights; None is a random initialization.
        norm: one of `NORMS`, or None to choose by `weights`.
        freeze_at: 0 .. 5 (see `MAX_FREEZE_AT`), or None to choose by `weights`.

    Returns:
        The norm, the number of frozen stages, and a sentence with the choice and its reason.

    Raises:
        InputError: an unknown value, or random weights that would be frozen.
    """
    if norm is not None:
        _check_norm(norm)
    if freeze_at is not None and not 0 <= freeze_at <= MAX_FREEZE_AT:
        raise InputError(f"freeze_at is {freeze_at}; it accepts 0 (nothing) to {MAX_FREEZE_AT} (all stages).")
    if weights is None:
        _refuse_frozen_random(norm, freeze_at)
        norm = norm or "gn"
        return norm, 0, f"No pretrained weights: norm {norm}, nothing is frozen."
    norm = norm or "frozen_bn"
    if freeze_at is None:
        freeze_at = 0 if norm in ("gn", "own") else 2  # filters trained under another normalization have to adapt
    return norm, freeze_at, f"Pretrained weights ({weights}): norm {norm}, {_FROZEN[freeze_at]} frozen."


_FROZEN = ("nothing is", "the stem is", "stem and res2 are", "stem to res3 are", "stem to res4 are", "stem to res5 are")


def _check_norm(norm: str) -> None:
    if norm not in NORMS:
        raise InputError(f"norm is {norm}; it accepts one of {', '.join(NORMS)}.")


def _refuse_frozen_random(norm: str | None, freeze_at: int | None) -> None:
    problems = []
    if norm == "frozen_bn":
        problems.append(
            "norm=frozen_bn needs pretrained weights, but weights is null: frozen statistics of a random "
            "network normalize nothing. Take norm=gn (or bn), or name the weights in weights."
        )
    if freeze_at:
        problems.append(
            f"freeze_at={freeze_at} would freeze random filters, since weights is null. "
            "Take freeze_at=0, or name the weights in weights."
        )
    if problems:
        raise InputError(problems)
