"""The data set hands a sample and its key's seed to the transform; batches are lists."""

import pickle
from pathlib import Path

import numpy as np
import torch

from nucleiseg.data.cache import SampleCache
from nucleiseg.data.dataset import NucleiDataset, collate
from nucleiseg.data.readers.demo import DemoReader
from nucleiseg.data.sampler import SampleKey
from nucleiseg.structures import Sample, Target


def to_tensor(sample: Sample, seed: int | None) -> tuple[torch.Tensor, Target]:
    """Leave everything as it is; boxes are not looked at here."""
    count = len(sample)
    target = Target(
        boxes=torch.zeros(count, 4),
        labels=torch.from_numpy(np.array(sample.labels)),
        layers=torch.from_numpy(sample.layers.astype(np.int32)),
        layer_index=torch.from_numpy(np.array(sample.layer_index)),
        values=torch.arange(1, count + 1),
        name=sample.name,
        seed=seed,
    )
    return torch.from_numpy(np.array(sample.image)).permute(2, 0, 1), target


def make(tmp_path: Path) -> NucleiDataset:
    reader = DemoReader(images=3, size=48)
    return NucleiDataset(reader, reader.records(), SampleCache(tmp_path), to_tensor)


def test_a_key_chooses_the_image_and_passes_its_seed(tmp_path: Path) -> None:
    dataset = make(tmp_path)
    assert len(dataset) == 3
    image, target = dataset[SampleKey(2, 77)]
    expected = dataset.reader.read(dataset.records[2])
    assert target.name == "demo_002"
    assert target.seed == 77
    np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), expected.image)
    for index, mask in enumerate(dataset.reader.render(2).masks()):
        np.testing.assert_array_equal(target.mask(index).numpy(), mask)
    assert dataset[SampleKey(0, None)][1].seed is None


def test_it_pickles_for_spawned_workers(tmp_path: Path) -> None:
    dataset = pickle.loads(pickle.dumps(make(tmp_path)))
    assert dataset[SampleKey(1, 0)][1].name == "demo_001"


def test_collate_keeps_images_of_different_sizes_apart(tmp_path: Path) -> None:
    first, second = make(tmp_path)[SampleKey(0, 1)], make(tmp_path)[SampleKey(1, 2)]
    images, targets = collate([(first[0][:, :30], first[1]), second])
    assert [image.shape for image in images] == [(3, 30, 48), (3, 48, 48)]
    assert [target.seed for target in targets] == [1, 2]
