"""Parts of the benchmarks: synthetic nuclei, stopwatch, stock networks, trained proposals."""

import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from torchvision.ops import box_iou

from benchmarks import networks, stock
from benchmarks.discs import as_mask_stack, as_sample, as_target, sample_discs
from benchmarks.growth import as_svg, plot_growth
from benchmarks.measure import measure
from benchmarks.operations import count_gflop, is_heavy
from benchmarks.page import fill
from benchmarks.stopwatch import Stopwatch
from nucleiseg.errors import InputError
from nucleiseg.models.mask_rcnn import MaskRCNN


def test_discs_are_the_same_nuclei_in_every_form() -> None:
    discs = sample_discs(9, 60, seed=3, radius=4)
    masks, stack, target, sample = list(discs.masks()), as_mask_stack(discs), as_target(discs), as_sample(discs, "x")
    assert len(sample) == len(target) == len(stack["masks"]) == 9
    for index, mask in enumerate(masks):
        assert np.array_equal(target.mask(index).numpy(), mask)
        assert np.array_equal(stack["masks"][index].numpy(), mask)
        rows, columns = np.nonzero(mask)
        assert discs.boxes[index].tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert np.array_equal(sample.layers[0] > 0, sum(masks) > 0)
    assert sum(masks).max() == 1  # type: ignore[union-attr]


def test_more_discs_than_fit_are_refused() -> None:
    assert len(sample_discs(9, 27, radius=4)) == 9
    with pytest.raises(InputError, match="10 nuclei do not fit into 27 x 27 pixels; at most 9"):
        sample_discs(10, 27, radius=4)


def test_a_measurement_counts_neither_preparation_nor_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = {"now": 0.0}
    frozen = SimpleNamespace(perf_counter=lambda: clock["now"], process_time=float)
    monkeypatch.setattr("benchmarks.measure.time", frozen)
    given: list[int] = []

    def prepare(number: int) -> int:
        clock["now"] += 100
        return number

    def work(number: int) -> None:
        clock["now"] += 50 if number < 2 else number
        given.append(number)

    cost = measure(work, 3, prepare=prepare, warmup=2)
    assert given == [0, 1, 2, 3, 4]
    assert cost.seconds == 3, "the median of 2, 3 and 4"
    assert cost.memory_mb is None or cost.memory_mb > 10


class Work:
    def nap(self, seconds: float) -> float:
        time.sleep(seconds)
        return seconds


def test_a_stopwatch_adds_up_parts_that_lie_in_one_another() -> None:
    watch, work = Stopwatch(), Work()
    watch.wrap(work, "nap", "inner")
    with watch.part("outer"):
        assert work.nap(0.01) + work.nap(0.02) == pytest.approx(0.03)
    watch.stop("never begun")
    seconds = watch.seconds()
    assert list(seconds) == ["inner", "outer"]
    assert 0.03 <= seconds["inner"] <= seconds["outer"]
    watch.reset()
    assert watch.seconds() == {}


def test_stock_codes_are_those_of_the_masks() -> None:
    soft = torch.rand(3, 1, 20, 30)
    decoded = coco_mask.decode(stock.encode(soft))
    assert np.array_equal(decoded.transpose(2, 0, 1), (soft[:, 0] > 0.5).numpy())


def test_stock_samples_have_the_boxes_of_their_masks() -> None:
    discs = sample_discs(16, 60, radius=5)
    data = stock.MaskListDataset([np.zeros((60, 60, 3), np.uint8)], [list(discs.masks())], crop=30, size=45)
    image, target = data[0]
    assert len(data) == 1
    assert image.shape == (3, 45, 45)
    for box, mask in zip(target["boxes"].tolist(), target["masks"], strict=True):
        rows, columns = torch.where(mask > 0)
        assert box == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_stock_and_ours_are_one_network_with_the_same_parts_frozen() -> None:
    ours, theirs = (networks.build_network(name, 64) for name in ("r50_fpn_torchvision", "stock_fpn"))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    frozen = [
        {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
        for network in (ours, theirs)
    ]
    assert frozen[0] == frozen[1] != set()


def test_an_unknown_model_is_named_with_those_there_are() -> None:
    with pytest.raises(InputError, match=r"No model named r51_fpn; there are .*stock_fpn"):
        networks.build_network("r51_fpn", 64)


def test_proposals_are_as_many_as_asked_for_and_half_are_nuclei() -> None:
    torch.manual_seed(0)
    boxes = torch.from_numpy(sample_discs(20, 128).boxes)
    proposals = networks.spread_around(boxes, 200)
    overlap = box_iou(proposals, boxes).amax(dim=1) > 0.5
    assert len(proposals) == 200
    assert overlap[::2].float().mean() > 0.9
    assert overlap[1::2].float().mean() < 0.5


def test_a_crop_without_nuclei_keeps_its_own_proposals() -> None:
    network = networks.build_network("r18_fpn", 64).train()
    networks.TrainedProposals(network, count=777)
    proposals: list[torch.Tensor] = []
    network.rpn.register_forward_hook(lambda rpn, inputs, output: proposals.extend(output[0]))
    losses = network([torch.zeros(3, 64, 64)] * 2, [as_target(sample_discs(count, 64)) for count in (0, 3)])
    assert all(loss.isfinite() for loss in losses.values())
    assert [len(boxes) == 777 for boxes in proposals] == [False, True]


@pytest.mark.parametrize("name", ["r50_c4", "r50_fpn", "stock_c4"])
def test_calibration_keeps_activations_from_vanishing_or_exploding(name: str) -> None:
    torch.manual_seed(0)
    network = networks.build_network(name, 96)
    image = torch.randint(0, 256, (3, 96, 96), dtype=torch.uint8)
    images = [image / 255 if networks.is_stock(name) else image]
    networks.calibrate(network, images)
    with torch.inference_mode():
        maps = network.backbone(network.transform(images, None)[0].tensors)
    for features in maps.values() if isinstance(maps, dict) else [maps]:
        assert 0.02 < features.std() < 10


def test_an_untrained_network_detects_exactly_the_given_boxes() -> None:
    torch.manual_seed(0)
    boxes = torch.from_numpy(sample_discs(6, 64).boxes)
    network = networks.build_network("r18_fpn", 64, detections=6, proposals=12)
    networks.let_detect(network, boxes)
    with torch.inference_mode():
        found = network.eval()([torch.zeros(3, 64, 64, dtype=torch.uint8)])[0]
    assert isinstance(network, MaskRCNN)
    assert sorted(found.boxes.round().tolist()) == sorted(boxes.tolist())
    assert found.scores.min() > 0.9
    middle = found.masks.shape[-1] // 2
    assert found.masks[:, middle, middle].min() > 0.9
    assert found.masks[:, 0, 0].max() < 0.1


def test_operations_are_counted_by_hand() -> None:
    left, right = torch.rand(10, 20), torch.rand(20, 30)
    assert count_gflop(lambda: left @ right) == pytest.approx(2 * 10 * 20 * 30 / 1e9)


@pytest.mark.parametrize("name", ["aten::mm", "aten::mkldnn_convolution", "aten::_slow_conv2d_backward", "aten::addmm"])
def test_convolutions_and_products_are_recognized_by_name(name: str) -> None:
    assert is_heavy(name)
    assert not is_heavy("aten::add_")
    assert not is_heavy("torchvision::_roi_align_backward")


def test_the_page_holds_the_figures_of_its_files() -> None:
    folder = networks.MODELS.parents[1] / "benchmarks"
    page = (folder / "README.md").read_text(encoding="utf-8")
    assert fill(page, folder) == page
    assert page.count("<!-- results/") == page.count("<!-- end -->") > 0


def test_the_picture_shows_the_table() -> None:
    rows = [
        {"model": model, "nuclei in each": nuclei, "seconds": seconds, "peak memory, MB": 1000 * seconds}
        for model, nuclei, seconds in (
            ("r50_fpn", 50, 2.0),
            ("r50_fpn", 600, 2.1),
            ("stock_fpn", 50, 3.0),
            ("x", 1, 9.0),
        )
    ]
    time_axes, memory_axes = plot_growth(rows).axes
    ours, theirs = time_axes.lines
    assert (ours.get_label(), theirs.get_label()) == ("nucleiseg", "stock torchvision")
    assert ours.get_xydata().tolist() == memory_axes.lines[0].get_xydata().tolist() == [[50, 2.0], [600, 2.1]]
    assert theirs.get_xydata().tolist() == [[50, 3.0]]
    assert as_svg(plot_growth(rows)) == as_svg(plot_growth(rows))
