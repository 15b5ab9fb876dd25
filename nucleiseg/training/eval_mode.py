"""Looking at a network in the middle of its training."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def eval_mode(network: nn.Module) -> Iterator[None]:
    """Run the network in eval mode without gradients, and leave its modes and torch's random state as they were."""
    modes = {module: module.training for module in network.modules()}
    devices = sorted({parameter.device.index for parameter in network.parameters() if parameter.is_cuda})
    try:
        with torch.random.fork_rng(devices), torch.no_grad():
            network.eval()
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
