"""The sidecar of an answer: what it says, and that it is never believed of another answer."""

import hashlib
import json
import zipfile
from dataclasses import asdict
from pathlib import Path

import pytest

from nucleiseg.errors import InputError
from nucleiseg.models.checkpoint import Metadata
from nucleiseg.writers.origin import (
    ORIGIN,
    CheckpointOrigin,
    Origin,
    answer_digest,
    read_origin,
    write_origin,
)

METADATA = Metadata(model={"name": "r18", "anchors": {"sizes": [8, 16]}}, step=600, weights="random")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A file where a run keeps its checkpoints; nobody looks into it."""
    path = tmp_path / "Köln, [3]" / "checkpoints" / "step_000600.ckpt"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"weights")
    return path


@pytest.fixture
def answer(tmp_path: Path) -> Path:
    """An answer with its zip."""
    path = tmp_path / "out" / "answer.json"
    path.parent.mkdir()
    path.write_text('[{"image_id": 1}]')
    with zipfile.ZipFile(path.with_suffix(".zip"), "w") as archive:
        archive.write(path, path.name)
    return path


def origin_of(checkpoint: Path, answer: Path, scale: float | None = 1.25, short: int | None = None) -> Origin:
    return Origin(
        **vars(CheckpointOrigin.of(checkpoint, METADATA)),
        score_threshold=0.05,
        count_threshold=0.62,
        nms=0.5,
        detections=2000,
        scale=scale,
        short=short,
        long=1333 if short else None,
        precision="tf32",
        images=6,
        results=1,
        answer_sha256=answer_digest(answer),
    )


@pytest.mark.parametrize(("scale", "short"), [(1.25, None), (None, 1000)])
def test_what_is_written_is_read(checkpoint: Path, answer: Path, scale: float | None, short: int | None) -> None:
    written = origin_of(checkpoint, answer, scale, short)
    assert (written.run, written.step, written.checkpoint) == ("Köln, [3]", 600, str(checkpoint))
    assert written.checkpoint_sha256 == hashlib.sha256(b"weights").hexdigest()
    assert written.answer_sha256 == hashlib.sha256(answer.read_bytes()).hexdigest()
    write_origin(answer.parent, written)
    assert json.loads((answer.parent / ORIGIN).read_text(encoding="utf-8")) == json.loads(json.dumps(asdict(written)))
    assert read_origin(answer) == read_origin(answer.with_suffix(".zip")) == written


def test_the_config_digest_follows_the_model_and_the_runs_configuration(checkpoint: Path) -> None:
    def digest(model: dict[str, object]) -> str:
        return CheckpointOrigin.of(checkpoint, Metadata(model=model)).config_digest

    bare = digest({"a": 1, "b": 2})
    assert digest({"b": 2, "a": 1}) == bare
    assert digest({"a": 1, "b": 3}) != bare
    config = checkpoint.parents[1] / "config.yaml"
    config.write_text("seed: 0\n")
    first = digest({"a": 1, "b": 2})
    config.write_text("seed: 1\n")
    assert len({bare, first, digest({"a": 1, "b": 2})}) == 3


def test_a_checkpoint_outside_of_a_run(tmp_path: Path) -> None:
    path = tmp_path / "best.ckpt"
    path.write_bytes(b"x")
    (tmp_path.parent / "config.yaml").write_text("seed: 0\n")  # not of this checkpoint
    made_by = CheckpointOrigin.of(path, METADATA)
    assert made_by.run is None
    expected = hashlib.sha256(json.dumps(METADATA.model, sort_keys=True).encode()).hexdigest()
    assert made_by.config_digest == expected
    with pytest.raises(InputError, match=r"gone\.ckpt cannot be read .* check the path"):
        CheckpointOrigin.of(tmp_path / "gone.ckpt", METADATA)


def test_an_answer_without_a_sidecar(answer: Path, checkpoint: Path) -> None:
    assert read_origin(answer) is None
    write_origin(answer.parent, origin_of(checkpoint, answer))
    (answer.parent / ORIGIN).unlink()
    assert read_origin(answer) is None


@pytest.mark.parametrize("name", ["answer.json", "answer.zip"])
def test_the_sidecar_of_another_answer_is_refused(answer: Path, checkpoint: Path, name: str) -> None:
    write_origin(answer.parent, origin_of(checkpoint, answer))
    answer.write_text("[]")
    with zipfile.ZipFile(answer.with_suffix(".zip"), "w") as archive:
        archive.write(answer, answer.name)
    with pytest.raises(InputError, match=r"answer\.origin\.json is the sidecar of another answer"):
        read_origin(answer.with_name(name))


def test_a_sidecar_that_does_not_tell_the_precision_is_read(answer: Path, checkpoint: Path) -> None:
    content = asdict(origin_of(checkpoint, answer))
    del content["precision"]
    (answer.parent / ORIGIN).write_text(json.dumps(content), encoding="utf-8")
    origin = read_origin(answer)
    assert origin is not None
    assert origin.precision is None
    del content["nms"]
    (answer.parent / ORIGIN).write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InputError, match=r"it lacks keys that predict\.py writes"):
        read_origin(answer)


def test_a_renamed_pair_is_found(answer: Path, checkpoint: Path) -> None:
    written = origin_of(checkpoint, answer)
    write_origin(answer.parent, written)
    renamed = answer.with_suffix(".zip").rename(answer.with_name("r50 c4.zip"))
    assert read_origin(renamed) == written, "the sidecar still has its own name"
    (answer.parent / ORIGIN).rename(answer.with_name("r50 c4.origin.json"))
    assert read_origin(renamed) == written


def test_a_zip_that_others_packed(answer: Path, tmp_path: Path) -> None:
    path = tmp_path / "packed.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(answer, "results/answer.json")
        archive.writestr("__MACOSX/results/answer.json", b"shadow")
    assert answer_digest(path) == answer_digest(answer)
    with zipfile.ZipFile(path, "a") as archive:
        archive.write(answer, "answer.json")
    with pytest.raises(InputError, match=r"holds 2 files called answer\.json; expected is one"):
        answer_digest(path)


@pytest.mark.parametrize("flip", [0x01, 0x10, 0xFF])
def test_no_flipped_byte_of_a_zip_is_believed(answer: Path, flip: int) -> None:
    answer.write_text(str([{"image_id": number} for number in range(50)]))
    path, whole = answer.with_suffix(".zip"), answer_digest(answer)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(answer, answer.name)
    data = path.read_bytes()
    refused = 0
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ flip]) + data[place + 1 :])
        try:
            digest = answer_digest(path)
        except InputError:
            refused += 1
        else:
            assert digest == whole or not zipfile.is_zipfile(path), "of the file itself, which no sidecar has"
    assert refused > len(data) / 3


def test_a_damaged_zip(answer: Path) -> None:
    path = answer.with_suffix(".zip")
    data = bytearray(path.read_bytes())
    start = data.index(b"image_id")
    data[start : start + 8] = b"xxxxxxxx"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"answer\.json cannot be unpacked \(Bad CRC-32"):
        answer_digest(path)


def test_a_damaged_sidecar(answer: Path, checkpoint: Path) -> None:
    path = answer.parent / ORIGIN
    path.write_text("{}")
    with pytest.raises(InputError, match="is not a sidecar of an answer"):
        read_origin(answer)
    content = asdict(origin_of(checkpoint, answer))
    path.write_text(json.dumps({**content, "of_a_later_version": 1}))
    assert read_origin(answer) == Origin(**content)
    path.write_text(json.dumps({**content, "step": "many"}))
    with pytest.raises(InputError, match=r"origin\.json\.step is 'many'; it accepts a whole number"):
        read_origin(answer)
