"""The layers of the package (ARCHITECTURE.md): no module imports from a layer to its right."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "nucleiseg"

LAYERS = (
    {
        *("structures", "errors", "failures", "settings", "files", "foreign_files", "progress", "pipelining"),
        *("label_maps", "renamed_keys", "rle", "run_folder", "run_tables", "runs", "devices", "version"),
        *("trusted_targets", "older_runs", "segmentations", "invocation", "restricted_pickle", "pickled_arrays"),
        *("setting_sentences", "shipped_weights"),
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
"""Packages that may import a framework."""


@cache
def imports(file: Path) -> frozenset[str]:
    """Return every module that a file imports, inside functions too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import; write the full name of the package"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


def package_of(module: str) -> str | None:
    """Return the subpackage of a module (`nucleiseg.data.cache` -> `data`); None outside of nucleiseg."""
    parts = module.split(".")
    return parts[1] if parts[0] == "nucleiseg" and len(parts) > 1 else None


def layer(name: str) -> int:
    """Return the number of the layer that holds a package."""
    return next(number for number, packages in enumerate(LAYERS) if name in packages)


FILES = sorted(file for file in PACKAGE.rglob("*.py") if file != PACKAGE / "__init__.py")


def package_of_file(file: Path) -> str:
    """Return the subpackage that a file lies in."""
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


PACKAGES = {package_of_file(file) for file in FILES}


def test_every_package_has_its_layer() -> None:
    assert set().union(*LAYERS) == PACKAGES
    assert sum(map(len, LAYERS)) == len(set().union(*LAYERS)), "a package is in two layers"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_respect_the_layers(file: Path) -> None:
    here = package_of_file(file)
    for module in imports(file):
        there = package_of(module)
        if there is None or there == here or there not in PACKAGES:
            continue  # the last: a name of the package itself, such as its version
        allowed = layer(there) < layer(here) or (layer(there) == layer(here) == 0)
        assert allowed, f"{file.name} in {here} imports {module} from a layer to its right"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_frameworks_are_imported_in_their_packages_only(file: Path) -> None:
    for module in imports(file):
        allowed = FRAMEWORKS.get(module.split(".")[0])
        assert allowed is None or package_of_file(file) in allowed, f"{package_of_file(file)} imports {module}"


def test_albumentations_is_imported_in_two_files() -> None:
    users = [file.name for file in FILES if any(m.split(".")[0] == "albumentations" for m in imports(file))]
    assert users == ["extra.py", "pipeline.py"]


def test_imports_have_no_cycles() -> None:
    graph = {}
    names = {".".join(file.relative_to(ROOT).with_suffix("").parts): file for file in FILES}
    for name, file in names.items():
        parents = {".".join(parts[:end]) for parts in (m.split(".") for m in imports(file)) for end in range(1, 9)}
        graph[name] = {other for other in names if other != name and other in parents}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"import cycle: {' -> '.join((*path, name))}"
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
