"""Peak memory of a run, to see whether it fits on another machine."""

import sys

import torch

MEGABYTE = 10**6


def peak_memory_mb(device: torch.device) -> float | None:
    """Return the peak in MB (10^6 bytes): of a GPU's tensors, on the CPU of the whole process.

    Args:
        device: where the network is.

    Returns:
        None where the system does not report it (Windows has no such count of a process).
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
    """Return what stands beside seconds and megabytes: the name of the GPU, or `cpu`."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
