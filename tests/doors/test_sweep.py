"""Sweeps: names of job folders, what is skipped, resumed and started, and how failures are told."""

import sys
from pathlib import Path, PureWindowsPath

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from nucleiseg.doors.sweep import Job, job_name, print_table, quoted, run_jobs, varying_keys
from nucleiseg.errors import InputError

SCRIPT = """
import json, os, pathlib, sys
arguments = dict(a.split("=", 1) for a in sys.argv[1:])
folder = pathlib.Path(arguments.get("resume") or arguments["hydra.run.dir"].strip("'"))
folder.mkdir(parents=True, exist_ok=True)
with (folder / "calls").open("a") as calls:
    calls.write(("resume" if "resume" in arguments else arguments["what"]) + "\\n")
if arguments.get("what") == "die":
    os.kill(os.getpid(), 9)
failed = arguments.get("what") == "fail"
(folder / "status.json").write_text(json.dumps({"state": "failed" if failed else "done", "reason": "too hot"}))
sys.exit(2 if failed else 0)
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "door.py"
    path.write_text(SCRIPT)
    return path


def jobs(folder: Path, *whats: str) -> list[Job]:
    return [Job(i, (f"what={what}",), folder / f"{i:03d}_{what}") for i, what in enumerate(whats)]


def test_the_name_says_number_model_and_what_varies() -> None:
    overrides = ["model=r50_c4", "aug.saturation=[0.5,2]", "seed=7"]
    assert job_name(3, "r50_c4", overrides, ["model", "aug.saturation"]) == "003_r50_c4_sat-0.5-2"
    assert job_name(0, "r50_fpn", overrides, ["seed"]) == "000_r50_fpn_seed-7"


@given(st.text(min_size=1), st.text())
def test_no_name_breaks_hydra_or_globbing(key: str, value: str) -> None:
    name = job_name(1, "m", [f"{key}={value}"], [key.partition("=")[0]])
    assert not set(name) & set("=[]{}*?/\\:' \"")


@pytest.mark.parametrize(
    "path",
    [
        Path("/home/jörg (1)/a=b/[x]/it's/#1 & {c}, d"),
        Path("ends with a backslash\\"),
        Path("a\\'b"),
        PureWindowsPath("C:\\runs\\it's"),
    ],
)
def test_hydra_reads_a_quoted_path_as_it_is(path: Path) -> None:
    override = OverridesParser.create().parse_override(f"hydra.run.dir={quoted(path)}")
    assert override.value() == str(path)
    assert not override.is_sweep_override()


def test_varying_keys_are_those_with_several_values() -> None:
    batch = [["model=a", "seed=1", "aug=none"], ["model=b", "seed=1", "aug=none"]]
    assert varying_keys(batch) == ["model"]


def test_a_failing_and_a_killed_job_do_not_stop_the_others(tmp_path: Path, script: Path) -> None:
    outcomes = run_jobs(jobs(tmp_path / "sweep", "fail", "die", "work"), script, resume=False)
    assert [outcome.state for outcome in outcomes] == ["failed", "failed", "done"]
    assert outcomes[0].reason == "exit code 2: too hot"
    if sys.platform != "win32":
        assert outcomes[1].reason == "killed by signal 9"


def test_resume_completes_only_what_is_missing(tmp_path: Path, script: Path) -> None:
    sweep = jobs(tmp_path / "sweep", "work", "fail", "die")
    run_jobs(sweep, script, resume=False)
    (sweep[1].folder / "config.yaml").write_text("")  # this one had started: it is resumed, not begun again
    outcomes = run_jobs(sweep, script, resume=True)
    assert [outcome.state for outcome in outcomes] == ["skipped", "done", "failed"]
    calls = [(job.folder / "calls").read_text().split() for job in sweep]
    assert calls == [["work"], ["fail", "resume"], ["die", "die"]]


def test_a_taken_folder_is_refused_unless_resumed(tmp_path: Path, script: Path) -> None:
    sweep = jobs(tmp_path / "sweep", "work")
    run_jobs(sweep, script, resume=False)
    with pytest.raises(InputError, match=r"000_work already: sweep.resume=true"):
        run_jobs(sweep, script, resume=False)


def test_the_table_counts_and_explains_failures(
    tmp_path: Path, script: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print_table(run_jobs(jobs(tmp_path / "sweep", "work", "fail"), script, resume=False), 61.0)
    printed = capsys.readouterr().err
    assert "2 jobs in 1 min 01 s, 1 failed" in printed
    assert "too hot" in printed
