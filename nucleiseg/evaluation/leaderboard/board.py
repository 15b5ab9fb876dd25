"""The ranked leaderboard: settings and steps, their metrics, and which of them chance alone could have swapped."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nucleiseg.evaluation.leaderboard.candidates import Candidate, Kind


@dataclass(frozen=True, eq=False)
class Row:
    """A setting at a step: all its seeds and folds.

    Attributes:
        rank: place within its table, from 1.
        setting: what the setting is called.
        step: optimisation steps done.
        kind: a checkpoint as training saved it, or an average of several.
        candidates: the checkpoints behind the row: one a seed and set of images.
        values: every metric by its key in `Report.to_dict`, averaged over seeds, then over image sets; NaN where it is
            undefined. A metric with a ceiling has `KEY_share` too: the mean of its shares of each image set's ceiling.
        interval: 95 % interval of what the table is ranked by (`Table.measure`); NaN where nothing can be told.
        difference: 95 % interval of this row minus the best one, on the same resampled images; of a bias, of its
            absolute value.
        tied: whether the row cannot be told from the best one; the best row itself is.
        facts: facts of the candidates, numbers averaged; and `seconds_per_image`.
    """

    rank: int
    setting: str
    step: int
    kind: Kind
    candidates: tuple[Candidate, ...]
    values: Mapping[str, float]
    interval: tuple[float, float]
    difference: tuple[float, float]
    tied: bool
    facts: Mapping[str, float | str | None]

    @property
    def name(self) -> str:
        """What a reader calls the row: setting and step."""
        if self.kind == "average":
            return f"{self.setting}, averaged weights (step {self.step})"
        return f"{self.setting}, step {self.step}"


@dataclass(frozen=True, eq=False)
class Table:
    """Rows that were scored on the same images, so that they may be ranked side by side.

    Attributes:
        image_sets: digests of the sets of images that every row covers.
        images: names of the images.
        rank_by: the metric that the user ranks by.
        measure: key of `Row.values` that ranks: `rank_by`, or its share of the ceiling where it has one.
        rows: the rows, best first.
        sentence: what can be told from this table and what cannot.
    """

    image_sets: tuple[str, ...]
    images: tuple[str, ...]
    rank_by: str
    measure: str
    rows: tuple[Row, ...]
    sentence: str


@dataclass(frozen=True, eq=False)
class Leaderboard:
    """All tables, that with the most images first.

    Attributes:
        tables: one for each collection of image sets.
        notes: sentences on what a reader should know: rows that miss folds, runs with other images.
    """

    tables: tuple[Table, ...]
    notes: tuple[str, ...]

    @property
    def best(self) -> Row:
        """The best row of the first table."""
        return self.tables[0].rows[0]


def rank(
    candidates: Sequence[Candidate], rank_by: str = "ap50", *, resamples: int = 2000, seed: int = 0
) -> Leaderboard:
    """Rank candidates."""
    raise NotImplementedError
