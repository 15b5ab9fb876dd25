"""Paths that every file system takes, and that stay apart where names do."""

import os
from pathlib import Path, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nucleiseg.writers.file_names import LONGEST_PART, LONGEST_PATH, safe_paths


def path_of(name: str) -> str:
    return str(safe_paths([name], ".png")[0])


@pytest.mark.parametrize("name", ["a", "site1/a", "TCGA-18-5592-01Z", "é", "100%", "it's", "a.b", "a (1)", "核"])
def test_a_good_name_is_kept(name: str) -> None:
    assert path_of(name) == f"{name}.png"


@pytest.mark.parametrize(
    ("name", "starts"),
    [
        ("n" * 240, "n" * 100 + "-"),
        ("核" * 80, "核" * 33 + "-"),
        ("a\nb", "a_b-"),
        ('a"b', "a_b-"),
        ("a\\b", "a_b-"),
        ("C:a", "C_a-"),
        ("a\udcff", "a_-"),
        (".hidden", "_hidden-"),
        ("-rf", "_rf-"),
        ("CON", "_CON-"),
        ("nul.tar", "_nul.tar-"),
        ("a. ", "a"),
        ("../../etc/passwd", "__/__/etc/passwd-"),
        ("x.png/b", "x.png_/b-"),
        ("/".join("d" * 50 for _ in range(5)) + "/a", "a-"),
        ("", "_-"),
    ],
)
def test_other_names_are_changed_and_marked(name: str, starts: str, tmp_path: Path) -> None:
    path = path_of(name)
    assert path.startswith(starts)
    assert path != path_of(name + "2")
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).touch()


def test_names_that_some_systems_take_for_one_stay_apart() -> None:
    paths = [str(path) for path in safe_paths(["A", "a", "\u00e9", "e\u0301", "b", "d/x", "D/x"], ".png")]
    assert len({path.casefold() for path in paths}) == 7
    assert paths[4] == "b.png"


@given(st.lists(st.text(st.characters(), min_size=1, max_size=300), unique=True, max_size=6))
def test_any_names_give_paths_inside_the_folder_that_differ(names: list[str]) -> None:
    paths = safe_paths(names, ".png")
    assert len({str(path).casefold() for path in paths}) == len(names)
    for path in paths:
        assert len(str(path).encode()) <= LONGEST_PATH + 20
        assert all(len(part.encode()) <= LONGEST_PART + 20 for part in path.parts)
        assert ".." not in path.parts
        assert not path.is_absolute()
        assert not any(os.path.isreserved(part) for part in path.parts if hasattr(os.path, "isreserved"))
        assert not PureWindowsPath(*path.parts).drive
