"""Weights arrive whole and verified, once, or a sentence says what to do."""

import hashlib
import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from zoo_server import Server, serving

from nucleiseg.errors import InputError
from nucleiseg.models import download
from nucleiseg.models.download import UnavailableError, digest, fetch, path_in_cache
from nucleiseg.models.zoo import ZOO, ZooEntry

NAME = "coco/r50_c4_3x"
CONTENT = bytes(range(256)) * 40


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


@pytest.fixture
def entry(server: Server) -> ZooEntry:
    return server.add(NAME, CONTENT)


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def test_a_file_is_downloaded_once(
    server: Server, entry: ZooEntry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = fetch(entry, tmp_path / "new" / "weights")
    assert path == tmp_path / "new" / "weights" / "model_final_4ce675.pkl"
    assert path.read_bytes() == CONTENT
    assert fetch(entry, tmp_path / "new" / "weights") == path
    assert server.requests == ["/model_final_4ce675.pkl"]
    assert visible(path.parent) == [path.name]
    said = capsys.readouterr().err
    assert said.count(f"Downloading {NAME} (144 MB, license CC BY-SA 3.0) from {entry.address}.") == 1


def test_the_cache_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NUCLEISEG_CACHE", str(tmp_path))
    assert path_in_cache(ZOO[NAME]) == tmp_path / "weights" / "model_final_4ce675.pkl"


def test_a_file_put_there_by_hand_needs_no_network(tmp_path: Path) -> None:
    content = b"from a USB stick"
    found = replace(ZOO[NAME], address="http://127.0.0.1:9/model.pkl", digest=f"md5:{hashlib.md5(content).hexdigest()}")
    (tmp_path / "model.pkl").write_bytes(content)
    assert fetch(found, tmp_path).read_bytes() == content


def test_an_interrupted_download_leaves_nothing(server: Server, entry: ZooEntry, tmp_path: Path) -> None:
    server.cut = 5000
    with pytest.raises(UnavailableError, match=r"the transfer ended after 5,000 of 10,240 bytes"):
        fetch(entry, tmp_path)
    assert visible(tmp_path) == []
    server.cut = None
    assert fetch(entry, tmp_path).read_bytes() == CONTENT


def test_the_rest_of_a_killed_download_is_cleared(entry: ZooEntry, tmp_path: Path) -> None:
    (tmp_path / ".model_final_4ce675.0123abcd.part.pkl").write_bytes(b"half")
    fetch(entry, tmp_path)
    assert visible(tmp_path) == ["model_final_4ce675.pkl"]


def test_another_file_at_the_address_is_not_kept(entry: ZooEntry, tmp_path: Path) -> None:
    with pytest.raises(
        UnavailableError, match=r"what arrived is another file, its md5 begins with \w{6} instead of 4ce"
    ):
        fetch(replace(entry, digest="md5:4ce675"), tmp_path)
    assert visible(tmp_path) == []


def test_a_damaged_file_is_never_used_nor_replaced_silently(server: Server, entry: ZooEntry, tmp_path: Path) -> None:
    path = fetch(entry, tmp_path)
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(InputError, match=r"4ce675\.pkl is not coco/r50_c4_3x: its md5.*Delete it") as caught:
        fetch(entry, tmp_path)
    assert not isinstance(caught.value, UnavailableError)
    path.unlink()
    assert fetch(entry, tmp_path).read_bytes() == CONTENT
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("http://127.0.0.1:9/a.pkl", "refused"),
        ("{server}/missing.pkl", "404"),
        ("no address at all/a.pkl", "unknown url type"),
    ],
)
def test_without_a_network_the_sentence_says_what_to_put_where(
    server: Server, tmp_path: Path, address: str, reason: str
) -> None:
    entry = replace(ZOO[NAME], address=address.format(server=server.address))
    with pytest.raises(UnavailableError, match=reason) as caught:
        fetch(entry, tmp_path)
    assert f"Fetch {entry.address} on a computer with a network" in str(caught.value)
    assert f"put it at {tmp_path / entry.file_name}." in str(caught.value)
    assert visible(tmp_path) == []


def test_a_silent_server_is_given_up(
    server: Server, entry: ZooEntry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "TIMEOUT", 0.05)
    server.ready.clear()
    with pytest.raises(UnavailableError, match="timed out"):
        fetch(entry, tmp_path)


def test_a_cache_that_cannot_be_written_is_named(entry: ZooEntry, tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("a file where the folder should be")
    with pytest.raises(UnavailableError, match=r"cannot be written.*NUCLEISEG_CACHE"):
        fetch(entry, tmp_path / "weights")


def test_threads_that_ask_at_once_share_one_download(server: Server, entry: ZooEntry, tmp_path: Path) -> None:
    with ThreadPoolExecutor(6) as threads:
        paths = list(threads.map(lambda _: fetch(entry, tmp_path), range(6)))
    assert len(set(paths)) == 1
    assert len(server.requests) == 1


def test_processes_that_ask_at_once_share_one_download(server: Server, entry: ZooEntry, tmp_path: Path) -> None:
    server.ready.clear()
    with multiprocessing.get_context("spawn").Pool(1) as processes, ThreadPoolExecutor(1) as threads:
        other = processes.apply_async(fetch, (entry, tmp_path))
        while not server.requests:
            time.sleep(0.01)
        own = threads.submit(fetch, entry, tmp_path)  # while the other process holds the lock
        server.ready.set()
        paths = [other.get(), own.result()]
    assert len(set(paths)) == 1
    assert paths[0].read_bytes() == CONTENT
    assert len(server.requests) == 1


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_digests_are_hashlibs(tmp_path: Path, algorithm: str) -> None:
    (tmp_path / "a").write_bytes(CONTENT)
    assert digest(tmp_path / "a", algorithm) == hashlib.new(algorithm, CONTENT).hexdigest()
