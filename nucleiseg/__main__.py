"""The command `nucleiseg`, also as `python -m nucleiseg`: run the script of a subcommand.

For example:

    nucleiseg train experiment=demo hydra.run.dir=runs/demo
    nucleiseg predict checkpoint=runs/demo input=FOLDER
"""

import os
import runpy
import sys
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from nucleiseg.invocation import SCRIPTS
from nucleiseg.version import __version__

COMMANDS = {
    "train": "train a Mask R-CNN, resume a run (resume=RUN_DIR), or start a sweep (-m)",
    "predict": "find the nuclei of images",
    "evaluate": "score a file of predictions, or a checkpoint on a data set",
    "leaderboard": "rank every checkpoint of runs",
    "convert": "write a data set in another layout: COCO, folders, label maps, GeoJSON",
    "corrections": "count and draw edits of a prediction made in QuPath",
    "preview": "look at data and augmentation before training",
    "zoo": "list, download and export pretrained weights",
}
"""Subcommand -> help; their scripts are in `nucleiseg/commands`."""

COMPLETION = ("-sc", "--shell-completion")
"""Hydra's flags for the completion of command lines in bash, zsh and fish."""

USAGE = "\n".join(
    (
        "usage: nucleiseg COMMAND [key=value ...]",
        "",
        *(f"  {command:<12} {purpose}" for command, purpose in COMMANDS.items()),
        "",
        "nucleiseg COMMAND --help lists the keys of a command.",
        'eval "$(nucleiseg -sc install=bash)" completes commands and keys in bash and zsh;',
        "nucleiseg -sc install=fish | source does so in fish.",
    )
)


def main() -> NoReturn:
    """Run the subcommand on the command line; exit with 2 if it is unknown."""
    command, *arguments = sys.argv[1:] or [""]
    if command in COMPLETION:
        complete(arguments)
    elif command in ("-h", "--help"):
        print(USAGE)
    elif command == "--version":
        print(__version__)
    elif command in COMMANDS:
        # run the script as the main module: Lightning and sweeps start further processes by sys.argv, and spawned
        # workers import the main module by its file
        sys.argv[1:] = arguments
        runpy.run_path(str(Path(__file__).resolve().parent / SCRIPTS / f"{command}.py"), run_name="__main__")
    else:
        problem = f"Error: {command} is not a command.\n\n" if command else ""
        print(f"{problem}{USAGE}", file=sys.stderr)
        sys.exit(2)
    sys.exit(0)


def complete(arguments: list[str]) -> None:
    """Print the completions of a command line, or the shell code that installs completion.

    Hydra's shell functions support commands of one word: they call `nucleiseg -sc query=bash` with the line in the
    environment variable COMP_LINE. The subcommand is removed from the line and completes the rest.

    Args:
        arguments: after the flag: `query=`, `install=` or `uninstall=` with the name of a shell.
    """
    command = "train"  # for installation, any subcommand
    if any(argument.startswith("query=") for argument in arguments):
        line = os.environ.get("COMP_LINE", "")
        program, command, rest = [*line.split(maxsplit=2), "", "", ""][:3]
        if command not in COMMANDS or (not rest and not line.endswith(" ")):
            print("\n".join(COMMANDS))  # the shell filters them by the typed prefix
            return
        os.environ["COMP_LINE"] = f"{program} {rest}"
    sys.argv = ["nucleiseg", COMPLETION[0], *arguments]
    import_module(f"nucleiseg.{SCRIPTS}.{command}").start()


if __name__ == "__main__":
    main()
