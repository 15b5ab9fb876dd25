"""Read predictions of any tool: a COCO result file (https://cocodataset.org/#format-results), or a zip with one."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from sys import float_info
from typing import Any, NamedTuple

import numpy as np

from nucleiseg.errors import InputError, raise_problems, short, some
from nucleiseg.evaluation.boxes import Box, given_or_tight, read_box
from nucleiseg.evaluation.fields import MOST_PAIRS, image_id, read_label
from nucleiseg.evaluation.instances import Instances
from nucleiseg.evaluation.painting import areas
from nucleiseg.evaluation.truth import ImageId, ImageTruth, Truth
from nucleiseg.foreign_files import is_number, is_zip, parse_json, read_json, read_member
from nucleiseg.rle import RLE
from nucleiseg.segmentations import to_rle

FORM = 'a COCO result file: a list of {"image_id", "category_id", "segmentation", "score"}'
KEYS = ("image_id", "category_id", "segmentation", "score")


@dataclass(frozen=True)
class Results:
    """The instances that were found.

    Attributes:
        images: image id -> detections; images without any are missing.
        notes: sentences for readers of the metrics.
    """

    images: Mapping[ImageId, Instances]
    notes: tuple[str, ...] = ()


class _Result(NamedTuple):
    """A result of a file.

    Attributes:
        place: its number in the file, counted from 1.
        label: its class.
        entry: the result as JSON gives it, of a checked form.
    """

    place: int
    label: int
    entry: dict[str, Any]


def read_results(path: Path, truth: Truth, numbers: Mapping[int, int] | None = None) -> Results:
    """Read a result file and check it against the truth.

    Args:
        path: `answer.json`, or a zip that holds one JSON file (or one of that name).
        truth: the images that results may be of, their sizes and classes. Results of images that could not be read
            are left out with them.
        numbers: category id in the file -> label of the truth, where they differ; None: they are the same.

    Raises:
        InputError: if the file is of another kind; or with a sentence for results of unknown images or classes, for
            masks of another size than their image, and for entries that are not valid.
    """
    if is_zip(path):
        name, data = read_member(path, lambda members: _only_json(members, path))
        document = parse_json(data, f"{path}: {name}")
    else:
        document = read_json(path)
    if isinstance(document, dict) and "annotations" in document:
        raise InputError(f"predictions={path} is a COCO data set, which is truth; expected is {FORM}.")
    if not isinstance(document, list):
        raise InputError(f"predictions={path} holds a JSON {type(document).__name__}; expected is {FORM}.")
    where = f"predictions={path}"
    grouped = _group(document, where, truth.categories, numbers or {})
    _refuse_strangers(grouped, truth, where)
    problems: list[str] = []
    images = {image.image_id: image for image in truth.images}
    found: dict[ImageId, Instances] = {}
    empty = 0
    for number, results in grouped.items():
        if number in images:
            found[number] = _image_results(images[number], results, where, problems)
            empty += len(results) - len(found[number].masks)
    raise_problems(problems)
    note = (f"Results without a pixel are left out: {empty}.",) if empty else ()
    repeated = 0  # masks that occur twice in an image with the same class
    for instances in found.values():
        distinct = {(mask["counts"], label) for mask, label in zip(instances.masks, instances.labels, strict=True)}
        repeated += len(instances.masks) - len(distinct)
    repeats = f"Results that repeat the mask of another in the same image, which makes one of them false: {repeated}."
    return Results(found, note + ((repeats,) if repeated else ()))


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


def _group(
    document: Sequence[Any], where: str, categories: Mapping[int, str], numbers: Mapping[int, int]
) -> dict[ImageId, list[_Result]]:
    """Check the form of each result; return them by image."""
    grouped: dict[ImageId, list[_Result]] = {}
    problems = []
    for place, entry in enumerate(document, 1):
        try:
            number, label = _check_form(entry, categories)
        except ValueError as error:
            problems.append(f"{where}: result {place} {error}; expected is {FORM}.")
        else:
            grouped.setdefault(number, []).append(_Result(place, numbers.get(label, label), entry))
    raise_problems(problems)
    return grouped


def _check_form(entry: Any, categories: Mapping[int, str]) -> tuple[ImageId, int]:  # noqa: ANN401
    """Return the image id and the class of a result; raise a ValueError that names the fault in its form."""
    if not isinstance(entry, dict):
        raise ValueError(f"is of type {type(entry).__name__}")
    missing = [key for key in KEYS if key not in entry]
    if missing:
        boxes_only = " but a box: masks are evaluated here" if "bbox" in entry else ""
        raise ValueError(f"has no {', '.join(missing)}{boxes_only}")
    number = image_id(entry["image_id"])
    if number is None:
        raise ValueError(f"has the image_id {short(entry['image_id'])} instead of a whole number or a text")
    if not is_number(entry["score"], float_info.max):
        raise ValueError(f"has the score {short(entry['score'])} instead of a finite number")
    return number, read_label(entry["category_id"], categories)


def _refuse_strangers(grouped: Mapping[ImageId, Sequence[_Result]], truth: Truth, where: str) -> None:
    """Refuse results of images or classes that the truth does not have."""
    known = {image.image_id for image in truth.images} | {image.image_id for image in truth.unreadable}
    strangers = [image_id for image_id in grouped if image_id not in known]
    problems = []
    if strangers:
        count = sum(len(grouped[image_id]) for image_id in strangers)
        asked, has = some(map(short, strangers)), some(map(short, known))
        problems.append(
            f"{where}: the truth lacks the image ids {asked}, of which there are results ({count}); it has {has}: "
            "give the truth of these images too, or as ids= the file of ids of these results."
        )
    labels = Counter(result.label for results in grouped.values() for result in results)
    for label in sorted(labels.keys() - truth.categories.keys()):
        classes = some(f"{number} ({name})" for number, name in truth.categories.items())
        problems.append(
            f"{where} has results of category_id {label} ({labels[label]} of them); the truth has {classes}."
        )
    raise_problems(problems)


def _image_results(image: ImageTruth, results: Sequence[_Result], where: str, problems: list[str]) -> Instances:
    """Bring the masks of one image to run lengths; one sentence an image if some are not valid."""
    if len(image.masks) * len(results) > MOST_PAIRS:
        problems.append(
            f"{where}: image {some([image.name])} has {len(results):,} results and {len(image.masks):,} truths, more "
            f"than the {MOST_PAIRS:,} pairs that are matched at once: leave out results of low scores, or cut the "
            "image into tiles."
        )
        return Instances()
    masks: list[RLE | None] = []
    boxes: list[Box | None] = []
    wrong: list[tuple[int, str]] = []
    for result in results:
        try:
            boxes.append(read_box(result.entry, image.height, image.width))
        except ValueError as error:
            problems.append(f"{where}: result {result.place} {error} (image {some([image.name])}).")
        try:
            masks.append(to_rle(result.entry["segmentation"], image.height, image.width))
        except ValueError as error:
            wrong.append((result.place, str(error)))
    if not wrong:
        outlined = [index for index, mask in enumerate(masks) if mask is not None]
        pixels = np.zeros(len(masks), np.int64)
        pixels[outlined] = areas([mask for mask in masks if mask is not None], image.height, image.width)
        reason = f"has run lengths that are damaged or do not add up to {image.height} x {image.width} pixels"
        wrong = [(results[index].place, reason) for index in np.flatnonzero(pixels < 0).tolist()]
    if wrong:
        more = f" More such masks in this image: {len(wrong) - 1}." if len(wrong) > 1 else ""
        place, reason = wrong[0]
        problems.append(
            f"{where}: the mask of result {place} (image {some([image.name])}, id {short(image.image_id)}) {reason}: "
            f"give masks in pixels of the image itself.{more}"
        )
    if wrong or len(boxes) < len(results):
        return Instances()
    kept = [
        (result, mask, box)
        for result, mask, box, area in zip(results, masks, boxes, pixels, strict=True)
        if mask and area
    ]
    found = [mask for _, mask, _ in kept]
    return Instances(
        masks=found,
        scores=[float(result.entry["score"]) for result, _, _ in kept],
        labels=[result.label for result, _, _ in kept],
        boxes=given_or_tight([box for _, _, box in kept], found),
    )
