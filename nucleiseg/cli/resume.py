"""Resume a run: `train.py resume=RUN_DIR`, whose command line Hydra does not parse."""

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
    """Return the command line of a resumed run with `resume=` unquoted and the other arguments as `as_typed` has them.

    Raises:
        InputError: as `as_typed`, or for an empty folder.
    """
    typed = []
    for argument in arguments:
        if argument.startswith("resume="):
            if not (path := _unquoted(argument.removeprefix("resume="))):
                raise InputError("resume= has no value: give the folder of a run, such as resume=runs/NAME.")
            typed.append(f"resume={expanded_home(path)}")
        else:
            typed.append(as_typed(argument))
    return typed


def resume(arguments: Sequence[str]) -> None:
    """Resume a run in its own folder and with its own configuration.

    Args:
        arguments: the command line: `resume=RUN_DIR`, `trainer.*` for another machine, `data.root=FOLDER` for moved
            data, `logger=none` to resume without trackers, `trust=[PACKAGE]` to allow `config.yaml` to name classes of
            a package.

    Raises:
        InputError: if there is no run in the folder, its configuration is damaged, another process trains there, or
            another key is given.
    """
    given = {key: value for key, _, value in (argument.partition("=") for argument in arguments)}
    changes = [argument for argument in arguments if argument.startswith(("trainer.", "trust="))]
    refused = [argument for argument in arguments if argument not in (*changes, "logger=none")]
    if refused := [argument for argument in refused if not argument.startswith(("resume=", "data.root="))]:
        raise InputError(
            f"A resumed run keeps its configuration, so {refused[0]} cannot be given; it accepts trainer.*, data.root "
            "(new folder of moved data), logger=none and trust=[PACKAGE]. To change other settings, start a new run."
        )
    run_dir = Path(_unquoted(given["resume"])).expanduser().resolve()
    if not (run_dir / CONFIG).exists():
        where = given["resume"]
        raise InputError(f"resume={where}: there is no {CONFIG} in it; name the folder of a run, such as runs/NAME.")
    config = read_config(run_dir)
    if missing := [group for group in (*GROUPS, "seed") if group not in config]:
        raise InputError(f"{run_dir / CONFIG} is damaged (without {', '.join(missing)}): restore it to resume the run.")
    config["trust"] = []  # only the command line can trust a package
    merged = OmegaConf.to_container(OmegaConf.merge(OmegaConf.create(config), OmegaConf.from_dotlist(changes)))
    assert isinstance(merged, dict)
    if "logger=none" in arguments:
        merged["logger"] = {}
    if "data.root" in given:
        merged["data"]["root"] = str(Path(_unquoted(given["data.root"])).expanduser().resolve())
    root = merged["data"].get("root") if isinstance(merged["data"], dict) else None
    if root and not Path(str(root)).exists():
        raise InputError(
            f"The data of this run are not at {root}: if they were moved, give their new folder as data.root=FOLDER."
        )
    train({str(key): value for key, value in merged.items()}, run_dir, resume=True)


def _unquoted(text: str) -> str:
    """Return a value without the quotes that Hydra would need."""
    is_quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    return text[1:-1] if is_quoted else text
