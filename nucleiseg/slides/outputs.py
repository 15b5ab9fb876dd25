"""Write the nuclei of a slide as they are merged: GeoJSON for QuPath, a table, COCO results.

Outlines and tables are in pixels of level 0. A mask is pasted in the level-0 pixels of its window, whose origin is a
whole number, so outlines do not depend on where on the slide a nucleus lies.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid5

from nucleiseg.data.classes import class_color
from nucleiseg.errors import InputError
from nucleiseg.files import atomic_path, to_csv
from nucleiseg.inference.box_masks import crops
from nucleiseg.rle import Crop, compress, run_lengths, tight_crop
from nucleiseg.slides.merging import Merged
from nucleiseg.slides.plan import SlidePlan
from nucleiseg.structures import Color
from nucleiseg.writers.base import NAMESPACE
from nucleiseg.writers.geojson import make_feature, measure_nucleus, open_features
from nucleiseg.writers.nucleus_tables import NUCLEUS_COLUMNS, nucleus_line
from nucleiseg.writers.shape import Shape, measure_shape
from nucleiseg.writers.submission import Result, open_items, write_zip

MOST_RLE_PIXELS = 2**32 - 1
"""Pixels of the largest image that COCO's run lengths describe: pycocotools counts them in 32 bits."""

DEFAULT_SLIDE_FORMATS = ("geojson.gz", "csv")
"""Two formats that stream and that programs for slides read; a nucleus takes some 1 KB of GeoJSON, 0.15 compressed."""


@dataclass(frozen=True)
class SlideNucleus:
    """A nucleus of a slide that counts.

    Attributes:
        id: a UUID, the same whenever this checkpoint finds this box on this slide.
        crop: its pixels in level 0, without empty rows and columns.
        label: its class, 1 .. number of classes.
        score: its confidence.
        shape: its measurements, in pixels of the crop.
        is_cut: whether no window shows it whole.
    """

    id: str
    crop: Crop
    label: int
    score: float
    shape: Shape
    is_cut: bool

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom in pixels of level 0, the last two excluded."""
        height, width = self.crop.mask.shape
        return self.crop.column, self.crop.row, self.crop.column + width, self.crop.row + height


@dataclass(frozen=True)
class SlideInfo:
    """What the files say of a slide.

    Attributes:
        size: (height, width) of level 0.
        mpp: micrometers per pixel of level 0; None if unknown.
        class_names: names of the labels 1, 2, ...
        class_colors: their colors; None: `data.classes.CLASS_COLORS`.
        category_ids: their numbers in result files; None: the labels.
    """

    size: tuple[int, int]
    mpp: float | None
    class_names: tuple[str, ...]
    class_colors: tuple[Color, ...] | None = None
    category_ids: tuple[int, ...] | None = None

    def class_name(self, label: int) -> str:
        """Return the name of a class; one without a name is called by its number."""
        return self.class_names[label - 1] if label <= len(self.class_names) else str(label)


def nuclei_on_slide(merged: Merged, plan: SlidePlan, threshold: float) -> Iterator[SlideNucleus]:
    """Yield the nuclei of a window that count, in pixels of level 0.

    Args:
        merged: the detections of the window that are kept.
        plan: of the slide.
        threshold: least score of a nucleus that counts.
    """
    counts = merged.found.scores >= threshold
    found, is_cut = merged.found[counts], merged.cut[counts].tolist()
    top, left, height, width = (value * plan.downsample for value in plan.region(merged.tile))
    height, width = min(height, plan.size[0] - top), min(width, plan.size[1] - left)
    per_network_pixel = plan.downsample / plan.scale
    # one factor for all windows; `rescaled` would follow the rounded sides of the last ones
    boxes = (found.boxes.double() * per_network_pixel).clamp(min=0)
    placed = replace(found, boxes=boxes, size=(round(height), round(width)))
    columns = zip(crops(placed), boxes.tolist(), found.labels.tolist(), found.scores.tolist(), is_cut, strict=True)
    for crop, box, label, score, cut in columns:
        tight = tight_crop(int(top) + crop.row, int(left) + crop.column, crop.mask)
        if tight is None:  # a mask without a pixel
            continue
        corners = ",".join(f"{value + start:.2f}" for value, start in zip(box, (left, top, left, top), strict=True))
        identity = uuid5(NAMESPACE, f"{plan.slide}/{plan.checkpoint}/{label}/{corners}")
        yield SlideNucleus(str(identity), tight, label, score, measure_shape(tight.mask), cut)


Add = Callable[[SlideNucleus], None]
"""Appends a nucleus to a file."""


@contextmanager
def open_writers(names: Sequence[str], folder: Path, name: str, info: SlideInfo) -> Iterator[Add]:
    """Write the files of some formats, each whole or not at all, as nuclei come.

    Args:
        names: keys of `SLIDE_FORMATS`.
        folder: of the results.
        name: of the slide, without suffix.
        info: of the slide.

    Yields:
        A function that appends a nucleus to all of them.

    Raises:
        InputError: for a format that does not stream, or a slide that is too large for one.
    """
    check_slide_formats(names, info.size)
    with ExitStack() as stack:
        writers = [stack.enter_context(SLIDE_FORMATS[each](folder, name, info)) for each in dict.fromkeys(names)]

        def add(nucleus: SlideNucleus) -> None:
            for writer in writers:
                writer(nucleus)

        yield add


def check_slide_formats(names: Sequence[str], size: tuple[int, int]) -> None:
    """Refuse formats that would hold a whole slide in memory.

    Raises:
        InputError: with a sentence for each.
    """
    problems = [
        f"write has {name!r}; on a slide it accepts a list of {', '.join(SLIDE_FORMATS)}."
        for name in names
        if name not in SLIDE_FORMATS
    ]
    if "coco" in names and size[0] * size[1] > MOST_RLE_PIXELS:
        problems.append(
            f"write has 'coco'; on a slide of {size[1]} x {size[0]} pixels it accepts geojson.gz and csv: COCO's run "
            f"lengths end at {MOST_RLE_PIXELS:,} pixels."
        )
    if problems:
        raise InputError(problems)


@contextmanager
def _geojson(folder: Path, name: str, info: SlideInfo, suffix: str = ".geojson") -> Iterator[Add]:
    with open_features(
        folder / "geojson" / f"{name}{suffix}", {} if info.mpp is None else {"um_per_px": info.mpp}
    ) as add:

        def add_nucleus(nucleus: SlideNucleus) -> None:
            measurements = measure_nucleus(nucleus.shape, info.mpp)
            measurements["Detection probability"] = round(nucleus.score, 4)
            if nucleus.is_cut:
                measurements["Cut"] = 1
            class_name, color = info.class_name(nucleus.label), class_color(nucleus.label, info.class_colors)
            add(make_feature(nucleus.id, nucleus.crop, class_name, color, measurements))

        yield add_nucleus


@contextmanager
def _geojson_gz(folder: Path, name: str, info: SlideInfo) -> Iterator[Add]:
    with _geojson(folder, name, info, ".geojson.gz") as add:
        yield add


@contextmanager
def _table(folder: Path, name: str, info: SlideInfo) -> Iterator[Add]:
    with (
        atomic_path(folder / "nuclei" / f"{name}.csv") as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as handle,
    ):
        handle.write(to_csv([NUCLEUS_COLUMNS]))
        number = 0

        def add(nucleus: SlideNucleus) -> None:
            nonlocal number
            number += 1
            fields = (nucleus.id, info.class_name(nucleus.label), nucleus.score, nucleus.crop, nucleus.box)
            handle.write(to_csv([nucleus_line(number, *fields, nucleus.shape, info.mpp)]))

        yield add


@contextmanager
def _coco(folder: Path, name: str, info: SlideInfo) -> Iterator[Add]:
    height, width = info.size
    with open_items(folder / "answer.json") as add_results:

        def add(nucleus: SlideNucleus) -> None:
            left, top, right, bottom = nucleus.box
            (rle,) = compress([run_lengths(nucleus.crop, height, width)], height, width)
            bbox = [float(left), float(top), float(right - left), float(bottom - top)]
            number = nucleus.label if info.category_ids is None else info.category_ids[nucleus.label - 1]
            result = Result(image_id=1, category_id=number, segmentation=rle, bbox=bbox, score=round(nucleus.score, 6))
            add_results([result])

        yield add
    write_zip(folder / "answer.json")


SLIDE_FORMATS: Mapping[str, Callable[[Path, str, SlideInfo], AbstractContextManager[Add]]] = {
    "geojson.gz": _geojson_gz,
    "geojson": _geojson,
    "csv": _table,
    "coco": _coco,
}
"""Value of `write=` -> opens its file for a slide."""
