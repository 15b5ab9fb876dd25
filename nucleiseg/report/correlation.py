"""Correlate local scores with the scores of a board, over the rows of `submissions.csv`.

Local scores on different validation images cannot be compared: they are correlated within one set of images or, for a
metric with a ceiling, as shares of the ceiling.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nucleiseg.progress import counted
from nucleiseg.report.submission_ledger import Submission

FEWEST = 3
"""Submissions that a correlation needs: any two points lie on a line."""

EQUAL = 1e-9
"""Relative difference below which scores are equal, so that rounding errors are not correlated."""


@dataclass(frozen=True)
class Comparable:
    """Submissions whose local scores can be compared.

    Attributes:
        local: their local scores, as shares of the ceiling if `is_share`.
        board: their scores on the board.
        is_share: whether local scores are shares of their ceilings, since validation images differ.
        images: number of validation images; None if they differ or are not known.
        left_out: a sentence on omitted submissions with the reason; empty if there are none.
    """

    local: tuple[float, ...]
    board: tuple[float, ...]
    is_share: bool = False
    images: int | None = None
    left_out: str = ""


@dataclass(frozen=True)
class Correlation:
    """Correlation of the local scores of one metric with the board's.

    Attributes:
        metric: its key.
        scores: the correlated scores.
        pearson: -1 .. 1, of the values; None if undefined.
        spearman: -1 .. 1, of the ranks, averaged over ties; None if undefined.
        reason: why a correlation is undefined, in words; else empty.
    """

    metric: str
    scores: Comparable
    pearson: float | None
    spearman: float | None
    reason: str = ""

    @property
    def sentence(self) -> str:
        """The correlation as a sentence."""
        scores = self.scores
        on = "validation" if scores.images is None else counted(scores.images, "validation image")
        what = f"{self.metric} on {on}{' as a share of its ceiling' * scores.is_share} against the board"
        if self.pearson is None:
            found = f"{what}: no correlation, since {self.reason}."
        else:
            uploads = counted(len(scores.local), "submission")
            found = f"{what}, {uploads}: Pearson {self.pearson:.2f}, Spearman {self.spearman:.2f}."
        return f"{found} {scores.left_out}".strip()


def correlations(rows: Iterable[Submission]) -> list[Correlation]:
    """Correlate local scores with the board's, for each metric separately.

    Args:
        rows: submissions; those that lack one of the two scores are left out.

    Returns:
        One for each metric with a local score, in the order of their first rows.
    """
    by_metric: dict[str, list[Submission]] = {}
    for row in rows:
        if row.metric and row.local_score is not None:
            by_metric.setdefault(row.metric, []).append(row)
    found = []
    for metric, own in by_metric.items():
        scores = comparable(own)
        if reason := _why_undefined(scores.local, scores.board):
            found.append(Correlation(metric, scores, None, None, reason))
            continue
        from scipy.stats import pearsonr, spearmanr  # half a second of imports, rarely needed

        pearson, spearman = (measure(scores.local, scores.board).statistic for measure in (pearsonr, spearmanr))
        found.append(Correlation(metric, scores, float(pearson), float(spearman)))
    return found


def comparable(rows: Iterable[Submission]) -> Comparable:
    """Select the submissions of one metric whose local scores can be compared.

    Scores on one set of images are compared directly. (Without a recorded set, equal ceilings imply one set.) Scores on
    several sets are compared as shares of their ceilings, omitting submissions without one; if none has a ceiling, only
    the set with the most submissions is used.

    Args:
        rows: of one metric; those that lack one of the two scores are left out and not counted.
    """
    known = [row for row in rows if row.local_score is not None and row.board_score is not None]
    sets = Counter(row.image_set for row in known)
    if len(sets) <= 1 and ("" not in sets or len({row.local_ceiling for row in known}) == 1):
        return _scores(known)
    with_ceiling = [row for row in known if row.local_ceiling]
    if with_ceiling:
        left = counted(len(known) - len(with_ceiling), "submission without a ceiling", "submissions without a ceiling")
        return _scores(with_ceiling, f"Left out, since validation images differ: {left}.", len(known), share=True)
    largest = sets.most_common(1)[0][0]
    same = [row for row in known if row.image_set == largest]
    left = counted(len(known) - len(same), "submission scored", "submissions scored")
    return _scores(same, f"Left out: {left} on other validation images.", len(known))


def _scores(rows: Sequence[Submission], left_out: str = "", of: int = 0, *, share: bool = False) -> Comparable:
    """Return the scores of rows; `left_out` is dropped unless `of`, the number of all submissions, is larger."""
    counts = {row.images for row in rows}
    return Comparable(
        local=tuple((row.local_score or 0.0) / ((row.local_ceiling or 1.0) if share else 1.0) for row in rows),
        board=tuple(row.board_score or 0.0 for row in rows),
        is_share=share,
        images=counts.pop() if len(counts) == 1 and not share else None,
        left_out=left_out if of > len(rows) else "",
    )


def _why_undefined(local: Sequence[float], board: Sequence[float]) -> str:
    if len(local) < FEWEST:
        have = counted(len(local), "submission has", "submissions have") if local else "no submission has"
        return f"{have} both scores and it needs {FEWEST}"
    for name, scores in (("the local", local), ("the board's", board)):
        if max(scores) - min(scores) <= EQUAL * max(map(abs, scores)):
            return f"{name} scores of all {len(scores)} submissions are equal"
    return ""
