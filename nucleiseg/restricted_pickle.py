"""Read pickles of numpy arrays (weights, Cellpose's masks) without running anything that they ask for.

A pickle is a program: it names functions and calls them. Files of weights need few names: those that numpy writes for
an array, a scalar and a dtype. Here each of them stands for a function of this module that does nothing but note
shape, dtype and bytes; any other name is refused before it is looked up, so that it is not even imported. Arrays stay
views of the bytes that were read until somebody asks for them, which keeps memory near the size of the file.

The opcodes EXT1, EXT2 and EXT4 name functions by numbers of `copyreg`'s registry, and its cache would hand them out
without asking for the name: it is cleared before a file is read, so that what a number stands for is refused by name
as well.

A hostile file can still waste memory (a few bytes can ask for many), but it cannot act.

Pickles of Python 2 and 3 (protocols up to 5), of numpy 1 (`numpy.core`) and 2 (`numpy._core`) are understood.
"""

import copyreg
import math
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from nucleiseg.errors import InputError

_NUMBERS = re.compile(r"\?|b1|[iu][1248]|f[248]")
"""Dtypes that are read: bool, int8 to int64, uint8 to uint64, float16 to float64. torch has no others of numpy's."""


class _RefusedError(pickle.UnpicklingError):
    """The pickle asks for this."""


class PickledDtype:
    """A dtype of a pickle: bool, int8 to int64, uint8 to uint64, float16 to float64; all others are refused.

    Args:
        code: such as `f4`, as numpy writes it.
    """

    __slots__ = ("dtype",)

    def __init__(self, code: str, *_: object) -> None:
        if not isinstance(code, str) or not _NUMBERS.fullmatch(code):
            raise _RefusedError(f"a numpy array of dtype {code!r} (bool, int, uint and float to 64 bits are read)")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Take the byte order, the only part of the state that a number has."""
        self.dtype = self.dtype.newbyteorder(state[1])


class PickledArray:
    """An array of a pickle, not yet made.

    Attributes:
        shape: as in numpy.
        dtype: as in numpy, in the file's byte order.
    """

    __slots__ = ("_axes", "_data", "_order", "dtype", "shape")

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = (0,)
        self.dtype = np.dtype("u1")
        self._order = "C"
        self._axes: tuple[int, ...] | None = None
        self._data: bytes | bytearray | str = b""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Take what `numpy.ndarray.__reduce__` gave."""
        _, shape, dtype, column_major, data = state
        self.fill(data, dtype, shape, "F" if column_major else "C")

    def fill(
        self,
        data: bytes | bytearray | str,
        dtype: PickledDtype,
        shape: tuple[int, ...],
        order: str,
        axes: tuple[int, ...] | None = None,
    ) -> "PickledArray":
        """Note the contents, and check that they make such an array.

        Args:
            data: bytes; or text of as many characters below 256 (Python 2, and protocol 2 of Python 3).
            dtype: of the elements.
            shape: of the array, before the axes are permuted.
            order: `C` (last axis fastest), `F` (first axis fastest), or `K` with `axes`.
            axes: how to transpose in order `K`.
        """
        if not isinstance(dtype, PickledDtype) or not isinstance(data, bytes | bytearray | str):
            raise _RefusedError("a numpy array of Python objects")
        if any(not isinstance(side, int) or side < 0 for side in shape):
            raise ValueError(f"an array has shape {shape}")
        size = len(data.encode("latin1") if isinstance(data, str) else data)
        if size != math.prod(shape) * dtype.dtype.itemsize:
            raise ValueError(f"an array of shape {shape} has {size} bytes")
        if axes is not None and sorted(axes) != list(range(len(shape))):
            raise ValueError(f"an array of shape {shape} has axes {axes}")
        self._data, self.dtype, self._order, self._axes = data, dtype.dtype, order, axes
        self.shape = tuple(shape) if axes is None else tuple(shape[axis] for axis in axes)
        return self

    def numpy(self) -> np.ndarray:
        """Return the array in the machine's byte order; not to be written to, since it may be a view of the file."""
        data = self._data.encode("latin1") if isinstance(self._data, str) else self._data
        flat = np.frombuffer(data, self.dtype).astype(self.dtype.newbyteorder("="), copy=False)
        if self._axes is not None:
            inverse = np.argsort(self._axes)
            return flat.reshape([self.shape[axis] for axis in inverse]).transpose(self._axes)
        return flat.reshape(self.shape, order="F" if self._order == "F" else "C")


class _Mapping(dict):
    """An ordered dictionary of a pickle; attributes that torch hangs on it are dropped."""

    def __setstate__(self, state: object) -> None:
        pass


def _array(*_: object) -> PickledArray:
    return PickledArray()


def _array_from_buffer(
    data: bytes | bytearray,
    dtype: PickledDtype,
    shape: tuple[int, ...],
    order: str,
    axes: tuple[int, ...] | None = None,
) -> PickledArray:
    return PickledArray().fill(data, dtype, shape, order, axes)


def _scalar(dtype: PickledDtype, data: bytes | str) -> bool | int | float:
    return PickledArray().fill(data, dtype, (), "C").numpy().item()


def _encode(text: str, encoding: str) -> str:
    """Keep bytes, which protocol 2 of Python 3 writes as text, as text: see `PickledArray.fill`."""
    if not isinstance(text, str) or encoding != "latin1":
        raise _RefusedError(f"_codecs.encode of {type(text).__name__} to {encoding!r}")
    return text


def _empty_bytes() -> bytes:
    return b""


class _StandIn:
    """What a name in a pickle stands for: it can be called and nothing else, so that no pickle can change it."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: object) -> object:
        return self._function(*arguments)

    def __setstate__(self, state: object) -> None:
        raise _RefusedError("a change of a function's attributes")


_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): _array,
    ("numpy", "dtype"): PickledDtype,
    ("_codecs", "encode"): _encode,
    ("builtins", "bytes"): _empty_bytes,
    ("collections", "OrderedDict"): _Mapping,
}
for _core in ("numpy.core", "numpy._core"):
    _ALLOWED[f"{_core}.multiarray", "_reconstruct"] = _array
    _ALLOWED[f"{_core}.multiarray", "scalar"] = _scalar
    _ALLOWED[f"{_core}.numeric", "_frombuffer"] = _array_from_buffer


_RECONSTRUCT = ("numpy.core.multiarray", "numpy._core.multiarray")
"""Modules of the function that numpy 1 and 2 name in the pickle of an array."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> _StandIn:
        module = "builtins" if module == "__builtin__" else module  # its name in Python 2 and in protocols up to 2
        if (module, name) not in _ALLOWED:
            raise _RefusedError(f"{module}.{name}")
        return _StandIn(_ALLOWED[module, name])


class _ObjectDtype(PickledDtype):
    """A dtype that may also be that of Python objects."""

    __slots__ = ("is_object",)

    def __init__(self, code: str, *arguments: object) -> None:
        self.is_object = code in ("O", "O4", "O8")
        super().__init__("u1" if self.is_object else code, *arguments)


class _PickledObjects(PickledArray):
    """An array of a pickle that may hold Python objects, which are themselves restricted.

    Attributes:
        objects: them; None for an array of numbers.
    """

    __slots__ = ("objects",)

    def __init__(self) -> None:
        super().__init__()
        self.objects: list[Any] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if isinstance(state[2], _ObjectDtype) and state[2].is_object:
            if not isinstance(state[4], list):
                raise _RefusedError("a numpy array of something else than a list of objects")
            self.objects = state[4]
        else:
            super().__setstate__(state)


def _objects(*_: object) -> _PickledObjects:
    return _PickledObjects()


class _ObjectUnpickler(_Unpickler):
    """Also reads the array of Python objects in which `numpy.save` wraps a dictionary."""

    def find_class(self, module: str, name: str) -> _StandIn:
        if (module, name) == ("numpy", "dtype"):
            return _StandIn(_ObjectDtype)
        if (module, name) in (("numpy", "ndarray"), *((core, "_reconstruct") for core in _RECONSTRUCT)):
            return _StandIn(_objects)
        return super().find_class(module, name)


def refusal(path: str | os.PathLike[str], what: str) -> InputError:
    """Return the error for a file that asks for something else than numbers and text."""
    return InputError(
        f"{path} is refused, and nothing in it was run: it asks for {what}, but only numpy arrays, text, numbers and "
        "containers are read. Take the file from a source you trust, or save it again as plain arrays."
    )


def read_pickle(path: str | os.PathLike[str]) -> Any:  # noqa: ANN401
    """Read the first object of a pickle file; nothing that it names is run.

    Args:
        path: the file.

    Returns:
        The object, with a `PickledArray` in the place of each numpy array and a Python number for each numpy scalar.
        Byte strings may come as text (one character a byte), as Python 2 and protocol 2 write them.

    Raises:
        InputError: it holds anything but numbers, text, numpy arrays of numbers, and containers of these; or it is
            no pickle, or cut off.
    """
    with Path(path).open("rb") as handle:
        copyreg.clear_extension_cache()
        try:
            return _Unpickler(handle, encoding="latin1").load()
        except _RefusedError as error:
            raise refusal(path, str(error)) from None
        except Exception as error:  # a damaged pickle raises whatever its random operations raise
            reason = str(error) or type(error).__name__
            raise InputError(f"{path} cannot be read as weights ({reason}); it may be damaged or cut off.") from error


def read_pickled_dictionary(handle: BinaryIO, path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the dictionary that `numpy.save` wrote as an array of one object, after the header; nothing in it is run.

    Args:
        handle: the file, positioned behind the header of the npy format.
        path: what errors call it.

    Returns:
        The dictionary, with a `PickledArray` in the place of each numpy array of numbers.

    Raises:
        InputError: as `read_pickle`, or if there is something else than a dictionary.
    """
    copyreg.clear_extension_cache()
    try:
        content = _ObjectUnpickler(handle, encoding="latin1").load()
    except _RefusedError as error:
        raise refusal(path, str(error)) from None
    except Exception as error:  # a damaged pickle raises whatever its random operations raise
        reason = str(error) or type(error).__name__
        raise InputError(f"{path} cannot be read ({reason}); it may be damaged or cut off.") from error
    items = content.objects if isinstance(content, _PickledObjects) else None
    if items is None or len(items) != 1 or not isinstance(items[0], dict):
        raise InputError(f"{path} holds something else than a dictionary.")
    return items[0]
