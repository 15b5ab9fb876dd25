"""The grid of anchors of an input, described by a few numbers instead of all boxes.

Separate from the generator, so that a loader's workers need not import torchvision.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Anchor = tuple[float, ...]
"""x1, y1, x2, y2 around the origin, in pixels of the input."""

Cells = tuple[tuple[Anchor, ...], ...]
"""The anchors of a cell, for each level."""


@dataclass(frozen=True)
class AnchorGrid:
    """Positions of the anchors of one input, level by level.

    The anchor of level l, cell (row i, column j) and cell anchor a is `cell_anchors[l][a]` moved by
    (j * stride_x, i * stride_y). Anchors are numbered level by level, row by row, column by column, and the
    anchors of a cell follow one another.

    Attributes:
        cell_anchors: for each level (A, 4) float32 x1, y1, x2, y2 around the origin, in pixels of the input.
        strides: (vertical, horizontal) pixels of the input between two cells of each level.
        shapes: (height, width) of each level's map, in cells.
        cells: `cell_anchors` as Python numbers, to compare grids without waiting for a GPU.
    """

    cell_anchors: tuple[Tensor, ...]
    strides: tuple[tuple[int, int], ...]
    shapes: tuple[tuple[int, int], ...]
    cells: Cells

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


def cell_numbers(cell_anchors: Iterable[Tensor]) -> Cells:
    """Return (A, 4) cell anchors of each level as Python numbers."""
    return tuple(tuple(tuple(anchor) for anchor in level.tolist()) for level in cell_anchors)


def strides_between(
    nominal: Sequence[int] | None, input_size: tuple[int, int], shapes: Sequence[tuple[int, int]]
) -> tuple[tuple[int, int], ...]:
    """Return the (vertical, horizontal) pixels between two anchors of each level.

    Args:
        nominal: stride of each level; None derives it from the shapes, rounded down, as torchvision does.
        input_size: (height, width) of the padded input.
        shapes: (height, width) of each level's map.
    """
    if nominal is not None:
        return tuple((stride, stride) for stride in nominal)
    return tuple((input_size[0] // height, input_size[1] // width) for height, width in shapes)


def _spread(cell_anchors: Tensor, stride: tuple[int, int], shape: tuple[int, int]) -> Tensor:
    """Return the anchors of one level, (height * width * A, 4)."""
    y = torch.arange(shape[0], device=cell_anchors.device, dtype=cell_anchors.dtype) * stride[0]
    x = torch.arange(shape[1], device=cell_anchors.device, dtype=cell_anchors.dtype) * stride[1]
    grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
    corners = torch.stack((grid_x, grid_y, grid_x, grid_y), dim=-1)
    return (corners[:, :, None] + cell_anchors).reshape(-1, 4)
