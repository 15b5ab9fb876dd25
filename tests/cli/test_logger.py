"""Callbacks and loggers of a run's configuration: refused before any work, made again on resume, trusted or not."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nucleiseg.cli import check
from nucleiseg.cli.command_line import as_typed
from nucleiseg.cli.resume import resume, resume_arguments
from nucleiseg.cli.train import train
from nucleiseg.errors import InputError

Composed = Callable[..., dict[str, Any]]

FOREIGN = """
from pathlib import Path
import pytorch_lightning as pl
from pytorch_lightning.loggers import Logger

STEPS = []

class Mine(Logger):
    name = version = "mine"

    def log_hyperparams(self, params, *args, **kwargs):
        self.seed = params["seed"]

    def log_metrics(self, metrics, step=None):
        STEPS.append(step)
"""


@pytest.fixture
def foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A logger of a module outside the package."""
    (tmp_path / "foreign_logger.py").write_text(FOREIGN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "foreign_logger", raising=False)
    return "foreign_logger"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("+logger.a={_target_: pytorch_lightning.Trainer}", r"logger\.a\._target_ is .*; it accepts a subclass of"),
        ("+callbacks.a={_target_: my_package.Mine}", r"callbacks\.a\._target_ is .*, which cannot be imported"),
        ("optim._target_=torch.optim.Sgd", r"optim\._target_ is .*, which cannot be imported"),
        ("trust=mine", r"trust is 'mine'; it accepts a list"),
    ],
)
def test_a_class_that_cannot_be_made_is_refused_before_a_file_of_the_run_is_written(
    composed: Composed, tiny: list[str], tmp_path: Path, override: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        train(composed("train", *tiny, override), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {".lock", "status.json"}


def test_a_run_and_its_resume_feed_a_logger_of_the_user(
    composed: Composed, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, foreign: str
) -> None:
    monkeypatch.setattr(check, "probe_step", lambda *_: 1.0)
    run = tmp_path / "run"
    mine = f"+logger.mine={{_target_: {foreign}.Mine}}"
    train(composed("train", *tiny, "trainer.max_steps=1", "data.val=none", mine), run)
    module = sys.modules.pop(foreign)
    with pytest.raises(InputError, match=rf"logger\.mine\._target_ is .*read from a file.*trust=\[{foreign}\]"):
        resume([f"resume={run}", "trainer.max_steps=2"])
    assert foreign not in sys.modules, "nothing was imported"
    sys.modules[foreign] = module
    resume([f"resume={run}", "trainer.max_steps=2", f"trust=[{foreign}]"])
    assert module.STEPS == [1, 2]
    resume([f"resume={run}", "trainer.max_steps=3", "logger=none"])
    assert module.STEPS == [1, 2]
    with pytest.raises(InputError, match="logger=wandb cannot be given"):
        resume([f"resume={run}", "logger=wandb"])
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("trust: []", f"trust: [{foreign}]").replace("logger: {}", mine[1:]))
    with pytest.raises(InputError):
        resume([f"resume={run}", "trainer.max_steps=4"])


def test_null_is_understood(capsys: pytest.CaptureFixture[str]) -> None:
    assert as_typed("logger=null") == "logger=none"
    assert resume_arguments(["resume=a", "logger=null"]) == ["resume=a", "logger=none"]
    assert "Note: logger=null is now logger=none." in capsys.readouterr().err
