"""What the report needs beside the ranking: summaries of the data and a gallery, kept for the next call."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nucleiseg.errors import InputError
from nucleiseg.leaderboard.cache import EvaluationCache
from nucleiseg.leaderboard.image_sets import ImageSet
from nucleiseg.leaderboard.scored_candidates import Scored
from nucleiseg.models.plain import from_mapping, to_mapping
from nucleiseg.progress import say
from nucleiseg.report.data_check import ImageSummary
from nucleiseg.report.gallery import GalleryImage, gallery_images

GALLERY = "gallery1"
"""What the cache calls the gallery's pictures: raise the number when they would look different."""

SUMMARIES = "summaries"
"""What the cache calls the boxes of all images of the data."""


@dataclass(frozen=True)
class StoredSummary:
    """An image's size in pixels and its (N, 4) boxes x1, y1, x2, y2 in these pixels."""

    name: str
    height: int
    width: int
    boxes: np.ndarray


def summaries_of(images: ImageSet, cache: EvaluationCache) -> Sequence[ImageSummary]:
    """Return every image of the data with its boxes; none where the data cannot be read any more, which is said."""
    stored = cache.get_json(images.data_key, SUMMARIES)
    if stored is None:
        try:
            stored = [_plain(summary) for summary in images.summaries]
        except InputError as error:
            say(f"The report goes without a chart of the data: {error}")
            return []
        cache.put_json(images.data_key, SUMMARIES, stored)
    return [StoredSummary(name, height, width, np.array(boxes).reshape(-1, 4)) for name, height, width, boxes in stored]


def gallery_of(best: Scored, cache: EvaluationCache) -> list[GalleryImage]:
    """Return the worst images of a checkpoint; none where they cannot be read any more, which is said."""
    stored = cache.get_json(best.job.key, GALLERY)
    if stored is None:
        images = best.job.images
        try:
            truths = {truth.name: truth for truth in images.truths}
        except InputError as error:
            say(f"The report goes without a gallery: {error}")
            return []
        stored = to_mapping(gallery_images(best.evaluation.record, truths, images.pixels))
        cache.put_json(best.job.key, GALLERY, stored)
    return [from_mapping(GalleryImage, image, "gallery") for image in stored]


def is_complete(best: Scored, cache: EvaluationCache) -> bool:
    """Tell whether the report of this checkpoint has its gallery and its chart of the data, so far as they are kept."""
    kept = cache.get_json(best.job.key, GALLERY), cache.get_json(best.job.images.data_key, SUMMARIES)
    return None not in kept


def _plain(summary: ImageSummary) -> tuple[str, int, int, Any]:
    return summary.name, summary.height, summary.width, summary.boxes.tolist()
