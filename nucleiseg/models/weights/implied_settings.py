"""Settings that weights were trained with and the network must share: pixel statistics, position of the stride."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nucleiseg.errors import InputError
from nucleiseg.models.config import ModelConfig
from nucleiseg.models.pretrained_defaults import PIXEL_MEAN, PIXEL_STD
from nucleiseg.models.weights.names import from_caffe2, is_caffe2
from nucleiseg.models.weights.weights_file import WeightsFile

RGB = tuple[float, float, float]

OURS = "nucleiseg"
"""`__author__` of the files that we export."""

RECORDED = ("pixel_mean", "pixel_std", "stride_in_1x1")
"""Keys under `settings` in these files: fields of `ModelConfig` that the weights depend on, pixels in RGB order."""

NO_STD: RGB = (1.0, 1.0, 1.0)
"""The MSRA weights' first convolution holds the division."""


@dataclass(frozen=True)
class ImpliedSettings:
    """Settings that weights imply; None where unknown.

    Attributes:
        pixel_mean: RGB, 0 to 255.
        pixel_std: RGB.
        stride_in_1x1: bottlenecks subsample in their first 1x1 convolution (else in the 3x3).
        bgr: the first convolution expects BGR images. Importing turns it, so that RGB goes in always.
        assumed: the file does not state them, and detectron2's defaults are assumed.
    """

    pixel_mean: RGB | None = None
    pixel_std: RGB | None = None
    stride_in_1x1: bool | None = None
    bgr: bool = False
    assumed: bool = False

    def remarks(self, config: ModelConfig) -> list[str]:
        """Return a sentence for each setting of a network that differs from the weights', and for an assumption."""
        sentences = []
        if self.assumed:
            taken = [f"{key}={_say(getattr(self, key))}" for key in RECORDED[1:] if getattr(self, key) is not None]
            sentences.append(
                f"The file does not say how it was trained: taken for {', '.join(['BGR images', *taken])}, "
                "detectron2's defaults; pixel_std and stride_in_1x1 set others, and pixel_mean in the file says RGB."
            )
        for key in RECORDED:
            wanted, found = getattr(self, key), getattr(config, key)
            if wanted is not None and found is not None and not _same(wanted, found):
                sentences.append(
                    f"{key} is {_say(found)}, but weights of this kind are trained with {_say(wanted)}: "
                    f"set {key}={_say(wanted)}, or expect features unlike those that the weights learned."
                )
        return sentences


TORCHVISION = ImpliedSettings(PIXEL_MEAN, PIXEL_STD, stride_in_1x1=False)
"""All of torchvision's weights."""


def implied_settings(file: WeightsFile) -> ImpliedSettings:
    """Return the settings that a file of detectron2, Caffe2 or torchvision implies.

    torchvision's files are recognized by their names, those converted by detectron2's script by `__author__`. Otherwise
    the convention is detectron2's: BGR; ResNet-50 and -101 come from MSRA (stride in the 1x1, no division), ResNeXt
    does not (stride in the 3x3, standard deviations). Mean and deviation stored in an old file come first;
    files exported by nucleiseg state everything.
    """
    if file.author == OURS:
        mean, std, stride = (file.settings.get(key) for key in RECORDED)
        try:
            return ImpliedSettings(_triple(mean), _triple(std), bool(stride), bgr=True)
        except (TypeError, ValueError) as error:
            raise InputError(f"{file.name} has unreadable values of {', '.join(RECORDED)}; export it again.") from error
    caffe2 = is_caffe2(file.arrays)
    names = {from_caffe2(name) if caffe2 else name: name for name in file.arrays}
    if file.author == "torchvision" or any(re.match(r"(backbone\.body\.)?(layer1|features)\.", name) for name in names):
        return TORCHVISION
    mean, std = (_stored(file, f"pixel_{key}") for key in ("mean", "std"))
    bgr = mean is None or mean[0] <= mean[2]  # the mean of red is the greater one, in nature and in ImageNet
    assumed = mean is None and not file.author and not caffe2
    first = next((name for name in names if re.search(r"(^|\.)res2\.0\.conv2\.weight$", name)), None)
    if first is None or not any(re.search(r"(^|\.)res2\.0\.conv3\.weight$", name) for name in names):
        # ResNet-18 has no one origin
        return ImpliedSettings(mean and _rgb(mean, bgr), std and _rgb(std, bgr), None, bgr, assumed)
    shape = file.shape(names[first])
    grouped = shape[1] < shape[0]
    usual = PIXEL_STD if grouped else NO_STD
    deviation = _rgb(std, bgr) if std else usual
    return ImpliedSettings(_rgb(mean, bgr) if mean else PIXEL_MEAN, deviation, deviation == NO_STD, bgr, assumed)


def _triple(values: Any) -> RGB:  # noqa: ANN401
    first, second, third = map(float, values)
    return first, second, third


def _stored(file: WeightsFile, key: str) -> RGB | None:
    if key not in file.arrays:
        return None
    values = [round(value, 4) for value in file.tensor(key).double().flatten().tolist()]
    return (values[0], values[1], values[2]) if len(values) == 3 else None


def _rgb(values: RGB, bgr: bool) -> RGB:
    return (values[2], values[1], values[0]) if bgr else values


def _same(first: bool | Sequence[float], second: bool | Sequence[float]) -> bool:
    if isinstance(first, bool) or isinstance(second, bool):
        return first == second
    return all(abs(a - b) < 0.01 for a, b in zip(first, second, strict=True))


def _say(value: bool | Sequence[float]) -> str:
    return str(value).lower() if isinstance(value, bool) else f"[{','.join(f'{number:g}' for number in value)}]"
