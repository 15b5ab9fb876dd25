"""Outcomes worked by hand, and compared with the matching that metrics use."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nucleiseg.evaluation.instances import CrowdRegion, Instances
from nucleiseg.evaluation.thresholds import match
from nucleiseg.evaluation.truth import ImageTruth
from nucleiseg.leaderboard.match_outcomes import classify_matches
from nucleiseg.rle import RLE, Crop, compress, run_lengths

HEIGHT, WIDTH = 20, 30


def rectangles(*boxes: tuple[int, int, int, int]) -> list[RLE]:
    """Masks that fill boxes of top, left, height, width."""
    runs = [run_lengths(Crop(y, x, np.ones((h, w), dtype=bool)), HEIGHT, WIDTH) for y, x, h, w in boxes]
    return compress(runs, HEIGHT, WIDTH)


def truth_of(masks: list[RLE], labels: list[int] | None = None) -> ImageTruth:
    return ImageTruth(name="a", image_id=1, height=HEIGHT, width=WIDTH, masks=masks, labels=labels or [1] * len(masks))


def test_found_missed_false_and_merged_by_hand() -> None:
    truth = truth_of(rectangles((0, 0, 4, 4), (0, 10, 4, 4), (0, 14, 4, 4), (10, 0, 4, 4)))
    results = Instances(
        rectangles((0, 0, 4, 4), (0, 10, 4, 8), (15, 20, 3, 3), (10, 0, 4, 4), (0, 0, 4, 3)),
        [0.9, 0.8, 0.7, 0.1, 0.6],
        [1] * 5,
    )
    outcomes = classify_matches(truth, results, 0.5)
    assert outcomes.shown.tolist() == [0, 1, 2, 4]  # the fourth has too low a score
    assert outcomes.found.tolist() == [True, True, False, False]  # IoU 0.5 is enough; the last one comes too late
    assert outcomes.merged.tolist() == [False, True, False, False]
    assert outcomes.missed.tolist() == [False, True, False, True]  # of two with equal IoU it takes the last, as COCO
    assert outcomes.f1 == 2 * 2 / (4 + 4)


def test_half_of_a_nucleus_is_not_covered() -> None:
    truth = truth_of(rectangles((0, 0, 4, 4), (0, 4, 4, 4)))
    half = classify_matches(truth, Instances(rectangles((0, 2, 4, 4)), [1.0], [1]), 0.5)
    assert half.merged.tolist() == [False]
    more = classify_matches(truth, Instances(rectangles((0, 1, 4, 6)), [1.0], [1]), 0.5)
    assert more.merged.tolist() == [True]


def test_classes_are_matched_separately() -> None:
    masks = rectangles((0, 0, 4, 4))
    outcomes = classify_matches(truth_of(masks, [2]), Instances(masks, [1.0], [1]), 0.5)
    assert not outcomes.found.any()
    assert outcomes.missed.all()


def test_empty_images() -> None:
    masks = rectangles((0, 0, 4, 4))
    nothing = classify_matches(truth_of([]), Instances(), 0.5)
    assert nothing.f1 == 1
    assert len(nothing.merged) == 0
    assert classify_matches(truth_of(masks), Instances(), 0.5).missed.tolist() == [True]
    assert classify_matches(truth_of([]), Instances(masks, [0.9], [1]), 0.5).f1 == 0


def test_crowd_regions_are_neither_missed_nor_matched() -> None:
    """A prediction in a crowd region is ignored unless it matches a nucleus; one of another class is false."""
    (region,) = rectangles((10, 0, 10, 30))
    truth = replace(truth_of(rectangles((0, 0, 4, 4), (12, 0, 4, 4))), crowd=(CrowdRegion(region, 1),))
    masks = rectangles((0, 0, 4, 4), (12, 0, 4, 4), (14, 10, 4, 4), (0, 20, 3, 3), (14, 20, 4, 4))
    outcomes = classify_matches(truth, Instances(masks, [0.9, 0.8, 0.7, 0.6, 0.5], [1, 1, 1, 1, 2]), 0.5)
    assert outcomes.found.tolist() == [True, True, False, False, False]
    assert outcomes.ignored.tolist() == [False, False, True, False, False]
    assert outcomes.false.tolist() == [False, False, False, True, True]
    assert outcomes.missed.tolist() == [False, False]
    assert outcomes.f1 == 2 * 2 / (2 * 2 + 2)
    crowd_alone = classify_matches(replace(truth, masks=[], labels=[]), Instances(masks[2:3], [0.9], [1]), 0.5)
    assert (crowd_alone.f1, crowd_alone.errors) == (1, 0)


boxes = st.lists(st.tuples(st.integers(0, 15), st.integers(0, 25), st.integers(2, 5), st.integers(2, 5)), max_size=8)


@settings(max_examples=50, deadline=None)
@given(boxes, boxes, st.integers(0, 10**6))
def test_matches_are_those_of_the_metrics(true: list, predicted: list, seed: int) -> None:
    truth = truth_of(rectangles(*true))
    scores = np.random.default_rng(seed).choice([0.2, 0.5, 0.9], len(predicted)).tolist()
    results = Instances(rectangles(*predicted), scores, [1] * len(predicted))
    outcomes = classify_matches(truth, results, 0.0)
    expected = match(truth, results).true_positive
    assert outcomes.found.tolist() == expected[outcomes.shown].tolist()
    assert outcomes.found.sum() == (~outcomes.missed).sum()
