"""Load weights of detectron2 and torchvision into our networks."""

import os
from collections.abc import Mapping

from torch import Tensor

from nucleiseg.models.mask_rcnn import MaskRCNN
from nucleiseg.models.weights.detectron2_plan import detectron2_plan
from nucleiseg.models.weights.implied_settings import implied_settings
from nucleiseg.models.weights.import_report import ImportReport
from nucleiseg.models.weights.placement import Plan, place
from nucleiseg.models.weights.torchvision_plan import backbone_plan, mask_rcnn_plan
from nucleiseg.models.weights.weights_file import WeightsFile, read_weights

Source = str | os.PathLike[str] | WeightsFile
"""A file's path, or the result of `read_weights`, to avoid reading it twice."""


def load_detectron2(network: MaskRCNN, source: Source) -> ImportReport:
    """Load detectron2's weights into a network, in place.

    Files are a `.pkl` of the model zoo, a `.pth` of one's own training, or an ImageNet backbone: Caffe2's (`R-50.pkl`)
    or one with detectron2's names and no prefix. Layers for other classes or anchors keep the values they have (random
    ones in a new network), and with a file of a backbone alone everything above it does; the report names them.

    Args:
        network: in detectron2's numerics; for a backbone alone, in any.
        source: the file.

    Raises:
        InputError: the file is refused or damaged, or does not fit: an entry is missing, a key unused, a shape other.
            The network is then unchanged.
    """
    file = _open(source)
    return _load(network, detectron2_plan(network, file))


def load_torchvision(
    network: MaskRCNN, weights: Source | Mapping[str, Tensor], *, bn_eps: float | None = None
) -> ImportReport:
    """Load torchvision's Mask R-CNN with ResNet and FPN (`maskrcnn_resnet50_fpn`), in place.

    Args:
        network: of family `fpn`, in torchvision's numerics.
        weights: a file, or the state dict.
        bn_eps: epsilon of the normalization that the weights were trained with; the network's own is 0. None takes
            1e-5 where batches were counted (`BatchNorm2d`), 0 where not (the COCO weights, frozen ones).

    Raises:
        InputError: as in `load_detectron2`; the `_v2` model has other heads and does not fit.
    """
    return _load(network, mask_rcnn_plan(network, _named(weights), bn_eps))


def load_torchvision_backbone(network: MaskRCNN, weights: Source | Mapping[str, Tensor]) -> ImportReport:
    """Load an ImageNet classifier of torchvision into a network's backbone, in place; the rest keeps its values.

    Args:
        network: of any family and numerics, with its strides in the 3x3 convolutions.
        weights: a file such as `resnet50-11ad3fa6.pth`, or the state dict.

    Raises:
        InputError: as in `load_detectron2`.
    """
    return _load(network, backbone_plan(network, _named(weights)))


def _load(network: MaskRCNN, plan: Plan) -> ImportReport:
    report = place(network, plan)
    report.remarks.extend(implied_settings(plan.file).remarks(network.config))
    return report


def _open(source: Source) -> WeightsFile:
    return source if isinstance(source, WeightsFile) else read_weights(source)


def _named(weights: Source | Mapping[str, Tensor]) -> WeightsFile:
    return WeightsFile("The state dict", weights) if isinstance(weights, Mapping) else _open(weights)
