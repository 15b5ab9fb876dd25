"""The data module: set up once, the same samples whatever loads them, plain keys in and sentences out."""

from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import pytest
import torch
import yaml
from numbered_batches import number
from torch.utils.data import DataLoader

from nucleiseg.data import datamodule as module
from nucleiseg.data.build import build_datamodule, read_data_keys
from nucleiseg.data.datamodule import NucleiDataModule, fingerprint
from nucleiseg.data.dataset import init_worker
from nucleiseg.data.readers import READERS
from nucleiseg.data.readers.demo import DemoReader, write_folders
from nucleiseg.data.readers.folders import FoldersReader
from nucleiseg.data.settings import DataSettings
from nucleiseg.data.splits import Split
from nucleiseg.errors import InputError
from nucleiseg.files import cache_folder
from nucleiseg.structures import Sample, Target
from nucleiseg.transforms.preprocessing import Preprocessing
from nucleiseg.transforms.recipe import Recipe, Resize

CONF = Path(__file__).parents[2] / "conf" / "data"


def augment(sample: Sample, seed: int | None) -> tuple[torch.Tensor, Target]:
    """Add noise from the seed, so that a wrong seed shows in the pixels."""
    image = torch.from_numpy(sample.image.copy()).permute(2, 0, 1)
    if seed is not None:
        image ^= torch.randint(0, 256, image.shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    empty = torch.zeros(0, dtype=torch.int64)
    layers = torch.from_numpy(sample.layers.astype("int32"))
    return image, Target(torch.zeros(0, 4), empty, layers, empty, empty, name=sample.name, seed=seed)


def make(tmp_path: Path, **arguments: Any) -> NucleiDataModule:  # noqa: ANN401
    run = {key: arguments.pop(key) for key in ("accumulate",) if key in arguments}
    keys = DataSettings(**{"batch_size": 2, "workers": 0, "val": 0.4, "cache_dir": tmp_path} | arguments)
    return NucleiDataModule(DemoReader(images=5, size=48), augment, augment, keys, total_steps=4, **run)


def batches(loader: DataLoader[Any]) -> list[list[tuple[str, int | None, int]]]:
    """What a loader yields: for each image its name, its seed and a checksum of its pixels."""
    return [
        [(target.name, target.seed, int(image.long().sum())) for image, target in zip(images, targets, strict=True)]
        for images, targets in loader
    ]


def test_setup_lists_checks_and_splits_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make(tmp_path)
    data.setup()
    assert [record.name for record in data.train_records] == list(data.split.train)
    assert [record.name for record in data.val_records] == list(data.split.val)
    assert (len(data.train_records), len(data.val_records)) == (3, 2)
    assert [summary.name for summary in data.summaries] == [f"demo_{i:03d}" for i in range(5)]
    assert data.class_names == ("nucleus",)
    monkeypatch.setattr(module, "load_all", lambda *_: pytest.fail("checked again"))
    data.setup("fit")


def test_workers_change_nothing(tmp_path: Path) -> None:
    recipe = Recipe(crop=(0.5, 0.5), resize=Resize(short=40, long=60), saturation=(0.5, 2), quarter_turns=True)
    found = []
    for workers in (0, 2):
        reader = DemoReader(images=5, size=48)
        data = NucleiDataModule(
            reader,
            recipe,
            Preprocessing(short=64, long=100),
            DataSettings(cache_dir=tmp_path, batch_size=2, workers=workers),
            total_steps=3,
        )
        data.setup()
        data.prepare_batch = number
        found.append(list(data.train_dataloader()))
    assert len(found[0]) == 3
    assert [[target.name[-6:] for target in targets] for _, targets in found[0]] == [["0 of 2", "1 of 2"]] * 3
    for alone, helped in zip(*found, strict=True):
        for expected, image in zip(alone[0], helped[0], strict=True):
            assert torch.equal(image, expected)
        for wanted, target in zip(alone[1], helped[1], strict=True):
            assert (target.name, target.seed, target.scale) == (wanted.name, wanted.seed, wanted.scale)
            assert torch.equal(target.layers, wanted.layers)
            assert torch.equal(target.boxes, wanted.boxes)


def test_a_run_resumed_at_a_step_sees_the_rest(tmp_path: Path) -> None:
    data = make(tmp_path, accumulate=3)
    data.setup()
    whole = batches(data.train_dataloader())
    data.start_step = 3
    loader = data.train_dataloader()
    assert len(loader) == len(whole) == 12
    assert batches(loader) == whole[9:]


def test_two_processes_share_the_global_batch(tmp_path: Path) -> None:
    alone, data = make(tmp_path, batch_size=2), make(tmp_path, batch_size=1)
    for each in (alone, data):
        each.setup()
    pieces = []
    for rank in range(2):
        data.trainer = SimpleNamespace(global_rank=rank, world_size=2)
        pieces.append(batches(data.train_dataloader()))
    assert [first + second for first, second in zip(*pieces, strict=True)] == batches(alone.train_dataloader())


def test_loading_leaves_the_global_random_state_alone(tmp_path: Path) -> None:
    data = make(tmp_path)
    data.setup()
    before = torch.get_rng_state()
    batches(data.train_dataloader())
    batches(data.val_dataloader())
    assert torch.equal(torch.get_rng_state(), before)


def test_whole_images_come_one_at_a_time_without_seed(tmp_path: Path) -> None:
    data = make(tmp_path)
    data.setup()
    found = batches(data.val_dataloader())
    assert [[entry[0] for entry in batch] for batch in found] == [[name] for name in data.split.val]
    assert all(entry[1] is None for batch in found for entry in batch)
    everything = batches(data.predict_dataloader())
    assert [entry[0] for batch in everything for entry in batch] == [f"demo_{i:03d}" for i in range(5)]


def test_training_on_all_leaves_nothing_to_validate(tmp_path: Path) -> None:
    data = make(tmp_path, val="none", workers=2)
    data.setup()
    assert len(data.train_records) == 5
    assert batches(data.val_dataloader()) == []


def test_the_fingerprint_names_contents_and_split_but_no_place(tmp_path: Path) -> None:
    def of(root: Path, **arguments: Any) -> str:  # noqa: ANN401
        data = NucleiDataModule(
            FoldersReader(root=root), augment, augment, DataSettings(cache_dir=tmp_path / "cache", **arguments)
        )
        data.setup()
        return data.fingerprint

    for place in ("a", "b"):
        write_folders(DemoReader(images=3, size=48), tmp_path / place)
    first = of(tmp_path / "a")
    assert of(tmp_path / "b") == first
    assert len(first) == 16
    assert of(tmp_path / "a", val=["demo_000", "demo_001"]) != first
    sorted((tmp_path / "b" / "demo_001" / "masks").iterdir())[-1].unlink()
    assert of(tmp_path / "b") != first


def test_the_fingerprint_changes_with_each_part(tmp_path: Path) -> None:
    data = make(tmp_path)
    data.setup()
    other = [replace(data.summaries[0], key="0"), *data.summaries[1:]]
    assert fingerprint(list(reversed(data.summaries)), data.split, ("nucleus",)) == data.fingerprint
    assert fingerprint(other, data.split, ("nucleus",)) != data.fingerprint
    assert fingerprint(data.summaries, data.split, ("cell",)) != data.fingerprint
    swapped = Split(data.split.val, data.split.train, "")
    assert fingerprint(data.summaries, swapped, ("nucleus",)) != data.fingerprint


def test_whole_images_are_not_prepared(tmp_path: Path) -> None:
    data = make(tmp_path)
    data.setup()
    data.prepare_batch = number
    assert not any(" of " in target.name for _, targets in data.val_dataloader() for target in targets)


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_a_batch_is_copied_to_a_gpu_without_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    data = make(tmp_path)
    data.setup()
    batch = next(iter(data.train_dataloader()))
    waits: list[bool] = []
    copy = torch.Tensor.to

    def watched(tensor: torch.Tensor, *where: object, non_blocking: bool = False) -> torch.Tensor:
        waits.append(not non_blocking)
        return copy(tensor, "meta")  # which every computer has

    monkeypatch.setattr(torch.Tensor, "to", watched)
    images, targets = data.transfer_batch_to_device(batch, torch.device(device), 0)
    assert {image.device.type for image in images} == {target.boxes.device.type for target in targets} == {"meta"}
    assert waits == [device == "cpu"] * 2 * 6  # each image, and the five tensors of each target


def test_a_worker_keeps_to_one_thread() -> None:
    threads = cv2.getNumThreads()
    try:
        init_worker(0)
        assert cv2.getNumThreads() == 1
        assert torch.get_num_threads() == 1
    finally:
        cv2.setNumThreads(threads)


@pytest.mark.parametrize(("cuda", "cores", "expected"), [(False, 32, 0), (True, 32, 4), (True, 3, 2), (True, None, 0)])
def test_workers_by_default(monkeypatch: pytest.MonkeyPatch, cuda: bool, cores: int | None, expected: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.delattr("os.sched_getaffinity", raising=False)  # Linux has it alone
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    assert module.default_workers() == expected


def test_workers_by_default_count_the_cores_of_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {3, 17, 40}, raising=False)
    assert module.default_workers() == 2


def build(data: dict[str, Any]) -> NucleiDataModule:
    return build_datamodule(data, train_transform=augment, val_transform=augment, seed=1, total_steps=6, accumulate=2)


def card(name: str) -> dict[str, Any]:
    """A file of conf/data as Hydra composes it: the base's keys, then its own."""
    own = yaml.safe_load((CONF / f"{name}.yaml").read_text(encoding="utf-8"))
    base, last = own.pop("defaults", [None, "_self_"])
    assert last == "_self_"
    return (card(base) if base else {}) | own


@pytest.mark.parametrize("name", sorted(path.stem for path in CONF.glob("[!_]*.yaml")))
def test_every_reference_card_builds_a_data_module(name: str, tmp_path: Path) -> None:
    write_folders(DemoReader(images=2, size=48), tmp_path / "data")
    keys = card(name) | {"cache_dir": str(tmp_path / "cache")}
    if "root" in keys:
        assert keys["root"] == "???"
        keys["root"] = str(tmp_path / "data")
    if "sets" in keys:
        assert keys["sets"] == "???"
        keys["sets"] = [str(tmp_path / file) for file in ("a.yaml", "b.yaml")]
        for file in keys["sets"]:
            Path(file).write_text("reader: folders\nroot: data\n", encoding="utf-8")
    reader, settings = read_data_keys(keys)
    assert type(reader) is READERS[name]
    assert settings.cache_path == tmp_path / "cache"
    if name in ("auto", "demo", "folders"):
        data = build(keys)
        assert data.reader.records()
        assert (data.seed, data.total_steps, data.accumulate) == (1, 6, 2)
    assert {item.name for item in fields(DataSettings)} == set(
        yaml.safe_load((CONF / "_base.yaml").read_text(encoding="utf-8"))
    )


def test_the_cards_state_the_defaults_of_the_classes() -> None:
    data = build(card("demo"))
    assert data.reader == DemoReader()
    assert data.settings == DataSettings()


@pytest.mark.parametrize(("cache_dir", "folder"), [(None, cache_folder()), ("none", None)])
def test_where_the_cache_is(cache_dir: str | None, folder: Path | None) -> None:
    assert build({"reader": "demo", "cache_dir": cache_dir}).cache.folder == folder


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"reader": "tables"}, "data.reader is 'tables'; it accepts one of .*demo, folders"),
        ({}, "data.reader is null; it accepts one of"),
        ({"reader": "demo", "root": "x"}, "data.root is not a key of data; its keys are"),
        ({"reader": "demo", "batchsize": 2}, r"data.batchsize is not a key of data; did you mean data.batch_size\?"),
        ({"reader": "folders"}, "data.root is missing; it accepts a folder"),
        ({"reader": "folders", "root": None}, "data.root is null; it accepts a folder"),
        ({"reader": "folders", "root": True}, "data.root is true; it accepts a folder"),
        ({"reader": "demo", "images": 0}, "data.images is 0; it accepts a whole number from 1 to 100,000"),
        ({"reader": ["demo"]}, r"data.reader is \['demo'\]; it accepts one of"),
        (None, "data is null; it accepts a group of keys"),
        ({"reader": "demo", "images": "abc"}, "data.images is 'abc'; it accepts a whole number from 1"),
        ({"reader": "demo", "images": 10**9}, "data.images is 1000000000; it accepts"),
        ({"reader": "demo", "images": 2.5}, "data.images is 2.5; it accepts"),
        ({"reader": "demo", "images": None}, "data.images is null; it accepts"),
        ({"reader": "demo", "size": 64.5}, "data.size is 64.5; it accepts a whole number from 32 to 2,048"),
        ({"reader": "demo", "size": 10**6}, "data.size is 1000000; it accepts"),
        ({"reader": "demo", "seed": True}, "data.seed is true; it accepts"),
        ({"reader": "demo", "batch_size": 0}, "data.batch_size is 0; it accepts a whole number from 1 to 256"),
        ({"reader": "demo", "workers": -1}, "data.workers is -1; it accepts a whole number from 0 to 64, or null"),
        ({"reader": "demo", "workers": 1.5}, "data.workers is 1.5; it accepts"),
        ({"reader": "demo", "mpp": 0}, "data.mpp is 0; it accepts a number from 0.001 to 1000, or null"),
        ({"reader": "demo", "val": 1.0}, "data.val is 1.0; it accepts a fraction between 0 and 1"),
        ({"reader": "demo", "val": 0}, "data.val is 0; it accepts a fraction"),
        ({"reader": "demo", "val": True}, "data.val is true; it accepts a fraction"),
        ({"reader": "demo", "val": []}, r"data.val is \[\]; it accepts a fraction"),
        ({"reader": "demo", "fold": 5}, "data.fold is 5; it accepts 0 to 4, since data.folds is 5"),
        ({"reader": "demo", "fold": -1}, "data.fold is -1; it accepts a whole number from 0"),
        ({"reader": "demo", "fold": 0.0}, "data.fold is 0.0; it accepts"),
        ({"reader": "demo", "fold": 0, "folds": 1}, "data.folds is 1; it accepts a whole number from 2 to 1,000"),
        ({"reader": "demo", "fold": 0, "val": "none"}, "data.fold is 0; it accepts null beside names or none"),
        ({"reader": "demo", "fold": 0, "val": ["demo_001"]}, "data.fold is 0; it accepts null beside names"),
        ({"reader": "demo", "fold": 0, "val": 5.0}, "data.val is 5.0; it accepts a fraction"),
        ({"reader": "demo", "group": "("}, r"data.group is '\('; it accepts auto, .* not a regular expression"),
        ({"reader": "demo", "group": "image"}, "data.group is 'image'; it accepts auto, .* has 0 groups in brackets"),
        ({"reader": "demo", "group": None}, "data.group is null; it accepts auto, tcga_site, none"),
        ({"reader": "demo", "group": 5}, "data.group is 5; it accepts auto"),
    ],
)
def test_refused_values_are_named_with_their_key(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as error:
        build(keys)
    assert len(error.value.problems) == 1


def test_problems_of_the_reader_and_of_the_shared_keys_come_together() -> None:
    with pytest.raises(InputError) as error:
        build({"reader": "demo", "size": 1, "workers": 99, "foldes": 3})
    assert [problem.split()[0] for problem in error.value.problems] == ["data.foldes", "data.size", "data.workers"]


def test_folders_named_by_a_number_are_taken_by_their_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_folders(DemoReader(images=2, size=48), tmp_path / "2024")
    data = build({"reader": "folders", "root": 2024, "cache_dir": 5})
    data.setup()
    assert len(data.summaries) == len(list((tmp_path / "5").iterdir())) == 2


def test_wrong_splits_are_refused_at_setup(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="names nobody"):
        make(tmp_path, val=["nobody"]).setup()


@pytest.mark.parametrize("group", ["auto", "none"])
def test_copies_of_an_image_are_found_by_their_pixels(
    tmp_path: Path, group: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "data"
    write_folders(DemoReader(images=4, size=48), root)
    pixels = cv2.imread(str(root / "demo_000/images/demo_000.png"))
    (root / "demo_001/images/demo_001.png").unlink()
    cv2.imwrite(str(root / "demo_001/images/demo_001.tif"), pixels)
    keys = {"reader": "folders", "root": str(root), "group": group, "cache_dir": str(tmp_path / "cache")}
    for fold in range(2):
        data = build(keys | {"fold": fold, "folds": 2})
        data.setup()
        err = capsys.readouterr().err
        together = len({"demo_000", "demo_001"}.intersection(data.split.val)) != 1
        assert together or group == "none"
        assert ("also trained on" in err) != together
        assert "demo_000 = demo_001" in err


def test_an_empty_tuple_trains_on_all_images_and_an_empty_list_of_yaml_does_not() -> None:
    assert DataSettings(val=()).val == DataSettings.from_dict({"val": "none"}, "data").val == ()
    with pytest.raises(InputError, match=r"data.val is \[\]"):
        DataSettings.from_dict({"val": []}, "data")
