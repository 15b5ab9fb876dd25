"""Views are undone exactly, one view changes nothing, and nuclei that views agree on are one."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

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
from nucleiseg.inference.tta import Merge, Symmetry, TTASettings, View
from nucleiseg.inference.view_merging import merge_boxes, merge_by_agreement
from nucleiseg.models.checkpoint import Metadata
from nucleiseg.models.config import ModelConfig
from nucleiseg.models.mask_rcnn import build
from nucleiseg.structures import Prediction

SYMMETRIES = st.builds(Symmetry, st.booleans(), st.integers(0, 3))
NONE = TTASettings()
FLIPS = TTASettings(flips=("horizontal", "vertical"))
ROTATIONS = TTASettings(flips=("horizontal",), quarter_turns=True)
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


@settings(max_examples=30, deadline=None)
@given(symmetry=SYMMETRIES, places=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=4))
def test_the_inverse_of_a_symmetry_undoes_it_and_is_undone_by_it(
    symmetry: Symmetry, places: list[tuple[int, int]]
) -> None:
    image = torch.arange(15 * 22).reshape(1, 15, 22)
    assert torch.equal(symmetry.inverse.apply(symmetry.apply(image)), image)
    found = prediction_of(places, (15, 22))
    assert_equal(symmetry.undo(symmetry.inverse.undo(found)), found)
    shown = View(image, symmetry).show(found)
    assert shown.size == tuple(symmetry.apply(image).shape[1:])
    assert_equal(replace(symmetry.undo(shown), masks=found.masks), found)


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        (NONE, 1),
        (TTASettings(flips=("horizontal",)), 2),
        (FLIPS, 4),
        (TTASettings(quarter_turns=True), 4),
        (ROTATIONS, 8),
        (TTASettings(flips=("horizontal", "vertical"), quarter_turns=True), 8),
        (TTASettings(flips=("vertical",), quarter_turns=True), 8),
    ],
)
def test_the_views_are_different_symmetries(settings: TTASettings, count: int) -> None:
    image = torch.arange(6).reshape(2, 3)
    shown = {str(symmetry.apply(image).tolist()) for symmetry in settings.symmetries}
    assert len(shown) == len(settings.symmetries) == settings.views == count
    assert settings.symmetries[0] == Symmetry()


def test_flips_are_those_along_the_axes() -> None:
    image = torch.arange(6).reshape(2, 3)
    flips = [symmetry.apply(image).tolist() for symmetry in FLIPS.symmetries]
    assert flips == [image.tolist(), image.flip(0, 1).tolist(), image.flip(1).tolist(), image.flip(0).tolist()]
    [_, vertical] = TTASettings(flips=("vertical",)).symmetries
    assert vertical.apply(image).tolist() == image.flip(0).tolist()


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
    assert_equal(merge_by_agreement([prediction]), prediction)


def test_of_equal_views_the_scores_stay_and_what_one_has_alone_sinks() -> None:
    shared, alone = prediction_of([(0, 0), (20, 3)], (40, 40)), prediction_of([(10, 25)], (40, 40))
    more = replace(
        shared,
        boxes=torch.cat([shared.boxes, alone.boxes]),
        scores=torch.cat([shared.scores, alone.scores * 0.5]),
        labels=torch.cat([shared.labels, alone.labels]),
        masks=torch.cat([shared.masks, alone.masks]),
    )
    merged = merge_by_agreement([shared, more, shared, shared])
    torch.testing.assert_close(merged.boxes, more.boxes)
    torch.testing.assert_close(merged.scores, torch.tensor([0.9, 0.5, 0.45 / 4]))
    torch.testing.assert_close(merged.masks, more.masks)
    assert len(merge_by_agreement([shared, more, shared, shared], score_threshold=0.2)) == 2


def test_masks_and_boxes_are_averaged_and_classes_stay_apart() -> None:
    one = prediction_of([(0, 0)], (40, 40))
    step = torch.tensor([1.0, 0.0, 1.0, 0.0])
    moved = replace(one, boxes=one.boxes + step, masks=1 - one.masks)
    merged = merge_by_agreement([one, moved])
    torch.testing.assert_close(merged.boxes, one.boxes + step / 2)
    torch.testing.assert_close(merged.masks, torch.full_like(one.masks, 0.5))
    other_class = replace(one, labels=one.labels + 1)
    apart = merge_by_agreement([one, other_class])
    assert apart.labels.tolist() == [1, 2]
    assert apart.scores.tolist() == pytest.approx([0.45, 0.45])


def test_two_detections_of_one_view_are_not_merged() -> None:
    twins = prediction_of([(0, 0), (1, 0)], (40, 40))
    assert len(merge_by_agreement([twins, twins])) == 2


def test_agreement_by_hand() -> None:
    """Two views: nucleus a in both (IoU of the boxes 9/11), b in the first view alone, c in the second alone."""
    first, second = (
        Prediction(
            boxes=torch.tensor(boxes),
            scores=torch.tensor(scores),
            labels=torch.ones(2, dtype=torch.int64),
            masks=torch.stack([torch.full((2, 2), value) for value in masks]),
            size=(40, 40),
        )
        for boxes, scores, masks in (
            ([[0.0, 0, 10, 10], [20.0, 20, 30, 30]], [0.9, 0.8], [1.0, 0.75]),
            ([[0.0, 1, 10, 11], [20.0, 0, 30, 10]], [0.7, 0.6], [0.5, 0.25]),
        )
    )
    merged = merge_by_agreement([first, second])
    torch.testing.assert_close(merged.scores, torch.tensor([0.8, 0.4, 0.3]))
    assert merged.boxes.tolist() == [[0.0, 0.5, 10, 10.5], [20, 20, 30, 30], [20, 0, 30, 10]]
    assert merged.masks[:, 0, 0].tolist() == [0.75, 0.75, 0.25]
    boxes = merge_boxes([first, second], nms=0.5, limit=10)
    torch.testing.assert_close(boxes.scores, torch.tensor([0.9, 0.8, 0.6]))
    assert boxes.boxes[0].tolist() == [0, 0, 10, 10]
    assert len(merge_boxes([first, second], nms=0.9, limit=10)) == 4, "the IoU of the two boxes of a is below"
    assert len(merge_boxes([first, second], nms=0.5, limit=2)) == 2


class BrightBlobs(nn.Module):
    """A network that detects the bright parts of an image, wherever they are and however it is turned."""

    def __init__(self) -> None:
        super().__init__()
        self.roi_heads = SimpleNamespace(score_thresh=0.05, nms_thresh=0.5, detections_per_img=100)
        self.rpn = SimpleNamespace(_pre_nms_top_n={"testing": 150}, _post_nms_top_n={"testing": 150})
        self.seen: list[tuple[int, ...]] = []
        self.masked: list[tuple[int, ...]] = []

    def masks(self, images: list[Tensor], boxes: list[Tensor], labels: list[Tensor]) -> list[Tensor]:
        """Return how bright the image is at each cell of each box, so that masks follow what is shown."""
        self.masked += [tuple(image.shape) for image in images]
        return [brightness(image, of_image) for image, of_image in zip(images, boxes, strict=True)]

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
            masks=brightness(image, torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)[order]),
            size=(image.shape[1], image.shape[2]),
        )


def brightness(image: Tensor, boxes: Tensor) -> Tensor:
    """Return (N, GRID, GRID) probabilities: the second channel of the image at the centers of the cells of boxes."""
    cells = (torch.arange(GRID) + 0.5) / GRID
    columns = (boxes[:, :1] + (boxes[:, 2:3] - boxes[:, :1]) * cells).long().clamp(0, image.shape[2] - 1)
    rows = (boxes[:, 1:2] + (boxes[:, 3:] - boxes[:, 1:2]) * cells).long().clamp(0, image.shape[1] - 1)
    return image[1][rows[:, :, None], columns[:, None, :]] / 255


def blobs() -> np.ndarray:
    image = np.zeros((60, 90, 3), np.uint8)
    image[5:26, 10:17], image[30:51, 60:81], image[38:59, 3:38] = 255, 255, 255  # odd multiples of GRID
    image[..., 1] = np.random.default_rng(0).integers(0, 256, (60, 90))
    return image


@pytest.mark.parametrize("merge", ["agreement", "detectron2"])
@pytest.mark.parametrize("views", [NONE, FLIPS, ROTATIONS])
def test_all_views_of_an_equivariant_network_agree(views: TTASettings, merge: Merge) -> None:
    network = BrightBlobs()
    predictor = Predictor(
        network,  # type: ignore[arg-type]
        Metadata(model={}, preprocessing={"scale": 1.0}),
        PredictionSettings(device="cpu", tta=replace(views, merge=merge)),
    )
    found = predictor.predict(blobs())
    expected = BrightBlobs().find(torch.from_numpy(blobs()).permute(2, 0, 1))
    torch.testing.assert_close(found.boxes, expected.boxes, rtol=0, atol=1e-4)
    torch.testing.assert_close(found.scores, expected.scores)
    torch.testing.assert_close(found.masks, expected.masks)
    assert len(network.seen) == views.views
    assert len(network.masked) == (views.views if merge == "detectron2" and views.views > 1 else 0)
    assert {shape[1:] for shape in network.seen} == ({(60, 90), (90, 60)} if views == ROTATIONS else {(60, 90)})


@pytest.mark.parametrize("merge", ["agreement", "detectron2"])
def test_scales_are_shown(merge: Merge) -> None:
    def seen_by(**settings: Any) -> list[int]:  # noqa: ANN401
        network = BrightBlobs()
        found = Predictor(
            network,  # type: ignore[arg-type]
            Metadata(model={}, preprocessing={"scale": 2.0}),
            PredictionSettings(device="cpu", tta=TTASettings(**settings, merge=merge)),
        ).predict(blobs()[:40, :40])
        assert len(found) > 0
        assert found.size == (40, 40)
        return [shape[1] for shape in network.seen]

    assert seen_by(flips=("horizontal",), shorts=(300, 340)) == [300, 300, 340, 340]
    assert seen_by(scales=(1.0, 1.5)) == [80, 120]


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"tta": {"shorts": [1500]}, "scale": 2.0}, "scale \\(2\\) and tta.shorts \\(1500\\) all set the scale"),
        ({"tta": {"shorts": [1500], "scales": [2]}}, "tta.scales and tta.shorts both set the scales of the views"),
        ({"tta": {"flips": ["diagonal"]}}, r"tta.flips is \['diagonal'\]; it accepts a list, each one of horizontal"),
        ({"tta": {"merge": "wbf"}}, "tta.merge is 'wbf'; it accepts one of agreement, detectron2"),
    ],
)
def test_impossible_views_are_refused(keys: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        PredictionSettings.from_dict(keys, "")


def test_the_cost_is_logged_once_after_the_first_view(capsys: pytest.CaptureFixture[str]) -> None:
    metadata = Metadata(model={}, preprocessing={"scale": 1.0})
    for views, notes in ((NONE, 0), (FLIPS, 1)):
        predictor = Predictor(BrightBlobs(), metadata, PredictionSettings(device="cpu", tta=views))  # type: ignore[arg-type]
        predictor.predict(blobs())
        predictor.predict(blobs())
        printed = capsys.readouterr().err
        assert printed.count("Note: test-time augmentation predicts 4 views of each image. The first of 90 x") == notes


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
    assert_equal(Predictor(network, metadata, PredictionSettings(device="cpu", tta=NONE)).predict(image), expected)
    for merge in ("agreement", "detectron2"):
        rotations = replace(ROTATIONS, merge=merge)
        turned = Predictor(network, metadata, PredictionSettings(device="cpu", tta=rotations)).predict(image)
        assert 0 < len(turned) <= 50
        assert turned.size == (64, 48)
        assert turned.masks.shape == (len(turned), *expected.masks.shape[1:])
    assert network.roi_heads.detects_masks


def test_masks_of_given_boxes_are_those_of_the_detections() -> None:
    config = ModelConfig.from_dict({"name": "tiny", "backbone": "resnet18", "norm": "gn", "fpn_channels": 32})
    config = replace(config, roi=replace(config.roi, fc_dim=16), mask=replace(config.mask, convs=1, channels=8))
    config = replace(config, detection=replace(config.detection, score_threshold=0.0, limit=20))
    torch.manual_seed(0)
    network = build(config, num_classes=2).eval()
    images = list(torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8))
    with torch.inference_mode():
        found = network(images)
        network.roi_heads.detects_masks = False
        without = network(images)
        masks = network.masks(images, [one.boxes for one in found], [one.labels for one in found])
    for one, boxes_alone, of_image in zip(found, without, masks, strict=True):
        assert len(one) > 5
        torch.testing.assert_close(of_image, one.masks, rtol=0, atol=0)
        torch.testing.assert_close(boxes_alone.boxes, one.boxes, rtol=0, atol=0)
        assert boxes_alone.masks.shape == (len(one), 0, 0)
