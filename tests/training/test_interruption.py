"""Ctrl-C and SIGTERM: the step is finished and saved, and the resumed run is the uninterrupted one."""

import json
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tiny import TinyNetwork, final_weights, read, train_tiny, what_was_computed

from nucleiseg.models.checkpoint import read as read_checkpoint
from nucleiseg.structures import Target
from nucleiseg.training.callbacks.interruption import Interruption
from nucleiseg.training.module import NucleiModule

STEPS = 10
EVERY = 4
STOPS = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: SystemExit}

pytestmark = pytest.mark.usefixtures("heeded_interrupts")


class Signaled(TinyNetwork):
    """Gets signals while it computes its losses.

    Args:
        number: the signal.
        call: the call in which it comes, counted from 1 over this session.
        times: how many come in that call.
    """

    def __init__(self, number: int, call: int, times: int = 1) -> None:
        super().__init__()
        self.number, self.call, self.times = number, call, times

    def losses(self, images: list[torch.Tensor], targets: list[Target]) -> dict[str, torch.Tensor]:
        for _ in range(self.times if self.calls == self.call and self.training else 0):
            signal.raise_signal(self.number)
        return super().losses(images, targets)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    train_tiny(folder, STEPS, every=EVERY)
    return folder


def step_of_last(folder: Path) -> int:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]


def assert_same(folder: Path, expected: Path) -> None:
    assert what_was_computed(folder) == what_was_computed(expected)
    weights, others = final_weights(folder), final_weights(expected)
    assert all(torch.equal(weights[name], others[name]) for name in others)
    names = [path.name for path in sorted((expected / "checkpoints").iterdir())]
    assert [path.name for path in sorted((folder / "checkpoints").iterdir())] == names
    for row, same in zip(read(folder / "index.csv"), read(expected / "index.csv"), strict=True):
        assert {**row, "time": ""} == {**same, "time": ""}
        (state, metadata), (other, known) = (
            read_checkpoint(folder / row["path"]),
            read_checkpoint(expected / same["path"]),
        )
        assert metadata == known
        assert all(torch.equal(state[name], other[name]) for name in other)


@pytest.mark.parametrize("number", STOPS)
@pytest.mark.parametrize("log_every", [1, 3, 100])
def test_every_step_may_be_the_last_of_a_session(
    uninterrupted: Path, tmp_path: Path, number: signal.Signals, log_every: int
) -> None:
    """Stopped after steps 1, 3, 4 (a checkpoint), 5 and 9, and resumed each time."""
    for call, step in ((1, 1), (2, 3), (1, 4), (1, 5), (4, 9)):
        with pytest.raises(STOPS[number]):
            train_tiny(tmp_path, STEPS, every=EVERY, resume=True, network=Signaled(number, call), log_every=log_every)
        assert step_of_last(tmp_path) == step
        assert [int(row["step"]) for row in read(tmp_path / "metrics.csv")] == list(range(1, step + 1))
        status = json.loads((tmp_path / "status.json").read_text())
        assert (status["state"], status["steps"]) == ("interrupted", step)
        assert len(list((tmp_path / "checkpoints").glob("step_*"))) == step // EVERY
    train_tiny(tmp_path, STEPS, every=EVERY, resume=True, log_every=log_every)
    assert_same(tmp_path, uninterrupted)


def test_accumulated_batches_are_finished(tmp_path: Path) -> None:
    for name, call in (("whole", 100), ("stopped", 3)):
        if name == "whole":
            train_tiny(tmp_path / name, STEPS, every=EVERY, accumulate=2)
            continue
        with pytest.raises(KeyboardInterrupt):
            train_tiny(tmp_path / name, STEPS, every=EVERY, accumulate=2, network=Signaled(signal.SIGINT, call))
        assert step_of_last(tmp_path / name) == 2
        train_tiny(tmp_path / name, STEPS, every=EVERY, accumulate=2, resume=True)
    assert_same(tmp_path / "stopped", tmp_path / "whole")


@pytest.mark.parametrize("number", STOPS)
def test_a_second_signal_stops_at_once(uninterrupted: Path, tmp_path: Path, number: signal.Signals) -> None:
    with pytest.raises(STOPS[number]):
        train_tiny(tmp_path, STEPS, every=EVERY, network=Signaled(number, 6, times=2))
    assert step_of_last(tmp_path) == EVERY
    assert json.loads((tmp_path / "status.json").read_text())["state"] == "interrupted"
    train_tiny(tmp_path, STEPS, every=EVERY, resume=True)
    assert_same(tmp_path, uninterrupted)


def test_a_second_signal_while_last_is_written_keeps_the_one_before(
    uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = torch.save

    def interrupted_save(content: object, *args: object, **keywords: object) -> None:
        save(content, *args, **keywords)
        if isinstance(content, dict) and content.get("global_step") == 6:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(torch, "save", interrupted_save)
        train_tiny(tmp_path, STEPS, every=EVERY, network=Signaled(signal.SIGINT, 6))
    assert step_of_last(tmp_path) == EVERY
    assert not list(tmp_path.rglob(".*.part*"))
    train_tiny(tmp_path, STEPS, every=EVERY, resume=True)
    assert_same(tmp_path, uninterrupted)


def test_a_signal_in_the_last_step_changes_nothing(uninterrupted: Path, tmp_path: Path) -> None:
    train_tiny(tmp_path, STEPS, every=EVERY, network=Signaled(signal.SIGTERM, STEPS))
    assert json.loads((tmp_path / "status.json").read_text())["state"] == "done"
    assert_same(tmp_path, uninterrupted)


def test_ignored_signals_stay_ignored(tmp_path: Path) -> None:
    """A run in the background of a shell inherits that SIGINT is ignored."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        train_tiny(tmp_path, 2, network=Signaled(signal.SIGINT, 1))
    finally:
        signal.signal(signal.SIGINT, before)
    assert json.loads((tmp_path / "status.json").read_text())["state"] == "done"


def test_handlers_are_restored(tmp_path: Path) -> None:
    before = {number: signal.getsignal(number) for number in STOPS}
    train_tiny(tmp_path, 2)
    with pytest.raises(KeyboardInterrupt):
        train_tiny(tmp_path, 4, resume=True, network=Signaled(signal.SIGINT, 1))
    assert {number: signal.getsignal(number) for number in STOPS} == before


@pytest.mark.parametrize("is_first", [True, False])
def test_ranks_agree_on_the_step(is_first: bool) -> None:
    """A rank that got no signal stops after the same step as the one that did."""
    saved: list[int] = []
    checkpoints = SimpleNamespace(
        save_progress=lambda trainer, module, step: saved.append(step), awaits_validation=False
    )
    agreed = [False, True]
    trainer = SimpleNamespace(
        is_global_zero=is_first,
        should_stop=False,
        strategy=SimpleNamespace(reduce_boolean_decision=lambda decision, all: agreed.pop(0)),  # noqa: A006
    )
    interruption = Interruption(checkpoints)  # type: ignore[arg-type]
    module = NucleiModule.__new__(NucleiModule)
    interruption.on_step_end(trainer, module, 1)
    with pytest.raises(SystemExit) as stop:
        interruption.on_step_end(trainer, module, 2)
    assert saved == [2]
    if not is_first:
        assert stop.value.code == 0, "Lightning kills the first rank when another one fails"
