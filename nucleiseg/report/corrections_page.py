"""Draw the corrections of predicted images in one HTML page, and count them in a CSV file."""

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader, select_autoescape
from PIL import Image

from nucleiseg.evaluation.corrections import OUTCOMES, Correction, count_corrections
from nucleiseg.files import atomic_path, to_csv, write_text
from nucleiseg.rle import Crop
from nucleiseg.writers.outlines import trace

LONGEST_SIDE = 2000
"""Pixels of an image in the page: some 0.5 MB as JPEG."""


@dataclass(frozen=True)
class CorrectedImage:
    """An image with its corrections.

    Attributes:
        name: the image's name.
        shape: (H, W).
        corrections: of its nuclei.
        pixels: (H, W, 3) uint8 RGB; None to draw only outlines.
    """

    name: str
    shape: tuple[int, int]
    corrections: list[Correction]
    pixels: np.ndarray | None = None


def write_corrections(folder: Path, images: Iterable[CorrectedImage]) -> list[Path]:
    """Write `corrections.csv` and `corrections.html`, whole or not at all, and return their paths.

    Args:
        folder: to write to; created if missing.
        images: consumed one at a time; the page contains each as JPEG.
    """
    rows: list[tuple[object, ...]] = []
    drawn = []
    for image in images:
        counts = count_corrections(image.corrections)
        rows.append((image.name, *(counts[outcome] for outcome in OUTCOMES)))
        drawn.append(
            {
                "name": image.name,
                "height": image.shape[0],
                "width": image.shape[1],
                "jpeg": None if image.pixels is None else _jpeg(image.pixels),
                "paths": [path for correction in image.corrections for path in _paths(correction)],
            }
        )
    table, page = folder / "corrections.csv", folder / "corrections.html"
    with atomic_path(table) as temporary:
        temporary.write_text(to_csv([("image", *OUTCOMES), *rows]), encoding="utf-8", errors="backslashreplace")
    total = [sum(int(str(row[place])) for row in rows) for place in range(1, len(OUTCOMES) + 1)]
    environment = Environment(loader=PackageLoader("nucleiseg.report"), autoescape=select_autoescape(default=True))
    template = environment.get_template("corrections.html.j2")
    write_text(page, template.render(outcomes=OUTCOMES, rows=rows, total=total, images=drawn))
    return [table, page]


def _paths(correction: Correction) -> list[tuple[str, str]]:
    """Return (CSS class, SVG path) of each outline of a correction; a redrawn nucleus has two."""
    paths = []
    if correction.outcome == "redrawn" and correction.before is not None:
        paths.append(("before", _path(correction.before.crop)))
    shown = correction.after or correction.before
    assert shown is not None
    return [*paths, (correction.outcome, _path(shown.crop))]


def _path(crop: Crop) -> str:
    rings = [ring for polygon in trace(crop.mask, crop.row, crop.column) for ring in polygon]
    return "".join("M" + "L".join(f"{x} {y}" for x, y in ring) + "Z" for ring in rings)


def _jpeg(pixels: np.ndarray) -> str:
    """Return an image as base64 text of a JPEG of at most `LONGEST_SIDE` pixels."""
    picture, buffer = Image.fromarray(pixels), io.BytesIO()
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    picture.save(buffer, "JPEG", quality=85)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
