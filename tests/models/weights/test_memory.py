"""Importing a file of 330 MB: how much memory beyond the network itself."""

import subprocess
import sys
from pathlib import Path

import pytest

LIMIT = 2.5
"""Times the size of the file."""

CHILD = r"""
import pickle, re, sys
from pathlib import Path

import numpy as np
import torch

from nucleiseg.models.config import ModelConfig
from nucleiseg.models.part_configs import RoIConfig
from nucleiseg.models.mask_rcnn import build
from nucleiseg.models.weights.exporter import detectron2_arrays
from nucleiseg.models.weights.importer import load_detectron2

torch.set_num_threads(1)


def peak():  # getrusage's ru_maxrss would begin at the peak of the process that started this one
    return int(re.search(r"VmHWM:\s+([0-9]+) kB", Path("/proc/self/status").read_text())[1]) * 1024


def network():
    with torch.device("meta"):
        empty = build(ModelConfig(name="x", weights="x", roi=RoIConfig(fc_dim=3400)), 80)
    full = empty.to_empty(device="cpu")
    for value in full.state_dict().values():
        value.zero_()
    return full


action, kind, path = sys.argv[1], sys.argv[2], Path(sys.argv[3])
if action == "write":
    draw = np.random.default_rng(0)
    shapes = {name: array.shape for name, array in detectron2_arrays(network()).items()}
    arrays = {name: draw.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}
    if kind == "pth":
        torch.save({"model": {name: torch.from_numpy(array) for name, array in arrays.items()}}, path)
    else:
        path.write_bytes(pickle.dumps({"model": arrays, "__author__": "x"}, int(kind)))
else:
    target = network()
    size = sum(value.nbytes for value in target.state_dict().values())
    before = peak()
    load_detectron2(target, path)
    assert target.roi_heads.box_head.fc6.weight.count_nonzero() > 1e6
    print(peak() - before, size)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["2", "3", "5", "pth"])
def test_memory_of_an_import_stays_near_the_size_of_the_file(tmp_path: Path, kind: str) -> None:
    """With the network that is loaded into, and whatever the form: text (protocol 2), bytes, buffers, torch's zip."""
    if not Path("/proc/self/status").exists():
        pytest.skip("the peak of a process is read from Linux's /proc")
    path = tmp_path / "weights"

    def run(action: str) -> str:
        command = [sys.executable, "-c", CHILD, action, kind, str(path)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    run("write")
    size = path.stat().st_size
    assert size > 320e6
    grown, network = map(int, run("load").split())
    assert network > 320e6
    assert grown + network < LIMIT * size
    assert grown > 0.2 * size, "the measure misses what the import holds"
