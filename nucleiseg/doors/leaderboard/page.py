"""What the report needs beside the ranking: summaries of the data and a gallery, kept for the next call."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nucleiseg.doors.leaderboard.cache import EvaluationCache
from nucleiseg.doors.leaderboard.candidates import Scored
from nucleiseg.doors.leaderboard.images import ImageSet
from nucleiseg.errors import InputError
from nucleiseg.models.plain import from_mapping, to_mapping
from nucleiseg.progress import say
from nucleiseg.report.data_check import ImageSummary
from nucleiseg.report.gallery import GalleryImage, gallery_images

VERSION = 1
"""Of the gallery's pictures: raise it when they would look different."""


@dataclass(frozen=True)
class StoredSummary:
    """An image's size in pixels and its (N, 4) boxes x1, y1, x2, y2 in these pixels."""

    name: str
    height: int
    width: int
    boxes: np.ndarray


def summaries_of(images: ImageSet, cache: EvaluationCache) -> Sequence[ImageSummary]:
    """Return every image of the data with its boxes; none where the data cannot be read any more, which is said."""
    stored = cache.get_json(images.data_key, "summaries")
    if stored is None:
        try:
            stored = [_plain(summary) for summary in images.summaries]
        except InputError as error:
            say(f"The report goes without a chart of the data: {error}")
            return []
        cache.put_json(images.data_key, "summaries", stored)
    return [StoredSummary(name, height, width, np.array(boxes).reshape(-1, 4)) for name, height, width, boxes in stored]


def gallery_of(best: Scored, cache: EvaluationCache) -> list[GalleryImage]:
    """Return the worst images of a checkpoint; none where they cannot be read any more, which is said."""
    what = f"gallery{VERSION}"
    stored = cache.get_json(best.job.key, what)
    if stored is None:
        images = best.job.images
        try:
            truths = {truth.name: truth for truth in images.truths}
        except InputError as error:
            say(f"The report goes without a gallery: {error}")
            return []
        stored = to_mapping(gallery_images(best.evaluation.record, truths, images.pixels))
        cache.put_json(best.job.key, what, stored)
    return [from_mapping(GalleryImage, image, "gallery") for image in stored]


def _plain(summary: ImageSummary) -> tuple[str, int, int, Any]:
    return summary.name, summary.height, summary.width, summary.boxes.tolist()
