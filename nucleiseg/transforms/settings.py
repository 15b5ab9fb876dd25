"""Checks of the `aug` keys: one sentence a problem, naming the key, what was found and what is accepted."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

RESIZE_KEYS = ("short", "long")

SMALLEST_CROP = 16
"""Pixels: nothing of a nucleus is left in less; a whole number below is rather a share without its point."""


def find_key_problems(settings: Mapping[str, Any], keys: Sequence[str]) -> list[str]:
    """Return a sentence for each key of the `aug` group that is missing or unknown, `resize.*` included.

    Args:
        settings: the group as written.
        keys: the keys of the group.
    """
    problems = _differences("aug", settings, keys)
    if "resize" in settings:
        problems += _differences("aug.resize", settings["resize"], RESIZE_KEYS)
    return problems


def _differences(prefix: str, found: Any, wanted: Sequence[str]) -> list[str]:  # noqa: ANN401
    accepted = ", ".join(wanted)
    if not isinstance(found, Mapping):
        return [f"{prefix} is {found!r}; it takes the keys {accepted}."]
    unknown = [f"{prefix}.{key} is not a key; {prefix} takes {accepted}." for key in found if key not in wanted]
    missing = [f"{prefix}.{key} is missing; {prefix} takes {accepted}." for key in wanted if key not in found]
    return unknown + missing


def find_problems(settings: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each setting of a `Recipe` that cannot be used.

    Args:
        settings: the fields of a `Recipe` by name.
    """
    problems = [_crop_problem(settings["crop"])]
    problems += [_integer_problem(f"resize.{key}", settings[f"resize_{key}"], 1) for key in RESIZE_KEYS]
    problems += [_order_problem(settings["resize_short"], settings["resize_long"])]
    problems += [
        _range_problem(key, settings[key], zero) for key, zero in (("saturation", True), ("scale_jitter", False))
    ]
    problems += [
        _share_problem(key, settings[key]) for key in ("hflip", "vflip", "brightness", "contrast", "stain_jitter")
    ]
    if not isinstance(settings["quarter_turns"], bool):
        problems.append(f"aug.quarter_turns is {settings['quarter_turns']!r}; write true or false.")
    problems.append(_integer_problem("min_area", settings["min_area"], 1))
    return [problem for problem in problems if problem]


def is_number(value: object) -> bool:
    """Whether the value is a finite int or float; `True` and `False` are not numbers here."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_pair(value: object) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(is_number(item) for item in value)


def _crop_problem(crop: Any) -> str:  # noqa: ANN401
    def fits(side: float | int) -> bool:
        return 0 < side <= 1 if isinstance(side, float) else side >= SMALLEST_CROP

    if crop is None or (_is_pair(crop) and all(fits(side) for side in crop)):
        return ""
    sentence = (
        f"aug.crop is {_shown(crop)}; write [height, width], each a share of the image's side (0.5, at most 1.0) or a "
        f"whole number of pixels ({SMALLEST_CROP} or more), or null for no crop"
    )
    if _is_pair(crop) and 1 in [side for side in crop if isinstance(side, int)]:
        sentence += "; 1 is one pixel: write 1.0 for the whole side"
    return f"{sentence}."


def _range_problem(key: str, value: Any, zero_allowed: bool) -> str:  # noqa: ANN401
    if value is None or (
        _is_pair(value) and value[0] <= value[1] and (value[0] > 0 or (zero_allowed and value[0] == 0))
    ):
        return ""
    least = "neither below 0" if zero_allowed else "both above 0"
    return f"aug.{key} is {_shown(value)}; write [lowest, highest] with lowest <= highest, {least}, or null for off."


def _share_problem(key: str, value: Any) -> str:  # noqa: ANN401
    if is_number(value) and 0 <= value <= 1:
        return ""
    return f"aug.{key} is {value!r}; write a number from 0 (off) to 1."


def _integer_problem(key: str, value: Any, least: int) -> str:  # noqa: ANN401
    if isinstance(value, int) and not isinstance(value, bool) and value >= least:
        return ""
    return f"aug.{key} is {value!r}; write a whole number of pixels, {least} or more."


def _order_problem(short: Any, long: Any) -> str:  # noqa: ANN401
    if is_number(short) and is_number(long) and short > long:
        return f"aug.resize.short is {short}, above aug.resize.long, {long}; the shorter side cannot be the longer one."
    return ""


def _shown(value: Any) -> str:  # noqa: ANN401
    """A tuple as a person wrote it in YAML."""
    return str(list(value)) if isinstance(value, tuple) else repr(value)
