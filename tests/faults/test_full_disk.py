"""A full disk in each file of a run and of its results: a sentence that names the file, and nothing half-written."""

import errno
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import TinyNetwork, read, train_tiny, what_was_computed

from nucleiseg import files
from nucleiseg.cli.evaluate import evaluate
from nucleiseg.cli.leaderboard import leaderboard
from nucleiseg.cli.train import train
from nucleiseg.data.cache import SampleCache, load_all
from nucleiseg.data.readers.demo import DemoReader, write_folders
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


def fill(folder: Path) -> Path:
    """Take all the space that is left in a small file system; return the file that holds it."""
    file = folder / "filler"
    with file.open("wb", buffering=0) as handle, suppress(OSError):
        while True:
            handle.write(bytes(4096))
    return file


def test_a_cache_on_a_full_disk_is_named_once_and_keeps_what_fitted(small_disk: Path) -> None:
    """Eight samples of some 100 kB, of which the first few fit into 400."""
    reader, folder = DemoReader(images=8, size=128, seed=1), small_disk / "cache"
    with pytest.raises(InputError) as caught:
        load_all(reader, SampleCache(folder))
    [problem] = caught.value.problems
    assert f"{folder} cannot be written (No space left on device)" in problem
    assert "cache_dir" in problem
    kept = list(folder.iterdir())
    assert 0 < len(kept) < 8
    assert all(file.suffix == ".sample" and not file.name.startswith(".") for file in kept)
    again = SampleCache(folder)
    for record in reader.records()[: len(kept)]:
        again.prepare(reader, record)
    assert again.written == 0


def test_an_evaluation_names_its_file_and_keeps_the_old_one(small_disk: Path, tmp_path: Path) -> None:
    write_folders(DemoReader(images=1, size=64, seed=1), tmp_path / "truth")
    (tmp_path / "answer.json").write_text("[]")
    (tmp_path / "images.json").write_text(
        json.dumps([{"file_name": "demo_000.png", "id": 1, "height": 64, "width": 64}])
    )
    keys = {"predictions": tmp_path / "answer.json", "truth": tmp_path / "truth", "cache_dir": tmp_path / "cache"}
    output = small_disk / "metrics.json"
    output.write_text("of an earlier evaluation")
    filler = fill(small_disk)
    with pytest.raises(OSError, match="No space left") as caught:
        evaluate(**keys, output=output)
    assert explained(caught.value) == [
        f"{output}: No space left on device. Free some space there, or write to another disk."
    ]
    assert output.read_text() == "of an earlier evaluation"
    assert {path.name for path in small_disk.iterdir()} == {"metrics.json", "filler"}
    filler.unlink()
    evaluate(**keys, output=output)
    assert json.loads(output.read_text())["ap"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("full", ["output", "cache"])
def test_a_leaderboard_names_its_file_or_does_without_its_cache(
    small_disk: Path,
    tmp_path: Path,
    composed: Callable[..., dict[str, Any]],
    tiny: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    full: str,
) -> None:
    monkeypatch.setenv("NUCLEISEG_CACHE", str(small_disk if full == "cache" else tmp_path / "cache"))
    short = ["trainer.max_steps=1", "checkpoint.every=1", "validation.losses=false"]
    train(composed("train", *tiny, *short), tmp_path / "run")
    output = small_disk if full == "output" else tmp_path / "board"
    keys = composed("leaderboard", f"runs='{tmp_path / 'run'}'", f"output='{output}'", "figures=false")
    filler = fill(small_disk)
    capsys.readouterr()
    if full == "cache":
        assert leaderboard(**keys) == 0
        assert capsys.readouterr().err.count("No space left on device") == 1
        assert {"leaderboard.csv", "best.ckpt"} <= {path.name for path in output.iterdir()}
        return
    with pytest.raises(OSError, match="No space left") as caught:
        leaderboard(**keys)
    [problem] = explained(caught.value) or []
    assert problem.startswith(str(output))
    assert {path.name for path in output.iterdir()} == {"filler"}
    filler.unlink()
    with pytest.raises(OSError, match="No space left") as caught:
        leaderboard(**keys)
    assert f"{output / 'best.ckpt'}: No space left" in str(explained(caught.value)), "of 45 MB"
    assert not [path for path in output.iterdir() if path.name.startswith(".")]
