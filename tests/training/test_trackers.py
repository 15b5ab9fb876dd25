"""W&B and MLflow: the real ones where they are installed, and what is refused where they are not."""

import json
from pathlib import Path

import pytest
from tiny import TinyNetwork, train_tiny

from nucleiseg.errors import InputError
from nucleiseg.training.callbacks import trackers
from nucleiseg.training.callbacks.trackers import checked_logger, make_tracker

CONFIG = {"seed": 3, "model": {"name": "tiny", "sizes": [8, 16]}, "resume": None}


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_missing_package_is_refused_with_the_extra_to_install(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=rf"logger={name} needs the package {name}, .* pip install 'nucleiseg\[{name}"):
        checked_logger(name)


def test_a_folder_of_the_trackers_name_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """W&B leaves a folder called wandb where it runs, which Python would import as an empty package."""
    (tmp_path / "surely_not_installed").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match="which is not installed"):
        trackers._require_package("surely_not_installed")  # type: ignore[arg-type]
    (tmp_path / "surely_not_installed" / "__init__.py").touch()
    trackers._require_package("surely_not_installed")  # type: ignore[arg-type]


def test_a_resume_from_another_folder_finds_the_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    whole = f"sqlite:///{(tmp_path / 'mlflow.db').as_posix()}"
    assert trackers._lasting_uri("sqlite:///mlflow.db") == trackers._lasting_uri(whole) == whole
    for other in ("http://localhost:5000", "databricks"):
        assert trackers._lasting_uri(other) == other


@pytest.mark.parametrize("value", ["tensorboard", True, ["wandb"]])
def test_other_loggers_are_refused(value: object) -> None:
    with pytest.raises(InputError, match="it accepts null, 'wandb' or 'mlflow'"):
        checked_logger(value)


def test_none_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda _: pytest.fail("nobody asked for a package"))
    assert checked_logger(None) is None


def train_in_two_sittings(name: str, run: Path) -> None:
    """Train 4 steps of 6, fail, and resume."""
    with pytest.raises(RuntimeError, match="killed"):
        train_tiny(run, network=TinyNetwork(fails_after=4), tracker=make_tracker(name, run, CONFIG))
    train_tiny(run, resume=True, tracker=make_tracker(name, run, {**CONFIG, "seed": 4}))


@pytest.mark.slow
def test_mlflow_has_one_run_of_both_sittings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy", reason="MLflow's small package keeps no runs without a server")
    from mlflow.tracking import MlflowClient

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{(tmp_path / 'runs.db').as_posix()}")
    run = tmp_path / "003_Köln, sat-0.5-2"
    train_in_two_sittings("mlflow", run)
    assert "Warning" not in capsys.readouterr().err
    client = MlflowClient()
    experiment = client.get_experiment_by_name("nucleiseg")
    (found,) = client.search_runs([experiment.experiment_id])
    assert json.loads((run / "tracked.json").read_text())["id"] == found.info.run_id
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
    train_in_two_sittings("wandb", run)
    assert "Warning" not in capsys.readouterr().err
    identity = json.loads((run / "tracked.json").read_text())["id"]
    files = sorted((run / "wandb").glob("offline-run-*/run-*.wandb"))
    assert [file.stem for file in files] == [f"run-{identity}"] * 2
    first, second = (file.read_bytes() for file in files)
    for text in ("train/loss_rpn_cls", "val/ap50", "003_K", "tiny"):
        assert text.encode() in first
        assert text.encode() in second
    assert list((run / "wandb").glob("offline-run-*/files/media/images/val/*.png"))
