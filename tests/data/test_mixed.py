"""Several data sets in one training: ratios, resume, resolution, splits and classes."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nucleiseg.data.build import read_data_keys
from nucleiseg.data.cache import SampleCache
from nucleiseg.data.datamodule import NucleiDataModule
from nucleiseg.data.readers.demo import DemoReader, write_folders
from nucleiseg.data.readers.mixed import MixedReader
from nucleiseg.data.sampler import RatioSampler, SampleKey
from nucleiseg.data.settings import DataSettings
from nucleiseg.errors import InputError
from nucleiseg.transforms.preprocessing import Preprocessing
from nucleiseg.transforms.recipe import Recipe, Resize

SIDE = 32


def sampler(sizes: list[int], ratios: list[int], **arguments: int) -> RatioSampler:
    members = np.split(np.random.default_rng(0).permutation(sum(sizes)), np.cumsum(sizes)[:-1])
    return RatioSampler(members, ratios, **{"batch_size": 2, "total": 60, "seed": 3, **arguments})


def flat(batches: list[list[SampleKey]]) -> list[int]:
    return [key.index for batch in batches for key in batch]


@given(sizes=st.lists(st.integers(1, 7), min_size=2, max_size=3), data=st.data())
def test_ratios_are_exact_and_each_set_is_passed_over_evenly(sizes: list[int], data: st.DataObject) -> None:
    ratios = data.draw(st.lists(st.integers(1, 4), min_size=len(sizes), max_size=len(sizes)))
    drawn = sampler(sizes, ratios)
    found = flat(list(drawn))
    whole = len(found) - len(found) % sum(ratios)
    for images, ratio in zip(drawn.members, ratios, strict=True):
        counts = np.bincount(found[:whole], minlength=sum(sizes))[images]
        assert counts.sum() == whole * ratio // sum(ratios)
        assert counts.max() - counts.min() <= 1


@given(start=st.integers(0, 60), seed=st.integers(0, 2**31))
def test_resumed_and_distributed_samplers_see_the_same(start: int, seed: int) -> None:
    whole = list(sampler([5, 3], [2, 1], seed=seed, batch_size=4))
    assert list(sampler([5, 3], [2, 1], seed=seed, batch_size=4, start=start)) == whole[start:]
    ranks = [list(sampler([5, 3], [2, 1], seed=seed, rank=rank, world_size=2)) for rank in (0, 1)]
    assert [first + second for first, second in zip(*ranks, strict=True)] == whole


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two folders of images, with a file for each."""
    write_folders(DemoReader(images=4, size=SIDE), tmp_path / "one")
    write_folders(DemoReader(images=3, size=SIDE, seed=1), tmp_path / "two")
    (tmp_path / "a.yaml").write_text("reader: folders\nroot: one\nmpp: 0.25\nval: [demo_002]\n")
    (tmp_path / "b.yaml").write_text("reader: folders\nroot: two\nmpp: 0.5\nval: none\n")
    return tmp_path


def mixed(root: Path, **keys: object) -> MixedReader:
    sets = [str(root / "a.yaml"), str(root / "b.yaml")]
    return MixedReader.from_dict({"sets": sets, "ratios": [2, 1], "mpp": 0.25, **keys}, "data")


def datamodule(reader: MixedReader, **keys: object) -> NucleiDataModule:
    recipe = Recipe(crop=(16, 16), resize=Resize(short=24, long=24))
    settings = DataSettings.from_dict({"cache_dir": "none", "workers": 0, "batch_size": 3, "mpp": 0.25, **keys}, "data")
    made = NucleiDataModule(reader, recipe, Preprocessing(scale=1.5, mpp=0.25), settings, total_steps=4)
    made.setup()
    return made


def test_each_set_has_its_split_and_ratio(root: Path) -> None:
    data = datamodule(mixed(root))
    assert data.split.val == ("a_demo_002",)
    assert len(data.split.train) == 6
    for _, targets in data.train_dataloader():
        assert sorted(target.name[0] for target in targets) == ["a", "a", "b"]
    data.start_step = 2
    later = [[target.name for target in targets] for _, targets in data.train_dataloader()]
    data.start_step = 0
    assert [[target.name for target in targets] for _, targets in data.train_dataloader()][2:] == later


def test_the_scale_follows_the_resolution(root: Path) -> None:
    """Of 0.5 um per pixel, images are shown twice as large as of 0.25, and of 0.125 half as large."""
    (root / "a.yaml").write_text("reader: folders\nroot: one\nmpp: 0.125\nval: none\n")
    data = datamodule(mixed(root))
    scales: dict[str, set[tuple[float, tuple[int, ...]]]] = {"a": set(), "b": set()}
    for images, targets in data.train_dataloader():
        for image, target in zip(images, targets, strict=True):
            scales[target.name[0]].add((target.scale, tuple(image.shape[1:])))
    assert scales == {"a": {(0.75, (12, 12))}, "b": {(3.0, (24, 24))}}
    shapes = {target.name[0]: tuple(image.shape[1:]) for (image,), (target,) in data.predict_dataloader()}
    assert shapes == {"a": (24, 24), "b": (96, 96)}


def test_samples_survive_the_cache_and_workers(root: Path) -> None:
    reader = pickle.loads(pickle.dumps(mixed(root)))
    assert hash(reader) == hash(mixed(root))
    cache = SampleCache(root / "cache")
    for record in reader.records():
        summary = cache.prepare(reader, record)
        sample = cache.load(reader, record)
        assert sample.zoom == summary.zoom == (1.0 if record.name.startswith("a_") else 2.0)
        assert sample.name == record.name


def test_ratios_and_names_must_fit(root: Path) -> None:
    with pytest.raises(InputError, match=r"data.ratios has 1 numbers; it accepts 2"):
        mixed(root, ratios=[1])
    with pytest.raises(InputError, match=r"data.ratios is \[0.5, 0.5\]; it accepts a list of whole numbers"):
        mixed(root, ratios=[0.5, 0.5])
    with pytest.raises(InputError, match=r"several files of one name"):
        mixed(root, sets=["x/a.yaml", "y/a.yaml"])
    with pytest.raises(InputError, match=r"mpp is null; it accepts .* 0.25 \(.*a.yaml\)"):
        mixed(root, mpp=None).resolve()
    reader, settings = read_data_keys({"reader": "mixed", "sets": [str(root / "a.yaml"), "b.yaml"], "mpp": 0.25})
    assert isinstance(reader, MixedReader)
    assert reader.mpp == settings.mpp == 0.25


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("reader: folders\nroot: two\n", r"b.yaml: mpp is missing; .* a.yaml, which has mpp=0.25"),
        ("reader: nothing\n", r"b.yaml: data.reader is 'nothing'; it accepts one of"),
        ("reader: folders\nroot: two\nroute: 3\n", r"b.yaml: data.route is not a key"),
        ("reader: folders\nroot: two\nbatch_size: 3\n", r"b.yaml: batch_size belong to the whole training"),
        ("reader: mixed\n", r"b.yaml: data.reader is .mixed.; it accepts one of aperio"),
        ("- 1\n", r"b.yaml has no keys of a data set"),
        ("a: [\n", r"b.yaml is not YAML"),
    ],
)
def test_problems_name_file_and_key(root: Path, text: str, sentence: str) -> None:
    (root / "b.yaml").write_text(text)
    with pytest.raises(InputError, match=sentence.replace(" a.yaml", r" \S*a.yaml")):
        mixed(root).resolve()
    (root / "b.yaml").unlink()
    with pytest.raises(InputError, match=r"b.yaml, which cannot be read"):
        mixed(root).resolve()


def test_a_set_that_cannot_be_split_is_named(root: Path) -> None:
    (root / "b.yaml").write_text("reader: folders\nroot: two\nmpp: 0.5\nval: [nobody]\n")
    with pytest.raises(InputError, match=r"b.yaml: val names nobody"):
        datamodule(mixed(root))
    with pytest.raises(InputError, match="repeat_threshold is set"):
        datamodule(mixed(root), repeat_threshold=0.1)


def test_sets_of_other_classes_are_refused(root: Path) -> None:
    with pytest.raises(InputError, match=r"a.yaml has the classes tumor, .*b.yaml stroma"):
        mixed(root).refuse_other_classes([{"tumor"}, {"stroma"}])
    mixed(root).refuse_other_classes([{"tumor"}, set()])
