"""Quote values for Hydra's command line, in whose grammar `ü ( = [ , # &` have other meanings."""

import re
import shlex
from pathlib import PurePath

UNQUOTED = re.compile(r"[A-Za-z0-9_./-]+")
"""Text that needs quotes neither for Hydra nor for a shell."""


def quoted(path: PurePath) -> str:
    """Quote a path for Hydra, which reads backslashes as doubled only before a quote."""
    return "'" + re.sub(r"(\\+)(?='|$)", r"\1\1", str(path)).replace("'", "\\'") + "'"


def override(key: str, path: PurePath) -> str:
    """Return `key=path` to type into a shell, quoted for the shell and for Hydra if necessary."""
    if UNQUOTED.fullmatch(str(path)):
        return f"{key}={path}"
    return shlex.quote(f"{key}={quoted(path)}")
