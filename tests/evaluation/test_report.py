"""All numbers of a set of images: keys, definitions, thresholds, and values at the edges."""

import json
import warnings

import numpy as np
import pytest
from drawn_masks import encode, found, image, random_label_map, rectangle

from nucleiseg.evaluation.coco_ap import average_precision
from nucleiseg.evaluation.instances import Instances
from nucleiseg.evaluation.report import Report, evaluate
from nucleiseg.evaluation.truth import ImageTruth

OF_MASKS = ["ap", "ap50", "ap75", "ap_100", "ap50_100", "ap75_100"]
AVERAGE_PRECISION = [*OF_MASKS, *(f"box_{key}" for key in OF_MASKS), "ap50_100_ceiling"]
LABEL_MAP_KEYS = ["aji", "aji_plus", "dq", "sq", "pq", "dice", "f1"]
FLAT = [*AVERAGE_PRECISION, *LABEL_MAP_KEYS, "count_mae", "count_bias", "count_threshold"]

SQUARES = [rectangle(0, 0, 4, 4), rectangle(10, 10, 16, 16), rectangle(2, 20, 8, 28)]


def numbers(report: Report) -> dict[str, float | None]:
    values = report.to_dict()
    return {key: values[key] for key in FLAT}


def test_truth_as_prediction_is_perfect() -> None:
    truths = [image("a", SQUARES), image("b", SQUARES[:1], image_id=2)]
    report = evaluate(truths, {1: found(SQUARES, [0.9, 0.8, 0.7]), 2: found(SQUARES[:1], [0.6])})
    expected = dict.fromkeys(FLAT, 1.0) | {"count_mae": 0, "count_bias": 0, "count_threshold": 0.5}
    assert numbers(report) == pytest.approx(expected)


def test_overlapping_truths_as_predictions_are_perfect_too() -> None:
    masks = [rectangle(0, 0, 10, 10), rectangle(2, 2, 5, 5), rectangle(8, 8, 14, 14)]
    assert evaluate([image("a", masks)], {1: found(masks[::-1], [1.0] * 3)}).pooled == (1,) * 7


def test_more_than_a_hundred_truths_have_a_ceiling() -> None:
    label_map = np.arange(1, 151).reshape(10, 15).repeat(3, axis=0).repeat(3, axis=1)
    masks = [encode(label_map == value) for value in range(1, 151)]
    report = evaluate([image("a", masks, size=(30, 45))], {1: found(masks, [0.9] * 150)}).to_dict()
    assert report["ap50"] == 1
    assert report["ap50_100"] == report["ap50_100_ceiling"] == pytest.approx(67 / 101)  # recalls 0 .. 0.66 of 0 .. 1


def test_every_flat_number_has_a_definition_and_is_plain_json() -> None:
    report = evaluate([image("a", SQUARES)], {}).to_dict()
    assert set(FLAT) | {"per_image", "per_class", "by_size", "mean_over_images"} <= set(report["definitions"])
    assert all(name in report["definitions"]["by_size"] for name in report["by_size"])
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert set(AVERAGE_PRECISION[:3]) | set(LABEL_MAP_KEYS) <= set(report["per_image"][0])


def test_pooled_is_not_the_mean_over_images() -> None:
    """Nothing found in the image of two nuclei, everything in that of one."""
    truths = [image("a", SQUARES[:2]), image("b", SQUARES[2:], image_id=2)]
    report = evaluate(truths, {2: found(SQUARES[2:], [0.9])}).to_dict()
    assert report["dq"] == report["f1"] == pytest.approx(2 * 1 / (2 * 1 + 2))
    assert report["aji"] == pytest.approx(48 / (16 + 36 + 48))
    assert report["mean_over_images"]["dq"] == report["mean_over_images"]["aji"] == 0.5
    assert [line["pq"] for line in report["per_image"]] == [0, 1]
    assert [line["ap50"] for line in report["per_image"]] == [0, 1]


def test_the_threshold_is_for_counts_and_label_maps_alone() -> None:
    results = {1: found([*SQUARES, rectangle(17, 0, 19, 9)], [0.9, 0.6, 0.3, 0.1])}
    low, high = (evaluate([image("a", SQUARES)], results, threshold).to_dict() for threshold in (0.0, 0.6))
    assert low["ap"] == high["ap"]
    assert (low["count_bias"], high["count_bias"]) == (1, -1)
    assert low["dq"] == pytest.approx(6 / 7)
    assert high["dq"] == pytest.approx(4 / 5)  # a score of 0.6 is kept
    assert high["per_image"][0] | {"results": 4, "count": 2, "truths": 3, "count_error": -1} == high["per_image"][0]


def test_count_errors_do_not_cancel_in_the_mean_absolute() -> None:
    truths = [image("a", SQUARES), image("b", [], image_id=2)]
    report = evaluate(truths, {1: found(SQUARES[:1], [1.0]), 2: found(SQUARES[:2], [1.0, 1.0])}).to_dict()
    assert report["count_mae"] == 2
    assert report["count_bias"] == 0


def test_the_most_confident_is_on_top() -> None:
    large, small = rectangle(0, 0, 10, 10), rectangle(0, 0, 10, 4)
    truth = [image("a", [large])]
    assert evaluate(truth, {1: found([large, small], [0.9, 0.6])}).pooled.dq == 1  # the small one is hidden
    covered = evaluate(truth, {1: found([large, small], [0.6, 0.9])}).pooled
    assert covered.dq == pytest.approx(2 / 3)
    assert covered.sq == pytest.approx(0.6)


def test_empty_sides_have_defined_values_and_no_warnings() -> None:
    nothing, something = image("a", []), image("a", SQUARES)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        both = evaluate([nothing], {}).to_dict()
        no_truth = evaluate([nothing], {1: found(SQUARES, [0.9] * 3)}).to_dict()
        no_result = evaluate([something], {1: Instances()}).to_dict()
    for report, value in ((both, 1), (no_truth, 0), (no_result, 0)):
        assert [report[key] for key in LABEL_MAP_KEYS] == [value] * 7
    for report in (both, no_truth):
        assert [report[key] for key in AVERAGE_PRECISION] == [None] * 13
    assert [no_result[key] for key in AVERAGE_PRECISION] == [0] * 12 + [1]
    assert both["per_class"] == {}
    assert (
        no_truth["per_class"]["1"] | {"truths": 0, "results": 3, "ap": None, "box_ap": None}
        == no_truth["per_class"]["1"]
    )
    assert (
        no_result["per_class"]["1"] | {"truths": 3, "results": 0, "ap": 0, "box_ap": 0} == no_result["per_class"]["1"]
    )
    for report in (both, no_truth):
        assert {group["ap"] for group in report["by_size"].values()} == {None}
    sizes = no_result["by_size"]
    assert (sizes["diameter_below_16"]["ap"], sizes["diameter_below_16"]["truths"]) == (0, 3)
    assert (sizes["coco_large"]["ap"], sizes["coco_large"]["truths"]) == (None, 0)
    assert json.dumps([both, no_truth, no_result], allow_nan=False)
    assert (both["count_bias"], no_truth["count_bias"], no_result["count_bias"]) == (0, 3, -3)


def test_each_class_by_its_name() -> None:
    """The first class is found, the second is not, the third is declared only, the fourth has no truth."""
    truth = ImageTruth(name="a", image_id=1, height=20, width=30, masks=SQUARES, labels=[1, 1, 2])
    results = {1: Instances([*SQUARES[:2], SQUARES[2]], [0.9, 0.8, 0.7], [1, 1, 4])}
    names = {1: "tumour", 2: "stroma", 3: "other", 4: "other"}
    report = evaluate([truth], results, categories=names).to_dict()
    classes = report["per_class"]
    assert list(classes) == ["tumour", "stroma", "other (3)", "other (4)"]
    assert [group["ap50"] for group in classes.values()] == [1, 0, None, None]
    assert [group["box_ap_100"] for group in classes.values()] == [1, 0, None, None]
    assert [(group["truths"], group["results"]) for group in classes.values()] == [(2, 2), (1, 0), (0, 0), (0, 1)]
    assert report["ap"] == 0.5


def test_each_size_by_itself() -> None:
    """Of squares of 8, 20 and 40 pixels a side (9, 23, 45 across), the middle one is missed; a false one is small."""
    size = (64, 128)
    squares = [rectangle(0, 0, 8, 8, size), rectangle(10, 10, 30, 30, size), rectangle(20, 60, 60, 100, size)]
    results = {1: found([squares[0], squares[2], rectangle(50, 0, 58, 8, size)], [0.9, 0.8, 1.0])}
    sizes = evaluate([image("a", squares, size=size)], results).to_dict()["by_size"]
    expected = {
        "diameter_below_16": (0.5, 1, 2),  # the false one comes first
        "diameter_16_to_32": (0, 1, 0),
        "diameter_above_32": (1, 1, 1),
        "coco_small": (51 / 101 * 0.5, 2, 2),  # recalls 0 .. 0.50 are reached, at precision 1/2
        "coco_medium": (1, 1, 1),
        "coco_large": (None, 0, 0),
    }
    for name, (ap, truths, results_) in expected.items():
        group = sizes[name]
        assert (group["truths"], group["results"]) == (truths, results_)
        for key in ("ap", "ap50", "ap75", "box_ap", "box_ap50", "box_ap75"):
            assert group[key] == (ap if ap is None else pytest.approx(ap))


def test_average_precision_is_that_of_all_images_together() -> None:
    generator = np.random.default_rng(0)
    truths, results = [], {}
    for number in (1, 2):
        label_map = random_label_map(generator, 12)
        masks = [encode(label_map == label) for label in np.unique(label_map) if label]
        truths.append(image(str(number), masks, image_id=number, size=label_map.shape))
        results[number] = found([*masks[1:], masks[2]], generator.random(len(masks)).tolist())
    expected = average_precision(
        [truth.masks for truth in truths], [r.masks for r in results.values()], [r.scores for r in results.values()]
    )
    assert evaluate(truths, results).ap.at_all.masks == expected


def test_metrics_of_no_image() -> None:
    with pytest.raises(ValueError, match="at least one image"):
        evaluate([], {})
