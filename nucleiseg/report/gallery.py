"""Render the worst images of a checkpoint: image, truth and prediction side by side, outlined by outcome."""

import base64
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO

import cv2
import numpy as np
from PIL import Image

from nucleiseg.errors import InputError
from nucleiseg.evaluation.truth import ImageTruth
from nucleiseg.leaderboard.match_outcomes import MatchOutcomes, classify_matches
from nucleiseg.leaderboard.record import EvaluationRecord, ImageRecord
from nucleiseg.progress import echo
from nucleiseg.report.outline_drawing import LineStyle, draw_outlines, find_outlines
from nucleiseg.rle import RLE
from nucleiseg.settings import Settings, settings

LARGEST_SIDE = 1000
"""Pixels of the longer side of a picture on the page."""

SMALLEST_SIDE = 640
"""Smaller images are enlarged by a whole factor to about this many pixels, so that lines do not hide nuclei."""

MOST_IMAGES = 8
"""Number of images shown."""

QUALITY = 78
"""Quality of the WebP files, 0 .. 100."""

STYLES = {
    "found": LineStyle((86, 210, 255), "solid", 1, 1),
    "missed": LineStyle((255, 236, 60), "dashed", 2, 4, 9.0),
    "false": LineStyle((255, 166, 0), "dotted", 4, 5, 7.0),
    "merged": LineStyle((0, 230, 160), "solid", 4, 7),
    "ignored": LineStyle((225, 225, 225), "dashed", 1, 3, 14.0),
}
"""Outcome -> line. Sky blue, yellow, orange and bluish green of Okabe and Ito (2008), brightened to stand out from dark
and from stained backgrounds; the lines are distinguishable without colors too."""


@settings
class Picture(Settings):
    """A picture for a page.

    Attributes:
        uri: `data:image/webp;base64,...`.
        width: in pixels.
        height: in pixels.
    """

    uri: str
    width: int
    height: int


@settings
class GalleryImage(Settings):
    """One image with the outcomes of its nuclei and predictions, see `MatchOutcomes`.

    Attributes:
        name: the image's name.
        image: the image alone.
        truth: with true nuclei (found, missed) and crowd regions (ignored).
        prediction: with predictions (found, false, merged, ignored).
        score_threshold: least score of a prediction that is shown.
        truths: number of true nuclei.
        predictions: number of predictions that are shown.
        found, missed, false, merged, ignored: number of each outcome.
        crowd_regions: number of regions whose nuclei are not annotated one by one.
        f1: 2 found / (2 found + missed + false).
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
    ignored: int
    crowd_regions: int
    f1: float


def gallery_images(
    record: EvaluationRecord,
    truths: Mapping[str, ImageTruth],
    pixels: Callable[[str], np.ndarray],
    most: int = MOST_IMAGES,
) -> list[GalleryImage]:
    """Render the images of an evaluation with the lowest F1 at IoU 0.5, the worst first.

    Images without available truth or pixels are omitted, with a message.

    Args:
        record: the evaluation.
        truths: the truth of each image by its name.
        pixels: returns the (H, W, 3) uint8 RGB image of a name; called only for images that are rendered.
        most: number of images to render.
    """
    candidates = []
    for image in record.images:
        if image.name in truths:
            truth = truths[image.name]
            candidates.append((image, truth, classify_matches(truth, image.results, record.count_threshold)))
    candidates.sort(key=lambda item: (item[2].f1, -item[2].errors, item[0].name))
    rendered: list[GalleryImage] = []
    for image, truth, outcomes in candidates:
        if len(rendered) == most:
            break
        try:
            rendered.append(render_image(image, truth, outcomes, pixels(image.name), record.count_threshold))
        except InputError as error:
            echo(f"The gallery leaves out image {image.name}: {error}")
    return rendered


def render_image(
    image: ImageRecord, truth: ImageTruth, outcomes: MatchOutcomes, pixels: np.ndarray, score_threshold: float
) -> GalleryImage:
    """Render the three pictures of one image and count its outcomes.

    Args:
        image: the detections.
        truth: the true instances.
        outcomes: of both, at `score_threshold`.
        pixels: (H, W, 3) uint8 RGB.
        score_threshold: least score of a shown prediction.

    Raises:
        InputError: if the pixels have another size than the truth.
    """
    if pixels.shape[:2] != (truth.height, truth.width):
        raise InputError(
            f"{image.name} has {pixels.shape[0]} x {pixels.shape[1]} pixels (height x width), but its truth "
            f"{truth.height} x {truth.width}: the file has changed since it was scored."
        )
    side = max(pixels.shape[:2])
    scale = LARGEST_SIDE / side if side > LARGEST_SIDE else float(max(round(SMALLEST_SIDE / side), 1))
    panel = np.ascontiguousarray(pixels)
    if scale != 1:
        size = tuple(max(round(length * scale), 1) for length in (pixels.shape[1], pixels.shape[0]))
        panel = cv2.resize(panel, size, interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA)
    shown = [image.results.masks[index] for index in outcomes.shown]
    crowd = [region.mask for region in truth.crowd]
    is_crowd = np.arange(len(crowd) + len(truth.masks)) < len(crowd)
    missed = np.concatenate([np.zeros(len(crowd), bool), outcomes.missed])
    true_groups = {"ignored": is_crowd, "found": ~missed & ~is_crowd, "missed": missed}
    alone = ~outcomes.merged
    groups = {
        "ignored": outcomes.ignored & alone,
        "found": outcomes.found & alone,
        "false": outcomes.false & alone,
        "merged": outcomes.merged,
    }
    return GalleryImage(
        name=image.name,
        image=_encode(panel),
        truth=_encode(_outlined(panel, scale, [*crowd, *truth.masks], true_groups)),
        prediction=_encode(_outlined(panel, scale, shown, groups)),
        score_threshold=score_threshold,
        truths=len(truth.masks),
        predictions=len(shown),
        **{name: int(getattr(outcomes, name).sum()) for name in STYLES},
        crowd_regions=len(crowd),
        f1=outcomes.f1,
    )


def _outlined(panel: np.ndarray, scale: float, masks: Sequence[RLE], groups: Mapping[str, np.ndarray]) -> np.ndarray:
    """Outline groups of masks, each in the style of its outcome, on a copy of the panel; later groups on top."""
    picture = panel.copy()
    outlines = find_outlines(masks)
    for outcome, chosen in groups.items():
        draw_outlines(picture, [outlines[index] for index in np.flatnonzero(chosen)], STYLES[outcome], scale)
    return picture


def _encode(picture: np.ndarray) -> Picture:
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, format="WEBP", quality=QUALITY)
    uri = f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
    return Picture(uri=uri, width=picture.shape[1], height=picture.shape[0])
