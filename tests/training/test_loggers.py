"""What a run sends to TensorBoard and to further loggers, and that a logger can fail without harm."""

import errno
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pytorch_lightning.loggers import Logger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny import TinyNetwork, final_weights, read, train_tiny

from nucleiseg.training import loggers
from nucleiseg.training.callbacks.metrics_log import MetricsLog
from nucleiseg.training.callbacks.timing import Timing
from nucleiseg.training.loggers import MetricsCsv, TensorBoard, attempt, guard


class Recorder(Logger):
    """Keeps what it gets; `fails_at` names a method that raises."""

    name, version = "recorder", "0"

    def __init__(self, fails_at: str = "") -> None:
        super().__init__()
        self.fails_at = fails_at
        self.rows: dict[int, dict[str, float]] = {}
        self.pictures: list[tuple[str, tuple[int, ...], int]] = []
        self.calls: list[str] = []

    @property
    def experiment(self) -> None:
        self._note("experiment")

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        """Not recorded."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self._note("log_metrics")
        assert step is not None
        self.rows[step] = dict(metrics)

    def log_image(self, key: str, images: list[np.ndarray], step: int) -> None:
        self._note("log_image")
        assert images[0].dtype == np.uint8
        self.pictures.append((key, images[0].shape, step))

    def finalize(self, status: str) -> None:
        self._note(f"finalize {status}")

    def _note(self, call: str) -> None:
        if not self.calls or self.calls[-1] != call:
            self.calls.append(call)
        if self.fails_at and call.startswith(self.fails_at):
            raise ConnectionError("the server is gone\nand a long trace")


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    """Tag -> step -> value, as TensorBoard reads them."""
    events = EventAccumulator(str(folder)).Reload()
    return {tag: {event.step: event.value for event in events.Scalars(tag)} for tag in events.Tags()["scalars"]}


def test_loggers_tensorboard_and_csv_have_the_same_tags_and_steps(tmp_path: Path) -> None:
    recorder = Recorder()
    train_tiny(tmp_path, steps=5, loggers=[recorder])
    assert recorder.calls[0] == "experiment"
    assert recorder.calls[-1] == "finalize success"
    rows = read(tmp_path / "metrics.csv")
    expected = {
        tag: {int(row["step"]): pytest.approx(float(row[tag]), rel=1e-3) for row in rows if row[tag]}
        for tag in rows[0]
        if tag != "step"
    }
    logged = {tag: {step: row[tag] for step, row in recorder.rows.items() if tag in row} for tag in expected}
    assert logged == expected
    assert scalars(tmp_path) == expected
    assert {step for _, _, step in recorder.pictures} == {2, 4, 5}
    assert all(tag.startswith("val/") and shape[2] == 3 for tag, shape, _ in recorder.pictures)


@pytest.mark.parametrize("method", ["experiment", "log_metrics", "log_image", "finalize"])
def test_a_logger_that_fails_is_reported_once_and_dropped(
    method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorder = Recorder(fails_at=method)
    train_tiny(tmp_path / "with", loggers=[recorder])
    printed = capsys.readouterr().err
    assert printed.count("Warning: Recorder failed (the server is gone) and gets no more of this run.") == 1
    assert "long trace" not in printed
    assert recorder.calls[-1].startswith(method)
    assert sum(call.startswith(method) for call in recorder.calls) == 1
    train_tiny(tmp_path / "without")
    ours, theirs = final_weights(tmp_path / "with"), final_weights(tmp_path / "without")
    assert all((ours[name] == theirs[name]).all() for name in theirs)
    assert len(scalars(tmp_path / "with")["train/loss"]) == 6


def test_a_logger_is_closed_after_an_exception_with_the_rows_before_it(tmp_path: Path) -> None:
    recorder = Recorder()
    with pytest.raises(RuntimeError, match="killed"):
        train_tiny(tmp_path, network=TinyNetwork(fails_after=4), every=100, log_every=100, loggers=[recorder])
    assert recorder.calls == ["experiment", "log_metrics", "finalize failed"]
    assert list(recorder.rows) == [1, 2, 3, 4]


def test_ctrl_c_is_not_a_failure_of_the_logger() -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attempt(Recorder(), interrupt)


ROW = {"step": 1, "lr": 0.1, "train/loss": 0.5}


@pytest.mark.parametrize("is_first", [True, False])
def test_only_the_first_rank_logs(is_first: bool, tmp_path: Path) -> None:
    recorder, csv = Recorder(), MetricsCsv(tmp_path)
    log = MetricsLog(csv, 1, Timing(), lambda _: False)
    trainer: Any = SimpleNamespace(is_global_zero=is_first, loggers=[csv, recorder])
    log.write(trainer, [ROW])
    log.draw(trainer, "a", np.zeros((2, 2, 3), dtype=np.uint8), 1)
    assert recorder.calls == (["log_metrics", "log_image"] if is_first else [])
    assert (tmp_path / "metrics.csv").exists() == is_first


def test_what_other_callbacks_log_leaves_metrics_csv_as_it_is(tmp_path: Path) -> None:
    csv = MetricsCsv(tmp_path)
    csv.log_metrics({"lr-SGD/pg1": 0.1}, 0)
    csv.save()
    assert not (tmp_path / "metrics.csv").exists()


def test_a_full_disk_hides_neither_the_exception_nor_the_other_loggers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    recorder = Recorder()
    monkeypatch.setattr(TensorBoard, "save", full)
    monkeypatch.setattr(loggers, "append_rows", full)
    with pytest.raises(RuntimeError, match="killed"):
        train_tiny(tmp_path, network=TinyNetwork(fails_after=2), every=100, log_every=100, loggers=[recorder])
    assert recorder.calls[-1] == "finalize failed"


def test_events_that_were_never_opened_are_closed(tmp_path: Path) -> None:
    guard(TensorBoard(tmp_path)).finalize("failed")
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_fails_in_its_first_step_has_written_no_row(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="killed"):
        train_tiny(tmp_path, network=TinyNetwork(fails_after=0))
    assert not (tmp_path / "metrics.csv").exists()
    train_tiny(tmp_path)
