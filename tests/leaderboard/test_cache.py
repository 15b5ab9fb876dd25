"""Evaluations are identified by content, and an unusable cache stops nothing."""

import hashlib
import os
from pathlib import Path

import pytest

from nucleiseg.errors import InputError
from nucleiseg.evaluation.instances import Instances
from nucleiseg.evaluation.truth import ImageTruth
from nucleiseg.leaderboard import cache as module
from nucleiseg.leaderboard.cache import HASHES, CheckpointInfo, Evaluation, EvaluationCache
from nucleiseg.leaderboard.record import EvaluationRecord

INFO = CheckpointInfo(parameters=7, weights="random", stored_threshold=None, chosen_threshold=0.25)


def evaluation() -> Evaluation:
    truth = ImageTruth(name="a", image_id=1, height=4, width=4, masks=[], labels=[])
    return Evaluation(EvaluationRecord.of([truth], {1: Instances()}, 0.5, 1.5, "cpu"), INFO)


def test_what_is_stored_is_returned(tmp_path: Path) -> None:
    cache = EvaluationCache(tmp_path / "new")
    assert cache.get("key") is None
    cache.put("key", evaluation())
    found = EvaluationCache(tmp_path / "new").get("key")
    assert found is not None
    assert found.info == INFO
    assert (found.record.count_threshold, found.record.seconds_per_image, found.record.device) == (0.5, 1.5, "cpu")


def test_an_evaluation_with_a_flipped_byte_is_made_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache = EvaluationCache(tmp_path)
    cache.put("key", evaluation())
    data = bytearray((tmp_path / "key.npz").read_bytes())
    data[data.index(b"header.npy") + 60] ^= 0xFF  # in its deflate stream
    (tmp_path / "key.npz").write_bytes(data)
    assert cache.get("key") is None
    assert "is evaluated again" in capsys.readouterr().err


def test_a_key_changes_with_each_of_its_parts() -> None:
    cache = EvaluationCache(Path("unused"))
    keys = [cache.key(*parts) for parts in (("a", "b", 1), ("x", "b", 1), ("a", "x", 1), ("a", "b", 2), ("ab", "", 1))]
    assert len(set(keys)) == 5
    assert cache.key("a", "b", {"x": 1, "y": 2}) == cache.key("a", "b", {"y": 2, "x": 1})


@pytest.mark.parametrize("versions", [("0.0", "2.15"), ("1.0", "2.11")])
def test_other_versions_evaluate_anew(versions: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "versions", lambda: ("1.0", "2.15"))
    before = EvaluationCache(Path("unused")).key("a", "b", 1)
    monkeypatch.setattr(module, "versions", lambda: versions)
    assert EvaluationCache(Path("unused")).key("a", "b", 1) != before


def test_a_digest_is_kept_until_size_or_time_change(tmp_path: Path) -> None:
    file = tmp_path / "a.ckpt"
    file.write_bytes(b"one")
    first = EvaluationCache(tmp_path / "c").digest(file)
    assert first == hashlib.sha256(b"one").hexdigest()
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    file.write_bytes(b"two")
    os.utime(file, ns=times)
    assert EvaluationCache(tmp_path / "c").digest(file) == first, "the file was read again"
    os.utime(file, ns=(times[0], times[1] + 10**9))
    assert EvaluationCache(tmp_path / "c").digest(file) == hashlib.sha256(b"two").hexdigest()


@pytest.mark.parametrize("text", ["", "[]", '{"x": 1}', '{"x": [1, 2]}'])
def test_damaged_hashes_are_made_again(text: str, tmp_path: Path) -> None:
    (tmp_path / HASHES).write_text(text)
    (tmp_path / "x").write_bytes(b"one")
    assert EvaluationCache(tmp_path).digest(tmp_path / "x") == hashlib.sha256(b"one").hexdigest()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.ckpt cannot be read"):
        EvaluationCache(tmp_path).digest(tmp_path / "gone.ckpt")


def test_a_folder_that_cannot_be_written_is_reported_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    cache = EvaluationCache(tmp_path / "file" / "below")
    cache.put("key", evaluation())
    cache.put_json("key", "gallery", [1])
    assert cache.get("key") is None
    assert cache.get_json("key", "gallery") is None
    assert capsys.readouterr().err.count("cannot be written") == 1
