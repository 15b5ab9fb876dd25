"""Values of Hydra's command line, whose grammar gives `ü ( = [ , # &` other meanings unless they are quoted."""

import re
import shlex
from pathlib import PurePath

UNQUOTED = re.compile(r"[A-Za-z0-9_./-]+")
"""Text that neither Hydra nor a shell needs in quotes."""


def quoted(path: PurePath) -> str:
    """Return a path as a quoted value; backslashes are doubled where a quote follows, as Hydra reads them."""
    return "'" + re.sub(r"(\\+)(?='|$)", r"\1\1", str(path)).replace("'", "\\'") + "'"


def override(key: str, path: PurePath) -> str:
    """Return `key=path` as it is typed into a shell, quoted for it and for Hydra where it must be."""
    if UNQUOTED.fullmatch(str(path)):
        return f"{key}={path}"
    return shlex.quote(f"{key}={quoted(path)}")
