"""Matching image by image, then accumulation: the same AP as COCO's engine, for any list of images."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from drawn_masks import rectangle
from hypothesis import given, settings
from hypothesis import strategies as st
from pooling import pooled_ap

from nucleiseg.evaluation import accumulation
from nucleiseg.evaluation.accumulation import ceilings, resampled_ap
from nucleiseg.evaluation.coco_ap import average_precision, ceiling
from nucleiseg.evaluation.instances import Instances
from nucleiseg.evaluation.matches import IOU_THRESHOLDS, ImageMatches, match_image, pooled_classes
from nucleiseg.evaluation.truth import ImageTruth

Case = tuple[ImageTruth, Instances]


def boxes(generator: np.random.Generator, count: int) -> list[tuple[int, int, int, int]]:
    """Rectangles on a coarse grid, so that they overlap, repeat and reach IoU thresholds exactly."""
    corners = generator.integers(0, 12, (count, 2))
    sides = generator.integers(1, 9, (count, 2))
    return [
        (top, left, top + height, left + width) for (top, left), (height, width) in zip(corners, sides, strict=True)
    ]


def draw(generator: np.random.Generator, classes: int, most: int = 12, digits: int = 1) -> Case:
    """One image: some truths, detections that repeat or shift some of them, scores with many ties; maybe nothing."""
    truths = boxes(generator, int(generator.integers(0, most)))
    repeated = (
        [truths[i] for i in generator.integers(0, len(truths), int(generator.integers(0, most)))] if truths else []
    )
    shifted = [(top, left, bottom + int(generator.integers(0, 3)), right) for top, left, bottom, right in repeated]
    detections = shifted + boxes(generator, int(generator.integers(0, most)))
    label = lambda many: generator.integers(1, classes + 1, len(many)).tolist()  # noqa: E731
    truth = ImageTruth(
        name="image", image_id=1, height=20, width=30, masks=[rectangle(*box) for box in truths], labels=label(truths)
    )
    scores = generator.random(len(detections)).round(digits).tolist()
    return truth, Instances([rectangle(*box) for box in detections], scores, label(detections))


def engine(cases: Sequence[Case], limit: int | None) -> tuple[float, float, float]:
    return average_precision(
        [truth.masks for truth, _ in cases],
        [results.masks for _, results in cases],
        [results.scores for _, results in cases],
        max_detections=limit,
        truth_labels=[truth.labels for truth, _ in cases],
        prediction_labels=[results.labels for _, results in cases],
    )


def counts_of(matches: Sequence[ImageMatches]) -> np.ndarray:
    return np.array([pooled.truths for pooled in pooled_classes(matches)]).reshape(-1, len(matches))


cases = {
    "seed": st.integers(0, 2**32 - 1),
    "classes": st.integers(1, 3),
    "limit": st.sampled_from([None, 1, 3, 100]),
}


@settings(max_examples=60, deadline=None)
@given(images=st.integers(1, 4), **cases)
def test_equals_the_engine(seed: int, images: int, classes: int, limit: int | None) -> None:
    generator = np.random.default_rng(seed)
    drawn = [draw(generator, classes) for _ in range(images)]
    result = pooled_ap([match_image(*case) for case in drawn], limit=limit)
    np.testing.assert_allclose(result, engine(drawn, limit), rtol=0, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(weights=st.lists(st.integers(0, 3), min_size=3, max_size=3), **cases)
def test_a_weight_lists_the_image_so_many_times(seed: int, classes: int, limit: int | None, weights: list[int]) -> None:
    generator = np.random.default_rng(seed)
    drawn = [draw(generator, classes) for _ in range(3)]
    listed = [case for case, weight in zip(drawn, weights, strict=True) for _ in range(weight)]
    result = pooled_ap([match_image(*case) for case in drawn], np.array(weights), limit)
    np.testing.assert_allclose(result, engine(listed, limit), rtol=0, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(st.lists(st.integers(0, 3), min_size=3, max_size=3), min_size=1, max_size=4), **cases)
def test_many_weightings_at_once_equal_each_by_itself(
    seed: int, classes: int, limit: int | None, rows: list[list[int]]
) -> None:
    """Without ties inside an image, which the engine resolves copy by copy."""
    generator = np.random.default_rng(seed)
    matches = [match_image(*draw(generator, classes, digits=16)) for _ in range(3)]
    together = resampled_ap(pooled_classes(matches, limit), range(10), np.array(rows))
    alone = [pooled_ap(matches, np.array(row), limit).ap for row in rows]
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(weights=st.lists(st.integers(0, 3), min_size=3, max_size=3), **cases)
def test_the_ceiling_is_what_the_truth_itself_scores(
    seed: int, classes: int, limit: int | None, weights: list[int]
) -> None:
    generator = np.random.default_rng(seed)
    drawn = [draw(generator, classes)[0] for _ in range(3)]
    listed = [truth for truth, weight in zip(drawn, weights, strict=True) for _ in range(weight)]
    expected = ceiling([truth.masks for truth in listed], limit or 2, labels=[truth.labels for truth in listed])
    truths = counts_of([match_image(truth, Instances()) for truth in drawn])
    np.testing.assert_allclose(ceilings(truths, np.array([weights]), limit or 2), [expected], rtol=0, atol=1e-12)


def naive(truth: ImageTruth, results: Instances) -> np.ndarray:
    """COCO's matching in its own words: for each threshold, each detection in turn, each truth in turn."""
    order = np.argsort(-np.array(results.scores), kind="stable") if results.scores else np.zeros(0, int)
    found = np.zeros((10, len(order)), bool)
    for row, threshold in enumerate(IOU_THRESHOLDS):
        free = [True] * len(truth.masks)
        for column, index in enumerate(order):
            best, chosen = min(threshold, 1 - 1e-10), None
            for number, mask in enumerate(truth.masks):
                overlap = iou(mask, results.masks[index])
                if free[number] and truth.labels[number] == results.labels[index] and overlap >= best:
                    best, chosen = overlap, number
            if chosen is not None:
                free[chosen], found[row, column] = False, True
    return found


def iou(first: dict, second: dict) -> float:
    from pycocotools import mask as coco_mask

    one, other = coco_mask.decode(first).astype(bool), coco_mask.decode(second).astype(bool)
    return (one & other).sum() / (one | other).sum()


@pytest.mark.parametrize("seed", range(6))
def test_equals_the_matching_in_cocos_own_words(seed: int) -> None:
    truth, results = draw(np.random.default_rng(seed), classes=2)
    matches = match_image(truth, results)
    np.testing.assert_array_equal(matches.true_positive, naive(truth, results))
    assert matches.scores.tolist() == sorted(results.scores, reverse=True)


def test_a_hand_worked_image() -> None:
    """Two truths side by side; the detection of the best score takes the one that it overlaps more."""
    truths = [rectangle(0, 0, 10, 10), rectangle(0, 8, 10, 18)]
    first, second = rectangle(0, 1, 10, 11), rectangle(0, 0, 10, 9)  # IoU 9/11 = 0.818 and 9/10 with the left truth
    truth = ImageTruth(name="a", image_id=1, height=20, width=30, masks=truths, labels=[1, 1])
    matches = match_image(truth, Instances([second, first], [0.3, 0.9], [1, 1]))
    assert matches.scores.tolist() == [0.9, 0.3]
    assert matches.true_positive.sum(axis=1).tolist() == [1] * 9 + [0]
    assert matches.true_positive[:7, 0].all()  # up to 0.80 the confident one has it; above, the other gets it
    assert matches.true_positive[7:9, 1].all()
    assert (matches.ranks.tolist(), matches.truths) == ([0, 1], {1: 2})
    # IoU 0.50: found 1 of 2 at the first place, so precision 1 up to recall 0.5
    assert pooled_ap([matches]).ap50 == pytest.approx(51 / 101)


def test_defined_values_where_nothing_is_there() -> None:
    nothing, one = (
        ImageTruth(name="a", image_id=1, height=20, width=30, masks=[], labels=[]),
        ImageTruth(name="a", image_id=1, height=20, width=30, masks=[rectangle(0, 0, 3, 3)], labels=[1]),
    )
    assert pooled_ap([match_image(one, Instances())]) == (0, 0, 0)
    empty = pooled_ap([match_image(nothing, Instances([rectangle(0, 0, 3, 3)], [0.5], [1]))])
    assert all(math.isnan(value) for value in empty)
    assert all(math.isnan(value) for value in pooled_ap([]))


def test_parts_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(3)
    classes = pooled_classes([match_image(*draw(generator, 2)) for _ in range(3)])
    weights = generator.integers(0, 3, (20, 3))
    whole = resampled_ap(classes, [0], weights)
    monkeypatch.setattr(accumulation, "MOST_NUMBERS", 8)
    np.testing.assert_array_equal(resampled_ap(classes, [0], weights), whole)
