"""The command `corrections`: count and draw the edits made to a prediction in QuPath."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from nucleiseg.cli.paths import require_writable_folder
from nucleiseg.data.readers.geojson import read_objects
from nucleiseg.data.readers.images import decode_image
from nucleiseg.errors import InputError, some
from nucleiseg.evaluation.corrections import OUTCOMES, count_corrections, reviewed_corrections
from nucleiseg.inference.images import find_images
from nucleiseg.progress import counted, echo, track
from nucleiseg.report.corrections_page import CorrectedImage, write_corrections
from nucleiseg.settings import PathText, Settings, settings
from nucleiseg.writers.file_names import safe_paths

SUFFIX = ".geojson"


@settings
class CorrectionsKeys(Settings):
    """The keys of `conf/corrections.yaml`, which explains them."""

    predictions: PathText
    edited: PathText
    input: PathText
    output: PathText = "corrections"


def corrections(**keys: Any) -> int:  # noqa: ANN401
    """Compare edited GeoJSON files with predicted ones, and print the number of corrections of each kind.

    Args:
        **keys: see `CorrectionsKeys`.

    Returns:
        The number of images whose files could not be read.

    Raises:
        InputError: if a key is refused, or no image has both files.
    """
    wanted = CorrectionsKeys.from_dict(keys, "")
    folder = Path(wanted.output)
    require_writable_folder(folder)
    images = find_images(Path(wanted.input), None)
    for key, given in (("predictions", wanted.predictions), ("edited", wanted.edited)):
        if Path(given).is_file() and len(images) > 1:
            found = counted(len(images), "image")
            raise InputError(f"{key}={given} is one file, but input has {found}: give a folder, or one image as input.")
    paths = safe_paths([image.name for image in images], SUFFIX)
    places = _geojson_folder(Path(wanted.predictions)), _geojson_folder(Path(wanted.edited))
    files = [[_file(place, path) for place in places] for path in paths]
    reviewed = {image: pair for image, pair in zip(images, files, strict=True) if all(file.is_file() for file in pair)}
    if not reviewed:
        raise InputError(f"No image of {wanted.input} has both GeoJSON files: {files[0][0]} and {files[0][1]}.")
    failed: dict[str, list[str]] = {}
    totals = count_corrections([])

    def corrected() -> Iterator[CorrectedImage]:
        for image, (before, after) in track(reviewed.items(), "Images", total=len(reviewed)):
            try:
                pixels = decode_image(image.path)
                shape = (pixels.shape[0], pixels.shape[1])
                found = reviewed_corrections(read_objects(before, shape), read_objects(after, shape), shape)
            except InputError as error:
                failed[image.name] = error.problems
                continue
            totals.update(count_corrections(found))
            yield CorrectedImage(image.name, shape, found, pixels)

    written = write_corrections(folder, corrected())
    numbers = ", ".join(f"{totals[outcome]:,} {outcome}" for outcome in OUTCOMES)
    echo(f"{counted(len(reviewed) - len(failed), 'image')}: {numbers}. See {written[1]}.")
    if skipped := [image.name for image in images if image not in reviewed]:
        echo(f"Left out {counted(len(skipped), 'image')} without both files: {some(skipped)}.")
    for problems in failed.values():
        for problem in problems:
            echo(problem)
    return len(failed)


def _geojson_folder(path: Path) -> Path:
    """Return the folder `geojson` of a prediction; the path itself if it has none."""
    return path / "geojson" if (path / "geojson").is_dir() else path


def _file(place: Path, name: PurePosixPath) -> Path:
    """Return the file of an image in a folder, or its compressed copy; a path that is a file is the only image's."""
    if place.is_file():
        return place
    compressed = place / f"{name}.gz"
    return compressed if compressed.is_file() and not (place / name).is_file() else place / name
