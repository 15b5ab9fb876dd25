"""The scripts as a user types them, from a folder that is not the repository's."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


def run(script: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a script of the repository in `folder`, as a fresh process with one thread."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("NUCLEISEG")}
    return subprocess.run(
        [sys.executable, str(ROOT / script), *arguments],
        cwd=folder,
        env={**environment, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )


def states(sweep: Path) -> dict[str, str]:
    """Return the state of each job of a sweep, by its folder's name."""
    return {path.parent.name: json.loads(path.read_text())["state"] for path in sorted(sweep.glob("*/status.json"))}


def test_a_sweep_continues_after_a_failure_and_completes_on_resume(tiny: list[str], tmp_path: Path) -> None:
    """In a folder whose name has another meaning in Hydra's grammar."""
    folder = tmp_path / "Jörg's [runs], a=1 (2)"
    folder.mkdir()
    short = [*tiny, "trainer.max_steps=2", "validation.losses=false"]
    sweep = ["-m", *short, "sweep.dir=runs/two", "aug.saturation=null,[0.5,2]", "optim.lr=0.001,1e30"]
    ended = run("train.py", *sweep, folder=folder)
    assert ended.returncode == 1, ended.stderr
    assert "4 jobs in" in ended.stderr
    assert "2 failed" in ended.stderr
    assert states(folder / "runs" / "two") == {
        "000_r18_fpn_sat-null_lr-0.001": "done",
        "001_r18_fpn_sat-null_lr-1e+30": "failed",
        "002_r18_fpn_sat-0.5-2_lr-0.001": "done",
        "003_r18_fpn_sat-0.5-2_lr-1e+30": "failed",
    }
    assert "finite" in json.loads((folder / "runs/two/001_r18_fpn_sat-null_lr-1e+30/status.json").read_text())["reason"]
    again = run("train.py", *sweep, "sweep.resume=true", folder=folder)
    assert again.stderr.count("skipped") == 2
    other = run("train.py", *sweep, "sweep.resume=true", "trainer.log_every=3", folder=folder)
    assert other.returncode == 2
    assert "this sweep differs in trainer.log_every=3" in other.stderr


def test_the_sweep_of_an_experiment_keeps_its_values(tiny: list[str], tmp_path: Path) -> None:
    study = "# @package _global_\nhydra: {sweeper: {params: {aug: 'none,recipe'}}}\naug: {min_area: 3}\n"
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "own.yaml").write_text(study + "optim: {lr: 0.123}\n")
    given = ["experiment=own", f"hydra.searchpath=[file://{tmp_path / 'mine'}]", "optim=adamw", "sweep.dir=runs/s"]
    ended = run("train.py", "-m", *tiny, *given, "trainer.max_steps=1", "validation.losses=false", folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    configs = [OmegaConf.load(file) for file in sorted((tmp_path / "runs" / "s").glob("*/config.yaml"))]
    assert [config.aug.hflip for config in configs] == [0.0, 0.5], "the sweep varies the group"
    assert [config.aug.min_area for config in configs] == [3, 3]
    assert [config.optim.lr for config in configs] == [4.0e-4, 4.0e-4], "chosen on the command line"


def test_bad_input_ends_with_two_and_a_sentence(tmp_path: Path) -> None:
    unknown = run("train.py", "experiment=no_such_study", folder=tmp_path)
    assert unknown.returncode == 2
    assert "demo" in unknown.stderr
    missing = run("predict.py", "checkpoint=none.ckpt", f"input={tmp_path}", folder=tmp_path)
    assert missing.returncode == 2
    for ended in (unknown, missing):
        assert "Traceback" not in ended.stderr
        assert "Error executing job" not in ended.stderr


def test_two_processes_share_a_step(tiny: list[str], tmp_path: Path) -> None:
    ddp = ["trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu"]
    single = [key for key in tiny if not key.startswith("trainer.")]
    ended = run("train.py", *single, *ddp, "trainer.max_steps=2", "hydra.run.dir=runs/ddp", folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("nothing is frozen") == 1, "the second process repeats what the first said"
    with (tmp_path / "runs" / "ddp" / "metrics.csv").open(newline="") as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["1", "2"]
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["ddp"]
