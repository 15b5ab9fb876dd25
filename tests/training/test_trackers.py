"""W&B and MLflow: the real ones, where they are installed, have one run of a run that was resumed."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from pytorch_lightning.loggers import WandbLogger
from tiny import TinyNetwork, train_tiny

from nucleiseg.errors import InputError
from nucleiseg.older_runs import LOGGERS
from nucleiseg.training.extensions import make_loggers

CONF = Path(__file__).parents[2] / "conf"
CONFIG = {"seed": 3, "model": {"name": "tiny", "sizes": [8, 16]}, "resume": None}


def train_in_two_sittings(group: dict[str, Any], run: Path) -> None:
    """Train 4 steps of 6, fail, and resume."""
    with pytest.raises(RuntimeError, match="killed"):
        train_tiny(run, network=TinyNetwork(fails_after=4), loggers=make_loggers(group, run), hyperparameters=CONFIG)
    train_tiny(run, resume=True, loggers=make_loggers(group, run), hyperparameters={**CONFIG, "seed": 4})


def test_an_argument_of_the_configuration_wins(tmp_path: Path) -> None:
    pytest.importorskip("wandb", exc_type=ImportError)
    (logger,) = make_loggers({"a": {**LOGGERS["wandb"], "name": "mine", "offline": True}, "b": None}, tmp_path)
    assert isinstance(logger, WandbLogger)
    assert logger._wandb_init["name"] == "mine"
    assert logger.save_dir == str(tmp_path)


def test_a_tracker_without_its_package_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = "Requirement 'comet-ml>=3.44.4' not met. HINT: Try running `pip install -U 'comet-ml>=3.44.4'`"

    class Missing:
        def __bool__(self) -> bool:
            return False

        def __str__(self) -> str:
            return missing

    monkeypatch.setattr("pytorch_lightning.loggers.comet._COMET_AVAILABLE", Missing())
    card = yaml.safe_load((CONF / "logger" / "comet.yaml").read_text())
    with pytest.raises(InputError) as caught:
        make_loggers(card, tmp_path, "logger")
    assert caught.value.problems == [
        f"logger.comet: {card['comet']['_target_']} needs a package that is not installed ({missing})."
    ]


@pytest.mark.slow
def test_mlflow_has_one_run_of_both_sittings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy", reason="MLflow's small package keeps no runs without a server")
    from mlflow.tracking import MlflowClient

    monkeypatch.chdir(tmp_path)
    uri = f"sqlite:///{(tmp_path / 'runs.db').as_posix()}"
    run = tmp_path / "003_Köln, sat-0.5-2"
    train_in_two_sittings({"mlflow": {**LOGGERS["mlflow"], "tracking_uri": uri}}, run)
    assert "Warning" not in capsys.readouterr().err
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("nucleiseg")
    (found,) = client.search_runs([experiment.experiment_id])
    assert json.loads((run / "tracked.json").read_text())["loggers"] == {"MLFlowLogger": found.info.run_id}
    assert (found.info.run_name, found.info.status) == (run.name, "FINISHED")
    assert (found.data.params["model/name"], found.data.params["seed"]) == ("tiny", "3")
    assert {metric.step for metric in client.get_metric_history(found.info.run_id, "train/loss")} == set(range(1, 7))
    assert {metric.step for metric in client.get_metric_history(found.info.run_id, "val/ap50")} == {2, 4, 6}
    assert client.list_artifacts(found.info.run_id, "images")


@pytest.mark.slow
def test_wandb_has_one_run_of_both_sittings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("wandb", exc_type=ImportError)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = tmp_path / "003_Köln, sat-0.5-2"
    train_in_two_sittings({"wandb": LOGGERS["wandb"]}, run)
    assert "Warning" not in capsys.readouterr().err
    identity = json.loads((run / "tracked.json").read_text())["loggers"]["WandbLogger"]
    files = sorted((run / "wandb").glob("offline-run-*/run-*.wandb"))
    assert [file.stem for file in files] == [f"run-{identity}"] * 2
    first, second = (file.read_bytes() for file in files)
    for text in ("train/loss_rpn_cls", "val/ap50", "003_K"):
        assert text.encode() in first
        assert text.encode() in second
    assert b"tiny" in first, "the configuration"
    assert list((run / "wandb").glob("offline-run-*/files/media/images/val/*.png"))
