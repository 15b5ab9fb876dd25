"""How users start commands, for messages."""

import sys
from pathlib import Path

SCRIPTS = "commands"
"""The folder of the scripts of the command `nucleiseg`."""


def invocation(command: str) -> str:
    """Return the invocation of a command: `nucleiseg train` if this process was started so, else `python train.py`."""
    return f"nucleiseg {command}" if Path(sys.argv[0]).parent.name == SCRIPTS else f"python {command}.py"
