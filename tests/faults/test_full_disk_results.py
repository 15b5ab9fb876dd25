"""A full disk in the files of a prediction or an evaluation: a sentence that names the file, the older file kept."""

import errno
import json
import os
from pathlib import Path

import pytest

from nucleiseg.cli.evaluate import evaluate
from nucleiseg.data.readers.demo import DemoReader, write_folders
from nucleiseg.evaluation.truth import layer_masks
from nucleiseg.failures import explained

READER = DemoReader(images=1, size=48)


@pytest.fixture
def results(tmp_path: Path) -> dict[str, Path]:
    """Truth as folders, and the same masks as results."""
    (record,) = READER.records()
    write_folders(READER, tmp_path / "truth")
    sample = READER.read(record)
    masks = layer_masks(sample.layers, sample.layer_index)
    answer = [{"image_id": 1, "category_id": 1, "segmentation": mask, "score": 0.9} for mask in masks]
    (tmp_path / "answer.json").write_text(json.dumps(answer))
    (tmp_path / "images.json").write_text(json.dumps([{"file_name": f"{record.name}.png", "id": 1}]))
    return {"predictions": tmp_path / "answer.json", "truth": tmp_path / "truth", "cache_dir": tmp_path / "cache"}


def test_an_evaluation_names_its_output(
    results: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, fsync = tmp_path / "metrics.json", os.fsync
    output.write_text("older")

    def fail(handle: int) -> None:
        if Path(f"/proc/self/fd/{handle}").readlink().name.startswith(".metrics."):
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(handle)

    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc")
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left") as caught:
        patch.setattr(os, "fsync", fail)
        evaluate(**results, output=output)
    assert explained(caught.value) == [
        f"{output}: No space left on device. Free some space there, or write to another disk."
    ]
    assert output.read_text() == "older"
    assert not list(tmp_path.glob(".metrics.*"))
    assert evaluate(**results, output=output) == 0
    assert json.loads(output.read_text())["ap"] == 1
