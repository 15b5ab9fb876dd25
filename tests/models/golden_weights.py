"""The golden networks of `tests/golden`, for the tests of `nucleiseg.models`.

    from golden_weights import FAMILIES, GoldenFamily   # tests/models/conftest.py puts this folder on the path

    family = GoldenFamily.load(golden, "fpn_r50")       # `golden`: the fixture of tests/conftest.py
    family.arrays["rpn_logits_0"], family.scalars["train"]["losses"]      # golden.npz and golden.json
    family.network()                                    # ours, with its weights imported from `family.path`
    build_backbone(**family.backbone_arguments())             # the narrow backbone
    family.part("backbone.")                            # the imported weights of one module, prefix cut off
    family.network_input()                              # (1, 3, H, W) normalized RGB, padded as detectron2 pads

`raw` holds the file's own keys and arrays.
"""

import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from nucleiseg.models.backbones.resnet import ResNetSpec
from nucleiseg.models.config import ModelConfig
from nucleiseg.models.mask_rcnn import MaskRCNN, build
from nucleiseg.models.part_configs import AnchorConfig, DetectionConfig, MaskConfig, RoIConfig, RPNConfig
from nucleiseg.models.weights.importer import load_detectron2
from nucleiseg.models.weights.weights_file import read_weights

FAMILIES = ("c4_r50", "c4_r101", "dc5_r50", "fpn_r50", "fpn_x101")

PIXEL_MEAN = (123.675, 116.280, 103.530)
"""RGB."""

DEPTHS = {"r50": (3, 4, 6, 3), "x101": (3, 4, 23, 3), "r101": (3, 4, 23, 3)}


@dataclass(frozen=True)
class GoldenFamily:
    """One narrow network of detectron2: weights, intermediate arrays, settings."""

    name: str
    folder: Path
    arrays: dict[str, np.ndarray]
    scalars: dict[str, Any]

    @classmethod
    def load(cls, golden: Path, name: str) -> "GoldenFamily":
        folder = golden / name
        with np.load(folder / "golden.npz") as archive:
            arrays = dict(archive)
        scalars = json.loads((folder / "golden.json").read_text(encoding="utf-8"))
        return cls(name, folder, arrays, scalars)

    @property
    def path(self) -> Path:
        return self.folder / f"{self.name}.pkl"

    @cached_property
    def raw(self) -> dict[str, np.ndarray]:
        file = read_weights(self.path)
        return {name: file.tensor(name).numpy() for name in file.arrays}

    @property
    def family(self) -> str:
        return self.name.split("_")[0]

    @property
    def num_classes(self) -> int:
        return self.scalars["overrides"]["MODEL.ROI_HEADS.NUM_CLASSES"]

    @property
    def levels(self) -> int:
        return 5 if self.family == "fpn" else 1

    @property
    def anchor_sizes(self) -> list[list[int]]:
        return self.scalars["overrides"]["MODEL.ANCHOR_GENERATOR.SIZES"]

    @property
    def pixel_std(self) -> tuple[float, float, float]:
        """RGB."""
        return (58.395, 57.120, 57.375) if "x101" in self.name else (1.0, 1.0, 1.0)

    def backbone_arguments(self) -> dict[str, Any]:
        """Return the keyword arguments of `build_backbone`, nothing frozen."""
        grouped = "x101" in self.name
        spec = ResNetSpec(
            depths=DEPTHS[self.name.split("_")[1]],
            groups=4 if grouped else 1,
            width_per_group=2 if grouped else 4,
            stem_channels=4,
            res2_channels=8,
        )
        return {"family": self.family, "backbone": spec, "stride_in_1x1": not grouped, "fpn_channels": 16}

    def rpn_arguments(self) -> dict[str, Any]:
        """Return the settings of the proposal network, named as in `RPNConfig`; nothing is subsampled."""
        overrides = self.scalars["overrides"]
        return {
            "batch_size": overrides["MODEL.RPN.BATCH_SIZE_PER_IMAGE"],
            "nms": overrides["MODEL.RPN.NMS_THRESH"],
            "pre_nms_train": overrides["MODEL.RPN.PRE_NMS_TOPK_TRAIN"],
            "pre_nms_test": overrides["MODEL.RPN.PRE_NMS_TOPK_TEST"],
            "post_nms_train": overrides["MODEL.RPN.POST_NMS_TOPK_TRAIN"],
            "post_nms_test": overrides["MODEL.RPN.POST_NMS_TOPK_TEST"],
        }

    def config(self) -> ModelConfig:
        c4 = self.family == "c4"
        return ModelConfig(
            name=self.name,
            family=self.family,
            weights=self.name,  # frozen normalization and stages belong to weights
            stride_in_1x1="x101" not in self.name,
            pixel_mean=PIXEL_MEAN,
            pixel_std=self.pixel_std,
            fpn_channels=16 if self.family == "fpn" else None,
            anchors=AnchorConfig(sizes=(8, 16, 32, 64, 128)),
            rpn=RPNConfig(**self.rpn_arguments()),
            roi=RoIConfig(batch_size=4096, pool=14 if c4 else 7, fc_dim=None if c4 else 32),
            mask=MaskConfig(convs=None if c4 else 4, channels=16),
            detection=DetectionConfig(
                nms=self.scalars["overrides"].get("MODEL.ROI_HEADS.NMS_THRESH_TEST", 0.5), limit=500
            ),
        )

    def random_network(self, **changes: Any) -> MaskRCNN:  # noqa: ANN401
        """Build the network with random weights; `changes` are of its configuration, or `num_classes`."""
        num_classes = changes.pop("num_classes", self.num_classes)
        return build(replace(self.config(), **changes), num_classes, backbone=self.backbone_arguments()["backbone"])

    def network(self) -> MaskRCNN:
        network = self.random_network()
        load_detectron2(network, self.path)
        return network

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        return self.network().state_dict()

    def part(self, prefix: str) -> dict[str, Tensor]:
        """Return the weights whose name starts with `prefix`, without it."""
        return {name.removeprefix(prefix): value for name, value in self.weights.items() if name.startswith(prefix)}

    def image(self) -> Tensor:
        """Return the resized input, (3, 200, 240) uint8 RGB."""
        with Image.open(self.folder.parent / "input_resized.png") as picture:
            return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1).contiguous()

    def network_input(self) -> Tensor:
        mean, std = torch.tensor(PIXEL_MEAN), torch.tensor(self.pixel_std)
        image = (self.image() - mean[:, None, None]) / std[:, None, None]
        height, width = self.arrays["padded_input_shape"].tolist()
        return F.pad(image, (0, width - image.shape[2], 0, height - image.shape[1]))[None]
