"""Make the optimizer and the schedule that `OptimSettings` names, and check both before a run starts."""

import inspect
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from nucleiseg.errors import InputError
from nucleiseg.settings import shown
from nucleiseg.training.settings import OptimSettings
from nucleiseg.trusted_targets import check_targets, find_class, instantiate

NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm, nn.modules.instancenorm._InstanceNorm)

FUSED = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW)
"""Optimizers with a fused implementation: one operator a step instead of several a parameter."""


def check_optim(optim: OptimSettings, *, trusted: Collection[str] = (), from_file: bool, key: str = "optim") -> int:
    """Refuse an optimizer or a schedule that cannot be made, by making both for a parameter of a few numbers.

    Args:
        optim: their settings.
        trusted: packages that a file may name.
        from_file: the settings were read from the file of a run.
        key: where the user finds them.

    Returns:
        How many tensors of a parameter's size the optimizer keeps: SGD with momentum 1, AdamW 2.

    Raises:
        InputError: a sentence for each problem.
    """
    problems: list[str] = []
    places: list[tuple[object, type, str]] = [({"_target_": optim.target}, Optimizer, key)]
    if optim.schedule is not None:
        places.append((optim.schedule, LRScheduler, f"{key}.schedule"))
    for mapping, expected, at in places:
        try:
            check_targets(mapping, expected, trusted=trusted, from_file=from_file, key=at)
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    parameter = nn.Parameter(torch.zeros(5))
    optimizer = make_optimizer(optim, [{"params": [parameter], "weight_decay": optim.weight_decay}], key=key)
    make_schedule(optim, optimizer, total_steps=10, key=f"{key}.schedule")
    parameter.grad = torch.zeros(5)
    optimizer.step(lambda: 0.0)
    return sum(isinstance(value, torch.Tensor) and value.numel() == 5 for value in optimizer.state[parameter].values())


def make_optimizer(
    optim: OptimSettings, groups: Sequence[Mapping[str, Any]], *, fused: bool = False, key: str = "optim"
) -> Optimizer:
    """Return the optimizer of parameter groups.

    Args:
        optim: checked settings.
        groups: of `parameter_groups`; their weight decay counts.
        fused: take torch's fused implementation, where the optimizer has one and the settings say nothing.
        key: where the user finds the settings.
    """
    given: dict[str, Any] = {"params": groups}
    if fused and issubclass(find_class(optim.target), FUSED):
        given["fused"] = True  # otherwise torch chooses the best of the others
    mapping = {"_target_": optim.target, "lr": optim.lr, **optim.arguments}
    return instantiate(mapping, Optimizer, from_file=False, key=key, given=given)


def make_schedule(
    optim: OptimSettings, optimizer: Optimizer, total_steps: int, key: str = "optim.schedule"
) -> LRScheduler | None:
    """Return the schedule of an optimizer, to be stepped after every optimizer step.

    Args:
        optim: checked settings.
        optimizer: what it schedules.
        total_steps: the `total_steps` of a schedule that has this argument and is given none.
        key: where the user finds the schedule.

    Raises:
        InputError: if the schedule needs a metric, or does not accept its arguments.
    """
    if optim.schedule is None:
        return None
    found = find_class(optim.schedule["_target_"])
    if issubclass(found, ReduceLROnPlateau):
        raise InputError(
            f"{key}._target_ is {shown(optim.schedule['_target_'])}; it accepts a schedule that depends on the step "
            "alone: it is stepped after every optimizer step, also where nothing is validated."
        )
    mapping = dict(optim.schedule)
    if "total_steps" in inspect.signature(found).parameters and mapping.get("total_steps") is None:
        mapping["total_steps"] = total_steps
    return instantiate(mapping, LRScheduler, from_file=False, key=key, given={"optimizer": optimizer})


def parameter_groups(network: nn.Module, weight_decay: float, weight_decay_norm: float) -> list[dict[str, Any]]:
    """Split the trained parameters by their weight decay, as detectron2's solver does.

    Args:
        network: its parameters without gradient are left out.
        weight_decay: for weights and biases.
        weight_decay_norm: for the parameters of normalization layers.

    Returns:
        One or two parameter groups for a torch optimizer, none of them empty.
    """
    norms = {
        parameter
        for module in network.modules()
        if isinstance(module, NORMS)
        for parameter in module.parameters(recurse=False)
    }
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in trained if parameter not in norms], "weight_decay": weight_decay},
        {"params": [parameter for parameter in trained if parameter in norms], "weight_decay": weight_decay_norm},
    ]
    return [group for group in groups if group["params"]]
