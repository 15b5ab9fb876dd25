"""Mask NMS against the same on masks of the image's size, and that nothing changes without it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nucleiseg.errors import InputError
from nucleiseg.inference.box_masks import crops
from nucleiseg.inference.mask_nms import CANDIDATES, LOOSE_BOX_NMS, suppress_masks
from nucleiseg.inference.predictor import Predictor
from nucleiseg.inference.settings import PredictionSettings
from nucleiseg.models.checkpoint import Metadata
from nucleiseg.models.config import ModelConfig
from nucleiseg.models.mask_rcnn import MaskRCNN, build
from nucleiseg.structures import Prediction

SIDE = 40


def random_prediction(seed: int, count: int, classes: int = 1) -> Prediction:
    """Detections crowded into a small image: whole and cut masks, some without a pixel, some twice."""
    generator = np.random.default_rng(seed)
    left, top = generator.uniform(-2, 30, (2, count))
    width, height = generator.uniform(2, 20, (2, count))
    boxes = np.stack([left, top, left + width, top + height], axis=1)
    boxes[generator.integers(0, count, count // 4)] = boxes[0]
    masks = generator.random((count, 7, 7)) * generator.uniform(0.4, 1.6, (count, 1, 1))
    masks[:, :, : generator.integers(0, 4)] = 0
    return Prediction(
        boxes=torch.from_numpy(boxes.astype(np.float32)).clamp(0, SIDE),
        scores=torch.linspace(0.99, 0.1, count),
        labels=torch.from_numpy(generator.integers(1, classes + 1, count)),
        masks=torch.from_numpy(masks.astype(np.float32)).clamp(0, 1),
        size=(SIDE, SIDE),
    )


def naive(prediction: Prediction, iou: float, inside: float | None) -> list[int]:
    """Compare masks of the image's size, each pair."""
    full = np.zeros((len(prediction), SIDE, SIDE), dtype=bool)
    for mask, crop in zip(full, crops(prediction), strict=True):
        mask[crop.window] = crop.mask
    kept: list[int] = []
    for index, mask in enumerate(full):
        for other in kept:
            shared, union = (mask & full[other]).sum(), (mask | full[other]).sum()
            smaller = min(mask.sum(), full[other].sum())
            is_same = prediction.labels[index] == prediction.labels[other]
            if is_same and (shared > iou * union or (inside is not None and shared > inside * smaller)):
                break
        else:
            kept.append(index)
    return kept


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    count=st.integers(1, 25),
    classes=st.sampled_from([1, 2]),
    iou=st.sampled_from([0.0, 0.2, 0.5, 1.0]),
    inside=st.sampled_from([None, 0.3, 0.7, 1.0]),
)
def test_equal_to_masks_of_the_images_size(
    seed: int, count: int, classes: int, iou: float, inside: float | None
) -> None:
    prediction = random_prediction(seed, count, classes)
    kept = suppress_masks(prediction, iou, inside)
    expected = naive(prediction, iou, inside)
    torch.testing.assert_close(kept.scores, prediction.scores[expected], rtol=0, atol=0)
    torch.testing.assert_close(kept.masks, prediction.masks[expected], rtol=0, atol=0)
    again = suppress_masks(kept, iou, inside)
    assert len(again) == len(kept), "what is kept does not suppress itself"


def test_nothing_is_suppressed_at_an_iou_of_one() -> None:
    prediction = random_prediction(3, 20)
    assert len(suppress_masks(prediction, 1.0)) == 20
    assert len(suppress_masks(prediction[:0], 0.5)) == 0


def bars(*boxes: tuple[float, float, float, float]) -> Prediction:
    return Prediction(
        boxes=torch.tensor(boxes),
        scores=torch.linspace(0.9, 0.5, len(boxes)),
        labels=torch.ones(len(boxes), dtype=torch.int64),
        masks=torch.ones(len(boxes), 7, 7),
        size=(SIDE, SIDE),
    )


def test_a_fragment_falls_to_the_part_of_the_smaller_alone() -> None:
    whole_and_half = bars((0.0, 0.0, 20.0, 10.0), (0.0, 0.0, 6.0, 10.0))
    assert len(suppress_masks(whole_and_half, 0.5)) == 2
    assert len(suppress_masks(whole_and_half, 0.5, 0.8)) == 1


def test_diagonal_neighbors_with_boxes_that_overlap_are_both_kept() -> None:
    """Two long nuclei side by side on a diagonal: their boxes have an IoU of 0.75, their masks share no pixel."""
    lower = torch.tril(torch.ones(28, 28), -3)
    prediction = Prediction(
        boxes=torch.tensor([[2.0, 2, 32, 32], [4.0, 4, 34, 34]]),
        scores=torch.tensor([0.9, 0.8]),
        labels=torch.ones(2, dtype=torch.int64),
        masks=torch.stack([lower, lower.T]),
        size=(SIDE, SIDE),
    )
    assert len(suppress_masks(prediction, 0.3, 0.5)) == 2


@pytest.fixture
def network() -> MaskRCNN:
    """A small network of random weights that keeps every detection."""
    config = ModelConfig.from_dict({"name": "tiny", "backbone": "resnet18", "norm": "gn", "fpn_channels": 32})
    config = replace(config, roi=replace(config.roi, fc_dim=16), mask=replace(config.mask, convs=1, channels=8))
    config = replace(config, detection=replace(config.detection, score_threshold=0.0))
    torch.manual_seed(0)
    return build(config, num_classes=1)


IMAGE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)


def predict(network: MaskRCNN, **keys: float) -> Prediction:
    metadata = Metadata(model={}, preprocessing={"scale": 1.0})
    return Predictor(network, metadata, PredictionSettings(device="cpu", **keys)).predict(IMAGE)


def test_without_a_threshold_predictions_are_as_before(network: MaskRCNN) -> None:
    with torch.inference_mode():
        tensor = torch.from_numpy(IMAGE).permute(2, 0, 1).contiguous()
        expected = network.eval()([tensor])[0].rescaled((64, 64))
    found = predict(network)
    assert len(found) > 5
    for name in ("boxes", "scores", "labels", "masks"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=0, atol=0)
    assert network.roi_heads.nms_thresh == 0.5


def test_a_looser_box_nms_comes_first_and_the_limit_last(network: MaskRCNN) -> None:
    for limit in (40, 3):
        loose = predict(network, nms=LOOSE_BOX_NMS, detections=CANDIDATES * limit)
        found = predict(network, mask_nms=0.3, detections=limit)
        expected = suppress_masks(loose, 0.3)[:limit]
        torch.testing.assert_close(found.boxes, expected.boxes, rtol=0, atol=0)
        assert 0 < len(found) < len(loose)
        assert network.roi_heads.detections_per_img == limit


def test_the_part_of_the_smaller_needs_the_iou() -> None:
    with pytest.raises(InputError, match=r"mask_nms_inside has no effect without .*mask_nms: give both"):
        PredictionSettings(mask_nms_inside=0.5)
    with pytest.raises(InputError, match="mask_nms is 2; it accepts a number from 0 to 1"):
        PredictionSettings(mask_nms=2)
