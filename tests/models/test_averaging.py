"""The mean of weights: exact, of one architecture, and honest about what it is."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nucleiseg.errors import InputError
from nucleiseg.models.averaging import average_checkpoints, averages_statistics
from nucleiseg.models.checkpoint import Metadata, read, write

METADATA = Metadata(model={"name": "r50_c4", "norm": "bn"}, step=200, score_threshold=0.4, weights="R-50.pkl")


def saved(folder: Path, step: int, weights: dict[str, torch.Tensor], metadata: Metadata = METADATA) -> Path:
    path = folder / f"step_{step:06d}.ckpt"
    write(path, weights, replace(metadata, step=step))
    return path


def test_floating_tensors_are_averaged_in_float64(tmp_path: Path) -> None:
    """In float32, 2^24 + 1 is 2^24, so that a running sum would give 2^24 / 3."""
    values = (2.0**24, 1.0, 1.0)
    paths = [saved(tmp_path, step, {"w": torch.tensor([value])}) for step, value in enumerate(values)]
    weights, _ = average_checkpoints(paths)
    assert weights["w"].dtype == torch.float32
    assert weights["w"].item() == torch.tensor((2.0**24 + 2) / 3).item()
    assert weights["w"].item() != (torch.tensor(2.0**24) / 3).item()


def test_the_mean_of_one_and_of_equals_has_the_same_bits(tmp_path: Path) -> None:
    weights = {"w": torch.rand(50, generator=torch.Generator().manual_seed(0)), "b": torch.rand(3).half()}
    first, second, third = (saved(tmp_path, step, weights) for step in (1, 2, 3))
    for paths in ([first], [first, second, third]):
        mean, _ = average_checkpoints(paths)
        assert torch.equal(mean["w"], weights["w"])
        assert torch.equal(mean["b"], weights["b"].float())  # half precision is read as float32


def test_integers_and_metadata_are_those_of_the_latest_wherever_it_stands(tmp_path: Path) -> None:
    late = saved(tmp_path, 600, {"n": torch.tensor(6), "w": torch.tensor(1.0)})
    early = saved(tmp_path, 200, {"n": torch.tensor(2), "w": torch.tensor(3.0)})
    for paths in ([late, early], [early, late]):
        weights, metadata = average_checkpoints(paths)
        assert weights["n"].item() == 6
        assert weights["w"].item() == 2.0
        assert metadata.step == 600
        assert metadata.score_threshold is None
        assert metadata.weights == "mean of the weights of steps 200, 600; these started from: R-50.pkl"


def test_what_is_averaged_can_be_written_and_read(tmp_path: Path) -> None:
    weights, metadata = average_checkpoints([saved(tmp_path, 200, {"w": torch.tensor([1.0, 2.0])})])
    write(tmp_path / "mean.ckpt", weights, metadata)
    again, of_file = read(tmp_path / "mean.ckpt")
    assert torch.equal(again["w"], weights["w"])
    assert of_file == metadata


@pytest.mark.parametrize(
    ("weights", "metadata", "sentence"),
    [
        ({"w": torch.zeros(3)}, METADATA, "their networks differ"),
        ({"v": torch.zeros(2)}, METADATA, "their networks differ"),
        ({"w": torch.zeros(2)}, replace(METADATA, model={"name": "r50_dc5"}), r"r50_c4 and r50_dc5"),
        ({"w": torch.zeros(2)}, replace(METADATA, class_names=("a", "b")), "they know the classes nucleus and a, b"),
    ],
)
def test_other_networks_are_refused(
    weights: dict[str, torch.Tensor], metadata: Metadata, sentence: str, tmp_path: Path
) -> None:
    paths = [saved(tmp_path, 1, {"w": torch.zeros(2)}), saved(tmp_path, 2, weights, metadata)]
    with pytest.raises(InputError, match=sentence):
        average_checkpoints(paths)


def test_nothing_to_average_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="at least one"):
        average_checkpoints([])


def test_running_statistics_are_noticed() -> None:
    assert averages_statistics(torch.nn.BatchNorm2d(2).state_dict())
    assert not averages_statistics(torch.nn.GroupNorm(1, 2).state_dict())
