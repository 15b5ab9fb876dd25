"""The region proposal network: torchvision's modules with detectron2's proposals, matching and losses."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import clip_boxes_to_image

from nucleiseg.models.anchor_grid import AnchorGrid
from nucleiseg.models.anchor_sampler import AnchorOrigin, AnchorSampler, SamplingRule, sample_anchors
from nucleiseg.models.anchors import GridAnchorGenerator
from nucleiseg.models.box_coding import decode_boxes, encode_boxes
from nucleiseg.models.loss_normalizers import loss_normalizers
from nucleiseg.models.nms import best_of_each
from nucleiseg.models.numerics import DETECTRON2, Numerics
from nucleiseg.models.proposals import Proposals, in_anchor_order, top_of_levels, usable_of_image
from nucleiseg.structures import AnchorSample, Target


class ProposalNetwork(RegionProposalNetwork):
    """torchvision's RPN with detectron2's proposals, sparse matching and seeded sampling; weights keep their names.

    - Candidates are chosen by logit first and decoded afterwards: the same boxes, a fraction of the work.
    - Ranking, smallest boxes and the losses' divisors follow `numerics`.
    - Anchors are matched sparsely, and only sampled positives get regression targets.
    - Sampling depends on each target's seed alone, so a loader's worker can do them (`AnchorSampler`).

    Args:
        anchor_generator: the anchors.
        head: torchvision's RPNHead (3x3 convolution, then two 1x1), weights from N(0, 0.01), biases 0.
        numerics: numerical conventions to follow.
        batch_size: anchors sampled an image for the losses.
        positive_fraction: largest share of positives among them.
        positive_iou: anchors with at least this IoU with an instance are positive.
        negative_iou: anchors are negative below this IoU with all instances.
        nms: of two proposals of a level with a larger IoU, the one of lower logit is dropped.
        pre_nms_train: candidates of each level before suppression, in training.
        pre_nms_test: the same in prediction.
        post_nms_train: proposals of an image after it, in training.
        post_nms_test: the same in prediction.
        smooth_l1_beta: where the box loss turns from square to absolute; None takes the value of `numerics`.
    """

    def __init__(
        self,
        *,
        anchor_generator: GridAnchorGenerator,
        head: RPNHead,
        numerics: Numerics = DETECTRON2,
        batch_size: int = 256,
        positive_fraction: float = 0.5,
        positive_iou: float = 0.7,
        negative_iou: float = 0.3,
        nms: float = 0.7,
        pre_nms_train: int = 2000,
        pre_nms_test: int = 1000,
        post_nms_train: int = 1000,
        post_nms_test: int = 1000,
        smooth_l1_beta: float | None = None,
    ) -> None:
        super().__init__(
            anchor_generator,
            head,
            fg_iou_thresh=positive_iou,
            bg_iou_thresh=negative_iou,
            batch_size_per_image=batch_size,
            positive_fraction=positive_fraction,
            pre_nms_top_n={"training": pre_nms_train, "testing": pre_nms_test},
            post_nms_top_n={"training": post_nms_train, "testing": post_nms_test},
            nms_thresh=nms,
        )
        self.numerics = numerics
        self.rule = SamplingRule(batch_size, positive_fraction, positive_iou, negative_iou)
        self.smooth_l1_beta = numerics.rpn_smooth_l1_beta if smooth_l1_beta is None else smooth_l1_beta

    def forward(
        self, images: ImageList, features: dict[str, Tensor], targets: Sequence[Target] | None = None
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Propose boxes, and compute the losses where targets are given.

        With targets the limits of training hold in eval mode too, so that validation losses are comparable with
        training losses.

        Args:
            images: the padded batch (N, 3, H, W) with the unpadded sizes.
            features: maps (N, C, h, w) by name, one for each level of anchors.
            targets: one for each image.

        Returns:
            For each image (P, 4) float32 boxes in descending logit, without gradient; and the losses
            `loss_rpn_cls` and `loss_rpn_loc` (empty without targets).

        Raises:
            FloatingPointError: with targets, if proposals are not finite; without targets they are dropped.
        """
        height, width = images.tensors.shape[-2:]
        maps = list(features.values())
        grid = self.anchor_generator.grid((height, width), maps)
        anchors = grid.boxes()
        logits, deltas = self.predict(maps)
        proposals = self.proposals(grid, anchors, logits, deltas, images.image_sizes, training=targets is not None)
        losses = {} if targets is None else self.losses(grid, anchors, logits, deltas, targets)
        return [boxes for boxes, _ in proposals], losses

    def predict(self, maps: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Run the head.

        Args:
            maps: one (N, C, h, w) map for each level.

        Returns:
            Logits (N, B) and deltas (N, B, 4), both float32, for the B anchors in their order.
        """
        logits, deltas = self.head(maps)
        return in_anchor_order(logits, 1)[..., 0], in_anchor_order(deltas, 4)

    @torch.no_grad()
    def proposals(
        self,
        grid: AnchorGrid,
        anchors: Tensor,
        logits: Tensor,
        deltas: Tensor,
        image_sizes: Sequence[tuple[int, int]],
        *,
        training: bool,
    ) -> list[Proposals]:
        """Turn the head's outputs into proposals.

        Args:
            grid: where the anchors lie.
            anchors: `grid.boxes()`, (B, 4).
            logits: (N, B) float32.
            deltas: (N, B, 4) float32.
            image_sizes: unpadded (height, width) of each image.
            training: the limits of training hold, and boxes that are not finite are an error.
        """
        mode = "training" if training else "testing"
        index, levels = top_of_levels(logits, grid.counts, self._pre_nms_top_n[mode])
        logits = logits.gather(1, index)
        deltas = deltas.gather(1, index[..., None].expand(-1, -1, 4))
        boxes = decode_boxes(deltas.flatten(0, 1), anchors[index.flatten()]).view_as(deltas)
        finite = boxes.isfinite().all(dim=2) & logits.isfinite()
        boxes = torch.stack(
            [clip_boxes_to_image(of_image, size) for of_image, size in zip(boxes, image_sizes, strict=True)]
        )
        # detectron2 drops boxes without an area, torchvision those below a size: `numerics` holds the limit
        shorter = (boxes[..., 2:] - boxes[..., :2]).amin(dim=-1)
        least = self.numerics.rpn_min_size
        usable = finite & (shorter >= least if self.numerics.rpn_min_size_inclusive else shorter > least)
        finites, *usables = torch.cat([finite.sum()[None], usable.sum(dim=1)]).tolist()  # the only synchronization
        if training and finites < finite.numel():
            raise FloatingPointError(
                f"{finite.numel() - finites} of {finite.numel()} proposals are not finite: training has diverged. "
                "Lower the learning rate or lengthen the warm-up, and resume from the last good checkpoint."
            )
        proposals = []
        for i, count in enumerate(usables):
            own, scores, places = usable_of_image(boxes[i], logits[i], levels, usable[i], count)
            ranks = scores.sigmoid() if self.numerics.rpn_nms_on_probabilities else scores
            kept = best_of_each(own, ranks, places, self.nms_thresh, self._post_nms_top_n[mode])
            proposals.append(Proposals(own[kept], scores[kept]))
        return proposals

    def losses(
        self, grid: AnchorGrid, anchors: Tensor, logits: Tensor, deltas: Tensor, targets: Sequence[Target]
    ) -> dict[str, Tensor]:
        """Compute binary cross-entropy of the sampled anchors and (smooth) L1 of the positive ones among them.

        Args:
            grid: where the anchors lie.
            anchors: `grid.boxes()`, (B, 4).
            logits: (N, B) float32.
            deltas: (N, B, 4) float32.
            targets: one for each image.

        Returns:
            Scalars `loss_rpn_cls` and `loss_rpn_loc`: sums divided by what `Numerics.rpn_loss_over_constant` selects.
        """
        sampled_logits, classes, sampled_deltas, wanted_deltas = [], [], [], []
        for image_logits, image_deltas, target in zip(logits, deltas, targets, strict=True):
            sample = self.sample(grid, anchors, target)
            positive, negative = sample.positive, sample.negative
            sampled_logits += [image_logits[positive], image_logits[negative]]
            classes += [image_logits.new_ones(len(positive)), image_logits.new_zeros(len(negative))]
            sampled_deltas.append(image_deltas[positive])
            wanted_deltas.append(encode_boxes(target.boxes[sample.gt], anchors[positive]))
        sampled = torch.cat(sampled_logits)
        divisor: Tensor | int = self.rule.batch_size * len(targets)
        if not self.numerics.rpn_loss_over_constant:
            [divisor] = loss_normalizers((len(sampled),), sampled.device, training=self.training)
        cls = F.binary_cross_entropy_with_logits(sampled, torch.cat(classes), reduction="sum")
        loc = F.smooth_l1_loss(
            torch.cat(sampled_deltas), torch.cat(wanted_deltas), reduction="sum", beta=self.smooth_l1_beta
        )
        return {"loss_rpn_cls": cls / divisor, "loss_rpn_loc": loc / divisor}

    def sample(self, grid: AnchorGrid, anchors: Tensor, target: Target) -> AnchorSample:
        """Choose the anchors of one image to train on: those that its target holds, if they fit, or new ones.

        Args:
            grid: where the anchors lie.
            anchors: `grid.boxes()`, (B, 4).
            target: the image's instances.
        """
        known = target.anchors
        if known is not None and known.origin == AnchorOrigin.of(grid, self.rule):
            return known
        return sample_anchors(grid, anchors, target, self.rule)

    def anchor_sampler(self, size_divisibility: int) -> AnchorSampler:
        """Return a sampler for the loader that samples anchors as this network does.

        Args:
            size_divisibility: sides of the padded input are multiples of this.
        """
        generator = self.anchor_generator
        return AnchorSampler(
            generator.cells, generator.strides, generator.nominal_strides, size_divisibility, self.rule
        )
