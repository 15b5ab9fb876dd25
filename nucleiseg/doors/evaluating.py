"""From the plain keys of `conf/evaluate.yaml` to metrics: what `evaluate.py` calls, apart from Hydra."""

import csv
import os
from pathlib import Path
from typing import Any

from nucleiseg.data.cache import SampleCache
from nucleiseg.errors import InputError
from nucleiseg.evaluation.coco_truth import read_coco
from nucleiseg.evaluation.report import evaluate as evaluate_images
from nucleiseg.evaluation.results import read_results
from nucleiseg.evaluation.truth import Truth, read_folder
from nucleiseg.files import cache_folder, write_json
from nucleiseg.inference.images import read_ids
from nucleiseg.progress import say

COUNT_THRESHOLD = 0.5
"""Least score of a result that counts, where nobody says another."""

LINES = (
    ("AP, AP50, AP75 at all detections", ("ap", "ap50", "ap75")),
    ("AP, AP50, AP75 at 100 an image", ("ap_100", "ap50_100", "ap75_100")),
    ("AP50 at 100 an image is at most", ("ap50_100_ceiling",)),
    ("AJI, AJI+", ("aji", "aji_plus")),
    ("DQ (F1), SQ, PQ", ("dq", "sq", "pq")),
    ("Dice", ("dice",)),
    ("Count error: mean absolute, bias", ("count_mae", "count_bias")),
)
"""What is said at the end: a text, and the keys whose values stand behind it."""


def evaluate(
    *,
    predictions: str | os.PathLike[str],
    truth: str | os.PathLike[str],
    ids: str | os.PathLike[str] | None = None,
    output: str | os.PathLike[str] = "metrics.json",
    count_threshold: float | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
) -> int:
    """Evaluate a result file and write every metric; the keys are those of `conf/evaluate.yaml`.

    Returns:
        The number of images that are left out because their truth cannot be read.

    Raises:
        InputError: if results or truth cannot be used, or do not fit each other.
    """
    results_file = Path(predictions)
    threshold = _count_threshold(count_threshold, results_file)
    known = _read_truth(Path(truth), _ids_file(ids, results_file), SampleCache(cache_dir or cache_folder()))
    for image in known.unreadable:
        say("\n".join(image.problems))
    results = read_results(results_file, known)
    report = evaluate_images(known.images, results.images, threshold).to_dict()
    notes = [*known.notes, *results.notes]
    unreadable = {image.name: image.problems for image in known.unreadable}
    given = {"predictions": str(predictions), "truth": str(truth)}
    write_json(output, {**given, **report, "notes": notes, "unreadable": unreadable})
    _say_summary(report, notes, output)
    if unreadable:
        say(f"Left out, because their truth cannot be read: {', '.join(unreadable)}.")
    return len(unreadable)


def _ids_file(ids: str | os.PathLike[str] | None, predictions: Path) -> Path | None:
    """Return the file of image ids: the one that is given, else `images.json` beside the results."""
    if ids is not None:
        return Path(ids)
    beside = predictions.parent / "images.json"
    if not beside.is_file():
        return None
    say(f"The image ids are those of {beside} (ids= gives another file).")
    return beside


def _read_truth(path: Path, ids: Path | None, cache: SampleCache) -> Truth:
    if not path.exists():
        raise InputError(f"truth={path} does not exist: give a COCO JSON file or a folder of masks.")
    if path.is_dir():
        if ids is None:
            raise InputError(
                f"truth={path} is a folder, and no images.json lies beside the results: give the file of image ids, "
                f'ids=FILE with [{{"file_name", "id", "height", "width"}}, ...], that the results were made with.'
            )
        return read_folder(path, read_ids(ids), str(ids), cache)
    truth = read_coco(path)
    return truth if ids is None else truth.renumbered(read_ids(ids), str(ids))


def _count_threshold(wanted: float | None, predictions: Path) -> float:
    """Return the given threshold, else the one of `counts.csv` beside the results (all its lines agree), else 0.5."""
    if wanted is not None:
        if not 0 <= wanted <= 1:
            raise InputError(f"count_threshold={wanted} must lie between 0 and 1.")
        return wanted
    beside = predictions.parent / "counts.csv"
    try:
        with beside.open(encoding="utf-8", newline="") as handle:
            thresholds = {float(line["threshold"]) for line in csv.DictReader(handle)}
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        thresholds = set()
    if len(thresholds) != 1:
        return COUNT_THRESHOLD
    (threshold,) = thresholds
    say(f"Counts and label maps use the score threshold {threshold:g} of {beside} (count_threshold= sets another).")
    return threshold


def _say_summary(report: dict[str, Any], notes: list[str], output: str | os.PathLike[str]) -> None:
    for note in notes:
        say(f"Note: {note}")
    say(f"{report['images']} images, {report['truths']:,} truths, {report['results']:,} results:")
    for text, keys in LINES:
        values = ["undefined" if report[key] is None else f"{report[key]:.4f}" for key in keys]
        say(f"  {text:33} {'  '.join(values)}")
    say(f"{output} holds them with their definitions, pooled and for each image.")
