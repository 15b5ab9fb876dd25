"""The paired bootstrap: identities, and intervals that hold what they promise."""

from dataclasses import replace

import numpy as np
import pytest
from simulated_records import candidate, image_record, random_record, record

from nucleiseg.evaluation.instance_metrics import Tally
from nucleiseg.evaluation.leaderboard.bootstrap import interval, resampled_rows, tail_share
from nucleiseg.evaluation.leaderboard.metrics import METRICS
from nucleiseg.evaluation.leaderboard.record import EvaluationRecord

NOTHING = image_record("image", [], 0)


def test_identical_rows_differ_by_exactly_nothing() -> None:
    generator = np.random.default_rng(0)
    one = random_record(generator, 0.7)
    for key in METRICS:
        rows = resampled_rows([[candidate(one)], [candidate(one, "b", seed=3)]], METRICS[key], 20, 0)
        assert np.ptp(rows[0]) > 0, f"{key} does not vary"
        np.testing.assert_array_equal(rows[0], rows[1])


def test_the_same_call_gives_the_same_numbers_and_another_seed_others() -> None:
    rows = [[candidate(random_record(np.random.default_rng(1), 0.6))]]
    first, again, other = (resampled_rows(rows, METRICS["ap50"], 50, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_images_are_told_by_their_names_not_their_order() -> None:
    one = random_record(np.random.default_rng(2), 0.6)
    turned = record(*one.images[::-1])
    rows = resampled_rows([[candidate(one)], [candidate(turned, "b")]], METRICS["pq"], 100, 0)
    np.testing.assert_allclose(rows[0], rows[1], rtol=0, atol=1e-12)


def test_images_are_drawn_within_their_fold() -> None:
    """Two folds, each of two equal images: no draw changes anything, though the folds differ."""
    good, bad = [[True] * 8 + [False] * 2, [True] * 3 + [False] * 7]
    folds = [
        candidate(record(*(image_record(name, found, 10) for name in "ab")), image_set=fold)
        for fold, found in (("1", good), ("2", bad))
    ]
    (values,) = resampled_rows([folds], METRICS["dq"], 50, 0)
    assert values == pytest.approx(np.full(50, (0.8 + 0.3) / 2))


def test_seeds_are_drawn_together_where_rows_have_the_same() -> None:
    """The second row is worse by the same with either seed; another step of the same runs is paired with them."""
    levels = {0: 8, 1: 4}
    one = {seed: record(*(image_record(n, [True] * hits, 10) for n in "ab")) for seed, hits in levels.items()}
    two = {seed: record(*(image_record(n, [True] * (hits - 2), 10) for n in "ab")) for seed, hits in levels.items()}
    row = [candidate(one[seed], seed=seed) for seed in (0, 1)]
    paired = [candidate(two[seed], "b", seed=seed) for seed in (0, 1)]
    others = [candidate(two[seed], "c", seed=seed + 5) for seed in (0, 1)]
    measured = resampled_rows([row, paired, others], METRICS["count_bias"], 200, 0)
    assert sorted(set(measured[0])) == pytest.approx([-6, -4, -2])
    assert measured[1] - measured[0] == pytest.approx(np.full(200, -2))
    assert np.ptp(measured[2] - measured[0]) > 0


def test_tails_are_narrower_for_few_images_and_known_for_many() -> None:
    # n = 5: t of 4 degrees is 2.7764, times sqrt(5 / 4) is 3.1042, and Phi(-3.1042) = 0.000954
    assert tail_share([5]) == pytest.approx(0.000954, abs=2e-6)
    assert tail_share([10**6]) == pytest.approx(0.025, abs=1e-5)
    assert tail_share([12, 12]) == pytest.approx(tail_share([10, 14]))
    assert tail_share([12, 12]) < tail_share([24])


def test_without_other_images_or_values_there_is_no_interval() -> None:
    assert np.isnan(interval(np.zeros(10), [1])).all()
    assert np.isnan(interval(np.zeros(10), [5, 1])).all()
    assert np.isnan(interval(np.full(10, np.nan), [5])).all()
    assert interval(np.array([np.nan, 2.0, 2.0]), [5]) == (2, 2)


@pytest.mark.parametrize(("images", "least"), [(24, 0.9), (5, 0.85)])
def test_intervals_cover_the_true_difference(images: int, least: float) -> None:
    """Two networks that find 70 % and 74 % of the nuclei, harder images being harder for both."""
    generator = np.random.default_rng(0)
    covered = []
    for _ in range(100):
        truths = generator.integers(20, 200, images)
        hardness = generator.normal(0, 0.05, images)
        rows = []
        for chance in (0.70, 0.74):
            own = np.clip(chance + hardness + generator.normal(0, 0.03, images), 0, 1)
            tallies = zip(generator.binomial(truths, own).tolist(), truths.tolist(), strict=True)
            found = [replace(NOTHING, tally=Tally(hits, total, total)) for hits, total in tallies]
            rows.append([candidate(EvaluationRecord(tuple(found), 0.5, {}, 1.0, ""))])
        measured = resampled_rows(rows, METRICS["dq"], 200, 0)
        low, high = interval(measured[1] - measured[0], [images])
        covered.append(low <= 0.04 <= high)
    assert least <= np.mean(covered) <= 1
