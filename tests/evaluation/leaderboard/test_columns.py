"""Columns: every number has a heading, a definition and a direction."""

import numpy as np
import pytest
from simulated_records import candidate, random_record

from nucleiseg.evaluation.leaderboard.board import Row, rank
from nucleiseg.evaluation.leaderboard.columns import HEADINGS, cells, metric_column
from nucleiseg.evaluation.leaderboard.metrics import CEILING, METRICS


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
    assert (other["parameters"], other["device"], best["parameters"]) == ("44,000,000", "a CPU", "")
    assert best["ap50"] == f"{rows()[0].values['ap50']:.4f}"
    assert metric_column("ap50").text(float("nan")) == ""


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
