"""Read pickles of numpy arrays (weights, Cellpose's masks) without executing code from them.

A pickle names functions and calls them. Files of weights need only those that numpy writes for an array, a scalar and a
dtype. Here each of these names maps to a function that records shape, dtype and bytes; any other name is refused before
it is imported. Arrays remain views of the bytes until they are converted, which keeps memory near the size of the file.

The opcodes EXT1, EXT2 and EXT4 refer to functions by numbers of `copyreg`'s registry, whose cache bypasses the check of
names: it is cleared before a file is read.

A malicious file can still allocate much memory, but it cannot execute code.

Pickles of Python 2 and 3 (protocols up to 5), of numpy 1 (`numpy.core`) and 2 (`numpy._core`) are understood.
"""

import copyreg
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from nucleiseg.errors import InputError
from nucleiseg.pickled_arrays import ObjectDtype, PickledArray, PickledDtype, PickledObjects, RefusedError


class _Mapping(dict):
    """An ordered dictionary of a pickle; torch's attributes of it are dropped."""

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
    """Return bytes, which protocol 2 of Python 3 writes as text, as text: see `PickledArray.fill`."""
    if not isinstance(text, str) or encoding != "latin1":
        raise RefusedError(f"_codecs.encode of {type(text).__name__} to {encoding!r}")
    return text


def _empty_bytes() -> bytes:
    return b""


class _StandIn:
    """The object for a name in a pickle: it can only be called, so that no pickle can modify it."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: object) -> object:
        return self._function(*arguments)

    def __setstate__(self, state: object) -> None:
        raise RefusedError("a change of a function's attributes")


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
"""Modules of the function `_reconstruct` in numpy 1 and 2."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> _StandIn:
        module = "builtins" if module == "__builtin__" else module  # its name in Python 2 and in protocols up to 2
        if (module, name) not in _ALLOWED:
            raise RefusedError(f"{module}.{name}")
        return _StandIn(_ALLOWED[module, name])


def _objects(*_: object) -> PickledObjects:
    return PickledObjects()


class _ObjectUnpickler(_Unpickler):
    """Also reads the array of Python objects in which `numpy.save` wraps a dictionary."""

    def find_class(self, module: str, name: str) -> _StandIn:
        if (module, name) == ("numpy", "dtype"):
            return _StandIn(ObjectDtype)
        if (module, name) in (("numpy", "ndarray"), *((core, "_reconstruct") for core in _RECONSTRUCT)):
            return _StandIn(_objects)
        return super().find_class(module, name)


def refusal(path: str | os.PathLike[str], what: str) -> InputError:
    """Return the error for a file that contains other types than numbers and text."""
    return InputError(
        f"{path} is refused, and nothing in it was run: it asks for {what}, but only numpy arrays, text, numbers and "
        "containers are read. Take the file from a source you trust, or save it again as numpy arrays."
    )


def read_pickle(path: str | os.PathLike[str]) -> Any:  # noqa: ANN401
    """Read the first object of a pickle file without executing code from it.

    Args:
        path: the file.

    Returns:
        The object, with a `PickledArray` in the place of each numpy array and a Python number for each numpy scalar.
        Byte strings may come as text (one character a byte), as Python 2 and protocol 2 write them.

    Raises:
        InputError: if it contains other types than numbers, text, numpy arrays of numbers, and containers of these, is
            not a pickle, or is cut off.
    """
    with Path(path).open("rb") as handle:
        copyreg.clear_extension_cache()
        try:
            return _Unpickler(handle, encoding="latin1").load()
        except RefusedError as error:
            raise refusal(path, str(error)) from None
        except Exception as error:  # a damaged pickle can raise any error
            reason = str(error) or type(error).__name__
            raise InputError(f"{path} cannot be read as weights ({reason}); it may be damaged or cut off.") from error


def read_pickled_dictionary(handle: BinaryIO, path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a dictionary that `numpy.save` wrote as an array of one object, without executing code from it.

    Args:
        handle: the file, positioned after the header of the npy format.
        path: the file's name in errors.

    Returns:
        The dictionary, with a `PickledArray` in the place of each numpy array of numbers.

    Raises:
        InputError: as `read_pickle`, or if it is not a dictionary.
    """
    copyreg.clear_extension_cache()
    try:
        content = _ObjectUnpickler(handle, encoding="latin1").load()
    except RefusedError as error:
        raise refusal(path, str(error)) from None
    except Exception as error:  # a damaged pickle can raise any error
        reason = str(error) or type(error).__name__
        raise InputError(f"{path} cannot be read ({reason}); it may be damaged or cut off.") from error
    items = content.objects if isinstance(content, PickledObjects) else None
    if items is None or len(items) != 1 or not isinstance(items[0], dict):
        raise InputError(f"{path} holds something else than a dictionary.")
    return items[0]
