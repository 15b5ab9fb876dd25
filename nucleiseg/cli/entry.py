"""Start and end a command: its command line, errors as sentences, exit codes."""

import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import NoReturn

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from nucleiseg.cli.command_line import as_typed, forced_arguments, repeated_keys
from nucleiseg.cli.explanations import configuration_errors
from nucleiseg.cli.shipped import EXPERIMENTS
from nucleiseg.cli.studies import register_studies
from nucleiseg.failures import crash_report, explained, in_a_line
from nucleiseg.progress import echo

DEBUG = "NUCLEISEG_DEBUG"
"""The environment variable that asks for tracebacks on the terminal."""

HYDRA_DEBUG = "HYDRA_FULL_ERROR"
"""Hydra's variable for the same."""


class ExitCode(IntEnum):
    """Exit codes of the commands."""

    DONE = 0
    SOME_FAILED = 1
    """Some items (images, jobs) failed, each with a sentence; all others were done."""
    BAD_INPUT = 2
    """Bad input or configuration, found before anything was started; or what stopped the work later: a training that
    diverged, a full disk, too little memory, a data worker that was killed."""
    UNEXPECTED = 70
    """An error that nobody expected, with its traceback in a file: EX_SOFTWARE of BSD's sysexits.h."""
    INTERRUPTED = 130
    """Ctrl-C, as shells count it (128 + SIGINT)."""
    TERMINATED = 143
    """SIGTERM, as shells count it (128 + SIGTERM)."""


@contextmanager
def exit_on_input_error(folder: object = None) -> Iterator[None]:
    """Print an error of the body as sentences and exit, see `exit_on`; Hydra's own errors pass.

    For the function that `hydra.main` decorates, so that Hydra prints nothing of its own.

    Args:
        folder: what the body writes to, as YAML gives it; the traceback of an unexpected error goes there.
    """
    try:
        yield
    except (HydraException, OmegaConfBaseException):
        raise
    except Exception as error:
        exit_on(error, folder)


def exit_on(error: Exception, folder: object = None) -> NoReturn:
    """Print an error as sentences and exit: with 2 for a known cause, with 70 for an unexpected error.

    The traceback of an unexpected error goes to a file that the sentence names. Where NUCLEISEG_DEBUG=1 or Hydra's
    HYDRA_FULL_ERROR=1 is set, every error's traceback is printed too.

    Args:
        error: what was raised.
        folder: where that file goes; by default, and where that is impossible, to the working folder or the system's
            temporary one.
    """
    if is_debugging():
        traceback.print_exception(error)
    if problems := explained(error):
        for problem in problems:
            echo(f"Error: {problem}")
        sys.exit(ExitCode.BAD_INPUT)
    report = crash_report(error, None if folder is None else Path(str(folder)))
    kept = f"The traceback is in {report}: please report it with that file" if report else f"{DEBUG}=1 shows more"
    echo(f"Error: nucleiseg did not expect this: {in_a_line(error)}. {kept}.")
    sys.exit(ExitCode.UNEXPECTED)


def is_debugging() -> bool:
    """Return whether the user asked for tracebacks, by our variable or, where that is not set, by Hydra's."""
    return os.environ.get(DEBUG, os.environ.get(HYDRA_DEBUG, "0")) not in ("", "0")


@contextmanager
def prepared_command_line(config_name: str | None) -> Iterator[None]:
    """Prepare the command line for Hydra, and raise what Hydra makes of it in the body as an `InputError`.

    Args:
        config_name: the command's file in `conf`; None: its command line does not go to Hydra.
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
    """Run a command's main function and exit with an `ExitCode`, every error as sentences.

    Hydra would print its composition errors itself and exit with 1, which means something else here; asked for
    full errors, it raises them instead. SIGTERM ends the program as Ctrl-C does: no half-written file is left.

    Args:
        main: the function that `hydra.main` decorates.
        config_name: its file in `conf`; None where the command line does not go to Hydra.
    """
    os.environ[DEBUG] = str(int(is_debugging()))  # before Hydra's variable is set; sweeps' jobs inherit both
    os.environ[HYDRA_DEBUG] = "1"
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _raise_terminated)
    try:
        with prepared_command_line(config_name):
            main()
    except KeyboardInterrupt:
        echo("Interrupted.")
        sys.exit(ExitCode.INTERRUPTED)
    except Exception as error:
        exit_on(error)
    sys.exit(ExitCode.DONE)


def _raise_terminated(number: int, frame: object) -> None:
    """Unwind the stack, so that temporary files and processes are cleaned up."""
    raise SystemExit(ExitCode.TERMINATED)
