"""Reading what `torch.save` wrote without running anything that it asks for."""

import os
import re
from typing import Any

import torch

from nucleiseg.errors import InputError
from nucleiseg.models.weights.restricted_pickle import refusal


def read_torch(path: str | os.PathLike[str], *, what: str, mmap: bool = False) -> Any:  # noqa: ANN401
    """Read a file of `torch.save` on the CPU, with torch's reader of weights alone (`weights_only=True`).

    torch's own messages are not repeated: they advise to read the file with `weights_only=False`, which would run it.

    Args:
        path: the file.
        what: it should be, for messages, such as `a checkpoint`.
        mmap: map the file, so that only what is used takes memory; older files, which are no zip, cannot be mapped.

    Raises:
        InputError: it cannot be opened, is damaged, or holds something other than arrays, numbers and texts.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except Exception as error:  # a damaged or hostile file raises whatever its random operations raise
        if isinstance(error, OSError) and error.strerror:
            raise InputError(f"{path} cannot be read as {what} ({error.strerror}).") from error
        if asked := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise refusal(path, asked[1]) from None
        raise InputError(
            f"{path} cannot be read as {what}: it is damaged or cut off, or holds something other than arrays, numbers "
            "and texts. Nothing in it was run. Copy or download it again."
        ) from error
