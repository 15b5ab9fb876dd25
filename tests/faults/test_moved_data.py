"""Data that moved between start and resume are found where `data.root=` says, and refused where they differ."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nucleiseg.cli.resume import resume
from nucleiseg.cli.train import train
from nucleiseg.data.readers.demo import DemoReader, write_folders
from nucleiseg.errors import InputError
from nucleiseg.run_folder import read_config
from nucleiseg.training import run

Composed = Callable[..., dict[str, Any]]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each call of the training loop resumed; the loop itself is left out."""
    calls: list[bool] = []
    monkeypatch.setattr(run, "train", lambda *_, resume, **__: calls.append(resume))
    return calls


@pytest.fixture
def started(
    composed: Composed, tiny: list[str], tmp_path: Path, trained: list[bool], monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A run on the folder `data` of the working folder, which it names relatively; then the working folder changes."""
    monkeypatch.chdir(tmp_path)
    write_folders(DemoReader(images=4, size=64, seed=1), Path("data"))
    of_folders = [key for key in tiny if not key.startswith(("data.images", "data.size"))]
    train(composed("train", "data=folders", "data.root=data", *of_folders, "trainer.max_steps=1"), tmp_path / "run")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert trained == [False]
    return tmp_path / "run"


def test_a_relative_root_is_found_from_another_folder(started: Path, trained: list[bool]) -> None:
    resume([f"resume={started}", "trainer.max_steps=2"])
    assert trained == [False, True]
    assert read_config(started)["data"]["root"] == str(started.parent / "data")


@pytest.mark.parametrize("typed", ["moved/data", "~/elsewhere/moved/data", "'moved/data'", "{absolute}"])
def test_moved_data_are_named_as_paths_are_typed(
    started: Path, trained: list[bool], monkeypatch: pytest.MonkeyPatch, typed: str
) -> None:
    monkeypatch.setenv("HOME", str(started.parent))
    monkeypatch.setenv("USERPROFILE", str(started.parent))
    moved = started.parent / "elsewhere" / "moved" / "data"
    moved.parent.mkdir()
    (started.parent / "data").rename(moved)
    resume([f"resume={started}", f"data.root={typed.format(absolute=moved)}"])
    assert trained == [False, True]
    assert read_config(started)["data"]["root"] == str(moved)


def test_data_that_are_gone_are_named_with_the_key(started: Path, trained: list[bool]) -> None:
    (started.parent / "data").rename(started.parent / "moved")
    with pytest.raises(InputError, match=r"are not at .*data: if they were moved, .*data\.root=FOLDER"):
        resume([f"resume={started}"])
    assert trained == [False]


def test_other_data_are_refused_and_the_run_keeps_its_own(started: Path, trained: list[bool]) -> None:
    write_folders(DemoReader(images=4, size=64, seed=2), started.parent / "other")
    before = (started / "config.yaml").read_text()
    with pytest.raises(InputError, match=r"data have changed since the run(.|\n)*data\.root=FOLDER"):
        resume([f"resume={started}", f"data.root={started.parent / 'other'}"])
    assert trained == [False]
    assert (started / "config.yaml").read_text() == before
