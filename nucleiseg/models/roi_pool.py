"""RoIAlign over feature maps, with detectron2's conventions or torchvision's; RoIPool, for comparison."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torchvision.ops import MultiScaleRoIAlign, roi_align, roi_pool

from nucleiseg.models.config import RoIOperation
from nucleiseg.models.numerics import DETECTRON2, Numerics
from nucleiseg.models.roi_gather import gather_rois

CANONICAL_SIZE = 224
"""Network pixels; a RoI of this side belongs to `CANONICAL_LEVEL` (the side of an ImageNet crop)."""

CANONICAL_LEVEL = 4
"""p4, the map of stride 16, from which the single-map Faster R-CNN pools everything."""


def assign_levels(boxes: Tensor, lowest: int, highest: int, numerics: Numerics = DETECTRON2) -> Tensor:
    """Choose the map of a feature pyramid that each RoI is pooled from.

    floor(4 + log2(sqrt(area) / 224)) of Lin et al. 2017, equation 1, clamped to the maps there are. Both libraries
    guard against rounding just below a whole number: detectron2 adds 1e-8 inside the logarithm (so that an empty
    box has one, too), torchvision 1e-6 outside.

    Args:
        boxes: (N, 4) x1, y1, x2, y2 in network pixels.
        lowest: level of the finest map (2 for p2, of stride 4).
        highest: level of the coarsest map.
        numerics: whose guard to use.

    Returns:
        (N,) int64 index of the map, 0 for the finest.
    """
    side = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sqrt()
    if numerics.level_eps_inside_log:
        level = torch.floor(CANONICAL_LEVEL + torch.log2(side / CANONICAL_SIZE + 1e-8))
    else:
        level = torch.floor(CANONICAL_LEVEL + torch.log2(side / CANONICAL_SIZE) + 1e-6)
    return level.clamp(lowest, highest).long() - lowest


class RoIPool(MultiScaleRoIAlign):
    """torchvision's pooler with what detectron2's "ROIAlignV2" does otherwise.

    - RoIs are shifted by half a pixel (`aligned`), so that a RoI's corner lies between pixel centers, and very
      small RoIs keep their size; torchvision's networks round them up to one cell of the map.
    - Each bin averages as many samples as it covers cells (sampling ratio 0); torchvision's networks take 2 x 2.
    - The scale is 1 / nominal stride, under both numerics: torchvision guesses the power of two from the shapes of
      the first batch, which is the same but for images of a few dozen pixels, where it guesses wrongly.

    Args:
        feature_names: names of the maps to pool from, the finest first.
        strides: their strides in network pixels.
        output_size: side of the pooled grid.
        operation: `align`, or `pool` for the RoIPool of Fast R-CNN (Girshick 2015): the maximum over bins whose
            borders are rounded to cells of the map. Mask targets do not round, so that masks shift by up to half a
            cell: what RoIAlign was invented against (He et al. 2017, section 3).
        numerics: whose conventions to follow.
    """

    def __init__(
        self,
        *,
        feature_names: Sequence[str],
        strides: Sequence[int],
        output_size: int,
        operation: RoIOperation = "align",
        numerics: Numerics = DETECTRON2,
    ) -> None:
        super().__init__(list(feature_names), output_size, numerics.roi_align_sampling_ratio)
        self.strides = tuple(strides)
        self.scales = [1 / stride for stride in strides]
        self.operation = operation
        self.numerics = numerics

    def forward(
        self,
        features: Mapping[str, Tensor],
        boxes: Sequence[Tensor],
        image_sizes: Sequence[tuple[int, int]] | None = None,
        *,
        every: int = 1,
    ) -> Tensor:
        """Pool every RoI from its map.

        Args:
            features: name -> (B, C, h, w) maps, all of the same C.
            boxes: B tensors (N_b, 4) x1, y1, x2, y2 in network pixels.
            image_sizes: ignored (torchvision's signature): strides are nominal.
            every: return each so-manieth bin alone along both axes, from the first on.

        Returns:
            (sum of N_b, C, n, n) with n = output_size (divided by `every`, rounded up), the images' RoIs one after
            the other.
        """
        maps = [features[name] for name in self.featmap_names]
        everything = torch.cat(list(boxes))
        image = torch.cat([box.new_full((len(box), 1), index) for index, box in enumerate(boxes)])
        rois = torch.cat([image, everything], dim=1)
        if len(maps) == 1:
            return self._pool(maps[0], rois, self.scales[0], every)
        lowest = self.strides[0].bit_length() - 1  # stride 2^k is level k
        levels = assign_levels(everything, lowest, lowest + len(maps) - 1, self.numerics)
        order = levels.argsort(stable=True)
        counts = (levels[:, None] == torch.arange(len(maps), device=levels.device)).sum(dim=0).tolist()
        pooled = [
            # Under autocast the maps may differ in dtype; all RoIs go into one tensor.
            self._pool(feature_map, chosen, scale, every).to(maps[0].dtype)
            for feature_map, chosen, scale in zip(maps, rois[order].split(counts), self.scales, strict=True)
        ]
        # from the order of the maps back to that of the RoIs; channels stay last in memory
        rows = torch.cat([part.permute(0, 2, 3, 1) for part in pooled])
        return rows.flatten(1).index_select(0, order.argsort()).view(rows.shape).permute(0, 3, 1, 2)

    def _pool(self, feature_map: Tensor, rois: Tensor, scale: float, every: int) -> Tensor:
        if self.operation == "pool":
            # In float32: torchvision casts for autocast on GPUs alone. A maximum loses nothing on the way back.
            pooled = roi_pool(feature_map.float(), rois.float(), self.output_size, scale).to(feature_map.dtype)
            return pooled[:, :, ::every, ::every]
        aligned, size = self.numerics.roi_align_aligned, self.output_size[0]
        if feature_map.is_cuda:
            pooled = roi_align(feature_map, rois, self.output_size, scale, self.sampling_ratio, aligned)
            return pooled[:, :, ::every, ::every]
        pooled = gather_rois(
            feature_map,
            rois,
            size=size,
            scale=scale,
            sampling_ratio=self.sampling_ratio,
            aligned=aligned,
            every=every,
        )
        return pooled.permute(0, 3, 1, 2).to(feature_map.dtype)
