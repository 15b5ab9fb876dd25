"""Random augmentation of training samples (whole images: `preprocessing`).

    recipe = Recipe(crop=(0.5, 0.5), resize=Resize(short=608, long=800), saturation=(0.5, 2.0))
    image, target = recipe(sample, seed=7)          # (3, h, w) uint8 RGB, boxes and planes in its pixels

Boxes are never transformed: they are measured on the transformed label-map planes.
"""

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Annotated, Any

from pydantic import Field
from torch import Tensor

from nucleiseg.settings import Accepts, AsTuple, Settings, Share, settings
from nucleiseg.structures import Sample, Target
from nucleiseg.transforms.geometry import Ascending, Crop, Shape, crop_shape, resize_scale, to_tensor
from nucleiseg.transforms.pipeline import Pipeline
from nucleiseg.transforms.preprocessing import LARGEST_SIDE, Preprocessing
from nucleiseg.transforms.targets import make_target, planes_of, split_planes

Range = tuple[float, float]
"""Lowest and highest value of a uniform distribution."""

MOST_SATURATION = 100.0
"""Every color is at the border of RGB from a factor of 255 on; the study went to 10."""

MOST_JITTER = 20.0
"""Factor on a crop's size at which a nucleus of 20 pixels would be shown with one."""


MOST_EXTRA = 50
"""Transforms that a user adds: each takes time in every step."""


@settings
class Resize(Settings):
    """The shortest-edge rule of the crop.

    Attributes:
        short: pixels of the crop's shorter side, unless ...
        long: ... the longer one would then have more than this.
    """

    short: Annotated[int, Field(ge=1, le=LARGEST_SIDE)] = 608
    long: Annotated[int, Field(ge=1, le=LARGEST_SIDE)] = 800

    def contradictions(self, at: str) -> Iterator[str]:
        """Yield a sentence if the shorter side is to be the longer one; see `Settings`."""
        if self.short > self.long:
            yield f"{at}short is {self.short}; it accepts at most the {self.long} of {at}long."


@settings
class Recipe(Settings):
    """Random augmentation of a training sample: crop, resize, color, turns and flips, in this order.

    The defaults are those of the study that this project reproduces, without saturation. Calling it with the same
    sample and seed gives the same result, whatever was called before and in whatever process.

    Attributes:
        crop: (height, width) of a random crop, in shares of the image's sides (float) or pixels (int); None: none.
        resize: size to which the crop is brought.
        saturation: range of a factor on each pixel's distance from its gray; None: off.
        hflip: probability of a left-right flip.
        vflip: probability of a top-bottom flip.
        quarter_turns: turn by 0, 90, 180 or 270 degrees, each equally often.
        scale_jitter: range of a factor on the crop's size. As every crop is resized to the same size, nuclei appear
            larger by its inverse. None: off.
        brightness: every level is shifted by up to this share of 255.
        contrast: every level is multiplied by a factor within 1 +- this.
        stain_jitter: the amount of each stain is multiplied by a factor within 1 +- this.
        min_area: nuclei with fewer pixels than this after all geometry are dropped.
        extra: further Albumentations transforms, after all others: `_target_` (albumentations.GaussianBlur) and keyword
            arguments of each. Check those of a file with `extra.check_extra` first: they are made at the first call.
    """

    crop: Crop | None = (0.5, 0.5)
    resize: Resize = Resize()
    saturation: (
        Annotated[
            tuple[Annotated[float, Field(ge=0, le=MOST_SATURATION)], Annotated[float, Field(ge=0, le=MOST_SATURATION)]],
            AsTuple,
            Ascending,
            Accepts(f"[lowest, highest], from 0 to {MOST_SATURATION:g}"),
        ]
        | None
    ) = None
    hflip: Share = 0.5
    vflip: Share = 0.0
    quarter_turns: bool = False
    scale_jitter: (
        Annotated[
            tuple[
                Annotated[float, Field(ge=1 / MOST_JITTER, le=MOST_JITTER)],
                Annotated[float, Field(ge=1 / MOST_JITTER, le=MOST_JITTER)],
            ],
            AsTuple,
            Ascending,
            Accepts(f"[lowest, highest], from {1 / MOST_JITTER:g} to {MOST_JITTER:g}"),
        ]
        | None
    ) = None
    brightness: Share = 0.0
    contrast: Share = 0.0
    stain_jitter: Share = 0.0
    min_area: Annotated[int, Field(ge=1, le=LARGEST_SIDE**2)] = 1
    extra: Annotated[
        tuple[dict[str, Any], ...],
        AsTuple,
        Field(max_length=MOST_EXTRA),
        Accepts(
            f"a list of up to {MOST_EXTRA} transforms, each with _target_ (albumentations.GaussianBlur) and arguments"
        ),
    ] = ()

    @cached_property
    def _pipeline(self) -> Pipeline:
        return Pipeline(
            crop=self.crop,
            scale_jitter=self.scale_jitter,
            resize=(self.resize.short, self.resize.long),
            saturation=self.saturation,
            brightness=self.brightness,
            contrast=self.contrast,
            stain_jitter=self.stain_jitter,
            quarter_turns=self.quarter_turns,
            hflip=self.hflip,
            vflip=self.vflip,
            extra=self.extra,
        )

    def crop_shape(self, height: int, width: int) -> Shape:
        """Return the size of the crop of an image, in the image's pixels, without jitter."""
        return crop_shape(height, width, self.crop or (1.0, 1.0))

    def nominal_scale(self, height: int, width: int) -> float:
        """Return network pixels per source pixel of an image of this size, without jitter."""
        return resize_scale(*self.crop_shape(height, width), self.resize.short, self.resize.long)

    def preprocessing(self, sizes: Iterable[Shape], bits: int | None, mpp: float | None) -> Preprocessing:
        """Return how whole images are shown to a network that was trained with this recipe.

        Args:
            sizes: (height, width) of the data's images in source pixels; at least one.
            bits: the camera's bits per pixel, as the data were decoded.
            mpp: micrometers per pixel of the data; None: unknown.
        """
        return Preprocessing.of_training(self.crop, self.resize.short, self.resize.long, sizes, bits, mpp)

    def __call__(self, sample: Sample, seed: int) -> tuple[Tensor, Target]:
        """Augment one sample.

        Args:
            sample: image and planes; may be read-only or mapped from a file.
            seed: not negative; decides every random number.

        Returns:
            (3, h, w) uint8 RGB and the target in its pixels.
        """
        image, planes, window = self._pipeline(sample.image, planes_of(sample), seed, sample.zoom)
        shrink = min(sample.zoom, 1.0)
        layers, ignore = split_planes(planes, sample)
        target = make_target(
            layers,
            sample.layer_index,
            sample.labels,
            min_area=self.min_area,
            name=sample.name,
            scale=resize_scale(*window, self.resize.short * shrink, self.resize.long * shrink),
            seed=seed,
            ignore=ignore,
        )
        return to_tensor(image), target
