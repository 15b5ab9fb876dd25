"""The threshold with the best F1, against trying every threshold."""

import math

import numpy as np
import pytest
from drawn_masks import disturbed, encode, found, random_label_map
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from nucleiseg.evaluation.instances import CrowdRegion, Instances
from nucleiseg.evaluation.thresholds import ThresholdChoice, choose_threshold, match
from nucleiseg.rle import RLE


def square(row: int, column: int, side: int, size: int = 40) -> RLE:
    mask = np.zeros((size, size), dtype=np.uint8, order="F")
    mask[row : row + side, column : column + side] = 1
    return RLE(size=[size, size], counts=coco_mask.encode(mask)["counts"].decode())


def random_squares(generator: np.random.Generator, count: int) -> list[RLE]:
    return [square(*generator.integers(0, 8, 2), int(generator.integers(4, 8)), size=16) for _ in range(count)]


def choose(truths: list, predictions: list, scores: list) -> ThresholdChoice:
    """Choose a threshold from lists of masks of one class."""
    detections = [found(*image) for image in zip(predictions, scores, strict=True)]
    return choose_threshold([found(masks, []) for masks in truths], detections)


def naive_f1(truths: list, predictions: list, scores: list, threshold: float) -> float:
    """Count matches one by one among the detections that a threshold keeps."""
    true_positives = detections = 0
    for masks, detected, confidence in zip(truths, predictions, scores, strict=True):
        kept = sorted((i for i in range(len(detected)) if confidence[i] >= threshold), key=lambda i: -confidence[i])
        free = list(range(len(masks)))
        detections += len(kept)
        for index in kept:
            ious = [float(coco_mask.iou([detected[index]], [masks[truth]], [0])[0, 0]) for truth in free]
            if ious and max(ious) >= 0.5:
                free.pop(len(ious) - 1 - int(np.argmax(ious[::-1])))  # of equal ones the last, as COCO
                true_positives += 1
    return 2 * true_positives / (detections + sum(map(len, truths)))


@settings(max_examples=40)
@given(seed=st.integers(0, 2**16), decimals=st.sampled_from([1, 6]))
def test_no_threshold_is_better(seed: int, decimals: int) -> None:
    generator = np.random.default_rng(seed)
    truths = [random_squares(generator, int(generator.integers(1, 5))) for _ in range(2)]
    predictions = [random_squares(generator, int(generator.integers(1, 6))) for _ in range(2)]
    scores = [generator.random(len(masks)).round(decimals).tolist() for masks in predictions]
    choice = choose(truths, predictions, scores)
    best = max(naive_f1(truths, predictions, scores, score) for image in scores for score in image)
    assert choice.f1 == pytest.approx(best)
    if choice.threshold is not None:
        assert naive_f1(truths, predictions, scores, choice.threshold) == pytest.approx(best)


def match_the_first(truths: list, predictions: list, scores: list) -> np.ndarray:
    """Match with the other rule for ties, in the whole matrix: of equal IoUs the first."""
    iou = np.array(coco_mask.iou(truths, predictions, [0] * len(predictions))).reshape(len(truths), len(predictions))
    matched = np.zeros(len(predictions), dtype=bool)
    for index in np.argsort(-np.array(scores), kind="stable"):
        best = iou[:, index].argmax()
        if iou[best, index] >= 0.5:
            matched[index], iou[best] = True, -1
    return matched


@pytest.mark.parametrize("seed", range(8))
def test_no_threshold_depends_on_the_rule_for_ties(seed: int) -> None:
    """Nuclei that do not overlap tie at IoU 0.5 only where a detection is exactly two of them: none is, here."""
    generator = np.random.default_rng(seed)
    maps = [random_label_map(generator, 25, 96) for _ in range(3)]
    others = [disturbed(generator, label_map, 25) for label_map in maps]
    truths, predictions = (
        [[encode(image == label) for label in np.unique(image)[1:]] for image in images] for images in (maps, others)
    )
    scores = [generator.random(len(masks)).round(1).tolist() for masks in predictions]
    choice = choose(truths, predictions, scores)
    matched = np.concatenate([match_the_first(*image) for image in zip(truths, predictions, scores, strict=True)])
    flat, total = np.concatenate(scores), sum(map(len, truths))
    cuts = np.unique(flat)[::-1]
    f1 = np.array([2 * matched[flat >= cut].sum() / ((flat >= cut).sum() + total) for cut in cuts])
    kept = cuts[f1.argmax()]
    below = flat[flat < kept].max(initial=-np.inf)
    assert choice.f1 == pytest.approx(f1.max())
    assert choice.threshold == pytest.approx(kept if np.isinf(below) else (kept + below) / 2)


def test_of_equal_overlaps_the_last_is_taken() -> None:
    """As in COCO: a detection of two nuclei, half each, takes the second, so that the first is left for the next."""
    halves, both = [square(0, 0, 6), square(0, 6, 6)], encode(np.pad(np.ones((6, 12), bool), ((0, 34), (0, 28))))
    for other, is_match in ((halves[0], True), (halves[1], False)):
        matches = match(found(halves, []), found([both, other], [0.9, 0.8]))
        assert matches.true_positive.tolist() == [True, is_match]


def test_threshold_lies_between_the_good_and_the_bad() -> None:
    truths = [[square(0, 0, 10), square(20, 20, 10)]]
    predictions = [[square(0, 20, 10), square(20, 20, 9), square(0, 0, 10), square(30, 0, 10)]]
    choice = choose(truths, predictions, [[0.3, 0.8, 0.7, 0.1]])
    assert choice == ThresholdChoice(pytest.approx(0.5), 1.0)


def test_one_truth_is_found_once() -> None:
    truth = square(0, 0, 10)
    matched = match(found([truth], []), found([truth, truth, truth], [0.1, 0.9, 0.9]))
    assert matched.true_positive.tolist() == [False, True, False]


def test_classes_do_not_match_one_another() -> None:
    masks = [square(0, 0, 10)]
    other = Instances(masks, [0.9], [2])
    assert choose_threshold([found(masks, [])], [other]) == ThresholdChoice(None, 0.0)


def test_without_truth_or_detection_there_is_no_threshold() -> None:
    masks = [[square(0, 0, 10)]]
    assert choose(masks, [[]], [[]]) == ThresholdChoice(None, 0.0)
    choice = choose([[]], masks, [[0.9]])
    assert choice.threshold is None
    assert math.isnan(choice.f1)


@settings(max_examples=40)
@given(seed=st.integers(0, 2**16))
def test_detections_in_a_crowd_region_do_not_move_the_threshold(seed: int) -> None:
    """Whatever lies in the region is as if it was not there; a region of another class changes nothing."""
    generator = np.random.default_rng(seed)
    truths = random_squares(generator, 4)
    detections = random_squares(generator, 5)
    region = [encode(np.pad(np.ones((24, 24), bool), ((16, 0), (16, 0))))]
    inside = [square(*generator.integers(20, 34, 2), 5) for _ in range(3)]
    scores = generator.random(8).tolist()
    grown = [encode(np.pad(coco_mask.decode(mask), ((0, 24), (0, 24)))) for mask in [*truths, *detections]]
    truths, detections = grown[:4], grown[4:]
    alone = choose([truths], [detections], [scores[:5]])
    crowded = Instances(truths, [], [1] * 4, crowd=(CrowdRegion(region[0], 1),))
    every = found([*detections, *inside], scores)
    assert choose_threshold([crowded], [every]) == alone
    matches = match(crowded, every)
    assert matches.ignored.tolist() == [False] * 5 + [True] * 3
    of_another_class = Instances(truths, [], [1] * 4, crowd=(CrowdRegion(region[0], 2),))
    assert choose_threshold([of_another_class], [every]) == choose([truths], [[*detections, *inside]], [scores])


def test_a_truth_in_a_crowd_region_is_matched_first() -> None:
    truth = square(10, 10, 10)
    crowded = Instances([truth], [], [1], crowd=(CrowdRegion(square(5, 5, 30), 1),))
    assert choose_threshold([crowded], [found([truth, truth], [0.9, 0.8])]) == ThresholdChoice(pytest.approx(0.9), 1.0)
