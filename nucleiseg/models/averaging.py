"""Average the weights of several checkpoints of one network.

Averaging weights along the last part of a run often generalises better than any one of them (Izmailov et al. 2018,
"Averaging Weights Leads to Wider Optima and Better Generalization", https://arxiv.org/abs/1803.05407).
"""

import os
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from nucleiseg.errors import InputError
from nucleiseg.models.checkpoint import Metadata, read

Weights = dict[str, Tensor]


def average_checkpoints(paths: Sequence[str | os.PathLike[str]]) -> tuple[Weights, Metadata]:
    """Average the weights of checkpoints of one architecture.

    Args:
        paths: the files, each with the same weight; one file is held in memory at a time.

    Returns:
        The mean weights, and the metadata of the checkpoint with the most steps, whose `weights` names the
        averaged steps. They hold no score threshold, which is chosen for the averaged network.

    Raises:
        ValueError: if `paths` is empty.
        InputError: if a file is not a checkpoint, or they differ in architecture or classes.
    """
    if not paths:
        raise ValueError("an average needs at least one checkpoint")
    first, latest = read(paths[0])
    # sums in float64, where those of some float32 are exact to their last bit
    total = {name: value.to(torch.float64) for name, value in first.items() if value.is_floating_point()}
    latest_weights, steps = first, [latest.step]
    for path in paths[1:]:
        weights, metadata = read(path)
        _refuse_other_network(paths[0], (first, latest), path, (weights, metadata))
        for name, value in total.items():
            value += weights[name]
        steps.append(metadata.step)
        if metadata.step > latest.step:
            latest_weights, latest = weights, metadata
    mean = {name: value / len(paths) for name, value in total.items()}
    averaged = {
        name: mean[name].to(value.dtype) if name in mean else value.clone() for name, value in latest_weights.items()
    }
    words = f"mean of the weights of steps {', '.join(map(str, sorted(steps)))}; these started from: {latest.weights}"
    return averaged, replace(latest, score_threshold=None, weights=words)


def averages_statistics(weights: Weights) -> bool:
    """Return whether the weights hold running statistics of batch normalization, which an average would average too.

    A mean of running variances leaves out the variance between the means, so that such an average may do worse than
    each of its parts. The statistics of FrozenBatchNorm are the same in all checkpoints of a run.
    """
    return any(name.endswith("num_batches_tracked") for name in weights)


def _refuse_other_network(
    path: str | os.PathLike[str],
    known: tuple[Weights, Metadata],
    other_path: str | os.PathLike[str],
    other: tuple[Weights, Metadata],
) -> None:
    (weights, metadata), (other_weights, other_metadata) = known, other
    if metadata.class_names != other_metadata.class_names:
        raise InputError(
            f"{path} and {other_path} cannot be averaged: they know the classes {', '.join(metadata.class_names)} and "
            f"{', '.join(other_metadata.class_names)}; average checkpoints of one run."
        )
    shapes = {name: value.shape for name, value in weights.items()}
    if metadata.model != other_metadata.model or shapes != {name: value.shape for name, value in other_weights.items()}:
        raise InputError(
            f"{path} and {other_path} cannot be averaged: their networks differ ({metadata.model.get('name')} and "
            f"{other_metadata.model.get('name')}); average checkpoints of one run."
        )
