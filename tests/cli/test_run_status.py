"""Which rank tells why a run never came to its loop."""

import json
from pathlib import Path

import pytest

from nucleiseg.cli import train as training
from nucleiseg.cli.train import record_failure
from nucleiseg.errors import InputError


@pytest.mark.parametrize(
    ("is_first", "error", "is_told"),
    [
        (True, InputError("no data here"), True),
        (False, InputError("no data here"), True),
        (True, ValueError("no data here"), True),
        (False, ValueError("no data here"), False),
    ],
)
def test_a_bad_input_is_recorded_by_any_rank(
    is_first: bool, error: Exception, is_told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "is_first_rank", lambda: is_first)
    with pytest.raises(type(error)), record_failure(tmp_path, 10):
        raise error
    assert (tmp_path / "status.json").exists() == is_told
    if is_told:
        assert json.loads((tmp_path / "status.json").read_text())["reason"] == "no data here"
