"""Metrics of single classes against pycocotools and against sets of one class; confusions counted by hand."""

import numpy as np
import pytest
from coco_oracle import numbers, oracle
from drawn_masks import encode

from nucleiseg.evaluation.class_metrics import NOTHING, to_matrix
from nucleiseg.evaluation.instances import CrowdRegion, Instances
from nucleiseg.evaluation.report import evaluate
from nucleiseg.evaluation.truth import ImageTruth
from nucleiseg.rle import RLE

SIZE = (30, 30)
NAMES = {1: "tumor", 2: "stroma", 5: "dead"}


def rectangle(top: int, left: int, bottom: int, right: int) -> RLE:
    mask = np.zeros(SIZE, bool)
    mask[top:bottom, left:right] = True
    return encode(mask)


def true(masks: list[RLE], labels: list[int], number: int = 1, crowd: tuple[CrowdRegion, ...] = ()) -> ImageTruth:
    return ImageTruth(
        name=str(number), image_id=number, height=SIZE[0], width=SIZE[1], masks=masks, labels=labels, crowd=crowd
    )


def random_set(seed: int, count: int = 4) -> tuple[list[ImageTruth], dict[int, Instances]]:
    """Images of rectangles of three classes, found shifted, some missed, spurious or of another class."""
    rng = np.random.default_rng(seed)
    truths, results = [], {}
    for number in range(1, count + 1):
        corners = [(row, column) for row in range(0, 24, 8) for column in range(0, 24, 8)]
        labels = rng.choice(list(NAMES), len(corners)).tolist()
        masks = [rectangle(top, left, top + 6, left + 6) for top, left in corners]
        truths.append(true(masks, labels, number))
        shifts = rng.integers(0, 3, (len(corners), 2)).tolist()
        moved = [rectangle(t + a, c + b, t + a + 6, c + b + 6) for (t, c), (a, b) in zip(corners, shifts, strict=True)]
        guessed = [int(rng.choice(list(NAMES))) if rng.random() < 0.3 else label for label in labels]
        kept = np.flatnonzero(rng.random(len(corners)) < 0.8).tolist()
        scores = rng.choice([0.2, 0.6, 0.7, 0.9], len(kept)).tolist()
        results[number] = Instances([moved[i] for i in kept], scores, [guessed[i] for i in kept])
    return truths, results


def of_class(image: Instances, label: int) -> Instances:
    chosen = [index for index, own in enumerate(image.labels) if own == label]
    scores = [image.scores[index] for index in chosen] if image.scores else []
    return Instances([image.masks[index] for index in chosen], scores, [label] * len(chosen))


@pytest.mark.parametrize("seed", range(3))
def test_ap_of_each_class_is_that_of_pycocotools(seed: int) -> None:
    truths, results = random_set(seed)
    report = evaluate(truths, results, categories=NAMES).to_dict()
    found = [results[image.image_id] for image in truths]
    engine = oracle(truths, found, "segm", [1, 100])
    for place, name in enumerate(NAMES.values()):
        group = report["per_class"][name]
        assert [group[key] for key in ("ap", "ap50", "ap75")] == pytest.approx(numbers(engine, classes=place))
    assert [report[key] for key in ("ap", "ap50", "ap75")] == pytest.approx(numbers(engine))
    means = [np.mean([group[key] for group in report["per_class"].values()]) for key in ("ap", "ap50", "ap75")]
    assert [report[key] for key in ("ap", "ap50", "ap75")] == pytest.approx(means)


def test_class_agnostic_ap_is_that_of_one_class_in_pycocotools() -> None:
    truths, results = random_set(4)
    agnostic = evaluate(truths, results, categories=NAMES).to_dict()["class_agnostic"]
    one = [Instances(image.masks, labels=[1] * len(image.masks)) for image in truths]
    found = [Instances(found.masks, found.scores, [1] * len(found.masks)) for found in results.values()]
    assert [agnostic[key] for key in ("ap", "ap50", "ap75")] == pytest.approx(
        numbers(oracle(one, found, "segm", [1, 100]))
    )


def test_metrics_of_a_class_are_those_of_a_set_that_has_no_other() -> None:
    truths, results = random_set(5)
    report = evaluate(truths, results, categories=NAMES).to_dict()
    for label, name in NAMES.items():
        alone = [
            true(of_class(image, label).masks, of_class(image, label).labels, int(image.image_id)) for image in truths
        ]
        expected = evaluate(alone, {number: of_class(found, label) for number, found in results.items()}).to_dict()
        keys = ("truths", "results", "aji", "aji_plus", "dq", "sq", "pq", "dice", "f1", "count_mae", "count_bias")
        assert {key: report["per_class"][name][key] for key in keys} == pytest.approx(
            {key: expected[key] for key in keys}
        )
    mean = np.mean([report["per_class"][name]["pq"] for name in NAMES.values()])
    assert report["mean_over_classes"]["pq"] == pytest.approx(mean)


def test_confusions_are_counted_once_each() -> None:
    """A tumor found as stroma, one found, one missed; a spurious stroma; a dead nucleus below the threshold."""
    masks = [rectangle(row, 0, row + 6, 6) for row in (0, 8, 16)] + [rectangle(0, 10, 6, 16)]
    truth = true(masks, [1, 1, 1, 5])
    found = Instances([masks[0], masks[1], rectangle(20, 20, 26, 26), masks[3]], [0.9, 0.8, 0.7, 0.3], [2, 1, 2, 5])
    report = evaluate([truth], {1: found}, categories=NAMES).to_dict()
    assert report["confusion"] == {
        "classes": ["tumor", "stroma", "dead"],
        "matrix": [[1, 1, 0, 1], [0, 0, 0, 0], [0, 0, 0, 1], [0, 1, 0, 0]],
    }
    assert report["per_class"]["dead"]["count"] == 0
    assert report["per_class"]["dead"]["count_bias"] == -1


@pytest.mark.parametrize("seed", range(3))
def test_rows_and_columns_of_the_matrix_add_up(seed: int) -> None:
    truths, results = random_set(seed)
    report = evaluate(truths, results, categories=NAMES).to_dict()
    matrix = np.array(report["confusion"]["matrix"])
    groups = report["per_class"].values()
    assert matrix[:-1].sum(axis=1).tolist() == [group["truths"] for group in groups]
    assert matrix[:, :-1].sum(axis=0).tolist() == [group["count"] for group in groups]
    assert 2 * matrix[:-1, :-1].sum() / (matrix[:-1].sum() + matrix[:, :-1].sum()) == pytest.approx(report["dq"])


def test_hidden_instances_have_no_partner() -> None:
    """A result below an equal one is spurious."""
    mask = rectangle(0, 0, 8, 8)
    report = evaluate([true([mask], [1])], {1: Instances([mask, mask], [0.9, 0.8], [1, 2])}, categories=NAMES).to_dict()
    assert np.array(report["confusion"]["matrix"]).tolist() == [[1, 0, 0, 0], [0] * 4, [0] * 4, [0, 1, 0, 0]]
    report = evaluate([true([mask, mask], [1, 2])], {1: Instances([mask], [0.9], [1])}, categories=NAMES).to_dict()
    assert np.array(report["confusion"]["matrix"]).sum() == 2  # one of the equal truths is missed


def test_one_class_has_no_confusion() -> None:
    masks = [rectangle(0, 0, 8, 8)]
    report = evaluate([true(masks, [1])], {1: Instances(masks, [0.9], [1])}, categories={1: "nucleus"}).to_dict()
    assert {"confusion", "class_agnostic", "mean_over_classes"}.isdisjoint(report)
    group = report["per_class"]["nucleus"]
    assert {key: group[key] for key in ("ap", "pq", "f1", "aji", "count_mae")} == {
        key: report[key] for key in ("ap", "pq", "f1", "aji", "count_mae")
    }


def test_crowd_regions_of_any_class_stay_neither_found_nor_missed() -> None:
    crowd = (CrowdRegion(rectangle(0, 0, 10, 10), 2),)
    found = Instances([rectangle(1, 1, 7, 7)], [0.9], [2])
    report = evaluate([true([rectangle(20, 20, 26, 26)], [1], crowd=crowd)], {1: found}, categories=NAMES).to_dict()
    assert report["confusion"]["matrix"] == [[0, 0, 0, 1], [0] * 4, [0] * 4, [0] * 4]


def test_a_matrix_has_a_place_for_label_zero() -> None:
    matrix = to_matrix({(0, 0): 3, (0, NOTHING): 1, (NOTHING, 4): 2}, {0: "a", 4: "b"})
    assert matrix == {"classes": ["a", "b"], "matrix": [[3, 0, 1], [0, 0, 0], [0, 2, 0]]}
