"""A full disk in each file of a run and of its results: a sentence that names the file, and nothing half-written."""

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tiny import TinyNetwork, read, train_tiny, what_was_computed

from nucleiseg import files
from nucleiseg.errors import InputError
from nucleiseg.failures import explained
from nucleiseg.files import atomic_path
from nucleiseg.training.tables import append_rows

FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 400 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)]
    if os.name != "posix" or os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_torch_save_on_a_full_disk_names_the_file(small_disk: Path) -> None:
    with pytest.raises(OSError, match="No space left") as caught, atomic_path(small_disk / "a.ckpt") as temporary:
        torch.save({"weights": torch.zeros(10**6)}, temporary)
    assert caught.value.filename == str(small_disk / "a.ckpt")
    assert not list(small_disk.iterdir())


@pytest.mark.parametrize("text", files.TORCH_WRITE_FAILED)
def test_the_error_of_torch_is_one_of_the_file_system(tmp_path: Path, text: str) -> None:
    with pytest.raises(OSError, match=r"a\.ckpt") as caught, atomic_path(tmp_path / "a.ckpt"):
        try:
            raise FULL
        except OSError:
            raise RuntimeError(f"[enforce fail at inline_container.cc:672] . {text} 640 vs 598")  # noqa: B904
    assert caught.value.errno == errno.ENOSPC


def test_errors_name_the_target_and_others_keep_their_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"a\.txt'"), atomic_path(tmp_path / "a.txt"):
        raise FULL
    with pytest.raises(FileNotFoundError, match="missing"), atomic_path(tmp_path / "a.txt"):
        (tmp_path / "missing").read_text()
    with pytest.raises(OSError, match=r"a\.txt'"), atomic_path(tmp_path / "a.txt") as temporary:
        raise OSError(errno.ENOSPC, "No space left on device", "source", None, str(temporary))  # as a copy has it
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("file", ["metrics.csv", "index.csv", "status.json", "step_000004.ckpt", "last.ckpt"])
def test_a_run_names_the_file_and_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], file: str
) -> None:
    """The disk is full from the second checkpoint on; then there is space again."""
    whole, folder = tmp_path / "whole", tmp_path / "run"
    train_tiny(whole)
    fsync, is_full = os.fsync, False

    class Filling(TinyNetwork):
        def losses(self, *arguments: object) -> dict[str, torch.Tensor]:
            nonlocal is_full
            is_full = self.calls > 2
            return super().losses(*arguments)  # type: ignore[arg-type]

    def fail(handle: int) -> None:
        name = Path(f"/proc/self/fd/{handle}").readlink().name
        if is_full and name.startswith((file, "." + Path(file).stem + ".")):
            raise FULL
        fsync(handle)

    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc")
    with monkeypatch.context() as patch, pytest.raises(InputError) as caught:
        patch.setattr(os, "fsync", fail)
        train_tiny(folder, network=Filling())
    assert f"{file}: No space left on device" in caught.value.problems[0]
    assert f"resume={folder}" in caught.value.problems[-1]
    assert not list(folder.rglob(".*.part*"))
    train_tiny(folder, resume=True)
    assert what_was_computed(folder) == what_was_computed(whole)


def test_a_failed_append_leaves_no_half_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "metrics.csv"
    append_rows(path, ["step", "loss"], [{"step": "1", "loss": "0.5"}])

    def fail(handle: int) -> None:
        raise FULL

    with monkeypatch.context() as patch, pytest.raises(OSError, match=r"metrics\.csv"):
        patch.setattr(os, "fsync", fail)
        append_rows(path, ["step", "loss"], [{"step": "2", "loss": "0.25"}], sync=True)
    append_rows(path, ["step", "loss"], [{"step": "2", "loss": "0.25"}])
    assert [row["step"] for row in read(path)] == ["1", "2"]


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (MemoryError(), "The memory is not enough"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), "CUDA out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "The memory is not enough"),
        (RuntimeError("DataLoader worker (pid 4711) is killed by signal: Killed. "), "(process 4711) is killed by"),
        (RuntimeError("DataLoader worker (pid(s) 4711) exited unexpectedly"), "(process 4711) exited unexpectedly"),
        (
            InputError(
                "Caught InputError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
                '  File "a.py", line 1, in f\nnucleiseg.errors.InputError: a.png is damaged.\nb.png too.'
            ),
            "a.png is damaged.",
        ),
    ],
)
def test_failures_are_sentences(error: Exception, sentence: str) -> None:
    problems = explained(error)
    assert problems
    assert sentence in problems[0]
    assert not any("Traceback" in problem for problem in problems)


def test_other_errors_are_not_explained() -> None:
    assert explained(ValueError("of ours")) is None
    assert explained(RuntimeError("shapes do not fit")) is None
