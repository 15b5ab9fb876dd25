"""The key `logger` of a run: refused before any work, or handed the run's configuration and rows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nucleiseg.cli import check
from nucleiseg.cli import train as training
from nucleiseg.cli.resume import resume
from nucleiseg.cli.train import train
from nucleiseg.errors import InputError
from nucleiseg.training.callbacks import trackers

Composed = Callable[..., dict[str, Any]]


def test_a_missing_package_is_refused_before_a_file_of_the_run_is_written(
    composed: Composed, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"logger=wandb needs the package wandb"):
        train(composed("train", *tiny, "logger=wandb"), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {".lock", "status.json"}


class Fake:
    """A tracker that keeps what it gets."""

    def __init__(self, name: str, run_dir: Path, config: dict[str, Any]) -> None:
        self.name, self.run_dir, self.config = name, run_dir, config
        self.steps: list[float] = []

    def open(self) -> None:
        """Nothing to open."""

    def log(self, rows: list[dict[str, float]]) -> None:
        self.steps += [row["step"] for row in rows]

    def draw(self, *_: object) -> None:
        """Nothing is drawn."""

    def close(self, *, failed: bool) -> None:
        assert not failed


def test_a_run_and_its_resume_feed_the_tracker(
    composed: Composed, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Fake] = []

    def make(name: str, run_dir: Path, config: dict[str, Any]) -> Fake:
        made.append(Fake(name, run_dir, config))
        return made[-1]

    monkeypatch.setattr(check, "probe_step", lambda *_: 1.0)
    monkeypatch.setattr(training, "make_tracker", make)
    monkeypatch.setattr(training, "checked_logger", lambda name: name)
    train(composed("train", *tiny, "trainer.max_steps=1", "data.val=none", "logger=mlflow"), tmp_path)
    resume([f"resume={tmp_path}", "trainer.max_steps=2"])
    assert [(fake.name, fake.run_dir, fake.steps) for fake in made] == [
        ("mlflow", tmp_path, [1]),
        ("mlflow", tmp_path, [2]),
    ]
    monkeypatch.setattr(training, "checked_logger", trackers.checked_logger)
    monkeypatch.setattr(trackers, "find_spec", lambda _: None)
    with pytest.raises(InputError, match="or leave logger=null"):
        resume([f"resume={tmp_path}", "trainer.max_steps=3"])
    resume([f"resume={tmp_path}", "trainer.max_steps=3", "logger=null"])
    assert len(made) == 2
    with pytest.raises(InputError, match="logger=wandb cannot be given"):
        resume([f"resume={tmp_path}", "logger=wandb"])
    assert made[0].config["model"]["backbone"] == "resnet18", "the resolved configuration"
