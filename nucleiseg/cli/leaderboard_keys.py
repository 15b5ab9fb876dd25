"""The keys of `conf/leaderboard.yaml`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from nucleiseg.cli.paths import with_paths
from nucleiseg.errors import InputError
from nucleiseg.files import cache_folder
from nucleiseg.models.plain import from_mapping
from nucleiseg.models.precision import Precision


@dataclass(frozen=True, kw_only=True)
class LeaderboardKeys:
    """The keys of `conf/leaderboard.yaml`, which explains them.

    Raises:
        InputError: if values do not fit together.
    """

    runs: tuple[str, ...]
    rank_by: str = "ap50"
    output: str | None = None
    data: dict[str, Any] | None = None
    data_root: str | None = None
    average_top: int | None = None
    figures: bool = True
    submitted: str | None = None
    board_score: float | None = None
    note: str = ""
    cache_dir: str | None = None
    device: str = "auto"
    precision: Precision = "32"

    def __post_init__(self) -> None:
        problems = []
        if not self.runs:
            problems.append("runs is an empty list: name a run's folder, a sweep's, or a glob.")
        if self.average_top is not None and self.average_top < 2:
            problems.append(f"average_top={self.average_top} averages nothing: give 2 or more, or null.")
        if self.submitted is None and (self.board_score is not None or self.note):
            problems.append(
                "board_score= and note= belong to an upload: give submitted=FILE, the file that was uploaded."
            )
        if problems:
            raise InputError(problems)

    @classmethod
    def of(cls, keys: Mapping[str, Any]) -> Self:
        """Take the keys as YAML gives them: one place or a list as `runs`, digits that are names, `~` in paths.

        Raises:
            InputError: for an unknown key, or a value that is not accepted.
        """
        runs = keys.get("runs")
        places = list(runs) if isinstance(runs, list | tuple) else [runs] if runs is not None else []
        given = with_paths({**keys, "runs": [str(place) for place in places]}, "output", "submitted", "cache_dir")
        data = dict(given.pop("data", None) or {})
        if data.get("root") is None:
            data.pop("root", None)
        if data.keys() == {"root"}:  # no group is chosen: each run's own data, at another place
            given["data_root"] = str(Path(str(data["root"])).expanduser().resolve())
        elif data:
            given["data"] = data
        return from_mapping(cls, given, "")

    @property
    def cache(self) -> Path:
        """The folder of evaluations."""
        return Path(self.cache_dir) if self.cache_dir is not None else cache_folder() / "evaluations"
