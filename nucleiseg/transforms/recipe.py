"""What happens to a sample on its way to the network in training: random augmentation (elsewhere: `preprocessing`).

Boxes are never transformed: they are measured on the transformed label-map planes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from torch import Tensor

from nucleiseg.errors import InputError
from nucleiseg.structures import Sample, Target
from nucleiseg.transforms.geometry import Crop, Shape, crop_shape, resize_scale, to_tensor
from nucleiseg.transforms.pipeline import Pipeline
from nucleiseg.transforms.preprocessing import Preprocessing
from nucleiseg.transforms.settings import find_key_problems, find_problems
from nucleiseg.transforms.targets import make_target

Range = tuple[float, float]
"""Lowest and highest value of a uniform draw."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Random augmentation of a training sample: crop, resize, colour, flips and turns, in this order.

    The defaults are those of the study that this project reproduces, without saturation. Calling it with the same
    sample and seed gives the same result, whatever was called before and in whatever process.

    Attributes:
        crop: (height, width) of a random crop, in shares of the image's sides (float) or pixels (int); None: none.
        resize_short: the crop is resized so that its shorter side has this many pixels ...
        resize_long: ... and its longer side no more than this many.
        saturation: range of a factor on each pixel's distance from its grey; None: off.
        hflip: probability of a left-right flip.
        vflip: probability of a top-bottom flip.
        quarter_turns: turn by 0, 90, 180 or 270 degrees, each equally often.
        scale_jitter: range of a factor on the crop's size. As every crop is resized to the same size, nuclei appear
            larger by its inverse. None: off.
        brightness: every level is shifted by up to this share of 255.
        contrast: every level is multiplied by a factor within 1 +- this.
        stain_jitter: the amount of each stain is multiplied by a factor within 1 +- this.
        min_area: nuclei with fewer pixels than this after all geometry are dropped.

    Raises:
        InputError: a sentence for each setting out of its range, naming its key.
    """

    crop: Crop | None = (0.5, 0.5)
    resize_short: int = 608
    resize_long: int = 800
    saturation: Range | None = None
    hflip: float = 0.5
    vflip: float = 0.0
    quarter_turns: bool = False
    scale_jitter: Range | None = None
    brightness: float = 0.0
    contrast: float = 0.0
    stain_jitter: float = 0.0
    min_area: int = 1

    def __post_init__(self) -> None:
        if problems := find_problems({field.name: getattr(self, field.name) for field in fields(self)}):
            raise InputError(problems)

    @cached_property
    def _pipeline(self) -> Pipeline:
        return Pipeline(
            crop=self.crop,
            scale_jitter=self.scale_jitter,
            resize=(self.resize_short, self.resize_long),
            saturation=self.saturation,
            brightness=self.brightness,
            contrast=self.contrast,
            stain_jitter=self.stain_jitter,
            quarter_turns=self.quarter_turns,
            hflip=self.hflip,
            vflip=self.vflip,
        )

    def crop_shape(self, height: int, width: int) -> Shape:
        """Return the size of the crop of an image, in the image's pixels, without jitter."""
        return crop_shape(height, width, self.crop or (1.0, 1.0))

    def nominal_scale(self, height: int, width: int) -> float:
        """Return network pixels per source pixel of an image of this size, without jitter."""
        return resize_scale(*self.crop_shape(height, width), self.resize_short, self.resize_long)

    def preprocessing(self, sizes: Iterable[Shape], bits: int | None, mpp: float | None) -> Preprocessing:
        """Return how whole images are shown to a network that was trained with this recipe.

        Args:
            sizes: (height, width) of the data's images in source pixels; at least one.
            bits: the camera's bits per pixel, as the data were decoded.
            mpp: micrometers per pixel of the data; None: unknown.
        """
        return Preprocessing.of_training(self.crop, self.resize_short, self.resize_long, sizes, bits, mpp)

    def __call__(self, sample: Sample, seed: int) -> tuple[Tensor, Target]:
        """Augment one sample.

        Args:
            sample: image and planes; may be read-only or mapped from a file.
            seed: not negative; decides every random draw.

        Returns:
            (3, h, w) uint8 RGB and the target in its pixels.
        """
        image, layers, window = self._pipeline(sample.image, sample.layers, seed)
        target = make_target(
            layers,
            sample.layer_index,
            sample.labels,
            min_area=self.min_area,
            name=sample.name,
            scale=resize_scale(*window, self.resize_short, self.resize_long),
            seed=seed,
        )
        return to_tensor(image), target


def build_recipe(settings: Mapping[str, Any]) -> Recipe:
    """Build a recipe from the keys of `conf/aug/*.yaml`: those of `Recipe`, with `resize: {short, long}`.

    Args:
        settings: plain Python values; lists stand for pairs.

    Raises:
        InputError: a sentence for each key that is missing, unknown or out of its range.
    """
    keys = [field.name for field in fields(Recipe) if not field.name.startswith("resize_")]
    if problems := find_key_problems(settings, [*keys, "resize"]):
        raise InputError(problems)
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()
    }
    resize = values.pop("resize")
    return Recipe(resize_short=resize["short"], resize_long=resize["long"], **values)
