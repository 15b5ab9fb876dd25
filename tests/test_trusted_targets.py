"""Objects named by `_target_`: which classes may be made, and that nothing else is imported or called."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LRScheduler, SequentialLR

from nucleiseg.errors import InputError
from nucleiseg.trusted_targets import check_targets, instantiate

FOREIGN = """
from pathlib import Path
from torch import nn
Path(__file__).with_name("imported").touch()

class Layer(nn.Linear):
    pass

def make(**arguments):
    Path(__file__).with_name("called").touch()
    return nn.Identity()
"""


@pytest.fixture
def foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module outside the list, which leaves a file when it is imported, and another when its function is called."""
    (tmp_path / "foreign_layers.py").write_text(FOREIGN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "foreign_layers", raising=False)
    return tmp_path


def refusal(mapping: Any, expected: type = nn.Module, **options: Any) -> str:  # noqa: ANN401
    with pytest.raises(InputError) as caught:
        check_targets(mapping, expected, **{"from_file": True, "key": "place", **options})
    return str(caught.value)


def test_a_class_is_made_with_its_arguments() -> None:
    made = instantiate(
        {"_target_": "torch.nn.Linear", "in_features": 3, "out_features": 2}, nn.Linear, from_file=True, key="place"
    )
    assert made.weight.shape == (2, 3)


def test_nested_targets_are_made_first_and_all_get_what_is_given() -> None:
    optimizer = SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    parts = [
        {"_target_": "torch.optim.lr_scheduler.ConstantLR", "factor": 0.5, "total_iters": 100},
        {"_target_": "torch.optim.lr_scheduler.ConstantLR", "factor": 0.25, "total_iters": 100},
    ]
    made = instantiate(
        {"_target_": "torch.optim.lr_scheduler.SequentialLR", "schedulers": parts, "milestones": [2]},
        LRScheduler,
        from_file=True,
        key="optim.schedule",
        given={"optimizer": optimizer},
    )
    assert isinstance(made, SequentialLR)
    rates = []
    for _ in range(4):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        made.step()
    assert rates == [0.5, 0.5, 0.25, 0.25]


@pytest.mark.parametrize(
    "target",
    [
        "torch.hub.load",
        "torch.load",
        "torch.nn.Module.load_state_dict",
        "torch.nn.modules.linear.Linear.__init__",
        "torch.nn.functional.relu",
        "torch.serialization.os.system",
        "torch.optim.SGD",
        "torch.nn",
        "pytorch_lightning.Trainer",
        "nucleiseg.trusted_targets.importlib",
    ],
)
def test_what_is_not_a_class_of_the_expected_kind_is_refused(target: str) -> None:
    assert f"place._target_ is '{target}'" in refusal({"_target_": target})
    assert f"place._target_ is '{target}'" in refusal({"_target_": target}, from_file=False)


@pytest.mark.parametrize(
    "target", ["hydra.utils.instantiate", "hydra.utils.get_class", "hydra._internal.utils.call", "os.system", "exec"]
)
def test_packages_outside_the_list_are_refused(target: str) -> None:
    assert f"place._target_ is '{target}'" in refusal({"_target_": target})


def test_a_hub_with_foreign_code_is_not_called(foreign: Path) -> None:
    """`torch.hub.load` with `source: local` runs `hubconf.py` of a folder."""
    (foreign / "hubconf.py").write_text("from foreign_layers import make")
    hub = {"_target_": "torch.hub.load", "repo_or_dir": str(foreign), "model": "make", "source": "local"}
    for mapping in (hub, {"_target_": "torch.nn.Sequential", "args": [hub]}):
        with pytest.raises(InputError, match=r"torch\.hub\.load"):
            instantiate(mapping, nn.Module, from_file=True, key="place")
    assert not (foreign / "imported").exists()


def test_a_foreign_class_needs_trust_and_is_not_imported_before(foreign: Path) -> None:
    mapping = {"_target_": "foreign_layers.Layer", "in_features": 1, "out_features": 1}
    assert "allow it with trust=[foreign_layers]" in refusal(mapping)
    assert "trust=[foreign_layers]" in refusal({"_target_": "torch.nn.Sequential", "deeply": {"nested": [mapping]}})
    assert not (foreign / "imported").exists()
    assert type(instantiate(mapping, nn.Module, from_file=False, key="place")).__name__ == "Layer"
    trusted = instantiate(mapping, nn.Module, from_file=True, trusted=["foreign_layers"], key="place")
    assert type(trusted).__name__ == "Layer"


def test_one_refused_target_keeps_the_trusted_ones_from_being_imported(foreign: Path) -> None:
    own = {"_target_": "foreign_layers.Layer"}
    refusal({"_target_": "torch.nn.Sequential", "a": own, "b": {"_target_": "os.system"}}, trusted=["foreign_layers"])
    assert not (foreign / "imported").exists()


@pytest.mark.parametrize("from_file", [True, False])
def test_functions_are_refused_even_of_trusted_packages(foreign: Path, from_file: bool) -> None:
    for more in ({}, {"_partial_": True}):
        text = refusal({"_target_": "foreign_layers.make", **more}, trusted=["foreign_layers"], from_file=from_file)
        assert "foreign_layers.make" in text or "_partial_ is true" in text
    assert not (foreign / "called").exists()


def test_a_foreign_class_under_a_listed_name_is_refused(foreign: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import foreign_layers

    monkeypatch.setattr(torch.nn, "Layer", foreign_layers.Layer, raising=False)
    assert "comes from foreign_layers" in refusal({"_target_": "torch.nn.Layer"})


@pytest.mark.parametrize("mapping", [None, "torch.nn.Linear", ["torch.nn.Linear"], {"in_features": 3}])
def test_a_place_without_a_target_is_refused(mapping: object) -> None:
    assert "it accepts _target_ (package.module.Class)" in refusal(mapping)


@pytest.mark.parametrize("target", [None, 3, "", "Linear", "torch..Linear", "torch.nn.", "torch.__main__.Linear"])
def test_a_target_that_is_not_a_name_is_refused(target: object) -> None:
    assert "it accepts a class by its public name" in refusal({"_target_": target})


def test_a_missing_module_class_or_argument_is_a_sentence() -> None:
    assert "cannot be imported" in refusal({"_target_": "torch.nowhere.Linear"})
    assert "has no attribute 'Lineal'" in refusal({"_target_": "torch.nn.Lineal"})
    with pytest.raises(InputError, match=r"place: torch\.nn\.Linear cannot be made .*missing"):
        instantiate({"_target_": "torch.nn.Linear"}, nn.Module, from_file=True, key="place")


def test_both_names_of_lightning_are_one() -> None:
    from pytorch_lightning import Callback
    from pytorch_lightning.callbacks import LearningRateMonitor

    target = {"_target_": "lightning.pytorch.callbacks.LearningRateMonitor"}
    assert type(instantiate(target, Callback, from_file=True, key="place")) is LearningRateMonitor


def test_every_problem_is_named_at_once() -> None:
    text = refusal(
        {"_target_": "os.system", "inner": [{"_target_": "torch.nn.Linear"}, {"_target_": "a.B"}]}, Optimizer
    )
    assert "place._target_" in text
    assert "place.inner[1]._target_" in text
