"""The command line and the output of the benchmarks."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks import options
from benchmarks.result import Result, markdown, relation, shown
from nucleiseg.errors import InputError


@dataclass(frozen=True)
class Keys:
    models: tuple[str, ...] = ("r18_fpn",)
    nuclei: tuple[int, ...] = (50,)
    steps: int = 5
    data: str = ""
    compare: bool = True
    factor: float = 1.0


def test_words_become_the_types_of_their_fields() -> None:
    words = ["models=a,b", "nuclei=1,20", "steps=3", "data=7", "compare=false", "factor=2"]
    assert options.parse(Keys, words) == Keys(("a", "b"), (1, 20), 3, "7", False, 2.0)


def test_one_value_is_a_tuple_too_and_no_word_is_the_default() -> None:
    assert options.parse(Keys, ["nuclei=7"]).nuclei == (7,)
    assert options.parse(Keys, []) == Keys()


def test_a_path_keeps_its_commas_and_equal_signs() -> None:
    assert options.parse(Keys, ["data=a, b/x=y [1]"]).data == "a, b/x=y [1]"


@pytest.mark.parametrize(("word", "named"), [("step=3", "step"), ("steps=many", "steps"), ("steps", "steps")])
def test_what_is_not_accepted_is_named(word: str, named: str) -> None:
    with pytest.raises(InputError, match=named):
        options.parse(Keys, [word])


def benchmark(chosen: Keys) -> Result:
    if chosen.steps == 0:
        raise InputError("steps is 0; it accepts 1 and more.")
    return Result("some", "Steps", [{"model": "a", "seconds": 0.5}])


def test_the_last_line_is_json_with_machine_and_date(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["some.py", "steps=2"])
    options.run(Keys, benchmark)
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["rows"] == [{"model": "a", "seconds": 0.5}]
    assert result["command"] == "python -m benchmarks.some steps=2"
    assert result["machine"]["cores"] >= 1
    assert result["machine"]["torch"]
    assert result["date"][:2] == "20"


def test_json_goes_into_a_file_that_the_command_does_not_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "a b.json"
    monkeypatch.setattr(sys, "argv", ["some.py", f"json={path}", "steps=2"])
    options.run(Keys, benchmark)
    assert json.loads(path.read_text(encoding="utf-8"))["command"].endswith("some steps=2")
    assert "{" not in capsys.readouterr().out


def test_bad_input_is_a_sentence_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["some.py", "steps=0"])
    with pytest.raises(SystemExit) as ended:
        options.run(Keys, benchmark)
    assert ended.value.code == 2
    assert capsys.readouterr().err == "steps is 0; it accepts 1 and more.\n"


def test_a_table_in_markdown() -> None:
    rows = [{"model": "a", "seconds": 1234.5}, {"model": "b", "seconds": None}]
    assert markdown(Result("some", "Steps", rows)).splitlines() == [
        "Steps",
        "",
        "| model | seconds |",
        "|---|---:|",
        "| a | 1,234 |",
        "| b | – |",
    ]


@pytest.mark.parametrize(
    ("value", "text"), [(5, "5"), (12345, "12,345"), (0.012345, "0.0123"), (1.0, "1.00"), (99.96, "100"), ("x", "x")]
)
def test_cells(value: float | str, text: str) -> None:
    assert shown(value) == text


def test_relations_with_what_is_missing_are_missing() -> None:
    assert relation({"s": 3.0}, {"s": 2}, "s") == 1.5
    assert relation({"s": 3.0}, None, "s") is None
    assert relation({"s": None}, {"s": 2}, "s") is None
