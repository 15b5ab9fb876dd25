"""The table of shared pixels against counting pair by pair."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nucleiseg.evaluation.contingency import contingency_table

LABELS = st.sampled_from([0, 0, 1, 2, 5, 70000])
PAIRS = st.tuples(st.integers(0, 6), st.integers(0, 6)).flatmap(
    lambda shape: st.tuples(arrays(np.int32, shape, elements=LABELS), arrays(np.int32, shape, elements=LABELS))
)


@settings(max_examples=100, deadline=None)
@given(PAIRS)
def test_equals_counting_every_pair(pair: tuple[np.ndarray, np.ndarray]) -> None:
    truth, prediction = pair
    true_labels = [label for label in np.unique(truth) if label]
    found_labels = [label for label in np.unique(prediction) if label]
    table = contingency_table(truth, prediction)
    dense = np.zeros((len(true_labels), len(found_labels)), np.int64)
    dense[table.truth, table.prediction] = table.shared
    expected = [[((truth == t) & (prediction == p)).sum() for p in found_labels] for t in true_labels]
    np.testing.assert_array_equal(dense, np.array(expected).reshape(dense.shape))
    np.testing.assert_array_equal(table.truth_areas, [(truth == label).sum() for label in true_labels])
    np.testing.assert_array_equal(table.prediction_areas, [(prediction == label).sum() for label in found_labels])
    assert (table.shared > 0).all()
    assert (np.diff(table.truth * len(found_labels) + table.prediction) > 0).all()  # sorted, each pair once


def test_the_example_of_the_documentation() -> None:
    truth = np.array([[1, 1, 0, 2], [1, 1, 0, 2]])
    prediction = np.array([[7, 7, 0, 0], [0, 0, 0, 9]])
    table = contingency_table(truth, prediction)
    assert table.shared.tolist() == [2, 1]
    assert table.united.tolist() == [4, 2]
    assert table.iou.tolist() == [0.5, 0.5]


def test_memory_order_does_not_matter() -> None:
    generator = np.random.default_rng(0)
    truth, prediction = generator.integers(0, 5, (2, 20, 30), dtype=np.int32)
    first = contingency_table(truth, prediction)
    second = contingency_table(np.asfortranarray(truth), prediction)
    np.testing.assert_array_equal(first.shared, second.shared)


def test_what_is_no_pair_of_label_maps() -> None:
    with pytest.raises(ValueError, match=r"\(2, 2\).*\(2, 3\)"):
        contingency_table(np.zeros((2, 2), int), np.zeros((2, 3), int))
    with pytest.raises(ValueError, match="label -1 is negative"):
        contingency_table(np.zeros((2, 2), int), np.full((2, 2), -1))
