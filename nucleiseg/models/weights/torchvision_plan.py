"""Assign the arrays of torchvision's files to a network's entries, whose names are torchvision's."""

import re
from collections.abc import Mapping

from torch import nn

from nucleiseg.errors import InputError
from nucleiseg.models.mask_rcnn import MaskRCNN
from nucleiseg.models.weights import layout
from nucleiseg.models.weights.detectron2_plan import backbone_notes
from nucleiseg.models.weights.placement import COUNTER, Offer, Plan
from nucleiseg.models.weights.weights_file import WeightsFile

BEFORE_0_13 = (
    (r"^(backbone\.fpn\.(?:inner|layer)_blocks\.\d)\.(weight|bias)$", r"\1.0.\2"),
    (r"^rpn\.head\.conv\.(weight|bias)$", r"rpn.head.conv.0.0.\1"),
    (r"^roi_heads\.mask_head\.mask_fcn(\d)\.", lambda found: f"roi_heads.mask_head.{int(found[1]) - 1}.0."),
)
"""Names of layers that torchvision 0.13 wrapped in blocks; its COCO file of 2018 has the old ones."""


def mask_rcnn_plan(network: MaskRCNN, file: WeightsFile, bn_eps: float | None) -> Plan:
    """Match the arrays of `maskrcnn_resnet50_fpn` with a network's entries.

    Args:
        network: of family `fpn` in torchvision's numerics.
        file: the weights.
        bn_eps: epsilon of their normalization; see `importer.load_torchvision`.

    Raises:
        InputError: the network's numerics are not torchvision's.
    """
    if network.config.numerics != "torchvision":
        raise InputError(
            f"{file.name} was trained in torchvision's numerics, but numerics={network.config.numerics}: "
            "set numerics=torchvision (family fpn)."
        )
    if bn_eps is None:
        bn_eps = layout.BN_EPS if any(key.endswith(COUNTER) for key in file.arrays) else 0.0
    keys = {}
    for key in file.arrays:
        name = key
        for pattern, replacement in BEFORE_0_13:
            name = re.sub(pattern, replacement, name)
        keys[name] = key
    return Plan(
        file,
        _offers(network, file, keys, bn_eps),
        found="torchvision's detection weights",
        other_norm=_has_group_norm(network),
    )


def backbone_plan(network: MaskRCNN, file: WeightsFile) -> Plan:
    """Match the arrays of a ResNet that classifies ImageNet with a network's backbone; in C4, res5 goes to the head."""
    family = network.config.family
    in_head = [key for key in file.arrays if family == "c4" and key.startswith("layer4.")]
    keys = {f"backbone.body.{key}": key for key in file.arrays if key not in in_head}
    keys |= {f"roi_heads.box_head.{key.removeprefix('layer4.')}": key for key in in_head}
    return Plan(
        file,
        _offers(network, file, keys, layout.BN_EPS),
        backbone_notes(network),
        found="torchvision's ImageNet weights",
        other_norm=_has_group_norm(network),
    )


def _offers(network: MaskRCNN, file: WeightsFile, keys: Mapping[str, str], eps: float) -> dict[str, Offer]:
    def offer(name: str, key: str) -> Offer:
        return Offer(key, file.shape(key), lambda: layout.with_our_epsilon(network, name, file.tensor(key), eps))

    return {name: offer(name, keys[name]) for name in network.state_dict() if name in keys}


def _has_group_norm(network: MaskRCNN) -> bool:
    return any(isinstance(module, nn.GroupNorm) for module in network.modules())
