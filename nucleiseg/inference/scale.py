"""The scale at which a prediction shows images: that of the training, unless the settings name another."""

from dataclasses import replace

from nucleiseg.errors import InputError
from nucleiseg.inference.settings import PredictionSettings
from nucleiseg.models.checkpoint import Metadata
from nucleiseg.progress import echo
from nucleiseg.transforms.preprocessing import Preprocessing

SCALE_TOLERANCE = 1.25
"""Nuclei that appear larger or smaller by more than this factor than in training are worth a warning."""


def stored_preprocessing(metadata: Metadata) -> Preprocessing:
    """Return the preprocessing that a checkpoint was trained with; log a note where it stored one scale alone.

    Raises:
        InputError: if its numbers are not accepted.
    """
    if metadata.preprocessing is not None:
        return Preprocessing.from_dict(metadata.preprocessing)
    echo(
        f"Note: the checkpoint was written by nucleiseg {metadata.version}, which stored one scale for images of any "
        f"size: all are shown at {metadata.scale:.2f} network pixels per source pixel. In data of mixed sizes its "
        "scores differ from those of its training; files are decoded with bits= (null: by their brightest value)."
    )
    return Preprocessing(scale=metadata.scale)


def override_preprocessing(trained: Preprocessing, settings: PredictionSettings) -> Preprocessing:
    """Return the preprocessing of a prediction: that of the training, except for what the settings name.

    Raises:
        InputError: for `mpp` where that of the training is not known.
    """
    if settings.mpp is not None and trained.mpp is None:
        raise InputError(
            f"mpp is {settings.mpp}, but the checkpoint does not know the micrometers per pixel of its training "
            "images: train on data with mpp, or set scale (network pixels per source pixel)."
        )
    bits = trained.bits if settings.bits is None else settings.bits
    if settings.scale is not None:
        return Preprocessing(scale=settings.scale, bits=bits)
    if settings.short is not None:
        return Preprocessing(short=settings.short, long=settings.long, bits=bits)
    return replace(trained, bits=bits)


class ScaleWarnings:
    """Warn once of a scale that the settings changed, and once of an image beyond the sizes of the training.

    Args:
        trained: how training showed an image.
        shown: how the prediction shows it.
    """

    def __init__(self, trained: Preprocessing, shown: Preprocessing) -> None:
        self._trained = trained
        self._shown = shown
        self._warned: set[str] = set()

    def check(self, height: int, width: int, mpp: float | None) -> None:
        """Compare the scale of an image with that of the training.

        Args:
            height: rows of the source image.
            width: columns of the source image.
            mpp: its micrometers per pixel; None: those of the training.
        """
        used, trained = self._shown.scale_of(height, width, mpp), self._trained.scale_of(height, width, mpp)
        if not _is_close(used / trained):
            self._warn(
                "scale",
                f"Warning: images are predicted at {used:.2f} network pixels per source pixel, but the network was "
                f"trained at {trained:.2f}: nuclei appear {used / trained:.2f} times as large as it expects. Leave out "
                "scale= and short= to predict at the training scale.",
            )
        ratio = trained / replace(self._trained, scales=None).scale_of(height, width, mpp)
        if used == trained and not _is_close(ratio):
            self._warn(
                "size",
                f"Note: an image of {width} x {height} pixels is {'larger' if ratio > 1 else 'smaller'} than any of "
                f"the training: it is shown at {used:.2f} network pixels per source pixel, the nearest scale that the "
                "network has seen (scale= sets another).",
            )

    def _warn(self, subject: str, sentence: str) -> None:
        if subject not in self._warned:
            self._warned.add(subject)
            echo(sentence)


def _is_close(ratio: float) -> bool:
    return 1 / SCALE_TOLERANCE <= ratio <= SCALE_TOLERANCE
