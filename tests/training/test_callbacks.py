"""What a user sees of a run, and that looking at it changes nothing."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny import LOSSES, TinyNetwork, read, train_tiny

from nucleiseg.training.callbacks import progress_bar, status, timing
from nucleiseg.training.callbacks.metrics_log import MetricsLog
from nucleiseg.training.callbacks.progress_bar import StepProgressBar
from nucleiseg.training.callbacks.timing import Timing
from nucleiseg.training.loggers import MetricsCsv
from nucleiseg.training.tables import as_text


def test_losses_round_trip_through_text() -> None:
    values = np.random.default_rng(0).lognormal(size=200).astype(np.float32)
    for value in values:
        assert np.float32(float(as_text({"train/loss": float(value)})["train/loss"])) == value
    assert as_text({"lr": 0.1 + 0.2, "time/step": 0.123456, "step": 3}) == {
        "lr": "0.30000000000000004",
        "time/step": "0.1235",
        "step": "3",
    }


class Clock:
    """A clock that is set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(timing.time, "perf_counter", lambda: self.now)

    def run(self, seconds: float) -> None:
        self.now += seconds


def test_time_of_a_step_with_its_wait_and_without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, trainer = Clock(monkeypatch), SimpleNamespace(accumulate_grad_batches=2, global_step=1)
    watch = Timing()
    assert watch.typical_step == 0
    clock.run(50)  # setting up
    watch.on_train_start(trainer, None)
    for batch, (wait, work) in enumerate([(1, 10), (2, 20), (4, 40), (8, 80)]):
        clock.run(wait)
        watch.on_train_batch_start(trainer, None, None, batch)
        clock.run(work)
        watch.on_train_batch_end(trainer, None, None, None, batch)
        if batch == 1:
            assert (watch.step_seconds, watch.data_seconds) == (33, 3)
            with watch.paused():
                clock.run(1000)
    assert (watch.step_seconds, watch.data_seconds) == (132, 12)
    assert watch.typical_step == (33 + 132) / 2


class SlowCsv(MetricsCsv):
    """A logger that needs 1000 s to write."""

    def __init__(self, run_dir: Path, clock: Clock) -> None:
        super().__init__(run_dir, LOSSES)
        self.clock = clock

    def save(self) -> None:
        super().save()
        self.clock.run(1000)


def test_writing_is_no_steps_time_and_waiting_for_the_device_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step: 1 s for data, 10 s of work; after two of them 300 s of the device, then a logger's and the status'."""
    clock = Clock(monkeypatch)

    def reduce(losses: torch.Tensor, reduce_op: str) -> torch.Tensor:
        clock.run(300)
        return losses

    csv = SlowCsv(tmp_path, clock)
    trainer = SimpleNamespace(
        accumulate_grad_batches=1,
        global_step=0,
        is_global_zero=True,
        should_stop=False,
        loggers=[csv],
        strategy=SimpleNamespace(reduce=reduce),
        optimizers=[SimpleNamespace(param_groups=[{"lr": 0.1}])],
    )
    module = SimpleNamespace(device=torch.device("cpu"))
    monkeypatch.setattr(status, "write_json", lambda *_: clock.run(5000))
    watch = Timing()
    log = MetricsLog(csv, 2, watch, lambda _: False)
    callbacks = [watch, log, status.Status(tmp_path, of=4, every=2, timing=watch)]
    for callback in reversed(callbacks):  # the clock last: setting up is not measured
        callback.on_train_start(trainer, module)
    losses = {"losses": torch.ones(6)}
    for batch in range(4):
        clock.run(1)
        for callback in callbacks:
            callback.on_train_batch_start(trainer, module, ([], []), batch)
        clock.run(10)
        trainer.global_step += 1
        for callback in callbacks:
            callback.on_train_batch_end(trainer, module, losses, ([], []), batch)
    rows = read(tmp_path / "metrics.csv")
    assert [float(row["time/step"]) for row in rows] == [11, 311, 11, 311]
    assert [float(row["time/data"]) for row in rows] == [1, 1, 1, 1]
    assert watch.typical_step == (11 + 311) / 2


def test_plain_lines_now_and_then(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    monkeypatch.setattr(progress_bar.time, "monotonic", lambda: now)
    watch = SimpleNamespace(typical_step=2.0, data_seconds=0.012)
    bar = StepProgressBar(2400, watch, SimpleNamespace(latest={"train/loss": 1.2341, "lr": 0.01}))
    trainer = SimpleNamespace(is_global_zero=True, global_step=0)
    bar.on_train_start(trainer, None)
    for step in range(1, 13):
        now += 2.0
        bar.on_step_end(trainer, None, step)
    lines = capsys.readouterr().err.splitlines()
    line = "step {}/2400  loss 1.234  lr 0.01  2.00 s/step  data 0.01 s  ETA 1 h {} min"
    assert lines == [line.format(5, 19), line.format(10, 19)]


def test_the_first_line_has_no_loss_yet() -> None:
    bar = StepProgressBar(10, SimpleNamespace(typical_step=1.0, data_seconds=0.0), SimpleNamespace(latest={}))
    assert bar.describe(4) == "1.00 s/step  data 0.00 s  ETA 6 s"


@pytest.mark.parametrize("network", [TinyNetwork(), TinyNetwork(fails_after=3)], ids=["done", "failed"])
def test_a_bar_on_a_terminal(
    network: TinyNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(progress_bar, "Console", lambda **_: progress_bar_console())
    try:
        train_tiny(tmp_path, network=network, val="none")
    except RuntimeError:
        assert network.fails_after
    shown = capsys.readouterr().err
    assert re.search(r"Training.*[36]/6.*loss \d+\.\d+  lr", shown, re.DOTALL)
    assert "\nstep " not in shown


def progress_bar_console() -> object:
    """A terminal of 160 columns."""
    from rich.console import Console

    return Console(file=sys.stderr, force_terminal=True, width=160)
