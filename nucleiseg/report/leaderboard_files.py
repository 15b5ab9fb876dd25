"""Write the files of a leaderboard: tables, figures and the page."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nucleiseg.errors import InputError
from nucleiseg.leaderboard.board import Leaderboard
from nucleiseg.leaderboard.cache import EvaluationCache
from nucleiseg.leaderboard.candidates import Scored
from nucleiseg.leaderboard.image_sets import ImageSet
from nucleiseg.progress import echo
from nucleiseg.report.data_check import ImageSummary
from nucleiseg.report.figures import charts, write_figures
from nucleiseg.report.gallery import GalleryImage, gallery_images
from nucleiseg.report.page import Page, write_page
from nucleiseg.report.submission_ledger import SUBMISSIONS, read_submissions
from nucleiseg.report.table_files import write_tables
from nucleiseg.runs import Run

GALLERY = "gallery2"
"""Cache entry of the gallery's pictures; raise the number when the rendering changes."""

SUMMARIES = "summaries"
"""Cache entry of the boxes of all images of the data."""


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
    """Write `leaderboard.csv leaderboard.md leaderboard.tex report.html` and optionally `figures/`.

    Args:
        folder: to write to.
        board: the leaderboard.
        runs: the ranked runs.
        best: the checkpoint whose images the page shows.
        cache: stores summaries and pictures.
        banner: a sentence at the top of the page; may be empty.
        figures: whether the charts are also written as SVG and PDF files.

    Returns:
        The names of the written files and folders.
    """
    write_tables(folder, board)
    summaries = summaries_of(best.job.images, cache)
    page = Page(
        title=folder.resolve().name,
        leaderboard=board,
        runs=runs,
        summaries=summaries,
        gallery=gallery_of(best, cache),
        submissions=read_submissions(folder / SUBMISSIONS),
        shown=best.candidate,
        banner=banner,
    )
    write_page(folder / "report.html", page)
    names = ["leaderboard.csv", "leaderboard.md", "leaderboard.tex", "report.html"]
    if figures:
        write_figures(folder / "figures", charts(board, runs, summaries, page.submissions))
        names.append("figures")
    return names


@dataclass(frozen=True)
class StoredSummary:
    """An image's size in pixels and its (N, 4) boxes x1, y1, x2, y2 in these pixels."""

    name: str
    height: int
    width: int
    boxes: np.ndarray


def summaries_of(images: ImageSet, cache: EvaluationCache) -> Sequence[ImageSummary]:
    """Return a summary of every image, or an empty list with a message if the data cannot be read any longer."""
    stored = cache.get_json(images.data_key, SUMMARIES)
    if stored is None:
        try:
            stored = [(item.name, item.height, item.width, item.boxes.tolist()) for item in images.summaries]
        except InputError as error:
            echo(f"The report has no charts of the data: {error}")
            return []
        cache.put_json(images.data_key, SUMMARIES, stored)
    return [StoredSummary(name, height, width, np.array(boxes).reshape(-1, 4)) for name, height, width, boxes in stored]


def gallery_of(best: Scored, cache: EvaluationCache) -> list[GalleryImage]:
    """Return the worst images of a checkpoint, or an empty list with a message if they cannot be read any longer."""
    images = best.job.images
    stored = cache.get_json(best.job.key, GALLERY)
    if stored is not None:
        return [GalleryImage.from_dict(image, "gallery", complete=True) for image in stored]
    try:
        truths = {truth.name: truth for truth in images.truths}
    except InputError as error:
        echo(f"The report has no gallery: {error}")
        return []
    gallery = gallery_images(best.evaluation.record, truths, lambda name: images.sample(name).image)
    cache.put_json(best.job.key, GALLERY, [image.to_dict() for image in gallery])
    return gallery
