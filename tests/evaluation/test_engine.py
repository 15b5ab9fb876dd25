"""Every average precision against pycocotools: masks, boxes, limits, classes, sizes, ties, duplicates, empty images."""

import warnings

import numpy as np
import pytest
from coco_oracle import numbers, oracle
from drawn_masks import rectangle
from hypothesis import given, settings
from hypothesis import strategies as st

from nucleiseg.evaluation.engine import Matching
from nucleiseg.evaluation.instances import Instances
from nucleiseg.evaluation.sizes import ALL_SIZES, SizeRange
from nucleiseg.rle import Crop, compress, run_lengths

SIDE = 24
SIZES = (ALL_SIZES, SizeRange("small", 0, 9), SizeRange("medium", 9, 20), SizeRange("large", 20, 1e10))
"""Bounds that masks of whole pixels lie on: COCO counts those twice."""

MASKS = st.builds(
    lambda top, left, height, width: rectangle(
        top, left, min(top + height, SIDE), min(left + width, SIDE), (SIDE, SIDE)
    ),
    *[st.integers(0, 9)] * 2,
    *[st.integers(1, 6)] * 2,
)
"""Rectangles on few places: overlaps, equal IoUs and duplicates are common."""


def instances(scored: bool) -> st.SearchStrategy[Instances]:
    scores = st.sampled_from([0.1, 0.5, 0.5, 0.9])  # ties
    rows = st.lists(st.tuples(MASKS, st.sampled_from([1, 1, 2, 7]), scores), max_size=9)
    return rows.map(
        lambda rows: Instances([r[0] for r in rows], [r[2] for r in rows] if scored else [], [r[1] for r in rows])
    )


IMAGES = st.lists(st.tuples(instances(scored=False), instances(scored=True)), min_size=1, max_size=3)


@pytest.mark.parametrize("kind", ["segm", "bbox"])
@settings(max_examples=60, deadline=None)
@given(images=IMAGES)
def test_every_number_equals_pycocotools(kind: str, images: list[tuple[Instances, Instances]]) -> None:
    truths, found = ([pair[side] for pair in images] for side in (0, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        matching = Matching(truths, found, kind=kind, limits=(None, 100, 2), sizes=SIZES)
        pooled = matching.pooled()
        alone = [matching.of_image(index).result() for index in range(len(images))]
    if not any(truth.labels for truth in truths):
        assert np.isnan(pooled.result()).all()
        assert np.isnan(alone).all()
        return
    expected = oracle(truths, found, kind, [2, 100, 1000], SIZES)
    for place, limit in enumerate((2, 100, None)):
        for size in range(len(SIZES)):
            assert pooled.result(limit, size=size) == pytest.approx(
                numbers(expected, size=size, limit=place), abs=1e-6, nan_ok=True
            )
        for number, label in enumerate(matching.labels):
            assert pooled.result(limit, label=label) == pytest.approx(
                numbers(expected, [number], limit=place), abs=1e-6, nan_ok=True
            )
    for index, result in enumerate(alone):
        if truths[index].labels:
            by_itself = oracle(truths[index : index + 1], found[index : index + 1], kind, [1000])
            assert result == pytest.approx(numbers(by_itself), abs=1e-6)
        else:
            assert np.isnan(result).all()


def test_given_boxes_are_taken_instead_of_tight_ones() -> None:
    masks = [rectangle(2, 2, 6, 6), rectangle(8, 8, 12, 12)]
    boxes = [(2.0, 2.0, 4.0, 8.0), (8.0, 8.0, 4.0, 4.0)]
    truths, found = [Instances(masks, [], [1, 1])], [Instances(masks, [0.9, 0.8], [1, 1], boxes)]
    result = Matching(truths, found, kind="bbox").pooled().result()
    assert result == pytest.approx(numbers(oracle(truths, found, "bbox", [100])), abs=1e-6)
    assert result.ap75 < result.ap50 == 1  # the first box is twice too high: IoU 0.5
    assert Matching(truths, found).pooled().result() == (1, 1, 1)


def test_a_class_that_is_not_there_is_undefined() -> None:
    image = [Instances([rectangle(2, 2, 6, 6)], [0.5], [1])]
    assert np.isnan(Matching(image, image).pooled().result(label=9)).all()


@pytest.mark.slow
def test_an_image_of_three_thousand() -> None:
    """3,000 truths and as many detections in one image, tied scores; pycocotools takes 10 s for each IoU threshold."""
    generator = np.random.default_rng(0)
    size = 600
    places = generator.permutation(60 * 60)[:3000]

    def squares(shift: np.ndarray) -> list:
        corners = np.stack([places // 60 * 10, places % 60 * 10], axis=1) + shift
        crops = [Crop(int(row), int(column), np.ones((7, 7), bool)) for row, column in corners]
        return compress([run_lengths(crop, size, size) for crop in crops], size, size)

    truths = [Instances(squares(np.array([1, 1])), [], [1] * 3000)]
    scores = generator.random(3000).round(2).tolist()
    found = [Instances(squares(generator.integers(0, 4, (3000, 2))), scores, [1] * 3000)]
    pooled = Matching(truths, found, limits=(None, 100)).pooled()
    expected = oracle(truths, found, "segm", [100, 3000], thresholds=[0.5, 0.75])
    for place, limit in enumerate((100, None)):
        precision = expected.eval["precision"][:, :, :, 0, place]
        result = pooled.result(limit)
        assert (result.ap50, result.ap75) == pytest.approx(precision.mean(axis=(1, 2)), abs=1e-6)
    assert 0.1 < pooled.result().ap75 < pooled.result().ap50 < 0.9
