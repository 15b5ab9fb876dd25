"""Assign the arrays of a file of detectron2 or Caffe2 to a network's entries."""

import torch
from torch import Tensor, nn

from nucleiseg.errors import InputError
from nucleiseg.models.mask_rcnn import MaskRCNN
from nucleiseg.models.weights import layout, names
from nucleiseg.models.weights.implied_settings import implied_settings
from nucleiseg.models.weights.import_report import Note
from nucleiseg.models.weights.placement import Offer, Plan
from nucleiseg.models.weights.weights_file import WeightsFile

STATISTICS = (".running_mean", ".running_var")


def detectron2_plan(network: MaskRCNN, file: WeightsFile) -> Plan:
    """Match a file's arrays with a network's entries.

    Args:
        network: to be loaded into.
        file: with detectron2's names, or Caffe2's of an ImageNet backbone.

    Raises:
        InputError: the file has GroupNorm and the network batch normalization; or it is a whole model and the
            network's numerics are torchvision's.
    """
    caffe2 = names.is_caffe2(file.arrays)
    keys = {names.from_caffe2(key) if caffe2 else key: key for key in file.arrays}
    backbone_alone = any(key.startswith(("stem.", "res2.")) for key in keys)
    found = names.describe(keys)
    if network.config.numerics != "detectron2" and not backbone_alone:
        raise InputError(
            f"{file.name} holds {found} of detectron2, but numerics={network.config.numerics}: set numerics=detectron2."
        )
    family = network.config.family
    wanted = {ours: names.detectron2_name(ours, family) for ours in network.state_dict()}
    excused = {}
    if backbone_alone:
        wanted = {ours: names.bare_backbone_name(theirs) for ours, theirs in wanted.items()}
        excused = backbone_notes(network)
    offers = _Offers(network, file, keys).of(wanted)
    # statistics, or what is left of them after folding, tell batch normalization from GroupNorm
    batch_norm = _has_folded_statistics(file, keys) or any(key.endswith(STATISTICS) for key in keys)
    file_has_group_norm = not batch_norm and any(".norm." in key for key in keys)
    has_group_norm = any(isinstance(module, nn.GroupNorm) for module in network.modules())
    if file_has_group_norm and not has_group_norm:
        raise InputError(f"{file.name} was trained with GroupNorm: set norm=gn to load it.")
    return Plan(file, offers, excused, found, has_group_norm and not file_has_group_norm)


def backbone_notes(network: MaskRCNN) -> dict[str, Note]:
    """Excuse everything but the backbone, by part: `backbone.fpn`, `rpn.head`, `roi_heads.box_predictor`, ..."""
    return {
        name: Note(
            ".".join(name.split(".")[: 3 if name.startswith(names.MAP_NORMS) else 2]), "the file holds a backbone alone"
        )
        for name in network.state_dict()
        if not names.is_backbone(name, network.config.family)
    }


class _Offers:
    """Makes offers of a file's arrays, in our order of channels and classes."""

    def __init__(self, network: MaskRCNN, file: WeightsFile, keys: dict[str, str]) -> None:
        self._network, self._file, self._keys = network, file, keys
        self._bgr = implied_settings(file).bgr
        self._folded = _has_folded_statistics(file, keys)

    def of(self, wanted: dict[str, str]) -> dict[str, Offer]:
        """Return the offers for entries of the network, given their names in the file."""
        found = ((ours, self._offer(ours, theirs)) for ours, theirs in wanted.items())
        return {ours: offer for ours, offer in found if offer is not None}

    def _offer(self, ours: str, theirs: str) -> Offer | None:
        if theirs in self._keys:
            key = self._keys[theirs]

            def converted() -> Tensor:
                tensor = layout.from_detectron2(ours, self._file.tensor(key), bgr=self._bgr)
                return layout.with_our_epsilon(self._network, ours, tensor, layout.BN_EPS)

            return Offer(key, self._file.shape(key), converted)
        weight = self._keys.get(f"{theirs.rpartition('.')[0]}.weight")
        if self._folded and theirs.endswith(STATISTICS) and weight is not None:
            # an affine map: normalization with mean 0 and variance + epsilon 1 changes nothing
            shape = self._file.shape(weight)
            value = 0.0 if theirs.endswith("mean") else 1.0 - layout.epsilon(self._network, ours)
            return Offer(None, shape, lambda: torch.full(shape, value))
        return None


def _has_folded_statistics(file: WeightsFile, keys: dict[str, str]) -> bool:
    """Tell whether weight and bias are all of the normalization: Caffe2's ImageNet files fold the statistics in."""
    return any("_bn_" in key for key in file.arrays) and not any(key.endswith(STATISTICS) for key in keys)
