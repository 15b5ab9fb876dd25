"""Tables that survive a kill, and a folder wound back."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nucleiseg.run_tables import read_index, read_metrics
from nucleiseg.training.resume import ResumePoint, truncate_to
from nucleiseg.training.tables import append_rows, write_rows


def rows(count: int) -> list[dict[str, str]]:
    return [{"step": str(step), "loss": str(step / 7)} for step in range(1, count + 1)]


@given(data=st.data())
def test_a_table_cut_at_any_byte_gives_only_whole_rows(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("table") / "metrics.csv"
    append_rows(path, ["step", "loss"], rows(6))
    append_rows(path, ["step", "loss"], rows(12)[6:])
    content = path.read_bytes()
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    found = read_metrics(path.parent)
    assert found == rows(12)[: len(found)]
    whole_lines = path.read_bytes().count(b"\n")
    assert len(found) == max(whole_lines - 1, 0)


def test_rows_are_cut_after_a_step(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    append_rows(path, ["step", "loss"], rows(12))
    truncate_to(tmp_path, ResumePoint(9, 9))
    assert read_metrics(tmp_path) == rows(9)
    append_rows(path, ["step", "loss"], rows(12)[9:])
    assert read_metrics(tmp_path) == rows(12)
    truncate_to(tmp_path, ResumePoint())
    assert not path.exists()


def test_missing_values_stay_empty(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.csv", ["step", "loss", "val"], rows(1))
    assert (tmp_path / "a.csv").read_bytes() == b"step,loss,val\n1,0.14285714285714285,\n"


def test_truncating_keeps_what_the_index_lists(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    names = [f"checkpoints/step_{step:06d}.ckpt" for step in (1, 2, 3, 4)]
    leftovers = ["checkpoints/.last.0123abcd.part.ckpt", ".index.0123abcd.part.csv"]
    others = [".answer.0123abcd.part.json", ".mine.part.txt"]
    for name in (*names, "checkpoints/last.ckpt", *leftovers, *others):
        (tmp_path / name).write_bytes(b"")
    index = [{"step": str(step), "path": names[step - 1]} for step in (1, 3, 4)]  # 2 was not among the best
    write_rows(tmp_path / "index.csv", ["step", "path"], index)
    append_rows(tmp_path / "metrics.csv", ["step", "loss"], rows(4))
    truncate_to(tmp_path, ResumePoint(3, 3))
    assert sorted(path.name for path in folder.iterdir()) == ["last.ckpt", "step_000001.ckpt", "step_000003.ckpt"]
    assert [row["step"] for row in read_index(tmp_path)] == ["1", "3"]
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == others


def test_truncating_a_folder_without_anything(tmp_path: Path) -> None:
    truncate_to(tmp_path, ResumePoint())
    assert list(tmp_path.iterdir()) == []
