"""The layers of the house (ARCHITECTURE.md): nothing imports from a layer to its right."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "nucleiseg"

LAYERS = (
    {
        *("structures", "errors", "failures", "settings", "files", "foreign_files", "progress", "pipelining"),
        *("label_maps", "renamed_keys", "rle", "run_folder", "run_tables", "runs", "devices", "version"),
        *("trusted_targets", "older_runs", "segmentations", "invocation", "restricted_pickle", "pickled_arrays"),
        "setting_sentences",
    },
    {"data", "transforms", "models"},
    {"inference"},
    {"evaluation", "writers"},
    {"slides", "training", "leaderboard"},
    {"report"},
    {"cli"},
    {"sweeps"},
    {"commands", "__main__"},
)
"""From left to right: a package may import from the layers to its left."""

FRAMEWORKS = {
    "pytorch_lightning": {"data", "training", "cli"},
    "hydra": {"cli", "sweeps", "commands"},
    "omegaconf": {"cli", "sweeps", "commands"},
    "albumentations": {"transforms"},
}
"""Which rooms may know a framework."""


def imports(file: Path) -> set[str]:
    """Return every module that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import; the rooms are imported by their full names"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def room(module: str) -> str | None:
    """Return the room of a module of ours (`nucleiseg.data.cache` -> `data`), or None."""
    parts = module.split(".")
    return parts[1] if parts[0] == "nucleiseg" and len(parts) > 1 else None


def layer(name: str) -> int:
    """Return the number of the layer that holds a room."""
    return next(number for number, rooms in enumerate(LAYERS) if name in rooms)


FILES = sorted(file for file in PACKAGE.rglob("*.py") if file != PACKAGE / "__init__.py")


def home(file: Path) -> str:
    """Return the room that a file lies in."""
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


ROOMS = {home(file) for file in FILES}


def test_every_room_has_its_layer() -> None:
    assert set().union(*LAYERS) == ROOMS
    assert sum(map(len, LAYERS)) == len(set().union(*LAYERS)), "a room is in two layers"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_respect_the_layers(file: Path) -> None:
    here = home(file)
    for module in imports(file):
        there = room(module)
        if there is None or there == here or there not in ROOMS:
            continue  # the last: a name of the package itself, such as its version
        allowed = layer(there) < layer(here) or (layer(there) == layer(here) == 0)
        assert allowed, f"{file.name} in {here} imports {module}: an arrow to the right"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_frameworks_stay_in_their_rooms(file: Path) -> None:
    for module in imports(file):
        allowed = FRAMEWORKS.get(module.split(".")[0])
        assert allowed is None or home(file) in allowed, f"{home(file)} imports {module}"


def test_albumentations_is_known_to_two_files() -> None:
    users = [file.name for file in FILES if any(m.split(".")[0] == "albumentations" for m in imports(file))]
    assert users == ["extra.py", "pipeline.py"]


def test_no_circles_between_modules() -> None:
    graph = {}
    names = {".".join(file.relative_to(ROOT).with_suffix("").parts): file for file in FILES}
    for name, file in names.items():
        found = imports(file)
        graph[name] = {
            other for other in names if other != name and any(m == other or m.startswith(other + ".") for m in found)
        }
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"a circle: {' -> '.join((*path, name))}"
        if name not in done:
            for other in graph[name]:
                visit(other, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


SCRIPTS = sorted({*ROOT.glob("*.py"), *(PACKAGE / "commands").glob("*.py")})


def test_the_scripts_are_found() -> None:
    assert {"train.py", "predict.py"} <= {script.name for script in SCRIPTS}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_the_scripts_hold_no_logic(script: Path) -> None:
    lines = script.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 60, f"{script.name} has grown: move it to nucleiseg/cli"
