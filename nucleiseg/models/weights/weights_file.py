"""Read files of weights: pickles and torch's own formats, distinguished by their first bytes."""

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nucleiseg.errors import InputError
from nucleiseg.models.weights.torch_files import read_torch
from nucleiseg.pickled_arrays import PickledArray
from nucleiseg.restricted_pickle import read_pickle

ZIP = b"PK\x03\x04"
"""First bytes of torch's files since version 1.6."""

LEGACY_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""First bytes before: a pickle of the number 0x1950a86a20f9469cfc6c (`torch.serialization.MAGIC_NUMBER`)."""

WRAPPERS = ("model", "state_dict", "blobs")
"""Keys under which the weights may lie: detectron2's, Lightning's and others', Detectron's."""


@dataclass(frozen=True)
class WeightsFile:
    """The named arrays of a file.

    Attributes:
        name: the file's, for messages.
        arrays: name -> array, made a tensor on demand.
        author: `__author__` of detectron2's pickles; "" in other files.
        settings: settings in files exported by nucleiseg; empty in others.
    """

    name: str
    arrays: Mapping[str, PickledArray | Tensor]
    author: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return an array's shape."""
        return tuple(self.arrays[name].shape)

    def tensor(self, name: str) -> Tensor:
        """Return an array as a tensor on the CPU, in the file's precision; do not write to it."""
        array = self.arrays[name]
        if isinstance(array, Tensor):
            return array
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # a copy would double the memory
            return torch.from_numpy(array.numpy())


def read_weights(path: str | os.PathLike[str]) -> WeightsFile:
    """Read a `.pkl` or `.pth` file of weights without executing code.

    The weights are the file's one dictionary of arrays, or lie in it under one of `WRAPPERS`; what lies beside them
    (an optimizer, a step) is not used. A prefix `module.` on all names, left by DataParallel, is removed.

    Args:
        path: the file.

    Raises:
        InputError: if the file is missing, unreadable, refused (see `read_pickle`), or has no named arrays.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} is not a file; give a .pkl or .pth file of weights.")
    with path.open("rb") as handle:
        start = handle.read(len(LEGACY_TORCH))
    zipped = start.startswith(ZIP)
    by_torch = zipped or start == LEGACY_TORCH
    content = read_torch(path, what="weights", mmap=zipped) if by_torch else read_pickle(path)
    if not isinstance(content, dict):
        raise InputError(f"{path} holds a {type(content).__name__}, not a dictionary of named arrays.")
    inner = next((content[key] for key in WRAPPERS if isinstance(content.get(key), dict)), content)
    arrays = {name: value for name, value in inner.items() if name != "__author__"}
    wrong = [
        f"{name} ({type(value).__name__})"
        for name, value in arrays.items()
        if not (isinstance(name, str) and isinstance(value, PickledArray | Tensor))
    ]
    if wrong or not arrays:
        found = f"holds also {', '.join(wrong[:5])}" if wrong else "holds no arrays"
        raise InputError(f"{path} {found}; a file of weights is a dictionary of named arrays, bare or under 'model'.")
    if all(name.startswith("module.") for name in arrays):  # torch's DataParallel
        arrays = {name.removeprefix("module."): value for name, value in arrays.items()}
    author, settings = content.get("__author__"), content.get("settings")
    return WeightsFile(
        str(path),
        arrays,
        author if isinstance(author, str) else "",
        settings if isinstance(settings, dict) else {},
    )
