"""Normalize images and pad them to a batch."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from nucleiseg.structures import Target


class InputTransform(GeneralizedRCNNTransform):
    """Normalize, then pad to a batch. Resizing belongs to the augmentation and the predictor.

    torchvision resizes here, after normalizing, without antialiasing; detectron2 resizes the uint8 image before.

    Args:
        pixel_mean: RGB, 0 to 255.
        pixel_std: RGB.
        size_divisible: sides of the batch are rounded up to a multiple of this. FPN needs 32 (each map half the one
            below); detectron2 does not pad for C4 and DC5.
        unit_range: as in `Numerics`.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        size_divisible: int,
        unit_range: bool = False,
    ) -> None:
        self.white = 255.0 if unit_range else 1.0
        mean, std = ([value / self.white for value in values] for values in (pixel_mean, pixel_std))
        super().__init__(0, 0, mean, std, size_divisible)
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)

    def forward(
        self, images: list[Tensor], targets: list[Target] | None = None
    ) -> tuple[ImageList, list[Target] | None]:
        """Return the batch, zeros on the right and below where an image is smaller, and the targets as they are.

        Args:
            images: (3, h, w) uint8 or float RGB, 0 to 255.
            targets: boxes in pixels of these images, which are the network's.
        """
        for image in images:
            if image.dim() != 3 or image.shape[0] != 3:
                raise ValueError(f"images are (3, h, w) RGB tensors, not {tuple(image.shape)}")
        sizes = [(image.shape[1], image.shape[2]) for image in images]
        floats = [image if image.is_floating_point() else image.float() for image in images]
        scaled = floats if self.white == 1 else [image / self.white for image in floats]
        normalized = [self.normalize(image) for image in scaled]
        return ImageList(self.batch_images(normalized, self.size_divisible), sizes), targets

    def normalize(self, image: Tensor) -> Tensor:
        """Normalize with buffers: torchvision copies mean and deviation to the device each time, and waits for it."""
        return (image - self.mean) / self.std

    def __repr__(self) -> str:
        return f"InputTransform(mean={self.image_mean}, std={self.image_std}, size_divisible={self.size_divisible})"
