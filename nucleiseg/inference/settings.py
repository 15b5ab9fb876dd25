"""How a trained network is used: at which scale, within which limits, on which device."""

import math
from dataclasses import dataclass

from nucleiseg.data.readers.images import CAMERA_DEPTHS
from nucleiseg.errors import InputError
from nucleiseg.models.precision import Precision, precision_problems

LONG = 1333
"""Greatest length of an image's longer side where `short` is given (detectron2's INPUT.MAX_SIZE_TEST)."""


@dataclass(frozen=True, kw_only=True)
class PredictionSettings:
    """What can be set when a network predicts; everything has a default.

    Attributes:
        scale: network pixels per source pixel; None scales each image as training would have shown it.
        short: instead of a scale, bring the shorter side to so many pixels (detectron2's rule, see
            `transforms.geometry.resized_shape`).
        long: with `short`, greatest length of the longer side in network pixels.
        mpp: micrometers per pixel of the images, where the checkpoint knows those of its training images: the scale
            follows. None takes what the file says (`data.readers.resolution`), else what training had.
        bits: the camera's bits per pixel in files that have 16; None takes those of the training.
        score_threshold: keep detections with a score above this, 0 .. 1; None keeps the network's setting.
        nms: IoU above which the less confident of two detections is dropped, 0 .. 1; None keeps the network's.
        detections: most detections an image; None keeps the network's. The RPN's limits in prediction are raised
            where they allow fewer proposals.
        device: "auto" takes a CUDA GPU where there is one, else the CPU; or any name that torch knows.
        precision: arithmetic of the network; `32` is exact float32 everywhere, the others are faster: see
            `models.precision`.

    Raises:
        InputError: if a value is out of its range, or more than one of `scale`, `short` and `mpp` is given.
    """

    scale: float | None = None
    short: int | None = None
    long: int = LONG
    mpp: float | None = None
    bits: int | None = None
    score_threshold: float | None = None
    nms: float | None = None
    detections: int | None = None
    device: str = "auto"
    precision: Precision = "32"

    def __post_init__(self) -> None:
        names = ("scale", "short", "long", "mpp", "detections")
        positive = {name: getattr(self, name) for name in names}
        problems = [
            f"{key}={value} must be more than 0."
            for key, value in positive.items()
            if value is not None and not 0 < value < math.inf
        ]
        problems += share_problems(score_threshold=self.score_threshold, nms=self.nms)
        problems += precision_problems(self.precision)
        if self.bits is not None and self.bits not in CAMERA_DEPTHS:
            problems.append(f"bits is {self.bits}; it accepts {', '.join(map(str, CAMERA_DEPTHS))}, or null.")
        given = [
            f"{name}={getattr(self, name)}" for name in ("scale", "short", "mpp") if getattr(self, name) is not None
        ]
        if len(given) > 1:
            problems.append(f"{' and '.join(given)} all set the scale: give one of them.")
        if problems:
            raise InputError(problems)


def share_problems(**shares: float | None) -> list[str]:
    """Return a sentence for each value that is no share, by the name of its key; None stands for a default."""
    return [
        f"{key}={value} must lie between 0 and 1."
        for key, value in shares.items()
        if value is not None and not 0 <= value <= 1
    ]
