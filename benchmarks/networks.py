"""The networks that are compared, made to behave as trained ones do, without weights to download.

With random weights a step costs what it costs with trained ones only if as many RoIs reach the heads: a trained RPN
proposes several boxes for every nucleus, and its masks are blobs, not noise. So, in ours and in stock alike, the
proposals are replaced after they were computed, frozen normalisation is set so that activations do not explode (at its
initial values nothing is normalised, and they grow to thousands), and in prediction masks are given a blob.
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
"""What a benchmark calls stock torchvision's R50-FPN, and R50-C4 of torchvision's parts."""

AS_TORCHVISION = "_torchvision"
"""After one of our models' names: the same in torchvision's numerics, stride in the 3x3: stock's very network."""

PRETRAINED = {"detectron2": "detectron2", "torchvision": "torchvision"}
"""Any names of weights, which are not loaded: networks that expect pretrained weights freeze the stem, res2 and
normalisation."""


def is_stock(name: str) -> bool:
    """Return whether a name is one of `STOCK`."""
    return name in STOCK


def build_network(name: str, side: int, detections: int = 500, proposals: int = 1000) -> StockMaskRCNN:
    """Build a network for one class.

    Args:
        name: a file of conf/model, that with `AS_TORCHVISION`, or one of `STOCK`.
        side: of the square images in pixels; of no effect on ours, while stock resizes others.
        detections: the most an image.
        proposals: the most an image in prediction.

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
    """Set frozen normalisation so that activations neither vanish nor explode, as trained statistics would.

    Each convolution about keeps the variance of its input (He et al. 2015). So the first normalisation is given that of
    the images, and each residual block adds a tenth of what comes in, instead of as much again.

    Args:
        network: ours or stock; other normalisation than frozen is left as it is.
        images: as in training.
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
    """Replaces what an untrained RPN proposes by what a trained one would: half around the nuclei, half anywhere.

    The RPN does all its work, and its losses stay. In training the nuclei are those of the targets; where there are
    none, its own proposals stay too.

    Args:
        network: gets two hooks, which stay.
        count: proposals an image.
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
    """Return (count, 4) boxes as an RPN proposes them: on the nuclei, and every second one somewhere near.

    Args:
        boxes: (N, 4) of the nuclei, which take turns; N > 0.
        count: how many; shifted by a tenth of their side, or by three sides, in normal distribution.
    """
    chosen = boxes[torch.arange(count, device=boxes.device) % len(boxes)]
    spread = (chosen[:, 2:] - chosen[:, :2]) * 0.1
    spread[1::2] *= 30
    shifts = torch.randn(count, 2, device=boxes.device) * spread
    return (chosen + shifts.repeat(1, 2)).clamp(min=0, max=float(boxes.max()))


def let_detect(network: StockMaskRCNN, boxes: Tensor) -> None:
    """Let an untrained network detect exactly these boxes in every image, each with a blob for a mask.

    The network does all its work. Proposals are these boxes, over and over until there are as many as the RPN may hand
    on; the box head leaves each where it is and calls it a nucleus, so that suppression keeps one of each.

    Args:
        network: gets two hooks, which stay.
        boxes: (N, 4) without overlap, in network pixels.
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
    """Return a disc that fills the box, 4 in its middle, 0 at its border, with a little of what was predicted."""
    positions = torch.linspace(-1, 1, logits.shape[-1], device=logits.device, dtype=logits.dtype)
    return logits.tanh() * 0.1 + 4 * (1 - positions[:, None] ** 2 - positions**2)
