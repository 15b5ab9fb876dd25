"""The files of a run's folder, and whether there is a run in it; light, for those who only look."""

import json
from pathlib import Path

CONFIG = Path("config.yaml")
"""The configuration of a run."""

SPLITS = Path("splits.json")
"""Which images train and which validate, with the fingerprint of the data."""

STATUS = Path("status.json")
"""Whether the run goes on, how far it is, and why it ended."""

METRICS = Path("metrics.csv")
"""A row for each step."""

INDEX = Path("index.csv")
"""A row for each step checkpoint."""

TRACKED = Path("tracked.json")
"""Where the run is kept at W&B or MLflow, for a resume to go on with it."""

LAST = Path("checkpoints") / "last.ckpt"
"""The full checkpoint of a run: weights, optimiser, schedule, loop."""


def holds_run(run_dir: Path) -> bool:
    """Return whether a run in the folder has come as far as a step: its configuration alone can be begun again."""
    return any((run_dir / name).exists() for name in (METRICS, INDEX, LAST))


def read_status(run_dir: Path) -> dict[str, object]:
    """Return what `status.json` says; nothing where there is none that can be read."""
    try:
        status = json.loads((run_dir / STATUS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return status if isinstance(status, dict) else {}
