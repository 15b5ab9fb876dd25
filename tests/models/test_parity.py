"""Whole networks against detectron2, from the picture to masks, losses and gradients, for five narrow networks.

The tolerances are those that `tests/golden` gives: several times what another convolution routine changes in
detectron2's own results. Rows are aligned by box, since near-equal scores may change places.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden_weights import FAMILIES, GoldenFamily
from PIL import Image
from pycocotools import mask as coco
from torch import Tensor, nn

from nucleiseg.inference.box_masks import to_rle
from nucleiseg.models.mask_rcnn import MaskRCNN
from nucleiseg.models.mask_targets import mask_targets
from nucleiseg.models.weights.names import detectron2_name
from nucleiseg.structures import Prediction, Target
from nucleiseg.transforms.geometry import resize_image, resized_shape


@dataclasses.dataclass
class Run:
    """A network with golden weights, and what its modules returned in one prediction and one training step."""

    family: GoldenFamily
    network: MaskRCNN
    stages: dict[str, Any]
    prediction: Prediction
    losses: dict[str, Tensor]

    def golden(self, name: str) -> Tensor:
        return torch.from_numpy(self.family.arrays[name])


@pytest.fixture(scope="module", params=FAMILIES)
def run(request: pytest.FixtureRequest, golden: Path) -> Run:
    family = GoldenFamily.load(golden, request.param)
    network = family.network()
    stages: dict[str, Any] = {}
    parts = {
        "backbone": network.backbone,
        "rpn_head": network.rpn.head,
        "proposals": network.rpn,
        "box": network.roi_heads.box_predictor,
    }

    def keep(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_: nn.Module, __: Any, output: Any) -> None:  # noqa: ANN401
            stages.setdefault(name, output)  # C4's pool is called again, for the masks

        return hook

    hooks = [module.register_forward_hook(keep(name)) for name, module in parts.items()]
    with torch.no_grad():
        prediction = network.eval()([family.image()])[0]
    for hook in hooks:
        hook.remove()
    losses = network.train()([family.image()], [target_of(family)])
    return Run(family, network, stages, prediction, losses)


def target_of(family: GoldenFamily) -> Target:
    """The golden instances, each on a plane of its own: they overlap."""
    masks = np.stack([coco.decode(rle) for rle in family.scalars["gt_masks_rle"]])
    return Target(
        boxes=torch.from_numpy(family.arrays["gt_boxes"]),
        labels=torch.from_numpy(family.arrays["gt_classes"]) + 1,
        layers=torch.from_numpy(masks).int(),
        layer_index=torch.arange(len(masks)),
        values=torch.ones(len(masks), dtype=torch.int64),
        seed=0,
    )


def aligned(found: Tensor, expected: Tensor, tolerance: float = 0.05) -> Tensor:
    """Return for each expected row the row of `found` that equals it; assert that they are the same set."""
    assert found.shape == expected.shape
    distance = (found[None].double() - expected[:, None].double()).abs().amax(dim=2)
    order = distance.argmin(dim=1)
    assert distance.amin(dim=1).max() < tolerance
    assert len(order.unique()) == len(expected)
    return order


def assert_near(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_features(run: Run) -> None:
    single = {"c4": "bottomup_res4", "dc5": "bottomup_res5"}.get(run.family.family)
    names = [single] if single else [f"fpn_p{level}" for level in range(2, 7)]
    for maps, name in zip(run.stages["backbone"].values(), names, strict=True):
        assert_near(maps[0], run.golden(name))


def test_region_proposal_head(run: Run) -> None:
    logits, deltas = run.stages["rpn_head"]
    for level in range(run.family.levels):
        assert_near(logits[level][0], run.golden(f"rpn_logits_{level}"))
        assert_near(deltas[level][0], run.golden(f"rpn_deltas_{level}"))


def proposals_of(run: Run) -> Tensor:
    return run.stages["proposals"][0][0]


def test_proposals(run: Run) -> None:
    aligned(proposals_of(run), run.golden("proposal_boxes"))


def test_pooled_features(run: Run) -> None:
    boxes = run.golden("proposal_boxes")[:3]
    assert_near(run.network.roi_heads.box_roi_pool(run.stages["backbone"], [boxes]), run.golden("roi_pooled_first"))


def test_box_head(run: Run) -> None:
    order = aligned(proposals_of(run), run.golden("proposal_boxes"))
    logits, deltas = run.stages["box"]
    assert_near(logits[order].roll(-1, dims=1), run.golden("box_logits"))  # detectron2's background is last
    assert_near(deltas[order], run.golden("box_deltas"))


def test_detections(run: Run) -> None:
    found, classes = run.prediction, run.golden("det_classes")
    # The classes take part in the comparison: one proposal may be detected as two classes.
    expected = torch.cat([run.golden("det_boxes_net"), classes[:, None] * 1000.0], dim=1)
    order = aligned(torch.cat([found.boxes, (found.labels[:, None] - 1) * 1000.0], dim=1), expected)
    assert torch.equal(found.labels[order] - 1, classes)
    torch.testing.assert_close(found.scores[order], run.golden("det_scores"), rtol=0, atol=2e-3)
    torch.testing.assert_close(found.masks[order], run.golden("det_mask_probs"), rtol=0, atol=0.01)
    assert (found.scores.diff() <= 0).all()
    assert found.size == (200, 240)


def test_detections_in_pixels_of_the_picture(run: Run) -> None:
    found = run.prediction.rescaled((160, 192))
    expected = torch.cat([run.golden("final_boxes"), run.golden("final_classes")[:, None] * 1000.0], dim=1)
    aligned(torch.cat([found.boxes, (found.labels[:, None] - 1) * 1000.0], dim=1), expected)


def test_masks_pasted_into_the_picture(run: Run) -> None:
    found = run.prediction.rescaled((160, 192))
    order = aligned(found.boxes, run.golden("final_boxes"))
    ours = coco.decode([to_rle(found)[index] for index in order])  # type: ignore[arg-type]
    assert (ours != coco.decode(run.family.scalars["masks_rle"])).sum() <= 50


def test_the_input_is_the_picture_resized(run: Run, golden: Path) -> None:
    with Image.open(golden / "input.png") as picture:
        resized = resize_image(np.array(picture.convert("RGB")), resized_shape(160, 192, 200, 1333))
    assert np.array_equal(resized.transpose(2, 0, 1), run.family.image().numpy())


def training_samples(run: Run) -> tuple[Tensor, Tensor, Tensor, Target]:
    """Sample RoIs from the golden proposals: boxes, labels and instances, sorted by box as the golden rows are."""
    target = target_of(run.family)
    samples = run.network.roi_heads.sample(run.golden("train_proposal_boxes"), target)
    order = aligned(samples.boxes, run.golden("train_sampled_boxes"), 1e-3)
    return samples.boxes[order], samples.labels[order], samples.instances[order], target


def test_training_rois_and_their_instances(run: Run) -> None:
    _, labels, instances, target = training_samples(run)
    background = run.family.num_classes
    expected = run.golden("train_sampled_classes")
    assert torch.equal(torch.where(labels == 0, background, labels - 1), expected)
    foreground = labels > 0
    assert torch.equal(target.boxes[instances[foreground]], run.golden("train_sampled_gt_boxes")[foreground])


def test_mask_targets(run: Run) -> None:
    boxes, labels, instances, target = training_samples(run)
    size = run.family.scalars["train"]["mask_target_size"]
    packed = run.family.arrays["train_mask_targets_packed"]
    expected = np.unpackbits(packed, axis=1)[:, : size * size].reshape(-1, size, size)
    foreground = labels > 0
    order = aligned(boxes[foreground], run.golden("train_mask_target_boxes"), 1e-3)
    found = mask_targets(target, boxes[foreground][order], instances[foreground][order], size)
    assert np.array_equal(found.numpy().astype(np.uint8), expected)


def test_losses(run: Run) -> None:
    expected = run.family.scalars["train"]["losses"]
    assert run.losses.keys() == expected.keys()
    for name, loss in run.losses.items():
        assert loss.item() == pytest.approx(expected[name], rel=5e-5), name


def test_gradients(run: Run) -> None:
    torch.stack(list(run.losses.values())).sum().backward()
    family = run.family.family
    parameters = {detectron2_name(name, family): value for name, value in run.network.named_parameters()}
    expected = run.family.scalars["train"]["grad_norm"]
    assert expected.keys() == parameters.keys()
    for name, norm in expected.items():
        gradient = parameters[name].grad
        if norm is None:
            assert gradient is None, f"{name} is frozen"
        else:
            assert gradient is not None
            assert gradient.norm().item() == pytest.approx(norm, rel=0.05, abs=1e-6), name
