"""Sweeps: names of job folders, what is skipped, resumed and started, and how failures are told."""

import json
import os
import platform
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nucleiseg.errors import InputError
from nucleiseg.sweeps.sweep import (
    JobOutcome,
    SweepJob,
    exit_code,
    job_name,
    print_table,
    run_job,
    run_jobs,
    varying_keys,
)
from nucleiseg.training.run_lock import run_lock

SCRIPT = """
import json, os, pathlib, signal, sys, time
def end(reason):
    (folder / "status.json").write_text(json.dumps({"state": "interrupted", "reason": reason}))
    sys.exit(130)
arguments = dict(a.split("=", 1) for a in sys.argv[1:])
folder = pathlib.Path(arguments.get("resume") or arguments["hydra.run.dir"].strip("'"))
folder.mkdir(parents=True, exist_ok=True)
with (folder / "calls").open("a") as calls:
    calls.write(("resume" if "resume" in arguments else arguments["what"]) + "\\n")
if arguments.get("what") == "die":
    os.kill(os.getpid(), 9)
if arguments.get("what") == "silent":
    sys.exit(3)
if arguments.get("what", "").startswith("stop"):
    number = int(arguments["what"][5:])
    signal.signal(number, lambda *_: end("in order"))  # which the sweep passes on; the job puts itself in order
    os.kill(os.getppid(), number)
    time.sleep(300)
failed = arguments.get("what") == "fail"
(folder / "status.json").write_text(json.dumps({"state": "failed" if failed else "done", "reason": "too hot"}))
sys.exit(2 if failed else 0)
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "door.py"
    path.write_text(SCRIPT)
    return path


def jobs(folder: Path, *whats: str) -> list[SweepJob]:
    return [SweepJob(i, (f"what={what}",), folder / f"{i:03d}_{what}") for i, what in enumerate(whats)]


def test_the_name_says_number_model_and_what_varies() -> None:
    overrides = ["model=r50_c4", "aug.saturation=[0.5,2]", "seed=7"]
    assert job_name(3, "r50_c4", overrides, ["model", "aug.saturation"]) == "003_r50_c4_sat-0.5-2"
    assert job_name(0, "r50_fpn", overrides, ["seed"]) == "000_r50_fpn_seed-7"


@given(st.text(min_size=1), st.text())
def test_no_name_breaks_hydra_or_globbing(key: str, value: str) -> None:
    name = job_name(1, "m", [f"{key}={value}"], [key.partition("=")[0]])
    assert not set(name) & set("=[]{}*?/\\:' \"")


def test_a_name_stays_short_and_keeps_its_number() -> None:
    name = job_name(12, "r50_c4", ["aug.saturation=" + "0.5," * 100, "seed=1"], ["aug.saturation", "seed"])
    assert name.startswith("012_r50_c4_sat-0.5-")
    assert len(name) <= 100


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
    (sweep[1].folder / "metrics.csv").write_text("")  # this one has done steps: it is resumed, not begun again
    (sweep[2].folder / "config.yaml").write_text("")  # this one only has its settings
    outcomes = run_jobs(sweep, script, resume=True)
    assert [outcome.state for outcome in outcomes] == ["skipped", "done", "failed"]
    calls = [(job.folder / "calls").read_text().split() for job in sweep]
    assert calls == [["work"], ["fail", "resume"], ["die", "die"]]


def test_the_reason_of_an_earlier_try_is_not_repeated(tmp_path: Path, script: Path) -> None:
    [job] = jobs(tmp_path / "sweep", "silent")
    job.folder.mkdir(parents=True)
    (job.folder / "status.json").write_text('{"state": "failed", "reason": "an old story"}')
    [outcome] = run_jobs([job], script, resume=True)
    assert outcome.reason == "exit code 3"


def test_a_sweep_is_not_completed_with_other_settings(tmp_path: Path, script: Path) -> None:
    sweep = jobs(tmp_path / "sweep", "fail", "work")
    run_jobs(sweep, script, resume=False)
    for job in sweep:
        (job.folder / ".hydra").mkdir()
        (job.folder / ".hydra" / "overrides.yaml").write_text("- what=fail\n- optim.lr=0.1\n")
    (sweep[0].folder / "metrics.csv").write_text("")
    job = replace(sweep[0], overrides=("what=fail", "optim.lr=0.2"))
    with pytest.raises(
        InputError, match=r"000_fail was begun with .*; this sweep differs in optim.lr=0.1, optim.lr=0.2"
    ):
        run_jobs([job, sweep[1]], script, resume=True)
    run_jobs([replace(job, overrides=("optim.lr=0.1", "what=fail")), sweep[1]], script, resume=True)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.usefixtures("heeded_interrupts")
def test_a_stopped_sweep_lets_its_job_end_by_itself(
    number: signal.Signals, tmp_path: Path, script: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The job itself stops the sweep's process, which passes it on: a session of its own hears no terminal."""
    sweep = jobs(tmp_path / "sweep", f"stop-{int(number)}", "work")
    outcomes = run_jobs(sweep, script, resume=False)
    assert [outcome.state for outcome in outcomes] == ["interrupted", "not started"]
    assert outcomes[0].reason == "in order"
    assert exit_code(outcomes) == 130
    assert not sweep[1].folder.exists()
    print_table(outcomes, 1.0)
    assert "not started" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_overrides_with_interpolations_can_be_completed(tmp_path: Path, script: Path) -> None:
    [job] = jobs(tmp_path / "sweep", "fail")
    job = replace(job, overrides=("what=fail", "optim.lr=${trainer.max_steps}"))
    run_jobs([job], script, resume=False)
    (job.folder / ".hydra").mkdir()
    (job.folder / ".hydra" / "overrides.yaml").write_text("- what=fail\n- optim.lr=${trainer.max_steps}\n")
    (job.folder / "metrics.csv").write_text("")
    [outcome] = run_jobs([job], script, resume=True)
    assert outcome.state == "done"


def test_a_running_job_is_not_resumed(tmp_path: Path, script: Path) -> None:
    [job] = jobs(tmp_path / "sweep", "work")
    job.folder.mkdir(parents=True)
    status = {"state": "running", "pid": os.getppid(), "host": platform.node()}
    (job.folder / "status.json").write_text(json.dumps(status))
    with run_lock(job.folder):
        with pytest.raises(InputError, match=rf"000_work: a run is training in this folder \(process {os.getppid()}\)"):
            run_jobs([job], script, resume=True)
        outcome = run_job(job, script)
    assert (outcome.state, outcome.reason) == ("failed", f"another process is running it: process {os.getppid()}")


def test_a_job_that_is_to_stop_is_not_begun(tmp_path: Path, script: Path) -> None:
    [job] = jobs(tmp_path / "sweep", "work")
    assert run_job(job, script, is_to_stop=lambda: True).state == "not started"
    assert not job.folder.exists()


def test_the_exit_code_tells_of_failures() -> None:
    first, second = jobs(Path(), "a", "b")
    done, failed = JobOutcome(first, "done"), JobOutcome(second, "failed")
    assert exit_code([done]) == 0
    assert exit_code([done, failed]) == 1
    assert exit_code([done, replace(done, state="running")]) == 1


def test_jobs_are_counted_from_1_with_their_overrides(
    tmp_path: Path, script: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = [replace(job, overrides=("seed=7", *job.overrides)) for job in jobs(tmp_path / "s", "work", "fail")]
    run_jobs(sweep, script, resume=False)
    said = capsys.readouterr().err.splitlines()
    assert said == ["Job 1 of 2 (000_work): what=work", "Job 2 of 2 (001_fail): what=fail"]


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
