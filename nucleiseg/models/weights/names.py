"""detectron2's names of a network's parameters, and Caffe2's of an ImageNet backbone.

    ours (torchvision's)                         detectron2's
    backbone.body.conv1, .bn1                    backbone.stem.conv1, .stem.conv1.norm
    backbone.body.layer1.0.conv1, .bn1           backbone.res2.0.conv1, .conv1.norm
    backbone.body.layer1.0.downsample.0, .1      backbone.res2.0.shortcut, .shortcut.norm
    roi_heads.box_head.0.conv1                   roi_heads.res5.0.conv1                              (C4)
    backbone.fpn.inner_blocks.0.0                backbone.fpn_lateral2                               (FPN)
    rpn.head.conv.0.0, .cls_logits, .bbox_pred   proposal_generator.rpn_head.conv, .objectness_logits, .anchor_deltas
    roi_heads.box_head.fc6                       roi_heads.box_head.fc1
    roi_heads.mask_head.0.0                      roi_heads.mask_head.mask_fcn1
    roi_heads.mask_predictor.conv5_mask          roi_heads.mask_head.deconv

FPN models have `backbone.bottom_up.` where the others have `backbone.`.
"""

import re
from collections.abc import Iterable

BLOCK = (
    (r"\.bn(\d)\.", r".conv\1.norm."),
    (r"\.downsample\.0\.", ".shortcut."),
    (r"\.downsample\.1\.", ".shortcut.norm."),
)
"""Inside a block of a ResNet, and for `bn1` of the stem."""

HEADS = (
    (r"^rpn\.head\.conv\.0\.0\.", "proposal_generator.rpn_head.conv."),
    (r"^rpn\.head\.cls_logits\.", "proposal_generator.rpn_head.objectness_logits."),
    (r"^rpn\.head\.bbox_pred\.", "proposal_generator.rpn_head.anchor_deltas."),
    (r"mask_predictor\.conv5_mask\.", "mask_head.deconv."),
    (r"mask_predictor\.mask_fcn_logits\.", "mask_head.predictor."),
)

CAFFE2 = (
    (r"^(?:res_)?conv1_", "stem.conv1."),
    (r"^res(\d)_(\d+)_branch1_", r"res\1.\2.shortcut."),
    (r"^res(\d)_(\d+)_branch2([abc])_", lambda found: f"res{found[1]}.{found[2]}.conv{'abc'.index(found[3]) + 1}."),
    (r"\.[bg]n_", ".norm."),
    (r"\.w$|\.norm\.s$", lambda found: f"{found[0].rpartition('.')[0]}.weight"),
    (r"\.b$", ".bias"),
    (r"\.rm$", ".running_mean"),
    (r"\.riv$", ".running_var"),
)
"""`res2_0_branch2a_w` -> `res2.0.conv1.weight`; `riv` is the variance itself, despite its name."""

USELESS = (
    (r"^pixel_(mean|std)$", "the configuration says it (pixel_mean, pixel_std)"),
    (r"anchor_generator\.cell_anchors\.\d+$", "anchors follow from the configuration (anchors)"),
    (r"\.num_batches_tracked$", "frozen statistics are not counted"),
    (r"^(?:stem\.)?(?:fc|fc1000|pred|last_out\w*)[._]|^(?:classifier|head|norm)\.", "it classifies ImageNet"),
    (r"_momentum$", "it belongs to the optimizer"),
    (r"^(?:stem\.)?conv1[._]b(?:ias)?$", "the stem's convolution has no bias, batch normalization follows it"),
)
"""Keys of files that no network needs, with the reason."""


MAP_NORMS = "backbone.body.norms."
"""LayerNorms after the maps of ConvNeXt and Swin, which the classifiers do not have."""


def detectron2_name(name: str, family: str) -> str:
    """Translate a name of our state dict into detectron2's.

    Args:
        name: of a parameter or buffer.
        family: `fpn`, `c4` or `dc5`.
    """
    if name.startswith("backbone.body."):
        backbone, name = "backbone.bottom_up." if family == "fpn" else "backbone.", name.removeprefix("backbone.body.")
        if name.startswith(("conv1.", "bn1.")):
            return backbone + _translate("stem." + name, BLOCK)
        return backbone + re.sub(r"^layer(\d)", lambda found: f"res{int(found[1]) + 1}", _translate(name, BLOCK))
    if family == "c4" and name.startswith("roi_heads.box_head."):
        return "roi_heads.res5." + _translate(name.removeprefix("roi_heads.box_head."), BLOCK)
    name = re.sub(r"^backbone\.fpn\.(inner|layer)_blocks\.(\d)\.(\d)", _pyramid, name)
    name = re.sub(r"box_head\.fc(\d)", lambda found: f"box_head.fc{int(found[1]) - 5}", name)
    name = re.sub(r"mask_head\.(\d)\.0", lambda found: f"mask_head.mask_fcn{int(found[1]) + 1}", name)
    return _translate(name, HEADS)


def bare_backbone_name(name: str) -> str:
    """Cut detectron2's name of a backbone's parameter to `stem...` or `res...`, as in files of a backbone alone."""
    return re.sub(r"^(?:backbone\.(?:bottom_up\.)?|roi_heads\.)(?=stem|res\d)", "", name)


def is_backbone(name: str, family: str) -> bool:
    """Return whether an entry of our state dict belongs to the backbone's classifier; C4 has res5 in its head."""
    if name.startswith(MAP_NORMS):
        return False
    return name.startswith(("backbone.body.", "roi_heads.box_head.") if family == "c4" else "backbone.body.")


def from_caffe2(name: str) -> str:
    """Translate a name such as `res2_0_branch2a_bn_s` into detectron2's bare `res2.0.conv1.norm.weight`."""
    return _translate(name, CAFFE2)


def is_caffe2(names: Iterable[str]) -> bool:
    """Return whether names are Caffe2's of a ResNet."""
    return any(re.match(r"res\d_\d+_branch", name) for name in names)


def why_useless(name: str) -> str | None:
    """Return why no network needs a key of a file, or None."""
    return next((why for pattern, why in USELESS if re.search(pattern, name)), None)


def describe(names: Iterable[str]) -> str:
    """Describe the model that detectron2's names belong to, such as "a model of family C4 with ResNet-50"."""
    names = list(names)
    blocks = {found[1] for name in names if (found := re.search(r"(?:^|\.)res4\.(\d+)\.", name))}
    backbone = {2: "ResNet-18", 6: "ResNet-50", 23: "ResNet-101"}.get(len(blocks), f"{len(blocks)} blocks in res4")
    if not any(name.startswith("proposal_generator.") for name in names):
        return f"a backbone alone with {backbone}"
    family = "DC5"
    if any(name.startswith("backbone.fpn_") for name in names):
        family = "FPN"
    elif any(name.startswith("roi_heads.res5.") for name in names):
        family = "C4"
    return f"a model of family {family} with {backbone}"


def _pyramid(found: re.Match[str]) -> str:
    kind = "lateral" if found[1] == "inner" else "output"
    return f"backbone.fpn_{kind}{int(found[2]) + 2}" + (".norm" if found[3] == "1" else "")


def _translate(name: str, rules: Iterable[tuple]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name
