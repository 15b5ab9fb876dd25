"""A trained network and what stands around it: resizing to the scale it knows, and results in source pixels."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from nucleiseg.data.readers.images import decode_image
from nucleiseg.errors import InputError
from nucleiseg.inference.images import InputImage
from nucleiseg.models.checkpoint import Metadata, load
from nucleiseg.models.mask_rcnn import MaskRCNN
from nucleiseg.progress import say, track
from nucleiseg.structures import Prediction
from nucleiseg.transforms.geometry import resize_image, to_tensor
from nucleiseg.transforms.whole_image import WholeImage

LONG = 1333
"""Greatest length of an image's longer side where `short` is given (detectron2's INPUT.MAX_SIZE_TEST)."""

SCALE_TOLERANCE = 1.25
"""Nuclei that appear larger or smaller by more than this factor than in training are worth a warning."""


class Predictor:
    """Finds the instances of one image after another.

    An image is resized to the scale at which the network was trained, unless told otherwise: a nucleus should have
    as many pixels as the network has learnt to expect.

    Args:
        network: the trained network. It is moved to the device and put into evaluation mode; the limits given here
            are set on it.
        metadata: what the checkpoint says about it.
        scale: network pixels per source pixel; None for the training scale.
        short: instead of a scale, bring the shorter side to so many pixels (detectron2's rule, see
            `transforms.geometry.resized_shape`).
        long: with `short`, greatest length of the longer side in network pixels; 1333 by default.
        score_threshold: keep detections with a score above this, 0 .. 1; None keeps the network's setting.
        nms: IoU above which the less confident of two detections is dropped, 0 .. 1; None keeps the network's.
        detections: most detections an image; None keeps the network's. The RPN's limits in prediction are raised
            where they allow fewer proposals.
        device: "auto" takes a CUDA GPU where there is one, else the CPU; or any name that torch knows.

    Raises:
        InputError: if an argument is out of its range, or the device does not exist.
    """

    def __init__(
        self,
        network: MaskRCNN,
        metadata: Metadata,
        *,
        scale: float | None = None,
        short: int | None = None,
        long: int | None = None,
        score_threshold: float | None = None,
        nms: float | None = None,
        detections: int | None = None,
        device: str = "auto",
    ) -> None:
        _check_limits(
            scale=scale, short=short, long=long, score_threshold=score_threshold, nms=nms, detections=detections
        )
        self.device = _device(device)
        self.network = network.to(self.device).eval()
        self.metadata = metadata
        self.resize = (
            WholeImage(scale=metadata.scale if scale is None else scale)
            if short is None
            else WholeImage(short=short, long=long or LONG)
        )
        _override(network, score_threshold, nms, detections)
        self._has_warned = False

    @classmethod
    def from_checkpoint(
        cls,
        path: str | os.PathLike[str],
        *,
        scale: float | None = None,
        short: int | None = None,
        long: int | None = None,
        score_threshold: float | None = None,
        nms: float | None = None,
        detections: int | None = None,
        device: str = "auto",
    ) -> Self:
        """Load a checkpoint; the other arguments are the class's.

        Raises:
            InputError: if the file is missing or no checkpoint of ours, or an argument is out of its range.
        """
        network, metadata = load(Path(path))
        return cls(
            network,
            metadata,
            scale=scale,
            short=short,
            long=long,
            score_threshold=score_threshold,
            nms=nms,
            detections=detections,
            device=device,
        )

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
        pixels = image if isinstance(image, np.ndarray) else decode_image(Path(image))
        _check_image(pixels)
        height, width = pixels.shape[:2]
        self._warn_of_another_scale(height, width)
        tensor = to_tensor(resize_image(pixels, self.resize.shape(height, width)))
        return self._run(tensor).to("cpu").rescaled((height, width))

    @torch.inference_mode()
    def _run(self, image: Tensor) -> Prediction:
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
) -> Iterator[tuple[InputImage, np.ndarray, Prediction]]:
    """Predict images one by one, showing progress; those that fail are reported and left out.

    Args:
        predictor: finds the instances.
        images: what to predict.
        report: called with an image that cannot be read, or is too large for the memory, and a sentence why.

    Yields:
        (the input, its (H, W, 3) uint8 RGB pixels, its instances in source pixels).
    """
    for item in track(images, "Predicting images"):
        try:
            pixels = item.read()
            prediction = predictor.predict(pixels)
        except InputError as error:
            report(item, str(error))
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            report(item, f"{item.path} does not fit into memory: try a smaller scale (short=), or cut it into tiles.")
        else:
            yield item, pixels, prediction


def _is_out_of_memory(error: Exception) -> bool:
    """Tell whether an error means too little memory; torch's CPU allocator says so in the text alone."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)


def _check_image(image: np.ndarray) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise InputError(
            f"An image to predict is an (H, W, 3) uint8 RGB array, not {image.shape} {image.dtype}: "
            f"give the path of the file instead, which takes grey, 16-bit and transparent images too."
        )


def _check_limits(
    *,
    scale: float | None,
    short: int | None,
    long: int | None,
    score_threshold: float | None,
    nms: float | None,
    detections: int | None,
) -> None:
    positive = {"scale": scale, "short": short, "long": long, "detections": detections}
    shares = {"score_threshold": score_threshold, "nms": nms}
    problems = [
        f"{key}={value} must be more than 0." for key, value in positive.items() if value is not None and value <= 0
    ]
    problems += [
        f"{key}={value} must lie between 0 and 1."
        for key, value in shares.items()
        if value is not None and not 0 <= value <= 1
    ]
    if scale is not None and short is not None:
        problems.append(f"scale={scale} and short={short} both say how to resize: give one of them.")
    if problems:
        raise InputError(problems)


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


def _override(network: MaskRCNN, score_threshold: float | None, nms: float | None, detections: int | None) -> None:
    """Set the limits of the network's detections, under torchvision's names for them."""
    settings = {"score_thresh": score_threshold, "nms_thresh": nms, "detections_per_img": detections}
    for name, value in settings.items():
        if value is not None:
            setattr(network.roi_heads, name, value)
    if detections is not None:  # a detection comes from a proposal: more of them need as many proposals
        for limits in (network.rpn._pre_nms_top_n, network.rpn._post_nms_top_n):
            limits["testing"] = max(limits["testing"], detections)
