"""The baseline: torchvision, pycocotools and Albumentations, combined in the usual way.

A list of binary masks for each image, `Compose(...)(image=, masks=)`, targets with masks of shape (N, H, W), full-size
soft masks from the network, cut at 0.5 and encoded one by one. The baseline is not handicapped: masks are kept decoded
in memory, and the networks freeze the same stages as nucleiseg's.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import albumentations as A
import numpy as np
import torch
from PIL import Image
from pycocotools import mask as coco_mask
from torch import Tensor, nn
from torchvision.models import resnet50
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNPredictor
from torchvision.ops import FrozenBatchNorm2d, MultiScaleRoIAlign

SIZES = (8, 16, 32, 64, 128)
RATIOS = (0.5, 1.0, 2.0)

FROZEN = partial(FrozenBatchNorm2d, eps=0.0)
"""Frozen batch normalization with torchvision's epsilon for its COCO weights."""

Example = tuple[Tensor, dict[str, Tensor]]
"""A (3, H, W) float32 image in 0 .. 1 and torchvision's target."""


class MaskListDataset(torch.utils.data.Dataset[Example]):
    """Images with lists of binary masks, augmented by Albumentations with the study's recipe.

    Args:
        images: (H, W, 3) uint8 RGB.
        masks: for each image a list of decoded (H, W) uint8 masks.
        crop: side of the random crop in pixels.
        size: side of the resized crop in pixels.
    """

    def __init__(
        self, images: Sequence[np.ndarray], masks: Sequence[list[np.ndarray]], crop: int = 500, size: int = 608
    ) -> None:
        self.images = images
        self.masks = masks
        self.augment = A.Compose(
            [
                A.RandomCrop(crop, crop),
                A.Resize(size, size),
                A.ColorJitter(brightness=(1, 1), contrast=(1, 1), saturation=(0.5, 2.0), hue=(0, 0), p=1),
                A.HorizontalFlip(p=0.5),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Example:
        return self.example(self.images[index], self.masks[index])

    def example(self, image: np.ndarray, masks: list[np.ndarray]) -> Example:
        """Augment one image with its masks."""
        augmented = self.augment(image=image, masks=masks)
        visible = [mask for mask in augmented["masks"] if mask.any()]
        boxes = []
        for mask in visible:
            rows, columns = np.where(mask)
            boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        pixels = torch.from_numpy(augmented["image"]).permute(2, 0, 1).float() / 255
        target = {
            "boxes": torch.tensor(np.array(boxes), dtype=torch.float32),
            "labels": torch.ones(len(visible), dtype=torch.int64),
            "masks": torch.from_numpy(np.stack(visible)),
        }
        return pixels, target


class MaskFilesDataset(MaskListDataset):
    """`MaskListDataset` that reads the image file and one file per mask each time.

    Args:
        images: paths of images.
        masks: for each image the paths of its masks.
        crop: as in `MaskListDataset`.
        size: as in `MaskListDataset`.
    """

    def __init__(self, images: Sequence[Path], masks: Sequence[list[Path]], crop: int = 500, size: int = 608) -> None:
        super().__init__([], [], crop, size)
        self.image_files = images
        self.mask_files = masks

    def __getitem__(self, index: int) -> Example:
        image = np.array(Image.open(self.image_files[index]).convert("RGB"))
        masks = [(np.array(Image.open(path)) > 0).astype(np.uint8) for path in self.mask_files[index]]
        return self.example(image, masks)


def build_fpn(side: int, detections: int = 500, proposals: int = 1000) -> MaskRCNN:
    """Build torchvision's Mask R-CNN R50-FPN with random weights; stem, res2 and all BatchNorm are frozen.

    Args:
        side: side of the square images in pixels; disables torchvision's resizing to 800.
        detections: limit per image.
        proposals: limit per image in prediction.
    """
    backbone = resnet_fpn_backbone(backbone_name="resnet50", weights=None, norm_layer=FROZEN, trainable_layers=3)
    anchors = AnchorGenerator(tuple((size,) for size in SIZES), (RATIOS,) * len(SIZES))
    return MaskRCNN(
        backbone,
        num_classes=2,
        rpn_anchor_generator=anchors,
        rpn_post_nms_top_n_test=proposals,
        box_detections_per_img=detections,
        min_size=side,
        max_size=side,
    )


def build_c4(side: int, detections: int = 500, proposals: int = 1000) -> MaskRCNN:
    """Build R50-C4 from torchvision's parts; res5 is the head for boxes and again for masks.

    Stem, res2 and all BatchNorm are frozen. See `build_fpn` for the arguments.
    """
    resnet = resnet50(weights=None, norm_layer=FROZEN)
    body = nn.Sequential(
        resnet.conv1, resnet.bn1, resnet.relu, resnet.maxpool, resnet.layer1, resnet.layer2, resnet.layer3
    )
    for part in body[:5]:
        part.requires_grad_(False)
    body.out_channels = 1024  # type: ignore[assignment]
    return MaskRCNN(
        body,
        rpn_anchor_generator=AnchorGenerator((SIZES,), (RATIOS,)),
        box_roi_pool=MultiScaleRoIAlign(["0"], output_size=14, sampling_ratio=2),
        box_head=nn.Sequential(resnet.layer4, nn.AdaptiveAvgPool2d(1)),
        box_predictor=FastRCNNPredictor(2048, 2),
        mask_roi_pool=MultiScaleRoIAlign(["0"], output_size=14, sampling_ratio=2),
        mask_head=resnet.layer4,
        mask_predictor=MaskRCNNPredictor(2048, 256, 2),
        rpn_post_nms_top_n_test=proposals,
        box_detections_per_img=detections,
        min_size=side,
        max_size=side,
    )


def encode(masks: Tensor) -> list[dict[str, object]]:
    """Threshold (N, 1, H, W) soft masks at 0.5 and encode them one by one."""
    results = []
    for mask in masks:
        binary = (mask[0] > 0.5).cpu().numpy()
        results.append(coco_mask.encode(np.asfortranarray(binary.astype(np.uint8))))
    return results
