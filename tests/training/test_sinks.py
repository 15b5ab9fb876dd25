"""What a run tells TensorBoard and a tracker, and that a tracker can fail without harm."""

import errno
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny import TinyNetwork, final_weights, read, train_tiny

from nucleiseg.training.callbacks.metrics_log import MetricsLog
from nucleiseg.training.callbacks.sinks import OptionalSink, Rows, TensorBoardSink
from nucleiseg.training.callbacks.timing import Timing


class Recorder:
    """Keeps what it is told; `fails_at` names a method that raises."""

    def __init__(self, fails_at: str = "") -> None:
        self.fails_at = fails_at
        self.rows: list[dict[str, float]] = []
        self.pictures: list[tuple[str, tuple[int, ...], int]] = []
        self.calls: list[str] = []

    def open(self) -> None:
        self._note("open")

    def log(self, rows: Rows) -> None:
        self._note("log")
        self.rows += [dict(row) for row in rows]

    def draw(self, tag: str, picture: np.ndarray, step: int) -> None:
        self._note("draw")
        assert picture.dtype == np.uint8
        self.pictures.append((tag, picture.shape, step))

    def close(self, *, failed: bool) -> None:
        self._note("close failed" if failed else "close")

    def _note(self, call: str) -> None:
        self.calls.append(call)
        if call == self.fails_at:
            raise ConnectionError("the server is gone\nand a long trace")


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    """Tag -> step -> value, as TensorBoard reads them."""
    events = EventAccumulator(str(folder)).Reload()
    return {tag: {event.step: event.value for event in events.Scalars(tag)} for tag in events.Tags()["scalars"]}


def test_tracker_tensorboard_and_csv_have_the_same_tags_and_steps(tmp_path: Path) -> None:
    recorder = Recorder()
    train_tiny(tmp_path, steps=5, tracker=recorder)
    assert recorder.calls[0] == "open"
    assert recorder.calls[-1] == "close"
    rows = read(tmp_path / "metrics.csv")
    expected = {
        tag: {int(row["step"]): pytest.approx(float(row[tag]), rel=1e-3) for row in rows if row[tag]}
        for tag in rows[0]
        if tag != "step"
    }
    told = {tag: {row["step"]: row[tag] for row in recorder.rows if tag in row} for tag in expected}
    assert told == expected
    assert scalars(tmp_path) == expected
    assert {step for _, _, step in recorder.pictures} == {2, 4, 5}
    assert all(tag.startswith("val/") and shape[2] == 3 for tag, shape, _ in recorder.pictures)


@pytest.mark.parametrize("method", ["open", "log", "draw", "close"])
def test_a_tracker_that_fails_is_told_once_and_left(
    method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorder = Recorder(fails_at=method)
    train_tiny(tmp_path / "with", tracker=OptionalSink(recorder, "A tracker"))
    said = capsys.readouterr().err
    assert said.count("Warning: A tracker failed (the server is gone) and gets no more of this run.") == 1
    assert "long trace" not in said
    assert recorder.calls[-1] == method
    assert recorder.calls.count(method) == 1
    train_tiny(tmp_path / "without")
    ours, theirs = final_weights(tmp_path / "with"), final_weights(tmp_path / "without")
    assert all((ours[name] == theirs[name]).all() for name in theirs)
    assert len(scalars(tmp_path / "with")["train/loss"]) == 6


def test_a_tracker_is_closed_after_an_exception_with_the_rows_before_it(tmp_path: Path) -> None:
    recorder = Recorder()
    with pytest.raises(RuntimeError, match="killed"):
        train_tiny(tmp_path, network=TinyNetwork(fails_after=4), every=100, log_every=100, tracker=recorder)
    assert recorder.calls == ["open", "log", "close failed"]
    assert [row["step"] for row in recorder.rows] == [1, 2, 3, 4]


def test_ctrl_c_is_no_failure_of_the_tracker() -> None:
    class Interrupted(Recorder):
        def log(self, rows: Rows) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        OptionalSink(Interrupted(), "A tracker").log([])


@pytest.mark.parametrize("is_first", [True, False])
def test_only_the_first_rank_speaks(is_first: bool, tmp_path: Path) -> None:
    recorder = Recorder()
    log = MetricsLog(tmp_path, 1, Timing(), lambda _: False, [recorder])
    log.on_train_start(SimpleNamespace(is_global_zero=is_first), None)
    log.write([{"step": 1, "lr": 0.1}])
    log.draw("a", np.zeros((2, 2, 3), dtype=np.uint8), 1)
    log.on_train_end(None, None)
    log.write([{"step": 2, "lr": 0.1}])
    calls: Sequence[str] = ["open", "log", "draw", "close"] if is_first else []
    assert recorder.calls == calls
    assert (tmp_path / "metrics.csv").exists() == is_first


class FullDisk(Recorder):
    """Cannot write what it still holds."""

    def close(self, *, failed: bool) -> None:
        super().close(failed=failed)
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_hides_neither_the_exception_nor_the_other_sinks(tmp_path: Path) -> None:
    full, other = FullDisk(), Recorder()
    log = MetricsLog(tmp_path, 1, Timing(), lambda _: False, [full, other])
    log.on_train_start(SimpleNamespace(is_global_zero=True), None)
    log.on_exception(SimpleNamespace(world_size=1), None, RuntimeError("killed"))
    assert full.calls == other.calls == ["open", "close failed"]
    log.on_train_start(SimpleNamespace(is_global_zero=True), None)
    with pytest.raises(OSError, match="No space left"):
        log.on_train_end(None, None)
    assert full.calls == other.calls == ["open", "close failed", "open", "close"]
    log.on_exception(SimpleNamespace(world_size=1), None, OSError())
    assert other.calls[-1] == "close", "closed once"


def test_events_that_were_never_opened_are_closed(tmp_path: Path) -> None:
    TensorBoardSink(tmp_path).close(failed=True)


def test_a_run_that_fails_in_its_first_step_has_written_no_row(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="killed"):
        train_tiny(tmp_path, network=TinyNetwork(fails_after=0))
    assert not (tmp_path / "metrics.csv").exists()
    train_tiny(tmp_path)
