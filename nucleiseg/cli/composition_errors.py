"""Convert errors of Hydra and OmegaConf to sentences."""

import traceback

from hydra.errors import OverrideParseException
from omegaconf.errors import OmegaConfBaseException

QUOTED = """'input="Köln.png"'"""
"""A quoted value, as it is typed."""

LIBRARIES = {"hydra", "omegaconf", "antlr4", "yaml", "argparse"}
"""Packages whose errors during composition are caused by the command line or a YAML file."""


def module_of(error: BaseException) -> str:
    """Return the package that raised an error."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return str(frames[-1].f_globals.get("__name__", "")).partition(".")[0] if frames else ""


def sentence_of(error: BaseException) -> str:
    """Return the message of an error of Hydra or OmegaConf without its advice to append keys and its search path."""
    if isinstance(error, OverrideParseException):
        return unreadable(error.override, error)
    causes = [error.__cause__] if isinstance(error.__cause__, OmegaConfBaseException) else []
    texts = [str(each).partition("Config search path")[0] for each in (error, *causes)]
    lines = [line.strip() for text in texts for line in text.splitlines()]
    noise = ("To append to", "See https", "object_type", "reference_type")
    reason = "; ".join(line.rstrip(".") for line in lines if line and not line.startswith(noise))
    return f"The configuration cannot be composed: {reason or type(error).__name__}. Check it with --cfg job."


def unreadable(override: str, error: OverrideParseException) -> str:
    """Explain an argument that is outside Hydra's grammar."""
    if "=" not in override:
        return f"{override!r} is not an argument: settings are given as key=value; --help lists the keys."
    lines = [line.strip() for line in str(error).splitlines()]
    reason = next((line for line in lines if "Error parsing" not in line and "https" not in line), "")
    return (
        f"{override} cannot be read ({reason}). Close every bracket and quote. A value with characters other "
        f"than letters, digits and / . _ - needs quotes for the shell and for Hydra: {QUOTED}."
    )
