"""The zoo: pretrained weights by name, with their published measurements.

Sources: detectron2's `MODEL_ZOO.md` (addresses, digests, measurements; file sizes follow from the number of
parameters), torchvision's weight enumerations. `models.download` fetches the files.
"""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from operator import attrgetter
from typing import Literal

from nucleiseg.models.backbones.families import find_backbone
from nucleiseg.models.config import Family, ModelConfig, NumericsName

Kind = Literal["detectron2", "torchvision", "torchvision_backbone"]

CC_BY_SA = "CC BY-SA 3.0"
"""Of everything in detectron2's model zoo."""

TORCHVISION_LICENSE = "BSD-3-Clause (code); weights: terms of their training data"
"""torchvision refers to the terms of the data sets."""


@dataclass(frozen=True)
class Measured:
    """Published measurements of a detector: training on 8 V100s with 16 images per step, inference on one V100.

    Attributes:
        train_seconds: of a training step; None if not published.
        inference_seconds: of an image of COCO.
        memory: GB of each GPU in training.
        box_ap: average precision of boxes on COCO val2017, in per cent.
        mask_ap: the same of masks.
    """

    train_seconds: float | None
    inference_seconds: float | None
    memory: float | None
    box_ap: float
    mask_ap: float


@dataclass(frozen=True)
class ZooEntry:
    """One file of weights.

    Attributes:
        name: the value of `weights` that asks for it.
        kind: format of the file: `detectron2`, `torchvision` (Mask R-CNN) or `torchvision_backbone` (ResNet).
        backbone: its registered name.
        family: of the whole detector; None for a backbone alone, which fits any.
        schedule: of the training, `1x` being 12 epochs of COCO and `3x` 37; for a backbone, its data.
        address: URL of the file.
        digest: start of the file's digest, from its name: `md5:` or `sha256:` and hexadecimal digits.
        megabytes: size of the file, in 10^6 bytes, rounded.
        parameters: of the network as its makers trained it (COCO's 80 classes; ImageNet's 1000).
        license: in words.
        measured: None for a backbone alone.
        model_id: detectron2's number of the model.
    """

    name: str
    kind: Kind
    backbone: str
    family: Family | None
    schedule: str
    address: str
    digest: str
    megabytes: int
    parameters: int
    license: str
    measured: Measured | None = None
    model_id: int | None = None

    @property
    def file_name(self) -> str:
        """The last part of the address, under which the file lies in the cache as well."""
        return self.address.rpartition("/")[2]

    @property
    def numerics(self) -> NumericsName | None:
        """The numerics that a detector was trained in; None for a backbone alone, which fits both."""
        return None if self.kind == "torchvision_backbone" else self.kind

    @property
    def model(self) -> str | None:
        """The file of `conf/model` with this architecture; None for a backbone alone."""
        return None if self.family is None else f"{SHORT[self.backbone]}_{self.family}"


SHORT: dict[str, str] = {
    "resnet18": "r18",
    "resnet50": "r50",
    "resnet101": "r101",
    "resnext101_32x8d": "x101",
}
"""Abbreviations of backbones in names of models."""

_SIZES: dict[str, tuple[str, Family, int, int]] = {
    "R_50_C4": ("resnet50", "c4", 144, 35_909_612),
    "R_50_DC5": ("resnet50", "dc5", 690, 172_353_516),
    "R_50_FPN": ("resnet50", "fpn", 178, 44_343_216),
    "R_101_C4": ("resnet101", "c4", 220, 54_849_516),
    "R_101_DC5": ("resnet101", "dc5", 766, 191_293_420),
    "R_101_FPN": ("resnet101", "fpn", 254, 63_283_120),
    "X_101_32x8d_FPN": ("resnext101_32x8d", "fpn", 431, 107_427_760),
}
"""detectron2's name of a model -> backbone, family, size in MB, parameters."""


def _detectron2(model: str, schedule: str, model_id: int, digest: str, measured: Measured) -> ZooEntry:
    backbone, family, megabytes, parameters = _SIZES[model]
    folder = f"https://dl.fbaipublicfiles.com/detectron2/COCO-InstanceSegmentation/mask_rcnn_{model}_{schedule}"
    return ZooEntry(
        name=f"coco/{SHORT[backbone]}_{family}_{schedule}",
        kind="detectron2",
        backbone=backbone,
        family=family,
        schedule=schedule,
        address=f"{folder}/{model_id}/model_final_{digest}.pkl",
        digest=f"md5:{digest}",
        megabytes=megabytes,
        parameters=parameters,
        license=CC_BY_SA,
        measured=measured,
        model_id=model_id,
    )


def _backbone(backbone: str, digest: str, megabytes: int, parameters: int) -> ZooEntry:
    return ZooEntry(
        name=f"torchvision/imagenet_{backbone}",
        kind="torchvision_backbone",
        backbone=backbone,
        family=None,
        schedule="ImageNet",
        address=f"https://download.pytorch.org/models/{backbone}-{digest}.pth",
        digest=f"sha256:{digest}",
        megabytes=megabytes,
        parameters=parameters,
        license=TORCHVISION_LICENSE,
    )


_ENTRIES = (
    _detectron2("R_50_C4", "1x", 137259246, "9243eb", Measured(0.584, 0.110, 5.2, 36.8, 32.2)),
    _detectron2("R_50_DC5", "1x", 137260150, "4f86c3", Measured(0.471, 0.076, 6.5, 38.3, 34.2)),
    _detectron2("R_50_FPN", "1x", 137260431, "a54504", Measured(0.261, 0.043, 3.4, 38.6, 35.2)),
    _detectron2("R_50_C4", "3x", 137849525, "4ce675", Measured(0.575, 0.111, 5.2, 39.8, 34.4)),
    _detectron2("R_50_DC5", "3x", 137849551, "84107b", Measured(0.470, 0.076, 6.5, 40.0, 35.9)),
    _detectron2("R_50_FPN", "3x", 137849600, "f10217", Measured(0.261, 0.043, 3.4, 41.0, 37.2)),
    _detectron2("R_101_C4", "3x", 138363239, "a2914c", Measured(0.652, 0.145, 6.3, 42.6, 36.7)),
    _detectron2("R_101_DC5", "3x", 138363294, "0464b7", Measured(0.545, 0.092, 7.6, 41.9, 37.3)),
    _detectron2("R_101_FPN", "3x", 138205316, "a3ec72", Measured(0.340, 0.056, 4.6, 42.9, 38.6)),
    _detectron2("X_101_32x8d_FPN", "3x", 139653917, "2d9806", Measured(0.690, 0.103, 7.2, 44.3, 39.5)),
    ZooEntry(
        name="torchvision/maskrcnn_resnet50_fpn",
        kind="torchvision",
        backbone="resnet50",
        family="fpn",
        schedule="2x",
        address="https://download.pytorch.org/models/maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth",
        digest="sha256:bf2d0c1e",
        megabytes=178,
        parameters=44_401_393,
        license=TORCHVISION_LICENSE,
        measured=Measured(None, None, None, 37.9, 34.6),
    ),
    _backbone("resnet18", "f37072fd", 47, 11_689_512),
    _backbone("resnet50", "0676ba61", 103, 25_557_032),
    _backbone("resnet101", "63fe2227", 179, 44_549_160),
    _backbone("resnext101_32x8d", "8ba56ff5", 356, 88_791_336),
    _backbone("convnext_tiny", "983f1562", 114, 28_589_128),
    _backbone("swin_t", "704ceda3", 113, 28_288_354),
)

ZOO: dict[str, ZooEntry] = {entry.name: entry for entry in _ENTRIES}
"""All entries by name."""


def automatic(config: ModelConfig) -> ZooEntry | None:
    """Return the weights that `weights=auto` stands for: COCO's of the longest training, in the model's numerics.

    ConvNeXt and Swin have no COCO weights here and start from ImageNet's.

    Args:
        config: its family, backbone and numerics decide.

    Returns:
        None if there are none for such a model (ResNet-18, models of timm).
    """
    fitting = [
        entry
        for entry in ZOO.values()
        if (entry.family, entry.backbone, entry.numerics) == (config.family, config.backbone, config.numerics)
    ]
    if not fitting and config.backbone_source == "registry" and find_backbone(config.backbone).has_own_norm:
        return ZOO.get(f"torchvision/imagenet_{config.backbone}")  # no published COCO weights fit
    return max(fitting, key=lambda entry: entry.schedule, default=None)


def close_names(name: str, names: Iterable[str] = tuple(ZOO)) -> list[str]:
    """Return up to three names that contain what was typed, else similar ones."""
    names = list(names)
    containing = [known for known in names if name in known]
    return containing[:3] or difflib.get_close_matches(name, names, n=3, cutoff=0.5)


_WIDTHS: dict[Family | None, dict[str, int]] = {
    "fpn": {"fpn_channels": 256, "roi.pool": 7, "roi.fc_dim": 1024, "mask.convs": 4, "mask.channels": 256},
    "dc5": {"roi.pool": 7, "roi.fc_dim": 1024, "mask.convs": 4, "mask.channels": 256},
    "c4": {"mask.channels": 256},
    None: {},
}
"""The settings that decide the shapes of a detector's layers, as all detectors of the zoo have them."""


def misfits(entry: ZooEntry, config: ModelConfig) -> list[str]:
    """Return a sentence for each setting of a model that does not fit weights, before they are downloaded.

    The numbers of anchors and classes may differ: the layers that predict them start from random values.

    Returns:
        A sentence for each setting; none if the weights fit.
    """
    wanted: dict[str, object] = {
        "backbone_source": "registry",
        "backbone": entry.backbone,
        "family": entry.family,
        "numerics": entry.numerics,
    }
    if entry.family == config.family:  # other families do not have all of these keys
        wanted |= _WIDTHS[entry.family]
    return [
        f"{entry.name} belongs to {key}={value}, but {key} is {attrgetter(key)(config)}."
        for key, value in wanted.items()
        if value is not None and value != attrgetter(key)(config)
    ]
