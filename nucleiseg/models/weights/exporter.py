"""Our networks into detectron2's files."""

import os

from nucleiseg.models.mask_rcnn import MaskRCNN


def save_detectron2(network: MaskRCNN, path: str | os.PathLike[str]) -> None:
    """Write the network's weights as a detectron2 `.pkl`, whole or not at all."""
    raise NotImplementedError
