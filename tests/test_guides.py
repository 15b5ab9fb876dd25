"""README, docs/ and the studies' pages: commands compose, keys exist, links lead somewhere."""

import importlib
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from benchmarks import options
from nucleiseg.cli.command_line import as_typed

ROOT = Path(__file__).parents[1]
GUIDES = sorted(
    file for folder in ("", "docs/", "experiments/*/", "benchmarks/") for file in ROOT.glob(f"{folder}*.md")
)
BLOCK = re.compile(r"^```\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#]+)[^)]*\)")
PATH = re.compile(r"`((?:nucleiseg|conf|tests|experiments|benchmarks|hydra_plugins)/[\w./-]*)`")
KEY = re.compile(r"`((?:aug|model|data|optim|trainer|checkpoint|validation)\.[a-z_0-9.]+)[`=]")


def commands(start: str) -> list[str]:
    """Return the commands of all code blocks that start with some text, comments removed."""
    texts = [guide.read_text(encoding="utf-8") for guide in GUIDES]
    lines = [line for text in texts for block in BLOCK.findall(text) for line in block.splitlines()]
    parts = [part.strip() for line in lines for part in line.partition("  #")[0].split("&&")]
    return sorted({part for part in parts if part.startswith(start)})


def first_values(arguments: list[str]) -> Iterator[str]:
    """Yield the overrides of a command, of a sweep's the first value."""
    for override in OverridesParser.create().parse_overrides([as_typed(argument) for argument in arguments]):
        if override.is_sweep_override():
            yield f"{override.key_or_group}={next(override.sweep_string_iterator())}"
        else:
            yield str(override.input_line)


COMMANDS = [command for command in commands("python ") if re.match(r"python \w+\.py", command)]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_guides_composes(command: str, composed: Callable[..., dict[str, Any]]) -> None:
    script, *arguments = shlex.split(command)[1:]
    # A resumed run has its own configuration, here with the keys of `folders`; a later value of a key wins.
    given = ["data=folders", "data.root=ROOT"] if any(argument.startswith("resume=") for argument in arguments) else []
    given += [argument for argument in arguments if argument != "-m"]
    assert (ROOT / script).is_file()
    composed(Path(script).stem, *first_values(given))


def test_the_guides_have_commands_of_every_script() -> None:
    assert {command.split()[1] for command in COMMANDS} >= {
        f"{card.stem}.py" for card in (ROOT / "conf").glob("*.yaml")
    }


@pytest.mark.parametrize("command", commands("python -m benchmarks."))
def test_a_benchmark_of_the_guides_takes_its_keys(command: str) -> None:
    name, *words = shlex.split(command)[2:]
    if name != "benchmarks.page":
        options.parse(importlib.import_module(name).Options, words)


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: str(guide.relative_to(ROOT)))
def test_the_links_of_a_guide_lead_somewhere(guide: Path) -> None:
    targets = LINK.findall(guide.read_text(encoding="utf-8"))
    assert [target for target in targets if not (guide.parent / target).exists()] == []


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: str(guide.relative_to(ROOT)))
def test_the_files_that_a_guide_names_exist(guide: Path) -> None:
    assert [path for path in PATH.findall(guide.read_text(encoding="utf-8")) if not (ROOT / path).exists()] == []


def test_every_key_of_the_guides_exists(composed: Callable[..., dict[str, Any]]) -> None:
    keys = ["data.root=somewhere", "model=r50_fpn"]
    configurations = [composed("train", f"data={data}", *keys) for data in ("folders", "cryonuseg", "corrections")]
    configurations.append(composed("train", "data=mixed", "data.sets=[a.yaml]", "model=r50_fpn"))
    current = [guide for guide in GUIDES if guide.name != "CHANGELOG.md"]  # which names keys of the past
    named = {key for guide in current for key in KEY.findall(guide.read_text(encoding="utf-8"))}
    assert len(named) > 20

    def exists(key: str, node: Any) -> bool:  # noqa: ANN401
        for part in key.split("."):
            if not isinstance(node, dict) or part not in node:
                return False
            node = node[part]
        return True

    assert sorted(key for key in named if not any(exists(key, one) for one in configurations)) == []
