"""What a reader of the leaderboard should know of the runs behind it."""

from collections.abc import Mapping, Sequence
from typing import Any

from nucleiseg.report.runs import Run

ENDINGS = {
    "running": "goes on, or was killed: its checkpoints so far are ranked",
    "interrupted": "was interrupted",
    "failed": "failed",
}
"""State of a run that is not done -> what became of it."""


def notes_on(runs: Sequence[Run], data: Mapping[str, Any] | None) -> list[str]:
    """Return a sentence for each run that is not done, and one where images are drawn.

    Args:
        runs: the runs.
        data: the keys of the `data` group that all are scored on; None: each on its own.
    """
    notes = [_ending(run) for run in runs if run.status.get("state") in ENDINGS]
    readers = [data] if data is not None else [run.config.get("data") for run in runs]
    if any(isinstance(reader, Mapping) and reader.get("reader") == "demo" for reader in readers):
        notes.append("The data are DRAWN, not photographed: what is measured here says nothing about real tissue.")
    return notes


def _ending(run: Run) -> str:
    status = run.status
    steps = f"step {status.get('steps', '?')} of {status.get('of', '?')}"
    reason = str(status.get("reason") or "").strip()
    why = f": {reason}" if reason and status["state"] == "failed" else ""
    return f"{run.name} {ENDINGS[str(status['state'])]} ({steps}){why}."
