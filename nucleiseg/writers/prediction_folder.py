"""Predict a list of images into a folder of results.

The network runs in the caller's thread. Images are read ahead of it (`inference.prediction_stream`) and written behind
it (`writers.prediction_run`), so that a fast device waits for neither. Each finished image
goes to a journal on the disk; the files of all images are assembled from it at the end, and all files replace older
ones together (`writers.result_set`).
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nucleiseg.inference.count_threshold import counting_threshold
from nucleiseg.inference.images import InputImage
from nucleiseg.inference.predictor import Predictor
from nucleiseg.progress import counted, echo
from nucleiseg.writers import result_set
from nucleiseg.writers.file_names import safe_paths
from nucleiseg.writers.journal import Journal
from nucleiseg.writers.origin import Origin, write_origin
from nucleiseg.writers.prediction_run import PredictionRun, PredictionSummary
from nucleiseg.writers.registry import DEFAULT_FORMATS, FORMATS, make_writers


def predict_to_folder(
    predictor: Predictor,
    images: Sequence[InputImage],
    output: str | os.PathLike[str],
    count_threshold: float | None = None,
    overlays: bool = True,
    *,
    write: Sequence[str] = DEFAULT_FORMATS,
    request: Mapping[str, Any] | None = None,
    resume: bool = False,
    origin: Callable[[PredictionSummary, Path], Origin] | None = None,
) -> PredictionSummary:
    """Predict images and write `counts.csv`, `images.json` and the files of the chosen formats.

    An image that cannot be read is reported and is in none of the files. Files of single images are named as the image
    where every file system takes that name, else close to it (`writers.file_names`).

    Args:
        predictor: detects the instances.
        images: what to predict (`inference.images.find_images`).
        output: the folder to write to; made where missing. The results of an older prediction there are replaced as a
            whole, when all new ones are finished.
        count_threshold: 0 .. 1; None takes the checkpoint's, which validation chose, or 0.5 where it has none. Never
            less than the predictor's own, which leaves nothing below it.
        overlays: False leaves out the format `overlays`.
        write: output formats, keys of `writers.registry.FORMATS`.
        request: what else the results depend on, as JSON holds it: the checkpoint's digest, the settings.
        resume: continue a prediction that was killed, with the images that are not finished. It must have been of the
            same request, thresholds, formats and images; an image's file is identified by its size and time of change.
        origin: called with the summary and the new `answer.json`; returns the sidecar to be written beside it.

    Returns:
        The number of images and nuclei, and the images that failed.

    Raises:
        InputError: for a format that does not exist, if another prediction into the folder is running, or if the one
            to resume was another.
    """
    folder = Path(output)
    writers = make_writers([name for name in write if overlays or name != "overlays"])
    summary = PredictionSummary(counting_threshold(predictor, count_threshold))
    wanted = {**(request or {}), "count_threshold": summary.count_threshold, "write": list(writers)}
    wanted["images"] = {image.name: _identity(image) for image in images}
    wanted = json.loads(json.dumps(wanted))  # as it will be read again, without tuples
    paths = _paths_of_images(images, writers)
    with result_set.locked(folder):
        result_set.complete(folder)
        if resume and (before := result_set.finished(folder, wanted)):
            again = " Leave out resume=true to try the failed images again." if before["failed"] else ""
            echo(f"{folder} holds this prediction already: nothing is computed.{again}")
            return PredictionSummary(**before)
        staging = result_set.begin(folder, wanted, resume)
        new = staging / result_set.NEW
        with Journal(staging / result_set.JOURNAL) as journal:
            run = PredictionRun(predictor, writers, paths, new, journal, summary, str(wanted.get("checkpoint", "")))
            # an image with a missing file is predicted again
            for name, files in run.paths.items():
                if not all((run.folder / path).exists() for path in files.values()):
                    run.journal.discard(name)
            if resume and len(run.journal):
                echo(f"Resuming: {len(run.journal)} of {counted(len(images), 'image')} are finished.")
            run.predict([image for image in images if image.name not in run.journal])
            run.assemble(images)
            finished = [path for name in paths if name in journal for path in paths[name].values()]
            # of a store, which is a folder, the files inside: they are replaced and removed one by one
            stores = {path: [file for file in (new / path).rglob("*") if file.is_file()] for path in finished}
            written = [file.relative_to(new).as_posix() for path in finished for file in stores[path] or [new / path]]
        if origin is not None and (new / "answer.json").is_file():
            write_origin(new, origin(summary, new / "answer.json"))
        result_set.publish(folder, wanted, written, asdict(summary))
    return summary


def _paths_of_images(images: Sequence[InputImage], formats: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return image name -> format -> path of its file below the output folder, for formats with a file an image."""
    names = [image.name for image in images]
    files: dict[str, dict[str, str]] = {name: {} for name in names}
    for name in formats:
        if (folder := FORMATS[name].folder) is not None:
            for image, path in zip(names, safe_paths(names, FORMATS[name].suffix), strict=True):
                files[image][name] = f"{folder}/{path}"
    return files


def _identity(image: InputImage) -> list[Any]:
    """Return an image's id with the bytes and the time of change of its file, by which a changed one is noticed."""
    try:
        status = image.path.stat()
    except (OSError, ValueError):
        return [image.image_id]
    return [image.image_id, status.st_size, status.st_mtime_ns]
