"""Sentences of typed settings: values, unknown and missing keys, contradictions, all in one pass."""

import pickle
from collections.abc import Iterator
from typing import Annotated, Literal

import pytest
from pydantic import Field

from nucleiseg.errors import InputError
from nucleiseg.settings import AsTuple, Settings, settings, suggestion


@settings
class Inner(Settings):
    low: Annotated[int, Field(ge=1, le=9)] = 1
    high: int = 5

    def contradictions(self, at: str) -> Iterator[str]:
        if self.low > self.high:
            yield f"{at}low={self.low} is above {at}high={self.high}."


@settings
class Outer(Settings):
    name: str
    rate: Annotated[float, Field(gt=0)] = 0.1
    pair: Annotated[tuple[float, float], AsTuple] = (0.0, 1.0)
    kind: Literal["a", "b"] | None = None
    inner: Inner = Inner()


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"rate": -1}, "rate is -1; it accepts a number above 0."),
        ({"rate": "1"}, "rate is '1'; it accepts a number above 0."),
        ({"rate": True}, "rate is true; it accepts a number above 0."),
        ({"rate": float("nan")}, "rate is nan; it accepts a number above 0."),
        ({"rate": float("inf")}, "rate is inf; it accepts a number above 0."),
        ({"pair": [1]}, "pair is [1]; it accepts a list of 2 values, each a number."),
        ({"pair": [1, "2"]}, "pair is [1, '2']; it accepts a list of 2 values, each a number."),
        ({"kind": "c"}, "kind is 'c'; it accepts one of a, b, or null."),
        ({"inner": None}, "inner is null; it accepts the keys low, high."),
        ({"inner": {"low": 10}}, "inner.low is 10; it accepts a whole number from 1 to 9."),
        ({"inner": {"low": 6}}, "inner.low=6 is above inner.high=5."),
        ({"inner": {"hihg": 6}}, "inner.hihg is not a key of inner; did you mean inner.high?"),
        ({"low": 6}, "low is not a key; did you mean inner.low?"),
    ],
)
def test_a_problem_is_one_sentence(values: dict, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        Outer.from_dict({"name": "n", **values}, "")
    assert caught.value.problems == [sentence]


def test_all_problems_come_together_and_missing_keys_are_named() -> None:
    with pytest.raises(InputError) as caught:
        Outer.from_dict({"rate": 0, "inner": {"low": 0}}, "run", complete=True)
    assert {problem.split()[0] for problem in caught.value.problems} == {
        *("run.name", "run.rate", "run.pair", "run.kind", "run.inner.low", "run.inner.high")
    }


def test_a_constructor_names_the_class() -> None:
    with pytest.raises(InputError, match=r"^Outer\.rate is 0; it accepts a number above 0\.$"):
        Outer(name="n", rate=0)


def test_settings_are_values() -> None:
    built = Outer.from_dict({"name": "n", "rate": 1, "pair": [0, 2]})
    assert built == Outer(name="n", rate=1.0, pair=(0.0, 2.0))
    assert pickle.loads(pickle.dumps(built)) == built
    assert Outer.from_dict(built.to_dict()) == built
    assert len({built, Outer.from_dict(built.to_dict())}) == 1


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("optim.leraning", "its keys are lr, momentum."),
        ("optim.momentm", "did you mean optim.momentum?"),
        ("optim.max_steps", "did you mean trainer.max_steps?"),
        ("optm", "did you mean optim?"),
    ],
)
def test_the_closest_key_is_suggested(key: str, words: str) -> None:
    known = ["optim", "optim.lr", "optim.momentum", "trainer", "trainer.max_steps"]
    assert suggestion(key, known) == words
