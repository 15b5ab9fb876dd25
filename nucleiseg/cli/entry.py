"""Start and end a command: command line, error messages, exit codes."""

import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from nucleiseg.cli.command_line import as_typed, forced_arguments, repeated_keys
from nucleiseg.cli.containers import to_container
from nucleiseg.cli.explanations import configuration_errors
from nucleiseg.cli.shipped import CONF, EXPERIMENTS
from nucleiseg.cli.studies import register_studies
from nucleiseg.failures import crash_report, explained, in_a_line
from nucleiseg.progress import echo

DEBUG = "NUCLEISEG_DEBUG"
"""Environment variable that enables tracebacks on the terminal."""

HYDRA_DEBUG = "HYDRA_FULL_ERROR"
"""Hydra's variable with that effect."""


class ExitCode(IntEnum):
    """Exit codes of the commands."""

    DONE = 0
    SOME_FAILED = 1
    """Some items (images, jobs) failed, each with a message; all others were completed."""
    BAD_INPUT = 2
    """Bad input or configuration, before work starts; also a diverged training, a full disk, too little memory, a
    killed data worker."""
    UNEXPECTED = 70
    """An unexpected error, with its traceback in a file: EX_SOFTWARE of BSD's sysexits.h."""
    INTERRUPTED = 130
    """Ctrl-C: 128 + SIGINT, as in shells."""
    TERMINATED = 143
    """128 + SIGTERM."""


def start_command(name: str, run: Callable[[dict[str, Any]], int | None]) -> NoReturn:
    """Compose the configuration of a command from this process's arguments, run it, and exit with an `ExitCode`.

    Args:
        name: the command, also of its file in `conf`.
        run: called with the configuration; returns the number of items that failed.
    """

    def main(config: DictConfig) -> None:
        with exit_on_input_error(config.get("output")):
            failed = run(to_container(config))
        if failed:
            sys.exit(ExitCode.SOME_FAILED)

    main.__module__ = f"nucleiseg.commands.{name}"  # Hydra names its job, and the program in --help, by it
    run_command(hydra.main(version_base="1.3", config_path=str(CONF), config_name=name)(main), name)


@contextmanager
def exit_on_input_error(folder: object = None) -> Iterator[None]:
    """Print an error of the body and exit as `exit_on` does; errors of Hydra and OmegaConf propagate.

    Use it within the function that `hydra.main` decorates, so that Hydra prints no traceback.

    Args:
        folder: what the body writes to, see `exit_on`.
    """
    try:
        yield
    except (HydraException, OmegaConfBaseException):
        raise
    except Exception as error:
        exit_on(error, folder)


def exit_on(error: Exception, folder: object = None) -> NoReturn:
    """Print the messages of an error and exit with 2 for a known cause, with 70 for an unexpected error.

    The traceback of an unexpected error is written to a file, see `crash_report`. With NUCLEISEG_DEBUG=1 or Hydra's
    HYDRA_FULL_ERROR=1, every traceback is printed too.

    Args:
        error: what was raised.
        folder: for that file, as YAML has it; a file stands for its folder.
    """
    if is_debugging():
        traceback.print_exception(error)
    if problems := explained(error):
        for problem in problems:
            echo(f"Error: {problem}")
        sys.exit(ExitCode.BAD_INPUT)
    report = crash_report(error, None if folder is None else Path(str(folder)))
    advice = f"Please report it with the traceback in {report}" if report else f"{DEBUG}=1 prints the traceback"
    echo(f"Error: unexpected {in_a_line(error)}. {advice}.")
    sys.exit(ExitCode.UNEXPECTED)


def is_debugging() -> bool:
    """Return whether tracebacks are enabled, by `DEBUG` or, if that is not set, by `HYDRA_DEBUG`."""
    return os.environ.get(DEBUG, os.environ.get(HYDRA_DEBUG, "0")) not in ("", "0")


@contextmanager
def prepared_command_line(config_name: str | None) -> Iterator[None]:
    """Prepare the command line for Hydra, and convert composition errors of the body to `InputError`s.

    Args:
        config_name: the command's file in `conf`; None if Hydra does not parse its command line.
    """
    arguments = sys.argv[1:]
    if config_name:
        arguments = [as_typed(argument) for argument in arguments]
        for sentence in repeated_keys(arguments):
            echo(sentence)
        if config_name == "train":
            register_studies(EXPERIMENTS, arguments)
        sys.argv[1:] = forced_arguments(arguments)
    with configuration_errors(config_name, arguments):
        yield


def run_command(main: Callable[[], None], config_name: str | None = None) -> NoReturn:
    """Run a command's main function, print errors as messages, and exit with an `ExitCode`.

    Args:
        main: the function that `hydra.main` returned.
        config_name: its file in `conf`; None if Hydra does not parse its command line.
    """

    def terminate(number: int, frame: object) -> None:
        raise SystemExit(ExitCode.TERMINATED)  # unwinds the stack, so that temporary files and processes are removed

    os.environ[DEBUG] = str(int(is_debugging()))  # before Hydra's variable is set; sweeps' jobs inherit both
    os.environ[HYDRA_DEBUG] = "1"  # Hydra raises its errors instead of printing them and exiting with 1
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, terminate)
    try:
        with prepared_command_line(config_name):
            main()
    except KeyboardInterrupt:
        echo("Interrupted.")
        sys.exit(ExitCode.INTERRUPTED)
    except Exception as error:
        exit_on(error)
    sys.exit(ExitCode.DONE)
