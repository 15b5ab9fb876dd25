"""Crowd regions: average precision as pycocotools has it, and label maps and counts without them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from coco_oracle import numbers, oracle
from drawn_masks import rectangle
from hypothesis import given, settings
from hypothesis import strategies as st
from pooling import pooled_ap

from nucleiseg.evaluation.coco_truth import read_coco
from nucleiseg.evaluation.engine import Matching
from nucleiseg.evaluation.instances import CrowdRegion, Instances
from nucleiseg.evaluation.matches import ignored_in, match_image
from nucleiseg.evaluation.report import evaluate
from nucleiseg.evaluation.sizes import ALL_SIZES, SizeRange
from nucleiseg.evaluation.truth import ImageTruth
from nucleiseg.leaderboard.record import EvaluationRecord
from nucleiseg.structures import EVERY_CLASS

SIDE = 24
SIZES = (ALL_SIZES, SizeRange("small", 0, 9), SizeRange("large", 9, 1e10))

MASKS = st.builds(
    lambda top, left, height, width: rectangle(
        top, left, min(top + height, SIDE), min(left + width, SIDE), (SIDE, SIDE)
    ),
    *[st.integers(0, 9)] * 2,
    *[st.integers(1, 8)] * 2,
)
LABELS = st.sampled_from([1, 1, 2])
TRUTHS = st.builds(
    lambda instances, regions: ImageTruth(
        name="a",
        image_id=1,
        height=SIDE,
        width=SIDE,
        masks=[m for m, _ in instances],
        labels=[n for _, n in instances],
        boxes=None,
        crowd=tuple(regions),
    ),
    st.lists(st.tuples(MASKS, LABELS), max_size=6),
    st.lists(st.builds(CrowdRegion, MASKS, LABELS), max_size=3),
)
RESULTS = st.lists(st.tuples(MASKS, st.sampled_from([0.1, 0.5, 0.5, 0.9]), LABELS), max_size=9).map(
    lambda rows: Instances([r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows])
)
IMAGES = st.lists(st.tuples(TRUTHS, RESULTS), min_size=1, max_size=3)


def instances(images: list[tuple[ImageTruth, Instances]]) -> tuple[list[Instances], list[Instances]]:
    truths, detections = zip(*images, strict=True)
    return list(truths), list(detections)


@pytest.mark.parametrize("kind", ["segm", "bbox"])
@settings(max_examples=60, deadline=None)
@given(images=IMAGES)
def test_average_precision_equals_pycocotools(kind: str, images: list[tuple[ImageTruth, Instances]]) -> None:
    truths, found = instances(images)
    if not any(truth.masks for truth in truths):
        return
    expected = oracle(truths, found, kind, [1, 2, 9], SIZES)
    precision = Matching(truths, found, kind=kind, limits=(None, 2), sizes=SIZES).pooled()
    for size in range(len(SIZES)):
        for limit, place in ((None, 2), (2, 1)):
            ours = precision.result(limit, size=size)
            np.testing.assert_allclose(ours, numbers(expected, size=size, limit=place), rtol=0, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(images=IMAGES)
def test_the_leaderboards_matches_give_the_same(images: list[tuple[ImageTruth, Instances]]) -> None:
    truths, found = instances(images)
    expected = Matching(truths, found).pooled().result()
    np.testing.assert_allclose(pooled_ap([match_image(*pair) for pair in images]), expected, rtol=0, atol=1e-12)


NUCLEUS = rectangle(0, 0, 4, 4)
CLUMP = CrowdRegion(rectangle(8, 8, 20, 20), 1)
INSIDE = [rectangle(8, 8, 12, 12), rectangle(13, 13, 17, 17), rectangle(8, 5, 12, 10)]
"""Two inside of the clump, and one with two fifths of its pixels in it."""


def numbers_of(truth: ImageTruth, found: Instances) -> dict:
    return evaluate([truth], {1: found}).to_dict()


def test_label_maps_and_counts_leave_out_what_lies_mostly_in_a_crowd_region() -> None:
    truth = ImageTruth(name="a", image_id=1, height=20, width=30, masks=[NUCLEUS], labels=[1], crowd=(CLUMP,))
    report = numbers_of(truth, Instances([NUCLEUS, *INSIDE[:2]], [0.9, 0.8, 0.7], [1, 1, 2]))
    assert {key: report[key] for key in ("aji", "aji_plus", "pq", "f1", "dice", "count_mae")} == {
        "aji": 1,
        "aji_plus": 1,
        "pq": 1,
        "f1": 1,
        "dice": 1,
        "count_mae": 0,
    }
    assert (report["truths"], report["results"], report["crowd_regions"]) == (1, 3, 1)
    assert report["per_image"][0]["count"] == 1


def test_a_result_with_less_than_half_in_a_crowd_region_counts() -> None:
    truth = ImageTruth(name="a", image_id=1, height=20, width=30, masks=[NUCLEUS], labels=[1], crowd=(CLUMP,))
    report = numbers_of(truth, Instances([NUCLEUS, INSIDE[2]], [0.9, 0.8], [1, 1]))
    assert report["f1"] == pytest.approx(2 / 3)
    assert report["count_bias"] == 1


def test_a_result_on_a_nucleus_inside_a_crowd_region_counts() -> None:
    truth = ImageTruth(name="a", image_id=1, height=20, width=30, masks=[INSIDE[0]], labels=[1], crowd=(CLUMP,))
    report = numbers_of(truth, Instances([INSIDE[0]], [0.9], [1]))
    assert (report["f1"], report["per_image"][0]["count"], report["ap"]) == (1, 1, 1)


def test_many_results_in_one_crowd_region_are_not_false() -> None:
    truth = ImageTruth(name="a", image_id=1, height=20, width=30, masks=[NUCLEUS], labels=[1], crowd=(CLUMP,))
    with_region = numbers_of(truth, Instances([*INSIDE[:2], NUCLEUS], [0.9, 0.8, 0.7], [1, 1, 1]))
    assert with_region["ap"] == with_region["box_ap"] == 1
    without = numbers_of(
        ImageTruth(name="a", image_id=1, height=20, width=30, masks=[NUCLEUS], labels=[1]),
        Instances([*INSIDE[:2], NUCLEUS], [0.9, 0.8, 0.7], [1, 1, 1]),
    )
    assert without["ap"] == pytest.approx(1 / 3)


def test_a_region_of_another_class_is_none() -> None:
    truth = ImageTruth(
        name="a", image_id=1, height=20, width=30, masks=[NUCLEUS], labels=[1], crowd=(CrowdRegion(CLUMP.mask, 2),)
    )
    report = numbers_of(truth, Instances([INSIDE[0], NUCLEUS], [0.9, 0.8], [1, 1]))
    assert report["ap"] == pytest.approx(1 / 2)
    assert list(report["per_class"]) == ["1"]


def test_a_record_keeps_what_was_ignored(tmp_path: Path) -> None:
    truth = ImageTruth(name="a", image_id=1, height=20, width=30, masks=[NUCLEUS], labels=[1], crowd=(CLUMP,))
    found = Instances([*INSIDE, NUCLEUS], [0.9, 0.8, 0.6, 0.7], [1] * 4)
    EvaluationRecord.of([truth], {1: found}, 0.5, 1.0, "a CPU").save(tmp_path / "record.npz")
    record = EvaluationRecord.load(tmp_path / "record.npz")
    assert pooled_ap([image.matches for image in record.images]).ap == pytest.approx(record.report["ap"])
    assert record.report["ap"] == 1


def test_crowd_regions_of_a_coco_file(tmp_path: Path) -> None:
    annotations = [
        {"image_id": 1, "category_id": 1, "segmentation": NUCLEUS, "iscrowd": 0},
        {"image_id": 1, "category_id": 1, "segmentation": CLUMP.mask, "iscrowd": 1, "bbox": [8, 8, 12, 12]},
        {"image_id": 1, "category_id": 1, "segmentation": [[3, 3]], "iscrowd": True},
    ]
    document = {"images": [{"id": 1, "height": 20, "width": 30}], "annotations": annotations}
    (tmp_path / "truth.json").write_text(json.dumps(document))
    truth = read_coco(tmp_path / "truth.json")
    assert truth.images[0].masks == [NUCLEUS]
    assert truth.images[0].crowd == (CrowdRegion(CLUMP.mask, 1, (8, 8, 12, 12)),)
    empty, crowd = truth.notes
    assert empty.startswith("Annotations of the truth without a pixel are left out: 1")
    assert crowd.startswith(
        "Crowd regions of the truth (iscrowd): 1. As in COCO, average precision neither misses them"
    )


@pytest.mark.parametrize("kind", ["segm", "bbox"])
@settings(max_examples=20, deadline=None)
@given(IMAGES)
def test_a_region_of_every_class_is_one_region_of_each(kind: Literal["segm", "bbox"], images: list) -> None:
    def spread(truth: ImageTruth, labels: list[int]) -> ImageTruth:
        crowd = tuple(replace(region, label=label) for region in truth.crowd for label in labels)
        return replace(truth, crowd=crowd)

    of_every, of_each = (
        [(spread(truth, labels), found) for truth, found in images] for labels in ([EVERY_CLASS], [1, 2])
    )
    for every, each in zip(of_every, of_each, strict=True):
        first, second = match_image(*every), match_image(*each)
        assert (first.true_positive == second.true_positive).all()
        assert (ignored_in(first) == ignored_in(second)).all()
    first, second = (Matching(*instances(given_images), kind=kind) for given_images in (of_every, of_each))
    np.testing.assert_array_equal(first.pooled().values, second.pooled().values)
