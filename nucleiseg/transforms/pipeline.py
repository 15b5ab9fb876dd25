"""Random operations on Albumentations, behind which the library can be replaced in this file.

It sees an image and its label-map planes (as Albumentations' `masks`), never boxes.
"""

import os
import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nucleiseg.transforms.color import saturate, scale_stains
from nucleiseg.transforms.extra import join_words, make_extra, split_words
from nucleiseg.transforms.geometry import Crop, Shape, crop_shape, resize_image, resize_layers, resized_shape

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # importing a library must not call the network
import albumentations as A
from albumentations.core.type_definitions import Targets


class _RandomCrop(A.DualTransform):
    """Cut the same random window from the image and the planes, as views: only the window's pixels are read."""

    _targets = (Targets.IMAGE, Targets.MASK)

    def __init__(self, crop: Crop, scale_jitter: tuple[float, float] | None) -> None:
        super().__init__(p=1.0)
        self.crop = crop
        self.scale_jitter = scale_jitter
        self.zoom = 1.0
        self.window: Shape = (0, 0)  # (height, width) of the last crop, in source pixels

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        factor = self.random_generator.uniform(*self.scale_jitter) if self.scale_jitter else 1.0
        height, width = params["shape"][:2]
        self.window = crop_shape(height, width, self.crop, factor / max(self.zoom, 1.0))
        top = int(self.random_generator.integers(height - self.window[0] + 1))
        left = int(self.random_generator.integers(width - self.window[1] + 1))
        return {"rows": slice(top, top + self.window[0]), "columns": slice(left, left + self.window[1])}

    def apply(self, image: np.ndarray, rows: slice, columns: slice, **_: object) -> np.ndarray:
        return image[rows, columns]

    def apply_to_masks(self, planes: np.ndarray, rows: slice, columns: slice, **_: object) -> np.ndarray:
        return planes[:, rows, columns]


class _ShortestEdge(A.DualTransform):
    """Resize by detectron2's rule, with Pillow's pixels (see `transforms.geometry`)."""

    _targets = (Targets.IMAGE, Targets.MASK)

    def __init__(self, short: int, long: int) -> None:
        super().__init__(p=1.0)
        self.short = short
        self.long = long
        self.zoom = 1.0

    def apply(self, image: np.ndarray, **_: object) -> np.ndarray:
        return resize_image(image, self._shape(*image.shape[:2]))

    def apply_to_masks(self, planes: np.ndarray, **_: object) -> np.ndarray:
        return resize_layers(planes, self._shape(*planes.shape[1:]))

    def _shape(self, height: int, width: int) -> Shape:
        shrink = min(self.zoom, 1.0)
        return resized_shape(height, width, self.short * shrink, self.long * shrink)


class _Saturation(A.ImageOnlyTransform):
    """Saturation by a uniform factor."""

    def __init__(self, limits: tuple[float, float]) -> None:
        super().__init__(p=1.0)
        self.limits = limits

    def get_params(self) -> dict[str, Any]:
        return {"factor": self.random_generator.uniform(*self.limits)}

    def apply(self, image: np.ndarray, factor: float, **_: object) -> np.ndarray:
        return saturate(image, factor)


class _StainJitter(A.ImageOnlyTransform):
    """Amounts of hematoxylin, eosin and residue, each by its own uniform factor."""

    def __init__(self, strength: float) -> None:
        super().__init__(p=1.0)
        self.strength = strength

    def get_params(self) -> dict[str, Any]:
        return {"factors": self.random_generator.uniform(1 - self.strength, 1 + self.strength, size=3)}

    def apply(self, image: np.ndarray, factors: np.ndarray, **_: object) -> np.ndarray:
        return scale_stains(image, factors)


class Pipeline:
    """The operations of a recipe in their order; what is off is left out, so that it uses no random numbers.

    The arguments are fields of `Recipe`, explained there.
    """

    def __init__(
        self,
        *,
        crop: Crop | None,
        scale_jitter: tuple[float, float] | None,
        resize: tuple[int, int],
        saturation: tuple[float, float] | None,
        brightness: float,
        contrast: float,
        stain_jitter: float,
        quarter_turns: bool,
        hflip: float,
        vflip: float,
        extra: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self._crop = _RandomCrop(crop or (1.0, 1.0), scale_jitter)
        self._resize = _ShortestEdge(*resize)
        transforms = [self._crop, self._resize]
        if saturation is not None:
            transforms.append(_Saturation(saturation))
        if brightness or contrast:
            transforms.append(A.RandomBrightnessContrast(brightness, contrast, p=1.0))
        if stain_jitter:
            transforms.append(_StainJitter(stain_jitter))
        if quarter_turns:
            transforms.append(A.RandomRotate90(p=1.0))
        own = make_extra(extra, key="extra")
        self._has_extra = bool(own)
        self._compose = A.Compose([*transforms, A.HorizontalFlip(p=hflip), A.VerticalFlip(p=vflip), *own])

    def __call__(
        self, image: np.ndarray, layers: np.ndarray, seed: int, zoom: float = 1.0
    ) -> tuple[np.ndarray, np.ndarray, Shape]:
        """Transform an image and its planes alike.

        Args:
            image: (H, W, 3) uint8 RGB.
            layers: (L, H, W) uint16 or int32.
            seed: decides every random number of this call; earlier calls have no influence.
            zoom: factor on the scale. Above 1 the crop is smaller, below 1 the result, so that no crop is larger than
                the image and no result larger than those of other images.

        Returns:
            (h, w, 3) image, (L, h, w) planes, and (height, width) of the crop in pixels of the given image.
        """
        # One pair of generators for all operations. `set_random_seed` would give each operation generators of its
        # own with the same seed, so that all would sample the same numbers: never a left-right flip without a
        # top-bottom one.
        self._compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
        self._crop.zoom = self._resize.zoom = zoom
        is_split = self._has_extra and layers.dtype == np.int32
        augmented = self._compose(image=image, masks=split_words(layers) if is_split else layers)
        planes = join_words(augmented["masks"]) if is_split else np.asarray(augmented["masks"])
        return augmented["image"], planes, self._crop.window
