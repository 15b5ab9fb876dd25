"""Networks that train in milliseconds, and images with rectangular nuclei, for the tests of `nucleiseg.models`."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from nucleiseg.models.backbones.families import ResNetSpec
from nucleiseg.models.config import ModelConfig
from nucleiseg.models.mask_rcnn import MaskRCNN, build
from nucleiseg.models.part_configs import DetectionConfig, MaskConfig, RoIConfig, RPNConfig
from nucleiseg.structures import Target

SPEC = ResNetSpec(depths=(1, 1, 1, 1), width_per_group=4, stem_channels=8, res2_channels=16)


def small_config(family: str = "fpn", **changes: Any) -> ModelConfig:  # noqa: ANN401
    values: dict[str, Any] = {
        "name": "small",
        "family": family,
        "fpn_channels": 8,
        "rpn": RPNConfig(pre_nms_train=100, pre_nms_test=60, post_nms_train=50, post_nms_test=40, batch_size=32),
        "roi": RoIConfig(batch_size=24, fc_dim=16, pool=8 if family == "c4" else 5),
        "mask": MaskConfig(pool=6, convs=1, channels=8),
        "detection": DetectionConfig(limit=30),
    }
    values = {**values, **changes}
    if family != "fpn":
        values["fpn_channels"] = None
    if family == "c4":  # res5 is the head
        values["roi"] = replace(values["roi"], fc_dim=None)
        values["mask"] = replace(values["mask"], pool=None, convs=None)
    return ModelConfig(**values)


def small_network(family: str = "fpn", num_classes: int = 1, **changes: Any) -> MaskRCNN:  # noqa: ANN401
    torch.manual_seed(0)
    return build(small_config(family, **changes), num_classes, backbone=SPEC)


def image(height: int = 96, width: int = 80, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)


def target(count: int, height: int = 96, width: int = 80, *, seed: int | None = 0, num_classes: int = 1) -> Target:
    """Rectangles in a grid that fills the image, at least a pixel of space between two."""
    columns = max(1, round((count * width / height) ** 0.5))
    rows = -(-count // columns)
    layers = torch.zeros(1, height, width, dtype=torch.int32)
    boxes = torch.zeros(count, 4)
    for number in range(count):
        top, left = number // columns * height // rows, number % columns * width // columns
        bottom = max(top + 1, (number // columns + 1) * height // rows - 1)
        right = max(left + 1, (number % columns + 1) * width // columns - 1)
        layers[0, top:bottom, left:right] = number + 1
        boxes[number] = torch.tensor([left, top, right, bottom])
    return Target(
        boxes=boxes,
        labels=torch.arange(count) % num_classes + 1,
        layers=layers,
        layer_index=torch.zeros(count, dtype=torch.int64),
        values=torch.arange(1, count + 1),
        seed=seed,
    )
