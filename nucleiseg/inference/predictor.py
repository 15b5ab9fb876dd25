"""Predict one image: decode, resize to the scale of the training, run the network, and return source pixels.

For example:

    predictor = Predictor.from_checkpoint("runs/demo/checkpoints/last.ckpt")
    prediction = predictor.predict("image.png")
"""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from nucleiseg.data.readers.images import decode_image
from nucleiseg.data.readers.resolution import read_mpp
from nucleiseg.errors import InputError
from nucleiseg.inference.mask_nms import CANDIDATES, LOOSE_BOX_NMS, suppress_masks
from nucleiseg.inference.overflow import head_outputs
from nucleiseg.inference.scale import ScaleWarnings, override_preprocessing, stored_preprocessing
from nucleiseg.inference.settings import PredictionSettings
from nucleiseg.inference.tiling import Tiling
from nucleiseg.inference.tta import View
from nucleiseg.inference.view_merging import merge_boxes, merge_by_agreement
from nucleiseg.models.checkpoint import Metadata, load
from nucleiseg.models.mask_rcnn import MaskRCNN
from nucleiseg.models.precision import precision_problems
from nucleiseg.models.precision_context import precision_context
from nucleiseg.progress import duration, echo
from nucleiseg.structures import Prediction
from nucleiseg.transforms.preprocessing import Preprocessing

DEFAULT_SETTINGS = PredictionSettings()

MOST_PIXELS = 400_000_000
"""Most network pixels of an image: 20,000 x 20,000 are 1.2 GB as bytes, and many times that in the network."""


@dataclass(frozen=True)
class PreparedImage:
    """An image, and the tensor that the network gets.

    Attributes:
        pixels: (H, W, 3) uint8 RGB.
        tensor: (3, h, w) uint8 of the network's size, on the CPU.
        mpp: micrometers per pixel of the image that its scale followed; None: those of the training.
        rescaled: the image at the other scales of the test-time augmentation.
    """

    pixels: np.ndarray
    tensor: Tensor
    mpp: float | None = None
    rescaled: tuple[Tensor, ...] = ()


class Predictor:
    """Detect the instances of images with a trained network.

    An image is decoded and scaled as training would have shown it, unless the settings name another scale: a nucleus
    should have as many pixels as the network has learned to expect.

    Args:
        network: the trained network. It is moved to the device and put into evaluation mode; the limits of the
            settings are set on it.
        metadata: of its checkpoint.
        settings: scale, limits, device and precision; by default the network's own limits, at the training scale.

    Raises:
        InputError: if the device does not exist or cannot compute in the precision, or the settings' scale or the
            checkpoint's numbers cannot be used.

    Attributes:
        trained: how training showed an image.
        preprocessing: how an image is shown now.
        mpp: micrometers per pixel of the images, from the settings.
        settings: as given.
        detections: most detections an image, or a tile of it; `Prediction.capped` says where they were reached.
    """

    def __init__(self, network: MaskRCNN, metadata: Metadata, settings: PredictionSettings = DEFAULT_SETTINGS) -> None:
        self.device = _device(settings.device)
        self.precision = settings.precision
        if problems := precision_problems(self.precision, self.device.type):
            raise InputError(problems)
        self.network = network.to(self.device).eval()
        self.metadata = metadata
        self.trained = stored_preprocessing(metadata)
        self.preprocessing = override_preprocessing(self.trained, settings)
        self.mpp = settings.mpp
        self.settings = settings
        self.detections = settings.detections or network.roi_heads.detections_per_img
        self._tiling = Tiling(settings.tile, settings.tile_overlap, metadata.largest_nucleus, self.trained)
        self._warnings = ScaleWarnings(self.trained, self.preprocessing)
        self._has_noted_cost = False
        _override_limits(network, settings, self.detections)

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
        """Detections have a score above this."""
        return self.network.roi_heads.score_thresh

    def predict(self, image: np.ndarray | str | os.PathLike[str], mpp: float | None = None) -> Prediction:
        """Detect the instances of an image.

        Args:
            image: (H, W, 3) uint8 RGB, or the path of an image file.
            mpp: micrometers per pixel of the image, where the checkpoint knows those of its training; None takes the
                settings', then what a TIFF file states, then the training's.

        Returns:
            The instances in pixels of the given image, on the CPU, in descending score. An image that is larger than
            the settings' tiles is predicted tile by tile, at the scale of the whole image.

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
        """Resize an image to the network's scale: the part of a prediction that needs no device; safe in any thread.

        Args:
            image: (H, W, 3) uint8 RGB.
            mpp: micrometers per pixel of this image; None takes the settings', else those of the training.

        Raises:
            InputError: if the array is not of this form, or would be larger than `MOST_PIXELS`.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
            raise InputError(
                f"An image to predict is an (H, W, 3) uint8 RGB array, not {image.shape} {image.dtype}: "
                f"give the path of the file instead, which may be gray, 16-bit or transparent, too."
            )
        mpp = self.mpp if mpp is None else mpp
        rules = self._rules(image.shape[0], image.shape[1], mpp)
        for rule in rules:
            height, width = rule.shape(image.shape[0], image.shape[1], mpp)
            if height * width > MOST_PIXELS:
                raise InputError(
                    f"An image of {image.shape[1]} x {image.shape[0]} pixels would be shown to the network at "
                    f"{width} x {height}, and {MOST_PIXELS:,} pixels are accepted: give a smaller "
                    "scale=, or cut it into parts."
                )
        first, *rescaled = (rule.prepare(image, mpp) for rule in rules)
        return PreparedImage(image, first, mpp, tuple(rescaled))

    def run(self, image: PreparedImage) -> Prediction:
        """Detect the instances of a prepared image, see `predict`.

        Raises:
            InputError: if the network's numbers overflow (`inference.overflow`).
        """
        height, width = image.pixels.shape[:2]
        self._warnings.check(height, width, image.mpp)
        tensors = (image.tensor, *image.rescaled)
        views = [View(tensor, symmetry) for tensor in tensors for symmetry in self.settings.tta.symmetries]
        found = []
        for view in views:
            start = time.perf_counter()
            found.append(view.undo(self._tiling.detect(self._run, view.shown), (height, width)))
            if len(views) > 1 and not self._has_noted_cost:
                self._has_noted_cost = True
                self._note_cost(time.perf_counter() - start, height, width)
        limit = self.detections * max(self._tiling.count(tensor) for tensor in tensors)
        prediction = self._merge(views, found, limit * self._candidates)
        if self.settings.mask_nms is not None:
            prediction = suppress_masks(prediction, self.settings.mask_nms, self.settings.mask_nms_inside)
        capped = any(view.capped for view in found) or len(prediction) >= limit
        return replace(prediction[:limit], capped=capped)

    def detect(self, windows: Sequence[Tensor]) -> list[Prediction]:
        """Detect the instances of windows of a larger image, which the caller has scaled and will stitch.

        Args:
            windows: (3, h, w) uint8 of one shape, at the network's scale.

        Returns:
            The instances of each in its network pixels, on the CPU, in descending score; `capped` if a window reached
            the limit on detections.

        Raises:
            InputError: if the network's numbers overflow (`inference.overflow`).
        """
        symmetries = self.settings.tta.symmetries
        of_views = [
            [symmetry.undo(found) for found in self._run([symmetry.apply(window) for window in windows])]
            for symmetry in symmetries
        ]
        predictions = []
        for window, found in zip(windows, zip(*of_views, strict=True), strict=True):
            views = [View(window, symmetry) for symmetry in symmetries]
            prediction = self._merge(views, found, self.detections * self._candidates)
            if self.settings.mask_nms is not None:
                prediction = suppress_masks(prediction, self.settings.mask_nms, self.settings.mask_nms_inside)
            capped = any(view.capped for view in found) or len(prediction) >= self.detections
            predictions.append(replace(prediction[: self.detections], capped=capped))
        return predictions

    @property
    def _candidates(self) -> int:
        """Detections that the network may return for each one of the result."""
        return 1 if self.settings.mask_nms is None else CANDIDATES

    @property
    def _merges_boxes(self) -> bool:
        """Whether masks are computed for the boxes that the views' NMS keeps, not for those of each view."""
        return self.settings.tta.views > 1 and self.settings.tta.merge == "detectron2"

    def _rules(self, height: int, width: int, mpp: float | None) -> list[Preprocessing]:
        """Return the preprocessing of each scale of the views of an image."""
        tta, bits = self.settings.tta, self.preprocessing.bits
        if tta.shorts:
            return [Preprocessing(short=short, bits=bits) for short in tta.shorts]
        scale = self.preprocessing.scale_of(height, width, mpp)
        return [
            self.preprocessing if factor == 1 else Preprocessing(scale=factor * scale, bits=bits)
            for factor in tta.scales or (1.0,)
        ]

    def _merge(self, views: Sequence[View], found: Sequence[Prediction], limit: int) -> Prediction:
        """Return the detections of an image, given those of its views in source pixels; of one view, unchanged."""
        if len(views) == 1:
            return found[0]
        if not self._merges_boxes:
            return merge_by_agreement(found, self.score_threshold)
        merged = merge_boxes(found, self.network.roi_heads.nms_thresh, limit)
        total = torch.zeros(0)
        for number, view in enumerate(views):
            in_view = view.show(merged)
            masks = self._tiling.masks(self._run_masks, view.shown, in_view)
            masks = view.symmetry.undo(replace(in_view, masks=masks)).masks
            total = total + masks if number else masks
        return replace(merged, masks=total / len(views))

    def _note_cost(self, seconds: float, height: int, width: int) -> None:
        """Log the time that an image will take, given that of its first view."""
        views = self.settings.tta.views
        passes = "and its masks are computed in as many further passes" if self._merges_boxes else ""
        echo(
            f"Note: test-time augmentation predicts {views} views of each image. The first of {width} x {height} "
            f"pixels took {seconds:.1f} s, so that such an image takes about {duration(views * seconds)}"
            f"{', ' * bool(passes)}{passes}."
        )

    @torch.inference_mode()
    def _run(self, images: Sequence[Tensor]) -> list[Prediction]:
        """Return the detections of images or tiles of one shape, on the CPU."""
        heads = self.network.roi_heads
        limit = heads.detections_per_img = self.detections * self._candidates
        heads.detects_masks = not self._merges_boxes
        try:
            with precision_context(self.precision, self.device), head_outputs(self.network) as outputs:
                found: list[Prediction] = self.network([image.to(self.device) for image in images])
                if not any(map(len, found)):
                    outputs.require_finite()
        finally:
            heads.detections_per_img = self.detections
            heads.detects_masks = True
        return [replace(one.to("cpu"), capped=len(one) >= limit) for one in found]

    @torch.inference_mode()
    def _run_masks(self, images: Sequence[Tensor], boxes: Sequence[Tensor], labels: Sequence[Tensor]) -> list[Tensor]:
        """Return the masks of boxes in images or tiles of one shape, on the CPU."""
        with precision_context(self.precision, self.device):
            inputs = ([tensor.to(self.device) for tensor in tensors] for tensors in (images, boxes, labels))
            return [masks.to("cpu") for masks in self.network.masks(*inputs)]


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


def _override_limits(network: MaskRCNN, settings: PredictionSettings, detections: int) -> None:
    """Set the limits of the network's detections, under torchvision's names for them."""
    heads = network.roi_heads
    if settings.score_threshold is not None:
        heads.score_thresh = settings.score_threshold
    if settings.nms is not None or settings.mask_nms is not None:
        heads.nms_thresh = LOOSE_BOX_NMS if settings.nms is None else settings.nms
    heads.detections_per_img = detections
    if settings.detections is not None:  # a detection comes from a proposal: more of them need as many proposals
        for proposals in (network.rpn._pre_nms_top_n, network.rpn._post_nms_top_n):
            proposals["testing"] = max(proposals["testing"], settings.detections)
