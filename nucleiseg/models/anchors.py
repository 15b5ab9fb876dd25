"""Anchors: boxes of a few sizes and shapes on every cell of every feature map.

The sparse matcher never needs them as an array: it reads the `AnchorGrid`, which says where they lie.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

from nucleiseg.errors import InputError
from nucleiseg.models.numerics import DETECTRON2, Numerics

RATIOS = (0.5, 1.0, 2.0)
"""Height / width of the anchors of each size (Ren et al. 2015)."""


@dataclass(frozen=True)
class AnchorGrid:
    """Where the anchors of one input lie, level by level.

    The anchor of level l, cell (row i, column j) and cell anchor a is `cell_anchors[l][a]` moved by
    (j * stride_x, i * stride_y). Anchors are numbered level by level, row by row, column by column, and the
    anchors of a cell follow one another.

    Attributes:
        cell_anchors: for each level (A, 4) float32 x1, y1, x2, y2 around the origin, in pixels of the input.
        strides: (vertical, horizontal) pixels of the input between two cells of each level.
        shapes: (height, width) of each level's map, in cells.
    """

    cell_anchors: tuple[Tensor, ...]
    strides: tuple[tuple[int, int], ...]
    shapes: tuple[tuple[int, int], ...]

    @property
    def counts(self) -> list[int]:
        """Number of anchors of each level."""
        return [
            height * width * len(cell) for (height, width), cell in zip(self.shapes, self.cell_anchors, strict=True)
        ]

    def boxes(self) -> Tensor:
        """Return all anchors, (sum of `counts`, 4) float32, in their order."""
        levels = zip(self.cell_anchors, self.strides, self.shapes, strict=True)
        return torch.cat([_spread(cell, stride, shape) for cell, stride, shape in levels])


def _spread(cell_anchors: Tensor, stride: tuple[int, int], shape: tuple[int, int]) -> Tensor:
    """Return the anchors of one level, (height * width * A, 4)."""
    y = torch.arange(shape[0], device=cell_anchors.device, dtype=cell_anchors.dtype) * stride[0]
    x = torch.arange(shape[1], device=cell_anchors.device, dtype=cell_anchors.dtype) * stride[1]
    grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
    corners = torch.stack((grid_x, grid_y, grid_x, grid_y), dim=-1)
    return (corners[:, :, None] + cell_anchors).reshape(-1, 4)


class GridAnchorGenerator(AnchorGenerator):
    """torchvision's anchor generator with detectron2's anchors, or its own.

    detectron2's are neither rounded nor ordered as torchvision's (see `Numerics.round_anchors`) and lie at
    multiples of the nominal stride. The centre of the first anchor is (0, 0) in both, the corner of the image.

    Args:
        sizes: for each level, the square roots of the anchors' areas, in pixels of the network's input.
        ratios: height / width of the anchors, the same for all levels.
        strides: nominal stride of each level, in pixels of the network's input.
        numerics: the conventions to follow.
    """

    def __init__(
        self,
        *,
        sizes: Sequence[Sequence[float]],
        strides: Sequence[int],
        ratios: Sequence[float] = RATIOS,
        numerics: Numerics = DETECTRON2,
    ) -> None:
        super().__init__(tuple(tuple(level) for level in sizes), (tuple(ratios),) * len(sizes))
        if len(sizes) != len(strides):
            raise ValueError(f"{len(sizes)} levels of anchor sizes, but {len(strides)} strides")
        self.strides = tuple(strides)
        self.nominal_strides = numerics.nominal_strides
        if not numerics.round_anchors:
            self.cell_anchors = [exact_cell_anchors(level, ratios) for level in sizes]

    def grid(self, image_shape: tuple[int, int], feature_maps: Sequence[Tensor]) -> AnchorGrid:
        """Describe the anchors for a batch.

        Args:
            image_shape: (height, width) of the padded batch.
            feature_maps: one (N, C, H, W) map for each level; shapes and device are read.
        """
        # float32 also under autocast: half precision cannot tell neighbouring anchors apart
        self.set_cell_anchors(torch.float32, feature_maps[0].device)
        shapes = tuple((int(level.shape[-2]), int(level.shape[-1])) for level in feature_maps)
        if self.nominal_strides:
            strides = tuple((stride, stride) for stride in self.strides)
        else:
            strides = tuple((image_shape[0] // height, image_shape[1] // width) for height, width in shapes)
        return AnchorGrid(tuple(self.cell_anchors), strides, shapes)

    def forward(self, image_list: ImageList, feature_maps: list[Tensor]) -> list[Tensor]:
        """Return the same (number of anchors, 4) float32 boxes for every image of the batch."""
        height, width = image_list.tensors.shape[-2:]
        boxes = self.grid((height, width), feature_maps).boxes()
        return [boxes] * len(image_list.image_sizes)


def exact_cell_anchors(sizes: Sequence[float], ratios: Sequence[float]) -> Tensor:
    """Return (sizes * ratios, 4) float32 boxes around the origin, unrounded, all ratios of the first size first.

    An anchor has area size^2 and height / width = ratio, hence width = sqrt(size^2 / ratio).
    """
    anchors = []
    for size in sizes:
        for ratio in ratios:
            width = math.sqrt(size**2 / ratio)
            height = ratio * width
            anchors.append([-width / 2, -height / 2, width / 2, height / 2])
    return torch.tensor(anchors, dtype=torch.float32)


def sizes_per_level(sizes: Sequence[float], levels: int, *, every_level: bool = False) -> tuple[tuple[float, ...], ...]:
    """Distribute anchor sizes over feature maps.

    Args:
        sizes: the sizes in pixels of the network's input, as in `model.anchors.sizes`.
        levels: number of feature maps, finest first.
        every_level: all sizes on each map. Otherwise a single map takes all sizes, and several take one each.

    Raises:
        InputError: as many sizes as maps are needed, and the numbers differ.
    """
    if every_level or levels == 1:
        return (tuple(sizes),) * levels
    if len(sizes) != levels:
        raise InputError(
            f"model.anchors.sizes has {len(sizes)} sizes ({', '.join(map(str, sizes))}), but this model has {levels} "
            f"feature maps: give {levels} sizes, one a map, or set model.anchors.every_level=true."
        )
    return tuple((size,) for size in sizes)
