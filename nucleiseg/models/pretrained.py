"""Resolve and load a network's initial weights.

    start = resolve_weights(config)                  # may download; says where to put the file if it cannot
    network = build(start.config, num_classes=1)     # norm, freezing, stride and pixel statistics are the weights'
    report = start.load(network)                     # lists every layer
    Metadata(model=network.config.to_dict(), weights=start.words)

| `weights` | starts from |
|---|---|
| `auto` | the model's COCO weights of the 3x schedule, from the cache or the network; else random ones |
| a name of `models.zoo` | these, or not at all |
| the name of shipped weights | the file in the package (`nucleiseg.shipped_weights`) |
| `timm/NAME` | timm's weights of the backbone NAME, or not at all |
| a file | a checkpoint of ours, detectron2's `.pkl` or `.pth`, Caffe2's `.pkl`, torchvision's `.pth`; or not at all |
| None | random weights |
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

from torch import Tensor

from nucleiseg.errors import InputError
from nucleiseg.models import checkpoint, zoo
from nucleiseg.models.backbones.timm_models import pretrained_weights
from nucleiseg.models.config import AUTO, ModelConfig
from nucleiseg.models.download import UnavailableError, digest, fetch
from nucleiseg.models.mask_rcnn import MaskRCNN
from nucleiseg.models.pretrained_defaults import PretrainedDefaults, defaults_of, expected_by, resolved
from nucleiseg.models.weights.detectron2_plan import backbone_notes
from nucleiseg.models.weights.implied_settings import implied_settings
from nucleiseg.models.weights.import_report import ImportReport
from nucleiseg.models.weights.importer import (
    Source,
    load_detectron2,
    load_torchvision,
    load_torchvision_backbone,
)
from nucleiseg.models.weights.placement import Offer, Plan, place
from nucleiseg.models.weights.weights_file import WeightsFile, read_weights
from nucleiseg.shipped_weights import SHIPPED_WEIGHTS

Loader = Callable[[MaskRCNN, Source], ImportReport]

_LOADERS: dict[zoo.Kind, Loader] = {
    "detectron2": load_detectron2,
    "torchvision": load_torchvision,
    "torchvision_backbone": load_torchvision_backbone,
}

TIMM = "timm/"
"""Start of the names of timm's weights: `timm/convnext_tiny`."""

RANDOM = "random"
"""`Metadata.weights` of a network that started from random weights."""

DIGITS = 12
"""Digits shown of the SHA-256 of a user's file: enough to distinguish it from their others."""


@dataclass(frozen=True)
class Initialization:
    """Initial weights of a network, resolved but not loaded.

    Attributes:
        config: of the network to build, completely resolved: `weights` is a name, a file or None, never `auto`.
        words: description of the weights with their digest, for `Metadata.weights`.
        sentences: messages for the user.
        loader: loads the weights into the network that was built with `config`; None for random ones.
    """

    config: ModelConfig
    words: str
    sentences: tuple[str, ...] = ()
    loader: Callable[[MaskRCNN], ImportReport] | None = None

    def load(self, network: MaskRCNN) -> ImportReport:
        """Load the weights into a new network, in place, and report each layer.

        Raises:
            InputError: if the file is refused or does not fit; the network is then unchanged.
        """
        return ImportReport() if self.loader is None else self.loader(network)


def resolve_weights(config: ModelConfig, folder: str | os.PathLike[str] | None = None) -> Initialization:
    """Resolve a network's initial weights; download or open files, so that a missing one is found here.

    Args:
        config: as given by the user.
        folder: of downloaded weights; None takes the user's cache (see `models.download`).

    Raises:
        InputError: a name that is not in the zoo, weights of another model, or a file that is not there, refused
            or damaged; also if something frozen would be random.
    """
    if config.weights is None:
        return Initialization(resolved(config), RANDOM)
    if config.weights == AUTO:
        return _automatic(config, folder)
    if config.weights.startswith(TIMM) and config.backbone_source == "timm":
        return _from_timm(config)
    if config.weights in zoo.ZOO:
        return _from_zoo(zoo.ZOO[config.weights], config, folder)
    if config.weights in SHIPPED_WEIGHTS:
        return _from_checkpoint(SHIPPED_WEIGHTS[config.weights], config)
    path = Path(config.weights).expanduser().absolute()
    if not path.is_file():
        names = (*SHIPPED_WEIGHTS, *zoo.ZOO)
        close = zoo.close_names(config.weights, names)
        meant = f"Did you mean {' or '.join(close)}?" if close else ""
        raise InputError(
            f"weights is {config.weights}; it accepts auto, null, the path of a file, or one of {', '.join(names)}. "
            f"{meant}".rstrip()
        )
    config = replace(config, weights=str(path))  # good from any folder, when a run is resumed at step 0
    if checkpoint.is_checkpoint(path):
        return _from_checkpoint(path, config)
    return _from_timm(config, path) if config.backbone_source == "timm" else _from_file(path, config)


def _automatic(config: ModelConfig, folder: str | os.PathLike[str] | None) -> Initialization:
    if config.backbone_source == "timm":
        try:
            return _from_timm(replace(config, weights=TIMM + config.backbone))
        except InputError as error:
            return _from_scratch(config, *error.problems)
    entry = zoo.automatic(config)
    if entry is None:
        backbone = f"torchvision/imagenet_{config.backbone}"
        return _from_scratch(
            config, f"There are no COCO weights for this model (weights={backbone} would start from ImageNet's)."
        )
    if problems := zoo.misfits(entry, config):
        return _from_scratch(config, *problems)
    try:
        return _from_zoo(entry, config, folder)
    except UnavailableError as error:
        return _from_scratch(config, *error.problems)


def _from_scratch(config: ModelConfig, *reasons: str) -> Initialization:
    warning = (
        "WARNING: training FROM SCRATCH, from random weights: it takes more images and steps than COCO weights do."
    )
    try:
        return Initialization(resolved(replace(config, weights=None)), RANDOM, (*reasons, warning))
    except InputError as error:
        raise InputError([*reasons, *error.problems]) from error


def _from_zoo(entry: zoo.ZooEntry, config: ModelConfig, folder: str | os.PathLike[str] | None) -> Initialization:
    if problems := zoo.misfits(entry, config):
        raise InputError(problems)
    path, load = fetch(entry, folder), _LOADERS[entry.kind]
    words = f"{entry.name} ({entry.digest.replace(':', ' ')}...)"
    return Initialization(
        resolved(replace(config, weights=entry.name)),
        words,
        (f"Starting from {words}.",),
        lambda network: load(network, path),
    )


def _from_file(path: Path, config: ModelConfig) -> Initialization:
    file = read_weights(path)
    implied = {key: value for key, value in vars(implied_settings(file)).items() if value is not None}
    known = {field.name: implied[field.name] for field in fields(PretrainedDefaults) if field.name in implied}
    expected = replace(expected_by(config.weights, config.backbone, config.backbone_source), **known)
    words = f"{path} (sha256 {digest(path)[:DIGITS]}...)"
    kind: zoo.Kind = "detectron2"
    if any(name.startswith("backbone.body.") for name in file.arrays):
        kind = "torchvision"
    elif any(name.startswith(("layer1.", "features.")) for name in file.arrays):  # a classifier
        kind = "torchvision_backbone"
    load = _LOADERS[kind]
    return Initialization(
        resolved(config, expected), words, (f"Starting from {words}.",), lambda network: load(network, file)
    )


def _from_timm(config: ModelConfig, path: Path | None = None) -> Initialization:
    """Take the backbone's weights from timm's cache or the network, or from a file of timm's names."""
    if path is None and config.weights != TIMM + config.backbone:
        raise InputError(f"weights is {config.weights!r}; it accepts {TIMM}{config.backbone} with this backbone.")
    weights = pretrained_weights(config.backbone, None if path is None else _read_timm(path))
    words = str(config.weights) if path is None else f"{path} (sha256 {digest(path)[:DIGITS]}...)"
    return Initialization(
        resolved(config), words, (f"Starting from {words}.",), lambda network: _load_backbone(network, words, weights)
    )


def _read_timm(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file  # comes with timm

        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise InputError(f"{path} cannot be read as weights ({error}).") from error
    file = read_weights(path)
    return {name: file.tensor(name) for name in file.arrays}


def _load_backbone(network: MaskRCNN, source: str, weights: dict[str, Tensor]) -> ImportReport:
    """Load the weights of a backbone's body by name; everything above it keeps its values."""
    named = {f"backbone.body.{name}": tensor for name, tensor in weights.items()}
    offers = {name: Offer(name, tuple(tensor.shape), tensor.detach) for name, tensor in named.items()}
    return place(network, Plan(WeightsFile(source, named), offers, backbone_notes(network), found="a model of timm"))


def _from_checkpoint(path: Path, config: ModelConfig) -> Initialization:
    """Fine-tune a checkpoint: normalization, freezing and pixel statistics are kept."""
    weights, metadata = checkpoint.read(path)
    theirs = ModelConfig.from_dict(metadata.model, "model")
    _refuse_other_model(theirs, config)
    origin = f"sha256 {digest(path)[:DIGITS]}..., step {metadata.step}, started from: {metadata.weights}"
    words = f"{config.weights} ({origin})"
    return Initialization(
        resolved(config, defaults_of(theirs)),
        words,
        (f"Starting from {words}.",),
        lambda network: _load_checkpoint(network, path, weights),
    )


def _refuse_other_model(theirs: ModelConfig, ours: ModelConfig) -> None:
    problems = [
        f"weights={ours.weights} was trained with {key}={getattr(theirs, key)}, but {key} is {getattr(ours, key)}."
        for key in ("family", "backbone", "backbone_source", "numerics")
        if getattr(theirs, key) != getattr(ours, key)
    ]
    if problems:
        raise InputError(problems)


def _load_checkpoint(network: MaskRCNN, path: Path, weights: dict[str, Tensor]) -> ImportReport:
    """Load by name; layers for other classes or anchors keep their values."""
    offers = {name: Offer(name, tuple(tensor.shape), tensor.detach) for name, tensor in weights.items()}
    return place(network, Plan(WeightsFile(str(path), weights), offers, found="a checkpoint of ours"))
