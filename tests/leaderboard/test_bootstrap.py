"""The paired bootstrap: identities, and intervals that hold what they promise."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import stdtrit
from simulated_records import candidate, image_record, random_record, record

from nucleiseg.evaluation.instance_metrics import Tally
from nucleiseg.leaderboard.bootstrap import interval, resampled_rows, t_factor
from nucleiseg.leaderboard.candidates import Candidate
from nucleiseg.leaderboard.metrics import METRICS
from nucleiseg.leaderboard.record import EvaluationRecord

NOTHING = image_record("image", [], 0)


def test_identical_rows_differ_by_exactly_nothing() -> None:
    generator = np.random.default_rng(0)
    one = random_record(generator, 0.7)
    for key in METRICS:
        rows = resampled_rows([[candidate(one)], [candidate(one, "b", seed=3)]], METRICS[key], 20, 0).values
        assert np.ptp(rows[0]) > 0, f"{key} does not vary"
        np.testing.assert_array_equal(rows[0], rows[1])


def test_the_same_call_gives_the_same_numbers_and_another_seed_others() -> None:
    rows = [[candidate(random_record(np.random.default_rng(1), 0.6))]]
    first, again, other = (resampled_rows(rows, METRICS["ap50"], 50, seed).values for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_images_are_matched_by_their_names_not_their_order() -> None:
    one = random_record(np.random.default_rng(2), 0.6)
    turned = record(*one.images[::-1])
    rows = resampled_rows([[candidate(one)], [candidate(turned, "b")]], METRICS["pq"], 100, 0).values
    np.testing.assert_allclose(rows[0], rows[1], rtol=0, atol=1e-12)


def test_images_are_resampled_within_their_fold() -> None:
    """Two folds, each of two equal images: no draw changes anything, though the folds differ."""
    good, bad = [[True] * 8 + [False] * 2, [True] * 3 + [False] * 7]
    folds = [
        candidate(record(*(image_record(name, found, 10) for name in "ab")), image_set=fold)
        for fold, found in (("1", good), ("2", bad))
    ]
    (values,) = resampled_rows([folds], METRICS["dq"], 50, 0).values
    assert values == pytest.approx(np.full(50, (0.8 + 0.3) / 2))


def test_shared_seeds_are_resampled_together() -> None:
    """The second row is worse by the same with either seed; another step of the same runs is paired with them."""
    levels = {0: 8, 1: 4}
    one = {seed: record(*(image_record(n, [True] * hits, 10) for n in "ab")) for seed, hits in levels.items()}
    two = {seed: record(*(image_record(n, [True] * (hits - 2), 10) for n in "ab")) for seed, hits in levels.items()}
    row = [candidate(one[seed], seed=seed) for seed in (0, 1)]
    paired = [candidate(two[seed], "b", seed=seed) for seed in (0, 1)]
    others = [candidate(two[seed], "c", seed=seed + 5) for seed in (0, 1)]
    measured = resampled_rows([row, paired, others], METRICS["count_bias"], 200, 0).values
    assert sorted(set(measured[0])) == pytest.approx([-6, -4, -2])
    assert measured[1] - measured[0] == pytest.approx(np.full(200, -2))
    assert np.ptp(measured[2] - measured[0]) > 0


def test_a_repeated_run_is_no_seed() -> None:
    """A run and its copy vary as the run alone; a copy of one of two seeds moves no weight to it."""
    levels = [record(*(image_record(n, [True] * hits, 10) for n in "ab")) for hits in (8, 4)]
    one, copy = candidate(levels[0], seed=0), candidate(levels[0], seed=0, run="copy")
    other = candidate(levels[1], seed=1)
    drawn = resampled_rows([[one, copy], [one, copy, other], [one, other]], METRICS["count_bias"], 200, 0).values
    assert np.ptp(drawn[0]) == pytest.approx(0)
    assert drawn[1] == pytest.approx(drawn[2])
    assert drawn[1].mean() == pytest.approx(-4, abs=0.3)


def test_runs_of_one_seed_are_averaged() -> None:
    levels = [record(*(image_record(n, [True] * hits, 10) for n in "ab")) for hits in (8, 4)]
    runs = [candidate(level, run=str(number)) for number, level in enumerate(levels)]
    assert resampled_rows([runs], METRICS["count_bias"], 20, 0).values == pytest.approx(np.full((1, 20), -4))


def test_a_fold_without_truth_is_left_out() -> None:
    fold = random_record(np.random.default_rng(0), 0.6)
    row = [candidate(fold, image_set="1"), candidate(record(image_record("x", [True], 0)), image_set="2")]
    both = resampled_rows([row], METRICS["ap50_100"], 50, 0)
    assert both.images == (6,)
    np.testing.assert_array_equal(both.values, resampled_rows([row[:1]], METRICS["ap50_100"], 50, 0).values)
    neither = resampled_rows([row[1:]], METRICS["ap50_100"], 50, 0)
    assert neither.images == ()
    assert np.isnan(neither.values).all()
    assert resampled_rows([row], METRICS["count_mae"], 50, 0).images == (6, 1), "counts need no truth"


def test_the_t_interval_of_a_mean_is_that_of_textbooks() -> None:
    """Enumerated resamples of 4 values have the variance (n - 1) / n s^2 / n, so value +- t s / sqrt(n) comes back."""
    values = np.array([1.0, 2.0, 4.0, 9.0])
    resamples = np.array(np.meshgrid(*[values] * 4)).reshape(4, -1).mean(axis=0)
    half = 3.182446 * values.std(ddof=1) / 2  # t of 3 degrees
    assert t_factor([4]) * resamples.std() == pytest.approx(half, rel=1e-6)
    assert interval(resamples, 4.0, [4]) == pytest.approx((4 - half, max(4 + half, np.quantile(resamples, 0.975))))


def test_folds_cost_degrees_of_freedom() -> None:
    assert t_factor([10**6]) == pytest.approx(1.959964, abs=1e-5)
    assert t_factor([2, 2]) == pytest.approx(4.302653 * math.sqrt(4 / 2), rel=1e-6)  # t of 2 degrees
    assert t_factor([5] * 5) == pytest.approx(2.085963 * math.sqrt(25 / 20), rel=1e-6)  # t of 20 degrees
    assert t_factor([2, 20]) > t_factor([11, 11]), "the small fold varies most, and little is known of how much"


def test_an_interval_holds_the_percentiles_and_the_value() -> None:
    skewed = np.concatenate([np.zeros(900), np.full(100, 1000.0)])
    low, high = interval(skewed, 100.0, [24])
    assert low < 0
    assert high == 1000
    assert interval(np.full(10, -3.0), 5.0, [24]) == (-3, 5)


def test_without_other_images_or_values_there_is_no_interval() -> None:
    assert np.isnan(interval(np.zeros(10), 0, [1])).all()
    assert np.isnan(interval(np.zeros(10), 0, [5, 1])).all()
    assert np.isnan(interval(np.zeros(10), 0, [])).all()
    assert np.isnan(interval(np.full(10, np.nan), 0, [5])).all()
    assert interval(np.array([np.nan, 2.0, 2.0]), 2, [5]) == (2, 2)


def trial(generator: np.random.Generator, folds: Sequence[int]) -> tuple[float, float]:
    """Return the interval of the difference of two networks that find 70 % and 74 % of nuclei, the errors being paired.

    Harder images are harder for both; apart from that a network varies by 3 % from image to image.
    """
    rows: list[list[Candidate]] = [[], []]
    for fold, images in enumerate(folds):
        truths = generator.integers(100, 200, images)
        hardness = generator.normal(0, 0.05, images)
        for row, chance in zip(rows, (0.70, 0.74), strict=True):
            own = np.clip(chance + hardness + generator.normal(0, 0.03, images), 0, 1)
            tallies = zip(generator.binomial(truths, own).tolist(), truths.tolist(), strict=True)
            found = tuple(replace(NOTHING, tally=Tally(hits, total, total)) for hits, total in tallies)
            row.append(candidate(EvaluationRecord(found, 0.5, {}, 1.0, ""), image_set=str(fold)))
    drawn = resampled_rows(rows, METRICS["dq"], 100, 0)
    values = [
        np.mean([METRICS["dq"].measured(one.record, np.ones((1, len(one.record.images))))[0] for one in row])
        for row in rows
    ]
    return interval(drawn.values[1] - drawn.values[0], float(values[1] - values[0]), drawn.images)


@pytest.mark.parametrize("folds", [(2,), (3,), (5,), (24,), (2, 2)])
def test_intervals_cover_the_true_difference_and_are_no_wider_than_they_need_be(folds: tuple[int, ...]) -> None:
    """About 5 % of the intervals miss the true difference; widths are those of a mean of normal differences.

    An image's difference varies by sqrt(2) of 3 % and of the binomial sqrt(0.7 x 0.3 / 150) = 3.7 %: 6.8 % in all.
    Percentile intervals alone miss it in 51, 27, 17, 7 and 35 % of the trials.
    """
    generator = np.random.default_rng(1)
    ends = np.array([trial(generator, folds) for _ in range(100)])
    missed = np.mean((ends[:, 0] > 0.04) | (ends[:, 1] < 0.04))
    assert missed <= 0.1
    total, free = sum(folds), sum(folds) - len(folds)
    needed = 2 * stdtrit(free, 0.975) * 0.068 / math.sqrt(total)
    assert 0.6 * needed < np.median(ends[:, 1] - ends[:, 0]) < 1.3 * needed
