"""Anybody's predictions: a COCO result file (https://cocodataset.org/#format-results), or a zip with one in it."""

import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, Self

from nucleiseg.errors import InputError, raise_problems, some
from nucleiseg.evaluation.boxes import Box, given_or_tight, read_box
from nucleiseg.evaluation.label_maps import sound
from nucleiseg.evaluation.segmentations import to_rle
from nucleiseg.evaluation.truth import ImageId, ImageTruth, Truth
from nucleiseg.files import DAMAGED_ARCHIVE, parse_json, read_json
from nucleiseg.inference.box_masks import RLE, area
from nucleiseg.inference.box_masks import to_rle as encode
from nucleiseg.structures import Prediction

FORM = 'a COCO result file: a list of {"image_id", "category_id", "segmentation", "score"}'
KEYS = ("image_id", "category_id", "segmentation", "score")


@dataclass
class ImageResults:
    """The instances that were found in one image.

    Attributes:
        masks: M masks over the image.
        scores: M confidences.
        labels: M classes.
        boxes: M boxes; None where the file gives none: they are the tight boxes of the masks.
    """

    masks: list[RLE] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    boxes: list[Box] | None = None

    @classmethod
    def of(cls, prediction: Prediction) -> Self:
        """Take the detections of a prediction whose mask has a pixel, over the image that it refers to."""
        masks = encode(prediction)
        kept = area(masks).nonzero()[0].tolist()
        scores, labels = prediction.scores.tolist(), prediction.labels.tolist()
        return cls([masks[i] for i in kept], [scores[i] for i in kept], [labels[i] for i in kept])


@dataclass(frozen=True)
class Results:
    """The instances that were found.

    Attributes:
        images: image id -> instances; an image without any is not in it.
        notes: sentences on what a reader of the numbers should know.
    """

    images: Mapping[ImageId, ImageResults]
    notes: tuple[str, ...] = ()


def read_results(path: Path, truth: Truth) -> Results:
    """Read a result file and check it against the truth.

    Args:
        path: `answer.json`, or a zip that holds one JSON file (or one of that name).
        truth: the images that results may be of, their sizes and classes. Results of images that could not be read
            are left out with them.

    Raises:
        InputError: if the file is of another kind; or with a sentence for results of unknown images or classes, for
            masks of another size than their image, and for entries that are not sound.
    """
    document = _read_zip(path) if zipfile.is_zipfile(path) else read_json(path)
    if isinstance(document, dict) and "annotations" in document:
        raise InputError(f"predictions={path} is a COCO data set, which is truth; expected is {FORM}.")
    if not isinstance(document, list):
        raise InputError(f"predictions={path} holds a JSON {type(document).__name__}; expected is {FORM}.")
    where = f"predictions={path}"
    grouped = _group(document, where)
    _refuse_strangers(grouped, truth, where)
    problems: list[str] = []
    images = {image.image_id: image for image in truth.images}
    found = {
        image_id: _image_results(images[image_id], entries, where, problems)
        for image_id, entries in grouped.items()
        if image_id in images
    }
    raise_problems(problems)
    return Results(found, _repeats(found))


def _read_zip(path: Path) -> Any:  # noqa: ANN401
    """Parse the only JSON file of a zip, or its `answer.json`."""
    chosen = "it"
    try:
        with zipfile.ZipFile(path) as archive:
            chosen = _only_json(archive.namelist(), path)
            data = archive.read(chosen)
    except DAMAGED_ARCHIVE as error:
        raise InputError(f"predictions={path}: {chosen} cannot be unpacked ({error}).") from error
    return parse_json(data, f"{path}: {chosen}")


def _only_json(members: Sequence[str], path: Path) -> str:
    """Return the name of the only JSON file among the members of a zip, or of its `answer.json`."""
    names = [
        name
        for name in members
        if name.lower().endswith(".json") and not name.startswith("__MACOSX/") and not Path(name).name.startswith(".")
    ]
    answers = [name for name in names if Path(name).name == "answer.json"]
    chosen = answers if len(answers) == 1 else names
    if len(chosen) != 1:
        holds = f"{len(names)} JSON files ({some(names)})" if names else "no JSON file"
        raise InputError(f"predictions={path} holds {holds}; expected is one, answer.json.")
    return chosen[0]


def _group(document: Sequence[Any], where: str) -> dict[ImageId, list[tuple[int, dict[str, Any]]]]:
    """Check the form of each result; return (place in the file, result) by image."""
    grouped: dict[ImageId, list[tuple[int, dict[str, Any]]]] = {}
    problems = []
    for number, entry in enumerate(document, 1):
        problem = _problem(entry)
        if problem is None:
            grouped.setdefault(entry["image_id"], []).append((number, entry))
        else:
            problems.append(f"{where}: result {number} {problem}; expected is {FORM}.")
    raise_problems(problems)
    return grouped


def _problem(entry: Any) -> str | None:  # noqa: ANN401
    """Say what is wrong with the form of a result; None if nothing is."""
    if not isinstance(entry, dict):
        return f"is of type {type(entry).__name__}"
    missing = [key for key in KEYS if key not in entry]
    if missing:
        return f"has no {', '.join(missing)}" + (" but a box: masks are evaluated here" if "bbox" in entry else "")
    if not isinstance(entry["image_id"], int | str) or not isinstance(entry["category_id"], int):
        return f"has the image_id {entry['image_id']!r} and the category_id {entry['category_id']!r}"
    if not isinstance(entry["score"], int | float) or not isfinite(entry["score"]):
        return f"has the score {entry['score']!r}"
    try:
        read_box(entry)
    except ValueError as error:
        return str(error)
    return None


def _refuse_strangers(grouped: Mapping[ImageId, Sequence[Any]], truth: Truth, where: str) -> None:
    """Refuse results of images or classes that the truth does not have."""
    known = {image.image_id for image in truth.images} | {image.image_id for image in truth.unreadable}
    strangers = [image_id for image_id in grouped if image_id not in known]
    problems = []
    if strangers:
        count = sum(len(grouped[image_id]) for image_id in strangers)
        asked, has = some(map(repr, strangers)), some(map(repr, known))
        problems.append(
            f"{where}: the truth lacks the image ids {asked}, of which there are results ({count}); it has {has}: "
            "give the truth of these images too, or as ids= the file of ids of these results."
        )
    labels = Counter(entry["category_id"] for entries in grouped.values() for _, entry in entries)
    for label in sorted(labels.keys() - truth.categories.keys()):
        classes = some(f"{number} ({name})" for number, name in truth.categories.items())
        problems.append(
            f"{where} has results of category_id {label} ({labels[label]} of them); the truth has {classes}."
        )
    raise_problems(problems)


def _image_results(
    image: ImageTruth, entries: Sequence[tuple[int, dict[str, Any]]], where: str, problems: list[str]
) -> ImageResults:
    """Bring the masks of one image to run lengths; one sentence an image if some are not sound."""
    masks: list[RLE] = []
    wrong: list[tuple[int, str]] = []
    for number, entry in entries:
        try:
            masks.append(to_rle(entry["segmentation"], image.height, image.width))
        except ValueError as error:
            wrong.append((number, str(error)))
    if not wrong:
        damaged = (~sound(masks, image.height, image.width)).nonzero()[0].tolist()
        reason = f"has run lengths that do not add up to {image.height} x {image.width} pixels"
        wrong = [(entries[index][0], reason) for index in damaged]
    if wrong:
        more = f" More such masks in this image: {len(wrong) - 1}." if len(wrong) > 1 else ""
        number, reason = wrong[0]
        problems.append(
            f"{where}: the mask of result {number} (image {image.name}, id {image.image_id}) {reason}: masks must "
            f"be in pixels of the image itself.{more}"
        )
        return ImageResults()
    return ImageResults(
        masks=masks,
        scores=[float(entry["score"]) for _, entry in entries],
        labels=[entry["category_id"] for _, entry in entries],
        boxes=given_or_tight([read_box(entry) for _, entry in entries], masks),
    )


def _repeats(found: Mapping[ImageId, ImageResults]) -> tuple[str, ...]:
    """Return a note if a mask occurs twice in an image with the same class."""
    repeated = 0
    for results in found.values():
        distinct = {(mask["counts"], label) for mask, label in zip(results.masks, results.labels, strict=True)}
        repeated += len(results.masks) - len(distinct)
    note = f"Results that repeat the mask of another in the same image, which makes one of them false: {repeated}."
    return (note,) if repeated else ()
