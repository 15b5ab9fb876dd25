"""The threshold with the best F1, against trying every threshold."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from nucleiseg.evaluation.thresholds import ThresholdChoice, choose_threshold, match
from nucleiseg.inference.box_masks import RLE


def square(row: int, column: int, side: int, size: int = 40) -> RLE:
    mask = np.zeros((size, size), dtype=np.uint8, order="F")
    mask[row : row + side, column : column + side] = 1
    return RLE(size=[size, size], counts=coco_mask.encode(mask)["counts"].decode())


def random_squares(generator: np.random.Generator, count: int) -> list[RLE]:
    return [square(*generator.integers(0, 8, 2), int(generator.integers(4, 8)), size=16) for _ in range(count)]


def naive_f1(truths: list, predictions: list, scores: list, threshold: float) -> float:
    """Count matches one by one among the detections that a threshold keeps."""
    true_positives = detections = 0
    for masks, found, confidence in zip(truths, predictions, scores, strict=True):
        kept = sorted((i for i in range(len(found)) if confidence[i] >= threshold), key=lambda i: -confidence[i])
        free = list(range(len(masks)))
        detections += len(kept)
        for index in kept:
            ious = [float(coco_mask.iou([found[index]], [masks[truth]], [0])[0, 0]) for truth in free]
            if ious and max(ious) >= 0.5:
                free.pop(int(np.argmax(ious)))
                true_positives += 1
    return 2 * true_positives / (detections + sum(map(len, truths)))


@settings(max_examples=40)
@given(seed=st.integers(0, 2**16), decimals=st.sampled_from([1, 6]))
def test_no_threshold_is_better(seed: int, decimals: int) -> None:
    generator = np.random.default_rng(seed)
    truths = [random_squares(generator, int(generator.integers(1, 5))) for _ in range(2)]
    predictions = [random_squares(generator, int(generator.integers(1, 6))) for _ in range(2)]
    scores = [generator.random(len(masks)).round(decimals).tolist() for masks in predictions]
    choice = choose_threshold(truths, predictions, scores)
    best = max(naive_f1(truths, predictions, scores, score) for image in scores for score in image)
    assert choice.f1 == pytest.approx(best)
    if choice.threshold is not None:
        assert naive_f1(truths, predictions, scores, choice.threshold) == pytest.approx(best)


def test_threshold_lies_between_the_good_and_the_bad() -> None:
    truths = [[square(0, 0, 10), square(20, 20, 10)]]
    predictions = [[square(0, 20, 10), square(20, 20, 9), square(0, 0, 10), square(30, 0, 10)]]
    choice = choose_threshold(truths, predictions, [[0.3, 0.8, 0.7, 0.1]])
    assert choice == ThresholdChoice(pytest.approx(0.5), 1.0)


def test_one_truth_is_found_once() -> None:
    truth = square(0, 0, 10)
    matched = match([truth], [truth, truth, truth], [0.1, 0.9, 0.9], [1], [1, 1, 1])
    assert matched.tolist() == [False, True, False]


def test_classes_do_not_match_one_another() -> None:
    masks = [[square(0, 0, 10)]]
    labels = {"truth_labels": [[1]], "prediction_labels": [[2]]}
    assert choose_threshold(masks, masks, [[0.9]], **labels) == ThresholdChoice(None, 0.0)


def test_nothing_to_choose_by() -> None:
    masks = [[square(0, 0, 10)]]
    assert choose_threshold(masks, [[]], [[]]) == ThresholdChoice(None, 0.0)
    choice = choose_threshold([[]], masks, [[0.9]])
    assert choice.threshold is None
    assert math.isnan(choice.f1)
