"""Learning rates worked out by hand, and what any schedule must keep."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nucleiseg.errors import InputError
from nucleiseg.training.schedule import Cosine, Multistep, WarmupCosine, WarmupMultistep

RECIPE = [  # step of 2400 -> learning rate of the study, worked out by hand with base 0.01
    (0, 0.000001),
    (36, 0.0050005),  # half-way between 1e-6 and 0.01
    (71, 0.000001 + (0.01 - 0.000001) * 71 / 72),
    (72, 0.01),
    (479, 0.01),
    (480, 0.001),
    (1199, 0.001),
    (1200, 0.0001),
    (1919, 0.0001),
    (1920, 0.00001),
    (2159, 0.00001),
    (2160, 0.000001),
    (2399, 0.000001),
]


@pytest.mark.parametrize(("step", "rate"), RECIPE)
def test_the_recipe_in_2400_steps(step: int, rate: float) -> None:
    assert 0.01 * Multistep(total_steps=2400)(step) == pytest.approx(rate, rel=1e-12)


@pytest.mark.parametrize(("step", "rate"), [(0, 0.000001), (3, 0.01), (19, 0.01), (20, 0.001), (99, 0.000001)])
def test_a_shorter_run_is_a_whole_one(step: int, rate: float) -> None:
    assert 0.01 * Multistep(total_steps=100)(step) == pytest.approx(rate, rel=1e-12)


def test_warmup_ends_at_the_factor_of_the_milestones() -> None:
    factors = [Multistep(total_steps=100, warmup=0.4, milestones=(0.2,))(step) for step in range(60)]
    assert factors[40:] == [0.1] * 20
    assert factors[20] == pytest.approx((1e-4 + 0.1) / 2)
    assert max(factors) == 0.1


def test_cosine_at_its_known_points() -> None:
    assert Cosine(total_steps=1100, warmup=1 / 11)(0) == 1e-4
    assert Cosine(total_steps=1100, warmup=1 / 11)(100) == 1.0
    assert Cosine(total_steps=1100, warmup=1 / 11)(600) == pytest.approx(0.5)
    assert Cosine(total_steps=1100, warmup=1 / 11)(100 + 250) == pytest.approx((1 + math.sqrt(0.5)) / 2)
    assert Cosine(total_steps=1100, final_factor=0.01)(1100) == pytest.approx(0.01)
    assert Cosine(total_steps=1100, final_factor=0.01)(5000) == pytest.approx(0.01)


@given(st.integers(1, 3000), st.floats(0, 0.99), st.sampled_from([Multistep, Cosine]))
def test_factors_rise_in_the_warmup_and_never_after(total: int, warmup: float, kind: type[Multistep | Cosine]) -> None:
    schedule = kind(total_steps=total, warmup=warmup)
    steps = range(0, total + 1, max(1, total // 50))
    factors = [schedule(step) for step in steps]
    top = sum(step <= round(warmup * total) for step in steps)
    assert all(0 <= factor <= 1 for factor in factors)
    assert sorted(factors[:top]) == factors[:top]
    assert sorted(factors[top:], reverse=True) == factors[top:]


@pytest.mark.parametrize("kind", [WarmupMultistep, WarmupCosine])
def test_a_resumed_schedule_keeps_its_length(kind: type[WarmupMultistep | WarmupCosine]) -> None:
    def scheduler(total: int) -> WarmupMultistep | WarmupCosine:
        return kind(torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0), total_steps=total, warmup=0)

    longer = scheduler(1000)
    longer.load_state_dict(scheduler(10).state_dict())
    for _ in range(5):
        longer.optimizer.step()
        longer.step()
    assert longer.get_last_lr() == [pytest.approx(0.01 if kind is WarmupMultistep else 0.5)]


@pytest.mark.parametrize(
    "shape",
    [
        *({"gamma": 0}, {"gamma": 10}, {"warmup_factor": 2}, {"warmup": 72}, {"milestones": [480, 1200]}),
        *({"milestones": [0.5] * 101}, {"total_steps": 0}, {"total_steps": 10**12}),
    ],
)
def test_extreme_shapes_are_refused(shape: dict[str, object]) -> None:
    (name,) = shape
    with pytest.raises(InputError, match=rf"^Multistep\.{name} is .*; it accepts "):
        Multistep(**{"total_steps": 10, **shape})  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"^Cosine\.final_factor is -0\.1; it accepts "):
        Cosine(total_steps=10, final_factor=-0.1)
