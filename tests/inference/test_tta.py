"""Views are undone exactly, one view changes nothing, and nuclei that views agree on are one."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from torch import Tensor, nn

from nucleiseg.errors import InputError
from nucleiseg.inference.box_masks import crops
from nucleiseg.inference.predictor import Predictor
from nucleiseg.inference.settings import PredictionSettings
from nucleiseg.inference.tta import TTA, VIEWS, Symmetry, merge_views
from nucleiseg.models.checkpoint import Metadata
from nucleiseg.models.config import ModelConfig
from nucleiseg.models.mask_rcnn import build
from nucleiseg.structures import Prediction

SYMMETRIES = st.builds(Symmetry, st.integers(0, 3), st.booleans())
GRID = 7


def prediction_of(boxes: list[tuple[int, int]], size: tuple[int, int], seed: int = 0) -> Prediction:
    """Detections whose boxes are as large as their grids, so that pasting reads them as they are."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 2)
    return Prediction(
        boxes=torch.cat([corners, corners + GRID], dim=1),
        scores=torch.linspace(0.9, 0.5, len(boxes)),
        labels=torch.ones(len(boxes), dtype=torch.int64),
        masks=torch.randint(0, 5, (len(boxes), GRID, GRID), generator=generator) / 4,
        size=size,
    )


def full_masks(prediction: Prediction) -> np.ndarray:
    full = np.zeros((len(prediction), *prediction.size), dtype=bool)
    for mask, crop in zip(full, crops(prediction), strict=True):
        mask[crop.window] = crop.mask
    return full


@settings(max_examples=60, deadline=None)
@given(
    symmetry=SYMMETRIES,
    height=st.integers(12, 30),
    width=st.integers(12, 30),
    places=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=4),
    seed=st.integers(0, 99),
)
def test_undoing_a_view_is_its_inverse_on_pixels(
    symmetry: Symmetry, height: int, width: int, places: list[tuple[int, int]], seed: int
) -> None:
    image = torch.arange(height * width).reshape(1, height, width)
    shown = symmetry.apply(image)
    in_view = prediction_of(places, (shown.shape[1], shown.shape[2]), seed)
    undone = symmetry.undo(in_view)
    assert undone.size == (height, width)
    for before, after in zip(full_masks(in_view), full_masks(undone), strict=True):
        pixels_in_view = set(shown[0][torch.from_numpy(before)].tolist())
        assert set(image[0][torch.from_numpy(after)].tolist()) == pixels_in_view
    torch.testing.assert_close(undone.boxes, undone.boxes.round(), rtol=0, atol=0)


def test_the_views_are_different_symmetries() -> None:
    image = torch.arange(6).reshape(2, 3)
    for views, count in (("none", 1), ("flips", 4), ("rotations", 8), ("study", 2)):
        shown = {str(symmetry.apply(image).tolist()) for symmetry in VIEWS[views].symmetries}
        assert len(shown) == count
        assert VIEWS[views].symmetries[0] == Symmetry()
    assert len(VIEWS["study"]) == 6
    flips = [symmetry.apply(image).tolist() for symmetry in VIEWS["flips"].symmetries]
    assert flips == [image.tolist(), image.flip(1).tolist(), image.flip(0, 1).tolist(), image.flip(0).tolist()]


def assert_equal(one: Prediction, other: Prediction) -> None:
    for name in ("boxes", "scores", "labels", "masks"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=0, atol=0)


@pytest.mark.parametrize("count", [0, 1, 6])
def test_one_view_is_the_prediction_to_the_bit(count: int) -> None:
    places = [(0, 0), (1, 0), (20, 3), (3, 20), (20, 20), (2, 2)][:count]
    prediction = prediction_of(places, (30, 30))
    prediction = replace(
        prediction, boxes=prediction.boxes + torch.rand(count, 4) / 3, scores=torch.rand(count).sort(descending=True)[0]
    )
    assert_equal(merge_views([prediction]), prediction)


def test_of_equal_views_the_scores_stay_and_what_one_has_alone_sinks() -> None:
    shared, alone = prediction_of([(0, 0), (20, 3)], (40, 40)), prediction_of([(10, 25)], (40, 40))
    more = replace(
        shared,
        boxes=torch.cat([shared.boxes, alone.boxes]),
        scores=torch.cat([shared.scores, alone.scores * 0.5]),
        labels=torch.cat([shared.labels, alone.labels]),
        masks=torch.cat([shared.masks, alone.masks]),
    )
    merged = merge_views([shared, more, shared, shared])
    torch.testing.assert_close(merged.boxes, more.boxes)
    torch.testing.assert_close(merged.scores, torch.tensor([0.9, 0.5, 0.45 / 4]))
    torch.testing.assert_close(merged.masks, more.masks)
    assert len(merge_views([shared, more, shared, shared], score_threshold=0.2)) == 2


def test_masks_and_boxes_are_averaged_and_classes_stay_apart() -> None:
    one = prediction_of([(0, 0)], (40, 40))
    step = torch.tensor([1.0, 0.0, 1.0, 0.0])
    moved = replace(one, boxes=one.boxes + step, masks=1 - one.masks)
    merged = merge_views([one, moved])
    torch.testing.assert_close(merged.boxes, one.boxes + step / 2)
    torch.testing.assert_close(merged.masks, torch.full_like(one.masks, 0.5))
    other_class = replace(one, labels=one.labels + 1)
    apart = merge_views([one, other_class])
    assert apart.labels.tolist() == [1, 2]
    assert apart.scores.tolist() == pytest.approx([0.45, 0.45])


def test_two_detections_of_one_view_are_not_merged() -> None:
    twins = prediction_of([(0, 0), (1, 0)], (40, 40))
    assert len(merge_views([twins, twins])) == 2


class BrightBlobs(nn.Module):
    """A network that detects the bright parts of an image, wherever they are and however it is turned."""

    def __init__(self) -> None:
        super().__init__()
        self.roi_heads = SimpleNamespace(score_thresh=0.05, nms_thresh=0.5, detections_per_img=100)
        self.rpn = SimpleNamespace(_pre_nms_top_n={"testing": 150}, _post_nms_top_n={"testing": 150})
        self.seen: list[tuple[int, ...]] = []

    def forward(self, images: list[Tensor]) -> list[Prediction]:
        self.seen += [tuple(image.shape) for image in images]
        return [self.find(image) for image in images]

    def find(self, image: Tensor) -> Prediction:
        bright = image[0].numpy() > 128
        parts = ndimage.find_objects(ndimage.label(bright)[0])
        boxes = [[x.start, y.start, x.stop, y.stop] for y, x in parts]
        scores = torch.tensor([float(bright[part].sum()) / 1000 for part in parts])
        order = scores.argsort(descending=True)
        return Prediction(
            boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)[order],
            scores=scores[order],
            labels=torch.ones(len(parts), dtype=torch.int64),
            masks=torch.ones(len(parts), GRID, GRID),
            size=(image.shape[1], image.shape[2]),
        )


def blobs() -> np.ndarray:
    image = np.zeros((60, 90, 3), np.uint8)
    image[5:25, 10:18], image[30:50, 60:85], image[40:58, 3:20] = 255, 255, 255
    return image


@pytest.mark.parametrize("tta", ["none", "flips", "rotations"])
def test_all_views_of_an_equivariant_network_agree(tta: TTA) -> None:
    network = BrightBlobs()
    predictor = Predictor(
        network,  # type: ignore[arg-type]
        Metadata(model={}, preprocessing={"scale": 1.0}),
        PredictionSettings(device="cpu", tta=tta),
    )
    found = predictor.predict(blobs())
    expected = BrightBlobs().find(torch.from_numpy(blobs()).permute(2, 0, 1))
    torch.testing.assert_close(found.boxes, expected.boxes, rtol=0, atol=1e-4)
    torch.testing.assert_close(found.scores, expected.scores)
    assert len(network.seen) == len(VIEWS[tta])
    assert {shape[1:] for shape in network.seen} == ({(60, 90), (90, 60)} if tta == "rotations" else {(60, 90)})


def test_the_studys_scales_are_shown() -> None:
    network = BrightBlobs()
    predictor = Predictor(
        network,  # type: ignore[arg-type]
        Metadata(model={}, preprocessing={"scale": 1.0}),
        PredictionSettings(device="cpu", tta="study"),
    )
    found = predictor.predict(blobs()[:40, :40])
    assert [min(shape[1:]) for shape in network.seen] == [1500, 1500, 1600, 1600, 1700, 1700]
    assert len(found) > 0
    with pytest.raises(InputError, match="tta is study, which sets the scale, and so does"):
        PredictionSettings(tta="study", scale=2.0)
    with pytest.raises(InputError, match="tta is 'all'; it accepts one of none, flips, rotations, study"):
        PredictionSettings(tta="all")  # type: ignore[arg-type]


def test_a_real_network_without_views_is_as_before() -> None:
    config = ModelConfig(name="tiny", backbone="resnet18", norm="gn", fpn_channels=32)
    config = replace(config, roi=replace(config.roi, fc_dim=16), mask=replace(config.mask, convs=1, channels=8))
    config = replace(config, detection=replace(config.detection, score_threshold=0.0, limit=50))
    torch.manual_seed(0)
    network = build(config, num_classes=1)
    image = np.random.default_rng(0).integers(0, 256, (64, 48, 3), dtype=np.uint8)
    with torch.inference_mode():
        expected = network.eval()([torch.from_numpy(image).permute(2, 0, 1).contiguous()])[0].rescaled((64, 48))
    metadata = Metadata(model={}, preprocessing={"scale": 1.0})
    assert_equal(Predictor(network, metadata, PredictionSettings(device="cpu", tta="none")).predict(image), expected)
    turned = Predictor(network, metadata, PredictionSettings(device="cpu", tta="rotations")).predict(image)
    assert 0 < len(turned) <= 50
    assert turned.size == (64, 48)
