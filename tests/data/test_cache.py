"""The cache: what comes out is what went in, never stale, never half, and all problems are told together."""

import multiprocessing
import os
import pickle
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nucleiseg.data import array_file, cache
from nucleiseg.data.cache import SampleCache, load_all
from nucleiseg.data.data_warnings import find_warnings
from nucleiseg.data.layers import pack
from nucleiseg.data.readers.base import Reader, Record
from nucleiseg.data.readers.folders import FoldersReader
from nucleiseg.errors import InputError
from nucleiseg.label_maps import measure
from nucleiseg.settings import settings as typed_settings
from nucleiseg.structures import EVERY_CLASS, IgnoreRegions, Sample

SHAPE = (7, 9)
BARRIER: Barrier


@typed_settings
class Squares(Reader):
    """Image `n` holds n squares on a diagonal, each overlapping the next."""

    count: int = 3
    version: str = "1"
    synthetic: ClassVar[bool] = True

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple("abcdefghij")

    def records(self) -> list[Record]:
        return [Record(f"square_{number}") for number in range(self.count)]

    def read(self, record: Record) -> Sample:
        number = int(record.name[7:])
        masks = np.zeros((number, *SHAPE), bool)
        for index in range(number):
            masks[index, index : index + 2, index : index + 2] = True
        image = np.full((*SHAPE, 3), number, np.uint8)
        return Sample(record.name, image, *pack(masks, SHAPE), np.arange(1, number + 1))

    def key(self, record: Record) -> str:
        return f"{record.name} {self.version}"


class Unreadable(Squares):
    """A source that must not be asked for samples."""

    def read(self, record: Record) -> Sample:
        raise AssertionError(f"{record.name} was read from its source")


Unreadable.__qualname__ = Squares.__qualname__  # the same data set as far as the cache is concerned


def assert_same(sample: Sample, expected: Sample) -> None:
    assert sample.name == expected.name
    for name in ("image", "layers", "layer_index", "labels"):
        found, wanted = getattr(sample, name), getattr(expected, name)
        np.testing.assert_array_equal(found, wanted)
        assert found.dtype == wanted.dtype
        assert type(found) is np.ndarray


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


@pytest.mark.parametrize("prepared", [False, True])
def test_samples_come_back_without_their_source(tmp_path: Path, prepared: bool) -> None:
    load_all(Squares(), SampleCache(tmp_path))
    later, source = SampleCache(tmp_path), Unreadable()
    if prepared:
        load_all(source, later)
    for record in source.records():
        assert_same(later.load(source, record), Squares().read(record))
    assert later.written == 0


def test_summaries_are_the_same_new_cached_and_without_a_folder(tmp_path: Path) -> None:
    new = load_all(Squares(), SampleCache(tmp_path))
    cached = load_all(Unreadable(), SampleCache(tmp_path))
    without = load_all(Squares(), SampleCache(None))
    for summaries in (new, cached, without):
        assert [len(summary) for summary in summaries] == [0, 1, 2]
        last = summaries[-1]
        assert (last.name, last.height, last.width, last.warnings) == ("square_2", *SHAPE, {})
        assert last.key == "square_2 1"
        assert last.boxes.tolist() == [[0, 0, 2, 2], [1, 1, 3, 3]]
        assert last.boxes.dtype == np.float32


def test_no_folder_means_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NUCLEISEG_CACHE", str(tmp_path / "unused"))
    record = Record("square_2")
    assert_same(SampleCache(None).load(Squares(), record), Squares().read(record))
    assert files(tmp_path) == []


def test_changing_a_loaded_sample_changes_no_file(tmp_path: Path) -> None:
    samples, record = SampleCache(tmp_path), Record("square_2")
    samples.prepare(Squares(), record)
    samples.load(Squares(), record).image[:] = 99
    assert_same(samples.load(Squares(), record), Squares().read(record))


def test_a_new_key_is_a_new_sample_and_a_checked_one_stays(tmp_path: Path) -> None:
    samples, record = SampleCache(tmp_path), Record("square_1")
    samples.prepare(Squares(), record)
    samples.prepare(Squares(version="2"), record)
    assert samples.written == 2
    assert_same(samples.load(Unreadable(), record), Squares().read(record))


def write_folders(root: Path) -> FoldersReader:
    for name in ("a", "b"):
        (root / name / "images").mkdir(parents=True)
        (root / name / "masks").mkdir()
        Image.fromarray(np.full((*SHAPE, 3), 50, np.uint8)).save(root / name / "images" / f"{name}.png")
        save_mask(root / name / "masks" / "1.png", 1)
    return FoldersReader(root=root)


def save_mask(path: Path, column: int) -> None:
    mask = np.zeros(SHAPE, np.uint8)
    mask[2, column] = 255
    Image.fromarray(mask).save(path)


def test_a_change_that_keeps_size_and_time_is_noticed(tmp_path: Path) -> None:
    reader = write_folders(tmp_path / "data")
    mask = tmp_path / "data/a/masks/1.png"
    load_all(reader, SampleCache(tmp_path / "cache"))
    before = mask.stat()
    save_mask(mask, 4)
    os.utime(mask, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = mask.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    samples = SampleCache(tmp_path / "cache")
    summaries = load_all(reader, samples)
    assert summaries[0].boxes.tolist() == [[4, 2, 5, 3]]
    assert samples.load(reader, reader.records()[0]).layers[0, 2].tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 0]
    assert samples.written == 1  # the other image is not made again


def test_any_file_that_changes_makes_its_image_again(tmp_path: Path) -> None:
    reader = write_folders(tmp_path / "data")
    load_all(reader, SampleCache(tmp_path / "cache"))
    Image.fromarray(np.full((*SHAPE, 3), 51, np.uint8)).save(tmp_path / "data/b/images/b.png")
    save_mask(tmp_path / "data/b/masks/2.png", 5)
    samples = SampleCache(tmp_path / "cache")
    assert [len(summary) for summary in load_all(reader, samples)] == [1, 2]
    assert samples.load(reader, reader.records()[1]).image[0, 0, 0] == 51
    (tmp_path / "data/b/masks/2.png").unlink()
    assert [len(summary) for summary in load_all(reader, SampleCache(tmp_path / "cache"))] == [1, 1]


@pytest.mark.parametrize("prepared", [False, True])
@pytest.mark.parametrize("damage", ["empty", "short", "cut", "garbage", "longer", "gone"])
def test_a_damaged_file_is_made_again(tmp_path: Path, damage: str, prepared: bool) -> None:
    samples, record = SampleCache(tmp_path), Record("square_2")
    samples.prepare(Squares(), record)
    (path,) = files(tmp_path)
    content = path.read_bytes()
    damaged = {
        "empty": b"",
        "short": content[:20],
        "cut": content[: len(content) // 2],
        "garbage": bytes(len(content)),
        "longer": content + b"x",
    }
    path.unlink() if damage == "gone" else path.write_bytes(damaged[damage])
    if not prepared:
        samples = SampleCache(tmp_path)
    assert_same(samples.load(Squares(), record), Squares().read(record))
    assert path.read_bytes() == content


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_one_flipped_bit_anywhere_is_noticed(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder, record = tmp_path_factory.mktemp("cache"), Record("square_2")
    SampleCache(folder).prepare(Squares(), record)
    (path,) = files(folder)
    content = path.read_bytes()
    broken = bytearray(content)
    broken[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(broken)
    again = SampleCache(folder)
    assert len(again.prepare(Squares(), record)) == 2
    assert again.written == 1
    assert path.read_bytes() == content


def test_a_write_that_fails_leaves_nothing_and_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill_the_disk(path: Path, *_: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(array_file, "write", fill_the_disk)
    with pytest.raises(InputError, match=r"No space left on device.*NUCLEISEG_CACHE"):
        SampleCache(tmp_path).prepare(Squares(), Record("square_1"))
    assert files(tmp_path) == []


def test_a_file_that_another_process_has_mapped_may_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows refuses to replace it; what lies there was made from the same content."""
    samples, record = SampleCache(tmp_path), Record("square_1")
    samples.prepare(Squares(), record)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(array_file, "write", refuse)
    monkeypatch.setattr(cache, "_read_stored", lambda *_, **__: None)
    assert len(SampleCache(tmp_path).prepare(Squares(), record)) == 1


def test_a_source_that_changes_while_it_is_read_is_not_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = iter(["before", "after"])
    monkeypatch.setattr(Squares, "key", lambda *_: next(keys))
    with pytest.raises(InputError, match="square_1 changed while"):
        SampleCache(tmp_path).prepare(Squares(), Record("square_1"))
    assert files(tmp_path) == []


class Together(Squares):
    """Reads an image only when another process reads it too, so that both write it at once."""

    def read(self, record: Record) -> Sample:
        BARRIER.wait(timeout=60)
        return super().read(record)


Together.__qualname__ = Squares.__qualname__


def share(barrier: Barrier) -> None:
    global BARRIER  # a barrier crosses to a process at its start alone
    BARRIER = barrier


def prepare_all(folder: Path) -> list[int]:
    return [len(summary) for summary in load_all(Together(count=6), SampleCache(folder))]


def test_two_processes_may_make_the_cache_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Pool(2, initializer=share, initargs=(context.Barrier(2),)) as pool:
        both = pool.map(prepare_all, [tmp_path, tmp_path], chunksize=1)
    assert both == [list(range(6))] * 2
    assert len(files(tmp_path)) == 6
    for record in Squares(count=6).records():
        assert_same(SampleCache(tmp_path).load(Unreadable(count=6), record), Squares().read(record))


def test_what_was_checked_crosses_to_a_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = SampleCache(tmp_path)
    load_all(Squares(), samples)
    again = pickle.loads(pickle.dumps(samples))
    monkeypatch.setattr(Squares, "key", lambda *_: pytest.fail("the source was asked again"))
    assert_same(again.load(Squares(), Record("square_2")), Squares().read(Record("square_2")))


def test_all_problems_of_a_data_set_come_together(tmp_path: Path) -> None:
    reader = write_folders(tmp_path / "data")
    (tmp_path / "data/a/masks/1.png").write_bytes(b"broken")
    (tmp_path / "data/b/images/second.png").write_bytes(b"")
    with pytest.raises(InputError) as error:
        load_all(reader, SampleCache(tmp_path / "cache"))
    first, second = error.value.problems
    assert "1.png" in first
    assert "second.png" in second


def test_data_warnings_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reader = write_folders(tmp_path / "data")
    Image.fromarray(np.zeros(SHAPE, np.uint8)).save(tmp_path / "data/a/masks/2.png")
    Image.fromarray(np.zeros(SHAPE, np.uint8)).save(tmp_path / "data/b/masks/1.png")
    for _ in range(2):  # new and from the cache
        summaries = load_all(reader, SampleCache(tmp_path / "cache"))
        assert [summary.warnings for summary in summaries] == [{"empty": 1}, {"empty": 1}]
        said = capsys.readouterr().err
        assert "Skipped 2 empty masks in a, b." in said
        assert "Of 2, 1 image has no nucleus: b." in said
    assert f"lie in {tmp_path}" not in said


@pytest.mark.parametrize(("names", "words"), [("0", "The only image has no instance"), ("00", "None of the 2 images")])
def test_a_data_set_without_instances_is_refused(names: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        load_all(Squares(), SampleCache(None), [Record(f"square_{name}") for name in names])


def test_records_already_listed_are_not_listed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    records = Squares().records()
    monkeypatch.setattr(Squares, "records", lambda _: pytest.fail("listed again"))
    assert [summary.name for summary in load_all(Squares(), SampleCache(None), records)] == [r.name for r in records]


def test_a_cache_that_cannot_be_written_is_reported_once_before_anything_is_decoded(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="cannot be written") as error:
        load_all(Unreadable(), SampleCache(tmp_path / "file" / "cache"))
    assert len(error.value.problems) == 1


def test_a_complete_cache_may_be_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_all(Squares(), SampleCache(tmp_path))
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: pytest.fail("tried to write"))
    assert len(load_all(Squares(), SampleCache(tmp_path))) == 3


def test_copies_and_masks_of_everything_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reader = write_folders(tmp_path / "data")
    for number in (2, 3):
        save_mask(tmp_path / f"data/a/masks/{number}.png", 1)
    Image.fromarray(np.full(SHAPE, 255, np.uint8)).save(tmp_path / "data/b/masks/all.png")
    for _ in range(2):  # new and from the cache
        first, second = load_all(reader, SampleCache(tmp_path / "cache"))
        assert (first.warnings, second.warnings) == ({"copies": 2}, {"covering": 1, "overlapping": 1})
        said = capsys.readouterr().err
        assert "2 masks repeat another of its image pixel by pixel, one nucleus too many each: a." in said
        assert "1 mask covers the whole image; remove the background: b." in said


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 2**6 - 1), min_size=1, max_size=12))
def test_copies_are_counted_exactly(patterns: list[int]) -> None:
    masks = [np.array([[pattern >> bit & 1 for bit in range(6)]], bool).reshape(2, 3) for pattern in patterns]
    sample = Sample("a", np.zeros((2, 3, 3), np.uint8), *pack(masks), np.ones(len(masks), np.int64))
    _, boxes, areas = measure(sample.layers)
    assert find_warnings(sample, boxes, areas).get("copies", 0) == len(patterns) - len(set(patterns))


def test_array_files_keep_alignment_shapes_and_facts(tmp_path: Path) -> None:
    arrays = {
        "odd": np.arange(7, dtype=np.uint8),
        "empty": np.zeros((0, 4), np.float32),
        "wide": np.arange(6, dtype=np.int64).reshape(1, 2, 3),
        "turned": np.arange(6, dtype=np.uint16).reshape(2, 3).T,
    }
    array_file.write(tmp_path / "file", arrays, {"name": "Ä", "count": 3})
    found, facts = array_file.read(tmp_path / "file", verify=True)
    assert facts == {"name": "Ä", "count": 3}
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
        assert found[name].flags.aligned


class _WithIgnore(Reader):
    """One image with two ignore regions that overlap."""

    def records(self) -> list[Record]:
        return [Record("a")]

    def read(self, record: Record) -> Sample:
        planes, index = pack([np.tri(4, 5, dtype=bool), np.ones((4, 5), bool)])
        image = np.zeros((4, 5, 3), np.uint8)
        ignore = IgnoreRegions(planes, index, np.array([EVERY_CLASS, 2]))
        return Sample(record.name, image, planes, index, np.ones(2, np.int64), ignore=ignore)

    def key(self, record: Record) -> str:
        return "0"


def test_ignore_regions_are_kept(tmp_path: Path) -> None:
    reader, kept = _WithIgnore(), SampleCache(tmp_path)
    load_all(reader, kept)
    found, made = kept.load(reader, Record("a")).ignore, reader.read(Record("a")).ignore
    assert found is not None
    assert made is not None
    for name in ("layers", "layer_index", "labels", "plane"):
        np.testing.assert_array_equal(getattr(found, name), getattr(made, name))
    assert len(found) == 2
