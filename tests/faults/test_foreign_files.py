"""JSON and archives that others made: bounded before memory is taken, and a sentence for all that is wrong."""

import json
import os
import struct
import time
import zipfile
from pathlib import Path

import pytest

from nucleiseg import foreign_files
from nucleiseg.errors import InputError, raise_problems, short
from nucleiseg.foreign_files import is_zip, parse_json, read_json, read_member


@pytest.mark.parametrize("text", ["NaN", "[1, -Infinity]", '{"a": [1e999]}', '{"a": {"b": -1e999}}'])
def test_numbers_that_are_not_finite(text: str) -> None:
    with pytest.raises(InputError, match=r"a\.json is not a JSON file \(it has the number -?(nan|inf)"):
        parse_json(text.encode(), "a.json", finite=True)
    parse_json(text.encode(), "a.json")  # readers that check their numbers name the entry


@pytest.mark.parametrize("depth", [33, 900])
def test_deep_nesting(depth: int) -> None:
    with pytest.raises(InputError, match=r"a\.json is nested too deeply"):
        parse_json(b"[" * depth + b"]" * depth, "a.json", finite=True)


def test_nesting_beyond_the_stack() -> None:
    with pytest.raises(InputError, match=r"a\.json is nested too deeply"):
        parse_json(b'{"a":' * 200_000 + b"1" + b"}" * 200_000, "a.json")


def test_a_gigantic_number_is_refused_quickly() -> None:
    start = time.process_time()  # unlike the clock, it does not depend on the load of the machine
    with pytest.raises(InputError, match="a number has thousands of digits"):
        parse_json(b"[" + b"9" * 1_000_000 + b"]", "a.json")
    assert time.process_time() - start < 20, "converting the digits takes quadratic time"


def test_of_a_repeated_key_the_last_value_counts() -> None:
    assert parse_json(b'{"id": 1, "id": 2}', "a.json", finite=True) == {"id": 2}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_encodings(encoding: str) -> None:
    assert parse_json('["é"]'.encode(encoding), "a.json") == ["é"]


@pytest.mark.parametrize("data", [b"", b"\xff\xfe\xfd", b'["\xe9"]', b"{", b"\x00" * 9])
def test_bytes_that_are_not_json(data: bytes) -> None:
    with pytest.raises(InputError, match=r"a\.json is not a JSON file"):
        parse_json(data, "a.json")


def test_a_file_beyond_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign_files, "MOST_JSON_BYTES", 1 << 20)
    with (tmp_path / "a.json").open("wb") as handle:
        handle.truncate(1 << 40)  # sparse: a terabyte that takes no disk
    with pytest.raises(InputError, match=r"a\.json has more than 1 MiB of JSON"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize("unit", ["[],", "{},", '{"":0},', "1.5,"])
def test_values_that_take_more_memory_than_their_text(unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign_files, "MOST_PARSED_BYTES", 1 << 20)
    with pytest.raises(InputError, match=r"a\.json has too many values"):
        parse_json(f"[{unit * 40_000}0]".encode(), "a.json")


def test_what_is_not_a_regular_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        read_json(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        is_zip(tmp_path / "missing.zip")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.json")
        for read in (read_json, is_zip):
            with pytest.raises(InputError, match="is a named pipe"):
                read(tmp_path / "pipe.json")


def archive(path: Path, data: bytes = b"[]", compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as handle:
        handle.writestr("answer.json", data)
    return path


def first(names: list[str]) -> str:
    return names[0]


COMPRESSIONS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_member_up_to_the_limit(tmp_path: Path, compression: int) -> None:
    path = archive(tmp_path / "a.zip", b" " * 5000, compression)
    assert read_member(path, first, limit=6000) == ("answer.json", b" " * 5000)
    with pytest.raises(InputError, match="more than"):
        read_member(path, first, limit=4999)


@pytest.mark.parametrize("compression", COMPRESSIONS[1:])
def test_a_bomb_whose_head_lies(tmp_path: Path, compression: int) -> None:
    path = archive(tmp_path / "a.zip", b" " * 10_000_000, compression)
    data = path.read_bytes().replace(struct.pack("<I", 10_000_000), struct.pack("<I", 100))
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"answer\.json cannot be unpacked"):
        read_member(path, first)


def test_an_encrypted_member(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip")
    data = bytearray(path.read_bytes())
    data[6] |= 1  # the flag in the member's own head and in the directory
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match="encrypted"):
        read_member(path, first)


def test_a_zip_in_a_zip_is_not_looked_into(tmp_path: Path) -> None:
    inner = archive(tmp_path / "inner.zip").read_bytes()
    path = archive(tmp_path / "a.zip", inner)
    with pytest.raises(InputError, match="is not a JSON file"):
        parse_json(read_member(path, first)[1], "answer.json")


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_cut_archive(tmp_path: Path, compression: int) -> None:
    path = archive(tmp_path / "a.zip", json.dumps(list(range(500))).encode(), compression)
    data = path.read_bytes()
    for keep in range(0, len(data), 37):
        path.write_bytes(data[:keep])
        with pytest.raises(InputError, match="cannot be unpacked"):
            read_member(path, first)


def test_one_problem_is_raised_once() -> None:
    with pytest.raises(InputError) as error:
        raise_problems(["the disk is full."] * 10 + ["another."])
    assert error.value.problems == ["the disk is full.", "another."]


def test_values_in_sentences_are_short() -> None:
    nested: list = []
    for _ in range(100_000):
        nested = [nested]
    assert short(nested) == "a value of type list"
    assert short(10**5000) == "a value of type int"
    assert len(short("x" * 1000)) == 60
    while nested:  # unwound, since the comparison in a failure's report would recurse
        nested = nested[0]
