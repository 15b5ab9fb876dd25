"""Configuration of detectron2 that reproduces a network of nucleiseg."""

import json
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from textwrap import dedent
from typing import Any

from nucleiseg.models.backbones.resnet import RESNETS
from nucleiseg.models.config import ModelConfig
from nucleiseg.models.pretrained_defaults import resolved

BASES = {
    "c4": "mask_rcnn_R_50_C4_3x",
    "dc5": "mask_rcnn_R_50_DC5_3x",
    "fpn": "mask_rcnn_R_50_FPN_3x",
}
"""Base files in detectron2's `configs/COCO-InstanceSegmentation`, for every backbone."""

NORMS = {"frozen_bn": "FrozenBN", "bn": "BN", "gn": "GN"}


def detectron2_settings(config: ModelConfig, num_classes: int) -> dict[str, Any]:
    """Return the keys of detectron2's configuration that differ from its base file, in dotted form.

    Args:
        config: of a network in detectron2's numerics.
        num_classes: foreground classes.
    """
    config = resolved(config)
    assert config.norm is not None
    assert config.pixel_mean is not None
    assert config.pixel_std is not None
    spec, fpn = RESNETS[config.backbone], config.family == "fpn"
    per_map = fpn and not config.anchors.every_level
    sizes = [[size] for size in config.anchors.sizes] if per_map else [list(config.anchors.sizes)]
    pooler = "ROIAlignV2" if config.roi_pool == "align" else "ROIPool"
    settings = {
        "MODEL.PIXEL_MEAN": list(reversed(config.pixel_mean)),
        "MODEL.PIXEL_STD": list(reversed(config.pixel_std)),
        "MODEL.RESNETS.DEPTH": spec.layers,
        "MODEL.RESNETS.NUM_GROUPS": spec.groups,
        "MODEL.RESNETS.WIDTH_PER_GROUP": spec.width_per_group,
        "MODEL.RESNETS.RES2_OUT_CHANNELS": spec.res2_channels,
        "MODEL.RESNETS.STRIDE_IN_1X1": bool(config.stride_in_1x1),
        "MODEL.RESNETS.NORM": NORMS[config.norm],
        "MODEL.BACKBONE.FREEZE_AT": config.freeze_at,
        "MODEL.FPN.NORM": "GN" if config.norm == "gn" else "",
        "MODEL.FPN.OUT_CHANNELS": config.fpn_channels,
        "MODEL.ANCHOR_GENERATOR.SIZES": sizes,
        "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": [list(config.anchors.ratios)],
        "MODEL.RPN.PRE_NMS_TOPK_TRAIN": config.rpn.pre_nms_train,
        "MODEL.RPN.PRE_NMS_TOPK_TEST": config.rpn.pre_nms_test,
        "MODEL.RPN.POST_NMS_TOPK_TRAIN": config.rpn.post_nms_train,
        "MODEL.RPN.POST_NMS_TOPK_TEST": config.rpn.post_nms_test,
        "MODEL.RPN.NMS_THRESH": config.rpn.nms,
        "MODEL.ROI_HEADS.NUM_CLASSES": num_classes,
        "MODEL.ROI_HEADS.SCORE_THRESH_TEST": config.detection.score_threshold,
        "MODEL.ROI_HEADS.NMS_THRESH_TEST": config.detection.nms,
        "MODEL.ROI_BOX_HEAD.POOLER_TYPE": pooler,
        "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": config.roi.pool,
        "MODEL.ROI_BOX_HEAD.FC_DIM": config.roi.fc_dim,
        "MODEL.ROI_MASK_HEAD.POOLER_TYPE": pooler,
        "MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION": config.mask.pool,
        "MODEL.ROI_MASK_HEAD.NUM_CONV": config.mask.convs,
        "MODEL.ROI_MASK_HEAD.CONV_DIM": config.mask.channels,
        "TEST.DETECTIONS_PER_IMAGE": config.detection.limit,
    }
    return {key: value for key, value in settings.items() if value is not None}  # without effect in the family


def config_text(config: ModelConfig, weights: str, class_names: Sequence[str], scale: float) -> str:
    """Return the YAML file that goes with an exported network, and how to use it as a comment.

    Args:
        config: of the network.
        weights: name of the exported file.
        class_names: of the labels 1, 2, ...; detectron2 counts them from 0.
        scale: network pixels per pixel of the source images in training.
    """
    tree: dict[str, Any] = {}
    for key, value in detectron2_settings(config, len(class_names)).items():
        *groups, last = key.split(".")
        node = tree
        for group in groups:
            node = node.setdefault(group, {})
        node[last] = value
    base = f"COCO-InstanceSegmentation/{BASES[config.family]}.yaml"
    comment = f"""\
        Settings with which detectron2 computes what nucleiseg computes with {weights} ({config.name}):
          cfg = detectron2.config.get_cfg()
          cfg.merge_from_file(detectron2.model_zoo.get_config_file("{base}"))
          cfg.merge_from_file("{PurePath(weights).stem}.yaml")
          cfg.MODEL.WEIGHTS = "{weights}"
        Classes, from 0: {", ".join(class_names)}.
        Trained with images at {scale:.4g} times their size: INPUT.MIN_SIZE_TEST is their shorter side times that."""
    header = [f"# {line}" for line in dedent(comment).splitlines()]
    return "\n".join([*header, "", *_yaml(tree)]) + "\n"


def _yaml(tree: dict[str, Any], indent: str = "") -> Iterator[str]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield f"{indent}{key}:"
            yield from _yaml(value, indent + "  ")
        else:
            yield f"{indent}{key}: {json.dumps(value)}"  # YAML reads JSON's lists, numbers and strings
