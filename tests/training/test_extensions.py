"""Lightning's callbacks, loggers and profilers, a user's own, and other optimizers, named by `_target_`."""

from pathlib import Path
from typing import Any

import pytest
import torch
from open_set import ListLogger, StopAt
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_run import assert_same_run, status
from tiny import TinyNetwork, final_weights, read, train_tiny

from nucleiseg.errors import InputError
from nucleiseg.models.checkpoint import read as read_checkpoint
from nucleiseg.training.extensions import check_group, make_callbacks, make_loggers, make_profiler
from nucleiseg.training.optimizers import check_optim
from nucleiseg.training.settings import OptimSettings

LIGHTNING = "pytorch_lightning.callbacks"
EMA = {"ema": {"_target_": f"{LIGHTNING}.EMAWeightAveraging", "decay": 0.5}}
STOPS = {"early_stopping": {"_target_": f"{LIGHTNING}.EarlyStopping", "monitor": "val/loss", "min_delta": 1e9}}
"""Nothing improves by so much: with `patience` n, the run stops after n + 1 validations."""


def early_stopping(patience: int) -> dict[str, Any]:
    return {"early_stopping": {**STOPS["early_stopping"], "patience": patience}}


def averaged_by_hand(folder: Path, decay: float) -> dict[str, torch.Tensor]:
    """Average the weights of the step checkpoints of a run without averaging."""
    averaged: dict[str, torch.Tensor] = {}
    for row in read(folder / "index.csv"):
        for name, value in read_checkpoint(folder / row["path"])[0].items():
            averaged[name] = value if name not in averaged else decay * averaged[name] + (1 - decay) * value
    return averaged


def test_early_stopping_ends_a_run_as_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train_tiny(tmp_path, 9, callbacks=make_callbacks(early_stopping(1)))
    assert [row["step"] for row in read(tmp_path / "index.csv")] == ["2", "4"]
    assert len(read(tmp_path / "metrics.csv")) == 4
    assert status(tmp_path) | {"state": "done", "steps": 4, "of": 9} == status(tmp_path)
    assert "Stopped early, after step 4 of 9. Monitored metric val/loss did not improve" in capsys.readouterr().err
    (tmp_path / "status.json").write_text('{"state": "running", "steps": 3}')  # as after a kill
    network = train_tiny(tmp_path, 9, resume=True, callbacks=make_callbacks(early_stopping(1)))
    assert network.calls == 0
    assert "was stopped early by a callback, after step 4 of 9, and is done" in capsys.readouterr().err
    assert status(tmp_path)["state"] == "done"


@pytest.mark.parametrize("step", [3, 4])
@pytest.mark.parametrize("val", [0.34, "none"])
def test_a_callback_may_stop_a_run_after_any_step(tmp_path: Path, step: int, val: object) -> None:
    train_tiny(tmp_path, 9, val=val, callbacks=[StopAt(step)], log_every=1)
    rows = read(tmp_path / "index.csv")
    assert rows[-1]["step"] == str(step)
    assert bool(rows[-1]["val/ap50"]) == (val != "none")
    assert len(read(tmp_path / "metrics.csv")) == step
    assert status(tmp_path)["state"] == "done"


def test_a_run_stopped_within_a_step_finishes_it(tmp_path: Path) -> None:
    class Stop(StopAt):
        def on_train_batch_end(self, trainer: Any, *args: Any) -> None:  # noqa: ANN401
            trainer.should_stop = args[-1] == 2  # the third batch, the first of two of step 2

    train_tiny(tmp_path, 9, accumulate=2, callbacks=[Stop()])
    assert [row["step"] for row in read(tmp_path / "index.csv")] == ["2"]
    assert torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["stopped_early"] is True


def test_step_checkpoints_hold_averaged_weights_and_last_both(tmp_path: Path) -> None:
    alone, averaged = tmp_path / "without", tmp_path / "with"
    train_tiny(alone, 4, every=1)
    train_tiny(averaged, 4, callbacks=make_callbacks(EMA))
    expected = averaged_by_hand(alone, 0.5)
    last = torch.load(averaged / "checkpoints" / "last.ckpt", weights_only=True)
    for name, value in read_checkpoint(averaged / "checkpoints" / "step_000004.ckpt")[0].items():
        assert torch.equal(value, last["state_dict"][f"network.{name}"])
        if value.is_floating_point():
            torch.testing.assert_close(value, expected[name])
    current = final_weights(alone)
    assert all(torch.equal(value, current[name]) for name, value in last["current_model_state"].items())
    assert read(alone / "metrics.csv")[-1]["val/loss"] != read(averaged / "metrics.csv")[-1]["val/loss"]


@pytest.mark.parametrize("fails_after", [3, 4, 7])
def test_averaging_and_early_stopping_resume_exactly(tmp_path: Path, fails_after: int) -> None:
    """Stopped between checkpoints, right after one, and after the second validation; 5 validations, the run stops."""
    group = {**EMA, **early_stopping(4)}
    train_tiny(tmp_path / "whole", 20, callbacks=make_callbacks(group))
    broken = tmp_path / "broken"
    with pytest.raises(RuntimeError, match="killed"):
        train_tiny(broken, 20, network=TinyNetwork(fails_after=fails_after), callbacks=make_callbacks(group))
    train_tiny(broken, 20, network=TinyNetwork(seed=99), resume=True, callbacks=make_callbacks(group))
    assert status(broken)["steps"] == 10
    assert_same_run(broken, tmp_path / "whole")
    states = [torch.load(run / "checkpoints" / "last.ckpt", weights_only=True) for run in (broken, tmp_path / "whole")]
    for key in ("current_model_state", "averaging_state"):
        assert all(torch.equal(states[0][key][name], value) for name, value in states[1][key].items())
    assert str(states[0]["callbacks"]) == str(states[1]["callbacks"])
    for row in read(broken / "index.csv"):
        assert (broken / row["path"]).read_bytes() == (tmp_path / "whole" / row["path"]).read_bytes()


def test_the_learning_rate_monitor_logs_to_tensorboard(tmp_path: Path) -> None:
    train_tiny(tmp_path, 4, callbacks=make_callbacks({"a": {"_target_": f"{LIGHTNING}.LearningRateMonitor"}}))
    assert any(tag.startswith("lr-SGD") for tag in EventAccumulator(str(tmp_path)).Reload().Tags()["scalars"])
    assert "lr-SGD" not in (tmp_path / "metrics.csv").read_text()


def test_a_model_checkpoint_by_a_score_stands_beside_ours(tmp_path: Path) -> None:
    best = {
        "best": {
            "_target_": f"{LIGHTNING}.ModelCheckpoint",
            "monitor": "val/loss",
            "filename": "best",
            "auto_insert_metric_name": False,
        }
    }
    train_tiny(tmp_path, callbacks=make_callbacks(best))
    rows = read(tmp_path / "index.csv")
    step = min(rows, key=lambda row: float(row["val/loss"]))["step"]
    assert torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)["global_step"] == int(step)
    previous = torch.load(tmp_path / "checkpoints" / "previous.ckpt", weights_only=True)
    assert previous["global_step"] == 4, "the state before the last one"


def test_a_users_callback_and_logger_get_all_metrics(tmp_path: Path) -> None:
    (callback,) = make_callbacks({"mine": {"_target_": "open_set.StopAt"}})
    (logger,) = make_loggers({"mine": {"_target_": "open_set.ListLogger"}}, tmp_path)
    assert isinstance(callback, StopAt)
    assert isinstance(logger, ListLogger)
    assert logger.directory == str(tmp_path)
    train_tiny(tmp_path, 3, callbacks=[callback], loggers=[logger])
    assert {"train/loss", "train/loss_mask"} <= callback.seen[0]
    assert {"val/ap50", "val/ap50_100", "val/loss"} <= callback.seen[2]
    assert [step for step, _ in logger.logged] == [1, 2, 3]
    assert logger.logged[1][1]["val/ap50"] == float(read(tmp_path / "metrics.csv")[1]["val/ap50"])


def test_a_metric_that_does_not_exist_is_a_sentence(tmp_path: Path) -> None:
    group = {"a": {"_target_": f"{LIGHTNING}.EarlyStopping", "monitor": "val/ap"}}
    with pytest.raises(InputError, match=r"val/ap. which is not available.*val/ap50"):
        train_tiny(tmp_path, callbacks=make_callbacks(group))


def test_device_stats_need_psutil_on_a_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group = {"stats": {"_target_": f"{LIGHTNING}.DeviceStatsMonitor"}}
    monkeypatch.setattr("pytorch_lightning.callbacks.device_stats_monitor._PSUTIL_AVAILABLE", False)
    with pytest.raises(InputError, match="`psutil` is not installed"):
        train_tiny(tmp_path / "without", 2, callbacks=make_callbacks(group))
    monkeypatch.undo()
    pytest.importorskip("psutil")
    train_tiny(tmp_path / "with", 2, callbacks=make_callbacks(group), log_every=1)
    assert any("cpu" in tag for tag in EventAccumulator(str(tmp_path / "with")).Reload().Tags()["scalars"])


@pytest.mark.parametrize(
    "choice", ["simple", {"_target_": "pytorch_lightning.profilers.SimpleProfiler", "filename": "mine"}]
)
def test_a_profile_lies_in_the_runs_folder(tmp_path: Path, choice: Any) -> None:  # noqa: ANN401
    train_tiny(tmp_path, 2, lightning_profiler=make_profiler(choice, tmp_path))
    (profile,) = tmp_path.glob("*profile*" if choice == "simple" else "*mine*")
    assert "run_training_batch" in profile.read_text()
    assert make_profiler(None, tmp_path) is None


def test_an_optimizer_of_a_user_trains_and_resumes_exactly(tmp_path: Path) -> None:
    optim = OptimSettings.from_dict(
        {
            "_target_": "open_set.Lion",
            "lr": 0.01,
            "betas": [0.9, 0.99],
            "weight_decay_norm": 0.0,
            "schedule": {"_target_": "torch.optim.lr_scheduler.OneCycleLR", "max_lr": 0.01},
        }
    )
    assert check_optim(optim, from_file=False) == 1
    train_tiny(tmp_path / "whole", optim=optim)
    rates = [float(row["lr"]) for row in read(tmp_path / "whole" / "metrics.csv")]
    assert max(rates) == pytest.approx(0.01, rel=0.1)
    assert rates[-1] < rates[0] < max(rates)
    with pytest.raises(RuntimeError, match="killed"):
        train_tiny(tmp_path / "broken", optim=optim, network=TinyNetwork(fails_after=3))
    train_tiny(tmp_path / "broken", optim=optim, resume=True)
    assert_same_run(tmp_path / "broken", tmp_path / "whole")


@pytest.mark.parametrize(
    ("optim", "message"),
    [
        ({"momentum": -1}, r"optim: torch\.optim\.SGD cannot be made .*momentum"),
        ({"bettas": [0.9]}, r"optim\.bettas is not a key of optim; its keys are "),
        ({"_target_": "torch.optim.Sgd"}, r"optim\._target_ is 'torch\.optim\.Sgd', which cannot be imported"),
        ({"_target_": "torch.nn.Linear"}, r"optim\._target_ is 'torch\.nn\.Linear'; it accepts a subclass of"),
        (
            {"schedule": {"_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau"}},
            r"optim\.schedule\._target_ is .*; it accepts a schedule that depends on the step",
        ),
        (
            {"schedule": {"_target_": "nucleiseg.training.schedule.WarmupMultistep", "milestones": [480]}},
            r"Multistep\.milestones is \[480\]; it accepts",
        ),
    ],
)
def test_an_optimizer_that_cannot_be_made_is_refused(optim: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_optim(OptimSettings.from_dict({"_target_": "torch.optim.SGD", **optim}, "optim"), from_file=False)


def test_the_number_of_states_is_that_of_the_optimizer() -> None:
    assert check_optim(OptimSettings(), from_file=True) == 1
    assert check_optim(OptimSettings(target="torch.optim.AdamW", arguments={}), from_file=True) == 2


def test_a_group_from_a_file_is_checked_as_a_whole() -> None:
    group = {"a": {"_target_": "open_set.StopAt"}, "b": {"_target_": "torch.hub.load"}, "c": None}
    with pytest.raises(InputError) as caught:
        check_group(group, object, from_file=True, key="callbacks")
    assert [problem.split(" is ")[0] for problem in caught.value.problems] == [
        "callbacks.a._target_",
        "callbacks.b._target_",
    ]
    with pytest.raises(InputError, match=r"callbacks is \['ema'\]; it accepts names"):
        check_group(["ema"], object, from_file=False, key="callbacks")
