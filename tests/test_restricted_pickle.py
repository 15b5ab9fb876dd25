"""Pickles of arrays are read whole, of any Python and numpy; pickles that would run something run nothing."""

import collections
import contextlib
import copyreg
import os
import pickle
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nucleiseg.errors import InputError
from nucleiseg.models.weights.weights_file import read_weights
from nucleiseg.pickled_arrays import PickledArray, PickledDtype
from nucleiseg.restricted_pickle import read_pickle

NUMBERS = st.one_of(
    hnp.integer_dtypes(endianness="?"),
    hnp.floating_dtypes(endianness="?", sizes=(16, 32, 64)),
    hnp.boolean_dtypes(),
)


def read_bytes(folder: Path, content: bytes) -> Any:  # noqa: ANN401
    path = folder / "weights.pkl"
    path.write_bytes(content)
    return read_pickle(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pickles")


@given(array=hnp.arrays(NUMBERS, hnp.array_shapes(min_dims=0, min_side=0, max_side=4)), protocol=st.integers(0, 5))
def test_arrays_come_back(folder: Path, array: np.ndarray, protocol: int) -> None:
    for stored in (array, array.T, np.asfortranarray(array), np.moveaxis(array, 0, -1) if array.ndim > 2 else array):
        found = read_bytes(folder, pickle.dumps({"a": stored}, protocol))["a"]
        assert found.shape == stored.shape
        assert found.numpy().dtype == stored.dtype.newbyteorder("=")
        np.testing.assert_array_equal(found.numpy(), stored)


@pytest.mark.parametrize("protocol", range(6))
def test_containers_text_and_numbers_come_back(tmp_path: Path, protocol: int) -> None:
    plain = {"text": "naïve", "list": [1, 2.5, None, True, (1,), 2**80], "set": {1, 2} if protocol > 3 else [], "": {}}
    content = {**plain, "ordered": collections.OrderedDict(b=1, a=2), "scalar": np.float32(2.5), "flag": np.bool_(True)}
    found = read_bytes(tmp_path, pickle.dumps(content, protocol))
    assert {key: found[key] for key in plain} == plain
    assert list(found["ordered"]) == ["b", "a"]
    assert found["scalar"] == 2.5
    assert found["flag"] is True


def with_the_names_of_numpy_1(content: bytes) -> bytes:
    """Replace `numpy._core`; from protocol 4 on, lengths are written before the name and before the whole frame."""
    renamed = re.sub(rb"\x8c(.)numpy\._core", lambda found: b"\x8c%cnumpy.core" % (found[1][0] - 1), content)
    if renamed != content:
        length = int.from_bytes(content[3:11], "little") - (len(content) - len(renamed))
        return renamed[:3] + length.to_bytes(8, "little") + renamed[11:]
    return content.replace(b"numpy._core", b"numpy.core")


@pytest.mark.parametrize("protocol", range(6))
def test_numpy_1_and_2_have_other_names(tmp_path: Path, protocol: int) -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    content = pickle.dumps({"array": array, "scalar": np.int64(3)}, protocol)
    old = with_the_names_of_numpy_1(content.replace(b"numpy.core", b"numpy._core"))
    assert b"numpy._core" not in old
    found = read_bytes(tmp_path, old)
    np.testing.assert_array_equal(found["array"].numpy(), array)
    assert found["scalar"] == 3


def test_python_2_wrote_bytes_as_text(tmp_path: Path) -> None:
    values = np.array([1.5, -300.0], dtype="<f4")
    state = (
        b"(K\x01K\x02\x85cnumpy\ndtype\n(U\x02f4K\x00K\x01tR(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR" + state
    found = read_bytes(tmp_path, b"\x80\x02}U\x01a" + array + b"\x89U\x08" + values.tobytes() + b"tbs.")
    np.testing.assert_array_equal(found["a"].numpy(), values)


class Payload:
    """Pickles as a call of `function` with `arguments`."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return self.function, self.arguments


def mkdir(marker: Path) -> Payload:
    return Payload(os.mkdir, str(marker))


def array_of_objects(marker: Path) -> np.ndarray:
    array = np.empty(2, dtype=object)
    array[:] = [1.0, mkdir(marker)]
    return array


MKDIR = f"{os.mkdir.__module__}.mkdir"

PAYLOADS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a command": (lambda marker: Payload(os.system, f'echo ran > "{marker}"'), f"{os.system.__module__}.system"),
    "eval": (lambda marker: Payload(eval, f"open({str(marker)!r}, 'w').close()"), "builtins.eval"),
    "exec": (lambda marker: Payload(exec, f"open({str(marker)!r}, 'w').close()"), "builtins.exec"),
    "a process": (lambda marker: Payload(subprocess.getoutput, f'echo ran > "{marker}"'), ".getoutput"),
    "numpy's own functions": (lambda marker: Payload(np.save, str(marker), 1.0), "numpy.save"),
    "in a list in a dictionary": (lambda marker: {"model": [({"x": mkdir(marker)},)]}, MKDIR),
    "in a key": (lambda marker: {(1, mkdir(marker)): 1}, MKDIR),
    "beside good weights": (lambda marker: {"model": {"w": np.ones(3)}, "optimizer": mkdir(marker)}, MKDIR),
    "in an array of objects": (array_of_objects, "dtype 'O8'"),
}

OPCODES: dict[str, tuple[bytes, str]] = {
    # text after `c` is module and name; R calls with the tuple on the stack, i and o are older forms of the call
    "getattr": (
        b"c__builtin__\ngetattr\n(c__builtin__\n__import__\n(S'os'\ntRS'mkdir'\ntR(MARKERtR.",
        "builtins.getattr",
    ),
    "functools.partial": (b"cfunctools\npartial\n(cos\nmkdir\nMARKERtR(tR.", "functools.partial"),
    "operator.methodcaller": (
        b"coperator\nmethodcaller\n(S'mkdir'\ntR(cpathlib\nPath\n(MARKERtRtR.",
        "operator.methodcaller",
    ),
    "copyreg's registry": (b"ccopy_reg\nadd_extension\n(S'os'\nS'mkdir'\nI240\ntR0\x82\xf0(MARKERtR.", "copy_reg"),
    "INST": (b"(MARKERios\nmkdir\n.", "os.mkdir"),
    "OBJ": (b"(cos\nmkdir\nMARKERo.", "os.mkdir"),
    "a dotted name": (b"\x80\x04\x8c\x06shutil\x8c\x08os.mkdir\x93(MARKERtR.", "shutil.os.mkdir"),
}


@pytest.fixture
def marker(tmp_path: Path) -> Iterator[Path]:
    """What the attacks create; afterwards, the registry that one of them writes to is as it was."""
    yield tmp_path / "ran.npy"
    with contextlib.suppress(ValueError):
        copyreg.remove_extension("os", "mkdir", 240)
    copyreg.clear_extension_cache()


def remove(marker: Path) -> None:
    marker.rmdir() if marker.is_dir() else marker.unlink()


def assert_refused(path: Path, marker: Path, name: str) -> None:
    with pytest.raises(InputError, match=re.escape(name)) as caught:
        read_weights(path)
    assert "nothing in it was run" in str(caught.value)
    assert not marker.exists()


@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.parametrize("attack", PAYLOADS)
def test_code_is_refused_by_name_and_not_run(tmp_path: Path, marker: Path, attack: str, protocol: int) -> None:
    make, name = PAYLOADS[attack]
    path = tmp_path / "weights.pkl"
    path.write_bytes(pickle.dumps(make(marker), protocol))
    pickle.loads(path.read_bytes())
    assert marker.exists(), "the attack does not work at all"
    remove(marker)
    assert_refused(path, marker, name)


@pytest.mark.parametrize("attack", OPCODES)
def test_opcodes_that_call_are_refused_and_not_run(tmp_path: Path, marker: Path, attack: str) -> None:
    template, name = OPCODES[attack]
    path = tmp_path / "weights.pkl"
    path.write_bytes(template.replace(b"MARKER", b"S" + repr(str(marker)).encode() + b"\n"))
    pickle.loads(path.read_bytes())
    assert marker.exists(), "the attack does not work at all"
    remove(marker)
    assert_refused(path, marker, name)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_file_of_torch_is_refused_and_not_run(tmp_path: Path, marker: Path, zipped: bool) -> None:
    path = tmp_path / "weights.pth"
    content = {"model": {"w": torch.ones(2)}, "optimizer": mkdir(marker)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    torch.load(path, weights_only=False)
    assert marker.exists(), "the attack does not work at all"
    remove(marker)
    assert_refused(path, marker, MKDIR)


@pytest.mark.parametrize(
    "content",
    [
        b"cnumpy\nndarray\n}S'x'\nI1\nsb.",  # sets an attribute of what stands for numpy.ndarray
        b"c_codecs\nencode\n(S'a'\nS'rot13'\ntR.",
        pickle.dumps(np.array(["text"])),
        pickle.dumps(np.zeros(2, dtype=[("a", "f4")])),
        pickle.dumps(np.array(["2020-01-01"], dtype="M8[D]")),
        pickle.dumps(np.ones(2, dtype=np.complex64)),
        pickle.dumps(np.ones(2)).replace(b"f8", b"g8"),
        pickle.dumps(np.ones(1)).replace(b"\x8c\x02f8", b"\x8c\x03f16"),
    ],
)
def test_what_weights_do_not_need_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InputError, match="is refused"):
        read_bytes(tmp_path, content)


def test_nothing_named_is_imported(tmp_path: Path) -> None:
    (tmp_path / "planted_module.py").write_text("raise SystemExit('imported')")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(InputError, match=re.escape("planted_module.f")):
        patch.syspath_prepend(str(tmp_path))
        read_bytes(tmp_path, b"cplanted_module\nf\n.")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage",
        b"\x80\x05",
        pickle.dumps({"a": np.ones(100)})[:-50],
        pickle.dumps(np.ones(3)).replace(b"K\x03\x85", b"K\x04\x85"),  # more elements than bytes
        b"I1\n}b.",
        b"\x80\x02cnumpy._core.numeric\n_frombuffer\n(U\x01aS'f4'\n)U\x01CtR.",
    ],
)
def test_damaged_files_are_errors_of_the_input(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InputError, match=r"weights\.pkl"):
        read_bytes(tmp_path, content)


@pytest.mark.parametrize(
    ("data", "shape", "axes"),
    [
        (b"1234", (2,), None),  # four bytes are one float
        (b"1234", (-1, -1), None),
        (b"1234", ("1",), None),
        (b"1234", (1, 1), (0, 0)),
        ("\u0100234", (1,), None),  # no byte
        ([1.0], (1,), None),
    ],
)
def test_contents_that_make_no_array_are_errors(data: Any, shape: Any, axes: Any) -> None:  # noqa: ANN401
    with pytest.raises((ValueError, pickle.UnpicklingError)):
        PickledArray().fill(data, PickledDtype("f4"), shape, "K", axes)


def test_empty_bytes_have_a_name_of_their_own(tmp_path: Path) -> None:
    assert read_bytes(tmp_path, pickle.dumps([b""], 2)) == [b""]


def test_a_file_cut_off_anywhere_is_an_error_of_the_input(tmp_path: Path) -> None:
    whole = pickle.dumps({"a": np.arange(3.0), "b": [np.float32(1)]}, 2)
    for length in range(len(whole)):
        with pytest.raises(InputError, match="cut off"):
            read_bytes(tmp_path, whole[:length])


def test_arrays_are_views_of_the_file_and_cannot_be_written_to(tmp_path: Path) -> None:
    found = read_bytes(tmp_path, pickle.dumps(np.ones((2, 3), dtype=np.float32)))
    assert isinstance(found, PickledArray)
    assert (found.shape, found.dtype) == ((2, 3), np.float32)
    assert not found.numpy().flags.writeable
    assert np.shares_memory(found.numpy(), found.numpy())
