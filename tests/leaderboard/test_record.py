"""A record is written and read back whole, quickly, and without pickles."""

import math
import time
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from drawn_masks import found, image, rectangle
from pooling import pooled_ap
from simulated_records import image_record

from nucleiseg.errors import InputError
from nucleiseg.evaluation.instances import Instances
from nucleiseg.evaluation.matches import ImageMatches
from nucleiseg.evaluation.report import evaluate
from nucleiseg.leaderboard.record import EvaluationRecord, ImageRecord

SQUARES = [rectangle(0, 0, 4, 4), rectangle(10, 10, 16, 16), rectangle(2, 20, 8, 28)]
BOXES = [(10.0, 10.0, 6.0, 6.0), (1 / 3, 10.0, 6.0, 6.5)]
TRUTHS = [image("Köln, a [1]", SQUARES, image_id=7), image("b", SQUARES[:1], image_id=8), image("c", [], image_id=9)]
RESULTS = {7: found(SQUARES[::-1], [0.2, 0.9, 1 / 3]), 8: Instances([SQUARES[1]] * 2, [0.7, 0.7], [1, 2], BOXES)}


def record() -> EvaluationRecord:
    return EvaluationRecord.of(TRUTHS, RESULTS, 0.3, math.nan, "a CPU")


def same(first: object, second: object) -> bool:
    """Compare values with their types; NaN equals NaN."""
    if isinstance(first, ImageMatches | ImageRecord | EvaluationRecord):
        return all(same(getattr(first, field.name), getattr(second, field.name)) for field in fields(first))
    if isinstance(first, tuple) and not hasattr(first, "_fields"):
        return isinstance(second, tuple) and all(same(*pair) for pair in zip(first, second, strict=True))
    if isinstance(first, np.ndarray):
        return isinstance(second, np.ndarray) and first.dtype == second.dtype and np.array_equal(first, second)
    return type(first) is type(second) and (first == second or (first != first and second != second))


def test_a_record_holds_the_report_and_the_matches_behind_it() -> None:
    kept = record()
    assert kept.report == evaluate(TRUTHS, RESULTS, 0.3).to_dict()
    assert pooled_ap([image.matches for image in kept.images]).ap50 == pytest.approx(kept.report["ap50"], abs=1e-12)
    assert [(image.truths, image.count) for image in kept.images] == [(3, 2), (1, 2), (0, 0)]


def test_round_trip_is_exact(tmp_path: Path) -> None:
    path = tmp_path / "ein Ordner [ä]" / "record.npz"
    record().save(path)
    assert same(EvaluationRecord.load(path), record())
    assert [file.name for file in path.parent.iterdir()] == ["record.npz"]


def test_a_record_without_any_detection_survives(tmp_path: Path) -> None:
    nothing = EvaluationRecord.of(TRUTHS, {}, 0.5, 1.5, "a CPU")
    nothing.save(tmp_path / "record.npz")
    assert same(EvaluationRecord.load(tmp_path / "record.npz"), nothing)


def test_different_records_are_not_the_same() -> None:
    assert not same(record(), EvaluationRecord.of(TRUTHS, {}, 0.3, math.nan, "a CPU"))
    assert not same(record(), EvaluationRecord.of(TRUTHS, RESULTS, 0.3, 1.0, "a CPU"))


def test_no_pickle_is_written(tmp_path: Path) -> None:
    record().save(tmp_path / "record.npz")
    with np.load(tmp_path / "record.npz", allow_pickle=False) as archive:
        assert all(archive[key].dtype != object for key in archive.files)


@pytest.mark.parametrize("damage", ["missing", "text", "cut", "pickle", "other layout", "no header"])
def test_an_unreadable_file_is_named_in_a_sentence(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "record.npz"
    record().save(path)
    if damage == "missing":
        path.unlink()
    elif damage == "text":
        path.write_text("no archive")
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-200])
    elif damage == "pickle":
        np.savez(path, header=np.array([{}], dtype=object))
    elif damage == "other layout":
        np.savez(path, header=np.frombuffer(b'{"format": 0}', np.uint8))
    else:
        np.savez(path, scores=np.zeros(2))
    with pytest.raises(InputError, match=r"record\.npz is not an evaluation that this version can read"):
        EvaluationRecord.load(path)


@pytest.mark.parametrize("flip", [0x01, 0x08, 0xFF])
def test_no_flipped_byte_is_believed(tmp_path: Path, flip: int) -> None:
    """In a deflate stream, a checksum, a header: a sentence, or (in a time stamp) the very same record."""
    path = tmp_path / "record.npz"
    record().save(path)
    data = path.read_bytes()
    refused = 0
    for place in range(flip % 17, len(data), 17):
        path.write_bytes(data[:place] + bytes([data[place] ^ flip]) + data[place + 1 :])
        try:
            assert same(EvaluationRecord.load(path), record())
        except InputError:
            refused += 1
    assert refused > len(data) / 17 / 2


def test_twelve_records_load_in_well_under_a_second(tmp_path: Path) -> None:
    """Each of five images with 2,000 detections."""
    scores = np.linspace(1, 0, 2000).tolist()
    found = Instances([SQUARES[0]] * 2000, scores, [1] * 2000)
    images = [replace(image_record(str(i), [True] * 2000, 2000), results=found) for i in range(5)]
    EvaluationRecord(tuple(images), 0.5, {}, 1.0, "").save(tmp_path / "record.npz")
    start = time.process_time()
    for _ in range(12):
        EvaluationRecord.load(tmp_path / "record.npz")
    assert time.process_time() - start < 2  # 0.3 s on a quiet machine
    assert (tmp_path / "record.npz").stat().st_size < 200_000
