"""What is taken away from a run while it trains: its folder, its workers, its numbers."""

import json
import multiprocessing
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from tiny import TinyNetwork, train_tiny, what_was_computed

from nucleiseg.data.dataset import NucleiDataset
from nucleiseg.errors import InputError
from nucleiseg.structures import Target


class Disturbed(TinyNetwork):
    """Does something to its run in the fifth step."""

    def __init__(self, disturb: object) -> None:
        super().__init__()
        self.disturb = disturb

    def losses(self, images: list[torch.Tensor], targets: list[Target]) -> dict[str, torch.Tensor]:
        if self.calls == 5 and self.training:
            self.disturb()  # type: ignore[operator]
        return super().losses(images, targets)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    train_tiny(folder)
    return folder


@pytest.mark.parametrize("log_every", [1, 100])
def test_a_moved_folder_is_noticed_and_resumes_at_its_new_place(whole: Path, tmp_path: Path, log_every: int) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    with pytest.raises(InputError, match=r"old was deleted or moved while .* after step 5"):
        train_tiny(old, network=Disturbed(lambda: old.rename(new)), log_every=log_every)
    assert not old.exists(), "no second folder of that name"
    train_tiny(new, resume=True)
    assert what_was_computed(new) == what_was_computed(whole)


def test_a_deleted_folder_is_noticed_and_not_made_again(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="deleted or moved"):
        train_tiny(tmp_path / "run", network=Disturbed(lambda: shutil.rmtree(tmp_path / "run")))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory"), OSError(12, "No memory")]
)
def test_too_little_memory_is_a_sentence_and_resumes(whole: Path, tmp_path: Path, error: Exception) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(InputError, match=r"smaller batch(.|\n)*resume="):
        train_tiny(tmp_path, network=Disturbed(fail))
    assert "smaller batch" in json.loads((tmp_path / "status.json").read_text())["reason"]
    train_tiny(tmp_path, resume=True)
    assert what_was_computed(tmp_path) == what_was_computed(whole)


def test_divergence_that_validation_sees_first(tmp_path: Path) -> None:
    class Diverged(TinyNetwork):
        def validation_losses(self, images: list[torch.Tensor], targets: list[Target]) -> dict[str, torch.Tensor]:
            raise FloatingPointError("3 of 50 proposals are not finite: training has diverged.")

    with pytest.raises(InputError, match=r"At step 2: in validation, 3 of 50 proposals are not finite \(learning rate"):
        train_tiny(tmp_path, network=Diverged())
    assert not list(tmp_path.rglob("*.ckpt"))


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
def test_a_killed_worker_is_a_sentence_and_the_run_resumes(tmp_path: Path) -> None:
    def kill_workers() -> None:
        for child in multiprocessing.active_children():
            os.kill(child.pid or 0, signal.SIGKILL)
            child.join()

    whole, folder = tmp_path / "whole", tmp_path / "run"
    train_tiny(whole, 20)
    with pytest.raises(InputError, match=r"A data worker \(process [\d, ]+\)(.|\n)*fewer data workers(.|\n)*resume="):
        train_tiny(folder, 20, workers=1, network=Disturbed(kill_workers))
    train_tiny(folder, 20, resume=True, workers=1)
    assert what_was_computed(folder) == what_was_computed(whole)


class Damaged(NucleiDataset):
    """A data set whose files are damaged in the meantime."""

    def __getitem__(self, key: object) -> tuple[torch.Tensor, Target]:
        raise InputError("a.png cannot be read: it is damaged.")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_error_in_a_worker_is_its_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nucleiseg.data.datamodule.NucleiDataset", Damaged)
    with pytest.raises(InputError) as caught:
        train_tiny(tmp_path, workers=1)
    assert caught.value.problems[0] == "a.png cannot be read: it is damaged."
    assert "Traceback" not in str(caught.value)
