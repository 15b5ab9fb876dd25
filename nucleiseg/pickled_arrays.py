"""Placeholders for numpy arrays and dtypes of a pickle, converted on request (see `restricted_pickle`).

They record shape, dtype and bytes; types other than numbers are refused.
"""

import math
import pickle
import re
from typing import Any

import numpy as np

_NUMBERS = re.compile(r"\?|b1|[iu][1248]|f[248]")
"""Accepted dtypes: bool, int8 to int64, uint8 to uint64, float16 to float64, which torch supports too."""


class RefusedError(pickle.UnpicklingError):
    """The pickle contains a refused type or name."""


class PickledDtype:
    """A dtype of a pickle: bool, int8 to int64, uint8 to uint64, float16 to float64; all others are refused.

    Args:
        code: such as `f4`, as numpy writes it.
    """

    __slots__ = ("dtype",)

    def __init__(self, code: str, *_: object) -> None:
        if not isinstance(code, str) or not _NUMBERS.fullmatch(code):
            raise RefusedError(f"a numpy array of dtype {code!r} (bool, int, uint and float to 64 bits are read)")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Set the byte order, the only state of a numeric dtype."""
        self.dtype = self.dtype.newbyteorder(state[1])


class PickledArray:
    """An array of a pickle, not yet converted.

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
        """Set the state of `numpy.ndarray.__reduce__`."""
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
        """Record the contents after checking that they fit the shape.

        Args:
            data: bytes; or text of as many characters below 256 (Python 2, and protocol 2 of Python 3).
            dtype: of the elements.
            shape: of the array, before the axes are permuted.
            order: `C` (last axis fastest), `F` (first axis fastest), or `K` with `axes`.
            axes: how to transpose in order `K`.
        """
        if not isinstance(dtype, PickledDtype) or not isinstance(data, bytes | bytearray | str):
            raise RefusedError("a numpy array of Python objects")
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
        """Return the array in native byte order; it may be a read-only view of the file's bytes."""
        data = self._data.encode("latin1") if isinstance(self._data, str) else self._data
        flat = np.frombuffer(data, self.dtype).astype(self.dtype.newbyteorder("="), copy=False)
        if self._axes is not None:
            inverse = np.argsort(self._axes)
            return flat.reshape([self.shape[axis] for axis in inverse]).transpose(self._axes)
        return flat.reshape(self.shape, order="F" if self._order == "F" else "C")


class ObjectDtype(PickledDtype):
    """A dtype that may be that of Python objects."""

    __slots__ = ("is_object",)

    def __init__(self, code: str, *arguments: object) -> None:
        self.is_object = code in ("O", "O4", "O8")
        super().__init__("u1" if self.is_object else code, *arguments)


class PickledObjects(PickledArray):
    """An array of a pickle that may contain Python objects, which are restricted too.

    Attributes:
        objects: the elements; None for an array of numbers.
    """

    __slots__ = ("objects",)

    def __init__(self) -> None:
        super().__init__()
        self.objects: list[Any] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if isinstance(state[2], ObjectDtype) and state[2].is_object:
            if not isinstance(state[4], list):
                raise RefusedError("a numpy array of something else than a list of objects")
            self.objects = state[4]
        else:
            super().__setstate__(state)
