"""Sample the anchors of the RPN's losses in the loader's workers.

Matching anchors with instances takes hundreds of small operators, and on a GPU each of them is a launch. The result
depends on boxes, seed and padded size only, so a worker computes it while the device trains on earlier batches.

Imports torch only: a spawned worker should not wait for torchvision or the network.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple, Self

import torch
from torch import Tensor

from nucleiseg.models.anchor_grid import AnchorGrid, Cells, strides_between
from nucleiseg.models.ignore_regions import without_ignored
from nucleiseg.models.matching import match_anchors
from nucleiseg.models.sampling import Stream, image_generator, sample_balanced
from nucleiseg.structures import AnchorSample, Target


class SamplingRule(NamedTuple):
    """IoU thresholds and numbers of the sampled anchors; see `ProposalNetwork`."""

    batch_size: int
    positive_fraction: float
    positive_iou: float
    negative_iou: float


class AnchorOrigin(NamedTuple):
    """Everything beside the target that determines a sample: the Python numbers of `AnchorGrid`, and the rule."""

    cells: Cells
    strides: tuple[tuple[int, int], ...]
    shapes: tuple[tuple[int, int], ...]
    rule: SamplingRule

    @classmethod
    def of(cls, grid: AnchorGrid, rule: SamplingRule) -> Self:
        """Return the origin of a sample of `sample_anchors` with this grid and rule."""
        return cls(grid.cells, grid.strides, grid.shapes, rule)


def sample_anchors(grid: AnchorGrid, anchors: Tensor, target: Target, rule: SamplingRule) -> AnchorSample:
    """Match the anchors of an image with its instances, and sample some with its seed, none in ignore regions.

    Args:
        grid: where the anchors lie.
        anchors: `grid.boxes()`, (B, 4).
        target: the image's instances, on the anchors' device.
        rule: which anchors, and how many.
    """
    matches = match_anchors(grid, anchors, target.boxes, high=rule.positive_iou, low=rule.negative_iou)
    generator = image_generator(target.seed, Stream.RPN)
    label = without_ignored(matches.label, anchors, target.ignore)
    positive, negative = sample_balanced(label, rule.batch_size, rule.positive_fraction, generator)
    return AnchorSample(positive, negative, matches.gt[positive], AnchorOrigin.of(grid, rule))


@dataclass(frozen=True)
class AnchorSampler:
    """Samples the anchors of a batch as the network would: `MaskRCNN.anchor_sampler` makes it.

    It has no state and holds Python numbers only, so it can be pickled for spawned workers.

    Attributes:
        cells: as in `AnchorGrid`.
        strides: nominal stride of each level, in pixels of the input. A map has ceil(side / stride) cells along an
            axis in every family: each halving, by convolution or pooling, rounds up.
        has_nominal_strides: anchors lie at multiples of `strides`; else as `strides_between` computes.
        size_divisibility: sides of the padded input are multiples of this.
        rule: which anchors, and how many.
    """

    cells: Cells
    strides: tuple[int, ...]
    has_nominal_strides: bool
    size_divisibility: int
    rule: SamplingRule

    def __call__(self, images: Sequence[Tensor], targets: Sequence[Target]) -> list[Target]:
        """Return the targets with `anchors`; one without a seed is returned unchanged, and the network samples for it.

        Args:
            images: (3, h, w) of any sizes: the whole batch, since the largest sides determine the padding.
            targets: one for each image, on the CPU.
        """
        grid = self.grid([(image.shape[1], image.shape[2]) for image in images])
        anchors = _boxes(grid.cells, grid.strides, grid.shapes)
        return [
            target if target.seed is None else replace(target, anchors=sample_anchors(grid, anchors, target, self.rule))
            for target in targets
        ]

    def grid(self, sizes: Sequence[tuple[int, int]]) -> AnchorGrid:
        """Return where the anchors of a batch of images of these (height, width) will lie."""
        multiple = self.size_divisibility
        height, width = (-(-max(sides) // multiple) * multiple for sides in zip(*sizes, strict=True))
        shapes = tuple((-(-height // stride), -(-width // stride)) for stride in self.strides)
        nominal = self.strides if self.has_nominal_strides else None
        return _grid(self.cells, strides_between(nominal, (height, width), shapes), shapes)


def _grid(cells: Cells, strides: tuple[tuple[int, int], ...], shapes: tuple[tuple[int, int], ...]) -> AnchorGrid:
    return AnchorGrid(tuple(torch.tensor(level, dtype=torch.float32) for level in cells), strides, shapes, cells)


@lru_cache(maxsize=2)  # most batches of a run have one size; the 92,355 anchors of 608 x 608 pixels take 4 ms
def _boxes(cells: Cells, strides: tuple[tuple[int, int], ...], shapes: tuple[tuple[int, int], ...]) -> Tensor:
    """Return `AnchorGrid.boxes()`, which must not be changed in place."""
    return _grid(cells, strides, shapes).boxes()
