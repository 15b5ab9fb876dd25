"""A trained network and what stands around it: resizing to the scale it knows, and results in source pixels."""

import os
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from nucleiseg.data.readers.images import decode_image
from nucleiseg.data.readers.resolution import read_mpp
from nucleiseg.errors import InputError
from nucleiseg.failures import is_out_of_memory
from nucleiseg.inference.images import InputImage
from nucleiseg.inference.settings import PredictionSettings
from nucleiseg.models.checkpoint import Metadata, load
from nucleiseg.models.mask_rcnn import MaskRCNN
from nucleiseg.models.precision import precision_problems
from nucleiseg.models.precision_context import arithmetic
from nucleiseg.pipelining import run_ahead
from nucleiseg.progress import say, track
from nucleiseg.structures import Prediction
from nucleiseg.transforms.preprocessing import Preprocessing

DEFAULT_SETTINGS = PredictionSettings()

AHEAD = 2
"""Images that are read and resized while the network has another, a thread each: both together take a core some 45 ms
for a PNG of 1000 x 1000, and a GPU should not wait for one core."""

MOST_PIXELS = 400_000_000
"""Largest image that is shown to the network: 20,000 x 20,000 pixels are 1.2 GB as bytes, and many times that in it."""

SCALE_TOLERANCE = 1.25
"""Nuclei that appear larger or smaller by more than this factor than in training are worth a warning."""


@dataclass(frozen=True)
class PreparedImage:
    """An image, and what the network sees of it.

    Attributes:
        pixels: (H, W, 3) uint8 RGB.
        tensor: (3, h, w) uint8 of the network's size, on the CPU.
        mpp: micrometers per pixel of the image that its scale followed; None: those of the training.
    """

    pixels: np.ndarray
    tensor: Tensor
    mpp: float | None = None


class Predictor:
    """Finds the instances of one image after another.

    An image is decoded and scaled as training would have shown it, unless the settings name another scale: a nucleus
    should have as many pixels as the network has learned to expect.

    Args:
        network: the trained network. It is moved to the device and put into evaluation mode; the limits of the
            settings are set on it.
        metadata: what the checkpoint says about it.
        settings: scale, limits, device and precision; by default the network's own limits, at the training scale.

    Raises:
        InputError: if the device does not exist or cannot compute in the precision, or the settings' scale or the
            checkpoint's numbers cannot be used.

    Attributes:
        trained: how training showed an image.
        preprocessing: how an image is shown now.
        mpp: micrometers per pixel of the images, from the settings.
    """

    def __init__(self, network: MaskRCNN, metadata: Metadata, settings: PredictionSettings = DEFAULT_SETTINGS) -> None:
        self.device = _device(settings.device)
        self.precision = settings.precision
        if problems := precision_problems(self.precision, self.device.type):
            raise InputError(problems)
        self.network = network.to(self.device).eval()
        self.metadata = metadata
        self.trained = stored_preprocessing(metadata)
        self.preprocessing = _override_scale(self.trained, settings)
        self.mpp = settings.mpp
        _override(network, settings)
        self._warned: set[str] = set()

    @classmethod
    def from_checkpoint(cls, path: str | os.PathLike[str], settings: PredictionSettings = DEFAULT_SETTINGS) -> Self:
        """Load a checkpoint.

        Args:
            path: the file.
            settings: scale, limits, device and precision.

        Raises:
            InputError: if the file is missing or no checkpoint of ours, or device and precision do not exist.
        """
        network, metadata = load(Path(path))
        try:
            Preprocessing.from_dict(metadata.preprocessing or {"scale": metadata.scale})
        except InputError as error:
            raise InputError([f"{path}: the preprocessing of the training: {it}" for it in error.problems]) from error
        return cls(network, metadata, settings)

    @property
    def score_threshold(self) -> float:
        """Detections of a lower score are not found."""
        return self.network.roi_heads.score_thresh

    @property
    def detections(self) -> int:
        """Most detections an image; a prediction of that length was probably cut."""
        return self.network.roi_heads.detections_per_img

    def predict(self, image: np.ndarray | str | os.PathLike[str], mpp: float | None = None) -> Prediction:
        """Find the instances of an image.

        Args:
            image: (H, W, 3) uint8 RGB, or the path of an image file.
            mpp: micrometers per pixel of the image, where the checkpoint knows those of its training; None takes the
                settings', then what a TIFF file states, then those of the training.

        Returns:
            The instances in pixels of the given image, on the CPU, in descending score.

        Raises:
            InputError: if the array is not of this form, or the file cannot be read.
        """
        if isinstance(image, np.ndarray):
            return self.run(self.prepare(image, mpp))
        path = Path(image)
        pixels = decode_image(path, self.preprocessing.bits)
        return self.run(self.prepare(pixels, self.mpp_of(path) if mpp is None else mpp))

    def mpp_of(self, path: Path) -> float | None:
        """Return the micrometers per pixel of an image file, where the scale follows them; else None."""
        if self.preprocessing.mpp is None:
            return None
        return read_mpp(path) if self.mpp is None else self.mpp

    def prepare(self, image: np.ndarray, mpp: float | None = None) -> PreparedImage:
        """Resize an image to what the network sees: the part of a prediction that needs no device; safe in any thread.

        Args:
            image: (H, W, 3) uint8 RGB.
            mpp: micrometers per pixel of this image; None takes the settings', else those of the training.

        Raises:
            InputError: if the array is not of this form, or would be larger than `MOST_PIXELS`.
        """
        _check_image(image)
        mpp = self.mpp if mpp is None else mpp
        height, width = self.preprocessing.shape(image.shape[0], image.shape[1], mpp)
        if height * width > MOST_PIXELS:
            raise InputError(
                f"An image of {image.shape[1]} x {image.shape[0]} pixels would be shown to the network at {width} x "
                f"{height}, and {MOST_PIXELS:,} pixels are accepted: give a smaller scale=, or cut it into tiles."
            )
        return PreparedImage(image, self.preprocessing.prepare(image, mpp), mpp)

    def run(self, image: PreparedImage) -> Prediction:
        """Find the instances of a prepared image, see `predict`."""
        height, width = image.pixels.shape[:2]
        self._warn_of_another_scale(height, width, image.mpp)
        return self._run(image.tensor).to("cpu").rescaled((height, width))

    @torch.inference_mode()
    def _run(self, image: Tensor) -> Prediction:
        with arithmetic(self.precision, self.device):
            return self.network([image.to(self.device)])[0]

    def _warn_of_another_scale(self, height: int, width: int, mpp: float | None) -> None:
        """Warn once of a scale that was set otherwise, and once of an image beyond the sizes of the training."""
        used, trained = self.preprocessing.scale_of(height, width, mpp), self.trained.scale_of(height, width, mpp)
        ratio = used / trained
        if not 1 / SCALE_TOLERANCE <= ratio <= SCALE_TOLERANCE:
            self._warn_once(
                f"Warning: images are predicted at {used:.2f} network pixels per source pixel, but the network was "
                f"trained at {trained:.2f}: nuclei appear {ratio:.2f} times as large as it expects. Leave out scale= "
                "and short= to predict at the training scale.",
                "scale",
            )
        by_rule = replace(self.trained, scales=None).scale_of(height, width, mpp)
        ratio = trained / by_rule
        if used == trained and not 1 / SCALE_TOLERANCE <= ratio <= SCALE_TOLERANCE:
            self._warn_once(
                f"Note: an image of {width} x {height} pixels is {'larger' if ratio > 1 else 'smaller'} than any of "
                f"the training: it is shown at {used:.2f} network pixels per source pixel, the nearest scale that the "
                "network has seen (scale= sets another).",
                "size",
            )

    def _warn_once(self, sentence: str, subject: str) -> None:
        if subject not in self._warned:
            self._warned.add(subject)
            say(sentence)


def stored_preprocessing(metadata: Metadata) -> Preprocessing:
    """Return the preprocessing that a checkpoint was trained with; say so where it stored one scale alone.

    Raises:
        InputError: if its numbers are not accepted.
    """
    if metadata.preprocessing is not None:
        return Preprocessing.from_dict(metadata.preprocessing)
    say(
        f"Note: the checkpoint was written by nucleiseg {metadata.version}, which stored one scale for images of any "
        f"size: all are shown at {metadata.scale:.2f} network pixels per source pixel. In data of mixed sizes its "
        "scores differ from those of its training; files are decoded with bits= (null: by their brightest value)."
    )
    return Preprocessing(scale=metadata.scale)


def _override_scale(trained: Preprocessing, settings: PredictionSettings) -> Preprocessing:
    """Return the preprocessing of a prediction: that of the training, but for what the settings name.

    Raises:
        InputError: for `mpp` where that of the training is not known.
    """
    if settings.mpp is not None and trained.mpp is None:
        raise InputError(
            f"mpp is {settings.mpp}, but the checkpoint does not know the micrometers per pixel of its training "
            "images: train with data.mpp=, or set scale= (network pixels per source pixel)."
        )
    bits = trained.bits if settings.bits is None else settings.bits
    if settings.scale is not None:
        return Preprocessing(scale=settings.scale, bits=bits)
    if settings.short is not None:
        return Preprocessing(short=settings.short, long=settings.long, bits=bits)
    return replace(trained, bits=bits)


def predict_all(
    predictor: Predictor, images: Sequence[InputImage], report: Callable[[InputImage, str], None]
) -> Generator[tuple[InputImage, np.ndarray, Prediction], None, None]:
    """Predict images in order, showing progress; those that fail are reported and left out.

    The next images are read and resized in threads while the network has one: at most `AHEAD` + 1 are in memory, with
    what the network sees of them.

    Args:
        predictor: finds the instances.
        images: what to predict.
        report: called with an image that cannot be read, or is too large for the memory, and a sentence why.

    Yields:
        (the input, its (H, W, 3) uint8 RGB pixels, its instances in source pixels).
    """
    images = list(images)  # gone through twice

    def prepare(item: InputImage) -> PreparedImage:
        return predictor.prepare(item.read(predictor.preprocessing.bits), predictor.mpp_of(item.path))

    with closing(run_ahead(prepare, images, threads=AHEAD, ahead=AHEAD)) as prepared:
        for item, future in zip(track(images, "Predicting images"), prepared, strict=True):
            try:
                image = future.result()
                prediction = predictor.run(image)
            except InputError as error:
                report(item, str(error))
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                report(
                    item, f"{item.path} does not fit into memory: try a smaller scale (short=), or cut it into tiles."
                )
            else:
                yield item, image.pixels, prediction


def _check_image(image: np.ndarray) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise InputError(
            f"An image to predict is an (H, W, 3) uint8 RGB array, not {image.shape} {image.dtype}: "
            f"give the path of the file instead, which takes grey, 16-bit and transparent images too."
        )


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"device={name} cannot be used on this machine ({error}): try device=auto or device=cpu."
        ) from error
    return device


def _override(network: MaskRCNN, settings: PredictionSettings) -> None:
    """Set the limits of the network's detections, under torchvision's names for them."""
    limits = {
        "score_thresh": settings.score_threshold,
        "nms_thresh": settings.nms,
        "detections_per_img": settings.detections,
    }
    for name, value in limits.items():
        if value is not None:
            setattr(network.roi_heads, name, value)
    if settings.detections is not None:  # a detection comes from a proposal: more of them need as many proposals
        for proposals in (network.rpn._pre_nms_top_n, network.rpn._post_nms_top_n):
            proposals["testing"] = max(proposals["testing"], settings.detections)
