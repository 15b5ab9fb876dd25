"""How a door starts and ends: configuration to plain Python, errors to sentences and exit codes."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any, NoReturn

from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nucleiseg.errors import InputError
from nucleiseg.progress import say

QUOTED = """'input="Köln.png"'"""
"""A quoted value, as it is typed."""


class ExitCode(IntEnum):
    """What a door's exit code means."""

    DONE = 0
    SOME_FAILED = 1
    """Some items (images, jobs) failed, each with a sentence; all others were done."""
    BAD_INPUT = 2
    """Bad input or configuration, found before anything was started; or a training that diverged and stopped."""
    INTERRUPTED = 130
    """Ctrl-C, as shells count it (128 + SIGINT)."""


def plain(config: DictConfig) -> dict[str, Any]:
    """Turn a composed configuration into plain dicts, lists and scalars, interpolations resolved.

    Raises:
        InputError: if a mandatory key is missing, with its name.
    """
    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        keys = ", ".join(missing)
        raise InputError(
            f"The configuration has no value for {keys}: give it on the command line as {missing[0]}=VALUE."
        )
    container = OmegaConf.to_container(config, resolve=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


@contextmanager
def sentences() -> Iterator[None]:
    """Print an `InputError` of the body as its sentences and exit with 2.

    Inside a door's main function, so that Hydra has nothing of its own to say about it.
    """
    try:
        yield
    except InputError as error:
        for problem in error.problems:
            say(f"Error: {problem}")
        sys.exit(ExitCode.BAD_INPUT)


def run_door(main: Callable[[], None]) -> NoReturn:
    """Run a door's main function and exit: 0 done, 2 with sentences for bad input or configuration.

    Hydra would print its composition errors itself and exit with 1, which means something else here; asked for
    full errors, it raises them instead. A file that cannot be read or written is the user's to mend, too.

    Args:
        main: the door, as decorated by `hydra.main`.
    """
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    try:
        with sentences():
            main()
    except OverrideParseException as error:
        say(f"Error on the command line: {error}")
        say(f"A value with letters or signs of its own is quoted twice, for the shell and for Hydra: {QUOTED}.")
        sys.exit(ExitCode.BAD_INPUT)
    except (HydraException, OmegaConfBaseException) as error:
        say(f"Error in the configuration: {error}")
        sys.exit(ExitCode.BAD_INPUT)
    except ValueError as error:
        if "Config group override" not in str(error):  # Hydra's for model=null, of no class of its own
            raise
        say("Error in the configuration: a group cannot be null; name one of its files, as model=r18_fpn.")
        sys.exit(ExitCode.BAD_INPUT)
    except OSError as error:
        if error.strerror is None:  # raised by a library for reasons of its own: the traceback tells more
            raise
        where = f"{error.filename}: " if error.filename else ""
        say(f"Error: {where}{error.strerror}; check the path, its permissions and the free space.")
        sys.exit(ExitCode.BAD_INPUT)
    except KeyboardInterrupt:
        say("Interrupted.")
        sys.exit(ExitCode.INTERRUPTED)
    sys.exit(ExitCode.DONE)
