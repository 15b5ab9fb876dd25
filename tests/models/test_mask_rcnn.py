"""Whole networks: what they are, what they return, and what they never hold."""

import dataclasses
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from small_networks import image, small_network, target
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.models.detection import MaskRCNN as TorchvisionMaskRCNN
from torchvision.models.detection._utils import overwrite_eps
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import FrozenBatchNorm2d

from nucleiseg.errors import InputError
from nucleiseg.models.config import ModelConfig
from nucleiseg.models.mask_rcnn import MaskRCNN, build
from nucleiseg.models.part_configs import AnchorConfig, DetectionConfig, LossWeights, MaskConfig, RoIConfig, RPNConfig

FOLDER = Path(__file__).parents[2] / "conf" / "model"
NAMES = sorted(path.stem for path in FOLDER.glob("[!_]*.yaml"))
LOSSES = {"loss_rpn_cls", "loss_rpn_loc", "loss_cls", "loss_box_reg", "loss_mask"}

# parameters, trained parameters and state-dict entries with one class; parameters with 80. From the model zoo.
COUNTS = {
    "r50_c4": (35_079_954, 34_857_554, 279, 35_909_612),
    "r101_c4": (54_019_858, 53_797_458, 534, 54_849_516),
    "r50_dc5": (171_928_338, 171_705_938, 291, 172_353_516),
    "r101_dc5": (190_868_242, 190_645_842, 546, 191_293_420),
    "r50_fpn": (43_918_038, 43_695_638, 307, 44_343_216),
    "r101_fpn": (62_857_942, 62_635_542, 562, 63_283_120),
    "x101_fpn": (107_002_582, 106_577_430, 562, 107_427_760),
}


def config_of(name: str, *overrides: str) -> ModelConfig:
    with initialize_config_dir(str(FOLDER), version_base="1.3"):
        return ModelConfig.from_dict(OmegaConf.to_container(compose(name, list(overrides)), resolve=True))


def total(losses: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(losses.values())).sum()


@pytest.mark.parametrize("name", COUNTS)
def test_parameters_are_the_model_zoos_to_the_last_one(name: str) -> None:
    config = config_of(name, "weights=zoo", "norm=frozen_bn", "freeze_at=2")
    with torch.device("meta"):
        one, eighty = build(config, 1), build(config, 80)
    parameters = list(one.parameters())
    counted = (
        sum(parameter.numel() for parameter in parameters),
        sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        len(one.state_dict()),
        sum(parameter.numel() for parameter in eighty.parameters()),
    )
    assert counted == COUNTS[name]


@pytest.mark.parametrize("name", NAMES)
def test_every_model_takes_a_training_step_and_predicts(name: str) -> None:
    limits = ["rpn.pre_nms_train=50", "rpn.post_nms_train=12", "rpn.pre_nms_test=40", "rpn.post_nms_test=6"]
    # DC5's first fully connected layer would take 100 of its 172 million parameters, and most of the time.
    width = [] if name.endswith("c4") else ["roi.fc_dim=32"]
    if name == "timm_fpn":
        width += ["backbone=test_convnext"]
    config = config_of(name, *limits, "roi.batch_size=8", "detection.limit=4", *width)
    network = build(config, 1)
    assert isinstance(network, TorchvisionMaskRCNN)
    losses = network.train()([image(128, 128)], [target(9, 128, 128)])
    assert losses.keys() == LOSSES
    total(losses).backward()
    for parameter_name, parameter in network.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
    with torch.no_grad():
        prediction = network.eval()([image(128, 128)])[0]
    assert prediction.size == (128, 128)
    side = config.roi.pool if config.family == "c4" else 2 * config.mask.pool
    assert prediction.masks.shape == (len(prediction), side, side)
    assert len(prediction) <= 4


def test_losses_fall_when_trained_on_one_image() -> None:
    network = small_network().train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    history = []
    for step in range(25):
        losses = network([image()], [target(9, seed=step)])
        optimizer.zero_grad()
        total(losses).backward()
        optimizer.step()
        history.append(total(losses).item())
    assert sum(history[-5:]) < 0.8 * sum(history[:5])


@pytest.mark.parametrize("family", ["fpn", "dc5", "c4"])
def test_losses_are_a_function_of_the_targets_seed(family: str) -> None:
    network = small_network(family, roi=RoIConfig(batch_size=8, fc_dim=16)).train()
    images, targets = [image(), image(64, 96, seed=1)], [target(9), target(20, 64, 96, seed=7)]
    torch.manual_seed(1)
    first = network(images, targets)
    torch.manual_seed(2)
    second = network(images, targets)
    assert all(torch.equal(first[name], second[name]) for name in LOSSES)
    other = network(images, [dataclasses.replace(item, seed=99) for item in targets])
    assert not torch.equal(first["loss_cls"], other["loss_cls"])
    torch.manual_seed(1)
    unseeded = network(images, [dataclasses.replace(item, seed=None) for item in targets])
    torch.manual_seed(2)
    assert not torch.equal(
        unseeded["loss_cls"], network(images, [dataclasses.replace(item, seed=None) for item in targets])["loss_cls"]
    )


@pytest.mark.parametrize("family", ["fpn", "dc5", "c4"])
def test_half_precision_trains_and_predicts(family: str) -> None:
    network = small_network(family, detection=DetectionConfig(score_threshold=0.0)).train()
    full = network([image()], [target(9)])
    with torch.autocast("cpu", torch.bfloat16):
        half = network([image()], [target(9)])
        with torch.no_grad():
            found = network.eval()([image()])[0]
    for name in LOSSES:
        assert half[name].dtype == torch.float32
        torch.testing.assert_close(half[name], full[name], rtol=0.1, atol=0.05)
    total(half).backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())
    assert found.boxes.dtype == found.scores.dtype == found.masks.dtype == torch.float32


@pytest.mark.parametrize("family", ["fpn", "c4"])
def test_roi_pool_is_another_network_with_the_same_parameters(family: str) -> None:
    align, pool = small_network(family), small_network(family, roi_pool="pool")
    pool.load_state_dict(align.state_dict())
    first, second = align.train()([image()], [target(9)]), pool.train()([image()], [target(9)])
    assert torch.equal(first["loss_rpn_cls"], second["loss_rpn_cls"])
    assert not torch.equal(first["loss_cls"], second["loss_cls"])
    with torch.no_grad():
        assert pool.eval()([image()])[0].size == (96, 80)


def test_a_copy_is_the_same_network() -> None:
    network = pickle.loads(pickle.dumps(small_network().eval()))
    with torch.no_grad():
        assert torch.equal(network([image()])[0].boxes, small_network().eval()([image()])[0].boxes)


def test_integers_and_floats_are_the_same_image() -> None:
    network = small_network().eval()
    with torch.no_grad():
        first, second = network([image()])[0], network([image().float()])[0]
    assert torch.equal(first.boxes, second.boxes)


@pytest.mark.parametrize(("family", "shape"), [("fpn", (128, 96)), ("dc5", (100, 90)), ("c4", (100, 90))])
def test_a_batch_is_normalized_and_padded_with_zeros(family: str, shape: tuple[int, int]) -> None:
    network = small_network(family, pixel_std=(2.0, 4.0, 8.0))
    images = [image(100, 70), image(60, 90)]
    batch, _ = network.transform(images)
    assert batch.tensors.shape == (2, 3, *shape)
    assert batch.image_sizes == [(100, 70), (60, 90)]
    mean, std = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([2.0, 4.0, 8.0])
    torch.testing.assert_close(batch.tensors[0, :, :100, :70], (images[0] - mean[:, None, None]) / std[:, None, None])
    assert not batch.tensors[0, :, :, 70:].any()
    assert not batch.tensors[1, :, 60:].any()
    assert "InputTransform(mean=[123.675, 116.28, 103.53]" in repr(network)


def test_predictions_stay_in_their_own_image() -> None:
    network = small_network(detection=DetectionConfig(score_threshold=0.0)).eval()
    with torch.no_grad():
        found = network([image(100, 70), image(60, 90)])
    assert [prediction.size for prediction in found] == [(100, 70), (60, 90)]
    for prediction in found:
        height, width = prediction.size
        assert len(prediction) > 0
        assert prediction.boxes[:, 2].max() <= width
        assert prediction.boxes[:, 3].max() <= height


def test_validation_losses_touch_nothing() -> None:
    network = small_network(norm="bn").train()
    network.backbone.body.bn1.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    targets = [target(9, seed=None)]
    losses = network.validation_losses([image()], targets)
    assert losses.keys() == LOSSES
    assert not any(loss.requires_grad for loss in losses.values())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert [module.training for module in network.modules()] == modes
    assert network.validation_losses([image()], targets) == losses
    assert network.eval().validation_losses([image()], targets) == losses


def test_loss_weights_multiply() -> None:
    weights = LossWeights(rpn_cls=2.0, rpn_loc=3.0, cls=5.0, box_reg=7.0, mask=0.0)
    plain = small_network().train()([image()], [target(9)])
    weighted = small_network(loss_weights=weights).train()([image()], [target(9)])
    for name, factor in dataclasses.asdict(weights).items():
        torch.testing.assert_close(weighted[f"loss_{name}"], plain[f"loss_{name}"] * factor)


def test_misuse_is_refused() -> None:
    network = small_network()
    with pytest.raises(ValueError, match="training needs targets"):
        network.train()([image()])
    with pytest.raises(ValueError, match=r"not \(1, 96, 80\)"):
        network.eval()([image()[:1]])
    with pytest.raises(InputError, match="freeze_at"):
        small_network(freeze_at=2)


class LargestArray(TorchDispatchMode):
    """Remembers the number of elements of the largest tensor that an operation returned."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(
        self, function: Callable, _: object, arguments: tuple = (), keywords: dict | None = None
    ) -> object:
        result = function(*arguments, **(keywords or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, Tensor):
                self.elements = max(self.elements, tensor.numel())
        return result


@pytest.mark.parametrize(
    ("family", "anchors"), [("fpn", 3 * (40**2 + 20**2 + 10**2 + 5**2 + 3**2)), ("c4", 15 * 10**2)]
)
def test_no_array_has_nuclei_times_pixels_or_anchors(family: str, anchors: int) -> None:
    """2,000 nuclei in 160 x 160: all masks would be 51 million elements, all IoUs with anchors 3 to 13 million."""
    network = small_network(family, anchors=AnchorConfig(sizes=(4, 6, 8, 12, 16))).train()
    with LargestArray() as watch:
        total(network([image(160, 160)], [target(2000, 160, 160)])).backward()
    assert 160 * 160 <= watch.elements < 2000 * anchors / 10


def torchvision_twin(num_classes: int) -> tuple[TorchvisionMaskRCNN, MaskRCNN]:
    """Torchvision's Mask R-CNN with ResNet-18 and FPN, and ours with its numerics and its weights."""
    torch.manual_seed(0)
    backbone = resnet_fpn_backbone(
        backbone_name="resnet18", weights=None, norm_layer=FrozenBatchNorm2d, trainable_layers=3
    )
    anchors = AnchorGenerator(((8,), (16,), (32,), (64,), (128,)), ((0.5, 1.0, 2.0),) * 5)
    theirs = TorchvisionMaskRCNN(
        backbone,
        min_size=64,
        rpn_anchor_generator=anchors,
        rpn_batch_size_per_image=100_000,
        box_batch_size_per_image=100_000,
        rpn_post_nms_top_n_train=30,
        rpn_post_nms_top_n_test=30,
        box_head=TwoMLPHead(256 * 7**2, 32),
        box_predictor=FastRCNNPredictor(32, num_classes + 1),
        mask_head=MaskRCNNHeads(256, (16, 16), 1),
        mask_predictor=MaskRCNNPredictor(16, 16, num_classes + 1),
        box_score_thresh=0.2,
    )
    overwrite_eps(theirs, 0.0)  # as it does with its COCO weights
    config = ModelConfig(
        name="twin",
        backbone="resnet18",
        numerics="torchvision",
        weights="torchvision",
        pixel_mean=(0.485 * 255, 0.456 * 255, 0.406 * 255),
        pixel_std=(0.229 * 255, 0.224 * 255, 0.225 * 255),
        rpn=RPNConfig(pre_nms_test=1000, post_nms_train=30, post_nms_test=30, batch_size=100_000),
        roi=RoIConfig(batch_size=100_000, fc_dim=32),
        mask=MaskConfig(convs=2, channels=16),
        detection=DetectionConfig(score_threshold=0.2, limit=100),
    )
    ours = build(config, num_classes)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def test_torchvisions_numerics_are_torchvisions() -> None:
    theirs, ours = torchvision_twin(2)
    picture, truth = image(64, 96), target(9, 64, 96, num_classes=2)
    pasted = theirs.transform.postprocess
    theirs.transform.postprocess = lambda result, *_: result  # masks before they are pasted into N x H x W
    with torch.no_grad():
        expected = theirs.eval()([picture / 255])[0]
        found = ours.eval()([picture])[0]
    assert len(found) == len(expected["boxes"]) > 10
    torch.testing.assert_close(found.boxes, expected["boxes"], rtol=1e-4, atol=1e-2)
    torch.testing.assert_close(found.scores, expected["scores"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.masks, expected["masks"][:, 0], rtol=1e-3, atol=1e-4)
    assert torch.equal(found.labels, expected["labels"])
    theirs.transform.postprocess = pasted
    masks = torch.stack([truth.mask(i) for i in range(len(truth))]).byte()
    expected = theirs.train()([picture / 255], [{"boxes": truth.boxes, "labels": truth.labels, "masks": masks}])
    losses = ours.train()([picture], [truth])
    names = {"loss_objectness": "loss_rpn_cls", "loss_rpn_box_reg": "loss_rpn_loc", "loss_classifier": "loss_cls"}
    for name, loss in expected.items():
        torch.testing.assert_close(losses[names.get(name, name)], loss, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("numerics", ["detectron2", "torchvision"])
def test_a_cpu_predicts_channels_last_and_learns_channels_first(numerics: str) -> None:
    network = small_network("fpn", numerics=numerics)
    layouts: list[bool] = []

    def look(_: object, inputs: tuple[Tensor, ...]) -> None:
        layouts.append(inputs[0].is_contiguous(memory_format=torch.channels_last))

    network.backbone.register_forward_pre_hook(look)
    network.train()([image()], [target(3)])
    network.validation_losses([image()], [target(3)])
    with torch.no_grad():
        network.eval()([image()])
    assert layouts == [False, True, True]
