"""How often a training step makes the host wait for the device, counted on the CPU by what is asked for."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import make_data, narrow_mask_rcnn, train_tiny
from torch import Tensor
from torch._subclasses.fake_tensor import DynamicOutputShapeException, FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.ops import nms

from nucleiseg.models import roi_heads, rpn
from nucleiseg.models.mask_rcnn import MaskRCNN
from nucleiseg.models.matching import match_densely
from nucleiseg.models.nms import apart
from nucleiseg.structures import Target

READING_OPERATORS = {
    "_local_scalar_dense",  # item(), float(), bool()
    "equal",
    "lift_fresh",  # torch.tensor(...) on a device: a copy that is waited for
    "masked_select",
    "nms",
    "nonzero",
    "repeat_interleave",  # without output_size; with it, it has another name
    "unique_dim",
    "_unique2",
}
"""Operators whose result, or its size, the host has to know before it goes on."""


class OnHost(Tensor):
    """What has been copied to the host, and what is computed from it: it may be asked for anything."""


class Operators(TorchDispatchMode):
    """Counts the operators that read."""

    def __init__(self, found: Counter[str]) -> None:
        super().__init__()
        self.found = found

    def __torch_dispatch__(self, function: Any, _: object, arguments: tuple = (), keywords: dict | None = None) -> Any:  # noqa: ANN401
        name = function._schema.name.split("::")[1]
        indices = arguments[1] if name in ("index", "index_put", "index_put_") else ()
        if any(index is not None and index.dtype == torch.bool for index in indices):
            name = "nonzero"
        if name in READING_OPERATORS and not any(isinstance(argument, OnHost) for argument in arguments):
            self.found[name] += 1
        return function(*arguments, **(keywords or {}))


class Copies(TorchFunctionMode):
    """Counts the copies to the host, which are no operators where everything lies there already."""

    def __init__(self, found: Counter[str]) -> None:
        super().__init__()
        self.found = found

    def __torch_function__(self, function: Any, _: object, arguments: tuple = (), keywords: dict | None = None) -> Any:  # noqa: ANN401
        result = function(*arguments, **(keywords or {}))
        if function is Tensor.to:  # sent back to the device
            return result.as_subclass(Tensor) if isinstance(result, OnHost) else result
        if function in COPIES and not isinstance(arguments[0], OnHost):
            self.found[function.__name__] += 1
        return result.as_subclass(OnHost) if function is Tensor.cpu else result


COPIES = {Tensor.cpu, Tensor.tolist, Tensor.numpy}
"""Methods that copy to the host."""


def reads_of(work: Callable[[], object]) -> dict[str, int]:
    """Do the work, and return what it asked of the device, by name."""
    found: Counter[str] = Counter()
    with Copies(found), Operators(found):
        work()
    return dict(found)


@pytest.fixture(scope="module")
def network() -> MaskRCNN:
    return narrow_mask_rcnn().train()


@pytest.fixture(scope="module")
def batch(network: MaskRCNN) -> tuple[list[Tensor], list[Target]]:
    data = make_data(1)
    data.setup()
    data.prepare_batch = network.anchor_sampler()
    return next(iter(data.train_dataloader()))


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch, network: MaskRCNN) -> None:
    """What the network does on a GPU: dense matching, one suppression, no gathering of RoIs."""
    monkeypatch.setattr(roi_heads, "match_boxes", match_densely)
    monkeypatch.setattr(
        rpn, "best_of_each", lambda boxes, scores, groups, iou, limit: nms(apart(boxes, groups), scores, iou)[:limit]
    )
    for pool in (network.roi_heads.box_roi_pool, network.roi_heads.mask_roi_pool):
        monkeypatch.setattr(pool, "operation", "pool")  # torchvision's operator, as its RoIAlign there


def test_reads_are_seen() -> None:
    values = torch.arange(4.0)
    found = reads_of(lambda: [values[values > 1], values.nonzero(), float(values[0]), values.tolist()])
    assert found == {"nonzero": 2, "_local_scalar_dense": 1, "tolist": 1}
    assert reads_of(lambda: (values.cpu() > 1).nonzero().tolist()) == {"cpu": 1}
    assert reads_of(lambda: (values.cpu() > 1).to("cpu").nonzero()) == {"cpu": 1, "nonzero": 1}
    assert reads_of(lambda: values[torch.arange(2)] + 1) == {}
    assert reads_of(lambda: values * torch.tensor(0.5)) == {"lift_fresh": 1}


def losses_of_rpn(network: MaskRCNN, images: list[Tensor], targets: list[Target]) -> dict[str, Tensor]:
    pixels, _ = network.transform(images)
    maps = list(network.backbone(pixels.tensors).values())
    height, width = pixels.tensors.shape[-2:]
    grid = network.rpn.anchor_generator.grid((height, width), maps)
    anchors, (logits, deltas) = grid.boxes(), network.rpn.predict(maps)
    return network.rpn.losses(grid, anchors, logits, deltas, targets)


def test_the_rpn_learns_without_a_read(network: MaskRCNN, batch: tuple[list[Tensor], list[Target]]) -> None:
    assert reads_of(lambda: sum(losses_of_rpn(network, *batch).values()).backward()) == {}  # type: ignore[union-attr]


def test_the_rpn_learns_on_a_device_that_cannot_be_read() -> None:
    """A fake GPU has shapes without numbers: what depends on a number raises."""
    data, own = make_data(1), narrow_mask_rcnn().train()
    data.setup()
    images, plain = next(iter(data.train_dataloader()))
    targets = own.anchor_sampler()(images, plain)
    with FakeTensorMode(allow_non_fake_inputs=True) as fake:

        def to_gpu(tensor: Tensor) -> Tensor:
            return fake.from_tensor(tensor).to("cuda")

        own._apply(to_gpu)
        pixels = [to_gpu(image) for image in images]
        losses = losses_of_rpn(own, pixels, [target._map(to_gpu) for target in targets])
        assert {loss.device.type for loss in losses.values()} == {"cuda"}
        with pytest.raises((DynamicOutputShapeException, RuntimeError)):
            losses_of_rpn(own, pixels, [target._map(to_gpu) for target in plain])


@pytest.mark.usefixtures("as_on_a_gpu")
def test_the_reads_of_a_step(network: MaskRCNN, batch: tuple[list[Tensor], list[Target]]) -> None:
    """Six for one image: what is wanted is known only from numbers that the network has computed."""
    assert reads_of(lambda: torch.stack(list(network(*batch).values())).sum().backward()) == {
        "tolist": 1  # how many proposals are finite, and how many large enough, in all images
        + 2,  # how many RoIs belong to each feature map: pooled for boxes, pooled for masks
        "nms": 2,  # in each of two images: how many proposals survive
        "cpu": 2  # in each: labels of the RoIs, to draw from
        + 2,  # in each: samples in the bins of each RoI's mask
    }


def test_the_loop_reads_when_it_logs_and_not_in_between(tmp_path: Path) -> None:
    def count(steps: int, log_every: int) -> int:
        folder = tmp_path / f"{steps}_{log_every}"
        reads = reads_of(lambda: train_tiny(folder, steps, every=1000, val="none", log_every=log_every))
        reads.pop("lift_fresh", None)  # the loader's constants stay on the host
        return sum(reads.values())

    once = count(3, log_every=1000)  # at the end, for the checkpoint
    assert count(9, log_every=1000) == once
    assert count(9, log_every=3) > once
