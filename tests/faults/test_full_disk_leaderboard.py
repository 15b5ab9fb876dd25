"""A full disk while a leaderboard writes its cache or its output: the path is named, older files stay whole."""

import errno
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "report"))
from report_data import make_record

from nucleiseg.failures import explained
from nucleiseg.leaderboard.best import BEST, write_best
from nucleiseg.leaderboard.board import Leaderboard
from nucleiseg.leaderboard.cache import CheckpointInfo, Evaluation, EvaluationCache
from nucleiseg.report.charts import draw_sizes
from nucleiseg.report.figures import charts, write_figures
from nucleiseg.report.page import Page, write_page
from nucleiseg.report.submission_ledger import SUBMISSIONS, CsvForm, Submission, write_ledger
from nucleiseg.report.table_files import write_tables

INFO = CheckpointInfo(parameters=7, weights="random", stored_threshold=0.5, chosen_threshold=0.5)


@pytest.fixture
def fill_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function after which the disk is full for the file of a name, as in `test_full_disk`."""
    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc")
    fsync = os.fsync

    def fill(file: str) -> None:
        def fail(handle: int) -> None:
            name = Path(f"/proc/self/fd/{handle}").readlink().name  # .STEM.DIGITS.partSUFFIX
            if name.startswith(f".{Path(file).stem}.") and name.endswith(Path(file).suffix):
                raise OSError(errno.ENOSPC, "No space left on device")
            fsync(handle)

        monkeypatch.setattr(os, "fsync", fail)

    return fill


def write_best_of(folder: Path, title: str) -> None:
    checkpoint = folder / f"{title}.source"
    checkpoint.write_text(title)
    best: Any = SimpleNamespace(job=SimpleNamespace(file=checkpoint), evaluation=SimpleNamespace(info=INFO))
    write_best(best, folder / BEST, EvaluationCache(folder / "cache"))


def write_figure(folder: Path, title: str) -> None:
    summary = SimpleNamespace(name="a", height=9, width=9, boxes=np.array([[0, 0, len(title), 9.0]]))
    sizes = [chart for chart in charts(Leaderboard((), ()), [], [summary], []) if chart.name == "nucleus_sizes"]
    write_figures(folder / "figures", [replace(sizes[0], draw=lambda _: draw_sizes([summary] * len(title)))])


WRITERS: dict[str, Callable[[Path, str], None]] = {
    BEST: write_best_of,
    SUBMISSIONS: lambda folder, title: write_ledger(folder / SUBMISSIONS, [Submission(note=title)], CsvForm()),
    "leaderboard.md": lambda folder, title: write_tables(folder, Leaderboard((), (title,))),
    "report.html": lambda folder, title: write_page(
        folder / "report.html", Page(title, Leaderboard((), ()), [], [], [], [])
    ),
    "figures/nucleus_sizes.pdf": write_figure,
}
"""File of a leaderboard -> a function that writes it, with a content that depends on a title."""


@pytest.mark.parametrize("file", WRITERS)
def test_output_names_the_file_and_leaves_the_older_one_whole(
    tmp_path: Path, fill_disk: Callable[[str], None], file: str
) -> None:
    WRITERS[file](tmp_path, "older")
    before = (tmp_path / file).read_bytes()
    fill_disk(file)
    with pytest.raises(OSError, match="No space left") as caught:
        WRITERS[file](tmp_path, "the newer one")
    assert caught.value.filename == str(tmp_path / file)
    (sentence,) = explained(caught.value) or []
    assert str(tmp_path / file) in sentence
    assert (tmp_path / file).read_bytes() == before
    assert not list(tmp_path.rglob(".*.part*"))


def test_a_cache_on_a_full_disk_is_reported_once_and_stops_nothing(
    tmp_path: Path, fill_disk: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    cache = EvaluationCache(tmp_path)
    evaluation = Evaluation(make_record([]), INFO)
    cache.put("older", evaluation)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    fill_disk("newer")
    cache.put("newer", evaluation)
    cache.put("newer", evaluation)
    said = capsys.readouterr().err
    assert said.count("No space left on device") == 1
    assert str(tmp_path / "newer.npz") in said
    assert cache.get("newer") is None
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert cache.get("older") is not None
