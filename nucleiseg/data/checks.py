"""Checks of plain values that several keys of the `data` group share."""


def is_whole(value: object, least: int) -> bool:
    """Whether the value is a whole number from `least`; `True` and `False` are not numbers here."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def is_fraction(value: object) -> bool:
    """Whether the value is a number between 0 and 1, both excluded."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1
