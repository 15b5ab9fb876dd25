"""Export networks to detectron2's file format."""

import os
import pickle
from typing import Any

import numpy as np

from nucleiseg.errors import InputError
from nucleiseg.files import atomic_path
from nucleiseg.models.backbones.resnet import RESNETS
from nucleiseg.models.mask_rcnn import MaskRCNN
from nucleiseg.models.weights.implied_settings import OURS, RECORDED
from nucleiseg.models.weights.layout import to_detectron2
from nucleiseg.models.weights.names import detectron2_name

PROTOCOL = 3
"""Of the pickle: any Python 3 reads it, and arrays take no more than their bytes."""


def detectron2_arrays(network: MaskRCNN) -> dict[str, np.ndarray]:
    """Return a network's weights under detectron2's names, in its order of channels and classes.

    Floating-point arrays are float32. Networks with GroupNorm or batch normalization, or of ResNet-18, are exported
    too: detectron2 has them, though not in its zoo.

    Raises:
        InputError: detectron2 cannot express the network: its backbone is not a ResNet, or one with a narrow last
            stage, it is a C4 of basic blocks, or it computes in torchvision's numerics.
    """
    if network.config.backbone_source != "registry" or network.config.backbone not in RESNETS:
        raise InputError(
            f"A network with backbone={network.config.backbone} cannot be exported: detectron2's model zoo has ResNets "
            "only."
        )
    if network.config.family == "c4" and RESNETS[network.config.backbone].basic:
        raise InputError(
            f"A network with backbone={network.config.backbone} and family=c4 cannot be exported: detectron2's C4 head "
            "has bottleneck blocks only."
        )
    if RESNETS[network.config.backbone].res5_channels is not None:
        raise InputError(
            f"A network with backbone={network.config.backbone} cannot be exported: detectron2 doubles the channels of "
            "a ResNet in every stage, and the last of this one is narrower."
        )
    if network.config.numerics != "detectron2":
        raise InputError(
            f"A network of numerics={network.config.numerics} cannot be exported: detectron2 computes otherwise "
            "(anchors, RoIAlign, deltas of the background). torchvision loads its state dict under the same names."
        )
    arrays = {}
    for name, value in network.state_dict().items():
        tensor = to_detectron2(name, value.detach().cpu())
        tensor = tensor.float() if tensor.is_floating_point() else tensor
        arrays[detectron2_name(name, network.config.family)] = tensor.numpy()
    return arrays


def save_detectron2(network: MaskRCNN, path: str | os.PathLike[str]) -> None:
    """Write a network's weights as detectron2's model zoo does, whole or not at all.

    `DetectionCheckpointer` loads the file; detectron2's configuration must provide the rest (family, classes, anchors,
    stride in the 1x1, mean and deviation of pixels in BGR order). Beside the weights the file has `settings`, which
    detectron2 passes over and our importer reads.

    Args:
        network: in detectron2's numerics.
        path: of the `.pkl`.

    Raises:
        InputError: as in `detectron2_arrays`.
    """
    settings = {key: getattr(network.config, key) for key in RECORDED}
    content = {"model": detectron2_arrays(network), "__author__": OURS, "settings": settings}
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        _Pickler(handle, PROTOCOL).dump(content)


class _Pickler(pickle.Pickler):
    """Pickles arrays without numpy's internal names.

    numpy writes `numpy._core.multiarray._reconstruct` since version 2, which the older ones of most detectron2
    installations do not know. `numpy.ndarray` and its state say the same in all versions.
    """

    def reducer_override(self, value: object) -> Any:  # noqa: ANN401
        if not isinstance(value, np.ndarray):
            return NotImplemented
        state = (1, value.shape, value.dtype, False, value.tobytes())
        return np.ndarray, ((0,), "b"), state
