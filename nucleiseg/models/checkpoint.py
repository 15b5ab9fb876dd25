"""Checkpoints that rebuild their network: weights, settings, preprocessing and a fingerprint of the data."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from nucleiseg.errors import InputError
from nucleiseg.models.config import ModelConfig
from nucleiseg.models.mask_rcnn import MaskRCNN, build
from nucleiseg.models.weights.torch_files import read_torch, write_torch
from nucleiseg.renamed_keys import with_current_model_keys
from nucleiseg.settings import AsTuple, Settings, Share, settings
from nucleiseg.structures import NUCLEUS, Color
from nucleiseg.version import __version__

KEY = "nucleiseg"
"""Key of the metadata in a checkpoint file, ours or Lightning's."""

LIGHTNING_PREFIX = "network."
"""Prefix of the network's weights in Lightning's `last.ckpt`."""


@settings
class Metadata(Settings):
    """Description of a checkpoint, of built-in types alone, so that it loads with `weights_only=True`.

    Attributes:
        model: `ModelConfig.to_dict()`.
        class_names: names of the labels 1, 2, ...
        category_ids: the number of each class in the annotations, which result files keep; None: the labels.
        class_colors: the color of each class; None: `data.classes.CLASS_COLORS`.
        step: optimizer steps done.
        scale: network pixels per pixel of the source images in training (nominal, without jitter): the median over
            the images.
        preprocessing: how an image of any size is decoded and scaled, as numbers
            (`transforms.preprocessing.Preprocessing.to_dict`); None in files of versions that stored `scale` alone.
        largest_nucleus: 99.9th percentile of the longer side of the training nuclei's boxes, in network pixels; None in
            files of versions that did not measure it, and without nuclei.
        score_threshold: for counts and label images, chosen on validation; None if none was chosen.
        fingerprint: of the training data.
        weights: the initial weights, in words ("random", a file name).
        version: of nucleiseg that wrote the file.

    Raises:
        InputError: for a number that is not finite or out of range, or another number of ids or colors than classes.
    """

    model: dict[str, Any]
    class_names: Annotated[tuple[str, ...], AsTuple] = (NUCLEUS,)
    category_ids: Annotated[tuple[int, ...] | None, AsTuple] = None
    class_colors: Annotated[tuple[Annotated[Color, AsTuple], ...] | None, AsTuple] = None
    step: Annotated[int, Field(ge=0)] = 0
    scale: Annotated[float, Field(ge=1e-3, le=1e3)] = 1.0
    preprocessing: dict[str, Any] | None = None
    largest_nucleus: Annotated[float, Field(gt=0, le=1e6)] | None = None
    score_threshold: Share | None = None
    fingerprint: str = ""
    weights: str = "random"
    version: str = __version__

    def contradictions(self, at: str) -> Iterable[str]:
        """Yield a sentence for ids or colors that are not those of the classes; see `Settings`."""
        for key in ("category_ids", "class_colors"):
            values = getattr(self, key)
            if values is not None and len(values) != len(self.class_names):
                count = len(self.class_names)
                yield f"{at}{key} has {len(values)} entries; it accepts one for each of {count} classes."


def save(path: str | os.PathLike[str], network: MaskRCNN, metadata: Metadata) -> None:
    """Write weights and metadata, whole or not at all; without the optimizer, so that it can predict but not resume."""
    write(path, network.state_dict(), metadata)


def write(path: str | os.PathLike[str], weights: Mapping[str, Tensor], metadata: Metadata) -> None:
    """Write weights and metadata with their SHA-256, whole or not at all."""
    state = {name: value.detach().cpu() for name, value in weights.items()}
    write_torch(path, {"state_dict": state, KEY: metadata.to_dict()})


def write_half(path: str | os.PathLike[str], weights: Mapping[str, Tensor], metadata: Metadata) -> None:
    """Write weights in half precision (float16, 11 bits of significand) and metadata: half the size, to predict with.

    Args:
        path: the file.
        weights: name -> tensor, finite.
        metadata: of the checkpoint.

    Raises:
        InputError: if a weight exceeds float16's range (65,504).
    """
    halves = {name: value.half() if value.is_floating_point() else value for name, value in weights.items()}
    for name, value in halves.items():
        if not value.isfinite().all():
            raise InputError(
                f"The weights {name} exceed 65,504, the range of half precision: keep the checkpoint as is."
            )
    write(path, halves, metadata)


def load(path: str | os.PathLike[str]) -> tuple[MaskRCNN, Metadata]:
    """Rebuild the network of a step checkpoint or of Lightning's `last.ckpt`.

    Args:
        path: the file. Nothing in it is executed (`weights_only=True`).

    Returns:
        The network on the CPU in eval mode, and the metadata.

    Raises:
        InputError: if the file is missing, damaged or not a checkpoint of nucleiseg, or weights are not finite.
    """
    weights, metadata = read(path)
    try:
        network = build(ModelConfig.from_dict(metadata.model, "model"), len(metadata.class_names))
        network.load_state_dict(weights)
    except (InputError, RuntimeError, AttributeError, TypeError, ValueError) as error:
        raise _unfit(path, error) from error
    return network.eval(), metadata


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], Metadata]:
    """Read a checkpoint without building its network.

    Args:
        path: as in `load`.

    Returns:
        The weights on the CPU, by their names in `MaskRCNN.state_dict()`, and the metadata. Weights that were stored in
        half precision are float32.

    Raises:
        InputError: as in `load`.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} is not a file; give a checkpoint such as RUN/checkpoints/step_000200.ckpt.")
    content = read_torch(path, what="a checkpoint")
    if not isinstance(content, dict) or KEY not in content or "state_dict" not in content:
        raise InputError(f"{path} is not a checkpoint of nucleiseg (no key '{KEY}'); give a file that train.py wrote.")
    return of_content(path, content)


def of_content(path: str | os.PathLike[str], content: Mapping[str, Any]) -> tuple[dict[str, Tensor], Metadata]:
    """Return the network's weights and the metadata of a checkpoint that was read.

    Args:
        path: the file, for messages.
        content: the return value of `torch.load`, with the keys `state_dict` and `KEY`.

    Raises:
        InputError: if the content is not that of a checkpoint of nucleiseg, or weights are not finite.
    """
    try:
        # Lightning's names have a prefix, and its metrics lie beside the weights
        state = content["state_dict"]
        if not any(name.startswith(LIGHTNING_PREFIX) for name in state):
            weights = state
        else:
            weights = {
                name.removeprefix(LIGHTNING_PREFIX): value
                for name, value in state.items()
                if name.startswith(LIGHTNING_PREFIX)
            }
        metadata = Metadata.from_dict(content[KEY], KEY)
        metadata = replace(metadata, model=with_current_model_keys(metadata.model))
    except (InputError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise _unfit(path, error) from error
    if not isinstance(weights, dict):
        raise _unfit(path, TypeError(f"its state_dict is a {type(weights).__name__}"))
    for name, value in weights.items():
        if isinstance(value, Tensor) and value.is_floating_point() and not value.isfinite().all():
            raise InputError(
                f"{path}: the weights {name} are not finite (NaN or infinite), so it cannot be used: the training had "
                "diverged, or the file was edited. Use another checkpoint, such as an earlier step."
            )
    is_half = [name for name, value in weights.items() if isinstance(value, Tensor) and value.dtype == torch.float16]
    return weights | {name: weights[name].float() for name in is_half}, metadata


def is_checkpoint(path: str | os.PathLike[str]) -> bool:
    """Return whether a file is a checkpoint of nucleiseg, judged by its content."""
    try:
        content = read_torch(path, what="a checkpoint", mmap=True)
    except InputError:
        return False
    return isinstance(content, dict) and KEY in content


def _unfit(path: str | os.PathLike[str], error: Exception) -> InputError:
    reason = str(error) or type(error).__name__
    return InputError(f"{path} does not fit nucleiseg {__version__}: {reason.splitlines()[0]}")
