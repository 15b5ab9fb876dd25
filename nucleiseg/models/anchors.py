"""Anchors: boxes of a few sizes and shapes on every cell of every feature map.

The sparse matcher looks for them by formula: it reads the `AnchorGrid`, which says where they lie.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

from nucleiseg.errors import InputError
from nucleiseg.models.anchor_grid import Anchor, AnchorGrid, cell_numbers, strides_between
from nucleiseg.models.numerics import DETECTRON2, Numerics

RATIOS = (0.5, 1.0, 2.0)
"""Height / width of the anchors of each size (Ren et al. 2015)."""


class GridAnchorGenerator(AnchorGenerator):
    """torchvision's anchor generator with detectron2's anchors, or its own.

    detectron2's are neither rounded nor ordered as torchvision's (see `Numerics.round_anchors`) and lie at
    multiples of the nominal stride. The center of the first anchor is (0, 0) in both, the corner of the image.

    Args:
        sizes: for each level, the square roots of the anchors' areas, in pixels of the network's input.
        ratios: height / width of the anchors, the same for all levels.
        strides: nominal stride of each level, in pixels of the network's input.
        numerics: the conventions to follow.

    Attributes:
        cells: the anchors of a cell, as Python numbers.

    Examples:
        >>> generator = GridAnchorGenerator(sizes=[[8.0]], strides=[16], ratios=[1.0])
        >>> generator.grid((32, 32), [torch.zeros(1, 1, 2, 2)]).boxes().tolist()
        [[-4.0, -4.0, 4.0, 4.0], [12.0, -4.0, 20.0, 4.0], [-4.0, 12.0, 4.0, 20.0], [12.0, 12.0, 20.0, 20.0]]
    """

    cell_anchors: list[Tensor]

    def __init__(
        self,
        *,
        sizes: Sequence[Sequence[float]],
        strides: Sequence[int],
        ratios: Sequence[float] = RATIOS,
        numerics: Numerics = DETECTRON2,
    ) -> None:
        if len(sizes) != len(strides):
            raise ValueError(f"{len(sizes)} levels of anchor sizes, but {len(strides)} strides")
        super().__init__(tuple(tuple(level) for level in sizes), (tuple(ratios),) * len(sizes))
        if numerics.round_anchors:
            self.cells = cell_numbers(self.cell_anchors)
        else:
            self.cells = tuple(exact_cells(level, ratios) for level in sizes)
            self.cell_anchors = [torch.tensor(level) for level in self.cells]
        self.strides = tuple(strides)
        self.nominal_strides = numerics.nominal_strides

    def grid(self, image_shape: tuple[int, int], feature_maps: Sequence[Tensor]) -> AnchorGrid:
        """Describe the anchors for a batch.

        Args:
            image_shape: (height, width) of the padded batch.
            feature_maps: one (N, C, H, W) map for each level; shapes and device are read.
        """
        # float32 also under autocast: half precision cannot tell neighboring anchors apart
        self.set_cell_anchors(torch.float32, feature_maps[0].device)
        shapes = tuple((int(level.shape[-2]), int(level.shape[-1])) for level in feature_maps)
        strides = strides_between(self.strides if self.nominal_strides else None, image_shape, shapes)
        return AnchorGrid(tuple(self.cell_anchors), strides, shapes, self.cells)

    def forward(self, image_list: ImageList, feature_maps: list[Tensor]) -> list[Tensor]:
        """Return the same (number of anchors, 4) float32 boxes for every image of the batch."""
        height, width = image_list.tensors.shape[-2:]
        boxes = self.grid((height, width), feature_maps).boxes()
        return [boxes] * len(image_list.image_sizes)


def exact_cells(sizes: Sequence[float], ratios: Sequence[float]) -> tuple[Anchor, ...]:
    """Return the anchors of a level's cell, sizes * ratios of them, all ratios of the first size first.

    An anchor has area size^2 and height / width = ratio, hence width = sqrt(size^2 / ratio). They are not rounded to
    pixels; numbers are those of float32.
    """
    anchors = []
    for size in sizes:
        for ratio in ratios:
            width = math.sqrt(size**2 / ratio)
            height = ratio * width
            anchors.append((-width / 2, -height / 2, width / 2, height / 2))
    return tuple(map(tuple, np.array(anchors, np.float32).tolist()))


def sizes_per_level(sizes: Sequence[float], levels: int, *, every_level: bool = False) -> tuple[tuple[float, ...], ...]:
    """Distribute anchor sizes over feature maps.

    Args:
        sizes: the sizes in pixels of the network's input, as in `anchors.sizes`.
        levels: number of feature maps, finest first.
        every_level: all sizes on each map. Otherwise a single map takes all sizes, and several take one each.

    Raises:
        InputError: as many sizes as maps are needed, and the numbers differ.
    """
    if every_level or levels == 1:
        return (tuple(sizes),) * levels
    if len(sizes) != levels:
        raise InputError(
            f"anchors.sizes has {len(sizes)} sizes ({', '.join(map(str, sizes))}), but this model has {levels} "
            f"feature maps: give {levels} sizes, one a map, or set anchors.every_level=true."
        )
    return tuple((size,) for size in sizes)
