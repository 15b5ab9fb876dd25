"""Planted nuclei, cut by tiles and stitched: none is lost, none is doubled, whatever the grid."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

from nucleiseg.inference.stitching import SAME_NUCLEUS, stitch
from nucleiseg.inference.tiles import BAND, MARGIN, Tile, TileGrid, overlap_for
from nucleiseg.structures import Prediction

LARGEST = 60
"""Longest side of a planted nucleus."""

Part = tuple[Tile, Prediction]


@dataclass(frozen=True)
class Planted:
    """Nuclei in an image; the score of each tells which one was found.

    Attributes:
        boxes: (N, 4) float32.
        labels: (N,) 1 or 2.
        size: (height, width) of the image.
    """

    boxes: torch.Tensor
    labels: torch.Tensor
    size: tuple[int, int]

    @classmethod
    def sample(cls, count: int, height: int, width: int, seed: int) -> "Planted":
        """Scatter boxes of 10 to `LARGEST` pixels, without pairs that the network's own NMS would not have kept."""
        generator = np.random.default_rng(seed)
        sides = np.exp(generator.uniform(np.log(10), np.log(LARGEST), (count, 2)))
        corners = generator.uniform(0, 1, (count, 2)) * ([width, height] - sides)
        boxes = torch.tensor(np.concatenate([corners, corners + sides], axis=1), dtype=torch.float32)
        labels = torch.from_numpy(generator.integers(1, 3, count))
        kept = torch.ones(count, dtype=torch.bool)
        for first, second in near_pairs(boxes, 0.7):
            kept[second] &= not kept[first]
        return cls(boxes[kept], labels[kept], (height, width))

    def seen_by(self, grid: TileGrid, jitter: float = 0.0, seed: int = 0) -> list[Part]:
        """Return what each tile finds: the boxes that reach into it, cut at its borders, each edge off by `jitter`."""
        return [(tile, self._in(tile, jitter, seed + number)) for number, tile in enumerate(grid.tiles())]

    def _in(self, tile: Tile, jitter: float, seed: int) -> Prediction:
        top, left, bottom, right = tile.window
        low, high = torch.tensor([left, top]), torch.tensor([right, bottom])
        generator = torch.Generator().manual_seed(seed)
        shift = (torch.rand(self.boxes.shape, generator=generator) * 2 - 1) * jitter
        boxes = torch.cat([(self.boxes + shift)[:, :2].maximum(low), (self.boxes + shift)[:, 2:].minimum(high)], dim=1)
        found = torch.where((boxes[:, 2:] > boxes[:, :2] + 1).all(dim=1))[0]
        return Prediction(
            boxes=boxes[found] - torch.cat([low, low]),
            scores=self.scores[found],
            labels=self.labels[found],
            masks=found[:, None, None].float().repeat(1, 2, 2),
            size=(bottom - top, right - left),
        )

    @property
    def scores(self) -> torch.Tensor:
        return torch.linspace(1, 0.1, len(self.boxes), dtype=torch.float32)


def near_pairs(boxes: torch.Tensor, iou: float) -> list[tuple[int, int]]:
    """Return pairs of boxes (first < second) that overlap by more than `iou`, by looking in strips of the image."""
    pairs, order = [], boxes[:, 0].argsort()
    ordered = boxes[order]
    ends = torch.searchsorted(ordered[:, 0].contiguous(), ordered[:, 2].contiguous())
    for start in range(0, len(boxes), 200):
        stop = min(start + 200, len(boxes))
        end = int(ends[start:stop].max())
        rows, columns = torch.where(box_iou(ordered[start:stop], ordered[start:end]) > iou)
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
            if row < column:
                first, second = sorted((int(order[start + row]), int(order[start + column])))
                pairs.append((first, second))
    return sorted(pairs)


def found_numbers(prediction: Prediction) -> list[int]:
    """Return the numbers of the planted nuclei that were found: their masks hold them."""
    return prediction.masks[:, 0, 0].long().tolist()


def assert_complete(planted: Planted, found: Prediction, jitter: float) -> None:
    """None is doubled, and none is lost but one of two whose own boxes overlap by more than the stitching's IoU."""
    numbers = found_numbers(found)
    assert len(set(numbers)) == len(numbers)
    lost = set(range(len(planted.boxes))) - set(numbers)
    slack = 0.2 if jitter else 0.0  # the IoU of two boxes of 10 pixels changes by so much when edges move by 0.5
    close = near_pairs(planted.boxes, SAME_NUCLEUS - slack)
    excused = {number for first, second in close for number in (first, second) if {first, second} - lost}
    assert lost <= excused


GRIDS = [(640, 192), (512, 192), (1024, 256), (320, 192), (256, 192)]


@pytest.mark.parametrize("jitter", [0.0, 0.5])
@pytest.mark.parametrize(("side", "overlap"), GRIDS)
def test_thousands_of_nuclei(side: int, overlap: int, jitter: float) -> None:
    planted = Planted.sample(3000, 1500, 2300, seed=side)
    found = stitch(planted.seen_by(TileGrid(1500, 2300, side, overlap), jitter), planted.size)
    assert_complete(planted, found.prediction, jitter)
    assert found.cut == 0


@pytest.mark.slow
@pytest.mark.parametrize("jitter", [0.0, 0.5])
def test_sixty_thousand_nuclei(jitter: float) -> None:
    planted = Planted.sample(63_000, 8000, 9000, seed=1)
    assert len(planted.boxes) > 60_000
    found = stitch(planted.seen_by(TileGrid(8000, 9000, 640, 192), jitter), planted.size)
    assert_complete(planted, found.prediction, jitter)


def test_identical_boxes_come_back_as_they_were() -> None:
    """Where no two nuclei overlap by more than 0.5, stitching is the inverse of cutting."""
    planted = Planted.sample(1200, 1100, 1300, seed=4)
    dropped = {second for _, second in near_pairs(planted.boxes, SAME_NUCLEUS)}
    kept = torch.tensor([number for number in range(len(planted.boxes)) if number not in dropped])
    planted = replace(planted, boxes=planted.boxes[kept].round(), labels=planted.labels[kept])  # exact in float32
    found = stitch(planted.seen_by(TileGrid(1100, 1300, 384, 192)), planted.size).prediction
    torch.testing.assert_close(found.boxes, planted.boxes, rtol=0, atol=0)
    torch.testing.assert_close(found.scores, planted.scores, rtol=0, atol=0)
    torch.testing.assert_close(found.labels, planted.labels, rtol=0, atol=0)
    assert found.size == planted.size


def test_the_order_of_tiles_does_not_matter() -> None:
    planted = Planted.sample(600, 900, 1000, seed=5)
    parts = planted.seen_by(TileGrid(900, 1000, 384, 192), jitter=0.5)
    expected = stitch(parts, planted.size).prediction
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(parts))
        found = stitch([parts[number] for number in order], planted.size).prediction
        torch.testing.assert_close(found.boxes, expected.boxes, rtol=0, atol=0)
        torch.testing.assert_close(found.masks, expected.masks, rtol=0, atol=0)


def pair(*boxes: Sequence[float], labels: Sequence[int] = (1, 1)) -> Planted:
    return Planted(torch.tensor(boxes, dtype=torch.float32), torch.tensor(labels[: len(boxes)]), (512, 832))


def seam(planted: Planted) -> tuple[Prediction, int]:
    """Stitch two tiles of 512 x 512 whose cores meet at x = 416."""
    found = stitch(planted.seen_by(TileGrid(512, 832, 512, 192)), planted.size)
    return found.prediction, found.cut


def test_true_neighbors_on_the_seam_are_both_kept() -> None:
    """Both tiles show both of two nuclei with an IoU of 0.6: one to one matching does not mix them up."""
    found, _ = seam(pair((400, 100, 440, 140), (410, 100, 450, 140)))
    assert sorted(found_numbers(found)) == [0, 1]


def test_two_classes_of_one_place_are_both_kept() -> None:
    """The network's own suppression is by class, too."""
    found, _ = seam(pair((400, 100, 440, 140), (400, 100, 440, 140), labels=(1, 2)))
    assert sorted(found_numbers(found)) == [0, 1]


def test_the_view_that_is_deeper_in_its_core_is_kept() -> None:
    parts = pair((398, 100, 438, 140)).seen_by(TileGrid(512, 832, 512, 192))  # center 418, beyond the seam at 416
    left, right = parts
    parts = [
        (left[0], replace(left[1], scores=torch.tensor([0.9]))),
        (right[0], replace(right[1], scores=torch.tensor([0.3]))),
    ]
    found = stitch(parts, (512, 832)).prediction
    assert found.scores.tolist() == pytest.approx([0.3])


def test_without_the_band_a_nucleus_on_the_seam_is_lost() -> None:
    """Each tile sees the center 0.5 pixels beyond the seam: the band is what keeps it."""
    grid = TileGrid(512, 832, 512, 192)
    (left, _), (right, _) = pair((0, 0, 1, 1)).seen_by(grid)
    parts = [
        (left, pair((396.5, 100, 436.5, 140)).seen_by(grid)[0][1]),
        (right, pair((395.5, 100, 435.5, 140)).seen_by(grid)[1][1]),
    ]
    assert len(stitch(parts, (512, 832), band=0).prediction) == 0
    assert len(stitch(parts, (512, 832)).prediction) == 1


def test_a_nucleus_larger_than_the_overlap_is_shown_once_and_counted() -> None:
    """Each of two tiles shows a part of it that ends at its border; the larger part is kept."""
    found, cut = seam(pair((300, 100, 700, 300)))
    assert (len(found), cut) == (1, 1)
    assert found.boxes.tolist() == [[320, 100, 700, 300]]


def test_a_cut_nucleus_does_not_suppress_small_ones_inside_its_box() -> None:
    found, cut = seam(pair((300, 100, 700, 300), (500, 200, 520, 220)))
    assert (sorted(found_numbers(found)), cut) == ([0, 1], 1)


def test_no_detections() -> None:
    found, cut = seam(Planted(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), (512, 832)))
    assert (len(found), cut, found.size) == (0, 0, (512, 832))


@pytest.mark.parametrize(("height", "width"), [(100, 3000), (512, 512), (513, 640), (1000, 2011), (4097, 700)])
@pytest.mark.parametrize(("side", "overlap"), GRIDS)
def test_cores_partition_the_image_and_windows_cover_it(height: int, width: int, side: int, overlap: int) -> None:
    tiles = list(TileGrid(height, width, side, overlap).tiles())
    owners = np.zeros((height, width), np.int64)
    for tile in tiles:
        top, left, bottom, right = tile.window
        x1, y1, x2, y2 = np.clip(tile.core, 0, [width, height, width, height]).astype(int)
        owners[y1:y2, x1:x2] += 1
        assert (top % 64, left % 64) == (0, 0)
        assert max(tile.shape) <= side
        assert top <= y1 < y2 <= bottom <= height
        assert left <= x1 < x2 <= right <= width
    assert (owners == 1).all()
    assert len(tiles) == len(TileGrid(height, width, side, overlap))


def test_the_overlap_shows_the_largest_nuclei_whole() -> None:
    """The farthest center that a tile may take leaves half the nucleus and the margin before the border."""
    for largest in (1, 30.5, 60, 112, 113, 400):
        overlap = overlap_for(largest)
        assert overlap % 64 == 0
        assert overlap / 2 - BAND - largest / 2 >= MARGIN
        assert TileGrid(2000, 2000, 2 * overlap, overlap).largest >= largest


def test_batches_hold_every_tile_once_and_tiles_of_one_shape() -> None:
    grid = TileGrid(1500, 2300, 640, 192)
    batches = list(grid.batches())
    assert sorted(tile.window for tiles in batches for tile in tiles) == sorted(tile.window for tile in grid.tiles())
    assert all(len({tile.shape for tile in tiles}) == 1 and len(tiles) <= 10 for tiles in batches)
    assert max(map(len, batches)) > 1
