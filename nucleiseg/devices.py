"""Name and peak memory of the device of a run."""

import sys

import torch

MEGABYTE = 10**6


def peak_memory_mb(device: torch.device) -> float | None:
    """Return the peak memory in MB (10^6 bytes): of the tensors on a GPU, or of the whole process on the CPU.

    Args:
        device: where the network is.

    Returns:
        None on Windows, which does not report it.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / MEGABYTE
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage counts bytes on macOS, kB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MEGABYTE


def device_name(device: torch.device) -> str:
    """Return the name of the GPU, or `cpu`."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
