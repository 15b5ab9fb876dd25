"""RELIABILITY.md names tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_each_promise_has_its_test() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", (ROOT / "RELIABILITY.md").read_text(encoding="utf-8"))
    assert len(named) > 10
    for file, function in named:
        source = (ROOT / file).read_text(encoding="utf-8")
        assert f"def {function or 'test_'}" in source, f"{file}::{function}"
