"""How an image becomes what the network sees: one rule for validation, prediction, evaluation and the leaderboard.

    Preprocessing(crop=(0.5, 0.5), short=608, long=800).shape(1000, 1000)      # (1216, 1216), as training showed it

Training crops an image and resizes the crop, so the scale depends on the image's size. The rule is stored in every
checkpoint as plain numbers, and a whole image is scaled as the crops of training were. Apart from `recipe`, so that
prediction does not import Albumentations.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
from torch import Tensor

from nucleiseg.errors import InputError
from nucleiseg.structures import Sample, Target
from nucleiseg.transforms.geometry import (
    Crop,
    Shape,
    crop_shape,
    resize_image,
    resize_layers,
    resize_scale,
    resized_shape,
    to_tensor,
)
from nucleiseg.transforms.targets import make_target

SCALE_LIMITS = (1e-3, 1e3)
"""Least and greatest network pixels per source pixel: beyond, an image has no pixels left or no memory holds it."""

MPP_LIMITS = (1e-3, 1e3)
"""Least and greatest micrometers per pixel that are accepted; microscopes have 0.05 to 10."""


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """Decoding and scale of whole images, without any random part.

    Attributes:
        crop: (height, width) of the crop in training, in shares of the image's sides (float) or pixels (int); None:
            training showed whole images.
        short: network pixels of the crop's shorter side; None: `scale` holds.
        long: greatest length of the crop's longer side in network pixels; None: no limit.
        scale: network pixels per source pixel for images of any size, instead of the crop's rule; with neither,
            images keep their size.
        scales: least and greatest scale at which training showed an image. An image smaller or larger than all of
            them is shown at the nearest of these, not at one that the network has never seen. None: no limits.
        bits: the camera's bits per pixel in files that have 16, see `data.readers.images.to_eight_bits`; None: by
            each image's brightest value.
        mpp: micrometers per pixel of the training images; None: unknown.

    Raises:
        InputError: with a sentence for each number that is out of range.
    """

    crop: Crop | None = None
    short: int | None = None
    long: int | None = None
    scale: float | None = None
    scales: tuple[float, float] | None = None
    bits: int | None = None
    mpp: float | None = None

    def __post_init__(self) -> None:
        sides = {"short": self.short, "long": self.long, "bits": self.bits}
        problems = [
            f"{name} is {value!r}; it accepts a whole number above 0."
            for name, value in sides.items()
            if value is not None and not (type(value) is int and value > 0)
        ]
        scales = [("scale", self.scale), *(("scales", value) for value in self.scales or ())]
        limited = [(name, value, SCALE_LIMITS) for name, value in scales] + [("mpp", self.mpp, MPP_LIMITS)]
        problems += [
            f"{name} is {value!r}; it accepts a number from {low:g} to {high:g}."
            for name, value, (low, high) in limited
            if value is not None and not (_is_number(value) and low <= value <= high)
        ]
        if self.crop is not None and not (len(self.crop) == 2 and all(_is_number(s) and s > 0 for s in self.crop)):
            problems.append(f"crop is {self.crop!r}; it accepts two numbers above 0, shares (float) or pixels (int).")
        if self.scale is not None and self.short is not None:
            problems.append(f"scale is {self.scale} and short is {self.short}; only one of them can hold.")
        if problems:
            raise InputError(problems)

    @classmethod
    def of_training(
        cls, crop: Crop | None, short: int, long: int, sizes: Iterable[Shape], bits: int | None, mpp: float | None
    ) -> Self:
        """Describe a training.

        Args:
            crop: as the attribute.
            short: as the attribute.
            long: as the attribute.
            sizes: (height, width) of the data's images in source pixels; at least one.
            bits: as the attribute.
            mpp: as the attribute.
        """
        rule = cls(crop=crop, short=short, long=long, bits=bits, mpp=mpp)
        scales = [rule.scale_of(height, width) for height, width in sizes]
        return replace(rule, scales=(min(scales), max(scales)))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Restore what `to_dict` returned.

        Raises:
            InputError: for an unknown name or a value that is not accepted.
        """
        known = {field.name for field in fields(cls)}
        if unknown := [str(name) for name in values if name not in known]:
            raise InputError(f"preprocessing has the unknown entries {', '.join(unknown)}; known are {sorted(known)}.")
        restored: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        return cls(**restored)

    def to_dict(self) -> dict[str, Any]:
        """Return numbers, lists and None, for a checkpoint."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def scale_of(self, height: int, width: int, mpp: float | None = None) -> float:
        """Return network pixels per source pixel, before sides are rounded to whole pixels.

        With `mpp` of both the image and the training, the scale follows it: an image of half the micrometers per
        pixel is shown at half the scale, since its nuclei have twice as many pixels.

        Args:
            height: the image's height in source pixels.
            width: the image's width in source pixels.
            mpp: micrometers per pixel of the image; None: as in training.
        """
        if self.short is None:
            scale = self.scale or 1.0
        else:
            scale = resize_scale(*crop_shape(height, width, self.crop or (1.0, 1.0)), self.short, self.long or math.inf)
        if self.scales is not None:
            scale = min(max(scale, self.scales[0]), self.scales[1])
        return scale if mpp is None or self.mpp is None else scale * (mpp / self.mpp)

    def shape(self, height: int, width: int, mpp: float | None = None) -> Shape:
        """Return the (height, width) in network pixels in which an image is shown; arguments as in `scale_of`."""
        scale = self.scale_of(height, width, mpp)
        if self.crop is None and self.short is not None:
            long = self.long or math.inf
            if scale == resize_scale(height, width, self.short, long):
                return resized_shape(height, width, self.short, long)  # rounds as training did
        return max(int(height * scale + 0.5), 1), max(int(width * scale + 0.5), 1)

    def prepare(self, image: np.ndarray, mpp: float | None = None) -> Tensor:
        """Return (3, h, w) uint8 of the network's size.

        Args:
            image: (H, W, 3) uint8 RGB, decoded with `bits`.
            mpp: as in `scale_of`.
        """
        return to_tensor(resize_image(image, self.shape(image.shape[0], image.shape[1], mpp)))

    def __call__(self, sample: Sample, seed: int | None = None) -> tuple[Tensor, Target]:
        """Return what `prepare` does and the target in its pixels; `seed` is only passed on to the target."""
        height, width = sample.image.shape[:2]
        target = make_target(
            resize_layers(sample.layers, self.shape(height, width)),
            sample.layer_index,
            sample.labels,
            name=sample.name,
            scale=self.scale_of(height, width),
            seed=seed,
        )
        return self.prepare(sample.image), target


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
