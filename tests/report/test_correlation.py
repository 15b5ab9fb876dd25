"""Correlation of local scores with the board's: worked by hand, and undefined where it must be."""

import math
import warnings

import numpy as np
import pytest

from nucleiseg.report.correlation import correlations
from nucleiseg.report.ledger import LedgerRow


def rows(local: list[float | None], board: list[float | None], **columns: object) -> list[LedgerRow]:
    return [
        LedgerRow(**{"metric": "ap50_100", **columns}, local_score=one, board_score=other)
        for one, other in zip(local, board, strict=True)
    ]


def test_worked_by_hand() -> None:
    (found,) = correlations(rows([1, 2, 3, 4, None, 9], [2, 1, 4, 30, 5, None]))
    x, y = np.array([1, 2, 3, 4]) - 2.5, np.array([2, 1, 4, 30]) - 9.25
    assert found.pairs == 4
    assert found.pearson == pytest.approx((x * y).sum() / math.sqrt((x**2).sum() * (y**2).sum()))
    assert found.spearman == pytest.approx(1 - 6 * (1 + 1) / (4 * 15))
    assert found.sentence == "ap50_100 of validation against the board, 4 uploads: Pearson 0.81, Spearman 0.80."


def test_metrics_are_not_mixed() -> None:
    mixed = [*rows([1, 2, 3], [1, 2, 3]), *rows([1, 2, 3], [3, 2, 1], metric="pq"), *rows([7], [7], metric="")]
    assert [(one.metric, one.pairs, one.pearson) for one in correlations(mixed)] == [
        ("ap50_100", 3, pytest.approx(1)),
        ("pq", 3, pytest.approx(-1)),
    ]


def test_differing_ceilings_make_shares() -> None:
    ledger = [
        *rows([0.10, 0.12], [0.20, 0.24], local_ceiling=0.2),
        *rows([0.07], [0.28], local_ceiling=0.1),
    ]
    (found,) = correlations(ledger)
    assert found.is_share
    assert found.pearson == pytest.approx(1)
    assert "ap50_100 of validation as a share of its ceiling against the board, 3 uploads" in found.sentence
    (raw,) = correlations([*ledger, *rows([0.2], [0.2])])
    assert not raw.is_share, "one without a ceiling: none can be a share"
    (same,) = correlations(rows([0.1, 0.12, 0.13], [0.2, 0.3, 0.25], local_ceiling=0.2))
    assert not same.is_share


@pytest.mark.parametrize(
    ("local", "board", "reason"),
    [
        ([0.1, 0.2], [None, None], "no upload has both scores and it needs 3"),
        ([0.1, 0.2], [0.1, None], "1 upload has both scores and it needs 3"),
        ([0.1, 0.2], [0.1, 0.2], "2 uploads have both scores and it needs 3"),
        ([0.1, 0.1, 0.1], [0.1, 0.2, 0.3], "the local scores of all 3 uploads are equal"),
        ([0.1, 0.2, 0.3], [0.0, 0.0, 0.0], "the board's scores of all 3 uploads are equal"),
    ],
)
def test_undefined_in_words_and_without_warnings(
    local: list[float | None], board: list[float | None], reason: str
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (found,) = correlations(rows(local, board))
    assert (found.pearson, found.spearman) == (None, None)
    assert found.sentence == f"ap50_100 of validation against the board: no correlation, since {reason}."


def test_nothing_to_correlate() -> None:
    assert correlations([]) == correlations([LedgerRow(board_score=0.2)]) == []
