"""Images predicted in tiles: when, at which scale, with which limits, and as if they were whole."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torchvision.ops import box_iou

from nucleiseg.errors import InputError
from nucleiseg.inference import tiling
from nucleiseg.inference.predictor import Predictor
from nucleiseg.inference.settings import PredictionSettings
from nucleiseg.inference.tta import TTASettings
from nucleiseg.models.checkpoint import Metadata
from nucleiseg.models.config import ModelConfig
from nucleiseg.models.mask_rcnn import MaskRCNN, build
from nucleiseg.structures import Prediction


class BrightSquares(nn.Module):
    """A network that detects the bright parts of each image, and remembers the shapes that it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.roi_heads = SimpleNamespace(score_thresh=0.05, nms_thresh=0.5, detections_per_img=200)
        self.rpn = SimpleNamespace(_pre_nms_top_n={"testing": 300}, _post_nms_top_n={"testing": 300})
        self.seen: list[list[tuple[int, ...]]] = []

    def forward(self, images: list[Tensor]) -> list[Prediction]:
        self.seen.append([tuple(image.shape[1:]) for image in images])
        return [self.find(image)[: self.roi_heads.detections_per_img] for image in images]

    def masks(self, images: list[Tensor], boxes: list[Tensor], labels: list[Tensor]) -> list[Tensor]:
        """Return masks of the mean brightness of the image in each box."""
        return [
            torch.stack([image[0, int(y1) : int(y2), int(x1) : int(x2)].float().mean() for x1, y1, x2, y2 in of_image])[
                :, None, None
            ].expand(-1, 28, 28)
            / 255
            for image, of_image in zip(images, boxes, strict=True)
        ]

    def find(self, image: Tensor) -> Prediction:
        bright = image[0].numpy() > 128
        parts = ndimage.find_objects(ndimage.label(bright)[0])
        boxes = torch.tensor([[x.start, y.start, x.stop, y.stop] for y, x in parts], dtype=torch.float32).reshape(-1, 4)
        scores = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1) / 10_000
        order = scores.argsort(descending=True)
        return Prediction(
            boxes=boxes[order],
            scores=scores[order],
            labels=torch.ones(len(parts), dtype=torch.int64),
            masks=torch.ones(len(parts), 28, 28),
            size=(image.shape[1], image.shape[2]),
        )


def squares(height: int, width: int) -> np.ndarray:
    """Return an image of squares of 16 to 46 pixels, one in each field of 50."""
    image = np.zeros((height, width, 3), np.uint8)
    sides = iter(np.random.default_rng(0).permutation(np.linspace(16, 46, (height // 50) * (width // 50)).astype(int)))
    for top in range(0, height - 49, 50):
        for left in range(0, width - 49, 50):
            side = next(sides)
            image[top : top + side, left : left + side] = 255
    return image


def make(largest: float | None = 50, scale: float = 1.0, **settings: Any) -> Predictor:  # noqa: ANN401
    metadata = Metadata(model={}, preprocessing={"scale": scale}, largest_nucleus=largest)
    return Predictor(BrightSquares(), metadata, PredictionSettings(device="cpu", **settings))  # type: ignore[arg-type]


IMAGE = squares(600, 900)


def assert_same(found: Prediction, expected: Prediction) -> None:
    """Compare detections whose equal scores may come in another order."""
    assert len(found) == len(expected) > 0
    order, other = (sorted(range(len(it)), key=lambda index: it.boxes[index].tolist()) for it in (found, expected))
    torch.testing.assert_close(found.boxes[order], expected.boxes[other], rtol=0, atol=1e-3)
    torch.testing.assert_close(found.scores[order], expected.scores[other])
    torch.testing.assert_close(found.masks[order], expected.masks[other])


FLIPS = TTASettings(flips=("horizontal", "vertical"))
ROTATIONS = TTASettings(flips=("horizontal",), quarter_turns=True, merge="detectron2")


@pytest.mark.parametrize("settings", [{}, {"mask_nms": 0.5}, {"tta": FLIPS}, {"tta": ROTATIONS}, {"short": 600}])
def test_a_network_without_context_finds_the_same_in_tiles(settings: dict[str, Any]) -> None:
    tiled, whole = make(tile=320, **settings), make(tile=None, detections=1000, **settings)
    image = IMAGE[:450, :600]
    assert_same(tiled.predict(image), whole.predict(image))
    assert max(max(shape) for batch in tiled.network.seen for shape in batch) == 320
    assert any(len(batch) > 1 for batch in tiled.network.seen)
    assert all(len(set(batch)) == 1 for batch in tiled.network.seen)


def test_the_scale_is_that_of_the_whole_image() -> None:
    predictor = make(tile=320, short=300, long=2000)
    predictor.predict(IMAGE)
    assert predictor.network.seen == [[(300, 194)], [(300, 320), (300, 320)]]  # of 300 x 450


def test_small_images_are_predicted_whole() -> None:
    for settings, side in (({"tile": 320}, 320), ({}, 700)):
        predictor = make(**settings)
        predictor.predict(IMAGE[:side, :side])
        assert predictor.network.seen == [[(min(side, 600), side)]]


def test_auto_takes_tiles_above_a_number_of_pixels(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tiling, "LARGEST_WHOLE", 600 * 900)
    predictor = make()
    predictor.predict(IMAGE)
    assert predictor.network.seen == [[(600, 900)]]
    monkeypatch.setattr(tiling, "LARGEST_WHOLE", 600 * 900 - 1)
    monkeypatch.setattr(tiling, "MOST_SIDE", 512)
    predictor = make()
    assert_same(predictor.predict(IMAGE), make(tile=None, detections=1000).predict(IMAGE))
    predictor.predict(IMAGE)
    note = "Note: an image of 900 x 600 network pixels is predicted in 6 tiles of 512 x 512 that overlap by 192."
    assert capsys.readouterr().err.count(note) == 1


@pytest.mark.parametrize(
    ("shown", "largest", "side"), [(608, 50, 640), (100, 50, 512), (4000, 50, 2048), (608, 400, 1024)]
)
def test_auto_takes_tiles_of_the_size_of_training_crops(shown: int, largest: float, side: int) -> None:
    metadata = Metadata(
        model={}, preprocessing={"crop": [0.5, 0.5], "short": shown, "long": shown}, largest_nucleus=largest
    )
    predictor = Predictor(BrightSquares(), metadata, PredictionSettings(device="cpu"))  # type: ignore[arg-type]
    assert predictor._tiling.side == side


def test_the_limit_on_detections_is_one_of_each_tile() -> None:
    assert not make(tile=320, detections=60).predict(IMAGE).capped
    found = make(tile=320, detections=20).predict(IMAGE)
    assert found.capped
    assert 20 < len(found) < 216
    assert make(tile=None, detections=20).predict(IMAGE).capped
    assert not make(tile=None, detections=217).predict(IMAGE).capped


def test_nuclei_larger_than_the_overlap_allows_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    image = np.zeros((320, 704, 3), np.uint8)
    image[100:200, 300:600] = 255
    found = make(tile=512, tile_overlap=128, largest=None).predict(image)
    assert len(found) == 1
    assert "1 nuclei may be cut where tiles meet: they are larger than 48 network pixels" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"tile": 100}, "tile is 100; it accepts auto or a whole number from 256 to 8,192, or null"),
        ({"tile": "large"}, "tile is 'large'; it accepts auto or a whole number"),
        ({"tile_overlap": 0}, "tile_overlap is 0; it accepts a whole number from 1 to 4,096, or null"),
        ({"tile": None, "tile_overlap": 64}, r"tile_overlap has no effect without .*tile"),
        (
            {"tile": 300, "tile_overlap": 257},
            "tile_overlap is 257; it accepts a whole number up to 256 for tiles of 320",
        ),
        ({"tile": 256, "largest": 113}, "tile is 256; it accepts a whole number of at least 320 for this checkpoint"),
    ],
)
def test_impossible_tiles_are_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        make(**settings)


def real_network() -> MaskRCNN:
    """A small network with batch normalization and random weights, whose limits do not bind."""
    config = ModelConfig.from_dict({"name": "tiny", "backbone": "resnet18", "norm": "bn", "fpn_channels": 32})
    config = replace(config, roi=replace(config.roi, fc_dim=16), mask=replace(config.mask, convs=1, channels=8))
    config = replace(config, detection=replace(config.detection, score_threshold=0.6, limit=10_000, nms=0.3))
    config = replace(config, rpn=replace(config.rpn, pre_nms_test=50_000, post_nms_test=50_000, nms=0.2))
    config = replace(config, anchors=replace(config.anchors, ratios=(1.0,)))
    torch.manual_seed(0)
    network = build(config, num_classes=1)
    nn.init.normal_(network.roi_heads.box_predictor.cls_score.weight)
    with torch.no_grad():  # statistics of such images, in place of a training
        network.backbone.train()(torch.rand(2, 3, 128, 128) * 4 - 2)
    return network.eval()


def matched(found: Prediction, among: Prediction) -> float:
    """Return the share of nuclei that match one to one to others, at an IoU of boxes of at least 0.9."""
    is_same = box_iou(found.boxes, among.boxes).numpy() >= 0.9
    rows, columns = linear_sum_assignment(is_same, maximize=True)
    return int(is_same[rows, columns].sum()) / len(found)


def test_a_real_network_with_enough_context_finds_the_same_in_tiles() -> None:
    """The overlap of 320 pixels leaves 160 between the seam and the borders, whose zeros the features notice."""
    network = real_network()
    metadata = Metadata(model={}, preprocessing={"scale": 1.0}, largest_nucleus=40)
    image = np.random.default_rng(0).integers(0, 256, (128, 576, 3), dtype=np.uint8)
    whole, tiled = (
        Predictor(network, metadata, PredictionSettings(device="cpu", tile=tile, tile_overlap=overlap)).predict(image)
        for tile, overlap in ((None, None), (448, 320))
    )
    # a score on the threshold may fall on either side of it: partners are looked for a little below
    for found, among in ((whole, tiled), (tiled, whole)):
        clear = found[found.scores >= 0.7]
        assert len(clear) > 1000
        assert matched(clear, among) >= 0.995
