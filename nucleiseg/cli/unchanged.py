"""Whether the files of a leaderboard are there as they would be written again, so that nothing is drawn twice."""

import hashlib
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from nucleiseg.cli.submissions import SUBMISSIONS
from nucleiseg.leaderboard.board import Leaderboard
from nucleiseg.leaderboard.cache import EvaluationCache, versions
from nucleiseg.leaderboard.scored_candidates import Scored
from nucleiseg.runs import Run

WRITTEN = "files"
"""What the cache calls the sizes and times of the files of a leaderboard."""

DRAWN_BY = ("report", "evaluation")
"""Rooms of the package whose code decides what the files look like."""


class WrittenFiles:
    """The files of a leaderboard in a folder, as the cache remembers them.

    Args:
        folder: they lie in.
        board: what they show.
        scored: the evaluated checkpoints.
        runs: the runs behind them.
        best: whose images the report shows.
        cache: remembers.
        figures: whether the charts are files, too.
    """

    def __init__(
        self,
        folder: Path,
        board: Leaderboard,
        scored: Sequence[Scored],
        runs: Sequence[Run],
        best: Scored,
        cache: EvaluationCache,
        *,
        figures: bool,
    ) -> None:
        self.folder = folder.resolve()
        self.cache = cache
        ledger = self.folder / SUBMISSIONS
        made_from = [
            str(self.folder),
            versions(),
            code_digest(),
            figures,
            [(table.measure, table.sentence) for table in board.tables],
            board.notes,
            [(one.job.key, one.job.setting, str(one.job.file), one.job.run.name) for one in scored],
            [(run.name, run.config, run.index, run.metrics, run.status, run.splits) for run in runs],
            best.job.key,
            ledger.read_text(encoding="utf-8") if ledger.exists() else "",
        ]
        self.key = hashlib.sha256(json.dumps(made_from, sort_keys=True, default=str).encode()).hexdigest()

    @property
    def names(self) -> list[str]:
        """What was written from the same, if it is still there as it was; empty otherwise."""
        match self.cache.get_json(self.key, WRITTEN):
            case {"names": list(names), "state": state} if state == self._state(names):
                return names
        return []

    def remember(self, names: Sequence[str]) -> None:
        """Remember what was just written: files and folders in the folder."""
        self.cache.put_json(self.key, WRITTEN, {"names": list(names), "state": self._state(names)})

    def _state(self, names: Sequence[str]) -> list[list[str | int]]:
        """Return path, bytes and time (ns) of each file, those in folders too."""
        places = [self.folder / name for name in names]
        found = [path for place in places for path in (sorted(place.iterdir()) if place.is_dir() else [place])]
        return [[str(path), *_size_and_time(path)] for path in found]


def code_digest() -> str:
    """Return the SHA-256 of the code and templates that decide what the files look like."""
    digest = hashlib.sha256()
    for room in DRAWN_BY:
        root = Path(str(files("nucleiseg"))) / room
        for path in sorted(path for path in root.rglob("*") if path.suffix in {".py", ".j2", ".css", ".js"}):
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _size_and_time(path: Path) -> tuple[int, int]:
    if not path.is_file():
        return -1, -1
    status = path.stat()
    return status.st_size, status.st_mtime_ns
