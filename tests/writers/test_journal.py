"""Records that survive a kill, and lines that do not count as records."""

from pathlib import Path

import pytest

from nucleiseg.writers.journal import Journal


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal of two records, one under a name that is not text."""
    with Journal(tmp_path / "journal.jsonl") as journal:
        journal.append("a", numbers=[1, 0.1, None])
        journal.append("b\udcff\n", text="ä\n")
    return tmp_path / "journal.jsonl"


def test_what_was_appended_is_read_again(path: Path) -> None:
    with Journal(path) as journal:
        assert len(journal) == 2
        assert journal.read("a") == {"numbers": [1, 0.1, None]}
        assert journal.read("b\udcff\n") == {"text": "ä\n"}
        with pytest.raises(KeyError):
            journal.read("c")


def test_a_line_cut_anywhere_is_dropped_and_the_next_is_whole(path: Path) -> None:
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for length in range(first, len(whole)):
        path.write_bytes(whole[:length])
        with Journal(path) as journal:
            assert "a" in journal
            assert len(journal) == 1
            journal.append("c", x=length)
        with Journal(path) as journal:
            assert journal.read("c") == {"x": length}
            assert len(journal) == 2


def test_a_record_whose_bytes_changed_is_none(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for place in range(data.index(b"\n")):
        damaged = data.copy()
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with Journal(path) as journal:
            assert "a" not in journal
    path.write_bytes(b"\0" * 100 + b"\n" + data)
    with Journal(path) as journal:
        assert len(journal) == 2


def test_the_last_record_of_a_key_counts_and_a_discarded_one_is_appended_anew(path: Path) -> None:
    with Journal(path) as journal:
        journal.append("a", x=2)
        assert journal.read("a") == {"x": 2}
        journal.discard("a")
        assert "a" not in journal
        journal.append("a", x=3)
    with Journal(path) as journal:
        assert journal.read("a") == {"x": 3}
