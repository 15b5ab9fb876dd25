"""Files of torch that are damaged or hostile end in one sentence of ours, whatever torch makes of them."""

import pickle
import zipfile
from pathlib import Path

import pytest
import torch

from nucleiseg.errors import InputError
from nucleiseg.models import checkpoint
from nucleiseg.models.weights.torch_files import read_torch
from nucleiseg.models.weights.weights_file import read_weights

WHOLE = {"model": {"a": 1, "b": [2.5, "text"]}}

PROGRAMS = {
    "nothing": b"",
    "INST": b"(S'ran'\nios\nmkdir\n.",
    "EXT1": b"\x80\x02\x82\xf0(S'ran'\ntR.",
    "protocol 4": pickle.dumps(WHOLE, 4),
    "truncated": pickle.dumps(WHOLE, 2)[:-6],
    "an empty stack": b"\x80\x02.",
    "a tuple of nothing": b"\x80\x02t.",
    "an unknown memo": b"\x80\x02h\x07.",
    "a short length": b"\x80\x02X\x01",
    "no text": b"\x80\x02X\x02\x00\x00\x00\xff\xff.",
    "items of a number": b"\x80\x02K\x01(K\x02K\x03u.",
    "state of a number": b"\x80\x02K\x01K\x02b.",
    "a number for a storage": b"\x80\x02K\x01Q.",
}


def hostile(path: Path, program: bytes) -> Path:
    """Write a file of torch, with another program in the place of its pickle."""
    torch.save(torch.ones(2), path.with_suffix(".good"))
    with zipfile.ZipFile(path.with_suffix(".good")) as good, zipfile.ZipFile(path, "w") as bad:
        for entry in good.infolist():
            bad.writestr(entry.filename, program if entry.filename.endswith("data.pkl") else good.read(entry))
    return path


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_damaged_or_hostile_file_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = hostile(tmp_path / "bad.pth", PROGRAMS[program])
    assert not checkpoint.is_checkpoint(path)
    for read in (read_weights, checkpoint.read, checkpoint.load):
        with pytest.raises(InputError, match=r"bad\.pth (cannot be read as|is refused)") as caught:
            read(path)
        assert "othing in it was run" in str(caught.value)
        assert "weights_only" not in str(caught.value)
        assert len(caught.value.problems) == len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "ran").exists()


def test_a_pickle_that_is_good_is_read(tmp_path: Path) -> None:
    assert read_torch(hostile(tmp_path / "good.pth", pickle.dumps(WHOLE, 2)), what="weights", mmap=True) == WHOLE


def test_a_file_that_cannot_be_opened_is_not_called_damaged(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.pth cannot be read \(No such file or directory\)"):
        read_torch(tmp_path / "absent.pth", what="weights")


@pytest.mark.parametrize("state", [[1], 3, {"a": 1}, ["a"], {3: torch.zeros(1)}])
def test_a_checkpoint_whose_weights_are_none_does_not_fit(tmp_path: Path, state: object) -> None:
    metadata = checkpoint.Metadata(model={"name": "small", "backbone": "resnet18", "fpn_channels": 8})
    torch.save({"state_dict": state, "nucleiseg": metadata.to_dict()}, tmp_path / "odd.ckpt")
    with pytest.raises(InputError, match=r"odd\.ckpt does not fit nucleiseg"):
        checkpoint.load(tmp_path / "odd.ckpt")
