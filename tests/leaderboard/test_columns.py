"""Columns: every number has a heading, a definition and a direction."""

from dataclasses import replace

import numpy as np
import pytest
from simulated_records import candidate, random_record

from nucleiseg.leaderboard.board import Row, rank
from nucleiseg.leaderboard.columns import (
    CHOICE,
    HEADINGS,
    IDENTITY,
    MISSING,
    cells,
    column_of,
    metric_column,
    with_ceiling,
)
from nucleiseg.leaderboard.metrics import CEILING, METRICS


def rows() -> tuple[Row, ...]:
    generator = np.random.default_rng(0)
    facts = {"parameters": 44_000_000, "device": "a CPU"}
    found = [candidate(random_record(generator, 0.6), "a", facts=facts), candidate(random_record(generator, 0.8), "b")]
    return rank(found, resamples=20).tables[0].rows


def test_rows_share_their_columns_each_once_and_defined() -> None:
    first, second = (cells(row) for row in rows())
    assert [column for column, _ in first] == [column for column, _ in second]
    keys = [column.key for column, _ in first]
    assert len(set(keys)) == len(keys)
    assert {"rank", "setting", "step", "tied", "ap50_100_share", "parameters", "seconds_per_image", "seeds"} <= set(
        keys
    )
    assert all(column.heading and column.definition for column, _ in first)


def test_texts() -> None:
    best, other = ({column.key: column.text(value) for column, value in cells(row)} for row in rows())
    assert (best["setting"], best["rank"], best["tied"], best["seeds"]) == ("b", "1", "yes", "1")
    assert (other["parameters"], other["device"], best["parameters"]) == ("44.0", "a CPU", MISSING)
    assert best["ap50"] == f"{rows()[0].values['ap50']:.4f}"
    assert metric_column("ap50").text(float("nan")) == MISSING


@pytest.mark.parametrize("key", [*METRICS, CEILING, "ap50_100_share", "box_ap50"])
def test_metrics_have_headings_and_definitions(key: str) -> None:
    column = metric_column(key)
    assert column.heading != key
    assert column.definition.endswith(".")


def test_directions() -> None:
    better = {
        key: metric_column(key).higher_is_better for key in ("ap50", "count_mae", "count_bias", "box_ap", CEILING)
    }
    assert better == {"ap50": True, "count_mae": False, "count_bias": None, "box_ap": True, CEILING: None}
    assert set(METRICS) <= set(HEADINGS)


@pytest.mark.parametrize("key", ["count_mae", "count_bias", "ap50", "seconds_per_step", "peak_memory_mb", "parameters"])
def test_every_number_of_a_column_has_as_many_decimals(key: str) -> None:
    texts = [column_of(key).text(value) for value in (0.0, 0.8, 1.0, 12.25, 1234.5)]
    assert len({len(text.partition(".")[2]) for text in texts}) == 1


def test_ceilings_stand_beside_what_they_limit() -> None:
    values = {"ap50": 0.7, "ap50_100": 0.2, "ap_100": 0.1, "count_mae": 1.0, CEILING: 0.25, "ap75_100": None}
    texts = {key: with_ceiling(key, values) for key in (*values, "unknown")}
    assert texts["ap50_100"] == "0.2000 of at most 0.2500"
    assert texts["ap_100"] == "0.1000 of at most 0.2500", "the truth matches itself at any IoU"
    assert (texts["ap50"], texts["count_mae"], texts["ap75_100"]) == ("0.7000", "1.0", MISSING)
    assert with_ceiling("ap50_100", {"ap50_100": 0.2, CEILING: None}) == "0.2000"
    assert texts["unknown"] == MISSING


def test_the_words_of_intervals_and_of_the_choice() -> None:
    words = {column.key: column.definition for column in IDENTITY}
    assert "seeds of a setting where there are several" in words["interval_low"]
    assert "for count_bias of their absolute values" in words["difference_low"]
    assert all(column_of(key).definition for key in CHOICE)
    assert column_of("peak_memory_mb").title == "peak memory (MB)"


def test_runs_of_one_seed_count_once() -> None:
    row = rows()[0]
    repeated = replace(row, candidates=row.candidates * 2)
    assert {column.key: value for column, value in cells(repeated)}["seeds"] == 1
