"""Time the prediction of one image, total and by part, and measure memory by number of detections.

    python -m benchmarks.prediction                                   # r50_fpn and stock, 1000 x 1000, 50, 500, 2,000
    python -m benchmarks.prediction models=r50_fpn_torchvision,stock_fpn detections=500 repeats=5
    python -m benchmarks.prediction models=r50_c4 device=cuda precision=bf16

The time from an image in memory to one run-length encoding per nucleus. Ours is `inference.Predictor` and `to_rle`;
stock is the network's full-size soft masks, thresholded at 0.5 and encoded one by one. Both detect the same boxes (see
`benchmarks.networks.let_detect`). `NAME_torchvision` is ours in torchvision's numerics; its `least mask IoU` compares
the results with stock's, both with stock's weights: 1 if all masks are equal to the pixel.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch import Tensor
from torchvision.models.detection import MaskRCNN as StockMaskRCNN

from benchmarks import options, stock
from benchmarks.discs import noise_image, sample_discs
from benchmarks.measure import chosen_device, in_child, measure
from benchmarks.networks import AS_TORCHVISION, build_network, calibrate, is_stock, let_detect
from benchmarks.precision import product_precision
from benchmarks.result import Result, Row, relation
from benchmarks.stopwatch import Stopwatch
from benchmarks.training_step import stock_of
from nucleiseg.inference.box_masks import to_rle
from nucleiseg.inference.predictor import Predictor
from nucleiseg.inference.settings import PredictionSettings
from nucleiseg.models.checkpoint import Metadata
from nucleiseg.models.mask_rcnn import MaskRCNN
from nucleiseg.models.precision_context import precision_context
from nucleiseg.transforms.preprocessing import Preprocessing

LEAST_PROPOSALS = 1000
"""Least number of proposals in prediction; more for more detections."""

NETWORK, PASTE, ENCODE = "network", "paste", "encode"

Answer = list[dict[str, Any]]
"""One COCO run-length encoding per detection."""


@dataclass(frozen=True)
class Options:
    """Keys of the command line.

    Attributes:
        models: see `benchmarks.training_step`.
        detections: numbers of detections.
        size: side of the image in source and network pixels.
        repeats: measured predictions.
        threads: CPU threads.
        precision: float32, tf32 or bf16.
        device: `auto` takes a CUDA GPU if there is one.
        stock_limit: most detections for stock, which takes 10 MB and more for each in an image of 1000 x 1000.
        compare: also compare the results of models in torchvision's numerics.
    """

    models: tuple[str, ...] = ("r50_fpn", "stock_fpn")
    detections: tuple[int, ...] = (50, 500, 2000)
    size: int = 1000
    repeats: int = 3
    threads: int = 2
    precision: str = "float32"
    device: str = "auto"
    stock_limit: int = 500
    compare: bool = True


@dataclass(frozen=True)
class Case:
    """One row: see `Options`."""

    model: str
    detections: int
    size: int
    repeats: int
    threads: int
    precision: str
    device: str


def main(chosen: Options) -> Result:
    """Measure every model with every number of detections, each case in a fresh process."""
    shared = {name: getattr(chosen, name) for name in ("size", "repeats", "threads", "precision")}
    rows = []
    for model in chosen.models:
        for count in chosen.detections:
            if is_stock(model) and count > chosen.stock_limit:
                continue
            case = Case(model, count, device=chosen_device(chosen.device), **shared)
            cells = in_child(measure_prediction, case)
            comparable = model.endswith(AS_TORCHVISION) and count <= chosen.stock_limit
            if chosen.compare:
                cells["least mask IoU"] = in_child(least_iou, case) if comparable else None
            rows.append(cells)
    title = f"Prediction of {chosen.size} x {chosen.size}, {chosen.precision}, median of {chosen.repeats}"
    return Result("prediction", title, related(rows))


def related(rows: list[Row]) -> list[Row]:
    """Add to each row its share of stock's time and memory for the same number of detections."""
    by_case = {(cells["model"], cells["detections"]): cells for cells in rows}
    whole = []
    for cells in rows:
        theirs = by_case.get((stock_of(str(cells["model"])), cells["detections"]))
        shares = {
            "time / stock": relation(cells, theirs, "seconds"),
            "paste + RLE / stock": relation(cells, theirs, "paste + RLE, s"),
            "memory / stock": relation(cells, theirs, "peak memory, MB"),
        }
        whole.append({**cells, **shares})
    return whole


def measure_prediction(case: Case) -> Row:
    """Time predictions of one image."""
    watch = Stopwatch(case.device)
    predict = prepare(case, watch)
    found = predict()
    watch.reset()
    cost = measure(lambda _: predict(), case.repeats, device=case.device, warmup=0)
    parts = {name: seconds / case.repeats for name, seconds in watch.seconds().items()}
    paste = parts[ENCODE] + parts.get(PASTE, 0)
    return {
        "model": case.model,
        "detections": len(found),
        "seconds": cost.seconds,
        "network, s": parts[NETWORK] - parts.get(PASTE, 0),
        "paste + RLE, s": paste,
        "peak memory, MB": cost.memory_mb,
    }


def prepare(case: Case, watch: Stopwatch, weights: dict[str, Tensor] | None = None) -> Callable[[], Answer]:
    """Return a function that predicts the case's image.

    Args:
        case: the measurement.
        watch: times the parts: network (stock pastes inside it), pasting and encoding.
        weights: weights of another network with the same layers; None: random weights.
    """
    torch.set_num_threads(case.threads)
    torch.manual_seed(0)
    network = build(case, weights)
    image = noise_image(case.size)
    return (
        predict_stock(network, image, case, watch)
        if is_stock(case.model)
        else predict_ours(network, image, case, watch)
    )


def build(case: Case, weights: dict[str, Tensor] | None = None) -> StockMaskRCNN:
    """Build a network that detects the case's boxes."""
    discs = sample_discs(case.detections, case.size)
    network = build_network(case.model, case.size, case.detections, max(LEAST_PROPOSALS, case.detections))
    if weights is None:
        image = torch.from_numpy(noise_image(case.size)).permute(2, 0, 1)
        calibrate(network, [image / 255 if is_stock(case.model) else image])
    else:
        network.load_state_dict(weights)
    let_detect(network, torch.from_numpy(discs.boxes))
    return network.to(case.device).eval()


def predict_ours(network: StockMaskRCNN, image: np.ndarray, case: Case, watch: Stopwatch) -> Callable[[], Answer]:
    """Return our prediction function: masks stay in their boxes until they are encoded."""
    assert isinstance(network, MaskRCNN)
    settings = PredictionSettings(device=case.device, precision=product_precision(case.precision))
    metadata = Metadata(model=network.config.to_dict(), preprocessing=Preprocessing(scale=1.0).to_dict())
    predictor = Predictor(network, metadata, settings)

    def predict() -> Answer:
        with watch.part(NETWORK):
            prediction = predictor.predict(image)
        with watch.part(ENCODE):
            return to_rle(prediction)  # type: ignore[return-value]

    return predict


def predict_stock(network: StockMaskRCNN, image: np.ndarray, case: Case, watch: Stopwatch) -> Callable[[], Answer]:
    """Return stock's prediction function: the network pastes a full-size soft mask for each detection."""
    watch.wrap(network.transform, "postprocess", PASTE)
    precision = product_precision(case.precision)

    def predict() -> Answer:
        with watch.part(NETWORK), torch.no_grad(), precision_context(precision, case.device):
            tensor = torch.from_numpy(image).permute(2, 0, 1).float().div(255).to(case.device)
            masks = network([tensor])[0]["masks"].float()
        with watch.part(ENCODE):
            return stock.encode(masks)

    return predict


def least_iou(case: Case) -> float:
    """Return the lowest IoU of our masks with their best match among stock's, both with stock's weights."""
    theirs = replace(case, model=stock_of(case.model))
    weights = build(theirs).state_dict()
    found, expected = (prepare(each, Stopwatch(case.device), weights)() for each in (case, theirs))
    ious = [coco_mask.iou([mask], expected, [0] * len(expected)).max() for mask in found]
    return float(min(ious)) if len(found) == len(expected) else 0.0


if __name__ == "__main__":
    options.run(Options, main)
