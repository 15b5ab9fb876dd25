"""The figures: files that are pictures, outlines that lie on their nuclei, limits in the legend."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nucleiseg.report import preview_figures
from nucleiseg.report.preview_figures import draw_counts, draw_crops, draw_images, find_outlines, write_preview
from nucleiseg.structures import Sample
from nucleiseg.transforms.recipe import Recipe, Resize
from nucleiseg.transforms.targets import make_target


class Summary:
    def __init__(self, name: str, count: int) -> None:
        self.name = name
        self.height = self.width = 32
        self.boxes = np.zeros((count, 4), np.float32)


def make_sample(name: str = "a", nuclei: int = 2) -> Sample:
    layers = np.zeros((1, 32, 32), np.uint16)
    for number in range(nuclei):
        layers[0, 3 + 8 * number : 8 + 8 * number, 5:15] = number + 1
    return Sample(
        name=name,
        image=np.full((32, 32, 3), 200, np.uint8),
        layers=layers,
        layer_index=np.zeros(nuclei, np.int64),
        labels=np.ones(nuclei, np.int64),
    )


def test_write_preview_draws_three_pictures(tmp_path: Path) -> None:
    samples = [make_sample(f"image_{index}", index % 3) for index in range(3)]
    summaries = [Summary(sample.name, len(sample)) for sample in samples]
    recipe = Recipe(resize=Resize(short=40, long=60))
    paths = write_preview(tmp_path / "new", samples.__getitem__, summaries, recipe, {"detections": 1}, crops=4)
    assert [path.name for path in paths] == ["images.png", "nuclei_per_image.png", "augmented_crops.png"]
    for path in paths:
        pixels = np.asarray(Image.open(path).convert("RGB"))
        assert min(pixels.shape[:2]) > 100
        assert pixels.std() > 1
    assert {path.name for path in (tmp_path / "new").iterdir()} == {path.name for path in paths}


def test_only_the_shown_images_are_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preview_figures, "SHOWN_IMAGES", 3)
    loaded: set[int] = set()

    def load(index: int) -> Sample:
        loaded.add(index)
        return make_sample()

    recipe = Recipe(resize=Resize(short=40, long=60))
    write_preview(tmp_path, load, [Summary("a", 2)] * 101, recipe, {}, crops=2)
    assert loaded == {0, 50, 100}


def test_outlines_run_along_the_border_of_each_nucleus() -> None:
    sample = make_sample()
    target = make_target(sample.layers, sample.layer_index, sample.labels)
    first, second = find_outlines(target)
    assert (first[0] == first[-1]).all()
    assert first.min(axis=0).tolist() == [5, 3]
    assert first.max(axis=0).tolist() == [14, 7]
    assert len(np.unique(first, axis=0)) == 2 * (10 + 5) - 4
    assert second.min(axis=0).tolist() == [5, 11]


def test_outline_of_one_pixel_and_of_two_parts() -> None:
    layers = np.zeros((1, 9, 9), np.uint16)
    layers[0, 4, 4] = 1
    layers[0, 0, 0] = 2
    layers[0, 6:9, 0:3] = 2
    target = make_target(layers, np.zeros(2, np.int64), np.ones(2, np.int64))
    dot, large = find_outlines(target)
    assert dot.tolist() == [[4, 4], [4, 4]]
    assert large.min(axis=0).tolist() == [0, 6]


def test_limits_are_lines_and_legend_entries() -> None:
    figure = draw_counts([Summary("a", 10), Summary("b", 40)], {"detections": 20, "proposals": 1000})
    (axis,) = figure.axes
    heights = [line.get_ydata()[0] for line in axis.lines if len(line.get_ydata()) and len(set(line.get_ydata())) == 1]
    assert heights == [20]  # the far limit would squash the counts
    labels = [text.get_text() for text in axis.get_legend().get_texts()]
    assert labels[1] == "limit of 20 detections: cuts 1 of 2 images, 20 nuclei"
    assert labels[2] == "limit of 1,000 proposals: cuts nothing (above the chart)"
    assert "50 in 2 images" in axis.get_title()


@pytest.mark.parametrize(("count", "named"), [(5, True), (60, False)])
def test_names_are_written_while_they_fit(count: int, named: bool) -> None:
    figure = draw_counts([Summary(f"a_very_long_image_name_{index:04d}", 3) for index in range(count)], {})
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert any("a_very_long" in label for label in labels) == named
    assert max(len(label) for label in labels) <= 24


def test_sheets_show_every_picture_and_name_its_size() -> None:
    figure = draw_images([make_sample("left"), make_sample("right", 3)], 9)
    assert [axis.get_title() for axis in figure.axes] == ["left\n32 x 32, 2 nuclei", "right\n32 x 32, 3 nuclei"]
    recipe = Recipe(crop=None, resize=Resize(short=64, long=64), hflip=0.0)
    figure = draw_crops([recipe(make_sample(), 0), recipe(make_sample("none", 0), 0)])
    assert figure.axes[0].get_title() == "a\n64 x 64, scale 2.00, 2 nuclei"
    assert figure.axes[1].get_title() == "none\n64 x 64, scale 2.00, 0 nuclei"


def test_large_images_are_averaged_down_for_the_sheet() -> None:
    sample = Sample(
        name="large",
        image=np.random.default_rng(0).integers(0, 256, (900, 600, 3), dtype=np.uint8),
        layers=np.zeros((1, 900, 600), np.uint16),
        layer_index=np.zeros(0, np.int64),
        labels=np.zeros(0, np.int64),
    )
    shown = draw_images([sample], 1).axes[0].images[0].get_array()
    assert max(shown.shape[:2]) < 400
    assert shown.shape[0] / shown.shape[1] == pytest.approx(1.5, abs=0.01)
