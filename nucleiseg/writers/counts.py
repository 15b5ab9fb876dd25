"""How many nuclei each image has: `counts.csv`, and the sentence that says when a count was cut."""

import csv
import io
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nucleiseg.files import write_text
from nucleiseg.structures import Prediction

COLUMNS = ("image", "image_id", "count", "threshold", "capped")


@dataclass(frozen=True)
class Count:
    """The count of one image.

    Attributes:
        image: the image's name.
        image_id: what a submission calls it by.
        count: instances with a score of at least `threshold`.
        threshold: the score threshold for counting.
        capped: whether the limit on detections was hit, so that instances may be missing.
    """

    image: str
    image_id: int
    count: int
    threshold: float
    capped: bool


def count_instances(prediction: Prediction, *, image: str, image_id: int, threshold: float, capped: bool) -> Count:
    """Count the instances of one image.

    Args:
        prediction: the image's instances.
        image: its name.
        image_id: what a submission calls it by.
        threshold: least score of an instance that counts.
        capped: whether the limit on detections was hit.
    """
    return Count(image, image_id, int((prediction.scores >= threshold).sum()), threshold, capped)


def capped_sentence(found: int, limit: int) -> str:
    """Say that an image's detections were cut at the limit, and what to do."""
    return (
        f"{found} found, {limit} allowed: the limit on detections was hit, so nuclei may be missing; "
        f"raise detections={2 * limit}."
    )


def write_counts(path: str | os.PathLike[str], counts: Iterable[Count]) -> None:
    """Write `counts.csv`: a header and a line an image; `capped` is `true` or `false`.

    Args:
        path: the file.
        counts: the images' counts, in the order of the lines.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for count in counts:
        capped = "true" if count.capped else "false"
        writer.writerow((count.image, count.image_id, count.count, f"{count.threshold:.6g}", capped))
    write_text(Path(path), text.getvalue())
