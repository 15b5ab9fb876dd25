"""Build untrained networks that work as hard as trained ones.

With random weights, a step costs as much as with trained weights only if as many RoIs reach the heads: a trained RPN
proposes several boxes for every nucleus, and trained masks are blobs, not noise. Therefore, in nucleiseg's networks and
in the baseline alike, proposals are replaced after they are computed, the statistics of frozen normalization are set so
that activations do not explode (with the initial ones they grow to thousands), and predicted masks get a blob.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN as StockMaskRCNN
from torchvision.ops import FrozenBatchNorm2d

from benchmarks import stock
from nucleiseg.errors import InputError
from nucleiseg.models.config import ModelConfig
from nucleiseg.models.mask_rcnn import build

MODELS = Path(__file__).parents[1] / "conf" / "model"

STOCK = {"stock_fpn": stock.build_fpn, "stock_c4": stock.build_c4}
"""Names of the baselines: torchvision's R50-FPN, and R50-C4 assembled from torchvision's parts."""

AS_TORCHVISION = "_torchvision"
"""Suffix for a model of conf/model in torchvision's numerics with the stride in the 3x3, the baseline's network."""

PRETRAINED = {"detectron2": "detectron2", "torchvision": "torchvision"}
"""Names of weights, which are not loaded: networks configured for pretrained weights freeze stem, res2 and
normalization."""


def is_stock(name: str) -> bool:
    """Return whether a name belongs to `STOCK`."""
    return name in STOCK


def build_network(name: str, side: int, detections: int = 500, proposals: int = 1000) -> StockMaskRCNN:
    """Build a network for one class.

    Args:
        name: a file of conf/model, also with `AS_TORCHVISION`, or one of `STOCK`.
        side: side of the square images in pixels; used by the baseline only, which resizes others.
        detections: limit per image.
        proposals: limit per image in prediction.

    Raises:
        InputError: for an unknown name.
    """
    if is_stock(name):
        return STOCK[name](side, detections, proposals)
    config = model_config(name.removesuffix(AS_TORCHVISION))
    numerics = "torchvision" if name.endswith(AS_TORCHVISION) else config.numerics
    if config.weights is not None:
        config = replace(config, weights=PRETRAINED[numerics])
    return build(
        replace(
            config,
            numerics=numerics,
            detection=replace(config.detection, limit=detections),
            rpn=replace(config.rpn, post_nms_test=proposals),
        ),
        num_classes=1,
    )


def model_config(name: str) -> ModelConfig:
    """Read a file of conf/model.

    Raises:
        InputError: for an unknown name.
    """
    if not (MODELS / f"{name}.yaml").is_file():
        known = sorted(path.stem for path in MODELS.glob("[!_]*.yaml"))
        raise InputError(f"No model named {name}; there are {', '.join([*known, *STOCK])}.")
    with initialize_config_dir(str(MODELS), version_base="1.3"):
        values = OmegaConf.to_container(compose(name), resolve=True)
    return ModelConfig.from_dict(values)


@torch.no_grad()
def calibrate(network: StockMaskRCNN, images: list[Tensor]) -> None:
    """Set frozen normalization so that activations neither vanish nor explode.

    Each convolution roughly keeps the variance of its input (He et al. 2015). Therefore the first normalization gets
    the variance of the images, and each residual branch is scaled to a tenth.

    Args:
        network: nucleiseg's or the baseline's; only frozen normalization is changed.
        images: images as in training.
    """
    frozen = [module for module in network.modules() if isinstance(module, FrozenBatchNorm2d)]
    if frozen:
        batch, _ = network.transform(images, None)
        frozen[0].running_var.fill_(float(batch.tensors.var()))
    for block in network.modules():
        last = getattr(block, "bn3", None) or getattr(block, "bn2", None)
        if isinstance(last, FrozenBatchNorm2d):
            last.weight.fill_(0.1)


class TrainedProposals:
    """Replaces the proposals of an untrained RPN by those of a trained one: half around the nuclei, half anywhere.

    The RPN still runs, and its losses are kept. Images without nuclei keep the RPN's own proposals.

    Args:
        network: the network, which gets two permanent hooks.
        count: proposals per image.
    """

    def __init__(self, network: StockMaskRCNN, count: int = 1000) -> None:
        self.count = count
        self._nuclei: list[Tensor] = []
        network.register_forward_pre_hook(self._look)
        network.rpn.register_forward_hook(self._replace)

    def _look(self, network: nn.Module, inputs: tuple[Any, ...]) -> None:
        self._nuclei = [target["boxes"] if isinstance(target, dict) else target.boxes for target in inputs[1]]

    def _replace(self, rpn: nn.Module, inputs: Any, output: tuple[list[Tensor], Any]) -> tuple[list[Tensor], Any]:  # noqa: ANN401
        proposals = [
            spread_around(nuclei, self.count) if len(nuclei) else own
            for nuclei, own in zip(self._nuclei, output[0], strict=True)
        ]
        return proposals, output[1]


def spread_around(boxes: Tensor, count: int) -> Tensor:
    """Sample (count, 4) boxes as an RPN proposes them: on the nuclei, and every second one in their neighborhood.

    Args:
        boxes: (N, 4) boxes of the nuclei, used in turn; N > 0.
        count: number of boxes; shifts are normally distributed with a tenth of the side, or three sides.
    """
    chosen = boxes[torch.arange(count, device=boxes.device) % len(boxes)]
    spread = (chosen[:, 2:] - chosen[:, :2]) * 0.1
    spread[1::2] *= 30
    shifts = torch.randn(count, 2, device=boxes.device) * spread
    return (chosen + shifts.repeat(1, 2)).clamp(min=0, max=float(boxes.max()))


def let_detect(network: StockMaskRCNN, boxes: Tensor) -> None:
    """Make an untrained network detect exactly these boxes in every image, with a blob as the mask of each.

    The whole network still runs. Proposals are the boxes, repeated up to the RPN's limit; the box head classifies each
    as a nucleus without moving it, and NMS keeps one of each.

    Args:
        network: the network, which gets two permanent hooks.
        boxes: (N, 4) boxes without overlap, in network pixels.
    """
    predictor = network.roi_heads.box_predictor
    for layer in (predictor.cls_score, predictor.bbox_pred):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    nn.init.constant_(predictor.cls_score.bias[1:], 3.0)  # a score of 0.95
    proposals = boxes[torch.arange(network.rpn._post_nms_top_n["testing"]) % len(boxes)]
    network.rpn.register_forward_hook(lambda rpn, inputs, output: ([proposals.to(output[0][0].device)], output[1]))
    network.roi_heads.mask_predictor.register_forward_hook(_add_blob)


def _add_blob(module: nn.Module, inputs: Any, logits: Tensor) -> Tensor:  # noqa: ANN401
    """Return logits of a disc that fills the box, 4 at its center, 0 at its border, plus a tenth of the prediction."""
    positions = torch.linspace(-1, 1, logits.shape[-1], device=logits.device, dtype=logits.dtype)
    return logits.tanh() * 0.1 + 4 * (1 - positions[:, None] ** 2 - positions**2)
