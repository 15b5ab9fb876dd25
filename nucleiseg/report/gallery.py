"""The worst images of a checkpoint: image, truth and prediction side by side, each nucleus drawn by its verdict."""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO

import cv2
import numpy as np
from PIL import Image

from nucleiseg.errors import InputError
from nucleiseg.evaluation.truth import ImageTruth
from nucleiseg.leaderboard.record import EvaluationRecord, ImageRecord
from nucleiseg.progress import say
from nucleiseg.report.outlines import LineStyle, draw_outlines, find_outlines
from nucleiseg.report.verdicts import Verdicts, judge
from nucleiseg.rle import RLE

LARGEST_SIDE = 1000
"""Pixels of the longer side of a picture on the page."""

SMALLEST_SIDE = 640
"""Smaller images are enlarged by a whole factor to about this many pixels, so that lines do not hide the nuclei."""

MOST_IMAGES = 8
"""Images that one checkpoint shows."""

QUALITY = 78
"""Of the WebP files, 0 .. 100."""

STYLES = {
    "found": LineStyle((86, 210, 255), "solid", 1, 1),
    "missed": LineStyle((255, 236, 60), "dashed", 2, 4, 9.0),
    "false": LineStyle((255, 166, 0), "dotted", 4, 5, 7.0),
    "merged": LineStyle((0, 230, 160), "solid", 4, 7),
}
"""Verdict -> line. Sky blue, yellow, orange and bluish green of Okabe and Ito (2008), brightened to stand out from dark
and from stained backgrounds; the lines are told apart without colours too."""


@dataclass(frozen=True)
class Picture:
    """A picture for a page.

    Attributes:
        uri: `data:image/webp;base64,...`.
        width: in pixels.
        height: in pixels.
    """

    uri: str
    width: int
    height: int


@dataclass(frozen=True)
class GalleryImage:
    """One image with what became of its nuclei.

    Attributes:
        name: the image's name.
        image: the image alone.
        truth: with true nuclei, found and missed.
        prediction: with predictions, found, false and merged.
        score_threshold: least score of a prediction that is shown.
        truths: true nuclei.
        predictions: predictions that are shown.
        found: predictions with a match at IoU 0.5.
        missed: true nuclei without a match.
        false: predictions without a match.
        merged: predictions, found or false, that cover more than half of each of two or more true nuclei.
        f1: 2 found / (predictions + truths).
    """

    name: str
    image: Picture
    truth: Picture
    prediction: Picture
    score_threshold: float
    truths: int
    predictions: int
    found: int
    missed: int
    false: int
    merged: int
    f1: float


def gallery_images(
    record: EvaluationRecord,
    truths: Mapping[str, ImageTruth],
    pixels: Callable[[str], np.ndarray],
    most: int = MOST_IMAGES,
) -> list[GalleryImage]:
    """Draw the images of an evaluation with the lowest F1 at IoU 0.5, the worst first.

    An image whose truth or pixels cannot be had is left out with a sentence.

    Args:
        record: the evaluation.
        truths: the truth of each image by its name.
        pixels: returns the (H, W, 3) uint8 RGB image of a name; it is asked for those that are drawn alone.
        most: how many images to draw.
    """
    judged = [
        (image, truths[image.name], judge(truths[image.name], image.results, record.count_threshold))
        for image in record.images
        if image.name in truths
    ]
    judged.sort(key=lambda item: (item[2].f1, -_errors(item[2]), item[0].name))
    drawn: list[GalleryImage] = []
    for image, truth, verdicts in judged:
        if len(drawn) == most:
            break
        try:
            drawn.append(draw_image(image, truth, verdicts, pixels(image.name), record.count_threshold))
        except InputError as error:
            say(f"The gallery leaves out image {image.name}: {error}")
    return drawn


def draw_image(
    image: ImageRecord, truth: ImageTruth, verdicts: Verdicts, pixels: np.ndarray, score_threshold: float
) -> GalleryImage:
    """Draw the three pictures of one image and count its verdicts.

    Args:
        image: what was found.
        truth: what there is to find.
        verdicts: on both.
        pixels: (H, W, 3) uint8 RGB, of the size of the truth.
        score_threshold: that the verdicts were made with.

    Raises:
        InputError: if the pixels are of another size than the truth.
    """
    if pixels.shape[:2] != (truth.height, truth.width):
        raise InputError(
            f"{image.name} is {pixels.shape[0]} x {pixels.shape[1]} pixels (height x width), but its truth "
            f"{truth.height} x {truth.width}: the file has changed since it was scored."
        )
    panel, scale = _panel(pixels)
    shown = [image.results.masks[index] for index in verdicts.shown]
    alone = ~verdicts.merged
    true_groups = [("found", ~verdicts.missed), ("missed", verdicts.missed)]
    groups = [("found", verdicts.found & alone), ("false", ~verdicts.found & alone), ("merged", verdicts.merged)]
    return GalleryImage(
        name=image.name,
        image=_encode(panel),
        truth=_encode(_outlined(panel, scale, truth.masks, true_groups)),
        prediction=_encode(_outlined(panel, scale, shown, groups)),
        score_threshold=score_threshold,
        truths=len(truth.masks),
        predictions=len(shown),
        found=int(verdicts.found.sum()),
        missed=int(verdicts.missed.sum()),
        false=int((~verdicts.found).sum()),
        merged=int(verdicts.merged.sum()),
        f1=verdicts.f1,
    )


def _errors(verdicts: Verdicts) -> int:
    return int(verdicts.missed.sum()) + int((~verdicts.found).sum())


def _panel(pixels: np.ndarray) -> tuple[np.ndarray, float]:
    """Bring an image to a comfortable size; return it with the pixels of it per pixel of the image."""
    side = max(pixels.shape[:2])
    scale = LARGEST_SIDE / side if side > LARGEST_SIDE else float(max(round(SMALLEST_SIDE / side), 1))
    if scale == 1:
        return pixels, 1.0
    size = tuple(max(round(length * scale), 1) for length in (pixels.shape[1], pixels.shape[0]))
    method = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    return cv2.resize(np.ascontiguousarray(pixels), size, interpolation=method), scale


def _outlined(
    panel: np.ndarray, scale: float, masks: Sequence[RLE], groups: Sequence[tuple[str, np.ndarray]]
) -> np.ndarray:
    """Draw groups of masks, each in the style of its verdict, onto a copy of the panel; later ones on top."""
    drawn = np.ascontiguousarray(panel).copy()
    outlines = find_outlines(masks)
    for verdict, chosen in groups:
        draw_outlines(drawn, [outlines[index] for index in np.flatnonzero(chosen)], STYLES[verdict], scale)
    return drawn


def _encode(picture: np.ndarray) -> Picture:
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, format="WEBP", quality=QUALITY)
    uri = f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
    return Picture(uri, picture.shape[1], picture.shape[0])
