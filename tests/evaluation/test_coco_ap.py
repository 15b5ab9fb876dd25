"""Average precision against pycocotools, and its defined values where there is nothing to measure."""

import math
import warnings

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from nucleiseg.evaluation import engine
from nucleiseg.evaluation.coco_ap import average_precision, average_precisions, ceiling
from nucleiseg.rle import RLE


def disc(row: float, column: float, radius: float, size: int = 64) -> RLE:
    rows, columns = np.mgrid[:size, :size]
    mask = (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
    encoded = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return RLE(size=[size, size], counts=encoded["counts"].decode())


def random_case(seed: int, classes: int = 1, truths: int = 14, false: int = 8) -> dict[str, list]:
    """Three images: truths, jittered and partly missing detections of them, false ones; scores with ties."""
    generator = np.random.default_rng(seed)
    case: dict[str, list] = {key: [] for key in ("truths", "predictions", "scores", "truth_labels", "labels")}
    for _ in range(3):
        discs = generator.uniform((5, 5, 3), (59, 59, 8), (truths, 3))
        labels = generator.integers(1, classes + 1, truths)
        found = np.flatnonzero(generator.random(truths) < 0.8)
        jittered = discs[found] + generator.normal(0, 0.8, (len(found), 3))
        detections = np.concatenate([jittered, generator.uniform((5, 5, 3), (59, 59, 8), (false, 3))])
        case["truths"].append([disc(*values) for values in discs])
        case["predictions"].append([disc(*values) for values in detections])
        case["scores"].append(generator.random(len(detections)).round(2).tolist())
        case["truth_labels"].append(labels.tolist())
        case["labels"].append([*labels[found].tolist(), *generator.integers(1, classes + 1, false).tolist()])
    return case


def oracle(case: dict[str, list], limit: int) -> tuple[float, float, float]:
    """AP, AP50, AP75 of pycocotools, read from its precision array (its summary insists on a limit of 100)."""
    truth, found = COCO(), []
    annotations = []
    for image, masks in enumerate(case["truths"]):
        for mask, label in zip(masks, case["truth_labels"][image], strict=True):
            area = float(coco_mask.area(mask))
            annotations.append(
                {"image_id": image, "category_id": label, "segmentation": mask, "area": area, "iscrowd": 0}
            )
        for mask, score, label in zip(
            case["predictions"][image], case["scores"][image], case["labels"][image], strict=True
        ):
            found.append({"image_id": image, "category_id": label, "segmentation": dict(mask), "score": score})
    categories = sorted({label for labels in case["truth_labels"] for label in labels})
    truth.dataset = {
        "info": {},
        "images": [{"id": image, "height": 64, "width": 64} for image in range(len(case["truths"]))],
        "annotations": [{"id": number, **annotation} for number, annotation in enumerate(annotations, 1)],
        "categories": [{"id": category} for category in categories],
    }
    truth.createIndex()
    engine = COCOeval(truth, truth.loadRes(found), "segm")
    engine.params.maxDets = [1, 10, limit]
    engine.evaluate()
    engine.accumulate()
    precision = engine.eval["precision"][:, :, :, 0, 2]
    return tuple(float(values[values > -1].mean()) for values in (precision, precision[0], precision[5]))


def measure(case: dict[str, list], limit: int | None, classes: int) -> tuple[float, float, float]:
    labels = {"truth_labels": case["truth_labels"], "prediction_labels": case["labels"]} if classes > 1 else {}
    return average_precision(case["truths"], case["predictions"], case["scores"], max_detections=limit, **labels)


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("limit", [100, 12])
@pytest.mark.parametrize("seed", range(3))
def test_equals_pycocotools(seed: int, limit: int, classes: int) -> None:
    case = random_case(seed, classes)
    np.testing.assert_allclose(measure(case, limit, classes), oracle(case, limit), atol=1e-6)


def test_all_detections_equal_pycocotools_with_an_extended_limit() -> None:
    case = random_case(7, truths=60, false=70)
    assert min(len(scores) for scores in case["scores"]) > 100
    everything = measure(case, None, 1)
    np.testing.assert_allclose(everything, oracle(case, 500), atol=1e-6)
    assert measure(case, 100, 1).ap50 < everything.ap50


@pytest.mark.parametrize("classes", [1, 3])
def test_one_run_gives_every_limit(classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    case = random_case(11, classes)
    runs: list[object] = []
    evaluate = engine.Matching.evaluate
    monkeypatch.setattr(engine.Matching, "evaluate", lambda self: (runs.append(self), evaluate(self)))
    limits = (None, 100, 15, 12, 15)
    columns = case["truths"], case["predictions"], case["scores"]
    labels = {"truth_labels": case["truth_labels"], "prediction_labels": case["labels"]} if classes > 1 else {}
    results = average_precisions(*columns, limits=limits, **labels)
    assert len(runs) == 1
    if classes == 1:
        case["truth_labels"], case["labels"] = ([[1] * len(m) for m in case[key]] for key in ("truths", "predictions"))
    for limit, result in zip(limits, results, strict=True):
        np.testing.assert_allclose(result, oracle(case, limit or 500), atol=1e-6)


def test_perfect_prediction_scores_one() -> None:
    case = random_case(3)
    assert average_precision(case["truths"], case["truths"], [[1.0] * 14] * 3) == pytest.approx((1, 1, 1))


def test_defined_values_where_nothing_is_there() -> None:
    masks, none = [[disc(20, 20, 5)], []], [[], []]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert average_precision(masks, none, none) == (0, 0, 0)
        assert all(math.isnan(value) for value in average_precision(none, masks, [[0.5], []]))
        assert all(math.isnan(value) for value in average_precision([], [], []))


def test_predictions_of_a_class_without_truth_do_not_count() -> None:
    masks = [[disc(20, 20, 5)]]
    result = average_precision(masks, masks, [[0.9]], truth_labels=[[1]], prediction_labels=[[2]])
    assert result == (0, 0, 0)


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    measure(random_case(1), None, 1)
    assert capfd.readouterr() == ("", "")


def test_ceiling_is_what_the_limit_allows() -> None:
    truths = [[disc(6 + 9 * row, 6 + 9 * column, 3) for row in range(6) for column in range(6)]] * 2
    assert ceiling(truths, 36) == pytest.approx(1)
    assert ceiling(truths, 9) == pytest.approx(26 / 101)  # recall 0.25 reaches the recall thresholds 0 .. 0.25
    assert math.isnan(ceiling([[]]))


def test_lists_that_do_not_fit_are_refused() -> None:
    masks = [[disc(20, 20, 5)]]
    with pytest.raises(ValueError, match="images"):
        average_precision(masks, [], [])
    with pytest.raises(ValueError, match="image 0: 1 truths with 1 labels, 1 predictions with 2 scores"):
        average_precision(masks, masks, [[0.5, 0.4]])
