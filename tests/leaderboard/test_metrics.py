"""Metrics of resampled images are the metrics of an evaluation that lists these images."""

import math
from dataclasses import replace

import numpy as np
import pytest
from drawn_masks import disturbed, encode, random_label_map
from hypothesis import given, settings
from hypothesis import strategies as st

from nucleiseg.errors import InputError
from nucleiseg.evaluation.instances import Instances
from nucleiseg.evaluation.report import evaluate
from nucleiseg.evaluation.truth import ImageTruth
from nucleiseg.leaderboard.metrics import CEILING, METRICS, ceilings_of, find_metric
from nucleiseg.leaderboard.record import EvaluationRecord


def synthetic() -> tuple[list[ImageTruth], dict[int | str, Instances]]:
    generator = np.random.default_rng(5)
    truths, results = [], {}
    for number, count in enumerate((8, 14, 3), 1):
        true = random_label_map(generator, count)
        predicted = disturbed(generator, true, count)
        masks, found = ([encode(plane == v) for v in np.unique(plane)[1:]] for plane in (true, predicted))
        truths.append(
            ImageTruth(
                name=str(number),
                image_id=number,
                height=true.shape[0],
                width=true.shape[1],
                masks=masks,
                labels=[1] * len(masks),
            )
        )
        results[number] = Instances(found, generator.random(len(found)).tolist(), [1] * len(found))
    return truths, results


TRUTHS, RESULTS = synthetic()
RECORD = EvaluationRecord.of(TRUTHS, RESULTS, 0.5, math.nan, "")


@settings(max_examples=12, deadline=None)
@given(weights=st.lists(st.integers(0, 3), min_size=3, max_size=3).filter(any))
def test_a_weight_lists_the_image_so_many_times(weights: list[int]) -> None:
    listed, found = [], {}
    for truth, weight in zip(TRUTHS, weights, strict=True):
        for _ in range(weight):
            listed.append(replace(truth, image_id=len(listed)))
            found[listed[-1].image_id] = RESULTS[truth.image_id]
    report = evaluate(listed, found, 0.5).to_dict()
    rows = np.array([weights, [1, 1, 1]])
    for key, metric in METRICS.items():
        values = metric.resampled(RECORD, rows)
        np.testing.assert_allclose(values, [report[key], RECORD.report[key]], rtol=0, atol=1e-9, err_msg=key)
    np.testing.assert_allclose(ceilings_of(RECORD, rows)[0], report[CEILING], rtol=0, atol=1e-9)


def test_metrics_with_a_ceiling_are_measured_as_its_share() -> None:
    limited = [key for key, metric in METRICS.items() if metric.has_ceiling]
    assert limited == ["ap_100", "ap50_100", "ap75_100"]
    metric, once = METRICS["ap50_100"], np.ones((1, 3))
    assert metric.measure == "ap50_100_share"
    share = RECORD.report["ap50_100"] / RECORD.report[CEILING]
    assert metric.measured(RECORD, once)[0] == pytest.approx(share)
    assert METRICS["ap50"].measured(RECORD, once)[0] == pytest.approx(RECORD.report["ap50"])


def test_every_flat_metric_of_masks_and_counts_can_rank() -> None:
    flat = {key for key, value in RECORD.report.items() if isinstance(value, float) and not key.startswith("box_")}
    assert set(METRICS) == flat - {CEILING, "count_threshold"}


@pytest.mark.parametrize(
    ("key", "better", "worse"),
    [("ap50", 0.4, 0.3), ("count_mae", 2, 3), ("count_bias", -1, 2), ("count_bias", 1, -2), ("pq", 0.0, math.nan)],
)
def test_which_of_two_values_is_better(key: str, better: float, worse: float) -> None:
    assert METRICS[key].goodness(better) > METRICS[key].goodness(worse)


@pytest.mark.parametrize(
    ("key", "worse", "not_worse"),
    [("ap50", (-0.2, -0.1), (0.1, 0.2)), ("count_mae", (1, 2), (-2, -1)), ("count_bias", (1, 2), (-2, -1))],
)
def test_only_an_interval_on_the_worse_side_is_worse(
    key: str, worse: tuple[float, float], not_worse: tuple[float, float]
) -> None:
    assert METRICS[key].is_worse(worse)
    for difference in (not_worse, (-1, 1), (0, 0), (math.nan, math.nan)):
        assert not METRICS[key].is_worse(difference)


@pytest.mark.parametrize("rank_by", ["mAP", "box_ap50", "ap50_100_ceiling"])
def test_an_unknown_metric_names_the_accepted_ones(rank_by: str) -> None:
    with pytest.raises(InputError, match=rf"rank_by is '{rank_by}'; it accepts one of ap, ap50, .*, count_bias\."):
        find_metric(rank_by)


def test_an_interval_ends_where_the_metric_does() -> None:
    assert METRICS["ap50"].clipped((-0.2, 1.1)) == (0.0, 1.0)
    assert METRICS["ap50"].clipped((0.2, 0.9)) == (0.2, 0.9)
    assert METRICS["count_mae"].clipped((-3.0, 400.0)) == (0.0, 400.0)
    assert METRICS["count_bias"].clipped((-3.0, 400.0)) == (-3.0, 400.0)
    assert np.isnan(METRICS["ap50"].clipped((np.nan, np.nan))).all()
