"""Label images: the masks come back, overlaps follow the probabilities, and other programs open the files."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tifffile
import torch
from hypothesis import given, settings
from predicted_images import SIDE, predicted_image, prediction_of, square_masks

from nucleiseg.data.readers.geojson import GeoJsonReader
from nucleiseg.data.readers.label_maps import LabelMapsReader
from nucleiseg.data.readers.resolution import read_mpp
from nucleiseg.evaluation.painting import paint
from nucleiseg.inference.box_masks import crops, to_rle
from nucleiseg.inference.images import InputImage
from nucleiseg.inference.mask_nms import suppress_masks
from nucleiseg.structures import Prediction
from nucleiseg.writers.base import FinishedImage, PredictedImage
from nucleiseg.writers.geojson import GeoJSONWriter
from nucleiseg.writers.label_images import LabelImageWriter, write_labels
from nucleiseg.writers.overlap_rules import LabelImage, paint_by_probability


@settings(max_examples=60, deadline=None)
@given(masks=square_masks())
def test_masks_come_back_where_no_other_is(masks: list[np.ndarray]) -> None:
    painted = paint_by_probability(prediction_of(masks))
    stack = np.array(masks).reshape(-1, SIDE, SIDE)
    np.testing.assert_array_equal(painted.labels > 0, stack.any(axis=0))
    assert painted.lost == stack.sum() - stack.any(axis=0).sum()
    assert painted.hidden == len(masks) - len(np.unique(painted.labels[painted.labels > 0]))
    alone = stack.sum(axis=0) == 1
    for value, mask in enumerate(masks, 1):
        np.testing.assert_array_equal((painted.labels == value) & alone, mask & alone)
        assert not (painted.labels == value)[~mask].any()


def soft_prediction(probabilities: np.ndarray) -> Prediction:
    count, side, _ = probabilities.shape
    return Prediction(
        boxes=torch.tensor([[0.0, 0.0, side, side]] * count),
        scores=torch.linspace(0.9, 0.6, count),
        labels=torch.ones(count, dtype=torch.int64),
        masks=torch.from_numpy(probabilities.astype(np.float32)),
        size=(side, side),
    )


def test_a_pixel_goes_to_the_highest_probability_and_ties_to_the_highest_score() -> None:
    probabilities = np.random.default_rng(0).integers(0, 5, (6, 12, 12)) / 4
    painted = paint_by_probability(soft_prediction(probabilities))
    best = probabilities.max(axis=0)
    expected = np.where(best >= 0.5, probabilities.argmax(axis=0) + 1, 0)  # argmax: of equal ones the first
    np.testing.assert_array_equal(painted.labels, expected)
    assert painted.lost == (probabilities >= 0.5).sum() - (best >= 0.5).sum()


@settings(max_examples=30, deadline=None)
@given(masks=square_masks())
def test_without_overlaps_the_label_map_of_evaluation_is_the_same(masks: list[np.ndarray]) -> None:
    """Evaluation paints masks without probabilities, by score; the rules differ on pixels that several masks claim."""
    prediction = suppress_masks(prediction_of(masks), iou=0.0)
    by_probability = paint_by_probability(prediction)
    assert by_probability.lost == 0
    by_score = paint(to_rle(prediction), SIDE, SIDE, prediction.scores.tolist())
    np.testing.assert_array_equal(by_score, by_probability.labels)


def test_where_masks_overlap_probability_decides_in_files_and_the_score_in_evaluation() -> None:
    prediction = soft_prediction(np.stack([np.full((4, 4), 0.75), np.full((4, 4), 1.0)]))
    assert set(np.unique(paint_by_probability(prediction).labels)) == {2}, "the second is sure of every pixel"
    assert set(np.unique(paint(to_rle(prediction), 4, 4, prediction.scores.tolist()))) == {1}, "the first has the score"


def test_a_hidden_nucleus_is_counted_and_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mask = np.ones((SIDE, SIDE), bool)
    image = predicted_image([mask, mask])
    writer = LabelImageWriter()
    record = writer.write_image(tmp_path / "a_labels.tif", image)
    assert record == {"lost": 81, "hidden": 1}
    with tifffile.TiffFile(tmp_path / "a_labels.tif") as file:
        assert "Pixels lost: 81; nuclei without a pixel: 1" in (file.imagej_metadata or {})["Info"]
    with writer.assembly(tmp_path) as add:
        add(FinishedImage(image.source, SIDE, SIDE, record))
        add(FinishedImage(image.source, SIDE, SIDE, record))
    assert "162 pixels of masks are lost to others, and 2 nuclei without a pixel left" in capsys.readouterr().err


@pytest.mark.parametrize(("most", "kind"), [(0, np.uint16), (65_535, np.uint16), (65_536, np.uint32)])
@pytest.mark.parametrize("mpp", [None, 0.25])
def test_files_open_with_the_same_labels(tmp_path: Path, most: int, kind: type, mpp: float | None) -> None:
    from skimage import io

    labels = np.zeros((40, 70), np.uint32)
    labels[3:9, 5:60] = most
    path = tmp_path / "a_labels.tif"
    write_labels(path, LabelImage(labels, 3, 0), mpp)
    assert [item.name for item in tmp_path.iterdir()] == [path.name]
    read = tifffile.imread(path)
    assert read.dtype == kind
    np.testing.assert_array_equal(read, labels)
    np.testing.assert_array_equal(io.imread(path), labels)
    with tifffile.TiffFile(path) as file:
        assert file.is_imagej == (kind is np.uint16)
        assert file.is_ome == (kind is np.uint32)
        assert "Pixels lost: 3" in (file.ome_metadata or str(file.imagej_metadata))
    assert read_mpp(path) == (pytest.approx(mpp) if mpp else None)


@pytest.mark.slow
def test_more_nuclei_than_16_bits_count(tmp_path: Path) -> None:
    """Of 70,000 nuclei every file has each one: the label map, the label image and the outlines for QuPath."""
    count, width = 70_000, 280
    places = np.arange(count)
    left, top = places % width * 3, places // width * 3
    prediction = Prediction(
        boxes=torch.from_numpy(np.stack([left, top, left + 2, top + 2], axis=1).astype(np.float32)),
        scores=torch.linspace(1, 0.5, count),
        labels=torch.ones(count, dtype=torch.int64),
        masks=torch.ones(count, 2, 2),
        size=(count // width * 3, width * 3),
    )
    painted = paint_by_probability(prediction)
    assert (painted.lost, painted.hidden) == (0, 0)
    np.testing.assert_array_equal(painted.labels[top, left], places + 1)
    assert painted.labels.max() == count
    assert sum(1 for _ in crops(prediction[:3])) == 3

    for folder in ("images", "masks", "qupath"):
        (tmp_path / folder).mkdir()
    pixels = np.full((*prediction.size, 3), 200, np.uint8)
    for folder in ("images", "qupath"):
        PIL.Image.fromarray(pixels).save(tmp_path / folder / "a.png")
    image = PredictedImage(
        InputImage("a", tmp_path / "images" / "a.png", 1), pixels, prediction, 0.5, ("nucleus",), None, "checkpoint"
    )
    LabelImageWriter().write_image(tmp_path / "masks" / "a.tif", image)
    GeoJSONWriter().write_image(tmp_path / "qupath" / "a.geojson", image)
    (tmp_path / "twins").mkdir()
    for folder in ("images", "masks"):
        (tmp_path / folder).rename(tmp_path / "twins" / folder)
    for reader in (LabelMapsReader(root=tmp_path / "twins"), GeoJsonReader(root=tmp_path / "qupath")):
        [record] = reader.records()
        sample = reader.read(record)
        assert len(sample) == count
        np.testing.assert_array_equal(sample.layers.max(axis=0) > 0, painted.labels > 0)
