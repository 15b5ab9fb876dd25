"""AJI, AJI+, DQ, SQ, PQ, Dice and F1 against implementations from the papers' formulas, on masks as wholes."""

from itertools import permutations

import numpy as np
import pytest
from drawn_masks import disturbed, random_label_map
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linear_sum_assignment

from nucleiseg.evaluation.contingency import contingency_table
from nucleiseg.evaluation.instance_metrics import InstanceMetrics, Tally, best_matching, pool, tally


def metrics(truth: np.ndarray, prediction: np.ndarray) -> InstanceMetrics:
    return tally(contingency_table(truth, prediction)).metrics()


def masks_of(label_map: np.ndarray) -> list[np.ndarray]:
    return [label_map == label for label in np.unique(label_map) if label]


def dense_iou(truths: list[np.ndarray], found: list[np.ndarray]) -> np.ndarray:
    values = [[(t & p).sum() / (t | p).sum() for p in found] for t in truths]
    return np.array(values).reshape(len(truths), len(found))


def naive_aji(truths: list[np.ndarray], found: list[np.ndarray]) -> float:
    """Kumar et al. 2017, algorithm 1, as it stands there."""
    shared = united = 0
    used = set()
    for truth in truths:
        ious = [(truth & mask).sum() / (truth | mask).sum() for mask in found]
        if not ious or max(ious) == 0:
            united += truth.sum()
            continue
        best = int(np.argmax(ious))
        shared += (truth & found[best]).sum()
        united += (truth | found[best]).sum()
        used.add(best)
    return shared / (united + sum(mask.sum() for index, mask in enumerate(found) if index not in used))


def naive_aji_plus(truths: list[np.ndarray], found: list[np.ndarray]) -> float:
    """Graham et al. 2019: the Hungarian method on the dense IoU."""
    iou = dense_iou(truths, found)
    pairs = [(t, p) for t, p in zip(*linear_sum_assignment(-iou), strict=True) if iou[t, p] > 0]
    shared = sum((truths[t] & found[p]).sum() for t, p in pairs)
    united = sum((truths[t] | found[p]).sum() for t, p in pairs)
    united += sum(mask.sum() for index, mask in enumerate(truths) if index not in {t for t, _ in pairs})
    united += sum(mask.sum() for index, mask in enumerate(found) if index not in {p for _, p in pairs})
    return shared / united


def naive_pq(truths: list[np.ndarray], found: list[np.ndarray]) -> tuple[float, float]:
    """DQ and SQ of Kirillov et al. 2019."""
    iou = dense_iou(truths, found)
    matched = iou[iou > 0.5]
    missed, false = len(truths) - len(matched), len(found) - len(matched)
    return len(matched) / (len(matched) + missed / 2 + false / 2), matched.mean() if len(matched) else 0.0


@pytest.mark.parametrize("seed", range(25))
def test_equals_the_papers_formulas(seed: int) -> None:
    generator = np.random.default_rng(seed)
    truth = random_label_map(generator, instances=int(generator.integers(4, 25)))
    prediction = disturbed(generator, truth, instances=12)
    truths, found = masks_of(truth), masks_of(prediction)
    detection, segmentation = naive_pq(truths, found)
    expected = InstanceMetrics(
        aji=naive_aji(truths, found),
        aji_plus=naive_aji_plus(truths, found),
        dq=detection,
        sq=segmentation,
        pq=detection * segmentation,
        dice=2 * ((truth > 0) & (prediction > 0)).sum() / ((truth > 0).sum() + (prediction > 0).sum()),
        f1=detection,
    )
    assert metrics(truth, prediction) == pytest.approx(expected, abs=1e-9)
    assert 0 < expected.aji < 1  # the case is no trivial one


SMALL = arrays(np.int32, (4, 5), elements=st.integers(0, 4))


@settings(max_examples=100, deadline=None)
@given(SMALL, SMALL)
def test_matching_has_the_largest_sum_of_iou(truth: np.ndarray, prediction: np.ndarray) -> None:
    """Also with ties, where several matchings are best: against trying all of them."""
    table = contingency_table(truth, prediction)
    iou = np.zeros((5, 5))
    iou[table.truth, table.prediction] = table.iou
    best = max(iou[range(5), order].sum() for order in permutations(range(5)))
    pairs = best_matching(table)
    assert len(set(table.truth[pairs])) == len(set(table.prediction[pairs])) == len(pairs)
    assert table.iou[pairs].sum() == pytest.approx(best, abs=1e-9)


@settings(max_examples=100, deadline=None)
@given(SMALL, SMALL)
def test_equals_the_formulas_on_sets_of_pixels(truth: np.ndarray, prediction: np.ndarray) -> None:
    """Also with empty sides, ties in IoU and IoUs of exactly 0.5; AJI+ among the matchings of the largest sum."""
    true, found = (
        [{place for place in np.ndindex(label_map.shape) if label_map[place] == label} for label in range(1, 5)]
        for label_map in (truth, prediction)
    )
    true, found = [pixels for pixels in true if pixels], [pixels for pixels in found if pixels]
    values = metrics(truth, prediction)
    if not true or not found:
        assert values == ((0,) * 7 if true or found else (1,) * 7)
        return
    matches = [len(t & p) / len(t | p) for t in true for p in found if len(t & p) / len(t | p) > 0.5]
    quality = len(matches) / (len(matches) + (len(true) - len(matches)) / 2 + (len(found) - len(matches)) / 2)
    segmentation = sum(matches) / len(matches) if matches else 0
    all_true, all_found = set().union(*true), set().union(*found)
    assert values.dq == values.f1 == pytest.approx(quality, abs=1e-9)
    assert values.sq == pytest.approx(segmentation, abs=1e-9)
    assert values.pq == pytest.approx(quality * segmentation, abs=1e-9)
    assert values.dice == pytest.approx(2 * len(all_true & all_found) / (len(all_true) + len(all_found)), abs=1e-9)
    best = [max(found, key=lambda p: len(t & p) / len(t | p)) for t in true]  # the first of equal ones
    pairs = [(t, p) for t, p in zip(true, best, strict=True) if t & p]
    assert values.aji == pytest.approx(jaccard(pairs, true, found), abs=1e-9)
    places: list[set | None] = [*found, *[None] * len(true)]
    matchings = [
        [(t, p) for t, p in zip(true, chosen, strict=True) if p and t & p] for chosen in permutations(places, len(true))
    ]
    sums = [sum(len(t & p) / len(t | p) for t, p in matching) for matching in matchings]
    largest = [m for m, value in zip(matchings, sums, strict=True) if value > max(sums) - 1e-9]
    assert min(abs(values.aji_plus - jaccard(matching, true, found)) for matching in largest) < 1e-9


def jaccard(pairs: list[tuple[set, set]], true: list[set], found: list[set]) -> float:
    """Shared pixels of the pairs over their united ones and those of everything that is in no pair."""
    united = sum(len(t | p) for t, p in pairs)
    united += sum(len(t) for t in true if t not in [pair[0] for pair in pairs])
    united += sum(len(p) for p in found if p not in [pair[1] for pair in pairs])
    return sum(len(t & p) for t, p in pairs) / united


@settings(max_examples=60, deadline=None)
@given(SMALL, SMALL, st.permutations(range(1, 5)))
def test_metrics_are_shares_and_know_no_labels(truth: np.ndarray, prediction: np.ndarray, names: list[int]) -> None:
    values = metrics(truth, prediction)
    assert all(0 <= value <= 1 for value in values)
    assert metrics(truth, truth) == (1,) * 7
    renamed = metrics(np.array([0, *names])[truth], prediction)
    assert renamed[2:] == pytest.approx(values[2:])  # AJI may break ties in IoU otherwise


def test_worked_by_hand() -> None:
    """One row: truth A of 4 pixels found as 3 of them, truth B of 4 cut in halves, truth C missed, one false."""
    truth = np.array([[1, 1, 1, 1, 0, 2, 2, 2, 2, 0, 3, 3, 0, 0, 0]])
    found = np.array([[1, 1, 1, 0, 0, 2, 2, 3, 3, 0, 0, 0, 0, 4, 4]])
    values = metrics(truth, found)
    assert values.dq == values.f1 == pytest.approx(2 * 1 / (3 + 4))  # B's halves have IoU 0.5, not above it
    assert values.sq == pytest.approx(3 / 4)
    assert values.pq == pytest.approx(2 / 7 * 3 / 4)
    assert values.dice == pytest.approx(2 * 7 / (10 + 9))
    assert values.aji == values.aji_plus == pytest.approx((3 + 2) / (4 + 4 + 2 + 2 + 2))


def test_aji_uses_a_prediction_twice_and_aji_plus_does_not() -> None:
    """Two truths of 4 and 2 pixels merged into one prediction of 6."""
    truth = np.array([[1, 1, 1, 1, 2, 2]])
    values = metrics(truth, np.ones((1, 6), int))
    assert values.aji == pytest.approx((4 + 2) / (6 + 6))
    assert values.aji_plus == pytest.approx(4 / (6 + 2))


def test_aji_plus_matches_for_the_whole_image() -> None:
    """A's best prediction is also B's only one: A takes its second best, so that the sum is larger."""
    truth = np.array([[1, 1, 1, 1, 1, 2, 2, 2, 2, 0]])
    found = np.array([[1, 1, 3, 3, 3, 3, 3, 3, 3, 3]])
    # IoU: A-1 2/5, A-3 3/10, B-3 4/8
    assert metrics(truth, found).aji_plus == pytest.approx((2 + 4) / (5 + 8))


def test_empty_sides_have_defined_values() -> None:
    nothing, something = np.zeros((3, 4), int), np.eye(3, 4, dtype=int)
    assert metrics(nothing, nothing) == (1,) * 7
    assert metrics(something, nothing) == (0,) * 7
    assert metrics(nothing, something) == (0,) * 7
    apart = np.array([[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    assert metrics(something, apart) == (0,) * 7


def test_pooling_adds_numerators_and_denominators() -> None:
    generator = np.random.default_rng(3)
    pairs = []
    for _ in range(3):
        truth = random_label_map(generator, 9)
        pairs.append((truth, disturbed(generator, truth, 9)))
    pooled = pool(tally(contingency_table(*pair)) for pair in pairs).metrics()
    # One image that holds all three, side by side with labels of their own, has the same metrics.
    together = [
        np.hstack([pair[side] + 1000 * i * (pair[side] > 0) for i, pair in enumerate(pairs)]) for side in (0, 1)
    ]
    assert pooled == pytest.approx(metrics(*together), abs=1e-12)
    assert pool([]) == Tally()


def test_a_crowded_image_has_few_pairs() -> None:
    """2,500 squares against themselves one row lower: of 6.25 million pairs, the table holds the 5,000 that meet."""
    rows, columns = np.mgrid[:200, :200]
    grid = (rows // 4 * 50 + columns // 4 + 1).astype(np.int32)
    table = contingency_table(grid, np.roll(grid, 1, axis=0))
    assert len(table.shared) == 5000
    assert tally(table).metrics() == pytest.approx((0.6, 0.6, 1, 0.6, 0.6, 1, 1))  # 12 of 20 pixels each
