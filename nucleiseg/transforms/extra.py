"""Albumentations transforms that a user adds to the recipe, checked to be applicable before they are used.

For example:

    extra = [{"_target_": "albumentations.GaussianBlur", "p": 0.2}]
    check_extra(extra, from_file=False, key="aug.extra")       # InputError if one of them cannot be used
    transforms = make_extra(extra, key="aug.extra")            # for `pipeline.Pipeline`
"""

import copy
import os
import random
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from nucleiseg.settings import Problems
from nucleiseg.trusted_targets import TARGET, check_targets, instantiate

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # importing a library must not call the network
import albumentations as A

TRIAL_SIDE = 64
"""Pixels of the image on which a transform is tried."""

TRIALS = 3
"""Tries of each transform: random parameters differ."""


def check_extra(
    extra: Sequence[Mapping[str, Any]], *, trusted: Collection[str] = (), from_file: bool, key: str
) -> None:
    """Refuse transforms that may not be made, or that cannot be applied to an image and its label maps.

    Args:
        extra: `_target_` and keyword arguments of each.
        trusted: see `trusted_targets.check_targets`, as the next.
        from_file: the mappings were read from a run's file.
        key: where the user finds them, for messages.

    Raises:
        InputError: a sentence for each transform, by its name.
    """
    problems = Problems()
    for number, item in enumerate(extra):
        check = partial(check_targets, item, A.BasicTransform, trusted=trusted, from_file=from_file)
        problems.taking(partial(check, key=f"{key}[{number}]"))
    problems.raise_found()  # nothing is made before all may be
    make_extra(extra, key=key)


def make_extra(extra: Sequence[Mapping[str, Any]], *, key: str) -> list[A.BasicTransform]:
    """Make transforms and try each on an image with label maps of few and of many nuclei.

    Raises:
        InputError: a sentence for each transform that cannot be applied.
    """
    problems = Problems()
    made = []
    for number, item in enumerate(extra):
        at = f"{key}[{number}]"
        transform = problems.taking(partial(instantiate, item, A.BasicTransform, from_file=False, key=at))
        if transform is None:
            continue
        if reason := _why_not_applicable(transform):
            problems.found.append(
                f"{at} is {item[TARGET]}, which cannot be applied to an image and its label maps: {reason}."
            )
        made.append(transform)
    problems.raise_found()
    return made


def split_words(planes: np.ndarray) -> np.ndarray:
    """Return the lower and upper 16 bits of int32 planes as planes of their own, (2 L, H, W) uint16.

    OpenCV moves pixels of 16 bits in all its versions, those of 32 bits in some. Moving the two words of a pixel alike
    moves the pixel.

    Args:
        planes: (L, H, W) int32, values from 0.
    """
    return np.concatenate([planes & 0xFFFF, planes >> 16]).astype(np.uint16)


def join_words(words: np.ndarray) -> np.ndarray:
    """Return the planes that `split_words` took apart, (L, H, W) int32."""
    low, high = np.split(np.asarray(words).astype(np.int32), 2)
    joined: np.ndarray = low | high << 16
    return joined


def _why_not_applicable(transform: A.BasicTransform) -> str:
    """Return what goes wrong when a transform is applied, to follow a colon; empty if nothing does."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (TRIAL_SIDE, TRIAL_SIDE, 3), dtype=np.uint8)
    labels = np.kron(np.arange(1, 65).reshape(8, 8), np.ones((8, 8), int)).astype(np.int32)
    certain = copy.deepcopy(transform)
    certain.p = 1.0  # or the trial would not apply it
    compose = A.Compose([certain])
    for trial in range(TRIALS):
        for planes in (labels[None].astype(np.uint16), split_words(np.stack([labels, labels * 30_000_000]))):
            compose.set_random_state(np.random.default_rng(trial), random.Random(trial))
            try:
                result = compose(image=image.copy(), masks=planes.copy())
            except Exception as error:  # whatever a transform raises for data that it does not know
                return (str(error) or type(error).__name__).strip().splitlines()[0].rstrip(".")
            if problem := _changed(result["image"], np.asarray(result["masks"]), planes):
                return problem
    return ""


def _changed(image: np.ndarray, moved: np.ndarray, planes: np.ndarray) -> str:
    """Return what a transform changed that it must leave alone."""
    side = TRIAL_SIDE
    if image.dtype != np.uint8 or image.shape != (side, side, 3):
        return f"it makes {image.dtype} images of shape {image.shape} from uint8 images of ({side}, {side}, 3)"
    if moved.shape != planes.shape or moved.dtype != planes.dtype:
        return f"it makes {moved.dtype} label maps of shape {moved.shape} from {planes.dtype} of {planes.shape}"
    allowed = set(np.unique(planes)) | {0}
    if not set(np.unique(moved)) <= allowed:
        return "it invents numbers in label maps (it interpolates between nuclei)"
    return ""
