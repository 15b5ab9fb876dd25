"""Correlation of local scores with the board's: worked by hand, and undefined where it must be."""

import math
import warnings
from dataclasses import replace

import numpy as np
import pytest

from nucleiseg.report.correlation import correlations
from nucleiseg.report.submission_ledger import Submission


def rows(local: list[float | None], board: list[float | None], **columns: object) -> list[Submission]:
    return [
        Submission(**{"metric": "ap50_100", **columns}, local_score=one, board_score=other)
        for one, other in zip(local, board, strict=True)
    ]


def test_worked_by_hand() -> None:
    (found,) = correlations(rows([1, 2, 3, 4, None, 9], [2, 1, 4, 30, 5, None]))
    x, y = np.array([1, 2, 3, 4]) - 2.5, np.array([2, 1, 4, 30]) - 9.25
    assert len(found.scores.local) == 4
    assert found.pearson == pytest.approx((x * y).sum() / math.sqrt((x**2).sum() * (y**2).sum()))
    assert found.spearman == pytest.approx(1 - 6 * (1 + 1) / (4 * 15))
    assert found.sentence == "ap50_100 on validation against the board, 4 submissions: Pearson 0.81, Spearman 0.80."


def test_metrics_are_not_mixed() -> None:
    mixed = [*rows([1, 2, 3], [1, 2, 3]), *rows([1, 2, 3], [3, 2, 1], metric="pq"), *rows([7], [7], metric="")]
    assert [(one.metric, len(one.scores.local), one.pearson) for one in correlations(mixed)] == [
        ("ap50_100", 3, pytest.approx(1)),
        ("pq", 3, pytest.approx(-1)),
    ]


def test_differing_ceilings_make_shares() -> None:
    ledger = [
        *rows([0.10, 0.12], [0.20, 0.24], local_ceiling=0.2),
        *rows([0.07], [0.28], local_ceiling=0.1),
    ]
    (found,) = correlations(ledger)
    assert found.scores.is_share
    assert found.pearson == pytest.approx(1)
    assert "ap50_100 on validation as a share of its ceiling against the board, 3 submissions" in found.sentence
    (fewer,) = correlations([*ledger, *rows([0.2, None], [0.2, 0.2])])
    assert (fewer.pearson, fewer.scores.local) == (found.pearson, found.scores.local)
    assert (
        fewer.sentence == f"{found.sentence} Left out, since validation images differ: 1 submission without a ceiling."
    )
    (same,) = correlations(rows([0.1, 0.12, 0.13], [0.2, 0.3, 0.25], local_ceiling=0.2))
    assert not same.scores.is_share


def test_scores_of_other_images_are_not_mixed() -> None:
    """Within each set the local score goes with the board's; mixed, it would go against it."""
    easy = rows([0.8, 0.81, 0.82, 0.83], [0.1, 0.2, 0.3, 0.4], metric="ap50", image_set="a", images=5)
    hard = rows([0.1, 0.2, 0.3], [0.7, 0.8, 0.9], metric="ap50", image_set="b", images=1)
    for ledger in ([*hard, *easy], [*easy, *hard]):
        (found,) = correlations(ledger)
        assert found.pearson == pytest.approx(1)
        assert "ap50 on 5 validation images against the board, 4 submissions" in found.sentence
        assert found.sentence.endswith("Left out: 3 submissions scored on other validation images.")
    (unnamed,) = correlations([*easy, *rows([0.9], [0.1], metric="ap50")])
    assert unnamed.sentence.endswith("Left out: 1 submission scored on other validation images.")


def test_sets_with_ceilings_compare_as_shares() -> None:
    ledger = [
        *rows([0.10, 0.12], [0.20, 0.24], local_ceiling=0.2, image_set="a", images=5),
        *rows([0.07], [0.28], local_ceiling=0.1, image_set="b", images=4),
    ]
    (found,) = correlations(ledger)
    assert (found.scores.is_share, found.scores.images, found.pearson) == (True, None, pytest.approx(1))
    assert found.scores.left_out == ""
    ceilings = [
        replace(row, image_set="a", local_ceiling=ceiling)
        for row, ceiling in zip(ledger, (0.2, None, 0.2), strict=True)
    ]
    (one_set,) = correlations(ceilings)
    assert not one_set.scores.is_share, "the same images, whatever somebody emptied"


@pytest.mark.parametrize("last", [0.1 * (1 + 1e-14), 0.1 * (1 + 1e-12), math.nextafter(0.1, 1)])
def test_nearly_equal_scores_are_equal_and_raise_no_warning(last: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (local,) = correlations(rows([0.1, 0.1, last], [0.1, 0.2, 0.3]))
        (board,) = correlations(rows([0.1, 0.2, 0.3], [0.1, 0.1, last]))
        (fine,) = correlations(rows([0.1, 0.1, 0.1 + 1e-9], [0.1, 0.1, 0.3]))
    assert local.reason == "the local scores of all 3 submissions are equal"
    assert board.reason == "the board's scores of all 3 submissions are equal"
    assert fine.pearson == pytest.approx(1)


@pytest.mark.parametrize(
    ("local", "board", "reason"),
    [
        ([0.1, 0.2], [None, None], "no submission has both scores and it needs 3"),
        ([0.1, 0.2], [0.1, None], "1 submission has both scores and it needs 3"),
        ([0.1, 0.2], [0.1, 0.2], "2 submissions have both scores and it needs 3"),
        ([0.1, 0.1, 0.1], [0.1, 0.2, 0.3], "the local scores of all 3 submissions are equal"),
        ([0.1, 0.2, 0.3], [0.0, 0.0, 0.0], "the board's scores of all 3 submissions are equal"),
    ],
)
def test_undefined_in_words_and_without_warnings(
    local: list[float | None], board: list[float | None], reason: str
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (found,) = correlations(rows(local, board))
    assert (found.pearson, found.spearman) == (None, None)
    assert found.sentence == f"ap50_100 on validation against the board: no correlation, since {reason}."


def test_nothing_to_correlate() -> None:
    assert correlations([]) == correlations([Submission(board_score=0.2)]) == []
