"""A whole image on its way to the network, in validation and prediction: resized, nothing random.

Apart from `recipe`, so that prediction does not wait for Albumentations.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from nucleiseg.structures import Sample, Target
from nucleiseg.transforms.geometry import Shape, resize_image, resize_layers, resized_shape, to_tensor
from nucleiseg.transforms.targets import make_target

NO_LIMIT = sys.maxsize
"""Length of the longer side that no image reaches."""


@dataclass(frozen=True, kw_only=True)
class WholeImage:
    """Resize of a whole image, without any random part, for validation and prediction.

    Attributes:
        scale: network pixels per source pixel, or a picklable function that gives them for an image's height and
            width (`Recipe.nominal_scale`: every image as training shows it); None (and `short` None): the image
            stays as it is.
        short: length of the shorter side instead of a scale, by the shortest-edge rule.
        long: the longer side is never longer than this many pixels; the scale is then less than asked for.

    Raises:
        ValueError: if both `scale` and `short` are given.
    """

    scale: float | Callable[[int, int], float] | None = None
    short: int | None = None
    long: int | None = None

    def __post_init__(self) -> None:
        if self.scale is not None and self.short is not None:
            raise ValueError(f"give either a scale ({self.scale}) or the shorter side ({self.short} pixels), not both")

    def nominal_scale(self, height: int, width: int) -> float:
        """Return network pixels per source pixel of an image of this size."""
        if self.short is not None:
            wanted = self.short / min(height, width)
        else:
            wanted = self.scale(height, width) if callable(self.scale) else self.scale or 1.0
        return wanted if self.long is None else min(wanted, self.long / max(height, width))

    def shape(self, height: int, width: int) -> Shape:
        """Return the (height, width) in which an image of this size is shown to the network."""
        if self.short is not None:
            return resized_shape(height, width, self.short, self.long or NO_LIMIT)
        scale = self.nominal_scale(height, width)
        return max(int(height * scale + 0.5), 1), max(int(width * scale + 0.5), 1)

    def __call__(self, sample: Sample, seed: int | None = None) -> tuple[Tensor, Target]:
        """Return (3, h, w) uint8 RGB and the target in its pixels; `seed` is only handed on to the target."""
        height, width = sample.image.shape[:2]
        shape = self.shape(height, width)
        target = make_target(
            resize_layers(sample.layers, shape),
            sample.layer_index,
            sample.labels,
            name=sample.name,
            scale=self.nominal_scale(height, width),
            seed=seed,
        )
        return to_tensor(resize_image(sample.image, shape)), target
