"""Predict a list of images into a folder of results.

The network runs in the caller's thread. Images are read ahead of it (`inference.predictor.predict_all`) and encoded and
drawn behind it, so that a fast device waits for neither; never more than `BEHIND` + 1 images are under way there.
Each finished image goes to a journal on the disk; the files of the folder are assembled from it at the end and replace
older ones together (`writers.result_set`).
"""

import errno
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch

from nucleiseg.inference.box_masks import to_rle
from nucleiseg.inference.count_threshold import counting_threshold
from nucleiseg.inference.images import InputImage
from nucleiseg.inference.prediction_stream import predict_all
from nucleiseg.inference.predictor import Predictor
from nucleiseg.pipelining import run_ahead
from nucleiseg.progress import counted, say
from nucleiseg.rle import area
from nucleiseg.structures import Prediction
from nucleiseg.writers import result_set
from nucleiseg.writers.counts import Count, capped_sentence, count_instances, open_counts
from nucleiseg.writers.file_names import safe_paths
from nucleiseg.writers.journal import Journal
from nucleiseg.writers.origin import Origin, write_origin
from nucleiseg.writers.overlay import write_overlay
from nucleiseg.writers.submission import Result, open_items, to_results, write_zip

BEHIND = 3
"""Images that are encoded and drawn while the network has another, a thread each: that takes a core some 0.15 s for
1000 x 1000 pixels with 500 nuclei, and a GPU finds them in a fraction of it."""

NAME_ERRORS = (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ)
"""Errors of the system that are about one file's name: the next image may do without them."""


@dataclass
class Summary:
    """What became of the images.

    Attributes:
        count_threshold: least score of a detection that was counted and drawn.
        done: number of images whose results were written.
        nuclei: number of detections that were counted, of all images.
        results: number of results in `answer.json`.
        failed: image file name -> sentence, for those without results.
    """

    count_threshold: float
    done: int = 0
    nuclei: int = 0
    results: int = 0
    failed: dict[str, str] = field(default_factory=dict)

    def fail(self, image: InputImage, sentence: str) -> None:
        """Report why an image has no result, and count it."""
        say(sentence)
        self.failed[image.file_name] = sentence


class Found(NamedTuple):
    """An image and what the network found in it.

    Attributes:
        image: the input.
        pixels: (H, W, 3) uint8 RGB.
        prediction: its instances, in these pixels.
        capped: whether the limit on detections was hit.
    """

    image: InputImage
    pixels: np.ndarray
    prediction: Prediction
    capped: bool


class Encoded(NamedTuple):
    """The results of one image, as the journal holds them.

    Attributes:
        height: rows of the image.
        width: columns of the image.
        nuclei: instances with a score of at least the count threshold.
        capped: whether the limit on detections was hit.
        results: the image's results in `answer.json`.
    """

    height: int
    width: int
    nuclei: int
    capped: bool
    results: list[Result]


def predict_to_folder(
    predictor: Predictor,
    images: Sequence[InputImage],
    output: str | os.PathLike[str],
    count_threshold: float | None = None,
    overlays: bool = True,
    *,
    request: Mapping[str, Any] | None = None,
    resume: bool = False,
    origin: Callable[[Summary, Path], Origin] | None = None,
) -> Summary:
    """Predict images and write `answer.json answer.zip counts.csv images.json` and `overlays/NAME.png`.

    `answer.json` holds every detection that the predictor keeps and whose mask has a pixel; counts and overlays are
    of those with a score of at least `count_threshold`. An image that cannot be read is reported and is in none of
    the files. NAME is the image's name where every file system takes it, else close to it (`writers.file_names`).

    Args:
        predictor: finds the instances.
        images: what to predict (`inference.images.find_images`).
        output: the folder to write to; made where missing. The results of an older prediction there are replaced as a
            whole, when all new ones are finished.
        count_threshold: 0 .. 1; None takes the checkpoint's, which validation chose, or 0.5 where it has none. Never
            less than the predictor's own: what it does not find cannot be counted.
        overlays: whether to draw the overlays.
        request: what else the results depend on, as JSON holds it: the checkpoint's digest, the settings.
        resume: continue a prediction that was killed, with the images that are not finished. It must have been of the
            same request, thresholds and images; an image's file is told by its size and time of change.
        origin: called with the summary and the new `answer.json`; returns the sidecar to be written beside it.

    Returns:
        What became of each image.

    Raises:
        InputError: if another prediction into the folder is running, or the one to resume was of something else.
    """
    folder = Path(output)
    summary = Summary(counting_threshold(predictor, count_threshold))
    wanted = {**(request or {}), "count_threshold": summary.count_threshold, "overlays": overlays}
    wanted["images"] = {image.name: _identity(image) for image in images}
    wanted = json.loads(json.dumps(wanted))  # as it will be read again, without tuples
    drawn = _overlay_paths(images) if overlays else {}
    with result_set.locked(folder):
        result_set.complete(folder)
        if resume and (before := result_set.finished(folder, wanted)):
            again = " Leave out resume=true to try the failed images again." if before["failed"] else ""
            say(f"{folder} holds this prediction already: nothing is computed.{again}")
            return Summary(**before)
        staging = result_set.begin(folder, wanted, resume)
        new = staging / result_set.NEW
        with Journal(staging / result_set.JOURNAL) as journal:
            for name in [name for name, path in drawn.items() if not (new / path).is_file()]:
                journal.discard(name)
            if resume and len(journal):
                say(f"Resuming: {len(journal)} of {counted(len(images), 'image')} are finished.")
            waiting = [image for image in images if image.name not in journal]
            _predict(predictor, waiting, journal, summary, new, drawn)
            _assemble(new, images, journal, summary)
            written = [path for name, path in drawn.items() if name in journal]
        if origin is not None:
            write_origin(new, origin(summary, new / "answer.json"))
        result_set.publish(folder, wanted, written, asdict(summary))
    return summary


def _overlay_paths(images: Sequence[InputImage]) -> dict[str, str]:
    """Return the path of each image's overlay, below the folder of results, by the image's name."""
    names = [image.name for image in images]
    return {name: f"{result_set.OVERLAYS}/{path}" for name, path in zip(names, safe_paths(names, ".png"), strict=True)}


def _identity(image: InputImage) -> list[Any]:
    """Return an image's id with the bytes and the time of change of its file, by which a changed one is noticed."""
    try:
        status = image.path.stat()
    except (OSError, ValueError):
        return [image.image_id]
    return [image.image_id, status.st_size, status.st_mtime_ns]


def _predict(
    predictor: Predictor,
    images: Sequence[InputImage],
    journal: Journal,
    summary: Summary,
    folder: Path,
    overlays: Mapping[str, str],
) -> None:
    """Predict images, and append each to the journal when its overlay is on the disk."""

    def write(found: Found) -> tuple[InputImage, str | None]:
        path = overlays.get(found.image.name)
        try:
            encoded = encode(found, summary.count_threshold, folder / path if path else None)
        except (cv2.error, MemoryError, OSError) as error:
            if isinstance(error, OSError) and error.errno not in NAME_ERRORS:
                raise
            return found.image, f"{found.image.path} is left out: its overlay cannot be drawn or written ({error})."
        journal.append(found.image.name, **encoded._asdict())
        return found.image, None

    with (
        closing(predict_all(predictor, images, summary.fail)) as predicted,
        closing(run_ahead(write, _found(predicted, predictor.detections), threads=BEHIND, ahead=BEHIND)) as written,
    ):
        for future in written:
            image, problem = future.result()
            if problem is not None:
                summary.fail(image, problem)


def encode(found: Found, threshold: float, overlay: Path | None) -> Encoded:
    """Encode what was found in an image and draw its overlay; safe in any thread.

    Args:
        found: the image and its prediction.
        threshold: least score of an instance that is counted and drawn.
        overlay: where to draw to; None draws nothing.
    """
    image, prediction = found.image, found.prediction
    rles = to_rle(prediction)
    visible = prediction[torch.from_numpy(area(rles) > 0)]
    if overlay is not None:
        write_overlay(overlay, found.pixels, visible, threshold, image.name)
    nuclei = count_instances(visible, threshold)
    return Encoded(*prediction.size, nuclei, found.capped, to_results(prediction, rles, image.image_id))


def _found(predicted: Iterable[tuple[InputImage, np.ndarray, Prediction]], limit: int) -> Iterator[Found]:
    """Report predictions that were cut at the limit, before the network gets the next image."""
    for image, pixels, prediction in predicted:
        capped = len(prediction) >= limit
        if capped:
            say(f"{image.name}: {capped_sentence(len(prediction), limit)}")
        yield Found(image, pixels, prediction, capped)


def _assemble(folder: Path, images: Sequence[InputImage], journal: Journal, summary: Summary) -> None:
    """Write the files of all images from the journal, in the images' order, and add them up."""
    with (
        open_items(folder / "answer.json") as add_results,
        open_items(folder / "images.json") as add_entries,
        open_counts(folder / "counts.csv") as add_count,
    ):
        for image in (image for image in images if image.name in journal):
            encoded = Encoded(**journal.read(image.name))
            add_results(encoded.results)
            add_entries([image.entry(encoded.height, encoded.width)])
            add_count(Count(image.name, image.image_id, encoded.nuclei, summary.count_threshold, encoded.capped))
            summary.done += 1
            summary.nuclei += encoded.nuclei
            summary.results += len(encoded.results)
    write_zip(folder / "answer.json")
