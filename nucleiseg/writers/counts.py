"""Write the number of nuclei of each image to `counts.csv`, and warn where the limit on detections was reached."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nucleiseg.files import atomic_path, to_csv
from nucleiseg.inference.image_ids import ImageId

COLUMNS = ("image", "image_id", "count", "threshold", "capped")


@dataclass(frozen=True)
class Count:
    """The count of one image.

    Attributes:
        image: the image's name.
        image_id: its id in result files.
        count: instances with a score of at least `threshold`.
        threshold: the score threshold for counting.
        capped: whether the limit on detections was reached, so that instances may be missing.
    """

    image: str
    image_id: ImageId
    count: int
    threshold: float
    capped: bool


def capped_sentence(found: int, limit: int) -> str:
    """Return a warning that an image, or a tile of it, has as many detections as are allowed, and what to do."""
    allowed = f"{limit} allowed" if found == limit else f"{limit} allowed a tile"
    return (
        f"{found} found, {allowed}: the limit on detections was hit, so nuclei may be missing; "
        f"raise detections={2 * limit}."
    )


@contextmanager
def open_counts(path: Path) -> Iterator[Callable[[Count], None]]:
    """Write `counts.csv`, whole or not at all: a header and a line an image; `capped` is `true` or `false`.

    Names that a spreadsheet would run as a formula are quoted.

    Args:
        path: the file.

    Yields:
        A function that appends the line of an image.
    """
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as handle,
    ):
        handle.write(to_csv([COLUMNS]))

        def add(count: Count) -> None:
            capped = "true" if count.capped else "false"
            handle.write(to_csv([(count.image, count.image_id, count.count, f"{count.threshold:.6g}", capped)]))

        yield add
