"""A sweep of twelve jobs leaves their folders behind, and nothing else."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nucleiseg.training.run_lock import active_process

ROOT = Path(__file__).parents[2]
JOBS = 12
MARK = "NUCLEISEG_TEST_SWEEP"
SHARED_MEMORY = Path("/dev/shm")


def marked_processes(mark: str) -> list[str]:
    """Return the command lines of processes that inherited an environment variable from the sweep."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append((folder / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue  # it ended, or belongs to somebody else
    return found


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
def test_a_sweep_of_twelve_leaves_nothing_behind(tiny: list[str], tmp_path: Path) -> None:
    """With data workers; one job fails."""
    for name in ("work", "temporary", "home", "cache"):
        (tmp_path / name).mkdir()
    shared = set(SHARED_MEMORY.iterdir()) if SHARED_MEMORY.is_dir() else set()
    mark = str(tmp_path)
    places = {"TMPDIR": "temporary", "HOME": "home", "NUCLEISEG_CACHE": "cache", "MPLCONFIGDIR": "home"}
    environment = os.environ | {name: str(tmp_path / place) for name, place in places.items()}
    environment |= {"OMP_NUM_THREADS": "1", MARK: mark}
    keys = [*tiny, "trainer.max_steps=1", "checkpoint.every=1", "validation.losses=false", "data.workers=1"]
    rates = ",".join([f"0.00{number}" for number in range(1, JOBS)] + ["1e30"])
    command = [sys.executable, str(ROOT / "train.py"), "-m", *keys, f"optim.lr={rates}", "sweep.dir=runs/twelve"]
    ended = subprocess.run(
        command, cwd=tmp_path / "work", env=environment, capture_output=True, text=True, timeout=1700, check=False
    )
    assert ended.returncode in (0, 1), ended.stderr
    assert marked_processes(mark) == []
    assert list((tmp_path / "temporary").iterdir()) == []
    assert [path for path in (tmp_path / "cache").rglob("*") if path.suffix in (".lock", ".part")] == []
    if SHARED_MEMORY.is_dir():
        assert {
            path.name for path in set(SHARED_MEMORY.iterdir()) - shared if path.owner() == tmp_path.owner()
        } == set()
    sweep = tmp_path / "work" / "runs" / "twelve"
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["runs"]
    folders = sorted(path for path in sweep.iterdir() if path.is_dir())
    assert len(folders) == JOBS
    assert {path.name for path in sweep.iterdir() if path.is_file()} == {"multirun.yaml"}
    for folder in folders:
        assert not active_process(folder), "its lock is free"
        assert not [path for path in folder.rglob("*") if ".part" in path.name or path.name.startswith("crash-")]
    with (folders[0] / "index.csv").open(newline="") as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["1"]
