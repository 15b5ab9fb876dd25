"""Does the local score tell what a board will say? The correlation of the two over the uploads of a ledger."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nucleiseg.progress import counted
from nucleiseg.report.ledger import LedgerRow

FEWEST = 3
"""Uploads that a correlation needs: a line goes through any two points."""


@dataclass(frozen=True)
class Correlation:
    """How the local scores of one metric go with the board's.

    Attributes:
        metric: its key.
        pairs: the number of uploads that have both scores.
        pearson: -1 .. 1, of the values; None where it is undefined.
        spearman: -1 .. 1, of the ranks, ties sharing theirs; None where it is undefined.
        is_share: whether the local scores are shares of their ceilings, since these differ (other validation images).
        reason: why a correlation is undefined, in words; else empty.
    """

    metric: str
    pairs: int
    pearson: float | None
    spearman: float | None
    is_share: bool
    reason: str = ""

    @property
    def sentence(self) -> str:
        """What it says, in words."""
        what = f"{self.metric} of validation{' as a share of its ceiling' * self.is_share} against the board"
        if self.pearson is None:
            return f"{what}: no correlation, since {self.reason}."
        uploads = counted(self.pairs, "upload")
        return f"{what}, {uploads}: Pearson {self.pearson:.2f}, Spearman {self.spearman:.2f}."


def correlations(rows: Iterable[LedgerRow]) -> list[Correlation]:
    """Correlate local scores with the board's, each metric by itself.

    Args:
        rows: of the ledger; those that lack one of the two scores are left out.

    Returns:
        One for each metric that a row has a local score of, in the order of their first rows.
    """
    by_metric: dict[str, list[LedgerRow]] = {}
    for row in rows:
        if row.metric and row.local_score is not None:
            by_metric.setdefault(row.metric, []).append(row)
    return [
        _correlation(metric, [row for row in own if row.board_score is not None]) for metric, own in by_metric.items()
    ]


def _correlation(metric: str, rows: Sequence[LedgerRow]) -> Correlation:
    from scipy.stats import pearsonr, spearmanr  # takes half a second, and few leaderboards have uploads

    ceilings = {row.local_ceiling for row in rows}
    is_share = len(ceilings) > 1 and all(ceilings)
    local = [(row.local_score or 0.0) / ((row.local_ceiling or 1.0) if is_share else 1.0) for row in rows]
    board = [row.board_score or 0.0 for row in rows]
    if reason := _why_undefined(local, board):
        return Correlation(metric, len(rows), None, None, is_share, reason)
    pearson, spearman = pearsonr(local, board).statistic, spearmanr(local, board).statistic
    return Correlation(metric, len(rows), float(pearson), float(spearman), is_share)


def _why_undefined(local: Sequence[float], board: Sequence[float]) -> str:
    if len(local) < FEWEST:
        have = counted(len(local), "upload has", "uploads have") if local else "no upload has"
        return f"{have} both scores and it needs {FEWEST}"
    for name, scores in (("the local", local), ("the board's", board)):
        if len(set(scores)) == 1:
            return f"{name} scores of all {len(scores)} uploads are equal"
    return ""
