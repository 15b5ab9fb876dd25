"""The loop's own parts: what is decayed, what is summed, what is drawn."""

import pytest
import torch
from tiny import LOSSES, TinyNetwork, make_data
from torch import nn

from nucleiseg.models.checkpoint import Metadata
from nucleiseg.training.module import NucleiModule
from nucleiseg.training.optimizers import parameter_groups
from nucleiseg.training.settings import OptimSettings


def make_module(**optim: object) -> NucleiModule:
    return NucleiModule(TinyNetwork(), Metadata(model={}), OptimSettings(**optim), 100)


def test_norms_are_not_decayed_and_frozen_parameters_are_left_out() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4), nn.Conv2d(4, 2, 1), nn.LayerNorm(2))
    network[0].bias.requires_grad_(False)
    decayed, norms = parameter_groups(network, 0.1, 0.0)
    assert (decayed["weight_decay"], norms["weight_decay"]) == (0.1, 0.0)
    assert list(map(id, decayed["params"])) == list(map(id, [network[0].weight, *network[2].parameters()]))
    assert list(map(id, norms["params"])) == list(map(id, [*network[1].parameters(), *network[3].parameters()]))


def test_there_is_no_empty_group() -> None:
    assert len(parameter_groups(nn.Linear(2, 2), 0.1, 0.0)) == 1


def test_a_step_returns_the_sum_and_its_parts() -> None:
    data = make_data(1)
    data.setup()
    output = make_module().training_step(next(iter(data.train_dataloader())), 0)
    assert output["loss"].requires_grad
    assert not output["losses"].requires_grad
    assert output["losses"].shape == (1 + len(LOSSES),)
    assert torch.equal(output["losses"][0], output["loss"])
    assert float(output["losses"][0]) == pytest.approx(float(output["losses"][1:].sum()))


ADAMW = {"target": "torch.optim.AdamW", "arguments": {"betas": (0.9, 0.98)}}


@pytest.mark.parametrize(
    ("optim", "kind", "expected"),
    [
        ({}, torch.optim.SGD, {"momentum": 0.9, "weight_decay": 1e-4, "nesterov": False}),
        (ADAMW, torch.optim.AdamW, {"betas": (0.9, 0.98), "weight_decay": 1e-4}),
    ],
)
def test_optimizers(optim: dict[str, object], kind: type, expected: dict[str, object]) -> None:
    configured = make_module(lr=0.5, **optim).configure_optimizers()
    optimizer = configured["optimizer"]
    assert type(optimizer) is kind
    assert {key: optimizer.param_groups[0][key] for key in expected} == expected
    assert optimizer.param_groups[1]["weight_decay"] == 0
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.5 * 1e-4)  # the warm-up's first step
    assert configured["lr_scheduler"]["interval"] == "step"
    assert optimizer.param_groups[0]["fused"] is True


def test_without_a_schedule_the_rate_stays() -> None:
    optimizer = make_module(lr=0.5, schedule=None).configure_optimizers()
    assert optimizer.param_groups[0]["lr"] == 0.5


@pytest.mark.parametrize("optim", [{}, ADAMW], ids=["sgd", "adamw"])
def test_the_fused_optimizer_takes_the_same_steps(optim: dict[str, object]) -> None:
    weights = []
    for fused in (True, False):
        module = make_module(lr=0.5, **optim)
        module.fused = fused
        optimizer = module.configure_optimizers()["optimizer"]
        assert optimizer.param_groups[0]["fused"] is (True if fused else None)
        for step in range(3):
            for number, parameter in enumerate(module.network.parameters()):
                parameter.grad = torch.full_like(parameter, 0.1 * (step + 1) * (-1) ** number)
            optimizer.step()
        weights.append([parameter.detach() for parameter in module.network.parameters()])
    for one, other in zip(*weights, strict=True):
        torch.testing.assert_close(one, other)
