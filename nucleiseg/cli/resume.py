"""Resume a run: `train.py resume=RUN_DIR`, whose command line Hydra does not read."""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf

from nucleiseg.cli.command_line import as_typed
from nucleiseg.cli.train import train
from nucleiseg.cli.train_settings import GROUPS
from nucleiseg.errors import InputError
from nucleiseg.files import expanded_home
from nucleiseg.run_folder import CONFIG, read_config


def resume_arguments(arguments: Sequence[str]) -> list[str]:
    """Return the arguments beside `resume=` as typed, and its folder without quotes and `~`: Hydra reads none of them.

    Args:
        arguments: the command line of a resumed run.

    Raises:
        InputError: as `as_typed`, or for an empty folder.
    """

    def folder(text: str) -> str:
        is_quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
        if not (path := text[1:-1] if is_quoted else text):
            raise InputError("resume= has no value: give the folder of a run, such as resume=runs/NAME.")
        return f"resume={expanded_home(path)}"

    return [
        folder(argument.removeprefix("resume=")) if argument.startswith("resume=") else as_typed(argument)
        for argument in arguments
    ]


def resume(arguments: Sequence[str]) -> None:
    """Resume a run in its own folder and with its own configuration.

    Args:
        arguments: the command line: `resume=RUN_DIR`, `trainer.*` where the machine has changed, `data.root=FOLDER`
            where the data were moved; `logger=none` resumes without trackers, whose packages may not be installed here;
            `trust=[PACKAGE]` allows the run's file to name classes of a package.

    Raises:
        InputError: if there is no run in the folder, its configuration is damaged, another process trains there, or
            something else is to be changed.
    """
    given = {key: value for key, _, value in (argument.partition("=") for argument in arguments)}
    changes = [argument for argument in arguments if argument.startswith(("trainer.", "trust="))]
    refused = [argument for argument in arguments if argument not in (*changes, "logger=none")]
    if refused := [argument for argument in refused if not argument.startswith(("resume=", "data.root="))]:
        raise InputError(
            f"A resumed run keeps its configuration, so {refused[0]} cannot be given; only trainer.* can, data.root "
            "(where the data are now), logger=none and trust=[PACKAGE]. To train with other settings, start a new run."
        )
    run_dir = _typed_path(given["resume"])
    if not (run_dir / CONFIG).exists():
        where = given["resume"]
        raise InputError(f"resume={where}: there is no {CONFIG} in it; name the folder of a run, such as runs/NAME.")
    config = read_config(run_dir)
    if missing := [group for group in (*GROUPS, "seed") if group not in config]:
        raise InputError(f"{run_dir / CONFIG} is damaged (without {', '.join(missing)}): restore it to resume the run.")
    config["trust"] = []  # what the file says of trust does not count
    merged = OmegaConf.to_container(OmegaConf.merge(OmegaConf.create(config), OmegaConf.from_dotlist(changes)))
    assert isinstance(merged, dict)
    if "logger=none" in arguments:
        merged["logger"] = {}
    if "data.root" in given:
        merged["data"]["root"] = str(_typed_path(given["data.root"]))
    root = merged["data"].get("root") if isinstance(merged["data"], dict) else None
    if root and not Path(str(root)).exists():
        raise InputError(
            f"The data of this run are not at {root}: if they were moved, data.root=FOLDER names their new place."
        )
    train({str(key): value for key, value in merged.items()}, run_dir, resume=True)


def _typed_path(text: str) -> Path:
    """Return a path as it was typed: quoted for Hydra or not, relative to the working folder or to the user's (`~`)."""
    is_quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    return Path(text[1:-1] if is_quoted else text).expanduser().resolve()
