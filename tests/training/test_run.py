"""A run from its start to its end, killed in between, resumed, lengthened; its files, and what it refuses."""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny import TinyNetwork, final_weights, read, train_tiny, what_was_computed
from torch.utils.tensorboard.writer import SummaryWriter

from nucleiseg.devices import peak_memory_mb
from nucleiseg.errors import InputError
from nucleiseg.run_tables import metrics_columns
from nucleiseg.structures import Target
from nucleiseg.training import tables
from nucleiseg.training.settings import STUDY_SCHEDULE, OptimSettings, ValidationSettings


def status(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "status.json").read_text())


def assert_same_run(folder: Path, reference: Path) -> None:
    """Losses, validation and weights are equal to the last bit."""
    assert what_was_computed(folder) == what_was_computed(reference)
    weights, expected = final_weights(folder), final_weights(reference)
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert [row["step"] for row in read(folder / "index.csv")] == [row["step"] for row in read(reference / "index.csv")]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six steps without a break."""
    folder = tmp_path_factory.mktemp("reference")
    train_tiny(folder)
    return folder


def test_the_files_of_a_run(reference: Path) -> None:
    assert sorted(path.name for path in (reference / "checkpoints").iterdir()) == [
        "last.ckpt",
        "previous.ckpt",
        "step_000002.ckpt",
        "step_000004.ckpt",
        "step_000006.ckpt",
    ]
    others = {path.name for path in reference.iterdir() if not path.name.startswith("events.out.tfevents")}
    assert others == {"checkpoints", "metrics.csv", "index.csv", "status.json"}
    assert status(reference)["state"] == "done"
    assert status(reference)["steps"] == status(reference)["of"] == 6


def test_the_status_names_the_device_and_the_peak_of_its_memory(reference: Path) -> None:
    """The process had the peak already, or reached it in the run: the status says what `getrusage` says afterwards."""
    assert status(reference)["device"] == "cpu"
    here = peak_memory_mb(torch.device("cpu"))
    assert here is not None
    assert 50 < status(reference)["peak_memory_mb"] <= here


def test_a_resumed_run_keeps_an_earlier_peak(tmp_path: Path) -> None:
    train_tiny(tmp_path, 2)
    told = status(tmp_path)
    (tmp_path / "status.json").write_text(json.dumps({**told, "peak_memory_mb": 1e6}))
    train_tiny(tmp_path, 4, resume=True)
    assert status(tmp_path)["peak_memory_mb"] == 1e6


def test_metrics_have_a_row_for_each_step(reference: Path) -> None:
    rows = read(reference / "metrics.csv")
    assert list(rows[0]) == list(metrics_columns(TinyNetwork.loss_names))
    assert [int(row["step"]) for row in rows] == [1, 2, 3, 4, 5, 6]
    for row in rows:
        parts = [float(row[f"train/loss_{name}"]) for name in ("rpn_cls", "rpn_loc", "cls", "box_reg", "mask")]
        assert float(row["train/loss"]) == pytest.approx(sum(parts), rel=1e-6)
        assert bool(row["val/ap50"]) == bool(row["val/loss"]) == (int(row["step"]) % 2 == 0)
        assert float(row["time/step"]) >= float(row["time/data"]) > 0


def test_the_logged_rate_is_the_one_that_the_step_used(reference: Path) -> None:
    rates = [float(row["lr"]) for row in read(reference / "metrics.csv")]
    assert rates == pytest.approx([0.05, 0.005, 0.005, 0.0005, 0.0005, 0.000005])  # drops at 1, 3, 5 (and 5)


def test_the_index_says_of_each_checkpoint_what_the_log_says_of_its_step(reference: Path) -> None:
    rows = read(reference / "index.csv")
    assert list(rows[0]) == ["step", "path", "time", "train/loss", "val/loss", "val/ap50", "val/ap50_100"]
    log = {row["step"]: row for row in read(reference / "metrics.csv")}
    for row in rows:
        assert (reference / row["path"]).is_file()
        for column in ("train/loss", "val/loss", "val/ap50", "val/ap50_100"):
            assert row[column] == log[row["step"]][column]


def test_tensorboard_shows_the_same_numbers_and_the_pictures(reference: Path) -> None:
    events = EventAccumulator(str(reference), size_guidance={"images": 0}).Reload()
    log = read(reference / "metrics.csv")
    for tag in ("train/loss", "train/loss_mask", "lr", "time/step"):
        assert [event.step for event in events.Scalars(tag)] == [1, 2, 3, 4, 5, 6]
        assert [event.value for event in events.Scalars(tag)] == pytest.approx(
            [float(row[tag]) for row in log],
            rel=1e-3,  # seconds have four digits in the file
        )
    assert [event.step for event in events.Scalars("val/ap50")] == [2, 4, 6]
    assert len(events.Tags()["images"]) == 2
    assert [event.step for event in events.Images(events.Tags()["images"][0])] == [2, 4, 6]


def test_checkpoints_load_as_weights_only_with_their_metadata(reference: Path) -> None:
    step = torch.load(reference / "checkpoints" / "step_000006.ckpt", weights_only=True)
    last = torch.load(reference / "checkpoints" / "last.ckpt", weights_only=True)
    assert step.keys() == {"state_dict", "nucleiseg"}
    assert step["nucleiseg"] == last["nucleiseg"]
    assert step["nucleiseg"]["step"] == 6
    assert 0 < step["nucleiseg"]["score_threshold"] < 1
    assert last["state_dict"].keys() == {f"network.{name}" for name in step["state_dict"]}
    assert all(torch.equal(last["state_dict"][f"network.{name}"], value) for name, value in step["state_dict"].items())


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_failed_run_resumed_is_the_run_that_did_not_fail(reference: Path, tmp_path: Path, workers: int) -> None:
    with pytest.raises(RuntimeError, match="killed"):
        train_tiny(tmp_path, network=TinyNetwork(fails_after=3), workers=workers, log_every=100)
    assert [row["step"] for row in read(tmp_path / "metrics.csv")] == ["1", "2", "3"]
    assert status(tmp_path) | {"state": "failed", "reason": "killed", "steps": 3} == status(tmp_path)
    train_tiny(tmp_path, network=TinyNetwork(seed=99), resume=True, workers=workers)
    assert_same_run(tmp_path, reference)


def test_rows_and_checkpoints_after_the_restored_step_are_cut(reference: Path, tmp_path: Path) -> None:
    """Step 6 was logged and saved when the run was killed before `last.ckpt` was replaced."""
    train_tiny(tmp_path, 6)
    stale = torch.load(tmp_path / "checkpoints" / "step_000006.ckpt", weights_only=True)
    four = tmp_path / "four"
    with pytest.raises(RuntimeError, match="killed"):
        train_tiny(four, network=TinyNetwork(fails_after=4))
    (four / "checkpoints" / "last.ckpt").replace(tmp_path / "checkpoints" / "last.ckpt")
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("7,0.1")  # a row cut in two
    train_tiny(tmp_path, resume=True)
    assert_same_run(tmp_path, reference)
    again = torch.load(tmp_path / "checkpoints" / "step_000006.ckpt", weights_only=True)
    assert all(torch.equal(again["state_dict"][name], value) for name, value in stale["state_dict"].items())
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [1, 2, 3, 4, 5, 6]


def test_resuming_before_anything_was_saved_starts_at_step_0(reference: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="killed"):
        train_tiny(tmp_path, network=TinyNetwork(fails_after=1), log_every=1)
    train_tiny(tmp_path, resume=True)
    assert_same_run(tmp_path, reference)


def test_accumulated_steps_resume_exactly(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    network = train_tiny(whole, accumulate=2)
    assert network.calls == 12
    assert [row["step"] for row in read(whole / "metrics.csv")] == ["1", "2", "3", "4", "5", "6"]
    with pytest.raises(RuntimeError, match="killed"):
        train_tiny(broken, accumulate=2, network=TinyNetwork(fails_after=7))
    train_tiny(broken, accumulate=2, resume=True)
    assert_same_run(broken, whole)
    with pytest.raises(InputError, match=r"accumulate=2, not 3"):
        train_tiny(broken, 9, accumulate=3, resume=True)


def test_adamw_with_cosine_and_clipping_resumes_exactly(tmp_path: Path) -> None:
    arguments = {
        "optim": OptimSettings(
            target="torch.optim.AdamW",
            lr=0.01,
            arguments={},
            schedule={"_target_": "nucleiseg.training.schedule.WarmupCosine"},
        ),
        "clip_norm": 1.0,
    }
    train_tiny(tmp_path / "whole", **arguments)
    with pytest.raises(RuntimeError, match="killed"):
        train_tiny(tmp_path / "broken", network=TinyNetwork(fails_after=5), **arguments)
    train_tiny(tmp_path / "broken", resume=True, **arguments)
    assert_same_run(tmp_path / "broken", tmp_path / "whole")


def test_a_finished_run_is_left_alone(reference: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (reference / "metrics.csv").stat().st_mtime_ns
    network = train_tiny(reference, resume=True)
    assert network.calls == 0
    assert "has done its 6 steps already" in capsys.readouterr().err
    assert (reference / "metrics.csv").stat().st_mtime_ns == before


def test_a_run_killed_after_its_last_checkpoint_is_called_done(tmp_path: Path) -> None:
    train_tiny(tmp_path, 2)
    (tmp_path / "status.json").write_text('{"state": "running", "steps": 1}')
    train_tiny(tmp_path, 2, resume=True)
    assert status(tmp_path) | {"state": "done", "steps": 2, "of": 2} == status(tmp_path)


def test_the_rows_are_on_the_disk_before_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(tables.os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    train_tiny(tmp_path, 2, log_every=1)
    assert synced.count((tmp_path / "metrics.csv").stat().st_ino) == 1


def test_tensorboards_file_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[SummaryWriter] = []
    monkeypatch.setattr(SummaryWriter, "close", lambda self: closed.append(self))
    train_tiny(tmp_path / "done", 2)
    with pytest.raises(RuntimeError, match="killed"):
        train_tiny(tmp_path / "failed", network=TinyNetwork(fails_after=1))
    assert len(set(closed)) == 2


def test_a_finished_run_can_be_lengthened(reference: Path, tmp_path: Path) -> None:
    """As if it had been planned so, but for the validated checkpoint at its first end."""
    optim = OptimSettings(lr=0.05, schedule={**STUDY_SCHEDULE, "total_steps": 6})
    train_tiny(tmp_path / "long", 9, optim=optim, every=3)
    train_tiny(tmp_path / "short", 6, optim=OptimSettings(lr=0.05), every=3)
    train_tiny(tmp_path / "short", 9, optim=OptimSettings(lr=0.05), every=3, resume=True)
    assert_same_run(tmp_path / "short", tmp_path / "long")


def test_validation_leaves_no_trace_in_the_training(reference: Path, tmp_path: Path) -> None:
    train_tiny(tmp_path, val="none")
    assert all(not row["val/ap50"] and not row["val/loss"] for row in read(tmp_path / "index.csv"))
    thinned = tmp_path / "thinned"
    train_tiny(thinned, validation=ValidationSettings(every_checkpoints=2, images=1, losses=False, overlays=0))
    rows = read(thinned / "metrics.csv")
    assert [row["step"] for row in rows if row["val/ap50"]] == ["4", "6"]
    assert not any(row["val/loss"] for row in rows)
    expected = final_weights(reference)
    assert all(torch.equal(value, expected[name]) for name, value in final_weights(thinned).items())


def test_only_the_best_checkpoints_are_kept(tmp_path: Path) -> None:
    train_tiny(tmp_path, every=1, keep=2)
    rows = read(tmp_path / "index.csv")
    assert len(rows) in (2, 3)
    assert rows[-1]["step"] == "6"
    files = {path.name for path in (tmp_path / "checkpoints").glob("step_*.ckpt")}
    assert files == {Path(row["path"]).name for row in rows}


def test_a_loss_that_is_not_finite_stops_the_run_and_is_explained(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"At step 5: train/loss is inf, train/loss_mask is inf .*: demo_00\d, demo_00\d\)"
    ):
        train_tiny(tmp_path, network=TinyNetwork(broken_after=4), log_every=1)
    assert status(tmp_path)["state"] == "failed"
    assert "lower lr" in status(tmp_path)["reason"]
    assert "the checkpoints before it are kept" in status(tmp_path)["reason"]
    assert [row["step"] for row in read(tmp_path / "metrics.csv")] == ["1", "2", "3", "4", "5"]
    assert read(tmp_path / "metrics.csv")[-1]["train/loss_mask"] == "inf"
    assert [row["step"] for row in read(tmp_path / "index.csv")] == ["2", "4"]


def test_the_rows_up_to_the_first_bad_one_are_kept(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"At step 3: .*Training stopped before the first checkpoint\.") as caught:
        train_tiny(tmp_path, network=TinyNetwork(broken_after=2), log_every=100, every=5)
    assert "kept" not in str(caught.value)
    assert [row["step"] for row in read(tmp_path / "metrics.csv")] == ["1", "2", "3"]
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [1, 2, 3]


def test_no_checkpoint_is_written_of_a_broken_network(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="At step 4"):
        train_tiny(tmp_path, network=TinyNetwork(broken_after=3), log_every=100)
    assert [path.name for path in (tmp_path / "checkpoints").glob("step_*")] == ["step_000002.ckpt"]


class Diverging(TinyNetwork):
    """Finds in its fifth step that its boxes are not finite, as the RPN does."""

    def losses(self, images: list[torch.Tensor], targets: list[Target]) -> dict[str, torch.Tensor]:
        if self.calls == 5:
            raise FloatingPointError("3 of 50 proposals are not finite: training has diverged.")
        return super().losses(images, targets)


def test_a_network_that_diverges_is_explained(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"At step 5: 3 of 50 proposals are not finite \(learning .*: demo_00\d,"):
        train_tiny(tmp_path, network=Diverging())


class Poisoned(TinyNetwork):
    """A loss that is finite, with a gradient that is not: the square root at 0."""

    def losses(self, images: list[torch.Tensor], targets: list[Target]) -> dict[str, torch.Tensor]:
        losses = super().losses(images, targets)
        if self.calls == 4:
            losses["loss_mask"] = losses["loss_mask"] + (0 * self.head.bias.sum()).sqrt()
        return losses


def test_no_checkpoint_is_written_of_weights_that_are_not_finite(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"At step 4: the weights head.bias are not finite"):
        train_tiny(tmp_path, network=Poisoned(), log_every=100)
    assert [row["step"] for row in read(tmp_path / "metrics.csv")] == ["1", "2", "3", "4"]
    assert [path.name for path in (tmp_path / "checkpoints").glob("step_*")] == ["step_000002.ckpt"]
    train_tiny(tmp_path, resume=True)
    assert status(tmp_path)["state"] == "done"


def test_no_checkpoint_is_written_of_statistics_that_are_not_finite(tmp_path: Path) -> None:
    """No loss of training shows them, since a normalisation layer then takes those of the batch."""
    network = TinyNetwork()
    network.backbone[1].running_var.fill_(torch.inf)
    with pytest.raises(InputError, match=r"At step 2: the weights backbone.1.running_var are not finite"):
        train_tiny(tmp_path, network=network)


class Leaving(TinyNetwork):
    """Ends the process by itself."""

    def losses(self, images: list[torch.Tensor], targets: list[Target]) -> dict[str, torch.Tensor]:
        sys.exit(7)


def test_an_exit_that_is_not_ctrl_c_stays_an_exit(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        train_tiny(tmp_path, network=Leaving())
    assert caught.value.code == 7


class Signalling(TinyNetwork):
    """Gets a signal in its fourth step, as from a keyboard or a scheduler."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def losses(self, images: list[torch.Tensor], targets: list[Target]) -> dict[str, torch.Tensor]:
        if self.calls == 4:
            signal.raise_signal(self.number)
        return super().losses(images, targets)


@pytest.mark.usefixtures("heeded_interrupts")
@pytest.mark.parametrize(
    ("number", "expected"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)], ids=["ctrl-c", "term"]
)
def test_an_interrupted_run_records_it_and_resumes(
    reference: Path, tmp_path: Path, number: int, expected: type[BaseException]
) -> None:
    with pytest.raises(expected) as caught:
        train_tiny(tmp_path, network=Signalling(number))
    if number == signal.SIGTERM:
        assert caught.value.code == 143
    assert status(tmp_path)["state"] == "interrupted"
    assert f"python train.py resume={tmp_path} continues it." in status(tmp_path)["reason"]
    assert [row["step"] for row in read(tmp_path / "metrics.csv")][:3] == ["1", "2", "3"]
    train_tiny(tmp_path, resume=True)
    assert_same_run(tmp_path, reference)


def test_a_folder_with_a_run_is_not_written_over(reference: Path) -> None:
    with pytest.raises(InputError, match="holds a run already: resume="):
        train_tiny(reference)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a computer without a GPU")
def test_a_device_that_is_not_there_is_explained(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"accelerator=gpu .* does not work on this computer"):
        train_tiny(tmp_path, accelerator="gpu")


@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_mixed_precision_trains(tmp_path: Path, clip_norm: float | None) -> None:
    train_tiny(tmp_path, 2, precision="bf16-mixed", clip_norm=clip_norm)
    assert final_weights(tmp_path)["network.head.weight"].dtype == torch.float32


def test_lightning_says_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    train_tiny(tmp_path, 2)
    train_tiny(tmp_path, 4, resume=True)
    printed = capfd.readouterr()
    assert printed.out == ""
    assert all(line.startswith("step ") for line in printed.err.splitlines())
    assert not [warning for warning in recwarn if "lightning" in warning.filename]
