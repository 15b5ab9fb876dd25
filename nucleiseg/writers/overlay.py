"""`write=[overlays]`: the image beside its prediction, as a PNG."""

import math
import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from nucleiseg.files import atomic_path
from nucleiseg.inference.box_masks import crops
from nucleiseg.progress import counted
from nucleiseg.structures import Color, Prediction
from nucleiseg.writers.base import PredictedImage, Record, Writer

COLORS = np.array([(240, 228, 66), (0, 235, 255), (0, 190, 130), (255, 255, 255), (240, 159, 0)], dtype=np.uint8)
"""RGB of the outlines, from the color-blind-safe set of Okabe and Ito (2008): those that stand out from the pink and
purple of hematoxylin and eosin, slightly brightened, and white."""

CELL = 4
"""Pixels of the squares on which neighbors are looked up when colors are chosen."""

FILL = 0.16
"""Share of the outline's color inside an instance: enough to see which pixels belong together, and the tissue below."""

SMALLEST_SIDE = 900
"""Smaller images are enlarged by a whole factor to about this many pixels, so that outlines are smooth."""

LARGEST_SIDE = 3000
"""Larger images are shrunk to so many pixels: an overlay is for looking at."""

PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_SUB]
"""One filter for all rows: of stained tissue, files as small as by libpng's choice for each row, in half the time."""

GUTTER = 12
"""Pixels between the two panels and around the captions."""


class OverlayWriter(Writer):
    """The nuclei that count, outlined in the colors of their classes; of a single class, neighbors differ in color."""

    def write_image(self, path: Path, image: PredictedImage) -> Record:
        """Write the overlay of one image."""
        shown = image.prediction[torch.from_numpy(image.counted)]
        counts = image.class_counts
        legend = [(f"{name}: {counts[name]}", image.class_color(i)) for i, name in enumerate(image.class_names, 1)]
        title, classes = image.source.name, legend if len(legend) > 1 else ()
        write_overlay(path, image.pixels, shown, image.threshold, title, classes)
        return None


def draw_instances(
    image: np.ndarray, prediction: Prediction, threshold: float = 0.0, class_colors: Sequence[Color] = ()
) -> np.ndarray:
    """Draw each instance's outline, and a light tint inside it, onto a copy of the image.

    Masks are pasted at the size of the given image, so an enlarged image gets smoother outlines, not larger pixels.

    Args:
        image: (H, W, 3) uint8 RGB.
        prediction: the instances, in pixels of an image of any size of the same proportions.
        threshold: instances of a lower score are left out.
        class_colors: color of the labels 1, 2, ...; empty: neighbors get different colors of `COLORS`.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    shown = prediction[prediction.scores >= threshold].rescaled((image.shape[0], image.shape[1]))
    palette = np.array(class_colors, np.uint8) if class_colors else COLORS
    colors = (
        ((shown.labels - 1) % len(palette)).tolist()
        if class_colors
        else _colors_unlike_neighbors(shown.boxes.cpu().numpy(), shown.size)
    )
    tint = np.ascontiguousarray(image).copy()
    outlines: list[list[np.ndarray]] = [[] for _ in palette]
    for crop, color in zip(crops(shown), colors, strict=True):
        tint[crop.window][crop.mask] = palette[color]
        outlines[color] += cv2.findContours(
            crop.mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE, offset=(crop.column, crop.row)
        )[0]
    drawn = cv2.addWeighted(image, 1 - FILL, tint, FILL, 0)
    width = 2 if max(shown.size) > SMALLEST_SIDE // 2 else 1
    for contours, color in zip(outlines, palette.tolist(), strict=True):
        cv2.polylines(drawn, contours, True, color, width, cv2.LINE_AA)
    return drawn


def side_by_side(
    image: np.ndarray,
    prediction: Prediction,
    threshold: float = 0.0,
    title: str = "",
    classes: Sequence[tuple[str, Color]] = (),
) -> np.ndarray:
    """Put an image beside its prediction, with a caption above each, and a legend of the classes below.

    Args:
        image: (H, W, 3) uint8 RGB.
        prediction: the instances, in pixels of an image of any size of the same proportions.
        threshold: instances of a lower score are left out.
        title: the image's name.
        classes: text of the legend and color of the labels 1, 2, ...; empty: as in `draw_instances`, without a legend.

    Returns:
        (h, w, 3) uint8 RGB.
    """
    # a small image is enlarged by a whole factor, one that no screen shows is shrunk
    side = max(image.shape[:2])
    factor = float(max(round(SMALLEST_SIDE / side), 1)) if side <= LARGEST_SIDE else LARGEST_SIDE / side
    panel = image
    if factor != 1:
        size = (max(round(image.shape[1] * factor), 1), max(round(image.shape[0] * factor), 1))
        panel = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC if factor > 1 else cv2.INTER_AREA)
    drawn = draw_instances(panel, prediction, threshold, [color for _, color in classes])
    height, width = panel.shape[:2]
    font_size = max(14, min(width, 1200) // 38)
    top = font_size + 2 * GUTTER
    bottom = top if classes else GUTTER
    sheet = np.full((top + height + bottom, 2 * width + 3 * GUTTER, 3), 255, dtype=np.uint8)
    sheet[top : top + height, GUTTER : GUTTER + width] = panel
    sheet[top : top + height, 2 * GUTTER + width : 2 * (GUTTER + width)] = drawn
    count = int((prediction.scores >= threshold).sum())
    found = counted(count, "nucleus", "nuclei") + (f", score {threshold:.2f} or more" if threshold > 0 else "")
    for left, text in ((GUTTER, title), (2 * GUTTER + width, found)):
        _write_caption(sheet[:top, left : left + width], text, font_size)
    column = (width + GUTTER) * 2 // max(len(classes), 1)
    for number, (text, color) in enumerate(classes):
        strip = sheet[top + height :, GUTTER + number * column : (number + 1) * column]
        strip[GUTTER : GUTTER + font_size, :font_size] = color
        _write_caption(strip[:, font_size + GUTTER // 2 :], text, font_size)
    return sheet


def write_overlay(
    path: str | os.PathLike[str],
    image: np.ndarray,
    prediction: Prediction,
    threshold: float = 0.0,
    title: str = "",
    classes: Sequence[tuple[str, Color]] = (),
) -> None:
    """Write `side_by_side` as a PNG, whole or not at all; the arguments after the path are the same."""
    sheet = side_by_side(image, prediction, threshold, title, classes)
    _, data = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR), PNG)
    with atomic_path(Path(path)) as temporary:
        temporary.write_bytes(data.data)


def _colors_unlike_neighbors(boxes: np.ndarray, size: tuple[int, int]) -> list[int]:
    """Choose an index into `COLORS` for each instance: the one that is least around its box so far.

    Args:
        boxes: (N, 4) x1, y1, x2, y2 inside an image of `size`.
        size: (height, width) of the image.
    """
    count = len(COLORS)
    taken = np.zeros((size[0] // CELL + 2, size[1] // CELL + 2), dtype=np.int64)  # color + 1 at each cell, coarse
    chosen = []
    for number, (x1, y1, x2, y2) in enumerate((boxes // CELL).astype(np.int64).tolist()):
        around = taken[max(y1 - 1, 0) : y2 + 2, max(x1 - 1, 0) : x2 + 2]
        used = np.bincount(around.ravel(), minlength=count + 1)[1:].tolist()
        in_turn = ((number + step) % count for step in range(count))  # of equally rare ones, each has its turn
        color = min(in_turn, key=used.__getitem__)
        taken[y1 : y2 + 1, x1 : x2 + 1] = color + 1
        chosen.append(color)
    return chosen


def _write_caption(strip: np.ndarray, text: str, size: int) -> None:
    """Write a caption above a panel, in smaller letters where it would not fit; control characters become boxes.

    Args:
        strip: (h, w, 3) uint8, the part of the sheet above the panel, which is written to.
        text: the caption.
        size: height of the letters in pixels.
    """
    picture = Image.fromarray(strip)
    draw = ImageDraw.Draw(picture)
    text = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
    width = strip.shape[1]
    size = min(size, math.floor(size * width / max(draw.textlength(text, ImageFont.load_default(size)), 1)))
    if size > 0:
        draw.text((0, GUTTER), text, fill=(40, 40, 40), font=ImageFont.load_default(size))
        strip[:] = np.asarray(picture)
