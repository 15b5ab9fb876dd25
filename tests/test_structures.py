"""The containers: their invariants, moving between devices, rescaling."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nucleiseg.structures import AnchorSample, Prediction, Sample, Target


def prediction(boxes: list[list[float]], size: tuple[int, int]) -> Prediction:
    count = len(boxes)
    return Prediction(
        boxes=torch.tensor(boxes, dtype=torch.float32).reshape(count, 4),
        scores=torch.linspace(0.9, 0.1, count),
        labels=torch.ones(count, dtype=torch.int64),
        masks=torch.arange(count, dtype=torch.float32).reshape(count, 1, 1).expand(count, 2, 2),
        size=size,
    )


def target() -> Target:
    layers = torch.zeros(2, 4, 5, dtype=torch.int32)
    layers[0, 1:3, 1:3] = 1
    layers[1, 2:4, 2:5] = 7
    return Target(
        boxes=torch.tensor([[1.0, 1, 3, 3], [2, 2, 5, 4]]),
        labels=torch.tensor([1, 2]),
        layers=layers,
        layer_index=torch.tensor([0, 1]),
        values=torch.tensor([1, 7]),
        name="a",
        scale=1.5,
        seed=3,
    )


@pytest.mark.parametrize(
    ("image", "layers", "labels"),
    [
        (np.zeros((4, 4), np.uint8), np.zeros((1, 4, 4), np.uint16), 0),
        (np.zeros((4, 4, 3), np.float32), np.zeros((1, 4, 4), np.uint16), 0),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((1, 4, 5), np.uint16), 0),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((1, 4, 4), np.uint16), 1),
    ],
)
def test_a_sample_refuses_parts_that_do_not_fit(image: np.ndarray, layers: np.ndarray, labels: int) -> None:
    with pytest.raises(ValueError, match="thing"):
        Sample("thing", image, layers, np.zeros(0, np.int64), np.ones(labels, np.int64))


def test_containers_of_unequal_lengths_are_refused() -> None:
    parts = target()
    with pytest.raises(ValueError, match="differ in length"):
        Target(parts.boxes[:1], parts.labels, parts.layers, parts.layer_index, parts.values)
    with pytest.raises(ValueError, match="differ in length"):
        Prediction(torch.zeros(1, 4), torch.zeros(2), torch.zeros(1), torch.zeros(1, 2, 2), (4, 4))


def test_a_target_moves_whole_and_shows_its_masks() -> None:
    moved = target().to("meta")
    assert {moved.boxes.device.type, moved.layers.device.type, moved.values.device.type} == {"meta"}
    assert (moved.name, moved.scale, moved.seed, len(moved)) == ("a", 1.5, 3, 2)
    assert target().mask(0).sum() == 4
    assert target().mask(1).sum() == 6


def test_anchors_move_with_their_target() -> None:
    index = torch.tensor([3, 4])
    sample = AnchorSample(index, index + 1, index - 3, "drawn from this")
    moved = replace(target(), anchors=sample).to("meta").anchors
    assert moved is not None
    assert {part.device.type for part in (moved.positive, moved.negative, moved.gt)} == {"meta"}
    assert moved.origin == "drawn from this"
    assert target().to("meta").anchors is None


def test_pinning_reaches_every_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor + 1)
    sample = AnchorSample(*torch.zeros(3, 1, dtype=torch.int64), None)
    pinned = replace(target(), anchors=sample).pin_memory()
    assert torch.equal(pinned.boxes, target().boxes + 1)
    assert torch.equal(pinned.layers, target().layers + 1)
    assert pinned.anchors is not None
    assert int(pinned.anchors.gt) == 1
    assert pinned.seed == 3


def test_rescaling_scales_each_axis_clips_and_drops_what_vanishes() -> None:
    found = prediction([[1, 2, 3, 4], [-5, -5, 0, 3], [8, 0, 20, 10]], (10, 10)).rescaled((20, 5))
    assert found.size == (20, 5)
    assert found.boxes.tolist() == [[0.5, 4, 1.5, 8], [4, 0, 5, 20]]
    assert found.masks[:, 0, 0].tolist() == [0, 2]
    assert found.scores.tolist() == pytest.approx([0.9, 0.1])


@given(
    st.lists(st.tuples(*[st.floats(0, 50) for _ in range(2)], *[st.floats(1, 49) for _ in range(2)]), max_size=5),
    st.tuples(st.integers(1, 300), st.integers(1, 300)),
)
def test_rescaling_there_and_back_is_the_identity(boxes: list[tuple[float, ...]], size: tuple[int, int]) -> None:
    before = prediction([[x, y, x + w, y + h] for x, y, w, h in boxes], (100, 100))
    after = before.rescaled(size).rescaled((100, 100))
    assert torch.allclose(after.boxes, before.boxes, atol=1e-3)


def test_choosing_keeps_the_rows_together() -> None:
    found = prediction([[0, 0, 1, 1], [1, 1, 2, 2], [2, 2, 3, 3]], (4, 4))
    chosen = found[torch.tensor([2, 0])]
    assert chosen.boxes[:, 0].tolist() == [2, 0]
    assert chosen.masks[:, 0, 0].tolist() == [2, 0]
    assert len(found[found.scores > 0.45]) == 2
    assert found.to("meta").masks.device.type == "meta"


def test_a_prediction_keeps_its_rule_of_pasting() -> None:
    found = replace(prediction([[1, 2, 3, 4], [2, 2, 5, 5]], (10, 10)), pasting="torchvision")
    kept = [found[:1], found.to("cpu"), found.rescaled((20, 5))]
    assert [other.pasting for other in kept] == ["torchvision"] * 3
