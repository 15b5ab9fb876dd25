"""Scale and decode whole images: one rule for validation, prediction, evaluation and the leaderboard.

    Preprocessing(crop=(0.5, 0.5), short=608, long=800).shape(1000, 1000)      # (1216, 1216), as training showed it

Training crops an image and resizes the crop, so the scale depends on the image's size. The rule is stored in every
checkpoint as numbers, and a whole image is scaled as the crops of training were. Apart from `recipe`, so that
prediction does not import Albumentations.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Annotated, Self

import numpy as np
from pydantic import Field
from torch import Tensor

from nucleiseg.settings import AsTuple, Bits, Mpp, Settings, settings
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
from nucleiseg.transforms.targets import make_target, planes_of, split_planes

LARGEST_SIDE = 16_384
"""Network pixels of a side: a square of it already has 268 million, more than the memory of any GPU holds maps for."""

Scale = Annotated[float, Field(ge=1e-3, le=1e3)]
"""Network pixels per source pixel: beyond, an image has no pixels left or no memory holds it."""

Side = Annotated[int, Field(ge=1, le=LARGEST_SIDE)]


@settings
class Preprocessing(Settings):
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

    Examples:
        >>> study = Preprocessing(crop=(0.5, 0.5), short=608, long=800)  # crops of 500 x 500 are resized to 608 x 608
        >>> study.shape(1000, 1000)
        (1216, 1216)
        >>> Preprocessing(scale=0.5).shape(1000, 600)
        (500, 300)
    """

    crop: Crop | None = None
    short: Side | None = None
    long: Side | None = None
    scale: Scale | None = None
    scales: Annotated[tuple[Scale, Scale], AsTuple] | None = None
    bits: Bits | None = None
    mpp: Mpp | None = None

    def contradictions(self, at: str) -> Iterator[str]:
        """Yield a sentence if two rules are given; see `Settings`."""
        if self.scale is not None and self.short is not None:
            yield f"{at}scale is {self.scale:g}; it accepts null beside {at}short, which is {self.short}."

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
        mpp = None if self.mpp is None else self.mpp * sample.zoom
        layers, ignore = split_planes(resize_layers(planes_of(sample), self.shape(height, width, mpp)), sample)
        target = make_target(
            layers,
            sample.layer_index,
            sample.labels,
            name=sample.name,
            scale=self.scale_of(height, width, mpp),
            seed=seed,
            ignore=ignore,
        )
        return self.prepare(sample.image, mpp), target
