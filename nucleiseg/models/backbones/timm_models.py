"""Models of timm as backbones: every one with `features_only` maps of strides 4, 8, 16 and 32 and any input size."""

import importlib.util
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from nucleiseg.errors import InputError
from nucleiseg.models.backbones.registry import PYRAMID_STRIDES, Backbone, BackboneEntry, BackboneOptions

MAPS = ("0", "1", "2", "3")
"""Names of the maps of strides 4 to 32."""

TRIAL_SIZE = (96, 64)
"""Height and width of a trial input: multiples of 32, as inputs are padded, and not square."""


class TimmBody(nn.Module):
    """A `features_only` model of timm whose maps are named, channels first.

    Args:
        features: returns a list of four maps.
        is_channels_last: its maps are (N, H, W, C).
    """

    def __init__(self, features: nn.Module, *, is_channels_last: bool) -> None:
        super().__init__()
        self.features = features
        self.is_channels_last = is_channels_last

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the maps "0" to "3" of strides 4 to 32 for (N, 3, H, W) normalized images."""
        maps = self.features(images)
        if self.is_channels_last:
            maps = [features.permute(0, 3, 1, 2) for features in maps]
        return dict(zip(MAPS, maps, strict=True))


def timm_entry(name: str) -> BackboneEntry:
    """Return the entry of a model of timm, for family `fpn`.

    Args:
        name: as `timm.list_models()` has it, with or without the tag of its weights (`convnext_tiny.fb_in22k`).

    Raises:
        InputError: timm is not installed, or has no such model.
    """
    if importlib.util.find_spec("timm") is None:
        raise InputError(
            f"backbone_source=timm with backbone={name} needs the package timm: pip install 'nucleiseg[timm]'."
        )
    import timm

    if not timm.is_model(name):
        close = get_close_matches(name, timm.list_models(), n=3, cutoff=0.6)
        meant = f" Did you mean {', '.join(close)}?" if close else ""
        raise InputError(f"backbone is {name!r}; it accepts a model of timm {timm.__version__}.{meant}")
    return BackboneEntry(name, partial(build_timm, name), ("fpn",), has_own_norm=True)


def build_timm(name: str, options: BackboneOptions) -> Backbone:
    """Build a model of timm with random weights.

    Raises:
        InputError: the model does not fit; see `_map_indices`.
    """
    features, channels = _create(name, pretrained=False)
    is_channels_last = str(getattr(features, "output_fmt", "NCHW")).endswith("NHWC")
    return Backbone(
        body=TimmBody(features, is_channels_last=is_channels_last),
        channels=dict(zip(MAPS, channels, strict=True)),
        strides=dict(zip(MAPS, PYRAMID_STRIDES, strict=True)),
        stages=_stages(features),
    )


def pretrained_weights(name: str, weights: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Return pretrained weights under the names that they have in `TimmBody`.

    Args:
        name: of the model.
        weights: the state dict of a classifier, as timm's files hold it; None takes timm's own, downloaded from the
            Hugging Face Hub into its cache on first use.

    Raises:
        InputError: they cannot be downloaded, or do not belong to the model.
    """
    overlay = None if weights is None else {"state_dict": dict(weights)}
    try:
        features, _ = _create(name, pretrained=True, pretrained_cfg_overlay=overlay)
    except InputError:
        raise
    except Exception as error:  # whatever network, hub and file raise
        source = "timm's weights" if weights is None else "the weights of the file"
        raise InputError(f"{source} of {name} cannot be loaded ({_reason(error)}).") from error
    return {f"features.{key}": value for key, value in features.state_dict().items()}


@cache
def pixel_statistics(name: str) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Return mean and standard deviation of the pixels, RGB, 0 to 255, that a model's weights were trained with."""
    import timm

    config: Any = timm.get_pretrained_cfg(name)
    mean, std = (tuple(round(255 * value, 4) for value in values) for values in (config.mean, config.std))
    return mean, std


def _create(name: str, **options: Any) -> tuple[Any, list[int]]:  # noqa: ANN401
    """Return a `features_only` model with maps of the strides 4 to 32, and their channels."""
    import timm

    features = timm.create_model(name, features_only=True, out_indices=_map_indices(name), **options)
    return features, features.feature_info.channels()


@cache
def _map_indices(name: str) -> tuple[int, ...]:
    """Return the indices of a model's maps of strides 4 to 32, after a trial on `TRIAL_SIZE` pixels.

    Raises:
        InputError: it has a fixed input size, no `features_only`, lacks one of these maps, or fails in the trial.
    """
    import timm

    config: Any = timm.get_pretrained_cfg(name)
    if config is not None and config.fixed_input_size:
        raise InputError(
            f"backbone is {name!r}; it accepts a model of timm for images of any size, and this one takes "
            f"{' x '.join(map(str, config.input_size[1:]))} pixels alone."
        )
    with torch.device("meta"), torch.no_grad():  # shapes alone: no memory, no weights, no arithmetic
        try:
            model: Any = timm.create_model(name, features_only=True)
            reductions = model.feature_info.reduction()
        except (RuntimeError, AssertionError, AttributeError, TypeError, ValueError, KeyError) as error:
            raise InputError(
                f"backbone is {name!r}; it accepts a model of timm that returns feature maps (features_only), and "
                f"this one does not: {_reason(error)}"
            ) from error
        if missing := [stride for stride in PYRAMID_STRIDES if stride not in reductions]:
            raise InputError(
                f"backbone is {name!r}; it accepts a model of timm with maps of strides 4, 8, 16 and 32, and this one "
                f"has {', '.join(map(str, reductions))} (without {', '.join(map(str, missing))})."
            )
        try:
            model.eval()(torch.zeros(1, 3, *TRIAL_SIZE))
        except Exception as error:  # attention in blocks asserts sizes; whatever else the model's code raises
            raise InputError(
                f"backbone is {name!r}; it accepts a model of timm for images whose sides are any multiples of 32, "
                f"and this one fails on {' x '.join(map(str, TRIAL_SIZE))} pixels: {_reason(error)}"
            ) from error
    last = {stride: index for index, stride in enumerate(reductions)}  # the deepest map of each stride
    return tuple(last[stride] for stride in PYRAMID_STRIDES)


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _stages(features: nn.Module) -> list[tuple[str, ...]]:
    """Return the names of the stem's modules and of those up to each map, as far as the model is a list of modules."""
    ends = [info["module"] for info in features.feature_info.get_dicts()]  # type: ignore[operator, union-attr]
    names = [name for name, _ in features.named_children()]
    ends = [end.replace(".", "_") for end in ends]
    if not all(end in names for end in ends):
        return []
    stages, start = [], 0
    for end in ends:
        stop = names.index(end) + 1
        stages.append(tuple(f"features.{name}" for name in names[start:stop]))
        start = stop
    stem = stages[0][:-1]
    return [stem, stages[0][-1:], *stages[1:]]
