"""Exit codes and sentences of the doors."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException
from omegaconf import OmegaConf

from nucleiseg.cli.containers import to_container
from nucleiseg.cli.entry import ExitCode, exit_on_input_error, run_command
from nucleiseg.errors import InputError
from nucleiseg.version import __version__


def raising(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "code", "printed"),
    [
        (InputError(["one.", "two."]), 2, "Error: one.\nError: two.\n"),
        (ConfigCompositionException("no such group"), 2, "no such group"),
        (
            PermissionError(13, "Permission denied", "runs/a"),
            2,
            "Error: runs/a: Permission denied; check the path, its permissions and the free space.\n",
        ),
        (
            OSError(28, "No space left on device", "runs/a/metrics.csv"),
            2,
            "Error: runs/a/metrics.csv: No space left on device. Free some space",
        ),
        (KeyboardInterrupt(), 130, "Interrupted"),
        (SystemExit(1), 1, ""),
    ],
)
def test_errors_become_sentences_and_codes(
    error: BaseException, code: int, printed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        run_command(lambda: raising(error))
    assert stop.value.code == code
    output = capsys.readouterr().err
    assert printed in output
    assert "Traceback" not in output


def test_an_override_that_hydra_cannot_read_says_how_to_quote(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run_command(lambda: OverridesParser.create().parse_overrides(["input=Köln.png"]))
    assert stop.value.code == 2
    printed = capsys.readouterr().err
    assert "input=Köln.png" in printed
    assert "'input=\"Köln.png\"'" in printed


def test_done_is_zero() -> None:
    with pytest.raises(SystemExit) as stop:
        run_command(lambda: None)
    assert stop.value.code == 0


@pytest.mark.parametrize("error", [ZeroDivisionError(), OSError("cannot identify this"), ValueError("of ours")])
def test_an_unexpected_error_is_a_sentence_and_a_file(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        run_command(lambda: raising(error))
    assert stop.value.code == ExitCode.UNEXPECTED
    printed = capsys.readouterr().err
    (report,) = tmp_path.iterdir()
    assert str(report) in printed
    assert type(error).__name__ in printed
    assert "Traceback" not in printed
    text = report.read_text()
    assert f"nucleiseg {__version__}" in text
    assert "in raising" in text
    assert shlex.join(sys.argv) in text


def test_the_traceback_goes_to_the_folder_of_the_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit), exit_on_input_error(tmp_path):
        raise ZeroDivisionError
    (report,) = tmp_path.iterdir()
    assert str(report) in capsys.readouterr().err


@pytest.mark.parametrize("name", ["NUCLEISEG_DEBUG", "HYDRA_FULL_ERROR"])
def test_tracebacks_are_printed_on_request(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("NUCLEISEG_DEBUG", raising=False)
    monkeypatch.setenv(name, "1")
    with pytest.raises(SystemExit) as stop:
        run_command(lambda: raising(InputError("one.")))
    assert stop.value.code == ExitCode.BAD_INPUT
    printed = capsys.readouterr().err
    assert "Traceback" in printed
    assert "Error: one.\n" in printed


def test_hydras_variable_as_we_set_it_asks_for_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A sweep's job inherits the environment of the sweep."""
    for name in ("NUCLEISEG_DEBUG", "HYDRA_FULL_ERROR"):
        monkeypatch.delenv(name, raising=False)
    for _ in range(2):
        with pytest.raises(SystemExit):
            run_command(lambda: raising(InputError("one.")))
        assert "Traceback" not in capsys.readouterr().err


def test_a_configuration_is_resolved_and_missing_values_are_left_out() -> None:
    config = OmegaConf.create({"a": [1, "${b}"], "b": 2, "data": {"root": "???", "val": 0.2}})
    assert to_container(config) == {"a": [1, 2], "b": 2, "data": {"val": 0.2}}


def test_help_does_not_wait_for_torch() -> None:
    """Hydra imports every launcher of `hydra_plugins` in every command."""
    names = ["train", "predict", "evaluate", "leaderboard", "convert", "corrections", "preview", "zoo"]
    modules = ["hydra_plugins.nucleiseg_launcher", *(f"nucleiseg.commands.{name}" for name in names)]
    code = f"import sys, {', '.join(modules)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False).returncode == 0
