"""Exit codes and sentences of the doors."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException
from omegaconf import OmegaConf

from nucleiseg.doors.entry import plain, run_door
from nucleiseg.errors import InputError


def raising(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "code", "printed"),
    [
        (InputError(["one.", "two."]), 2, "Error: one.\nError: two.\n"),
        (ConfigCompositionException("no such group"), 2, "no such group"),
        (ValueError("Config group override must be a string or a list. Got NoneType"), 2, "a group cannot be null"),
        (
            PermissionError(13, "Permission denied", "runs/a"),
            2,
            "Error: runs/a: Permission denied; check the path, its permissions and the free space.\n",
        ),
        (OSError(28, "No space left on device"), 2, "Error: No space left on device; check"),
        (KeyboardInterrupt(), 130, "Interrupted"),
        (SystemExit(1), 1, ""),
    ],
)
def test_errors_become_sentences_and_codes(
    error: BaseException, code: int, printed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        run_door(lambda: raising(error))
    assert stop.value.code == code
    output = capsys.readouterr().err
    assert printed in output
    assert "Traceback" not in output


def test_an_override_that_hydra_cannot_read_says_how_to_quote(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run_door(lambda: OverridesParser.create().parse_overrides(["input=Köln.png"]))
    assert stop.value.code == 2
    printed = capsys.readouterr().err
    assert "input=Köln.png" in printed
    assert "'input=\"Köln.png\"'" in printed


def test_done_is_zero() -> None:
    with pytest.raises(SystemExit) as stop:
        run_door(lambda: None)
    assert stop.value.code == 0


@pytest.mark.parametrize("error", [ZeroDivisionError(), OSError("cannot identify this")])
def test_an_unexpected_error_keeps_its_traceback(error: Exception) -> None:
    with pytest.raises(type(error)):
        run_door(lambda: raising(error))
    with pytest.raises(ValueError, match="of ours"):
        run_door(lambda: raising(ValueError("of ours")))


def test_plain_resolves_and_names_missing_keys() -> None:
    config = OmegaConf.create({"a": [1, "${b}"], "b": 2})
    assert plain(config) == {"a": [1, 2], "b": 2}
    with pytest.raises(InputError, match=r"no value for data\.root: give it .* as data\.root=VALUE"):
        plain(OmegaConf.create({"data": {"root": "???"}}))
