"""The command `leaderboard`: evaluate and rank the checkpoints of runs, write tables, report and best checkpoint."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from textwrap import wrap
from typing import Annotated, Any, Literal, Self

from pydantic import Field
from rich import box
from rich.console import Console
from rich.table import Table as TextTable
from rich.text import Text

from nucleiseg.cli.groups import qualified
from nucleiseg.cli.overrides import override
from nucleiseg.cli.paths import require_writable_folder
from nucleiseg.cli.refit import refit
from nucleiseg.errors import InputError
from nucleiseg.files import cache_folder
from nucleiseg.inference.settings import PredictionSettings, ScoredPredictionSettings
from nucleiseg.invocation import invocation
from nucleiseg.leaderboard.averages import average_best
from nucleiseg.leaderboard.best import BEST, best_caveats, best_of, write_best
from nucleiseg.leaderboard.board import Leaderboard, Table, rank
from nucleiseg.leaderboard.cache import EvaluationCache
from nucleiseg.leaderboard.candidates import Fail, Scored, evaluate_jobs, list_jobs
from nucleiseg.leaderboard.caveats import run_caveats, scored_caveats, synthetic_note
from nucleiseg.leaderboard.metrics import METRICS, column_of, find_metric
from nucleiseg.progress import counted, echo
from nucleiseg.report.leaderboard_table import leaderboard_table
from nucleiseg.report.submission_ledger import SUBMISSIONS, read_submissions
from nucleiseg.runs import Run, find_runs
from nucleiseg.settings import Accepts, AsText, AsTuple, PathText, settings
from nucleiseg.writers.origin import read_origin

WIDTH = 200
"""Width of the printed table if the output is not a terminal; rich would assume 80."""

HEADING_WIDTH = 10
"""Characters in a line of a heading, so that headings are no wider than their numbers."""


@settings
class LeaderboardSettings(ScoredPredictionSettings):
    """The keys of `conf/leaderboard.yaml`, which explains them."""

    runs: Annotated[tuple[str, ...], Field(min_length=1), AsTuple, Accepts("a folder, a glob or a list of these")]
    rank_by: Annotated[str, Field(pattern=f"^({'|'.join(METRICS)})$"), Accepts(f"one of {', '.join(METRICS)}")] = "ap50"
    output: PathText | None = None
    data: dict[str, Any] | None = None
    average_top: Annotated[int, Field(ge=2)] | None = None
    refit: bool | Literal["run"] = False
    figures: bool = True
    submitted: PathText | None = None
    board_score: float | None = None
    note: Annotated[str, AsText] = ""
    cache_dir: PathText | None = None
    device: str = "auto"

    def contradictions(self, at: str) -> Iterable[str]:
        """Yield a sentence for a score or note without a submitted file."""
        yield from super().contradictions(at)
        if self.submitted is None and (self.board_score is not None or self.note):
            yield f"{at}board_score and {at}note belong to a submission: name the submitted file ({at}submitted=FILE)."

    @classmethod
    def of(cls, keys: Mapping[str, Any]) -> Self:
        """Build from the keys as YAML has them, with one path or a list as `runs`.

        Raises:
            InputError: a sentence for every unknown key and refused value.
        """
        runs = keys.get("runs")
        places = list(runs) if isinstance(runs, list | tuple) else [runs] if runs is not None else []
        return cls.from_dict({**keys, "runs": [str(place) for place in places]}, "")

    @property
    def images(self) -> dict[str, Any] | None:
        """The `data` group to score all checkpoints on; None: the validation images of each run."""
        data = {key: value for key, value in (self.data or {}).items() if key != "root" or value is not None}
        return data if data.keys() - {"root"} else None

    @property
    def data_root(self) -> str | None:
        """New folder of the runs' own images, if they were moved."""
        root = (self.data or {}).get("root") if self.images is None else None
        return None if root is None else str(Path(str(root)).expanduser().resolve())

    @property
    def prediction(self) -> PredictionSettings:
        """The settings of all predictions."""
        return PredictionSettings.from_dict({**self.scored_settings(), "device": self.device}, "")

    @property
    def cache(self) -> Path:
        """The folder of cached evaluations."""
        return Path(self.cache_dir) if self.cache_dir is not None else cache_folder() / "evaluations"


def check(config: Mapping[str, Any]) -> LeaderboardSettings:
    """Check every key of the command without accessing files.

    Raises:
        InputError: with a sentence for every problem.
    """
    return LeaderboardSettings.of(config)


def leaderboard(**keys: Any) -> int:  # noqa: ANN401
    """Evaluate and rank every checkpoint of runs, and write the leaderboard.

    Args:
        **keys: see `LeaderboardSettings`; paths may also be path objects.

    Returns:
        The number of runs, checkpoints and averages that could not be evaluated, and of failed refits.

    Raises:
        InputError: if a key is refused, no run is found, no checkpoint can be evaluated, or the output cannot be
            written.
    """
    settings = check(keys)
    failures: list[str] = []

    def fail(sentence: str) -> None:
        failures.append(qualified(sentence, {"data": settings.data}))
        echo(failures[-1])

    runs = find_runs(settings.runs, fail)
    if settings.data_root is not None:
        runs = [run.with_data_at(settings.data_root) for run in runs]
    output = _output(settings, runs)
    require_writable_folder(output)
    read_submissions(output / SUBMISSIONS)  # refuse a damaged ledger or answer before hours of prediction
    if settings.submitted is not None:
        read_origin(Path(settings.submitted))
    cache = EvaluationCache(settings.cache)
    board, scored = _evaluate_and_rank(settings, runs, output, cache, fail)
    if not scored:
        raise InputError([*failures, *hints(failures)] or "The runs have no checkpoint yet: try again later.")
    best = best_of(board.best, scored, find_metric(settings.rank_by))
    _write(settings, board, runs, scored, best, output, cache, failures)
    if settings.refit:
        try:
            folder = output.resolve()  # beside the output: inside, the next call would rank the new run
            refit(best.job, folder.with_name(f"{folder.name}_refit"), run=settings.refit == "run")
        except InputError as error:
            fail(f"Refit: {error}")
    if failures:
        echo(" ".join([f"{counted(len(failures), 'problem')}; the rest is ranked.", *hints(failures)]))
    return len(failures)


def hints(failures: Iterable[str]) -> list[str]:
    """Return the keys to set if runs cannot be scored on their own images."""
    if not any("cannot be scored" in sentence for sentence in failures):
        return []
    return ["Keys: data.root=DIR for images that were moved, data=folders data.root=DIR data.val=none for others."]


def _evaluate_and_rank(
    settings: LeaderboardSettings, runs: Sequence[Run], output: Path, cache: EvaluationCache, fail: Fail
) -> tuple[Leaderboard, list[Scored]]:
    """Evaluate checkpoints that are not in the cache and rank all, with averages of weights if requested."""
    prediction = settings.prediction
    scored = evaluate_jobs(list_jobs(runs, settings.images, prediction, cache, fail), prediction, cache, fail)
    if not scored:
        return Leaderboard((), ()), []
    board = rank([item.candidate for item in scored], settings.rank_by)
    if settings.average_top is not None:
        scored += average_best(board.tables[0], scored, settings.average_top, output, prediction, cache, fail)
        board = rank([item.candidate for item in scored], settings.rank_by)
    return board, scored


def _write(
    settings: LeaderboardSettings,
    board: Leaderboard,
    runs: Sequence[Run],
    scored: Sequence[Scored],
    best: Scored,
    output: Path,
    cache: EvaluationCache,
    failures: Sequence[str],
) -> None:
    """Write and print the leaderboard with its caveats, write the best checkpoint, and record a submission."""
    from nucleiseg.report.leaderboard_files import write_files  # matplotlib takes a second to import
    from nucleiseg.report.submissions import record_scored

    metric = find_metric(settings.rank_by)
    write_best(best, output / BEST, cache)
    if settings.submitted is not None:
        answer = Path(settings.submitted)
        record_scored(output / SUBMISSIONS, answer, settings.board_score, settings.note, scored, metric, cache)
    of_runs = run_caveats(runs, settings.images, settings.prediction)
    caveats = (*board.notes, *scored_caveats(scored, metric), *best_caveats(board, best.candidate), *of_runs)
    board = replace(board, notes=caveats)
    written = replace(board, notes=(*caveats, *failures))  # failures have been printed
    banner = synthetic_note(runs, settings.images)
    names = write_files(output, written, runs, best, cache, banner=banner, figures=settings.figures)
    print_leaderboard(board)
    echo(f"Written to {output}: {', '.join(names)}, {BEST} ({board.best.name}).")
    echo(f"{invocation('predict')} {override('checkpoint', output / BEST)} input=FILE_OR_FOLDER")


def _output(settings: LeaderboardSettings, runs: Sequence[Run]) -> Path:
    """Return the folder to write to: the given one, else the only folder that contains the runs."""
    if settings.output is not None:
        return Path(settings.output)
    places = [Path(place).expanduser() for place in settings.runs]
    if len(places) == 1 and places[0].is_dir():
        return places[0]
    if len(runs) == 1:
        return runs[0].folder
    raise InputError(
        f"runs lists several folders ({counted(len(runs), 'run')}): set output=FOLDER for the leaderboard."
    )


def print_leaderboard(board: Leaderboard) -> None:
    """Print every table with its sentence, then the notes."""
    console = Console(stderr=True, width=None if sys.stderr.isatty() else WIDTH)
    for table in board.tables:
        console.print(_text_table(table))
        echo(table.sentence)
    for note in board.notes:
        echo(f"Note: {note}")


def _text_table(table: Table) -> TextTable:
    rows, images = counted(len(table.rows), "row"), counted(len(table.images), "image")
    measure = column_of(table.measure).heading
    text = TextTable(
        title=Text(f"{rows} (settings and steps) on {images}, by {measure} [95 % interval]"),
        caption="* best   ~ statistically indistinguishable from the best",
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE,
        padding=(0, 1, 0, 0),
    )
    laid_out = leaderboard_table(table)
    columns = laid_out.compact()
    for column in columns:
        heading = Text("\n".join(wrap(column.title, HEADING_WIDTH, break_long_words=False)))
        text.add_column(heading, justify="right" if column.is_number else "left", no_wrap=column.is_number)
    marks = {"best": ("* ", "bold"), "tied": ("~ ", "dim"), "behind": ("", "")}
    for number, row in enumerate(laid_out.rows):
        mark, style = marks[row.status]
        rank_cell, *cells = (column.cells[number].text for column in columns)
        text.add_row(Text(mark + rank_cell), *map(Text, cells), style=style)
    return text
