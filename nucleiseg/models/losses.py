"""Losses of the RoI heads, normalized as in detectron2 (torchvision differs in smooth-L1's beta only).

Each is a sum over this process's RoIs, divided by what `loss_normalizers` returns for their number.
"""

import torch.nn.functional as F
from torch import Tensor


def classification_loss(class_logits: Tensor, labels: Tensor, sampled: Tensor | int) -> Tensor:
    """Cross-entropy, averaged over all sampled RoIs; 0 without RoIs, still connected to the parameters.

    Args:
        class_logits: (S, K + 1), background first.
        labels: (S,) int64, 0 for background.
        sampled: S as a divisor.
    """
    return F.cross_entropy(class_logits.float(), labels, reduction="sum") / sampled


def box_regression_loss(deltas: Tensor, targets: Tensor, sampled: Tensor | int, beta: float) -> Tensor:
    """Smooth-L1 of the foreground RoIs, over the number of *all* sampled RoIs.

    Dividing by all lets every foreground box count the same in images with few and with many of them.

    Args:
        deltas: (F, 4) predicted for the class of each foreground RoI.
        targets: (F, 4) deltas that lead to its instance's box.
        sampled: S, foreground and background, as a divisor.
        beta: where the loss turns from quadratic to linear; 0 is L1.
    """
    return F.smooth_l1_loss(deltas.float(), targets, reduction="sum", beta=beta) / sampled


def mask_loss(logits: Tensor, targets: Tensor, foreground: Tensor | int) -> Tensor:
    """Binary cross-entropy, averaged over the pixels of all foreground RoIs.

    Args:
        logits: (F, M, M) predicted for the class of each foreground RoI.
        targets: (F, M, M) float32 in [0, 1].
        foreground: F as a divisor.

    Returns:
        A scalar; 0 without foreground, still connected to every parameter of the mask head.
    """
    total = F.binary_cross_entropy_with_logits(logits.float(), targets, reduction="sum")
    return total / (foreground * logits.shape[-2] * logits.shape[-1])
