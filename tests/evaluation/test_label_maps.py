"""Run lengths decoded for all masks at once equal pycocotools'; painting follows its rule."""

import numpy as np
import pytest
from drawn_masks import encode, rectangle
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from nucleiseg.evaluation.painting import decode, paint, sound
from nucleiseg.rle import RLE

MASKS = st.tuples(st.integers(1, 9), st.integers(1, 70)).flatmap(
    lambda shape: st.lists(arrays(np.bool_, shape), min_size=1, max_size=5)
)


@settings(max_examples=80, deadline=None)
@given(MASKS)
def test_decoded_runs_are_the_masks(masks: list[np.ndarray]) -> None:
    height, width = masks[0].shape
    rles = [encode(mask) for mask in masks]
    decoded = np.zeros((len(masks), width * height), dtype=bool)
    for instance, start, stop in zip(*decode(rles), strict=True):
        assert stop >= start
        decoded[instance, start:stop] = True
    np.testing.assert_array_equal(decoded, [mask.ravel(order="F") for mask in masks])
    np.testing.assert_array_equal(decode(rles).areas(len(rles)), [mask.sum() for mask in masks])
    assert sound(rles, height, width).all()


def test_long_runs_need_several_characters() -> None:
    mask = np.zeros((1500, 1500), dtype=bool)
    mask[700:, 3] = mask[1, 900:1400] = True
    runs = decode([encode(mask)])
    flat = np.zeros(mask.size, dtype=bool)
    for start, stop in zip(runs.start, runs.stop, strict=True):
        flat[start:stop] = True
    np.testing.assert_array_equal(flat, mask.ravel(order="F"))


def test_nothing_to_decode() -> None:
    assert len(decode([]).instance) == 0
    assert paint([], 2, 3).tolist() == [[0, 0, 0], [0, 0, 0]]
    assert sound([], 2, 3).shape == (0,)


@pytest.mark.parametrize(
    "counts",
    [
        "",  # nothing
        "0",  # a run of zero pixels: too few
        "71",  # 7 + 1 of 6 pixels
        "3N5",  # 3 - 2 + 5 pixels: the right sum with a negative run
        "6P",  # ends within a number
        "6 ",  # a character that is none of COCO's
        "6é",
        "oooooooooooo0",  # a number without an end
    ],
)
def test_damaged_run_lengths_are_refused(counts: str) -> None:
    fine = rectangle(0, 0, 1, 1, size=(2, 3))
    masks = [fine, RLE(size=[2, 3], counts=counts), fine]
    np.testing.assert_array_equal(sound(masks, 2, 3), [True, False, True])


def naive_paint(masks: list[np.ndarray], scores: list[float]) -> np.ndarray:
    label_map = np.zeros(masks[0].shape, np.int32)
    order = sorted(range(len(masks)), key=lambda i: (scores[i], -masks[i].sum(), -i))
    for index in order:
        label_map[masks[index]] = index + 1
    return label_map


@settings(max_examples=50, deadline=None)
@given(MASKS, st.data())
def test_painting_is_in_ascending_score_then_descending_area(masks: list[np.ndarray], data: st.DataObject) -> None:
    scores = data.draw(st.lists(st.sampled_from([0.2, 0.5, 0.9]), min_size=len(masks), max_size=len(masks)))
    rles = [encode(mask) for mask in masks]
    np.testing.assert_array_equal(paint(rles, *masks[0].shape, scores), naive_paint(masks, scores))
    np.testing.assert_array_equal(paint(rles, *masks[0].shape), naive_paint(masks, [0] * len(masks)))


def test_a_full_image_is_one_run() -> None:
    rle = encode(np.ones((4, 5), dtype=bool))
    runs = decode([rle])
    assert (runs.start.tolist(), runs.stop.tolist()) == ([0], [20])
    assert coco_mask.area(rle) == runs.areas(1)[0]
