"""What a reader of the leaderboard should know of the runs behind it."""

from collections.abc import Mapping, Sequence
from typing import Any

from nucleiseg.data.readers import READERS
from nucleiseg.errors import some
from nucleiseg.leaderboard.best import BEST
from nucleiseg.leaderboard.board import Leaderboard
from nucleiseg.leaderboard.candidates import Candidate
from nucleiseg.models.precision import Precision
from nucleiseg.progress import counted
from nucleiseg.runs import Run

ENDINGS = {
    "running": "goes on, or was killed",
    "interrupted": "was interrupted",
    "failed": "failed",
}
"""State of a run that is not done -> what became of it."""


def notes_on(runs: Sequence[Run], data: Mapping[str, Any] | None, precision: Precision) -> list[str]:
    """Return a sentence for each run that is not done, one where images are drawn, one where numbers are rounded.

    Args:
        runs: the runs.
        data: the keys of the `data` group that all are scored on; None: each on its own.
        precision: in which all checkpoints predicted.
    """
    notes = [_ending(run) for run in runs if run.status.get("state") in ENDINGS]
    if precision != "32":
        notes.append(
            f"All checkpoints predicted with precision={precision}: metrics may differ a little from precision=32."
        )
    drawn = drawn_note(runs, data)
    return [*notes, drawn] if drawn else notes


def drawn_note(runs: Sequence[Run], data: Mapping[str, Any] | None) -> str:
    """Say what is drawn: the images that runs learnt from, those that they are scored on, or both; empty if neither.

    Args:
        runs: the runs.
        data: the keys of the `data` group that all are scored on; None: each on its own.
    """
    everyone = [run.name for run in runs]
    learnt = [run.name for run in runs if _is_drawn(run.config.get("data"))]
    scored = learnt if data is None else everyone if _is_drawn(data) else []
    who = "All runs" if learnt == everyone else some(learnt)
    if not learnt and not scored:
        return ""
    if learnt == scored == everyone:
        return "The data are DRAWN, not photographed: what is measured here says nothing about real tissue."
    if not scored:
        return f"Learnt from DRAWN images, not from photographs: {who}. What all is scored on is not drawn."
    if learnt == scored:
        return f"Learnt from DRAWN images and scored on such: {who}. Their numbers say nothing about real tissue."
    others = f"Learnt from such images, too: {who}." if learnt else "The runs learnt from other images."
    return f"All is scored on DRAWN images, not on photographs: this says nothing about real tissue. {others}"


def _is_drawn(data: object) -> bool:
    """Tell whether the keys of a `data` group are of images that a program draws."""
    reader = READERS.get(str(data.get("reader"))) if isinstance(data, Mapping) else None
    return bool(getattr(reader, "synthetic", False))


def notes_on_best(board: Leaderboard, best: Candidate) -> list[str]:
    """Say which checkpoint `best.ckpt` is and what it was chosen from; nothing where there was no choice.

    Args:
        board: the leaderboard.
        best: the checkpoint, one of the first table's first row.
    """
    table = board.tables[0]
    row = table.rows[0]
    rivals = [candidate for candidate in row.candidates if candidate.image_set == best.image_set]
    reasons = []
    if len(table.image_sets) > 1:
        folds = counted(len(table.image_sets), "fold")
        reasons.append(f"of the best row's {folds} the first by name, since values on different images do not compare")
    if len(rivals) > 1:
        reasons.append(f"of {counted(len(rivals), 'run')} on the same images the best by {table.rank_by}")
    if len(board.tables) > 1:
        images = counted(len(table.images), "image")
        reasons.append(f"from table 1 ({images}): whether the best rows of other tables are better cannot be told")
    return [f"{BEST} is {best.run}, {row.name}: {'; '.join(reasons)}."] if reasons else []


def _ending(run: Run) -> str:
    status = run.status
    steps = f"step {status.get('steps', '?')} of {status.get('of', '?')}"
    reason = str(status.get("reason") or "").strip()
    why = f": {reason}" if reason and status["state"] == "failed" else ""
    ranked = ": its checkpoints so far are ranked" if status["state"] == "running" and run.index else ""
    return f"{run.name} {ENDINGS[str(status['state'])]} ({steps}){why}{ranked}."
