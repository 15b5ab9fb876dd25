"""The four precisions: what is set, that it is put back, and what bfloat16 changes in each of our models."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from small_networks import image, small_network, target
from torch import Tensor

from nucleiseg.errors import InputError
from nucleiseg.models.backbones.resnet import RESNETS, ResNetSpec
from nucleiseg.models.config import ModelConfig
from nucleiseg.models.mask_rcnn import MaskRCNN, build
from nucleiseg.models.part_configs import DetectionConfig
from nucleiseg.models.precision import PRECISIONS, Precision, precision_problems
from nucleiseg.models.precision_context import AUTOCAST, float32_context, precision_context

FOLDER = Path(__file__).parents[2] / "conf" / "model"
NAMES = sorted(path.stem for path in FOLDER.glob("[rx]*.yaml"))  # ResNets
SMALL = (
    *("rpn.pre_nms_train=50", "rpn.post_nms_train=12", "rpn.pre_nms_test=40", "rpn.post_nms_test=6"),
    *("roi.batch_size=8", "mask.channels=16"),
    *("detection.limit=4", "detection.score_threshold=0"),
)
ROIS = torch.tensor([[8.0, 8, 40, 40], [30, 20, 70, 60]])

OLD = {
    "products": (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    "convolutions": (
        lambda: torch.backends.cudnn.allow_tf32,
        lambda value: setattr(torch.backends.cudnn, "allow_tf32", value),
    ),
}
BACKENDS: Any = torch.backends
NEW = {
    "everything": BACKENDS,
    "cuda.matmul": BACKENDS.cuda.matmul,
    "cudnn.conv": BACKENDS.cudnn.conv,
    "cudnn.rnn": BACKENDS.cudnn.rnn,
    "mkldnn.matmul": BACKENDS.mkldnn.matmul,
    "mkldnn.conv": BACKENDS.mkldnn.conv,
}


def settings() -> dict[str, object]:
    """All that PyTorch says of float32; the old interface may raise where the new one was used."""
    found: dict[str, object] = {name: operation.fp32_precision for name, operation in NEW.items()}
    for name, (read, _) in OLD.items():
        try:
            found[name] = read()
        except RuntimeError:
            found[name] = "raises"
    return found


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Leave PyTorch's settings as they were, whatever a test does to them."""
    new, old = {name: operation.fp32_precision for name, operation in NEW.items()}, [read() for read, _ in OLD.values()]
    yield
    for (_, write), value in zip(OLD.values(), old, strict=True):
        write(value)
    for name, operation in NEW.items():
        operation.fp32_precision = new[name]


def a_notebook_sets(interface: str, name: str, value: object) -> None:
    if interface == "old":
        OLD[name][1](value)
    else:
        NEW[name].fp32_precision = value


BEFORE = [
    ("old", "products", "highest"),
    ("old", "products", "high"),
    ("old", "products", "medium"),
    ("old", "convolutions", False),
    ("new", "everything", "tf32"),
    ("new", "everything", "ieee"),
    ("new", "cuda.matmul", "tf32"),
    ("new", "cudnn.conv", "ieee"),
    ("new", "mkldnn.matmul", "bf16"),
    ("new", "mkldnn.conv", "bf16"),
]


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize(("precision", "device"), [*product(PRECISIONS, ["cuda"]), ("32", "cpu"), ("tf32", "cpu")])
def test_float32_is_exact_unless_tf32_is_asked_for_on_a_gpu(
    precision: Precision, device: str, before: tuple[str, str, object]
) -> None:
    a_notebook_sets(*before)
    was = settings()
    fast = precision == "tf32" and device == "cuda"
    with float32_context(precision, device):
        inside = settings()
        assert torch.backends.cuda.matmul.allow_tf32 is fast
    assert (inside["products"], inside["convolutions"]) == (("high", True) if fast else ("highest", False))
    assert {inside[name] for name in NEW if name != "everything"} == {"tf32" if fast else "ieee"}
    assert settings() == was


@pytest.mark.parametrize("of", [float32_context, precision_context])
def test_an_error_inside_leaves_the_settings_as_they_were(of: Any) -> None:  # noqa: ANN401
    a_notebook_sets("old", "products", "high")
    was = settings()
    with pytest.raises(ZeroDivisionError), of("bf16-mixed", "cpu"):
        assert settings() != was
        raise ZeroDivisionError
    assert settings() == was
    assert not torch.is_autocast_enabled("cpu")


def test_they_can_be_nested() -> None:
    with float32_context("tf32", "cuda"):
        outer = settings()
        with float32_context("32", "cuda"):
            assert settings() != outer
        assert settings() == outer


@pytest.mark.parametrize("precision", ["32", "tf32", "bf16-mixed"])
def test_autocast_is_on_for_mixed_precision_alone(precision: Precision) -> None:
    with precision_context(precision, "cpu"):
        assert torch.is_autocast_enabled("cpu") is (precision in AUTOCAST)
        product_of = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product_of.dtype == AUTOCAST.get(precision, torch.float32)


def test_a_word_is_one_of_four_or_explained() -> None:
    assert get_args(Precision) == PRECISIONS == ("32", "tf32", "16-mixed", "bf16-mixed")
    assert all(precision_problems(precision, "cuda") == precision_problems(precision) == [] for precision in PRECISIONS)
    assert precision_problems("64", key="trainer.precision") == [
        "trainer.precision is '64'; it accepts one of 32, tf32, 16-mixed, bf16-mixed."
    ]


@pytest.mark.parametrize(("precision", "sentence"), [("16-mixed", "is for GPUs"), ("64", "it accepts one of")])
def test_what_cannot_be_used_changes_nothing(precision: Any, sentence: str) -> None:  # noqa: ANN401
    was = settings()
    with pytest.raises(InputError, match=sentence), precision_context(precision, torch.device("cpu")):
        pytest.fail("it was accepted")
    assert settings() == was


def test_weights_cast_for_a_prediction_do_not_reach_a_training_around_it() -> None:
    layer = torch.nn.Linear(3, 2)
    with torch.autocast("cpu", torch.bfloat16):
        with torch.inference_mode(), precision_context("bf16-mixed", "cpu"):
            layer(torch.ones(1, 3))
        layer(torch.ones(1, 3)).sum().backward()
    assert layer.weight.grad is not None


def narrow(name: str) -> MaskRCNN:
    """Build a model of conf/model with a backbone of four thin blocks."""
    widths = ["roi.fc_dim=32"] * (not name.endswith("c4")) + ["fpn_channels=16"] * ("fpn" in name)
    with initialize_config_dir(str(FOLDER), version_base="1.3"):
        config = ModelConfig.from_dict(OmegaConf.to_container(compose(name, [*SMALL, *widths]), resolve=True))
    torch.manual_seed(0)
    return build(config, 1, backbone=thin(RESNETS[config.backbone]))


def thin(spec: ResNetSpec) -> ResNetSpec:
    groups = min(spec.groups, 2)
    return replace(
        spec,
        depths=(1, 1, 1, 1),
        stem_channels=8,
        groups=groups,
        width_per_group=8 // groups,
        res2_channels=8 if spec.basic else 16,
    )


def logits(network: MaskRCNN) -> tuple[Tensor, Tensor]:
    """Return the mask logits and class logits of the same RoIs."""
    heads, features = network.roi_heads, network.backbone(network.transform([image()])[0].tensors)
    masks = heads.mask_predictor(heads._mask_features(features, [ROIS]))
    classes, _ = heads.box_predictor(heads._box_features(features, [ROIS]))
    return masks, classes


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found.float() - expected).norm() / expected.norm())


@pytest.mark.parametrize("name", NAMES)
def test_every_model_trains_in_bfloat16_with_nearly_the_same_losses(name: str) -> None:
    network = narrow(name).train()
    expected = network([image()], [target(9)])
    with precision_context("bf16-mixed", "cpu"):
        losses = network([image()], [target(9)])
    for loss in expected:
        assert losses[loss].dtype == torch.float32
        assert losses[loss].item() == pytest.approx(expected[loss].item(), rel=0.02)
    assert any(losses[loss] != expected[loss] for loss in expected), "it was cast"
    torch.stack(list(losses.values())).sum().backward()
    for parameter in network.parameters():
        assert parameter.dtype == torch.float32
        if parameter.requires_grad:
            assert parameter.grad is not None
            assert parameter.grad.dtype == torch.float32
            assert parameter.grad.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_every_model_predicts_float32_in_bfloat16_with_nearly_the_same_logits(name: str) -> None:
    network = narrow(name).eval()
    expected = logits(network)
    with precision_context("bf16-mixed", "cpu"):
        found = logits(network)
        prediction = network([image()])[0]
    assert {values.dtype for values in found} == {torch.bfloat16}
    assert all(relative(*pair) < 0.05 for pair in zip(found, expected, strict=True))
    assert len(prediction) > 0
    assert {getattr(prediction, part).dtype for part in ("boxes", "scores", "masks")} == {torch.float32}


@pytest.mark.parametrize("family", ["fpn", "dc5", "c4"])
@pytest.mark.parametrize("precision", ["32", "tf32"])
def test_on_a_cpu_float32_is_what_it_is_without_us_to_the_bit(family: str, precision: Precision) -> None:
    def everything(context: AbstractContextManager[object] | None = None) -> list[Tensor]:
        network = small_network(family, detection=DetectionConfig(score_threshold=0.0)).train()
        if context is None:
            return steps(network)
        with context:
            return steps(network)

    def steps(network: MaskRCNN) -> list[Tensor]:
        losses = list(network([image()], [target(9)]).values())
        torch.stack(losses).sum().backward()
        with torch.inference_mode():
            found = network.eval()([image()])[0]
        gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
        return [*losses, *gradients, found.boxes, found.scores, found.masks]

    without, within = everything(), everything(precision_context(precision, "cpu"))
    assert len(without) == len(within) > 20
    assert all(torch.equal(one, other) for one, other in zip(without, within, strict=True))
