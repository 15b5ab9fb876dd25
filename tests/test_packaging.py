"""The wheel holds the whole product: commands, configuration, studies."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

import nucleiseg
from nucleiseg import __main__ as command
from nucleiseg.cli.command_line import forced_arguments, overrides_of
from nucleiseg.cli.shipped import CONF, EXPERIMENTS, shipped_folder
from nucleiseg.commands import train
from nucleiseg.invocation import invocation
from nucleiseg.version import __version__

ROOT = Path(__file__).parents[1]
SOURCES = ("nucleiseg", "hydra_plugins", "conf", "experiments")
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]


def test_all_packages_are_listed() -> None:
    found = {".".join(file.parent.relative_to(ROOT).parts) for file in (ROOT / "nucleiseg").rglob("__init__.py")}
    assert set(SETUPTOOLS["packages"]) == {*found, "nucleiseg.conf", "nucleiseg.experiments", "hydra_plugins"}
    assert {folder for folder in found if not any((ROOT / folder.replace(".", "/")).glob("*.py"))} == set()


@pytest.mark.parametrize(("package", "files"), [("conf", "**/*.yaml"), ("experiments", "*/experiment.yaml")])
def test_all_configuration_files_are_package_data(package: str, files: str) -> None:
    name = f"nucleiseg.{package}"
    folder = ROOT / SETUPTOOLS["package-dir"][name]
    included = {file for pattern in SETUPTOOLS["package-data"][name] for file in folder.glob(pattern)}
    assert included == set(folder.glob(files)) != set()
    assert (folder / "__init__.py").exists()


def test_every_command_has_its_script_in_the_package_and_in_the_clone() -> None:
    scripts = {file.stem for file in (ROOT / "nucleiseg" / "commands").glob("[!_]*.py")}
    assert scripts == set(command.COMMANDS) == {file.stem for file in ROOT.glob("*.py")}
    assert all((CONF / f"{name}.yaml").exists() for name in scripts)


def run_main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    """Return the exit code of `nucleiseg ARGUMENTS` in this process."""
    monkeypatch.setattr(sys, "argv", ["nucleiseg", *arguments])
    with pytest.raises(SystemExit) as ended:
        command.main()
    return ended.value.code


def test_help_and_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main(monkeypatch, "--help") == 0
    assert capsys.readouterr().out == f"{command.USAGE}\n"
    assert run_main(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"{__version__}\n"


@pytest.mark.parametrize("arguments", [(), ("tarin", "experiment=demo")])
def test_an_unknown_command_is_refused_with_the_list(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    assert run_main(monkeypatch, *arguments) == 2
    printed = capsys.readouterr().err
    assert command.USAGE in printed
    assert ("tarin is not a command" in printed) == bool(arguments)


@pytest.mark.parametrize("line", ["nucleiseg ", "nucleiseg tr", "nucleiseg train", "nucleiseg tarin "])
def test_the_first_word_is_completed_with_commands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    monkeypatch.setenv("COMP_LINE", line)
    assert run_main(monkeypatch, "-sc", "query=bash") == 0
    assert capsys.readouterr().out.split() == list(command.COMMANDS)


@pytest.mark.parametrize(
    ("line", "passed_on"),
    [
        ("nucleiseg train ", "nucleiseg "),
        ("nucleiseg  train mod", "nucleiseg mod"),
        ("nucleiseg train aug=none model=", "nucleiseg aug=none model="),
        ("nucleiseg train aug=none ", "nucleiseg aug=none "),
    ],
)
def test_other_words_are_completed_by_the_command(monkeypatch: pytest.MonkeyPatch, line: str, passed_on: str) -> None:
    seen = []
    monkeypatch.setattr(train, "start", lambda: seen.append((os.environ["COMP_LINE"], sys.argv)))
    monkeypatch.setenv("COMP_LINE", line)
    assert run_main(monkeypatch, "-sc", "query=bash") == 0
    assert seen == [(passed_on, ["nucleiseg", "-sc", "query=bash"])]


@pytest.mark.parametrize("argument", ["query=bash", "install=fish"])
def test_what_hydra_completes_is_no_setting(argument: str) -> None:
    assert overrides_of(["-sc", argument]) == []
    assert forced_arguments(["-sc", argument]) == ["-sc", argument]


def test_messages_name_commands_as_they_were_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [str(ROOT / "train.py")])
    assert invocation("predict") == "python predict.py"
    monkeypatch.setattr(sys, "argv", [str(ROOT / "nucleiseg" / "commands" / "train.py")])
    assert invocation("predict") == "nucleiseg predict"


def test_shipped_folders_are_beside_the_package_or_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (CONF, EXPERIMENTS) == (ROOT / "conf", ROOT / "experiments")
    monkeypatch.setattr(nucleiseg, "__file__", str(tmp_path / "nucleiseg" / "__init__.py"))
    assert shipped_folder("conf") == tmp_path / "conf"
    (tmp_path / "nucleiseg" / "conf").mkdir(parents=True)
    assert shipped_folder("conf") == tmp_path / "nucleiseg" / "conf"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is built, without .git and without the leftovers of other builds."""
    folder = tmp_path_factory.mktemp("tree")
    for name in SOURCES:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def nucleiseg_command(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """The command of a wheel, which was built from a source archive, in an environment and a folder of its own.

    The environment sees the other packages of this one, but neither this checkout nor its editable installation.
    """
    folder = tmp_path_factory.mktemp("installed")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder / "dist"), str(tree)]
    subprocess.run(build, check=True, capture_output=True)
    venv.create(folder / "venv")
    binaries = folder / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
    python = next(binaries.glob("python*"))
    paths = sysconfig.get_paths(vars={"base": str(folder / "venv"), "platbase": str(folder / "venv")})
    (Path(paths["purelib"]) / "others.pth").write_text(sysconfig.get_paths()["purelib"])
    [wheel] = (folder / "dist").glob("*.whl")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, str(wheel)], check=True)
    (folder / "work").mkdir()
    environment = {
        name: value for name, value in os.environ.items() if name != "PYTHONPATH" and not name.startswith("NUCLEISEG")
    } | {"NUCLEISEG_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1", "NO_ALBUMENTATIONS_UPDATE": "1"}
    environment["PATH"] = f"{binaries}{os.pathsep}{environment['PATH']}"

    def run(*arguments: str, **more: str) -> str:
        program = [str(binaries / "nucleiseg"), *arguments] if arguments[0] != "bash" else list(arguments)
        ended = subprocess.run(
            program, cwd=folder / "work", env=environment | more, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout + ended.stderr

    return run


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_commands_of_a_wheel_work_from_an_empty_folder(
    nucleiseg_command: Callable[..., str], tiny: list[str], tmp_path: Path
) -> None:
    """Also a study of the user's own, found by --config-dir."""
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "own.yaml").write_text("# @package _global_\noptim: {lr: 0.00123}\n")
    short = [*tiny, "trainer.max_steps=1", "checkpoint.every=1", "validation.losses=false"]
    said = nucleiseg_command("train", "experiment=demo", *short, "hydra.run.dir=runs/demo")
    assert "Done: nucleiseg predict checkpoint=" in said
    said = nucleiseg_command("train", "resume=runs/demo", "trainer.max_steps=2")
    assert "step 2/2" in said
    said = nucleiseg_command("predict", "checkpoint=runs/demo", "input=demo", "output=found", "overlays=false")
    assert "found/answer.zip" in said
    assert "best.ckpt" in nucleiseg_command("leaderboard", "runs=runs/demo", "figures=false")
    composed = nucleiseg_command("train", f"--config-dir={tmp_path}", "experiment=own", "--cfg", "job")
    assert "lr: 0.00123" in composed


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_commands_and_keys_of_a_wheel(nucleiseg_command: Callable[..., str]) -> None:
    script = """eval "$(nucleiseg -sc install=bash)"; complete -p nucleiseg
        COMP_LINE="nucleiseg train experiment=d" COMP_CWORD=2; hydra_bash_completion; echo "${COMPREPLY[@]}"
        COMP_LINE="nucleiseg lead" COMP_CWORD=1; hydra_bash_completion; echo "${COMPREPLY[@]}" """
    registered, *choices = nucleiseg_command("bash", "-c", script).splitlines()
    assert registered.endswith("-F hydra_bash_completion nucleiseg")
    assert choices == ["experiment=demo", "leaderboard"]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
@pytest.mark.parametrize(("tag", "version"), [(None, "0.1.0.dev1"), ("v0.3.0", "0.3.0")])
def test_the_version_is_that_of_the_clone(tree: Path, tmp_path: Path, tag: str | None, version: str) -> None:
    """A clone without tags has a version, too; a folder without .git has that of pyproject.toml."""
    shutil.copy(tree / "pyproject.toml", tmp_path)

    def scm() -> str:
        ask = [sys.executable, "-m", "setuptools_scm", "--root", str(tmp_path)]
        return subprocess.run(ask, check=True, capture_output=True, text=True, cwd=tmp_path).stdout.strip()

    assert scm() == "0.1.0.dev0"
    git = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=n@example.org"]
    for step in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "a"], *([["tag", tag]] if tag else [])):
        subprocess.run([*git, *step], check=True)
    assert scm().partition("+")[0] == version
