"""A trained network and what stands around it: resizing to the scale it knows, and results in source pixels."""

import os
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from nucleiseg.data.readers.images import decode_image
from nucleiseg.errors import InputError
from nucleiseg.inference.images import InputImage
from nucleiseg.inference.settings import PredictionSettings
from nucleiseg.models.arithmetic import arithmetic
from nucleiseg.models.checkpoint import Metadata, load
from nucleiseg.models.mask_rcnn import MaskRCNN
from nucleiseg.models.precision import precision_problems
from nucleiseg.pipelining import run_ahead
from nucleiseg.progress import say, track
from nucleiseg.structures import Prediction
from nucleiseg.transforms.geometry import resize_image, to_tensor
from nucleiseg.transforms.whole_image import WholeImage

DEFAULT_SETTINGS = PredictionSettings()

AHEAD = 2
"""Images that are read and resized while the network has another, a thread each: both together take a core some 45 ms
for a PNG of 1000 x 1000, and a GPU should not wait for one core."""

SCALE_TOLERANCE = 1.25
"""Nuclei that appear larger or smaller by more than this factor than in training are worth a warning."""


@dataclass(frozen=True)
class PreparedImage:
    """An image, and what the network sees of it.

    Attributes:
        pixels: (H, W, 3) uint8 RGB.
        tensor: (3, h, w) uint8 of the network's size, on the CPU.
    """

    pixels: np.ndarray
    tensor: Tensor


class Predictor:
    """Finds the instances of one image after another.

    An image is resized to the scale at which the network was trained, unless told otherwise: a nucleus should have
    as many pixels as the network has learnt to expect.

    Args:
        network: the trained network. It is moved to the device and put into evaluation mode; the limits of the
            settings are set on it.
        metadata: what the checkpoint says about it.
        settings: scale, limits, device and precision; by default the network's own limits, at the training scale.

    Raises:
        InputError: if the device does not exist, or cannot compute in the precision.
    """

    def __init__(self, network: MaskRCNN, metadata: Metadata, settings: PredictionSettings = DEFAULT_SETTINGS) -> None:
        self.device = _device(settings.device)
        self.precision = settings.precision
        if problems := precision_problems(self.precision, self.device.type):
            raise InputError(problems)
        self.network = network.to(self.device).eval()
        self.metadata = metadata
        if settings.short is not None:
            self.resize = WholeImage(short=settings.short, long=settings.long)
        else:
            self.resize = WholeImage(scale=metadata.scale if settings.scale is None else settings.scale)
        _override(network, settings)
        self._has_warned = False

    @classmethod
    def from_checkpoint(cls, path: str | os.PathLike[str], settings: PredictionSettings = DEFAULT_SETTINGS) -> Self:
        """Load a checkpoint.

        Args:
            path: the file.
            settings: scale, limits, device and precision.

        Raises:
            InputError: if the file is missing or no checkpoint of ours, or device and precision do not exist.
        """
        return cls(*load(Path(path)), settings)

    @property
    def score_threshold(self) -> float:
        """Detections of a lower score are not found."""
        return self.network.roi_heads.score_thresh

    @property
    def detections(self) -> int:
        """Most detections an image; a prediction of that length was probably cut."""
        return self.network.roi_heads.detections_per_img

    def predict(self, image: np.ndarray | str | os.PathLike[str]) -> Prediction:
        """Find the instances of an image.

        Args:
            image: (H, W, 3) uint8 RGB, or the path of an image file.

        Returns:
            The instances in pixels of the given image, on the CPU, in descending score.

        Raises:
            InputError: if the array is not of this form, or the file cannot be read.
        """
        return self.run(self.prepare(image if isinstance(image, np.ndarray) else decode_image(Path(image))))

    def prepare(self, image: np.ndarray) -> PreparedImage:
        """Resize an image to what the network sees: the part of a prediction that needs no device; safe in any thread.

        Args:
            image: (H, W, 3) uint8 RGB.

        Raises:
            InputError: if the array is not of this form.
        """
        _check_image(image)
        return PreparedImage(image, to_tensor(resize_image(image, self.resize.shape(*image.shape[:2]))))

    def run(self, image: PreparedImage) -> Prediction:
        """Find the instances of a prepared image, see `predict`."""
        height, width = image.pixels.shape[:2]
        self._warn_of_another_scale(height, width)
        return self._run(image.tensor).to("cpu").rescaled((height, width))

    @torch.inference_mode()
    def _run(self, image: Tensor) -> Prediction:
        with arithmetic(self.precision, self.device):
            return self.network([image.to(self.device)])[0]

    def _warn_of_another_scale(self, height: int, width: int) -> None:
        scale = self.resize.nominal_scale(height, width)
        ratio = scale / self.metadata.scale
        if self._has_warned or 1 / SCALE_TOLERANCE <= ratio <= SCALE_TOLERANCE:
            return
        self._has_warned = True
        say(
            f"Warning: images are predicted at {scale:.2f} network pixels per source pixel, but the network was "
            f"trained at {self.metadata.scale:.2f}: nuclei appear {ratio:.2f} times as large as it expects. Leave out "
            f"scale= and short= to predict at the training scale."
        )


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
        return predictor.prepare(item.read())

    with closing(run_ahead(prepare, images, threads=AHEAD, ahead=AHEAD)) as prepared:
        for item, future in zip(track(images, "Predicting images"), prepared, strict=True):
            try:
                image = future.result()
                prediction = predictor.run(image)
            except InputError as error:
                report(item, str(error))
            except (MemoryError, RuntimeError) as error:
                if not _is_out_of_memory(error):
                    raise
                report(
                    item, f"{item.path} does not fit into memory: try a smaller scale (short=), or cut it into tiles."
                )
            else:
                yield item, image.pixels, prediction


def _is_out_of_memory(error: Exception) -> bool:
    """Tell whether an error means too little memory; torch's CPU allocator says so in the text alone."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)


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
