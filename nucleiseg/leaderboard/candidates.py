"""What enters a leaderboard: one checkpoint, evaluated on one set of images."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from nucleiseg.leaderboard.record import EvaluationRecord

Kind = Literal["step", "average"]
"""A checkpoint as training saved it, or the mean of the weights of several."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """One checkpoint, evaluated on one set of images.

    Attributes:
        run: the run folder's name, unique among the runs that were asked for.
        setting: what this setting is called: only what differs between the runs ("r50_c4, saturation 0.5-2"); equal
            for its seeds and folds.
        setting_key: digest of the settings without seed, fold and what does not change the result (devices, paths,
            logging).
        seed: the run's seed.
        step: optimisation steps done when the checkpoint was saved; of an average, of its last checkpoint.
        kind: how its weights came about.
        checkpoint: the file.
        image_set: digest of the images scored: equal for two candidates only if images and truth are the same.
        record: the evaluation.
        facts: what else a reader wants to know, by name: `parameters` (a number), `seconds_per_step`,
            `peak_memory_mb`, `device`, `weights` (what the run started from); None or absent where it is not known.
    """

    run: str
    setting: str
    setting_key: str
    seed: int
    step: int
    kind: Kind
    checkpoint: Path
    image_set: str
    record: EvaluationRecord
    facts: Mapping[str, float | str | None] = field(default_factory=dict)
