"""`report.html`: everything about a set of runs in one file that needs no network.

Charts are inline SVG, pictures are data URIs, style and script stand in the page. The page forbids itself to fetch
anything (its content security policy), and its template escapes whatever text it is given.
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
from nucleiseg.report.correlation import correlations
from nucleiseg.report.data_check import ImageSummary
from nucleiseg.report.differences import differences
from nucleiseg.report.figures import Chart, Group, charts
from nucleiseg.report.gallery import STYLES, GalleryImage
from nucleiseg.report.ledger_file import LedgerRow
from nucleiseg.report.standings import Standings, standings
from nucleiseg.report.themed_svg import VARIABLES, themed_svg
from nucleiseg.runs import Run

DASHES = {"-": "none", "--": "6 3", ":": "1.5 2.5", "-.": "6 3 1.5 3"}
"""Line styles of matplotlib as SVG writes them, for the keys of the legends."""

INTERVAL = "Where the score of the ranking lies on other images of the same kind, found by resampling these."
"""What the column `95 % interval` holds."""

DIFFERENCE = (
    "95 % interval of the difference to the best row, on the same resampled images: rows for which it holds 0 are tied."
)
"""What the column `minus the best` holds."""


@dataclass(frozen=True)
class Page:
    """What a report tells.

    Attributes:
        title: of the page.
        leaderboard: the ranked checkpoints.
        runs: the runs behind them.
        summaries: every image of the data set with its boxes; may be empty.
        gallery: images of one checkpoint of the best row, the worst first; may be empty.
        ledger: the uploads that are remembered; may be empty.
        notes: sentences on what a reader should know.
        shown: the checkpoint that the gallery is of; None where there is no gallery.
        banner: a sentence that outweighs the notes, and is not repeated among them; empty where there is none.
    """

    title: str
    leaderboard: Leaderboard
    runs: Sequence[Run]
    summaries: Sequence[ImageSummary]
    gallery: Sequence[GalleryImage]
    ledger: Sequence[LedgerRow]
    notes: Sequence[str]
    shown: Candidate | None = None
    banner: str = ""


class Key(NamedTuple):
    """A series of a group of charts: its name and line, in the page's variables."""

    number: int
    name: str
    colour: str
    dashes: str


class Figure(NamedTuple):
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
    """Return what the template speaks of."""
    figures: dict[str, list[Figure]] = {group: [] for group in get_args(Group)}
    for chart in charts(page.leaderboard, page.runs, page.summaries, page.ledger):
        svg = themed_svg(chart.draw(False), chart.name, f"{chart.title}. {chart.description}")
        figures[chart.group].append(Figure(chart, svg))
    boards = [standings(table) for table in page.leaderboard.tables]
    return {
        "page": page,
        "notes": [note for note in dict.fromkeys([*page.notes, *page.leaderboard.notes]) if note != page.banner],
        "style": _asset("page.css"),
        "script": _asset("page.js"),
        "standings": boards,
        "interval_meaning": INTERVAL,
        "difference_meaning": DIFFERENCE,
        "definitions": _definitions(boards),
        "tied": sum(line.verdict == "tied" for line in boards[0].lines) if boards else 0,
        "figures": figures,
        "run_keys": _keys([run.name for run in page.runs]),
        "setting_keys": [_keys(settings_of(board.table)) for board in boards],
        "styles": STYLES,
        "hidden_images": _hidden_images(page),
        "differences": differences(page.runs),
        "correlations": [correlation.sentence for correlation in correlations(page.ledger)],
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
    """Return a file of ours that stands in the page as it is."""
    text = (files("nucleiseg.report") / "templates" / name).read_text(encoding="utf-8")
    return Markup(text)


def _keys(names: Sequence[str]) -> list[Key]:
    keys = []
    for number, name in enumerate(names):
        colour, style = line_of(number)
        keys.append(Key(number, name, f"var(--{VARIABLES[colour.lower()]})", DASHES[style]))
    return keys


def _hidden_images(page: Page) -> int:
    """Return how many images of its checkpoint the gallery does not show."""
    images = page.shown.record.images if page.shown else ()
    return len({image.name for image in images} - {image.name for image in page.gallery})


def _definitions(boards: Sequence[Standings]) -> dict[str, str]:
    """Return the heads of the tables' columns that need words, each once, with what they mean."""
    heads = [(item.text, item.definition) for board in boards for item in (board.measure, *board.headings)]
    scores = dict.fromkeys((board.measure.text, board.measure.definition) for board in boards)
    return dict([*scores, ("95 % interval", INTERVAL), ("minus the best", DIFFERENCE), *heads])
