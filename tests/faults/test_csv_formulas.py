"""Cells of a CSV file that a spreadsheet would run as a formula: shown as they are, and read back as they were."""

import csv
from pathlib import Path

import pytest

from nucleiseg.files import quote_formula, unquote_formula
from nucleiseg.report.submission_ledger import CsvForm, Submission, read_ledger, write_ledger
from nucleiseg.training.tables import append_rows
from nucleiseg.writers.counts import Count, open_counts

FORMULAS = ['=HYPERLINK("http://x")', "+cmd|' /C calc'!A0", "-2+3", "@SUM(1)", "\t=1", "\r=1", "=1\n=2", "'=1", "''=1"]

HARMLESS = ["cell_7", "", "-0.25", "+1", "-1e-05", "-inf", "a=b", "'", "'quoted'"]


@pytest.mark.parametrize("text", FORMULAS)
def test_formulas_are_quoted(text: str) -> None:
    assert quote_formula(text) == "'" + text
    assert unquote_formula(quote_formula(text)) == text


@pytest.mark.parametrize("text", HARMLESS)
def test_numbers_and_names_stay(text: str) -> None:
    assert quote_formula(text) == text
    assert unquote_formula(text) == text


def cells(path: Path) -> list[str]:
    with path.open(encoding="utf-8", newline="") as handle:
        return [cell for row in csv.reader(handle) for cell in row]


@pytest.mark.parametrize("name", FORMULAS)
def test_counts(tmp_path: Path, name: str) -> None:
    with open_counts(tmp_path / "counts.csv") as add:
        add(Count(name, 1, 2, 0.5, capped=False, size=(9, 9)))
    assert "'" + name in cells(tmp_path / "counts.csv")
    assert name not in cells(tmp_path / "counts.csv")


def test_the_rows_of_a_run(tmp_path: Path) -> None:
    append_rows(tmp_path / "index.csv", ["step", "path"], [{"step": "-1", "path": "=evil.ckpt"}])
    assert cells(tmp_path / "index.csv") == ["step", "path", "-1", "'=evil.ckpt"]


def test_the_ledger(tmp_path: Path) -> None:
    row = Submission(file="=answer.zip", run="@run", local_score=-0.5, note="- a note", extra={"mine": "=A1"})
    for delimiter in ",;":
        write_ledger(tmp_path / "submissions.csv", [row], CsvForm(delimiter, extra=("mine",)))
        assert read_ledger(tmp_path / "submissions.csv")[0] == [row]
        text = (tmp_path / "submissions.csv").read_text()
        assert "'=answer.zip" in text
        assert "'@run" in text
        assert "'- a note" in text
