"""`write=[csv]`: `nuclei/NAME.csv` with a line for each nucleus, and `images.csv` with a line for each image."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from statistics import fmean, median

from pycocotools import mask as coco_mask

from nucleiseg.files import atomic_path, to_csv
from nucleiseg.rle import Crop
from nucleiseg.writers.base import Add, FinishedImage, Nucleus, PredictedImage, Record, Writer
from nucleiseg.writers.counts import nuclei_per_mm2
from nucleiseg.writers.shape import Shape
from nucleiseg.writers.stains import Stains

NUCLEUS_COLUMNS = (
    *("nucleus", "id", "class", "score", "x", "y", "left", "top", "right", "bottom"),
    *("area_px", "perimeter_px", "area_um2", "perimeter_um", "circularity", "eccentricity", "solidity"),
    *("hematoxylin_od", "eosin_od"),
)
"""Of `nuclei/NAME.csv`. nucleus: number in descending score, the value in the label image; id: as in GeoJSON; x, y:
center of mass, left .. bottom: tight box, right and bottom excluded, in pixels from the image's upper left corner;
hematoxylin_od, eosin_od: mean optical densities (`stains`), empty where the image does not look stained with them."""

IMAGE_COLUMNS = (
    *("image", "image_id", "width", "height", "um_per_px", "nuclei", "classes", "threshold", "capped"),
    *("area_px_mean", "area_px_median", "area_um2_mean", "area_um2_median", "nuclei_per_mm2"),
)
"""Of `images.csv`. classes: number of nuclei of each class that occurs; capped: whether the limit on detections was
reached; empty where micrometers per pixel are not known."""

DIGITS = 4
"""Digits after the point."""


class TableWriter(Writer):
    """Shape, place and score of each nucleus; number, size and density of the nuclei of each image."""

    def write_image(self, path: Path, image: PredictedImage) -> Record:
        """Write the table of one image, and return its line of `images.csv` without name, id and size."""
        names = [image.class_name(nucleus.label) for nucleus in image.nuclei]
        with (
            atomic_path(path) as temporary,
            temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as handle,
        ):
            handle.write(to_csv([NUCLEUS_COLUMNS]))
            columns = zip(image.nuclei, names, image.stains or repeat(None), strict=False)
            for number, (nucleus, name, stains) in enumerate(columns, 1):
                handle.write(to_csv([_nucleus_line(number, nucleus, name, image.mpp, stains)]))
        return _image_numbers(image, names, [nucleus.shape.area for nucleus in image.nuclei])

    @contextmanager
    def assembly(self, folder: Path) -> Iterator[Add]:
        """Write `images.csv`."""
        with (
            atomic_path(folder / "images.csv") as temporary,
            temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as handle,
        ):
            handle.write(to_csv([IMAGE_COLUMNS]))

            def add(image: FinishedImage) -> None:
                handle.write(
                    to_csv([(image.source.name, image.source.image_id, image.width, image.height, *image.record)])
                )

            yield add


def _nucleus_line(
    number: int, nucleus: Nucleus, name: str, mpp: float | None, stains: Stains | None
) -> tuple[object, ...]:
    """Return the values of `NUCLEUS_COLUMNS`."""
    shape = nucleus.shape
    left, top, width, height = map(int, coco_mask.toBbox(nucleus.rle))
    box = (left, top, left + width, top + height)
    return nucleus_line(number, nucleus.id, name, nucleus.score, nucleus.crop, box, shape, mpp, stains)


def nucleus_line(
    number: int,
    identity: str,
    class_name: str,
    score: float,
    crop: Crop,
    box: tuple[int, int, int, int],
    shape: Shape,
    mpp: float | None,
    stains: Stains | None = None,
) -> tuple[object, ...]:
    """Return the line of a nucleus under `NUCLEUS_COLUMNS`.

    Args:
        number: of the nucleus, from 1.
        identity: its UUID.
        class_name: the name of its class.
        score: its confidence.
        crop: its pixels in the image.
        box: left, top, right and bottom of its tight box.
        shape: its measurements, in pixels of the crop.
        mpp: micrometers per pixel; None if unknown.
        stains: its mean optical densities; None: not measured.
    """
    sizes = ("", "") if mpp is None else (_rounded(shape.area * mpp**2), _rounded(shape.perimeter * mpp))
    return (
        *(number, identity, class_name, f"{score:.6g}"),
        *(_rounded(crop.column + shape.x), _rounded(crop.row + shape.y), *box),
        *(shape.area, _rounded(shape.perimeter), *sizes),
        *map(_rounded, (shape.circularity, shape.eccentricity, shape.solidity, *(stains or (None, None)))),
    )


def _image_numbers(image: PredictedImage, names: list[str], areas: list[int]) -> list[object]:
    """Return the columns of `images.csv` from `um_per_px` on."""
    mean, middle = (fmean(areas), float(median(areas))) if areas else (None, None)
    sizes: list[object] = [_rounded(mean), _rounded(middle)]
    sizes += ["", "", ""]
    if image.mpp is not None:
        density = nuclei_per_mm2(len(areas), image.prediction.size, image.mpp)
        scaled = [None if value is None else value * image.mpp**2 for value in (mean, middle)]
        sizes[2:] = [*map(_rounded, scaled), density]
    classes = "; ".join(f"{name}: {count}" for name, count in sorted(Counter(names).items()))
    capped = "true" if image.capped else "false"
    mpp = "" if image.mpp is None else f"{image.mpp:.6g}"
    return [mpp, len(areas), classes, f"{image.threshold:.6g}", capped, *sizes]


def _rounded(value: float | None) -> float | str:
    return "" if value is None else round(value, DIGITS)
