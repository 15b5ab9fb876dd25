"""The page as text: escaped, complete, with a sentence for each part that is empty."""

import math
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))
from report_data import BANNER, EVIL, make_image, make_page, make_record, make_row, make_run, make_table

from nucleiseg.leaderboard.board import Leaderboard, Row
from nucleiseg.report.charts import draw_metric, draw_sizes, settings_of
from nucleiseg.report.figures import Chart, charts, write_figures
from nucleiseg.report.leaderboard_table import leaderboard_table
from nucleiseg.report.page import Page, started_from, write_page
from nucleiseg.report.themed_svg import VARIABLES

EMPTY = Page("Nothing yet", Leaderboard((), ()), [], [], [], [])


@pytest.fixture(scope="module")
def record() -> object:
    return make_record([make_image(0, 0.5)])


def render(page: Page, folder: Path) -> str:
    write_page(folder / "report.html", page)
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def full_page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The text of the page that `make_page` fills."""
    return render(make_page(), tmp_path_factory.mktemp("page"))


class Checker(HTMLParser):
    """Collects the addresses that a page refers to and checks that its elements are closed."""

    VOID = frozenset({"meta", "link", "img", "br", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_full_page_is_sound_and_refers_to_nothing_outside(full_page: str) -> None:
    checker = Checker()
    checker.feed(full_page)
    assert checker.open == []
    assert checker.addresses
    assert [address for address in checker.addresses if not address.startswith(("#", "data:"))] == []
    assert "default-src 'none'" in full_page
    assert EVIL not in full_page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; $x_1$" in full_page


def test_a_page_has_the_sentences_of_its_parts(full_page: str) -> None:
    for sentence in (
        "The data are SYNTHETIC, not photographed",
        "Row 2 is statistically indistinguishable from the best.",
        "A note of the board.",
        "0.2125 of at most 0.2500",
        "random weights",
        "1 more image is not shown",
        "Predictions of run, step 100, on the images",
        "score 0.50 or more</figcaption>",
        "1 row is tied with it.",
        "<dt>95 % interval</dt>",
        "<dt>minus the best</dt>",
        "<code>seed</code>",
        "no correlation",
        "not entered",
    ):
        assert sentence in full_page, sentence
    assert full_page.count('class="badge">tied') == 1
    assert full_page.count('class="badge">best') == 1


def test_each_empty_part_says_why(tmp_path: Path) -> None:
    text = render(EMPTY, tmp_path)
    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    assert text.count('class="empty"') == 6
    assert "SYNTHETIC" not in text


def test_two_tables_stand_apart(tmp_path: Path, record: object) -> None:
    tables = tuple(make_table([make_row(1, score, record)]) for score in (0.7, 0.6))  # type: ignore[arg-type]
    text = render(make_page(leaderboard=Leaderboard(tables, ())), tmp_path)
    assert "Table 2: 1 image (image_0)" in text
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))


def test_charts_take_their_colors_from_the_page(full_page: str) -> None:
    svg = "".join(re.findall(r"<svg[^>]*chart.*?</svg>", full_page, re.DOTALL))
    assert svg.count('role="img"') == len(list(charts_of(make_page())))
    assert not [color for color in VARIABLES if color in svg]
    assert "font-family" not in svg
    style = full_page[: full_page.index("</style>")]
    assert all(f"--{variable}:" in style for variable in VARIABLES.values())


def charts_of(page: Page) -> list[Chart]:
    return charts(page.leaderboard, page.runs, page.summaries, page.submissions)


def test_figures_are_written_as_svg_and_pdf(tmp_path: Path) -> None:
    page = make_page(runs=[make_run(EVIL), make_run("_hidden\x01")])
    paths = write_figures(tmp_path / "figures", charts_of(page))
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == sorted(path.name for path in paths)
    for path in paths:
        start = path.read_bytes()[:6]
        assert start in (b"<?xml ", b"%PDF-1"), path
    names = {path.stem for path in paths}
    assert names == {chart.name for chart in charts_of(page)}
    assert {"ranking_1", "train_loss", "val_loss", "val_ap50", "lr", "nuclei_per_image", "nucleus_sizes"} <= names
    assert "submissions_ap50_100" in names
    others = [tmp_path / "figures" / name for name in ("mine.svg", "ranking_1.png", "ranking_two.svg")]
    for other in others:
        other.write_text("kept")
    left = write_figures(tmp_path / "figures", [])
    assert left == []
    assert sorted((tmp_path / "figures").iterdir()) == sorted(others), "old figures go, and nothing else"


def test_the_gallery_counts_the_images_of_its_own_checkpoint(tmp_path: Path) -> None:
    images = [make_image(index, 0.5) for index in range(3)]
    rows = [make_row(1, 0.8, make_record(images[:1]))]
    other = make_row(1, 0.8, make_record(images[1:])).candidates
    folds = make_row(1, 0.8, make_record(images[:1]), candidates=(*rows[0].candidates, *other))
    page = make_page(leaderboard=Leaderboard((make_table([folds]),), ()), shown=folds.candidates[0])
    page = replace(page, gallery=[item for item in page.gallery if item.name == "image_1"])
    assert "1 more image is not shown" in render(page, tmp_path), "image_0; the other fold's are not its own"


def test_the_banner_stands_once_and_only_where_there_is_one(tmp_path: Path) -> None:
    page = make_page()
    page = replace(page, leaderboard=replace(page.leaderboard, notes=("Another note.", BANNER)))
    assert render(page, tmp_path).count(BANNER) == 1
    text = render(EMPTY, tmp_path)
    assert BANNER not in text
    assert 'role="note"' not in text


def test_settings_stand_apart_in_the_order_of_their_runs() -> None:
    def of_run(run: str, setting: str, rank: int, step: int) -> Row:
        row = make_row(rank, 0.9 - rank / 10, make_record([make_image(0, 0.5)]), setting=setting, step=step)
        return replace(row, candidates=(replace(row.candidates[0], run=run),))

    table = make_table([of_run("001", "late", 1, 100), of_run("000", "early", 2, 100), of_run("000", "early", 3, 200)])
    assert settings_of(table) == ["early", "late"]
    early, late = (line.get_xdata() for line in draw_metric(table, "AP50").axes[0].lines if len(line.get_xdata()))
    assert abs(early - [100, 200]).max() < 5
    assert early[0] < 100 < late[0], "no interval hides another"


def test_the_median_is_written_above_the_bars() -> None:
    axis = draw_sizes(make_page().summaries).axes[0]
    assert axis.get_ylim()[1] > 1.12 * max(bar.get_height() for bar in axis.patches)


def test_long_curves_make_no_long_page() -> None:
    page = make_page(runs=[make_run("long", steps=20_000, every=4_000)])
    (loss,) = [chart for chart in charts_of(page) if chart.name == "train_loss"]
    axis = loss.draw(True).axes[0]
    assert max(len(line.get_xdata()) for line in axis.lines) <= 500
    vertical = [line.get_xdata()[0] for line in axis.lines if line.get_gid() == "checkpoint"]
    assert vertical == [4_000, 8_000, 12_000, 16_000, 20_000]


def test_limits_that_differ_are_listed_with_their_runs() -> None:
    runs = [make_run(name, model={"detection": {"limit": limit}}) for name, limit in (("a", 1), ("b", 2), ("c", 2))]
    page = make_page(runs=runs)
    (chart,) = [chart for chart in charts_of(page) if chart.name == "nuclei_per_image"]
    labels = [text.get_text() for text in chart.draw(False).axes[0].get_legend().get_texts()]
    assert any("1 detections (a)" in label for label in labels)
    assert any("2 detections (b and 1 other run)" in label for label in labels)


def test_the_origin_of_a_run() -> None:
    assert started_from(make_run("a")) == "random weights"
    assert started_from(make_run("a", model={"weights": "r50.pkl"})) == "r50.pkl"


def test_columns_show_what_is_known(record: object) -> None:
    rows = [
        make_row(1, 0.8, record),  # type: ignore[arg-type]
        make_row(2, 0.7, record, interval=(math.nan, math.nan), kind="average"),  # type: ignore[arg-type]
        make_row(3, 0.6, record),  # type: ignore[arg-type]
    ]
    table = leaderboard_table(make_table(rows))
    assert [row.status for row in table.rows] == ["best", "tied", "behind"]
    assert "ap50" not in table.columns, "the score has a column of its own"
    assert not {"pq", "weights"} & set(table.columns), "no value is known"
    assert table.score.title == "AP50"
    best, averaged, last = table.rows
    assert best.difference.value is None
    assert best.bar is not None
    assert last.bar is not None
    assert (best.bar.high, last.bar.low) == (100, 0)
    assert best.bar.low < best.bar.value < best.bar.high
    assert averaged.bar is None
    assert averaged.interval.text == "not known"
    of_board = table.columns["ap50_100"].cells[0]
    assert (of_board.text, of_board.value) == ("0.2000 of at most 0.2500", 0.2)
    errors = table.columns["count_mae"]
    assert not errors.sorts_descending
    assert errors.cells[1].value is None


def test_a_share_of_the_ceiling_is_named_as_one(record: object) -> None:
    values = make_row(1, 0.8, record).values | {"ap50_100_share": 0.8}  # type: ignore[arg-type, operator]
    row = make_row(1, 0.8, record, values=values)  # type: ignore[arg-type]
    table = leaderboard_table(make_table([row], rank_by="ap50_100", measure="ap50_100_share"))
    assert "share" in table.score.title
    assert next(iter(table.columns)) == "ap50_100"
