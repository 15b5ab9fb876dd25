"""Copy arrays into a network, accounting for every entry of the network and every key of the file."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nucleiseg.errors import InputError
from nucleiseg.models.mask_rcnn import MaskRCNN
from nucleiseg.models.weights.import_report import ImportReport, Note
from nucleiseg.models.weights.names import why_useless
from nucleiseg.models.weights.weights_file import WeightsFile

SHOWN = 5
"""Names listed in an error before the rest is counted."""

COUNTER = ".num_batches_tracked"
"""Batches that `BatchNorm2d` has seen: of no effect with a constant momentum, so no file needs to have it."""

BATCH_NORM_KEYS = re.compile(r"\.norm\.|_bn_|\bbn\d\.|downsample\.1\.|\.running_|fpn.*\.bias$")
"""Keys, in any library's names, that a network with GroupNorm has no use for: it has no biases in the pyramid."""


class Offer(NamedTuple):
    """A file's array for an entry of the network.

    Attributes:
        key: in the file; None for a constant that the file leaves out.
        shape: of the array.
        read: makes it, in our order of channels and classes.
    """

    key: str | None
    shape: tuple[int, ...]
    read: Callable[[], Tensor]


@dataclass(frozen=True)
class Plan:
    """Assignment of a file's arrays to a network's entries.

    Attributes:
        file: where arrays come from.
        offers: name in the network's state dict -> the file's array.
        excused: entries of the network that keep their values, and why.
        found: what the file is, in words.
        other_norm: the network has GroupNorm and the file has not: its normalization is ignored.
    """

    file: WeightsFile
    offers: dict[str, Offer]
    excused: dict[str, Note] = field(default_factory=dict)
    found: str = ""
    other_norm: bool = False


class PredictorLayer(NamedTuple):
    """A layer whose number of outputs depends on the classes or anchors.

    Attributes:
        outputs: of one class or anchor.
        background: whether the background has outputs too: always, never, or None with torchvision's numerics alone.
        what: classes or anchors.
    """

    outputs: int
    background: bool | None
    what: str


PREDICTORS = {
    "roi_heads.box_predictor.cls_score": PredictorLayer(1, True, "classes"),
    "roi_heads.box_predictor.bbox_pred": PredictorLayer(4, None, "classes"),
    "roi_heads.mask_predictor.mask_fcn_logits": PredictorLayer(1, None, "classes"),
    "rpn.head.cls_logits": PredictorLayer(1, False, "anchors a cell"),
    "rpn.head.bbox_pred": PredictorLayer(4, False, "anchors a cell"),
}
"""Layers that start from random values where the file has other numbers of classes or anchors."""


def place(network: MaskRCNN, plan: Plan) -> ImportReport:
    """Copy what fits into the network; nothing is copied if anything is unaccounted for.

    Args:
        network: changed in place. Layers that are not loaded keep their values: random ones if it is new.
        plan: what is to go where.

    Raises:
        InputError: the file lacks an entry, has an unused key, or an array of another shape (but for the number of
            outputs of `PREDICTORS`).
    """
    state = network.state_dict()
    excused = dict(plan.excused)
    if plan.other_norm:  # the GroupNorms of a network keep their values if the weights had batch normalization
        layers = [name for name, module in network.named_modules() if isinstance(module, nn.GroupNorm)]
        why = "the file has batch normalization and the network GroupNorm (norm=gn)"
        note = Note(f"all {len(layers)} normalization layers", why)
        excused = {f"{layer}.{part}": note for layer in layers for part in ("weight", "bias")} | excused
    fitting: dict[str, Offer] = {}
    missing, misfits, notes = [], [], []
    for name, tensor in state.items():
        offer, layer = plan.offers.get(name), name.rpartition(".")[0]
        if name in excused:
            notes.append(excused[name])
        elif offer is None:
            missing.extend([] if name.endswith(COUNTER) else [name])
        elif offer.shape == tensor.shape:
            fitting[name] = offer
        elif layer in PREDICTORS and offer.shape[1:] == tensor.shape[1:]:
            outputs, background, what = PREDICTORS[layer]
            if background is None:
                background = network.config.numerics == "torchvision"
            counts = [rows // outputs - background for rows in (offer.shape[0], tensor.shape[0])]
            notes.append(Note(layer, f"the file has {counts[0]} {what}, this network {counts[1]}"))
        else:
            misfits.append(f"{name} {offer.shape} instead of {tuple(tensor.shape)}")
    unused, ignored = _leftovers(plan, excused)
    _refuse(network, plan, missing, unused, misfits)
    with torch.no_grad():
        for name, offer in fitting.items():
            state[name].copy_(offer.read())
    return ImportReport(loaded=list(fitting), reinitialized=list(dict.fromkeys(notes)), ignored=ignored)


def _leftovers(plan: Plan, excused: dict[str, Note]) -> tuple[list[str], list[Note]]:
    """Return the file's unused keys: those without a known reason, and those with one."""
    used = {offer.key for name, offer in plan.offers.items() if name not in excused}
    unused, ignored = [], []
    for key in plan.file.arrays:
        if key in used:
            continue
        why = why_useless(key)
        if plan.other_norm and BATCH_NORM_KEYS.search(key):
            why = "the network has GroupNorm"
        if why:
            ignored.append(Note(key, why))
        else:
            unused.append(key)
    return unused, ignored


def _refuse(network: MaskRCNN, plan: Plan, missing: list[str], unused: list[str], misfits: list[str]) -> None:
    problems = []
    if missing:
        problems.append(f"{len(missing)} entries of the network are not in it ({_listed(missing)})")
    if unused:
        problems.append(f"{len(unused)} of its keys are not of this network ({_listed(unused)})")
    if misfits:
        problems.append(f"{len(misfits)} arrays have another shape ({_listed(misfits)})")
    if problems:
        config = network.config
        found = f" ({plan.found})" if plan.found else ""
        raise InputError(
            f"{plan.file.name}{found} does not fit a model of family {config.family} with {config.backbone}: "
            f"{'; '.join(problems)}. Choose the model that these weights belong to, or other weights."
        )


def _listed(names: Sequence[str]) -> str:
    more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
