"""Predicted images for the tests of writers, with exactly the masks that a test asks for."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from hypothesis import strategies as st

from nucleiseg.inference.images import InputImage
from nucleiseg.structures import Prediction
from nucleiseg.writers.base import PredictedImage

SIDE = 9


def prediction_of(masks: Sequence[np.ndarray], labels: Sequence[int] | None = None) -> Prediction:
    """Return instances with these (H, W) masks: each box is the image, the grid its pixels in a square of M x M.

    The image must be M x M: `paste` then reads the grid at its cell centers, and gives it back as it is.
    """
    side = masks[0].shape[0] if len(masks) else SIDE
    grids = np.stack(masks).astype(np.float32) if len(masks) else np.zeros((0, side, side), np.float32)
    return Prediction(
        boxes=torch.tensor([[0.0, 0.0, side, side]] * len(masks)).reshape(-1, 4),
        scores=torch.linspace(0.95, 0.55, len(masks)),
        labels=torch.tensor(list(labels or [1] * len(masks)), dtype=torch.int64),
        masks=torch.from_numpy(grids),
        size=(side, side),
    )


def predicted_image(
    masks: Sequence[np.ndarray],
    labels: Sequence[int] | None = None,
    *,
    mpp: float | None = None,
    class_names: tuple[str, ...] = ("nucleus",),
    name: str = "a",
) -> PredictedImage:
    prediction = prediction_of(masks, labels)
    side = prediction.size[0]
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    source = InputImage(name, Path("in") / f"{name}.png", 7)
    return PredictedImage(source, pixels, prediction, 0.5, class_names, mpp, "checkpoint")


def square_masks(most: int = 5, side: int = SIDE) -> st.SearchStrategy[list[np.ndarray]]:
    """Masks of any pixels: single ones, diagonals, rings with holes, scattered parts, overlapping one another."""
    rows = st.lists(st.booleans(), min_size=side, max_size=side)
    scattered = st.lists(rows, min_size=side, max_size=side).map(np.array)
    pixel = st.tuples(st.integers(0, side - 1), st.integers(0, side - 1)).map(lambda place: _pixel(place, side))
    ring = st.integers(1, side // 2 - 1).map(lambda width: _ring(width, side))
    diagonal = st.sampled_from([np.eye(side, dtype=bool), np.eye(side, dtype=bool)[::-1].copy()])
    return st.lists(st.one_of(scattered, pixel, ring, diagonal), max_size=most)


def _pixel(place: tuple[int, int], side: int) -> np.ndarray:
    mask = np.zeros((side, side), dtype=bool)
    mask[place] = True
    return mask


def _ring(width: int, side: int) -> np.ndarray:
    mask = np.ones((side, side), dtype=bool)
    mask[width:-width, width:-width] = False
    return mask
