"""RoI heads: classes, refined boxes and masks of the proposals."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torchvision.models.detection.roi_heads import RoIHeads as TorchvisionRoIHeads
from torchvision.ops import batched_nms, clip_boxes_to_image, remove_small_boxes

from nucleiseg.models.box_coding import decode_boxes, encode_boxes
from nucleiseg.models.ignore_regions import without_ignored
from nucleiseg.models.loss_normalizers import loss_normalizers
from nucleiseg.models.losses import box_regression_loss, classification_loss, mask_loss
from nucleiseg.models.mask_targets import mask_targets
from nucleiseg.models.matching import match_boxes
from nucleiseg.models.numerics import DETECTRON2, Numerics
from nucleiseg.models.part_configs import DetectionConfig, RoIConfig
from nucleiseg.models.roi_pool import RoIPool
from nucleiseg.models.roi_samples import RoISamples, foreground_of
from nucleiseg.models.sampling import Stream, image_generator, sample_balanced
from nucleiseg.structures import Prediction, Target

Features = Mapping[str, Tensor]

BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
"""Scale of dx, dy, dw, dh in the box head's deltas: brings their spread near 1 (Girshick 2015)."""

CHUNK = 128
"""RoIs that pass the heads together in prediction: 100 MB of res4 features in C4, however many proposals."""


class RoIHeads(TorchvisionRoIHeads):
    """torchvision's RoI heads with `Target`s and `Prediction`s, sparse matching and detectron2's numerics.

    Differences from torchvision: instances come as label-map layers, masks stay in their boxes, losses are computed
    wherever targets are given (so that there is a validation loss), deltas are decoded only for candidates above
    the score threshold, and the conventions that `numerics` lists.

    Args:
        box_pool: RoIs for the box head.
        box_head: pooled RoIs to features.
        box_predictor: features to class logits and deltas.
        mask_pool: RoIs for the mask head.
        mask_head: pooled RoIs to features.
        mask_predictor: features to (N, K, M, M) logits.
        roi: sampling, and the box loss.
        detection: limits of a prediction; `score_thresh`, `nms_thresh` and `detections_per_img` may be set later.
        numerics: numerical conventions to follow.

    Attributes:
        detects_masks: False leaves the masks of predictions out, as (N, 0, 0): those of chosen boxes can be computed
            later by `masks`.
    """

    def __init__(
        self,
        *,
        box_pool: RoIPool,
        box_head: nn.Module,
        box_predictor: nn.Module,
        mask_pool: RoIPool,
        mask_head: nn.Module,
        mask_predictor: nn.Module,
        roi: RoIConfig,
        detection: DetectionConfig,
        numerics: Numerics = DETECTRON2,
    ) -> None:
        super().__init__(
            box_pool,
            box_head,
            box_predictor,
            fg_iou_thresh=roi.positive_iou,
            bg_iou_thresh=roi.positive_iou,
            batch_size_per_image=roi.batch_size,
            positive_fraction=roi.positive_fraction,
            bbox_reg_weights=BOX_WEIGHTS,
            score_thresh=detection.score_threshold,
            nms_thresh=detection.nms,
            detections_per_img=detection.limit,
            mask_roi_pool=mask_pool,
            mask_head=mask_head,
            mask_predictor=mask_predictor,
        )
        self.roi = roi
        self.numerics = numerics
        self.smooth_l1_beta = numerics.box_smooth_l1_beta if roi.smooth_l1_beta is None else roi.smooth_l1_beta
        self.detects_masks = True

    def forward(
        self,
        features: Features,
        proposals: list[Tensor],
        image_sizes: list[tuple[int, int]],
        targets: list[Target] | None = None,
    ) -> tuple[list[Prediction], dict[str, Tensor]]:
        """Train on the proposals where targets are given, else detect.

        Args:
            features: name -> (B, C, h, w) feature maps.
            proposals: B tensors (P, 4) of boxes in network pixels.
            image_sizes: (height, width) of each image before padding.
            targets: the instances of each image.

        Returns:
            Predictions in network pixels and no losses, or no predictions and `loss_cls`, `loss_box_reg` and
            `loss_mask`, not weighted.
        """
        if targets is None:
            images = enumerate(zip(proposals, image_sizes, strict=True))
            # one image at a time: (1, C, h, w) maps, so that memory does not grow with the batch
            return [
                self._detect({name: maps[index : index + 1] for name, maps in features.items()}, boxes, size)
                for index, (boxes, size) in images
            ], {}
        samples = [self.sample(boxes, target) for boxes, target in zip(proposals, targets, strict=True)]
        return [], self._losses(features, samples, targets)

    def sample(self, proposals: Tensor, target: Target) -> RoISamples:
        """Choose the RoIs of one image to train on, by its seed: from its proposals and its instances' own boxes.

        Proposals in ignore regions that match no instance are not chosen.

        Args:
            proposals: (P, 4) in network pixels.
            target: the image's instances. Their boxes take part so that there is foreground from the first step on.
        """
        boxes = torch.cat([proposals, target.boxes.to(proposals.dtype)])
        matches = match_boxes(boxes, target.boxes, high=self.roi.positive_iou, low=self.roi.positive_iou)
        generator = image_generator(target.seed, Stream.ROI)
        label = without_ignored(matches.label, boxes, target.ignore)
        positive, negative = sample_balanced(label, self.roi.batch_size, self.roi.positive_fraction, generator)
        rows, foreground = torch.cat([positive, negative]), len(positive)
        instances = matches.gt[rows]
        labels = torch.cat([target.labels[instances[:foreground]], torch.zeros_like(negative)])
        return RoISamples(boxes[rows], labels, instances, foreground)

    def _losses(self, features: Features, samples: list[RoISamples], targets: list[Target]) -> dict[str, Tensor]:
        box_features = self._box_features(features, [sample.boxes for sample in samples])
        class_logits, deltas = self.box_predictor(box_features)
        mask_logits = self.mask_predictor(self._training_mask_features(features, box_features, samples))
        labels = torch.cat([sample.labels for sample in samples])
        columns = self._columns(foreground_of(labels, samples))
        rows = torch.arange(len(columns), device=columns.device)
        deltas = foreground_of(_by_class(deltas), samples)[rows, columns]
        mask_logits = mask_logits[rows, columns]
        sampled, positive = loss_normalizers((len(labels), len(columns)), labels.device, training=self.training)
        delta_targets = self._delta_targets(samples, targets)
        masks = self._mask_targets(samples, targets, mask_logits.shape[-1])
        return {
            "loss_cls": classification_loss(class_logits, labels, sampled),
            "loss_box_reg": box_regression_loss(deltas, delta_targets, sampled, self.smooth_l1_beta),
            "loss_mask": mask_loss(mask_logits, masks, positive),
        }

    def _delta_targets(self, samples: list[RoISamples], targets: list[Target]) -> Tensor:
        """Return (F, 4): deltas from each foreground RoI to the box of its instance."""
        pairs = [
            (sample.boxes[: sample.foreground], target.boxes[sample.instances[: sample.foreground]])
            for sample, target in zip(samples, targets, strict=True)
        ]
        rois, boxes = (torch.cat(side) for side in zip(*pairs, strict=True))
        return encode_boxes(boxes.to(rois.dtype), rois, *BOX_WEIGHTS[::2])

    def _mask_targets(self, samples: list[RoISamples], targets: list[Target], size: int) -> Tensor:
        """Return (F, size, size): targets of the mask head for each foreground RoI."""
        return torch.cat(
            [
                mask_targets(
                    target,
                    sample.boxes[: sample.foreground],
                    sample.instances[: sample.foreground],
                    size,
                    aligned=self.numerics.roi_align_aligned,
                    binary=not self.numerics.soft_mask_targets,
                )
                for sample, target in zip(samples, targets, strict=True)
            ]
        )

    def _columns(self, labels: Tensor) -> Tensor:
        """Return the column of each foreground label in deltas and masks; the background may have one too."""
        return labels if self.numerics.background_deltas else labels - 1

    def _detect(self, features: Features, proposals: Tensor, size: tuple[int, int]) -> Prediction:
        """Detect in one image: `features` and `proposals` are its own."""
        outputs = [self.box_predictor(self._box_features(features, [boxes])) for boxes in proposals.split(CHUNK)]
        class_logits, deltas = (torch.cat(parts) for parts in zip(*outputs, strict=True))
        boxes, scores, labels = self.select(class_logits, deltas, proposals, size)
        return Prediction(
            boxes=boxes,
            scores=scores,
            labels=labels,
            masks=self.masks(features, boxes, labels) if self.detects_masks else boxes.new_zeros(len(boxes), 0, 0),
            size=size,
            pasting=self.numerics.pasting,
        )

    def masks(self, features: Features, boxes: Tensor, labels: Tensor) -> Tensor:
        """Compute the masks of boxes in one image, each of its own class.

        Args:
            features: name -> (1, C, h, w) feature maps of the image.
            boxes: (N, 4) in network pixels.
            labels: (N,) int64, 1 .. number of classes.

        Returns:
            (N, M, M) float32 probabilities on a regular grid over each box.
        """
        masks = []
        for chunk, of_chunk in zip(boxes.split(CHUNK), labels.split(CHUNK), strict=True):
            mask_logits = self.mask_predictor(self._mask_features(features, [chunk]))
            rows = torch.arange(len(chunk), device=labels.device)
            masks.append(mask_logits[rows, self._columns(of_chunk)].float().sigmoid())
        return torch.cat(masks)

    def select(
        self, class_logits: Tensor, deltas: Tensor, proposals: Tensor, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Choose the detections of one image.

        Every class of every proposal is a candidate. Only those above the threshold are decoded: of 1000 proposals
        of 80 classes, some hundreds instead of 80,000.

        Args:
            class_logits: (P, K + 1), background first.
            deltas: (P, 4K), or (P, 4(K + 1)) if the background has some.
            proposals: (P, 4) in network pixels.
            size: (height, width) of the image, which boxes are clipped to.

        Returns:
            Boxes (N, 4), scores (N,) and labels (N,), the best first.
        """
        probabilities = class_logits.float().softmax(dim=1)
        rows, columns = torch.where(probabilities[:, 1:] > self.score_thresh)
        labels = columns + 1
        scores = probabilities[rows, labels]
        chosen = _by_class(deltas.float())[rows, self._columns(labels)]
        boxes = clip_boxes_to_image(decode_boxes(chosen, proposals[rows], *BOX_WEIGHTS[::2]), size)
        usable = boxes.isfinite().all(dim=1)
        if self.numerics.detection_min_size > 0:
            large = torch.zeros_like(usable)
            large[remove_small_boxes(boxes, self.numerics.detection_min_size)] = True
            usable &= large
        boxes, scores, labels = boxes[usable], scores[usable], labels[usable]
        kept = batched_nms(boxes, scores, labels, self.nms_thresh)[: self.detections_per_img]
        return boxes[kept], scores[kept], labels[kept]

    def _box_features(self, features: Features, boxes: list[Tensor]) -> Tensor:
        return self.box_head(self.box_roi_pool(features, boxes))

    def _mask_features(self, features: Features, boxes: list[Tensor]) -> Tensor:
        return self.mask_head(self.mask_roi_pool(features, boxes))

    def _training_mask_features(self, features: Features, box_features: Tensor, samples: list[RoISamples]) -> Tensor:
        return self._mask_features(features, [sample.boxes[: sample.foreground] for sample in samples])


def _by_class(deltas: Tensor) -> Tensor:
    """Return deltas (P, 4 C) as (P, C, 4); P may be 0, with which no -1 can be inferred."""
    return deltas.reshape(len(deltas), deltas.shape[1] // 4, 4)
