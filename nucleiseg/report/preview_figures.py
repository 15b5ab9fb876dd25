"""Plot a data set before training: raw images, nuclei per image, augmented crops with their outlines."""

import os
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from nucleiseg.files import atomic_path
from nucleiseg.report.data_check import ImageSummary
from nucleiseg.structures import Sample, Target

if TYPE_CHECKING:  # Albumentations takes a second to import; a leaderboard goes without
    from nucleiseg.transforms.recipe import Recipe

BLUE, ORANGE, GREEN, VERMILLION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
"""Colors that are distinguishable with any color vision (Okabe and Ito, "Color Universal Design", 2008)."""

OUTLINES = ("#F0E442", "#56B4E9", "#FFFFFF")
"""Yellow, sky blue and white, which do not occur in H&E; adjacent instances mostly differ."""

LIMIT_STYLES = ((VERMILLION, "--"), (GREEN, "-."), (ORANGE, ":"))

SHOWN_IMAGES = 24
NAMED_IMAGES = 40
IMAGE_INCHES, CROP_INCHES = 2.6, 3.6
"""Side of one picture on the sheet of raw images and on that of crops, in inches."""

DPI = 120


def write_preview(
    output: str | os.PathLike[str],
    load: Callable[[int], Sample],
    summaries: Sequence[ImageSummary],
    recipe: "Recipe",
    limits: Mapping[str, int],
    *,
    crops: int = 12,
    seed: int = 0,
) -> list[Path]:
    """Plot the figures of a data set: raw images, nuclei per image, augmented crops.

    Args:
        output: the folder for `images.png`, `nuclei_per_image.png` and `augmented_crops.png`.
        load: returns the image with an index; called only for images that are shown.
        summaries: one for each image of the data set, in the order of the indices.
        recipe: the augmentation to show.
        limits: name of a limit for the legend -> number: {"detections": 500}.
        crops: number of augmented crops to show, spread over the images.
        seed: of the first crop; the others have the following numbers.

    Returns:
        The files, in this order.
    """
    count = len(summaries)
    indices = np.linspace(0, count - 1, min(count, SHOWN_IMAGES)).round().astype(int).tolist()
    chosen = np.linspace(0, count - 1, crops).round().astype(int).tolist()
    figures = {
        "images": draw_images(list(map(load, indices)), count),
        "nuclei_per_image": draw_counts(summaries, limits),
        "augmented_crops": draw_crops([recipe(load(index), seed + i) for i, index in enumerate(chosen)]),
    }
    paths = []
    for name, figure in figures.items():
        path = Path(output) / f"{name}.png"
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=DPI)
        paths.append(path)
    return paths


def draw_images(samples: Sequence[Sample], total: int) -> Figure:
    """Plot a sheet of raw images.

    Args:
        samples: the images to show.
        total: number of images in the data set.
    """
    title = f"Raw images, {len(samples)} of {total} (sizes in pixels)"
    figure, axes = _sheet(len(samples), title, columns=6, inches=IMAGE_INCHES)
    for axis, sample in zip(axes, samples, strict=True):
        height, width = sample.image.shape[:2]
        image, factor = sample.image, IMAGE_INCHES * DPI / max(height, width)
        if factor < 1:  # downsample to the shown size
            image = cv2.resize(np.ascontiguousarray(image), None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        axis.imshow(image)
        axis.set_title(f"{_shorten(sample.name)}\n{width} x {height}, {len(sample):,} nuclei", fontsize=7)
    return figure


def draw_crops(augmented: Sequence[tuple[Tensor, Target]]) -> Figure:
    """Plot a sheet of augmented crops, each instance with its outline.

    Args:
        augmented: (3, h, w) uint8 RGB images with their targets, as a `Recipe` returns them.
    """
    title = "Augmented crops as the network sees them (sizes in pixels)"
    figure, axes = _sheet(len(augmented), title, columns=4, inches=CROP_INCHES)
    for axis, (image, target) in zip(axes, augmented, strict=True):
        axis.imshow(image.permute(1, 2, 0).numpy())
        outlines = find_outlines(target)
        colors = [OUTLINES[int(value) % len(OUTLINES)] for value in target.values]
        axis.add_collection(LineCollection(outlines, colors="black", linewidths=2.0, alpha=0.6))  # for pale backgrounds
        axis.add_collection(LineCollection(outlines, colors=colors, linewidths=1.0))
        height, width = image.shape[1:]
        note = f"{width} x {height}, scale {target.scale:.2f}, {len(target):,} nuclei"
        axis.set_title(f"{_shorten(target.name)}\n{note}", fontsize=9)
    return figure


def find_outlines(target: Target) -> list[np.ndarray]:
    """Return the closed outline of each instance: (P, 2) x, y of the centers of its border pixels.

    An instance of several parts is outlined by its largest.
    """
    outlines = []
    for index, (left, top, right, bottom) in enumerate(target.boxes.int().tolist()):
        plane = target.layers[target.layer_index[index]]
        mask = (plane[top:bottom, left:right] == target.values[index]).numpy().astype(np.uint8)
        parts, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        points = max(parts, key=len)[:, 0] + (left, top)
        outlines.append(np.concatenate([points, points[:1]]))
    return outlines


def draw_counts(summaries: Sequence[ImageSummary], limits: Mapping[str, int]) -> Figure:
    """Plot the number of nuclei of each image as a line, with limits as horizontal lines.

    Args:
        summaries: the images, in the order of the plot.
        limits: name of a limit -> number.
    """
    counts = np.array([len(summary.boxes) for summary in summaries])
    figure = Figure(figsize=(max(7.0, min(14.0, 3 + 0.35 * len(counts))), 5.0), layout="constrained")
    axis = figure.add_subplot()
    axis.plot(counts, color=BLUE, marker="o", markersize=4, linewidth=1.4, label="nuclei in the image")
    ceiling = 2 * max(int(counts.max()), 1)
    for (name, limit), (color, style) in zip(limits.items(), cycle(LIMIT_STYLES), strict=False):
        lost = int((counts - limit).clip(min=0).sum())
        cut = f"cuts {int((counts > limit).sum())} of {len(counts)} images, {lost:,} nuclei" if lost else "cuts nothing"
        label = f"limit of {limit:,} {name}: {cut}"
        if limit <= ceiling:
            axis.axhline(limit, color=color, linestyle=style, linewidth=1.4, label=label)
        else:  # a line there would flatten the curve of the counts
            axis.plot([], [], color=color, linestyle=style, label=f"{label} (above the chart)")
    title = f"Nuclei per image: {counts.sum():,} in {len(counts)} images (median {np.median(counts):,.0f})"
    axis.set_title(title, fontsize=11)
    axis.set_ylabel("nuclei in an image (number)")
    axis.set_ylim(bottom=0)
    names = [summary.name for summary in summaries]
    if len(names) <= NAMED_IMAGES:
        axis.set_xticks(range(len(names)), [_shorten(name) for name in names], rotation=60, ha="right", fontsize=7)
    else:
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.set_xlabel("image (number in the order of names)")
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    axis.grid(axis="y", color="0.9")
    axis.legend(frameon=False, fontsize=8, loc="best")
    return figure


def _sheet(count: int, title: str, columns: int, inches: float) -> tuple[Figure, list[Axes]]:
    """Return a figure with a grid of `count` axes without ticks."""
    columns = min(columns, max(count, 1))
    rows = -(-count // columns)
    figure = Figure(figsize=(columns * inches, max(rows, 1) * (inches + 0.35) + 0.35), layout="constrained")
    figure.suptitle(title, fontsize=11)
    axes = [figure.add_subplot(max(rows, 1), columns, index + 1) for index in range(count)]
    for axis in axes:
        axis.set_axis_off()
    return figure, axes


def _shorten(name: str, length: int = 24) -> str:
    return name if len(name) <= length else f"{name[: length - 1]}…"
