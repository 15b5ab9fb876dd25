"""The words by which a user starts a command."""

import sys
from pathlib import Path

SCRIPTS = "commands"
"""The folder of the package whose scripts the command `nucleiseg` starts."""


def invocation(command: str) -> str:
    """Return how a command is started by somebody who started this process: a message names the next step with it.

    Args:
        command: `train`, `predict`, ...

    Returns:
        `nucleiseg train` where this process was started so, else `python train.py`, a script of a clone.
    """
    return f"nucleiseg {command}" if Path(sys.argv[0]).parent.name == SCRIPTS else f"python {command}.py"
