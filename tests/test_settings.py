"""Sentences of typed settings: values, unknown and missing keys, contradictions, all in one pass."""

import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from nucleiseg.errors import InputError
from nucleiseg.setting_sentences import suggestion
from nucleiseg.settings import AsTuple, PathText, Settings, settings


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


@settings
class Nested(Settings):
    optional: Inner | None = None
    either: Inner | str = "text"
    several: Annotated[tuple[Inner, ...], AsTuple] = ()
    named: dict[str, Inner] = Field(default_factory=dict)
    numbers: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    free: dict[str, Any] | None = None


@settings
class Derived(Nested):
    path: PathText | None = None


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


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"optional": 3}, "optional is 3; it accepts the keys low, high, or null."),
        ({"optional": {"low": 10}}, "optional.low is 10; it accepts a whole number from 1 to 9."),
        ({"optional": {"low": 6}}, "optional.low=6 is above optional.high=5."),
        ({"optional": {"hihg": 6}}, "optional.hihg is not a key of optional; did you mean optional.high?"),
        ({"either": {"low": 10}}, "either.low is 10; it accepts a whole number from 1 to 9."),
        ({"either": 3}, "either is 3; it accepts the keys low, high or text."),
        ({"several": [{}, {"low": 10}]}, "several[1].low is 10; it accepts a whole number from 1 to 9."),
        ({"several": [{"lwo": 1}]}, "several[0].lwo is not a key of several[0]; did you mean several[0].low?"),
        ({"named": {"a": {"low": 6}}}, "named.a.low=6 is above named.a.high=5."),
        ({"named": {"a": {"lwo": 6}}}, "named.a.lwo is not a key of named.a; did you mean named.a.low?"),
        ({"numbers": {"a": 0}}, "numbers.a is 0; it accepts a number above 0."),
        ({"numbers": {1: 1.0}}, "numbers is {1: 1.0}; it accepts a group of keys, each a number above 0."),
        ({"free": 3}, "free is 3; it accepts a group of keys, or null."),
    ],
)
def test_groups_within_unions_lists_and_dicts_are_followed(values: dict, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        Derived.from_dict(values, "")
    assert caught.value.problems == [sentence]


def test_nested_groups_survive_a_round_trip() -> None:
    values = {"optional": {"low": 2}, "several": [{"low": 3}], "named": {"a": {"low": 4}}, "free": {"b": [1]}}
    built = Derived.from_dict(values)
    assert Derived.from_dict(built.to_dict()) == built
    assert replace(built, optional=None).several == (Inner(low=3),)


@pytest.mark.parametrize(
    ("given", "text"),
    [("a/b", "a/b"), (2024, "2024"), (Path("a"), "a"), ("~/a", str(Path.home() / "a")), ("~no", "~no")],
)
def test_a_path_is_text(given: object, text: str) -> None:
    assert Derived.from_dict({"path": given}).path == text


@pytest.mark.parametrize("given", [2024.1, True, "", ["a"]])
def test_what_yaml_may_have_misread_is_no_path(given: object) -> None:
    with pytest.raises(InputError, match=r"^path is .*; it accepts a path, in quotes where YAML"):
        Derived.from_dict({"path": given}, "")


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
