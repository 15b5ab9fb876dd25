"""Check numbers and ids of COCO files: whole numbers may be written as floats, and none may overflow."""

from collections.abc import Mapping
from typing import Any

from nucleiseg.errors import short, some
from nucleiseg.foreign_files import MOST_PIXELS, whole_number

MOST_CLASSES = 1_000
"""Most classes of a truth: the tables of average precision grow with their number, and pathology has some ten."""

MOST_PAIRS = 250_000_000
"""Most pairs of a truth and a result of an image: the engine keeps the IoU of each, 2 GB for these."""

MOST_LABEL = 2**31 - 1
"""Largest number of a class: that of the engine's 32 bits."""


def image_id(value: Any) -> int | str | None:  # noqa: ANN401
    """Return the id of an image, a whole number or a text; None for anything else."""
    return value if isinstance(value, str) else whole_number(value)


def image_size(entry: dict[str, Any]) -> tuple[int, int]:
    """Return the height and width of an image of a COCO file, in pixels.

    Raises:
        ValueError: saying what is wrong with it, as the end of a sentence on the image.
    """
    height, width = whole_number(entry.get("height")), whole_number(entry.get("width"))
    if height is None or width is None or min(height, width) < 1:
        raise ValueError(
            f"has the height {short(entry.get('height'))} and the width {short(entry.get('width'))}: it needs a "
            '"height" and "width" in whole pixels'
        )
    if height * width > MOST_PIXELS:
        raise ValueError(
            f"has {width:,} x {height:,} pixels (width x height), more than the {MOST_PIXELS:,} that are evaluated at "
            "once: cut it into tiles"
        )
    return height, width


def read_label(value: Any, names: Mapping[int, str]) -> int:  # noqa: ANN401
    """Return the class of an annotation or result.

    Args:
        value: its "category_id": the number of a class, or its name.
        names: label -> name of the known classes.

    Raises:
        ValueError: saying what is wrong with it, as the end of a sentence on the entry.
    """
    label = whole_number(value)
    if label is not None and abs(label) <= MOST_LABEL:
        return label
    labels = [number for number, name in names.items() if name == value]
    if isinstance(value, str) and len(labels) == 1:
        return labels[0]
    known = some(f"{number} ({name})" for number, name in names.items())
    raise ValueError(
        f"has the category_id {short(value)} instead of the number or the name of a class" + f" ({known})" * bool(known)
    )
