"""Differences of configurations: keys that differ, and no others."""

from pathlib import Path
from typing import Any

from nucleiseg.report.differences import ABSENT, differences
from nucleiseg.run_folder import flatten
from nucleiseg.runs import Run


def make_run(config: dict[str, Any]) -> Run:
    return Run(Path("x"), "x", config, [], [], {}, {})


def test_only_differing_keys_are_listed_with_each_value() -> None:
    common = {"seed": 0, "model": {"name": "r50_c4", "norm": None}}
    runs = [
        make_run({**common, "aug": {"saturation": [0.5, 2.0], "hflip": 1}, "fast": True}),
        make_run({**common, "aug": {"saturation": None, "hflip": 1.0}, "fast": False, "optim": {}}),
    ]
    assert [tuple(difference) for difference in differences(runs)] == [
        ("aug.saturation", ("[0.5, 2]", "null")),
        ("fast", ("true", "false")),
        ("optim", (ABSENT, "{}")),
    ]


def test_the_place_of_a_sweep_is_no_setting() -> None:
    assert differences([make_run({"sweep": {"dir": folder}}) for folder in ("runs/a", "runs/b")]) == []


def test_one_run_or_none_differs_in_nothing() -> None:
    assert differences([]) == []
    assert differences([make_run({"a": 1})]) == []


def test_close_values_are_shown_with_enough_digits() -> None:
    runs = [make_run({"lr": 0.1234567}), make_run({"lr": 0.1234568})]
    assert differences(runs)[0].values == ("0.1234567", "0.1234568")


def test_flatten_keeps_every_leaf() -> None:
    assert flatten({"a": {"b": {"c": 1}, "d": [1]}, "e": {}}) == {"a.b.c": 1, "a.d": [1], "e": {}}
