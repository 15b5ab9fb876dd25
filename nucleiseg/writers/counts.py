"""Write the number of nuclei of each image to `counts.csv`, and warn where the limit on detections was reached."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from nucleiseg.files import atomic_path, to_csv
from nucleiseg.inference.image_ids import ImageId

COLUMNS = ("image", "image_id", "count", "threshold", "capped", "um_per_px", "nuclei_per_mm2")

DENSITY_DIGITS = 4
"""Digits after the point of a density."""


@dataclass(frozen=True)
class Count:
    """The count of one image.

    Attributes:
        image: the image's name.
        image_id: its id in result files.
        count: instances with a score of at least `threshold`.
        threshold: the score threshold for counting.
        capped: whether the limit on detections was reached, so that instances may be missing.
        size: (height, width) of the image in pixels.
        mpp: micrometers per pixel; None if unknown.
        classes: name of each class -> its part of `count`.
    """

    image: str
    image_id: ImageId
    count: int
    threshold: float
    capped: bool
    size: tuple[int, int]
    mpp: float | None = None
    classes: Mapping[str, int] = field(default_factory=dict)


def nuclei_per_mm2(count: int, size: tuple[int, int], mpp: float) -> float:
    """Return the number of nuclei per square millimeter of an image.

    Args:
        count: their number.
        size: (height, width) of the image in pixels.
        mpp: micrometers per pixel.

    Examples:
        >>> nuclei_per_mm2(50, (1000, 1000), mpp=0.5)
        200.0
    """
    return round(count / (size[0] * size[1] * mpp**2 / 1e6), DENSITY_DIGITS)


def capped_sentence(found: int, limit: int) -> str:
    """Return a warning that an image, or a tile of it, has as many detections as are allowed, and what to do."""
    allowed = f"{limit} allowed" if found == limit else f"{limit} allowed a tile"
    return (
        f"{found} found, {allowed}: the limit on detections was hit, so nuclei may be missing; "
        f"raise detections={2 * limit}."
    )


@contextmanager
def open_counts(path: Path, class_names: Sequence[str] = ()) -> Iterator[Callable[[Count], None]]:
    """Write `counts.csv`, whole or not at all: a header and a line an image.

    `capped` is `true` or `false`; the last two columns are empty where micrometers per pixel are not known.
    Names that a spreadsheet would run as a formula are quoted.

    Args:
        path: the file.
        class_names: classes that have a column `count_NAME` behind the others.

    Yields:
        A function that appends the line of an image.
    """
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as handle,
    ):
        handle.write(to_csv([(*COLUMNS, *(f"count_{name}" for name in class_names))]))

        def add(count: Count) -> None:
            capped = "true" if count.capped else "false"
            resolution: tuple[object, ...] = ("", "")
            if count.mpp is not None:
                resolution = (f"{count.mpp:.6g}", nuclei_per_mm2(count.count, count.size, count.mpp))
            of_classes = [count.classes.get(name, 0) for name in class_names]
            line = (count.image, count.image_id, count.count, f"{count.threshold:.6g}", capped, *resolution)
            handle.write(to_csv([(*line, *of_classes)]))

        yield add
