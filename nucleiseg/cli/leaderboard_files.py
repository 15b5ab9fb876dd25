"""The files of a leaderboard: tables, figures and the report."""

from collections.abc import Sequence
from pathlib import Path

from nucleiseg.cli.submissions import SUBMISSIONS
from nucleiseg.leaderboard.board import Leaderboard
from nucleiseg.leaderboard.cache import EvaluationCache
from nucleiseg.leaderboard.scored_candidates import Scored
from nucleiseg.report.figures import charts, write_figures
from nucleiseg.report.image_panels import gallery_of, summaries_of
from nucleiseg.report.ledger import read_ledger
from nucleiseg.report.page import Page, write_page
from nucleiseg.report.tables import write_tables
from nucleiseg.runs import Run


def write_files(
    folder: Path,
    board: Leaderboard,
    runs: Sequence[Run],
    best: Scored,
    cache: EvaluationCache,
    *,
    banner: str,
    figures: bool,
) -> list[str]:
    """Write `leaderboard.csv leaderboard.md leaderboard.tex report.html` and, if asked for, `figures/`.

    Args:
        folder: where to.
        board: what is written.
        runs: the runs behind it.
        best: whose images the report shows.
        cache: of what the report shows.
        banner: a note that the report puts above everything; may be empty.
        figures: whether the charts are written as SVG and PDF files, too.

    Returns:
        The names of what was written.
    """
    write_tables(folder, board)
    summaries = summaries_of(best.job.images, cache)
    page = Page(
        title=folder.resolve().name,
        leaderboard=board,
        runs=runs,
        summaries=summaries,
        gallery=gallery_of(best, cache),
        ledger=read_ledger(folder / SUBMISSIONS),
        notes=board.notes,
        shown=best.candidate,
        banner=banner,
    )
    write_page(folder / "report.html", page)
    if figures:
        write_figures(folder / "figures", charts(board, runs, summaries, page.ledger))
    return ["leaderboard.csv", "leaderboard.md", "leaderboard.tex", "report.html", *(["figures"] if figures else [])]
