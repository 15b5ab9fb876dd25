"""What is said where images are drawn: those that runs learnt from and those that they are scored on are told apart."""

from pathlib import Path
from typing import Any

import pytest

from nucleiseg.leaderboard.caveats import drawn_note, notes_on
from nucleiseg.runs import Run

DEMO, PHOTOGRAPHS = {"reader": "demo"}, {"reader": "folders"}


def make_run(name: str, data: Any) -> Run:  # noqa: ANN401
    return Run(Path(name), name, {"data": data}, [], [], {"state": "done"}, {})


@pytest.mark.parametrize(
    ("learnt", "scored", "said"),
    [
        ((DEMO, DEMO), None, "The data are DRAWN, not photographed: "),
        ((DEMO, DEMO), DEMO, "The data are DRAWN, not photographed: "),
        ((DEMO, PHOTOGRAPHS), None, "Learnt from DRAWN images and scored on such: a. "),
        ((DEMO, DEMO), PHOTOGRAPHS, "not from photographs: All runs. What all is scored on is not drawn."),
        ((PHOTOGRAPHS, DEMO), PHOTOGRAPHS, "not from photographs: b. What all is scored on is not drawn."),
        ((PHOTOGRAPHS, None), DEMO, "All is scored on DRAWN images, not on photographs: "),
        ((PHOTOGRAPHS, DEMO), DEMO, "Learnt from such images, too: b."),
    ],
)
def test_training_and_scoring_are_told_apart(learnt: tuple[Any, ...], scored: Any, said: str) -> None:  # noqa: ANN401
    runs = [make_run(name, data) for name, data in zip("ab", learnt, strict=True)]
    note = drawn_note(runs, scored)
    assert said in note
    assert notes_on(runs, scored, "32") == [note]


def test_photographs_need_no_word() -> None:
    runs = [make_run("a", PHOTOGRAPHS), make_run("b", None), make_run("c", {"reader": "unheard of"})]
    assert drawn_note(runs, None) == drawn_note(runs, PHOTOGRAPHS) == ""
    assert notes_on(runs, None, "32") == []


def test_rounded_arithmetic_is_said() -> None:
    assert notes_on([], None, "32") == []
    [note] = notes_on([], None, "bf16-mixed")
    assert note.startswith("All checkpoints predicted with precision=bf16-mixed: metrics may differ a little")
