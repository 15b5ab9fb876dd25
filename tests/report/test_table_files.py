"""The leaderboard in files for papers: full precision in one, readable numbers in the others."""

import csv
import math
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nucleiseg.cli.leaderboard import print_leaderboard
from nucleiseg.leaderboard.board import Leaderboard, Row, Table
from nucleiseg.leaderboard.candidates import Candidate
from nucleiseg.leaderboard.record import EvaluationRecord
from nucleiseg.report.leaderboard_table import TableColumn, leaderboard_table
from nucleiseg.report.table_files import escape_latex, escape_markdown, to_latex, to_markdown, write_tables

NAN = math.nan
RECORD = EvaluationRecord((), 0.5, {}, NAN, "cpu")
BOARD = {"ap50_100": 0.24412, "ap50_100_ceiling": 0.25738, "ap50_100_share": 0.9485, "count_mae": 12.25}
FACTS = {
    "parameters": 43_912_345,
    "seconds_per_step": 1.1,
    "peak_memory_mb": 3200.0,
    "device": "a GPU",
    "weights": None,
}


def make_row(rank: int, values: Mapping[str, float], **changes: object) -> Row:
    folder = Path("runs") / f"00{rank}_x"
    candidates = tuple(
        Candidate(folder.name, "", "", seed, 600, "step", folder / f"{seed}.ckpt", "", RECORD) for seed in (0, 1)
    )
    standard: dict[str, object] = {
        "rank": rank,
        "setting": "r50_c4, saturation 0.5–2",
        "step": 600,
        "kind": "step",
        "candidates": candidates,
        "values": values,
        "interval": (0.7149, 0.7801),
        "difference": (-0.01, 0.02),
        "tied": rank == 1,
        "facts": FACTS,
    }
    return Row(**(standard | changes))  # type: ignore[arg-type]


def make_board(*rows: Row, measure: str = "ap50", notes: tuple[str, ...] = ()) -> Leaderboard:
    table = Table(("s",), ("a", "b"), measure.removesuffix("_share"), measure, rows, "Rows 2 and 3 are tied.")
    return Leaderboard((table,), notes)


@pytest.fixture
def board() -> Leaderboard:
    return make_board(
        make_row(1, {"ap50": 0.74612345678901234, "pq": 0.5, **BOARD}),
        make_row(2, {"ap50": 0.74, "pq": 0.6, **BOARD, "count_mae": 0.8}, tied=True, setting="100 % | #1_{x}\n[new]"),
        make_row(3, {"ap50": NAN, "pq": 0.4}, kind="average", interval=(NAN, NAN), facts={}),
        notes=("A <b>note</b>.",),
    )


def columns(board: Leaderboard) -> list[TableColumn]:
    return leaderboard_table(board.tables[0]).compact()


def cells(board: Leaderboard) -> dict[str, list[str]]:
    return {column.title: [cell.text for cell in column.cells] for column in columns(board)}


def test_numbers_are_formatted(board: Leaderboard) -> None:
    assert cells(board) == {
        "rank": ["1", "2", "3"],
        "setting": ["r50_c4, saturation 0.5–2", "100 % | #1_{x}\n[new]", "r50_c4, saturation 0.5–2"],
        "step": ["600", "600", "600 (averaged)"],
        "AP50": ["0.7461 [0.7149, 0.7801]", "0.7400 [0.7149, 0.7801]", "–"],
        "AP50 at 100": ["0.2441 of at most 0.2574", "0.2441 of at most 0.2574", "–"],
        "PQ": ["0.5000", "0.6000", "0.4000"],
        "count error": ["12.2", "0.8", "–"],
        "parameters (M)": ["43.9", "43.9", "–"],
        "time per step (s)": ["1.100", "1.100", "–"],
        "peak memory (MB)": ["3,200", "3,200", "–"],
    }


def test_terminal_tables_and_page_show_the_same(board: Leaderboard, capsys: pytest.CaptureFixture[str]) -> None:
    print_leaderboard(board)
    printed = capsys.readouterr().err
    page = leaderboard_table(board.tables[0])
    on_page = {column.title: [cell.text for cell in column.cells] for column in page.columns.values()}
    for head, texts in list(cells(board).items())[4:]:
        assert on_page[head] == texts
        assert all(text in printed for text in texts)
        assert set(head.split()) <= set(printed.split())
    assert "3 rows (settings and steps) on 2 images, by AP50 [95 % interval]" in printed
    assert "checkpoint" not in printed


def test_best_and_tied_are_marked(board: Leaderboard) -> None:
    shown = {column.title: column.cells for column in columns(board)}
    best = {head: [cell.is_best for cell in column] for head, column in shown.items()}
    assert best["AP50"] == best["setting"] == [True, False, False]
    assert best["PQ"] == [False, True, False]
    assert best["count error"] == [False, True, False], "the smaller error is the better one"
    assert best["AP50 at 100"] == [True, True, False], "both of two equal ones"
    assert not any(best["parameters (M)"])
    assert [cell.is_tied for cell in shown["setting"]] == [False, True, False]


def test_a_ranking_by_share_of_the_ceiling() -> None:
    board = make_board(make_row(1, {"ap50": 0.7, **BOARD}, interval=(0.9, 1.0)), measure="ap50_100_share")
    shown = cells(board)
    assert shown["AP50 at 100, share of ceiling"] == ["0.9485 [0.9000, 1.0000]"]
    assert shown["AP50 at 100"] == ["0.2441 of at most 0.2574"]
    assert "as a share of its ceiling" in to_markdown(board)


def test_the_csv_has_everything_to_full_precision(board: Leaderboard, tmp_path: Path) -> None:
    second = Table(("t",), ("c",), "ap50", "ap50", (make_row(1, {"ap50": 0.1, "box_ap": 1 / 3}),), "")
    write_tables(tmp_path, Leaderboard((*board.tables, second), ()))
    with (tmp_path / "leaderboard.csv").open(encoding="utf-8", newline="") as file:
        first, tied, undefined, other = csv.DictReader(file)
    assert float(first["ap50"]) == board.best.values["ap50"]
    assert (float(first["interval_low"]), float(first["difference_high"])) == (0.7149, 0.02)
    assert (first["parameters"], first["device"], first["seeds"], first["images"]) == ("43912345", "a GPU", "2", "2")
    assert first["runs"] == "001_x"
    assert first["checkpoints"].split("; ") == [str(Path("runs") / "001_x" / f"{seed}.ckpt") for seed in (0, 1)]
    assert (tied["tied"], tied["setting"]) == ("yes", "100 % | #1_{x}\n[new]")
    assert (undefined["ap50"], undefined["interval_low"], undefined["parameters"]) == ("", "", "")
    assert (other["table"], float(other["box_ap"]), first["box_ap"]) == ("2", 1 / 3, "")


def test_markdown_is_a_table_with_its_words(board: Leaderboard) -> None:
    text = to_markdown(board)
    table = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(table) == 5
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {len(columns(board)) + 1}
    assert "| **r50_c4, saturation 0.5–2** | 600 | **0.7461 \\[0.7149, 0.7801\\]** |" in table[2]
    assert "100 % \\| \\#1\\_{x} \\[new\\] †" in table[3]
    for words in (
        "Rows 2 and 3 are tied.",
        "† statistically indistinguishable",
        "\\<b\\>note",
        "- **PQ**: Panoptic quality",
    ):
        assert words in text
    assert "## Table" not in text
    assert "## Table 2: 2 images" in to_markdown(Leaderboard(board.tables * 2, ()))


def test_a_tie_without_an_interval_claims_none() -> None:
    rows = [make_row(1, {"ap50": 0.7}), make_row(2, {"ap50": 0.6}, tied=True, difference=(NAN, NAN))]
    text = to_markdown(make_board(*rows))
    assert "no interval of their difference could be computed" in text
    assert "0 lies in the 95 %" not in text


def test_without_ties_there_is_no_dagger() -> None:
    board = make_board(make_row(1, {"ap50": 0.7}), make_row(2, {"ap50": 0.1}))
    assert "†" not in to_markdown(board)
    assert "dagger" not in to_latex(board)


def test_latex_has_one_row_a_row(board: Leaderboard) -> None:
    text = to_latex(board)
    body = text.partition(r"\midrule")[2].partition(r"\bottomrule")[0].strip().splitlines()
    assert len(body) == 3
    assert all(line.endswith(r"\\") for line in body)
    assert {len(re.findall(r"(?<!\\)&", line)) for line in body} == {len(columns(board)) - 1}
    assert r"\textbf{r50\_c4, saturation 0.5--2} & 600 & \textbf{0.7461 {[}0.7149, 0.7801{]}}" in body[0]
    assert r"100 \% \textbar{} \#1\_\{x\} {[}new{]}$^\dagger$" in body[1]
    assert r"\label{tab:leaderboard-1}" in text


@given(st.text(max_size=30))
def test_escaped_text_has_no_command_of_latex_and_no_cell_of_markdown(text: str) -> None:
    escaped = escape_latex(text)
    plain = re.sub(r"\\text[a-z]+\{\}|\\[{}%$#&_]|\{[\[\]]\}", "", escaped)
    assert not set(plain) & set("\\{}%$#&_~^|<>`[]\n\r")
    assert not re.search(r"(?<!\\)(?:\\\\)*[|<`\n]", escape_markdown(text))
    assert "\n" not in escape_markdown(text)


def test_words_of_a_name_stay_readable() -> None:
    assert escape_markdown("r50_c4 _x_ a*b") == r"r50_c4 \_x\_ a\*b"


@pytest.mark.slow
def test_latex_compiles(board: Leaderboard, tmp_path: Path) -> None:
    """With the commands of booktabs put in by hand, so that LaTeX's smallest installation will do."""
    engine = shutil.which("pdflatex")
    if engine is None:
        pytest.skip("pdflatex is not installed (Debian: texlive-latex-base)")
    nasty = make_row(4, {"ap50": 0.5}, setting='Köln \\input{x} ~^$%&#_{}<>|`" × µ ± –')
    table = to_latex(Leaderboard((*board.tables, make_board(board.best, nasty).tables[0]), ()))
    rules = "".join(rf"\newcommand{{\{name}rule}}{{\hline}}" for name in ("top", "mid", "bottom"))
    document = (
        rf"\documentclass{{article}}{rules}\begin{{document}}{table}See \ref{{tab:leaderboard-2}}.\end{{document}}"
    )
    (tmp_path / "a.tex").write_text(document.replace("% In", "%\n% In"), encoding="utf-8")
    command = [engine, "-interaction=nonstopmode", "-halt-on-error", "a.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "a.pdf").stat().st_size > 1000
