"""Curves: what is read, what thinning keeps, what smoothing means."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nucleiseg.report.charts import SMOOTHING, smooth, thin
from nucleiseg.run_tables import Curve, read_curve


def make_curve(values: list[float]) -> Curve:
    return Curve(np.arange(1.0, len(values) + 1), np.array(values))


def test_only_numbers_are_read_in_the_order_of_the_steps() -> None:
    rows = [
        {"step": "20", "lr": "0.5"},
        {"step": "10", "lr": "1e-3"},
        {"step": "30", "lr": ""},
        {"step": "40", "lr": "nan"},
        {"step": "50", "lr": "inf"},
        {"step": "60", "lr": "broken"},
        {"step": "", "lr": "1"},
        {"step": "70"},
    ]
    steps, values = read_curve(rows, "lr")
    assert steps.tolist() == [10, 20]
    assert values.tolist() == [0.001, 0.5]
    assert len(read_curve([], "lr").steps) == 0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300), st.integers(2, 40))
def test_a_thinned_curve_is_a_part_of_it_with_its_extremes(values: list[float], points: int) -> None:
    curve = make_curve(values)
    steps, kept = thin(curve, points)
    assert len(steps) <= max(points, 2)
    assert (np.diff(steps) > 0).all()
    assert (curve.values[steps.astype(int) - 1] == kept).all()
    assert kept.min() == curve.values.min()
    assert kept.max() == curve.values.max()


def test_a_hundred_thousand_steps_become_five_hundred() -> None:
    curve = make_curve(np.random.default_rng(0).normal(size=100_000).tolist())
    assert 400 < len(thin(curve).steps) <= 500
    assert len(smooth(curve).steps) == 500


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=200), st.integers(1, 50))
def test_smoothing_is_the_mean_of_the_steps_around(values: list[float], points: int) -> None:
    steps, means = smooth(make_curve(values), points)
    half = int(len(values) * SMOOTHING / 2)
    for step, mean in zip(steps.astype(int) - 1, means, strict=True):
        around = values[max(step - half, 0) : step + half + 1]
        assert abs(mean - sum(around) / len(around)) < 1e-6
    assert steps[0] == 1


def test_an_empty_curve_stays_empty() -> None:
    empty = read_curve([], "lr")
    assert len(smooth(empty).steps) == len(thin(empty).steps) == 0
