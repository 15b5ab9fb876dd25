"""Run the examples in the docstrings of every module of the package."""

import doctest
import importlib
import pkgutil
from io import StringIO

import pytest

import nucleiseg

MODULES = [
    module.name for module in pkgutil.walk_packages(nucleiseg.__path__, "nucleiseg.") if "__main__" not in module.name
]

TAUGHT = (
    *(
        "structures",
        "label_maps",
        "rle",
        "settings",
        "files",
        "data.layers",
        "data.sampler",
        "transforms.preprocessing",
    ),
    *("models.anchors", "models.nms", "evaluation.coco_ap", "evaluation.instance_metrics"),
)
"""Modules whose main ideas have an example."""


def examples(module: str) -> list[doctest.DocTest]:
    """Return the docstrings of a module that hold examples."""
    return [test for test in doctest.DocTestFinder().find(importlib.import_module(module)) if test.examples]


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_of_a_module_are_right(module: str) -> None:
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    output = StringIO()
    for example in examples(module):
        runner.run(example, out=output.write)
    assert runner.failures == 0, output.getvalue()


@pytest.mark.parametrize("module", TAUGHT)
def test_main_ideas_have_an_example(module: str) -> None:
    assert examples(f"nucleiseg.{module}")
