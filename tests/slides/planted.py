"""A network that finds dark discs, and a predictor around it: what it sees on a synthetic slide is known."""

from types import SimpleNamespace

import torch
from scipy import ndimage
from torch import Tensor, nn

from nucleiseg.inference.predictor import Predictor
from nucleiseg.inference.settings import PredictionSettings
from nucleiseg.models.checkpoint import Metadata
from nucleiseg.structures import Prediction

CHECKPOINT = "c" * 64
"""The digest that the network's checkpoint would have."""


class DarkDiscs(nn.Module):
    """Detects the connected dark parts of each image.

    Args:
        fails_at: raise instead of looking at the window of this number, counted from 0; None: never.
    """

    def __init__(self, fails_at: int | None = None) -> None:
        super().__init__()
        self.roi_heads = SimpleNamespace(score_thresh=0.05, nms_thresh=0.5, detections_per_img=500)
        self.rpn = SimpleNamespace(_pre_nms_top_n={"testing": 500}, _post_nms_top_n={"testing": 500})
        self.fails_at = fails_at
        self.seen = 0

    def forward(self, images: list[Tensor]) -> list[Prediction]:
        return [self.find(image) for image in images]

    def find(self, image: Tensor) -> Prediction:
        if self.seen == self.fails_at:
            raise KeyboardInterrupt
        self.seen += 1
        parts, _ = ndimage.label(image[0].numpy() < 150)
        places = ndimage.find_objects(parts)
        boxes = torch.tensor([[x.start, y.start, x.stop, y.stop] for y, x in places], dtype=torch.float32)
        boxes = boxes.reshape(-1, 4)
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
        order = areas.argsort(descending=True, stable=True)
        return Prediction(
            boxes=boxes[order],
            scores=(0.5 + areas / 10_000).clamp(max=1)[order],
            labels=torch.ones(len(boxes), dtype=torch.int64),
            masks=torch.ones(len(boxes), 28, 28),
            size=(image.shape[1], image.shape[2]),
        )


def predictor(network: DarkDiscs | None = None, mpp: float | None = 0.5, **settings: object) -> Predictor:
    """Return a predictor whose training had nuclei of up to 30 pixels at 0.5 micrometers per pixel."""
    metadata = Metadata(model={}, preprocessing={"scale": 1.0, "mpp": mpp}, largest_nucleus=30.0, score_threshold=0.5)
    wanted = {"device": "cpu", "tile": 256, **settings}
    return Predictor(network or DarkDiscs(), metadata, PredictionSettings.from_dict(wanted))  # type: ignore[arg-type]
