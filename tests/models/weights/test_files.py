"""Files of weights: which kinds, where the arrays lie in them, and what is said about the others."""

import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nucleiseg.errors import InputError
from nucleiseg.models.weights.weights_file import read_weights

WEIGHT = np.arange(6, dtype=np.float32).reshape(2, 3)


def as_pickle(path: Path, content: Any) -> None:  # noqa: ANN401
    path.write_bytes(pickle.dumps(content))


def as_torch(path: Path, content: Any) -> None:  # noqa: ANN401
    torch.save(content, path)


def as_old_torch(path: Path, content: Any) -> None:  # noqa: ANN401
    torch.save(content, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("suffix", [".pkl", ".pth", ""])
@pytest.mark.parametrize("write", [as_pickle, as_torch, as_old_torch])
@pytest.mark.parametrize("wrapper", ["model", "state_dict", "blobs", None])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_kinds_are_recognized_by_contents(
    tmp_path: Path, write: Callable[[Path, object], None], wrapper: str | None, suffix: str, prefix: str
) -> None:
    path = tmp_path / f"weights{suffix}"
    weights = OrderedDict({f"{prefix}a.weight": WEIGHT if write is as_pickle else torch.from_numpy(WEIGHT)})
    write(path, {wrapper: weights, "iteration": 7, "optimizer": {"state": {}}} if wrapper else weights)
    file = read_weights(path)
    assert list(file.arrays) == ["a.weight"]
    assert file.shape("a.weight") == (2, 3)
    assert torch.equal(file.tensor("a.weight"), torch.from_numpy(WEIGHT))
    assert (file.name, file.author) == (str(path), "")


def test_the_author_is_known(tmp_path: Path) -> None:
    as_pickle(tmp_path / "zoo.pkl", {"model": {"a": WEIGHT}, "__author__": "Caffe2"})
    assert read_weights(tmp_path / "zoo.pkl").author == "Caffe2"


def test_the_name_is_not_a_weight_in_a_bare_file(tmp_path: Path) -> None:
    as_pickle(tmp_path / "bare.pkl", {"a": WEIGHT, "__author__": "somebody"})
    assert list(read_weights(tmp_path / "bare.pkl").arrays) == ["a"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ([WEIGHT], "holds a list, not a dictionary"),
        ({}, "holds no arrays"),
        ({"model": {}}, "holds no arrays"),
        ({"model": {"a": WEIGHT, "b": [1]}}, r"holds also b \(list\)"),
        ({"a": WEIGHT, 3: WEIGHT}, r"holds also 3 \(PickledArray\)"),
    ],
)
def test_other_contents_are_refused(tmp_path: Path, content: object, sentence: str) -> None:
    as_pickle(tmp_path / "weights.pkl", content)
    with pytest.raises(InputError, match=sentence):
        read_weights(tmp_path / "weights.pkl")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a file"):
        read_weights(tmp_path)


@pytest.mark.parametrize("write", [as_torch, as_old_torch])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_torch_file_cut_off_is_refused(tmp_path: Path, write: Any, share: float) -> None:  # noqa: ANN401
    path = tmp_path / "weights.pth"
    write(path, {"a": torch.ones(1000)})
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(InputError, match="cannot be read as weights"):
        read_weights(path)


def test_a_zip_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    np.savez(path.with_suffix(".npz"), a=WEIGHT)
    path.with_suffix(".npz").rename(path)
    with pytest.raises(InputError, match="cannot be read as weights"):
        read_weights(path)
