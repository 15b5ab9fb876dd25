"""The second stage: which RoIs train, what they cost, and which detections survive."""

import pytest
import torch
import torch.nn.functional as F
from small_networks import image, small_network, target
from torch import Tensor
from torchvision.models.detection.roi_heads import RoIHeads as TorchvisionRoIHeads
from torchvision.ops import box_iou

from nucleiseg.models import roi_heads
from nucleiseg.models.backbones.resnet import ResNetSpec, StageBuilder
from nucleiseg.models.heads import BoxPredictor, MaskPredictor
from nucleiseg.models.losses import box_regression_loss, classification_loss, mask_loss
from nucleiseg.models.numerics import TORCHVISION
from nucleiseg.models.part_configs import DetectionConfig, RoIConfig
from nucleiseg.models.res5_heads import Res5RoIHeads
from nucleiseg.models.roi_heads import RoIHeads
from nucleiseg.models.roi_pool import RoIPool


def random_boxes(count: int, side: float = 80, seed: int = 0) -> Tensor:
    corners = torch.rand(count, 2, 2, generator=torch.Generator().manual_seed(seed)) * side
    return torch.cat([corners.amin(dim=1), corners.amax(dim=1) + 1], dim=1).clamp(max=side)


def test_samples_are_labelled_by_their_overlap_and_the_instances_take_part() -> None:
    heads = small_network(num_classes=3, roi=RoIConfig(batch_size=1000)).roi_heads
    truth = target(12, num_classes=3)
    proposals = random_boxes(200)
    samples = heads.sample(proposals, truth)
    iou = box_iou(samples.boxes, truth.boxes)
    best, instance = iou.max(dim=1)
    assert len(samples.boxes) == 200 + 12  # all of them: the limits are not reached
    foreground = best >= 0.5
    assert torch.equal(samples.labels > 0, foreground)
    assert torch.equal(samples.instances[foreground], instance[foreground])
    assert torch.equal(samples.labels[foreground], truth.labels[instance[foreground]])
    assert (box_iou(truth.boxes, samples.boxes[foreground]).amax(dim=1) == 1).all()


def test_at_most_a_quarter_is_foreground_and_the_seed_chooses() -> None:
    heads = small_network(roi=RoIConfig(batch_size=20)).roi_heads
    samples = heads.sample(random_boxes(200), target(40))
    assert len(samples.boxes) == 20
    assert samples.foreground == 5
    assert torch.equal(samples.labels > 0, torch.arange(20) < 5)
    again = heads.sample(random_boxes(200), target(40))
    other = heads.sample(random_boxes(200), target(40, seed=1))
    assert torch.equal(samples.boxes, again.boxes)
    assert not torch.equal(samples.boxes, other.boxes)


def test_classification_loss_is_the_mean_over_all_rois() -> None:
    logits, labels = torch.randn(7, 4), torch.tensor([0, 0, 1, 3, 2, 0, 0])
    naive = sum(-logits[i].log_softmax(0)[label] for i, label in enumerate(labels.tolist())) / 7
    torch.testing.assert_close(classification_loss(logits, labels, 7), naive)
    assert classification_loss(logits[:0], labels[:0], 1) == 0


@pytest.mark.parametrize("beta", [0.0, 1 / 9])
def test_box_loss_is_over_the_number_of_all_rois(beta: float) -> None:
    deltas, targets = torch.randn(3, 4), torch.randn(3, 4)
    distance = (deltas - targets).abs()
    quadratic = 0.5 * distance**2 / beta if beta else distance
    naive = torch.where(distance < beta, quadratic, distance - beta / 2).sum() / 20
    torch.testing.assert_close(box_regression_loss(deltas, targets, 20, beta), naive)


def test_mask_loss_is_the_mean_over_pixels() -> None:
    logits, targets = torch.randn(3, 5, 5), torch.rand(3, 5, 5).round()
    naive = -(targets * F.logsigmoid(logits) + (1 - targets) * F.logsigmoid(-logits)).mean()
    torch.testing.assert_close(mask_loss(logits, targets, 3), naive)


@pytest.mark.parametrize("family", ["fpn", "dc5", "c4"])
def test_an_image_without_nuclei_trains_every_parameter(family: str) -> None:
    network = small_network(family).train()
    losses = network([image()], [target(0)])
    assert losses["loss_mask"] == 0
    assert losses["loss_box_reg"] == 0
    torch.stack(list(losses.values())).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def selection(heads: RoIHeads, count: int = 60, classes: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(count, classes + 1, generator=generator) * 2
    columns = classes + heads.numerics.background_deltas
    return logits, torch.randn(count, 4 * columns, generator=generator) * 3, random_boxes(count)


def test_selection_is_torchvisions_under_its_numerics() -> None:
    heads = small_network(num_classes=3, numerics="torchvision", detection=DetectionConfig(limit=17)).roi_heads
    logits, deltas, proposals = selection(heads)
    expected = TorchvisionRoIHeads.postprocess_detections(heads, logits, deltas, [proposals], [(96, 80)])
    found = heads.select(logits, deltas, proposals, (96, 80))
    boxes, scores, labels = (part[0] for part in expected)
    torch.testing.assert_close(found[0], boxes)
    torch.testing.assert_close(found[1], scores)
    assert torch.equal(found[2], labels)
    assert len(scores) == 17


def test_deltas_of_detectron2_are_torchvisions_without_the_background() -> None:
    ours = small_network(num_classes=3).roi_heads
    theirs = small_network(num_classes=3, numerics="torchvision").roi_heads
    logits, deltas, proposals = selection(theirs)
    found = ours.select(logits, deltas[:, 4:], proposals, (96, 80))
    for mine, other in zip(found, theirs.select(logits, deltas, proposals, (96, 80)), strict=True):
        torch.testing.assert_close(mine, other)


def test_detections_score_more_than_the_threshold_lie_inside_and_do_not_overlap() -> None:
    heads = small_network(num_classes=3, detection=DetectionConfig(score_threshold=0.3, nms=0.4)).roi_heads
    boxes, scores, labels = heads.select(*selection(heads), (96, 80))
    assert (scores > 0.3).all()
    assert (scores.diff() <= 0).all()
    assert boxes.min() >= 0
    assert boxes[:, 2].max() <= 80
    assert boxes[:, 3].max() <= 96
    same = labels[:, None] == labels[None]
    assert (box_iou(boxes, boxes)[same & ~torch.eye(len(boxes), dtype=torch.bool)] <= 0.4).all()


def test_the_threshold_is_strict_and_what_is_not_finite_is_dropped() -> None:
    heads = small_network(detection=DetectionConfig(score_threshold=0.5)).roi_heads
    logits = torch.tensor([[0.0, 0.0], [0.0, 1.0], [0.0, 1.0]])  # the first scores exactly 0.5
    deltas = torch.zeros(3, 4)
    deltas[1, 0] = float("nan")
    proposals = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30], [40, 40, 50, 50]])
    boxes, scores, labels = heads.select(logits, deltas, proposals, (96, 80))
    assert torch.equal(boxes, proposals[2:])
    torch.testing.assert_close(scores, torch.tensor([1 / (1 + torch.e**-1)]))
    assert labels.tolist() == [1]


@pytest.mark.parametrize("family", ["fpn", "dc5", "c4"])
def test_chunks_change_nothing(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = small_network(family, detection=DetectionConfig(score_threshold=0.0)).eval()
    with torch.no_grad():
        whole = network([image()])[0]
        monkeypatch.setattr(roi_heads, "CHUNK", 7)
        chunked = network([image()])[0]
    assert len(whole) > 7
    torch.testing.assert_close(chunked.boxes, whole.boxes)
    torch.testing.assert_close(chunked.masks, whole.masks)


def test_res5_passes_once_in_training_and_twice_in_prediction() -> None:
    network = small_network("c4").train()
    batches: list[int] = []
    network.roi_heads.box_head.register_forward_hook(lambda _, inputs, __: batches.append(len(inputs[0])))
    network([image()], [target(9)])
    assert batches == [24]
    with torch.no_grad():
        found = network.eval()([image()])[0]
    assert batches[1:] == [40, len(found)]


def test_nothing_detected_is_an_empty_prediction() -> None:
    network = small_network(detection=DetectionConfig(score_threshold=1.0)).eval()
    with torch.no_grad():
        found = network([image()])[0]
    assert len(found) == 0
    assert found.masks.shape == (0, 12, 12)
    assert found.size == (96, 80)


def test_initial_weights_are_detectron2s() -> None:
    torch.manual_seed(0)
    box, mask = BoxPredictor(512, 40), MaskPredictor(256, 256, 40)
    assert box.cls_score.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert box.bbox_pred.weight.std().item() == pytest.approx(0.001, rel=0.05)
    assert mask.mask_fcn_logits.weight.std().item() == pytest.approx(0.001, rel=0.05)
    for module in (box, mask):
        for name, parameter in module.named_parameters():
            assert "bias" not in name or not parameter.any()
    assert box.bbox_pred.out_features == 160
    assert BoxPredictor(512, 40, TORCHVISION).bbox_pred.out_features == 164
    assert MaskPredictor(256, 256, 40, TORCHVISION).mask_fcn_logits.out_channels == 41


@pytest.mark.parametrize("stride_in_1x1", [True, False])
def test_res5_sees_the_same_pixels_whoever_takes_its_stride(stride_in_1x1: bool) -> None:
    """Bins that res5's first 1x1 convolutions would skip are not pooled; the features are those of all bins."""
    builder = StageBuilder(
        ResNetSpec(depths=(1, 1, 1, 1), width_per_group=4, stem_channels=8, res2_channels=16),
        "gn",
        1e-5,
        stride_in_1x1,
    )
    res5 = builder.stage(3)
    pool = RoIPool(feature_names=("0",), strides=(16,), output_size=14)
    features, boxes = {"0": torch.randn(1, 64, 12, 12)}, [torch.tensor([[0.0, 8, 100, 90], [20, 20, 40, 50]])]
    expected = res5(pool(features, boxes))
    heads = Res5RoIHeads(
        box_pool=pool,
        box_head=res5,
        box_predictor=BoxPredictor(128, 1),
        mask_pool=pool,
        mask_head=torch.nn.Identity(),
        mask_predictor=MaskPredictor(128, 8, 1),
        roi=RoIConfig(),
        detection=DetectionConfig(),
    )
    assert heads.every == (2 if stride_in_1x1 else 1)
    torch.testing.assert_close(heads._box_features(features, boxes), expected, rtol=1e-4, atol=1e-5)
