"""Record the checkpoint and settings behind an answer in `answer.origin.json`, beside `answer.json` and `answer.zip`.

A board returns a number for a file; weeks later the sidecar still names the checkpoint that made the file, and the
settings. It holds the digest of the answer's bytes, so that it is never taken for that of another answer.
"""

import hashlib
import json
import zipfile
from dataclasses import field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, Self

from nucleiseg.errors import InputError
from nucleiseg.files import write_json
from nucleiseg.foreign_files import DAMAGED_ARCHIVE, is_zip, read_json
from nucleiseg.run_folder import CONFIG
from nucleiseg.settings import AsTuple, Settings, settings
from nucleiseg.version import __version__
from nucleiseg.writers.result_set import require_whole

if TYPE_CHECKING:  # those who only read a sidecar do not wait for the networks' libraries
    from nucleiseg.models.checkpoint import Metadata

ORIGIN = "answer.origin.json"
"""The sidecar's name, beside the answer."""


@settings
class CheckpointOrigin(Settings):
    """The checkpoint behind an answer.

    Attributes:
        checkpoint: its path, as it was given.
        checkpoint_sha256: digest of the file.
        step: optimizer steps done.
        run: name of the run's folder, for a file of its `checkpoints/`; None for any other.
        config_digest: SHA-256 of the model's configuration, and of the run's `config.yaml` where there is one.
        weights: what the training started from, in words.
        class_names: its classes; None in sidecars of older versions.
        category_ids: the number of each class in the answer; None: 1, 2, ...
    """

    checkpoint: str
    checkpoint_sha256: str
    step: int
    run: str | None
    config_digest: str
    weights: str
    class_names: Annotated[tuple[str, ...] | None, AsTuple] = None
    category_ids: Annotated[tuple[int, ...] | None, AsTuple] = None

    @property
    def categories(self) -> dict[int, str]:
        """Category id in the answer -> name of the class; empty if not known."""
        names = self.class_names or ()
        return dict(zip(self.category_ids or range(1, len(names) + 1), names, strict=True))

    @classmethod
    def of(cls, path: Path, metadata: "Metadata") -> Self:
        """Describe a checkpoint that was just read, before a running training replaces its `last.ckpt`.

        Args:
            path: the file.
            metadata: the metadata in it.

        Raises:
            InputError: if it cannot be read.
        """
        place = path.resolve()
        run = place.parent.parent if place.parent.name == "checkpoints" else None
        digest = hashlib.sha256(json.dumps(metadata.model, sort_keys=True).encode())
        if run and (run / CONFIG).is_file():
            digest.update((run / CONFIG).read_bytes())
        return cls(
            checkpoint=str(path),
            checkpoint_sha256=file_digest(path),
            step=metadata.step,
            run=run.name if run else None,
            config_digest=digest.hexdigest(),
            weights=metadata.weights,
            class_names=metadata.class_names,
            category_ids=metadata.category_ids,
        )


@settings
class Origin(CheckpointOrigin):
    """The contents of `answer.origin.json`: checkpoint, settings, and the digest of the answer.

    Attributes:
        score_threshold: the answer holds detections of a score above this.
        count_threshold: least score of a detection in `counts.csv` and the overlays.
        nms: IoU above which the less confident of two detections was dropped.
        detections: most detections an image.
        scale: network pixels per source pixel, one for all images; None where each was scaled by a rule.
        short: network pixels of the images' shorter side, where that was asked for; else None.
        long: with `short`, most network pixels of the longer side.
        preprocessing: how each image was decoded and scaled (`transforms.preprocessing.Preprocessing.to_dict`); None
            in sidecars of versions that had `scale` and `short` alone.
        mpp: micrometers per pixel of the images, where the scale followed a number that was given; else None.
        mask_nms: IoU above which the less confident of two masks was dropped; None: none.
        mask_nms_inside: the same for the shared part of the smaller mask.
        tta: the views that were predicted and merged (`inference.tta.TTASettings.to_dict`); in sidecars of older
            versions their name.
        tile: side of the tiles in network pixels, "auto" where images above a size were predicted in tiles; None:
            none.
        tile_overlap: network pixels that tiles share, if it was given.
        precision: of the network's computations; None in sidecars of older versions, which did not record it.
        images: number of images in the answer, those without results too.
        results: number of results in it.
        answer_sha256: digest of `answer.json`.
        version: of the nucleiseg that wrote it.
        time: when, in UTC, as ISO 8601.
    """

    score_threshold: float
    count_threshold: float
    nms: float
    detections: int
    scale: float | None
    short: int | None
    long: int | None
    preprocessing: dict[str, Any] | None = None
    mpp: float | None = None
    mask_nms: float | None = None
    mask_nms_inside: float | None = None
    tta: dict[str, Any] | str | None = None
    tile: str | int | None = None
    tile_overlap: int | None = None
    precision: str | None = None
    images: int
    results: int
    answer_sha256: str
    version: str = field(default=__version__)
    time: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))


def write_origin(folder: Path, origin: Origin) -> None:
    """Write the sidecar of the answer in a folder, whole or not at all."""
    write_json(folder / ORIGIN, origin.to_dict())


def read_origin(answer: Path) -> Origin | None:
    """Read the sidecar of an answer.

    Args:
        answer: an `answer.json`, or a zip with one in it. Its sidecar lies beside it, named `answer.origin.json`, or as
            the answer itself where both were renamed (`r50_c4.zip`, `r50_c4.origin.json`).

    Returns:
        Its contents; None if there is none.

    Raises:
        InputError: if it belongs to another answer or is damaged, the answer cannot be read, or a kill interrupted
            its replacement.
    """
    require_whole(answer.parent)
    digest = answer_digest(answer)
    own = answer.with_suffix(".origin.json")
    path = own if own.exists() else answer.with_name(ORIGIN)
    if not path.exists():
        return None
    content = read_json(path, finite=True)
    known = {item.name: item.default is None for item in fields(Origin)}  # whether it may be missing
    if not isinstance(content, dict) or not all(key in content or missing for key, missing in known.items()):
        raise InputError(f"{path} is not a sidecar of an answer: it lacks keys that predict.py writes. Predict again.")
    # keys that a later version may have added are left out
    origin = Origin.from_dict({key: content[key] for key in known if key in content}, str(path))
    if origin.answer_sha256 != digest:
        raise InputError(
            f"{path} is the sidecar of another answer than {answer}: their digests differ, so one of the two was "
            "replaced or edited. Put back the answer that it was written with, or remove it if it does not belong here."
        )
    return origin


def answer_digest(answer: Path) -> str:
    """Return the SHA-256 of an answer: of the file itself, or of the `answer.json` in a zip.

    Raises:
        InputError: if there is no such file, or the zip does not hold one answer.
    """
    if not is_zip(answer):
        return file_digest(answer)
    try:
        with zipfile.ZipFile(answer) as archive:
            inside = [name for name in archive.namelist() if not name.startswith("__MACOSX/")]  # resource forks
            names = [name for name in inside if name.rpartition("/")[2] == "answer.json"]
            if len(names) != 1:
                raise InputError(f"{answer} holds {len(names)} files called answer.json; expected is one.")
            with archive.open(names[0]) as handle:
                return _digest(handle)
    except DAMAGED_ARCHIVE as error:
        raise InputError(f"{answer}: its answer.json cannot be unpacked ({error}).") from error


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal.

    Raises:
        InputError: if it cannot be read.
    """
    try:
        with path.open("rb") as handle:
            return _digest(handle)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check the path.") from error


def _digest(handle: IO[bytes]) -> str:
    return hashlib.file_digest(handle, "sha256").hexdigest()  # type: ignore[arg-type]
