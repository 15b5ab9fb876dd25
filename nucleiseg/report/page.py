"""Write `report.html`: leaderboard, curves, data, gallery and runs in one file that works offline.

Charts are inline SVG, pictures are data URIs, style and script are inline. The page's content security policy forbids
fetching anything, and its template escapes all text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple, get_args

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

import nucleiseg
from nucleiseg.errors import some
from nucleiseg.files import write_text
from nucleiseg.leaderboard.board import Leaderboard
from nucleiseg.leaderboard.candidates import Candidate
from nucleiseg.progress import counted
from nucleiseg.report.charts import line_of, settings_of
from nucleiseg.report.class_tables import class_tables
from nucleiseg.report.correlation import correlations
from nucleiseg.report.data_check import ImageSummary
from nucleiseg.report.differences import differences
from nucleiseg.report.figures import Chart, Group, charts
from nucleiseg.report.gallery import STYLES, GalleryImage
from nucleiseg.report.leaderboard_table import leaderboard_table
from nucleiseg.report.submission_ledger import Submission
from nucleiseg.report.themed_svg import VARIABLES, themed_svg
from nucleiseg.runs import Run

DASHES = {"-": "none", "--": "6 3", ":": "1.5 2.5", "-.": "6 3 1.5 3"}
"""Line styles of matplotlib as SVG writes them, for the keys of the legends."""

INTERVAL = "Range of the ranking score on other images of the same kind, estimated by resampling these."
"""Definition of the column `95 % interval`."""

DIFFERENCE = (
    "95 % interval of the difference to the best row, on the same resampled images; rows are tied if it contains 0."
)
"""Definition of the column `minus the best`."""


@dataclass(frozen=True)
class Page:
    """Content of a page.

    Attributes:
        title: of the page.
        leaderboard: the ranked checkpoints, with notes on them.
        runs: the ranked runs.
        summaries: every image of the data set with its boxes; may be empty.
        gallery: images of one checkpoint of the best row, the worst first; may be empty.
        submissions: rows of `submissions.csv`; may be empty.
        shown: the checkpoint of the gallery; None if there is none.
        banner: a sentence at the top, omitted from the notes; may be empty.
    """

    title: str
    leaderboard: Leaderboard
    runs: Sequence[Run]
    summaries: Sequence[ImageSummary]
    gallery: Sequence[GalleryImage]
    submissions: Sequence[Submission]
    shown: Candidate | None = None
    banner: str = ""


class LegendKey(NamedTuple):
    """A series in the legend of a group of charts: its name and line, in the page's variables."""

    number: int
    name: str
    color: str
    dashes: str


class PageFigure(NamedTuple):
    """A chart on the page."""

    chart: Chart
    svg: Markup


def write_page(path: Path, page: Page) -> None:
    """Write a report, whole or not at all."""
    environment = Environment(
        loader=PackageLoader("nucleiseg.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"short_list": some, "start": started_from}
    write_text(path, environment.get_template("page.html.j2").render(_context(page)))


def _context(page: Page) -> dict[str, Any]:
    """Return the variables of the template."""
    figures: dict[str, list[PageFigure]] = {group: [] for group in get_args(Group)}
    for chart in charts(page.leaderboard, page.runs, page.summaries, page.submissions):
        svg = themed_svg(chart.draw(False), chart.name, f"{chart.title}. {chart.description}")
        figures[chart.group].append(PageFigure(chart, svg))
    shown = {image.name for image in page.shown.record.images} if page.shown else set()
    tables = [leaderboard_table(table) for table in page.leaderboard.tables]
    # by title, so that columns of several tables are defined once
    columns = [column for table in tables for column in (table.score, *table.columns.values())]
    scores = {table.score.title: table.score.definition for table in tables}
    others = {column.title: column.definition for column in columns}
    return {
        "page": page,
        "notes": [note for note in dict.fromkeys(page.leaderboard.notes) if note != page.banner],
        "style": _asset("page.css"),
        "script": _asset("page.js"),
        "tables": tables,
        "interval_meaning": INTERVAL,
        "difference_meaning": DIFFERENCE,
        "definitions": {**scores, "95 % interval": INTERVAL, "minus the best": DIFFERENCE, **others},
        "tied": sum(row.status == "tied" for row in tables[0].rows) if tables else 0,
        "figures": figures,
        "run_keys": _keys([run.name for run in page.runs]),
        "setting_keys": [_keys(settings_of(table)) for table in page.leaderboard.tables],
        "styles": STYLES,
        "classes": class_tables(page.shown.record.report) if page.shown else None,
        "hidden_images": len(shown - {image.name for image in page.gallery}),
        "differences": differences(page.runs),
        "correlations": [correlation.sentence for correlation in correlations(page.submissions)],
        "counted": counted,
        "version": nucleiseg.__version__,
        "time": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def started_from(run: Run) -> str:
    """Return the weights that a run started from, in words."""
    model = run.config.get("model")
    weights = model.get("weights") if isinstance(model, Mapping) else None
    return str(weights) if weights else "random weights"


def _asset(name: str) -> Markup:
    """Return a file of the package, which the page contains unescaped."""
    text = (files("nucleiseg.report") / "templates" / name).read_text(encoding="utf-8")
    return Markup(text)


def _keys(names: Sequence[str]) -> list[LegendKey]:
    keys = []
    for number, name in enumerate(names):
        color, style = line_of(number)
        keys.append(LegendKey(number, name, f"var(--{VARIABLES[color.lower()]})", DASHES[style]))
    return keys
