"""A start that is refused leaves the run in its folder as it is, `.hydra/` included."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_two_writers import held

from nucleiseg.cli.entry import DEBUG, HYDRA_DEBUG
from nucleiseg.commands.train import start
from nucleiseg.training import run_lock


@pytest.fixture(autouse=True)
def undone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Undo what a command does to its process."""
    monkeypatch.setenv(DEBUG, "0")
    monkeypatch.setenv(HYDRA_DEBUG, "0")
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def finished_run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "overrides.yaml").write_text("- optim.lr=0.1\n")
    (folder / "config.yaml").write_text("seed: 0\n")
    (folder / "metrics.csv").write_text("step\n1\n")
    (folder / "status.json").write_text('{"state": "done"}')
    return folder


@pytest.mark.parametrize(
    ("is_locked", "sentence"), [(False, "holds a run already"), (True, "a run is training in this folder")]
)
def test_nothing_in_the_folder_changes(
    finished_run: Path,
    tiny: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    is_locked: bool,
    sentence: str,
) -> None:
    monkeypatch.setattr(run_lock, "PATIENCE", 0.1)
    monkeypatch.setattr(sys, "argv", ["train.py", *tiny, "optim.lr=0.5", f"hydra.run.dir={finished_run}"])
    before = contents(finished_run)
    if is_locked:
        with held(finished_run), pytest.raises(SystemExit) as ended:
            start()
    else:
        with pytest.raises(SystemExit) as ended:
            start()
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err
    assert contents(finished_run) == before


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file of a run but its lock file, which each start opens."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
