"""Files are whole or absent; progress and errors speak in sentences."""

import json
import pickle
import threading
from pathlib import Path

import pytest

from nucleiseg import files, progress
from nucleiseg.errors import InputError
from nucleiseg.files import atomic_folder, atomic_path, cache_folder, write_json, write_text


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.json"
    write_json(path, {"old": "é"})
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert json.loads(path.read_text(encoding="utf-8")) == {"old": "é"}
    assert [file.name for file in path.parent.iterdir()] == ["a.json"]


def test_the_target_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        assert not (tmp_path / "a.txt").exists()
        assert temporary.suffix == ".txt"
        temporary.write_text("whole")
    assert (tmp_path / "a.txt").read_text() == "whole"


def test_a_folder_appears_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "data"
    with atomic_folder(target) as temporary:
        (temporary / "a.txt").write_text("whole")
        assert not target.exists()
    assert (target / "a.txt").read_text() == "whole"
    assert [path.name for path in target.parent.iterdir()] == ["data"]


@pytest.mark.parametrize("is_there", [False, True])
def test_a_folder_that_fails_leaves_no_rest(tmp_path: Path, is_there: bool) -> None:
    target = tmp_path / "data"
    if is_there:
        target.mkdir()
    with pytest.raises(RuntimeError), atomic_folder(target) as temporary:
        (temporary / "a.txt").write_text("half")
        raise RuntimeError
    assert list(tmp_path.rglob("*")) == ([target] if is_there else [])


def test_a_folder_replaces_an_empty_one_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with atomic_folder(tmp_path / "empty") as temporary:
        (temporary / "a.txt").write_text("new")
    with pytest.raises(InputError, match="is not an empty folder"), atomic_folder(tmp_path / "empty"):
        pass
    assert (tmp_path / "empty" / "a.txt").read_text() == "new"


def test_writers_at_once_leave_one_whole_file(tmp_path: Path) -> None:
    texts = [str(number) * 10_000 for number in range(8)]
    threads = [threading.Thread(target=write_text, args=(tmp_path / "a.txt", text)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "a.txt").read_text() in texts
    assert len(list(tmp_path.iterdir())) == 1


def test_an_input_error_keeps_its_sentences_across_processes() -> None:
    error = pickle.loads(pickle.dumps(InputError(["one.", "two."])))
    assert error.problems == ["one.", "two."]
    assert str(error) == "one.\ntwo."
    assert InputError("only one.").problems == ["only one."]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0 s"), (59.4, "59 s"), (187, "3 min 07 s"), (7500, "2 h 05 min"), (3599.6, "1 h 00 min")],
)
def test_durations_in_words(seconds: float, said: str) -> None:
    assert progress.duration(seconds) == said


def test_track_says_lines_with_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    times = iter(range(0, 1000, 4))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(times))
    assert list(progress.track(range(5), "Reading")) == [0, 1, 2, 3, 4]
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["Reading: 3/5, 8 s left"]


def test_track_draws_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert list(progress.track(iter("abc"), "Reading", total=3)) == ["a", "b", "c"]
    assert "Reading" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("platform", "variable", "expected"),
    [
        ("linux", "XDG_CACHE_HOME", "base/nucleiseg"),
        ("linux", None, "home/.cache/nucleiseg"),
        ("darwin", None, "home/Library/Caches/nucleiseg"),
        ("win32", "LOCALAPPDATA", "base/nucleiseg"),
        ("win32", None, "home/AppData/Local/nucleiseg"),
        ("linux", "NUCLEISEG_CACHE", "base"),
    ],
)
def test_the_cache_folder_is_where_the_system_keeps_such_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, platform: str, variable: str | None, expected: str
) -> None:
    for name in ("NUCLEISEG_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    if variable:
        monkeypatch.setenv(variable, str(tmp_path / "base"))
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    monkeypatch.setattr(files.sys, "platform", platform)
    assert cache_folder() == tmp_path / expected


def test_numbers_agree_with_their_nouns() -> None:
    assert [progress.counted(count, "image") for count in (0, 1, 2)] == ["0 images", "1 image", "2 images"]
    assert progress.counted(1862, "nucleus", "nuclei") == "1,862 nuclei"
