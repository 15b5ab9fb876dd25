"""Sweeps through Hydra's other launchers: every card runs the same processes, in folders of the same names."""

import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from fake_slurm import install
from hydra import compose, initialize_config_dir
from hydra.conf import ConfigSourceInfo
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import RunMode
from omegaconf import OmegaConf, open_dict, read_write

from hydra_plugins.nucleiseg_launcher import ThroughLauncher
from nucleiseg.errors import InputError
from nucleiseg.sweeps.job import STOP, JobProcess
from nucleiseg.sweeps.keys import passed_on, refuse_ddp_in_sweep, refuse_sweep_keys_alone
from nucleiseg.sweeps.sweep import SweepJob
from nucleiseg.training.run_lock import run_lock

ROOT = Path(__file__).parents[2]
CARDS = sorted(file.stem for file in (ROOT / "conf" / "hydra" / "launcher").glob("*.yaml"))
needs_joblib = pytest.mark.skipif(find_spec("joblib") is None, reason="the extra [joblib] is not installed")
needs_submitit = pytest.mark.skipif(find_spec("submitit") is None, reason="the extra [slurm] is not installed")


def hydra_config(*overrides: str) -> Any:  # noqa: ANN401
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("train", list(overrides), return_hydra_config=True)


class Inline:
    """Stands for another launcher: calls the task in this process, as a worker would."""

    def __init__(self, **settings: object) -> None:
        self.settings = settings
        self.after_first: Callable[[], object] | None = None

    def setup(self, *, task_function: JobProcess, config: Any, **_: object) -> None:  # noqa: ANN401
        self.task, self.config = task_function, config

    def launch(self, batch: list[list[str]], initial_job_idx: int) -> list[JobReturn]:
        self.batch = batch
        returns: list[JobReturn] = []
        for number in range(initial_job_idx, initial_job_idx + len(batch)):
            with read_write(self.config.hydra), open_dict(self.config.hydra):
                self.config.hydra.job.num = number
            HydraConfig.instance().set_config(self.config)
            found = JobReturn(status=JobStatus.COMPLETED)
            found.return_value = self.task(self.config)
            returns.append(found)
            if self.after_first and not returns[1:]:
                self.after_first()
        return returns


@pytest.fixture
def through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ThroughLauncher:
    """A launcher whose jobs write `done` into their status, but for seed 13, which kills itself."""
    script = tmp_path / "door.py"
    script.write_text(
        "import json, os, pathlib, sys\n"
        "given = dict(a.split('=', 1) for a in sys.argv[1:])\n"
        "folder = pathlib.Path(given['hydra.run.dir'].strip(\"'\"))\n"
        "folder.mkdir(parents=True, exist_ok=True)\n"
        "if given['seed'] == '13': os.kill(os.getpid(), 9)\n"
        "(folder / 'status.json').write_text(json.dumps({'state': 'done', 'name': os.environ['SLURM_JOB_NAME']}))\n"
    )
    monkeypatch.setattr(sys, "argv", [str(script)])
    monkeypatch.setenv("SLURM_JOB_NAME", "nucleiseg")
    launcher = ThroughLauncher(through=f"{__name__}.Inline", extra="none", n_jobs=2)
    config = hydra_config(f"sweep.dir={tmp_path / 'sweep'}")

    class Loader:
        """Composes a job's configuration, as Hydra's does."""

        @staticmethod
        def load_sweep_config(_: object, overrides: list[str]) -> Any:  # noqa: ANN401
            return hydra_config(*overrides, f"sweep.dir={tmp_path / 'sweep'}")

    monkeypatch.setattr("hydra_plugins.nucleiseg_launcher.get_class", lambda _: Inline)
    context: Any = type("Context", (), {"config_loader": Loader})
    launcher.setup(hydra_context=context, task_function=None, config=config)  # type: ignore[arg-type]
    return launcher


def test_another_launcher_runs_the_same_processes_in_the_same_folders(
    through: ThroughLauncher, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    batch = [["model=r50_c4", "seed=7", "hydra/launcher=slurm"], ["model=r50_c4", "seed=13", "hydra/launcher=slurm"]]
    with pytest.raises(SystemExit) as ended:
        through.launch(batch, 0)
    assert ended.value.code == 1
    assert "1 failed" in capsys.readouterr().err
    status = tmp_path / "sweep" / "000_r50_c4_seed-7" / "status.json"
    assert json.loads(status.read_text()) == {"state": "done", "name": "interactive"}
    with pytest.raises(InputError, match="000_r50_c4_seed-7, 001_r50_c4_seed-13 already"):
        through.launch(batch, 0)
    with read_write(through._config):
        through._config.sweep.resume = True
    with pytest.raises(SystemExit):
        through.launch(batch, 0)
    assert "skipped" in capsys.readouterr().err
    [handed] = through._other.batch  # type: ignore[attr-defined]
    assert handed[:2] == ["model=r50_c4", "++seed=13"]  # what is left, forced (`cli.command_line`)
    assert handed[2:] == [
        f"hydra.sweep.dir='{tmp_path / 'sweep'}'",
        "hydra.sweep.subdir='001_r50_c4_seed-13'",
    ]
    assert through.launch(batch[:1], 0)[0].status == JobStatus.COMPLETED


BATCH = [["model=r50_c4", "seed=7"], ["model=r50_c4", "seed=13"], ["model=r50_c4", "seed=8"]]


def ended(launcher: ThroughLauncher, after_first: Callable[[], object]) -> int | str | None:
    """Launch three jobs, something happening after the first, and return what the sweep ends with."""
    launcher._other.after_first = after_first  # type: ignore[attr-defined]
    with pytest.raises(SystemExit) as end:
        launcher.launch(BATCH, 0)
    return end.value.code


def test_a_lost_worker_ends_in_the_table(through: ThroughLauncher, capsys: pytest.CaptureFixture[str]) -> None:
    def die() -> None:
        raise RuntimeError("a worker process was terminated\nby someone")

    assert ended(through, die) == 1
    printed = " ".join(capsys.readouterr().err.split())
    assert "3 jobs in" in printed
    assert "2 failed" in printed
    assert "RuntimeError" in printed
    assert "by someone" not in printed


def test_an_error_in_a_worker_is_that_job_s(through: ThroughLauncher, capsys: pytest.CaptureFixture[str]) -> None:
    launch = through._other.launch

    def with_failure(*given: Any, **more: Any) -> Any:  # noqa: ANN401
        returns = launch(*given, **more)
        (Path(through._config.hydra.sweep.dir) / "001_r50_c4_seed-8" / "status.json").unlink()
        returns[1].status = JobStatus.FAILED
        returns[1].return_value = OSError("no space")
        return returns

    through._other.launch = with_failure  # type: ignore[method-assign]
    with pytest.raises(SystemExit) as end:
        through.launch([BATCH[0], BATCH[2]], 0)
    assert end.value.code == 1
    said = capsys.readouterr().err
    assert "1 failed" in said
    assert "OSError: no space" in said


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.usefixtures("heeded_interrupts")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_sweep_stops_its_jobs_and_says_how_to_complete_it(
    number: signal.Signals, through: ThroughLauncher, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(through, lambda: os.kill(os.getpid(), number)) == 130
    said = capsys.readouterr().err
    assert said.count("not started") == 2
    assert "sweep.resume=true" in said
    assert sorted(path.name for path in (tmp_path / "sweep").iterdir()) == ["000_r50_c4_seed-7"], f"no {STOP} either"


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.usefixtures("heeded_interrupts")
def test_jobs_of_a_queue_continue(through: ThroughLauncher, capsys: pytest.CaptureFixture[str]) -> None:
    through._survives = True
    folder = Path(through._config.hydra.sweep.dir) / "001_r50_c4_seed-13"
    lock = ExitStack()

    def stop() -> None:
        lock.enter_context(run_lock(folder))
        status = {"state": "running", "pid": os.getppid(), "host": platform.node()}
        (folder / "status.json").write_text(json.dumps(status))
        os.kill(os.getpid(), signal.SIGTERM)

    with lock:
        assert ended(through, stop) == 130
    said = capsys.readouterr().err
    assert f"process {os.getppid()}" in said
    assert "Jobs in the queue continue" in said
    assert not (folder.parent / STOP).exists()


def test_ray_reports_nothing_unless_asked_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "")  # so that it is set back afterwards
    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED")
    launcher = ThroughLauncher(through=f"{__name__}.Inline", extra="ray")
    monkeypatch.setattr("hydra_plugins.nucleiseg_launcher.get_class", lambda _: Inline)
    launcher.setup(hydra_context=None, task_function=None, config=hydra_config())  # type: ignore[arg-type]
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


def sweep_config(*given: str) -> Any:  # noqa: ANN401
    """A sweep's configuration, with overrides of Hydra's own keys as its command line gives them."""
    config = hydra_config()
    with read_write(config.hydra):
        config.hydra.overrides.hydra = ["hydra.mode=MULTIRUN", *given]
    return config


def test_of_hydra_s_keys_only_the_search_path_is_passed_to_the_jobs() -> None:
    own = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.sweep.dir=x", "hydra.sweeper.params=null"]
    assert passed_on(sweep_config(*own, "hydra.searchpath=[file://x]")) == ("hydra.searchpath=[file://x]",)
    with pytest.raises(InputError, match=r"hydra.job.chdir=true with -m does not reach the jobs"):
        passed_on(sweep_config("hydra.job.chdir=true"))


def test_what_would_not_reach_the_jobs_is_refused() -> None:
    config = sweep_config()
    with read_write(config.hydra), open_dict(config.hydra):
        config.hydra.runtime.config_sources.append(ConfigSourceInfo("/mine", "file", "command-line"))
        config.hydra.job.config_name = "other"
        config.hydra.sweeper.max_batch_size = 2
    with pytest.raises(InputError) as refused:
        passed_on(config)
    first, second, third = refused.value.problems
    assert "'hydra.searchpath=[file:///mine]'" in first
    assert "--config-name=other" in second
    assert "hydra.sweeper.max_batch_size" in third


def test_a_single_run_refuses_the_keys_of_a_sweep() -> None:
    config = hydra_config("sweep.resume=true")
    HydraConfig.instance().set_config(config)
    with pytest.raises(InputError, match=r"sweep.resume=true needs a sweep: add -m"):
        refuse_sweep_keys_alone()
    with read_write(config.hydra):
        config.hydra.mode = RunMode.MULTIRUN
    HydraConfig.instance().set_config(config)
    refuse_sweep_keys_alone()


def test_what_is_not_installed_is_named() -> None:
    config = hydra_config("hydra/launcher=ray_processes")
    launcher = ThroughLauncher(through="no_such_package.Launcher", extra="ray")
    with pytest.raises(InputError, match=r"hydra/launcher=ray_processes needs .*no_such_package.*\[ray\]"):
        launcher.setup(hydra_context=None, task_function=None, config=config)  # type: ignore[arg-type]


def test_a_task_can_be_sent_to_another_process() -> None:
    import pickle

    task = JobProcess((SweepJob(3, ("seed=1",), Path("runs")),), 3, Path("train.py"), Path())
    assert pickle.loads(pickle.dumps(task)) == task


@pytest.mark.parametrize(
    ("overrides", "refused"),
    [
        ([], False),
        (["trainer.devices=2"], True),
        (["trainer.devices=-1"], True),
        (["trainer=ddp", "trainer.devices=1"], True),
        (["trainer.num_nodes=2"], True),
    ],
)
def test_several_processes_a_run_are_refused_inside_the_process_of_a_sweep(overrides: list[str], refused: bool) -> None:
    config = hydra_config("hydra/launcher=basic", *overrides)
    HydraConfig.instance().set_config(config)
    refuse_ddp_in_sweep(config.trainer)  # a single run
    with read_write(config.hydra):
        config.hydra.mode = RunMode.MULTIRUN
    HydraConfig.instance().set_config(config)
    if refused:
        with pytest.raises(InputError, match="BasicLauncher runs the jobs inside the sweep's process"):
            refuse_ddp_in_sweep(config.trainer)
    else:
        refuse_ddp_in_sweep(config.trainer)


@pytest.mark.parametrize("card", CARDS)
def test_every_card_composes_and_is_taken_by_its_launcher(card: str) -> None:
    """Where its package is installed; the keys of a card are those of the launcher's own settings."""
    settings = OmegaConf.to_container(hydra_config(f"hydra/launcher={card}").hydra.launcher)
    assert isinstance(settings, dict)
    assert settings.pop("_target_") == "hydra_plugins.nucleiseg_launcher.ThroughLauncher"
    through, extra = settings.pop("through"), settings.pop("extra")
    assert settings.pop("survives", False) == (card == "slurm")
    assert f"\n{extra} = [" in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    package = through.rpartition(".")[0].rpartition(".")[0]
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    own = {"slurm": "submitit_slurm", "slurm_local": "submitit_local", "joblib_processes": "joblib"}.get(card, "ray")
    assert settings.keys() <= hydra_config(f"hydra/launcher={own}").hydra.launcher.keys()


@pytest.fixture
def sweep(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start sweeps of `train.py` in the test's folder; one that a failed test leaves is told to stop."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, path: Path | None = None) -> subprocess.Popen[str]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        if path:
            environment["PATH"] = f"{path}{os.pathsep}{environment['PATH']}"
        command = [sys.executable, str(ROOT / "train.py"), "-m", *arguments]
        started.append(subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        with process:  # which waits, and closes its pipe
            process.terminate()


def states(folder: Path) -> dict[str, str]:
    return {path.parent.name: json.loads(path.read_text())["state"] for path in sorted(folder.glob("*/status.json"))}


def kill_in_mid_run(status: Path) -> None:
    """Send SIGKILL to the process of a job that has written its first checkpoint."""
    deadline = time.monotonic() + 900
    while time.monotonic() < deadline:
        try:
            found = json.loads(status.read_text())
            if found["state"] == "running" and found["steps"] >= 5:
                os.kill(found["pid"], signal.SIGKILL)
                return
        except (FileNotFoundError, ProcessLookupError):
            pass
        time.sleep(0.02)
    raise AssertionError(f"{status} never told of a running job")


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
@pytest.mark.parametrize(
    "launcher",
    [
        "processes",
        pytest.param("joblib_processes", marks=needs_joblib),
        pytest.param("slurm_local", marks=needs_submitit),
    ],
)
def test_a_killed_job_lets_the_rest_finish_and_resume_completes_it_alone(
    launcher: str, tiny: list[str], tmp_path: Path, sweep: Callable[..., subprocess.Popen[str]]
) -> None:
    """Two models x two saturations; the first job is killed in mid-run."""
    runs = [*tiny, "trainer.max_steps=12", "trainer.log_every=1", "checkpoint.every=4", "validation.losses=false"]
    grid = ["model.roi.fc_dim=32,16", "aug.saturation=null,[0.5,2]"]
    command = [f"hydra/launcher={launcher}", *runs, *grid, "sweep.dir=runs/sweep"]
    folder = tmp_path / "runs" / "sweep"
    process = sweep(*command)
    victim = "000_r18_fpn_fc_dim-32_sat-null"
    kill_in_mid_run(folder / victim / "status.json")
    _, said = process.communicate()
    assert process.returncode == 1, said
    assert "killed by signal 9" in said
    found = states(folder)
    assert len(found) == 4
    assert found.pop(victim) == "running"
    assert set(found.values()) == {"done"}
    before = {name: (folder / name / "checkpoints" / "last.ckpt").stat().st_mtime_ns for name in found}
    again = sweep(*command, "sweep.resume=true")
    _, said = again.communicate()
    assert again.returncode == 0, said
    assert said.count("skipped") == 3
    assert set(states(folder).values()) == {"done"}
    assert before == {name: (folder / name / "checkpoints" / "last.ckpt").stat().st_mtime_ns for name in found}
    assert len((folder / victim / "metrics.csv").read_text().splitlines()) == 1 + 12


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize(
    "launcher",
    [
        pytest.param("joblib_processes", marks=needs_joblib),
        pytest.param("slurm_local", marks=needs_submitit),
    ],
)
def test_a_terminated_sweep_ends_its_jobs(
    launcher: str, tiny: list[str], tmp_path: Path, sweep: Callable[..., subprocess.Popen[str]]
) -> None:
    """Both run when SIGTERM comes; they say themselves that they were interrupted, and no process stays."""
    runs = [*tiny, "trainer.max_steps=100000", "trainer.log_every=1", "validation.losses=false"]
    process = sweep(f"hydra/launcher={launcher}", *runs, "seed=0,1", "sweep.dir=runs/sweep")
    folder = tmp_path / "runs" / "sweep"
    deadline = time.monotonic() + 900
    while states(folder) != {"000_r18_fpn_seed-0": "running", "001_r18_fpn_seed-1": "running"}:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.terminate()
    _, said = process.communicate()
    assert process.returncode == 130, said
    assert set(states(folder).values()) == {"interrupted"}
    assert "sweep.resume=true" in said
    for status in folder.glob("*/status.json"):
        with pytest.raises(ProcessLookupError):
            os.kill(json.loads(status.read_text())["pid"], 0)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_jobs_of_several_processes_work_in_our_sweep_and_are_refused_in_a_process_of_it(
    tiny: list[str], tmp_path: Path, sweep: Callable[..., subprocess.Popen[str]]
) -> None:
    single = [key for key in tiny if not key.startswith("trainer.")]
    ddp = [*single, "trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu", "trainer.max_steps=2"]
    process = sweep(*ddp, "seed=0,1", "sweep.dir=runs/ddp")
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert states(tmp_path / "runs" / "ddp") == {"000_r18_fpn_seed-0": "done", "001_r18_fpn_seed-1": "done"}
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["ddp"]
    refused = sweep(*ddp, "seed=0,1", "sweep.dir=runs/basic", "hydra/launcher=basic")
    _, said = refused.communicate()
    assert refused.returncode == 2
    assert "would start the whole sweep again" in said
    assert "Traceback" not in said


@pytest.mark.slow
@pytest.mark.timeout(1200)
@needs_submitit
@pytest.mark.skipif(sys.platform == "win32", reason="SLURM needs a POSIX shell")
def test_slurm_gets_one_array_with_what_the_card_says(
    tiny: list[str], tmp_path: Path, sweep: Callable[..., subprocess.Popen[str]]
) -> None:
    """The script as `sbatch` gets it; and it runs, each job with two processes."""
    (tmp_path / "bin").mkdir()
    script = install(tmp_path / "bin")
    single = [key for key in tiny if not key.startswith("trainer.")]
    ddp = ["trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu", "trainer.max_steps=2"]
    own = ["hydra.launcher.partition=gpu", "hydra.launcher.gpus_per_node=2", "aug.saturation=null,[0.5,2]"]
    process = sweep("hydra/launcher=slurm", *own, *single, *ddp, "sweep.dir=runs/slurm", path=tmp_path / "bin")
    _, said = process.communicate()
    assert process.returncode == 0, said + (tmp_path / "bin" / "array.log").read_text()
    lines = script.read_text().splitlines()
    for wanted in ("array=0-1%2", "partition=gpu", "time=1440", "gpus-per-node=2", "cpus-per-task=4", "mem=16GB"):
        assert f"#SBATCH --{wanted}" in lines
    assert any(line.startswith("srun ") and "submitit.core._submit" in line for line in lines)
    assert states(tmp_path / "runs" / "slurm") == {"000_r18_fpn_sat-null": "done", "001_r18_fpn_sat-0.5-2": "done"}
