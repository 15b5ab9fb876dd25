"""The golden networks of `tests/golden`, for the tests of `nucleiseg.models`.

    from golden_weights import FAMILIES, GoldenFamily   # tests/models/conftest.py puts this folder on the path

    family = GoldenFamily.load(golden, "fpn_r50")       # `golden`: the fixture of tests/conftest.py
    family.arrays["rpn_logits_0"], family.scalars["train"]["losses"]      # golden.npz and golden.json
    build_trunk(**family.trunk_arguments())             # the narrow trunk
    network.load_state_dict(family.weights(), ...)      # detectron2's keys under torchvision's names
    family.part("backbone.")                            # the same for one module, prefix cut off
    family.network_input()                              # (1, 3, H, W) normalised RGB, padded as detectron2 pads

In `weights()` the stem's filters are turned from BGR to RGB, the background's class logits are moved from the last
row to the first, and names are torchvision's: `backbone.body.layer1.0.bn1`, `backbone.fpn.inner_blocks.0.0`,
`rpn.head.conv.0.0`, `roi_heads.box_head.fc6`, `roi_heads.mask_head.0.0`, `roi_heads.mask_predictor.conv5_mask`. C4's
res5 keeps detectron2's place, `roi_heads.res5`, with blocks named as torchvision's (`roi_heads.res5.0.downsample.0`).
`raw` holds the file's own keys and arrays.
"""

import json
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from nucleiseg.models.resnet import TrunkSpec

FAMILIES = ("c4_r50", "c4_r101", "dc5_r50", "fpn_r50", "fpn_x101")

PIXEL_MEAN = (123.675, 116.280, 103.530)
"""RGB."""

DEPTHS = {"r50": (3, 4, 6, 3), "x101": (3, 4, 23, 3), "r101": (3, 4, 23, 3)}

RULES = (
    (r"^backbone\.(?:bottom_up\.)?stem\.conv1\.norm", "backbone.body.bn1"),
    (r"^backbone\.(?:bottom_up\.)?stem\.conv1", "backbone.body.conv1"),
    (r"^backbone\.(?:bottom_up\.)?res(\d)", lambda found: f"backbone.body.layer{int(found[1]) - 1}"),
    (r"^backbone\.fpn_lateral(\d)", lambda found: f"backbone.fpn.inner_blocks.{int(found[1]) - 2}.0"),
    (r"^backbone\.fpn_output(\d)", lambda found: f"backbone.fpn.layer_blocks.{int(found[1]) - 2}.0"),
    (r"\.shortcut\.norm", ".downsample.1"),
    (r"\.shortcut", ".downsample.0"),
    (r"\.conv(\d)\.norm", r".bn\1"),
    (r"^proposal_generator\.rpn_head\.conv", "rpn.head.conv.0.0"),
    (r"^proposal_generator\.rpn_head\.objectness_logits", "rpn.head.cls_logits"),
    (r"^proposal_generator\.rpn_head\.anchor_deltas", "rpn.head.bbox_pred"),
    (r"box_head\.fc(\d)", lambda found: f"box_head.fc{int(found[1]) + 5}"),
    (r"mask_head\.mask_fcn(\d)", lambda found: f"mask_head.{int(found[1]) - 1}.0"),
    (r"mask_head\.deconv", "mask_predictor.conv5_mask"),
    (r"mask_head\.predictor", "mask_predictor.mask_fcn_logits"),
)


def torchvision_name(name: str) -> str:
    """Translate a parameter's name from detectron2 to torchvision."""
    for pattern, replacement in RULES:
        name = re.sub(pattern, replacement, name)
    return name


def torchvision_state(raw: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Translate names, channel order of the stem and place of the background."""
    state = {
        torchvision_name(name): torch.from_numpy(array.copy())
        for name, array in raw.items()
        if not name.startswith("pixel_") and ".anchor_generator." not in name
    }
    for name in state:
        if name == "backbone.body.conv1.weight":
            state[name] = state[name].flip(1)
        if ".cls_score." in name:
            state[name] = state[name].roll(1, dims=0)
    return state


class _ArraysOnly(pickle.Unpickler):
    """Reads numpy arrays and nothing else (`_codecs.encode` carries their bytes)."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401
        numpy_part = module.split(".")[0] == "numpy" and name in {"_reconstruct", "ndarray", "dtype"}
        if numpy_part or (module, name) == ("_codecs", "encode"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} is not part of a numpy array")


@dataclass(frozen=True)
class GoldenFamily:
    """One narrow network of detectron2: weights, intermediate arrays, settings."""

    name: str
    folder: Path
    arrays: dict[str, np.ndarray]
    scalars: dict[str, Any]
    raw: dict[str, np.ndarray]

    @classmethod
    def load(cls, golden: Path, name: str) -> "GoldenFamily":
        folder = golden / name
        with np.load(folder / "golden.npz") as archive:
            arrays = dict(archive)
        scalars = json.loads((folder / "golden.json").read_text(encoding="utf-8"))
        with (folder / f"{name}.pkl").open("rb") as handle:
            raw = _ArraysOnly(handle, encoding="latin1").load()["model"]
        return cls(name, folder, arrays, scalars, raw)

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

    def trunk_arguments(self) -> dict[str, Any]:
        """Return the keyword arguments of `build_trunk`, nothing frozen."""
        grouped = "x101" in self.name
        spec = TrunkSpec(
            depths=DEPTHS[self.name.split("_")[1]],
            groups=4 if grouped else 1,
            width_per_group=2 if grouped else 4,
            stem_channels=4,
            res2_channels=8,
        )
        return {"family": self.family, "trunk": spec, "stride_in_1x1": not grouped, "fpn_channels": 16}

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

    def weights(self) -> dict[str, Tensor]:
        return torchvision_state(self.raw)

    def part(self, prefix: str) -> dict[str, Tensor]:
        """Return the weights whose name starts with `prefix`, without it."""
        return {name.removeprefix(prefix): value for name, value in self.weights().items() if name.startswith(prefix)}

    def image(self) -> Tensor:
        """Return the resized input, (3, 200, 240) uint8 RGB."""
        with Image.open(self.folder.parent / "input_resized.png") as picture:
            return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1).contiguous()

    def network_input(self) -> Tensor:
        mean, std = torch.tensor(PIXEL_MEAN), torch.tensor(self.pixel_std)
        image = (self.image() - mean[:, None, None]) / std[:, None, None]
        height, width = self.arrays["padded_input_shape"].tolist()
        return F.pad(image, (0, width - image.shape[2], 0, height - image.shape[1]))[None]
