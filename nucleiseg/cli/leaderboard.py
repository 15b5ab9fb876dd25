"""From runs to a leaderboard, its files and its best checkpoint."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nucleiseg.cli.leaderboard_keys import LeaderboardKeys
from nucleiseg.cli.leaderboard_terminal import print_leaderboard
from nucleiseg.cli.overrides import override
from nucleiseg.cli.paths import require_writable_folder
from nucleiseg.cli.submissions import check_upload, remember_upload
from nucleiseg.cli.unchanged import WrittenFiles
from nucleiseg.errors import InputError
from nucleiseg.inference.settings import PredictionSettings
from nucleiseg.leaderboard.averages import average_best
from nucleiseg.leaderboard.best import BEST, best_of, write_best
from nucleiseg.leaderboard.board import Leaderboard, rank
from nucleiseg.leaderboard.cache import EvaluationCache
from nucleiseg.leaderboard.caveats import drawn_note, notes_on, notes_on_best
from nucleiseg.leaderboard.honesty import notes_on_honesty
from nucleiseg.leaderboard.metrics import find_metric
from nucleiseg.leaderboard.scored_candidates import Scored, evaluate_jobs, list_jobs
from nucleiseg.progress import counted, say
from nucleiseg.runs import Run, find_runs


@dataclass
class Failures:
    """What could not be used: each said once, when it is found."""

    sentences: list[str] = field(default_factory=list)

    def __call__(self, sentence: str) -> None:
        """Say why something is left out, and keep it in mind."""
        say(sentence)
        self.sentences.append(sentence)


def check(config: Mapping[str, Any]) -> LeaderboardKeys:
    """Check every key of the command without looking at any file.

    Raises:
        InputError: with a sentence for every problem.
    """
    return LeaderboardKeys.of(config)


def leaderboard(**keys: Any) -> int:  # noqa: ANN401
    """Evaluate and rank every checkpoint of runs, and write the leaderboard.

    Args:
        **keys: those of `LeaderboardKeys`, as YAML gives them; paths may also be path objects.

    Returns:
        The number of runs, checkpoints and averages that could not be evaluated.

    Raises:
        InputError: if a key cannot be used, there is no run, none of the checkpoints can be evaluated, or the output
            cannot be written.
    """
    settings = check(keys)
    metric = find_metric(settings.rank_by)  # before hours of predicting
    failures = Failures()
    runs = find_runs(settings.runs, failures)
    if settings.data_root is not None:
        runs = [run.with_data_at(settings.data_root) for run in runs]
    output = _output(settings, runs)
    require_writable_folder(output)
    check_upload(settings, output)
    cache = EvaluationCache(settings.cache)
    board, scored = _rank(settings, runs, output, cache, failures)
    best = best_of(board.best, scored, metric)
    about_runs = notes_on(runs, settings.data, settings.precision)
    said = (*notes_on_honesty(scored, metric), *notes_on_best(board, best.candidate), *about_runs)
    board = replace(board, notes=(*board.notes, *said))
    write_best(best, output / BEST, cache)
    remember_upload(settings, output, scored, metric, cache)
    told = replace(board, notes=(*board.notes, *failures.sentences))
    written = WrittenFiles(output, told, scored, runs, best, cache, figures=settings.figures)
    names = written.names
    unchanged = ", unchanged" if names else ""
    names = names or _write(settings, written, told, runs, best)
    print_leaderboard(board)
    say(f"Written to {output}{unchanged}: {', '.join(names)}, {BEST} ({board.best.name}).")
    say(f"python predict.py {override('checkpoint', output / BEST)} input=FILE_OR_FOLDER")
    if failures.sentences:
        say(f"{counted(len(failures.sentences), 'problem')}; the rest is ranked.")
    return len(failures.sentences)


def _rank(
    settings: LeaderboardKeys, runs: Sequence[Run], output: Path, cache: EvaluationCache, fail: Failures
) -> tuple[Leaderboard, list[Scored]]:
    """Evaluate what is not in the cache and rank it, with averages of weights where they are asked for."""
    prediction = PredictionSettings(device=settings.device, precision=settings.precision)
    scored = evaluate_jobs(list_jobs(runs, settings.data, prediction, cache, fail), prediction, cache, fail)
    if not scored:
        raise InputError(fail.sentences or "The runs have no checkpoint yet: come back after the first one.")
    board = rank([one.candidate for one in scored], settings.rank_by)
    if settings.average_top is not None:
        averages = average_best(board.tables[0], scored, settings.average_top, output, prediction, cache, fail)
        scored += averages
        board = rank([one.candidate for one in scored], settings.rank_by)
    return board, scored


def _write(
    settings: LeaderboardKeys, written: WrittenFiles, board: Leaderboard, runs: Sequence[Run], best: Scored
) -> list[str]:
    """Write the files and remember them, unless the report goes without what another call may be able to read."""
    from nucleiseg.cli.leaderboard_files import write_files
    from nucleiseg.report.image_panels import is_complete  # where nothing is drawn, nothing waits for the charts

    banner = drawn_note(runs, settings.data)
    names = write_files(written.folder, board, runs, best, written.cache, banner=banner, figures=settings.figures)
    if is_complete(best, written.cache):
        written.remember(names)
    return names


def _output(settings: LeaderboardKeys, runs: Sequence[Run]) -> Path:
    """Return the folder to write to: the one that is given, else the one place that the runs lie in."""
    if settings.output is not None:
        return Path(settings.output)
    places = [Path(place).expanduser() for place in settings.runs]
    if len(places) == 1 and places[0].is_dir():
        return places[0]
    if len(runs) == 1:
        return runs[0].folder
    raise InputError(
        f"runs= names several places ({counted(len(runs), 'run')}): say where the leaderboard goes, output=FOLDER."
    )
