"""Truth from layers, and the numbers of a validation, on images small enough to count by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from tiny import LOSSES

from nucleiseg.data.layers import pack
from nucleiseg.evaluation.instances import Instances
from nucleiseg.evaluation.scoring import ScoredImage
from nucleiseg.evaluation.truth import ImageTruth
from nucleiseg.structures import Prediction, Sample
from nucleiseg.training.callbacks.validation_scores import ValidatedImage, mean_losses, validation_columns


def make_sample(masks: list[np.ndarray], shape: tuple[int, int] = (20, 30)) -> Sample:
    layers, index = pack(masks, shape)
    return Sample("a", np.zeros((*shape, 3), np.uint8), layers, index, np.ones(len(masks), np.int64))


def boxes_to_masks(boxes: list[tuple[int, int, int, int]], shape: tuple[int, int] = (20, 30)) -> list[np.ndarray]:
    masks = []
    for left, top, right, bottom in boxes:
        mask = np.zeros(shape, bool)
        mask[top:bottom, left:right] = True
        masks.append(mask)
    return masks


def predict(boxes: list[tuple[int, int, int, int]], scores: list[float]) -> Prediction:
    """Predict full rectangles in a 20 x 30 image."""
    count = len(boxes)
    return Prediction(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(scores),
        torch.ones(count, dtype=torch.int64),
        torch.ones(count, 28, 28),
        (20, 30),
    )


@given(st.lists(st.integers(0, 2**12 - 1), max_size=6))
def test_truth_is_what_pycocotools_encodes(patterns: list[int]) -> None:
    """Random, overlapping masks: every bit of a number is a pixel of a 3 x 4 image."""
    masks = [np.array([pattern >> bit & 1 for bit in range(12)], bool).reshape(3, 4) for pattern in patterns if pattern]
    truth = ImageTruth.of(make_sample(masks, (3, 4)), 0)
    expected = [coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode() for mask in masks]
    assert [rle["counts"] for rle in truth.masks] == expected
    assert all(rle["size"] == [3, 4] for rle in truth.masks)
    assert truth.labels == [1] * len(masks)


def validated(
    index: int, truth: ImageTruth, prediction: Prediction, losses: dict[str, float] | None = None
) -> ValidatedImage:
    return ValidatedImage(index, ScoredImage(truth, Instances.from_prediction(prediction)), losses)


BOXES = [(0, 0, 5, 5), (10, 0, 15, 5), (20, 0, 25, 5), (0, 10, 5, 15)]


def test_a_perfect_prediction_scores_one() -> None:
    truth = ImageTruth.of(make_sample(boxes_to_masks(BOXES)), 0)
    columns, threshold = validation_columns([validated(0, truth, predict(BOXES, [0.9, 0.8, 0.7, 0.6]))])
    assert columns == {"val/ap50": pytest.approx(1), "val/ap50_100": pytest.approx(1)}
    assert threshold == pytest.approx(0.6)  # the lowest of the scores, so that all are kept


def test_the_threshold_lies_between_hits_and_misses() -> None:
    truth = ImageTruth.of(make_sample(boxes_to_masks(BOXES)), 0)
    wrong = [(20, 12, 22, 14), (26, 12, 28, 14)]
    columns, threshold = validation_columns(
        [validated(0, truth, predict(BOXES + wrong, [0.9, 0.8, 0.7, 0.6, 0.2, 0.1]))]
    )
    assert columns["val/ap50"] == pytest.approx(1)
    assert threshold == pytest.approx(0.4)


def test_two_limits_on_detections() -> None:
    """150 nuclei of 4 pixels, all found: at 100 detections, two thirds of the recall."""
    boxes = [(2 * column, 4 * row, 2 * column + 2, 4 * row + 2) for row in range(10) for column in range(15)]
    masks = boxes_to_masks(boxes, (40, 30))
    prediction = Prediction(
        torch.tensor(boxes, dtype=torch.float32),
        torch.linspace(0.99, 0.5, 150),
        torch.ones(150, dtype=torch.int64),
        torch.ones(150, 28, 28),
        (40, 30),
    )
    columns, _ = validation_columns([validated(0, ImageTruth.of(make_sample(masks, (40, 30)), 0), prediction)])
    assert columns["val/ap50"] == pytest.approx(1)
    assert columns["val/ap50_100"] == pytest.approx(67 / 101)  # recalls 0, 0.01 .. 0.66


def test_without_truth_there_is_no_ap_and_no_threshold() -> None:
    truth = ImageTruth.of(make_sample([]), 0)
    assert validation_columns([validated(0, truth, predict(BOXES, [0.9, 0.8, 0.7, 0.6]))]) == ({}, None)


def test_losses_are_means_over_the_images() -> None:
    truth = ImageTruth.of(make_sample([]), 0)
    results = [
        validated(index, truth, predict([], []), {name: float(index + place) for place, name in enumerate(LOSSES)})
        for index in (0, 4)
    ]
    means = mean_losses(results)
    assert [means[f"val/{name}"] for name in LOSSES] == [2, 3, 4, 5, 6]
    assert means["val/loss"] == 20
    assert mean_losses([validated(0, truth, predict([], []))]) == {}
