"""Damage to checkpoints is noticed wherever they are read, and costs a run at most the steps since the state before."""

import os
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny import TinyNetwork, final_weights, read, train_tiny, what_was_computed

from nucleiseg.errors import InputError
from nucleiseg.models.weights.torch_files import read_torch, write_torch
from nucleiseg.training.settings import STUDY_SCHEDULE, OptimSettings

OPTIM = OptimSettings(lr=0.05, schedule={**STUDY_SCHEDULE, "total_steps": 8})

CONTENT = {"weights": torch.arange(5000, dtype=torch.float32), "step": 3}


def flip(position: int) -> Callable[[bytes], bytes]:
    def flipped(data: bytes) -> bytes:
        return data[:position] + bytes([data[position] ^ 0x10]) + data[position + 1 :]

    return flipped


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "one byte less": lambda data: data[:-1],
    "half of it": lambda data: data[: len(data) // 2],
    "without its digest": lambda data: data[:-71],
    "nothing": lambda data: b"",
    "one byte more": lambda data: data + b"\0",
    "twice": lambda data: data + data,
    "a block of zeros": lambda data: data[:4096] + bytes(4096) + data[8192:],
    "zeros at its end": lambda data: data[:-4096] + bytes(4096),
    "zeros": lambda data: bytes(len(data)),
    "another file": lambda data: b"<html>404 Not Found</html>",
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "a.ckpt"
    write_torch(path, CONTENT)
    return path.read_bytes()


def refused(path: Path, data: bytes) -> bool:
    path.write_bytes(data)
    for mmap in (False, True):
        try:
            read_torch(path, what="a checkpoint", mmap=mmap)
        except InputError:
            continue
        return False
    return True


def test_a_whole_file_is_read_by_torch_and_by_us(tmp_path: Path, written: bytes) -> None:
    path = tmp_path / "moved.ckpt"
    path.write_bytes(written)
    for mmap in (False, True):
        for content in (torch.load(path, weights_only=True, mmap=mmap), read_torch(path, what="it", mmap=mmap)):
            assert torch.equal(content["weights"], CONTENT["weights"])  # type: ignore[arg-type]
    assert zipfile.ZipFile(path).comment.startswith(b"sha256:")


def test_equal_contents_give_equal_files(tmp_path: Path, written: bytes) -> None:
    write_torch(tmp_path / "other_name.ckpt", CONTENT)
    assert (tmp_path / "other_name.ckpt").read_bytes() == written


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_noticed(tmp_path: Path, written: bytes, damage: str) -> None:
    assert refused(tmp_path / "bad.ckpt", DAMAGE[damage](written))


def test_every_flipped_bit_is_noticed(tmp_path: Path, written: bytes) -> None:
    """At the ends, where the archive's structure lies, every byte; in between at random."""
    inner = random.Random(0).sample(range(200, len(written) - 200), 100)
    for position in [*range(60), *inner, *range(len(written) - 160, len(written))]:
        assert refused(tmp_path / "bad.ckpt", flip(position)(written)), position


def test_files_without_a_digest_are_checked_by_their_crc(tmp_path: Path) -> None:
    path = tmp_path / "older.ckpt"
    torch.save(CONTENT, path)
    assert read_torch(path, what="it")["step"] == 3
    data = path.read_bytes()
    start = data.index(CONTENT["weights"].numpy().tobytes()[:400])  # type: ignore[attr-defined]
    assert refused(path, flip(start + 1000)(data))
    assert refused(path, data[:-1])
    assert refused(path, data + b"more")


def test_files_that_torch_wrote_without_crc_are_read(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(CONTENT, tmp_path / "a.ckpt")
    finally:
        torch.serialization.set_crc32_options(True)
    assert read_torch(tmp_path / "a.ckpt", what="it")["step"] == 3


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole_run")
    train_tiny(folder, 8, optim=OPTIM)
    return folder


def assert_same(folder: Path, expected: Path) -> None:
    assert what_was_computed(folder) == what_was_computed(expected)
    weights, others = final_weights(folder), final_weights(expected)
    assert all(torch.equal(weights[name], others[name]) for name in others)
    assert [row["path"] for row in read(folder / "index.csv")] == [row["path"] for row in read(expected / "index.csv")]
    for row in read(folder / "index.csv"):
        assert (folder / row["path"]).read_bytes() == (expected / row["path"]).read_bytes()
    names = sorted(path.name for path in (expected / "checkpoints").iterdir())
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == names


@pytest.mark.parametrize("damage", ["one byte less", "nothing", "a block of zeros", "one byte more"])
def test_a_damaged_last_state_costs_the_steps_since_the_one_before(
    whole: Path, tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    train_tiny(tmp_path, 6, optim=OPTIM)
    last = tmp_path / "checkpoints" / "last.ckpt"
    last.write_bytes(DAMAGE[damage](last.read_bytes()))
    capsys.readouterr()
    train_tiny(tmp_path, 8, optim=OPTIM, resume=True, network=TinyNetwork(seed=99))
    assert "last.ckpt" in (said := capsys.readouterr().err)
    assert "resumes from checkpoints/previous.ckpt, step 4" in said
    assert_same(tmp_path, whole)


def test_a_missing_last_state_is_what_a_kill_between_two_renames_leaves(whole: Path, tmp_path: Path) -> None:
    train_tiny(tmp_path, 6, optim=OPTIM)
    (tmp_path / "checkpoints" / "last.ckpt").unlink()
    train_tiny(tmp_path, 8, optim=OPTIM, resume=True)
    assert_same(tmp_path, whole)


def test_a_folder_in_the_place_of_the_last_state_is_moved_aside(tmp_path: Path) -> None:
    train_tiny(tmp_path, 6)
    last = tmp_path / "checkpoints" / "last.ckpt"
    last.unlink()
    last.mkdir()
    (last / "mine.txt").write_text("precious")
    train_tiny(tmp_path, 8, resume=True)
    assert [path.read_text() for path in tmp_path.rglob("mine.txt")] == ["precious"]
    assert final_weights(tmp_path)


def test_the_only_whole_state_survives_until_there_is_a_newer_one(tmp_path: Path) -> None:
    train_tiny(tmp_path, 6)
    last, previous = (tmp_path / "checkpoints" / name for name in ("last.ckpt", "previous.ckpt"))
    last.write_bytes(b"")
    with pytest.raises(RuntimeError, match="killed"):
        train_tiny(tmp_path, 8, resume=True, network=TinyNetwork(fails_after=1))
    assert torch.load(last, weights_only=True)["global_step"] == 4
    assert not previous.exists()


def test_two_damaged_states_are_named_with_what_is_left(tmp_path: Path) -> None:
    train_tiny(tmp_path, 6)
    for name in ("last.ckpt", "previous.ckpt", "step_000006.ckpt"):
        path = tmp_path / "checkpoints" / name
        path.write_bytes(path.read_bytes()[:-5])
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    with pytest.raises(InputError) as caught:
        train_tiny(tmp_path, 8, resume=True)
    text = str(caught.value)
    assert "last.ckpt" in text
    assert "previous.ckpt" in text
    assert "Whole are the weights of checkpoints/step_000004.ckpt, checkpoints/step_000002.ckpt" in text
    assert {path: path.read_bytes() for path in before} == before


def test_states_that_were_deleted_do_not_cost_the_step_checkpoints(tmp_path: Path) -> None:
    train_tiny(tmp_path, 6)
    for name in ("last.ckpt", "previous.ckpt"):
        (tmp_path / "checkpoints" / name).unlink()
    with pytest.raises(InputError, match=r"last\.ckpt is missing(.|\n)*no state is whole(.|\n)*step_000006"):
        train_tiny(tmp_path, 8, resume=True)
    assert len(list((tmp_path / "checkpoints").glob("step_*"))) == 3


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_no_state(tmp_path: Path, bad: float) -> None:
    train_tiny(tmp_path, 4)
    last = tmp_path / "checkpoints" / "last.ckpt"
    content = torch.load(last, weights_only=True)
    content["state_dict"]["network.head.bias"][0] = bad
    write_torch(last, content)
    train_tiny(tmp_path, 6, resume=True)
    assert all(value.isfinite().all() for value in final_weights(tmp_path).values())


@pytest.mark.parametrize("key", ["global_step", "loops", "optimizer_states", "state_dict", "nucleiseg"])
def test_a_state_without_a_part_is_not_one(tmp_path: Path, key: str) -> None:
    train_tiny(tmp_path, 2)
    last = tmp_path / "checkpoints" / "last.ckpt"
    content = torch.load(last, weights_only=True)
    del content[key]
    write_torch(last, content)
    with pytest.raises(InputError, match=r"last\.ckpt is not a state to resume from"):
        train_tiny(tmp_path, 4, resume=True)


def test_nothing_of_a_run_goes_through_the_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = tmp_path / "missing"
    monkeypatch.setenv("TMPDIR", os.fspath(nowhere))
    monkeypatch.setattr("tempfile.tempdir", os.fspath(nowhere))
    train_tiny(tmp_path / "run", 2)
    assert not nowhere.exists()
    assert final_weights(tmp_path / "run")
