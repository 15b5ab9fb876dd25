"""Columns: every number has a heading, a definition and a direction; a new metric needs one `MetricSpec`."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from simulated_records import candidate, random_record

from nucleiseg.leaderboard.board import Row, rank
from nucleiseg.leaderboard.columns import IDENTITY, MISSING
from nucleiseg.leaderboard.metrics import CEILING, METRICS, MetricSpec, column_of
from nucleiseg.leaderboard.record import EvaluationRecord
from nucleiseg.report.leaderboard_table import CHOICE, leaderboard_table, row_values, text_with_ceiling
from nucleiseg.report.table_files import write_tables


def rows() -> tuple[Row, ...]:
    generator = np.random.default_rng(0)
    facts = {"parameters": 44_000_000, "device": "a CPU"}
    found = [candidate(random_record(generator, 0.6), "a", facts=facts), candidate(random_record(generator, 0.8), "b")]
    return rank(found, resamples=20).tables[0].rows


IDENTITY_COLUMNS = {column.key: column for column in IDENTITY}


def test_rows_share_their_columns_each_once_and_defined() -> None:
    first, second = map(row_values, rows())
    assert list(first) == list(second)
    assert {"rank", "setting", "step", "tied", "ap50_100_share", "parameters", "seconds_per_image", "seeds"} <= set(
        first
    )
    columns = [IDENTITY_COLUMNS.get(key) or column_of(key) for key in first]
    assert all(column.heading and column.definition for column in columns)


def test_texts() -> None:
    best, other = (
        {key: (IDENTITY_COLUMNS.get(key) or column_of(key)).text(value) for key, value in row_values(row).items()}
        for row in rows()
    )
    assert (best["setting"], best["rank"], best["tied"], best["seeds"]) == ("b", "1", "yes", "1")
    assert (other["parameters"], other["device"], best["parameters"]) == ("44.0", "a CPU", MISSING)
    assert best["ap50"] == f"{rows()[0].values['ap50']:.4f}"
    assert column_of("ap50").text(float("nan")) == MISSING


@pytest.mark.parametrize("key", [*METRICS, CEILING, "ap50_100_share", "box_ap50"])
def test_metrics_have_headings_and_definitions(key: str) -> None:
    column = column_of(key)
    assert column.heading != key
    assert column.definition.endswith(".")


def test_directions() -> None:
    better = {key: column_of(key).better for key in ("ap50", "count_mae", "count_bias", "box_ap", CEILING)}
    assert better == {
        "ap50": "higher",
        "count_mae": "lower",
        "count_bias": "nearer zero",
        "box_ap": "higher",
        CEILING: None,
    }


@pytest.mark.parametrize("key", ["count_mae", "count_bias", "ap50", "seconds_per_step", "peak_memory_mb", "parameters"])
def test_every_number_of_a_column_has_as_many_decimals(key: str) -> None:
    texts = [column_of(key).text(value) for value in (0.0, 0.8, 1.0, 12.25, 1234.5)]
    assert len({len(text.partition(".")[2]) for text in texts}) == 1


def test_ceilings_stand_beside_what_they_limit() -> None:
    values = {"ap50": 0.7, "ap50_100": 0.2, "ap_100": 0.1, "count_mae": 1.0, CEILING: 0.25, "ap75_100": None}
    texts = {key: text_with_ceiling(key, values) for key in (*values, "unknown")}
    assert texts["ap50_100"] == "0.2000 of at most 0.2500"
    assert texts["ap_100"] == "0.1000 of at most 0.2500", "the truth matches itself at any IoU"
    assert (texts["ap50"], texts["count_mae"], texts["ap75_100"]) == ("0.7000", "1.0", MISSING)
    assert text_with_ceiling("ap50_100", {"ap50_100": 0.2, CEILING: None}) == "0.2000"
    assert texts["unknown"] == MISSING


def test_the_words_of_intervals_and_of_the_choice() -> None:
    words = {key: column.definition for key, column in IDENTITY_COLUMNS.items()}
    assert "seeds of a setting where there are several" in words["interval_low"]
    assert "for count_bias of their absolute values" in words["difference_low"]
    assert all(column_of(key).definition for key in CHOICE)
    assert column_of("peak_memory_mb").title == "peak memory (MB)"


def test_runs_of_one_seed_count_once() -> None:
    row = rows()[0]
    repeated = replace(row, candidates=row.candidates * 2)
    assert row_values(repeated)["seeds"] == 1


def test_a_new_metric_is_one_spec(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It can be ranked by, and is in the CSV file, in Markdown with its definition, and on the page."""

    def count_rmse(record: EvaluationRecord, weights: np.ndarray) -> np.ndarray:
        errors = np.array([image.count - image.truths for image in record.images], dtype=np.float64)
        return np.sqrt(weights @ errors**2 / weights.sum(axis=1))

    spec = MetricSpec(
        "count_rmse",
        "count RMSE",
        "Root of the mean squared count error of an image.",
        number_format=".2f",
        better="lower",
        resampled=count_rmse,
    )
    with monkeypatch.context() as patch:
        candidates = [candidate(random_record(np.random.default_rng(0), 0.6), "a")]  # made without it
        patch.setitem(METRICS, spec.key, spec)
        board = rank(candidates, spec.key, resamples=20)
        write_tables(tmp_path, board)
        expected = float(spec.resampled(candidates[0].record, np.ones((1, 6)))[0])
        assert board.best.values[spec.key] == expected
        assert "count_rmse" in (tmp_path / "leaderboard.csv").read_text(encoding="utf-8")
        text = (tmp_path / "leaderboard.md").read_text(encoding="utf-8")
        assert f"{expected:.2f}" in text
        assert spec.definition in text
        assert leaderboard_table(board.tables[0]).score.title == spec.heading
