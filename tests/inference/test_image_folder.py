"""Images in folders of any depth, their names, and what is passed over."""

import os
from pathlib import Path, PurePosixPath

import pytest

from nucleiseg.inference.image_folder import image_names, list_images


def put(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def found(root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in list_images(root).images]


def test_images_at_any_depth_in_natural_order(tmp_path: Path) -> None:
    put(tmp_path, "b10/x.png", "b2/x.png", "b2/deep/er/y.TIF", "a.png", ".git/z.png", "__MACOSX/z.png", "c/.z.png")
    assert found(tmp_path) == ["a.png", "b2/deep/er/y.TIF", "b2/x.png", "b10/x.png"]
    assert list_images(tmp_path).passed_over(tmp_path) is None


def test_masks_labels_overlays_and_other_files_are_passed_over_and_named(tmp_path: Path) -> None:
    images = ["N1/images/N1.png", "N2/images/N2.png", "overview.png", "masked/a.png", "overlays/mine.png"]
    put(
        tmp_path, *images, "N1/masks/1.png", "N2/Masks/1.png", "train_masks/1.png", "labels/a.png", "Ground_Truth/a.png"
    )
    put(
        tmp_path,
        "out/answer.json",
        "out/overlays/a.png",
        "slide.svs",
        "notes.txt",
        "ids.json",
        "Thumbs.db",
        ".DS_Store",
    )
    assert found(tmp_path) == sorted(images)
    folders = sorted(
        map(str, map(Path, ["N1/masks", "N2/Masks", "train_masks", "labels", "Ground_Truth", "out/overlays"]))
    )
    listing = list_images(tmp_path)
    assert sorted(str(path.relative_to(tmp_path)) for path in listing.folders) == folders
    sentence = listing.passed_over(tmp_path)
    assert sentence is not None
    assert "6 folders of masks, labels or overlays (" in sentence
    assert "2 files of other types (notes.txt, slide.svs) passed over." in sentence


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
def test_loops_of_links_end_and_each_folder_is_read_once(tmp_path: Path) -> None:
    put(tmp_path / "in", "site/a.png")
    put(tmp_path / "elsewhere", "b.png")
    (tmp_path / "in/site/loop").symlink_to(tmp_path / "in")
    (tmp_path / "in/site/again").symlink_to(tmp_path / "in/site")
    (tmp_path / "in/outside").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in/self").symlink_to(tmp_path / "in/self")
    (tmp_path / "in/self.png").symlink_to(tmp_path / "in/self.png")
    assert found(tmp_path / "in") == ["outside/b.png", "self.png", "site/a.png"]


@pytest.mark.skipif(os.name == "nt" or getattr(os, "geteuid", int)() == 0, reason="root may list every folder")
def test_a_folder_that_may_not_be_listed_is_a_problem_of_its_own(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "closed/b.png")
    (tmp_path / "closed").chmod(0)
    listing = list_images(tmp_path)
    (tmp_path / "closed").chmod(0o700)
    assert [path.name for path in listing.images] == ["a.png"]
    assert list(listing.problems) == [tmp_path / "closed"]


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["a.png", "site1/a.png", "site2/a.png"], ["a", "site1/a", "site2/a"]),
        (["a.png", "a.tif", "b.png"], ["a.png", "a.tif", "b"]),
        (["a.png", "a.tif", "a.png.jpg"], ["a.png", "a.tif", "a.png.jpg"]),
        (["N1/images/N1.png", "N2/images/x.png", "images/y.png"], ["N1", "N2/x", "y"]),
        (["N1.png", "N1/images/N1.png"], ["N1.png", "N1/images/N1.png"]),
        (["s/N1/images/N1.png", "t/N1/images/N1.png"], ["s/N1", "t/N1"]),
        (["A.png", "a.png"], ["A", "a"]),
    ],
)
def test_names_stay_apart(files: list[str], names: list[str]) -> None:
    assert image_names([PurePosixPath(file) for file in files]) == names
