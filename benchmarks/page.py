"""Insert the tables of `benchmarks/results/*.json` into `benchmarks/README.md`, and plot `docs/images/growth.svg`.

    python -m benchmarks.sample_loading json=benchmarks/results/sample_loading.json
    python -m benchmarks.page

The text between `<!-- results/NAME.json -->` and `<!-- end -->` is replaced by the table of that file, with the command
that measured it, the date and the machine. No figure is typed by hand.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.growth import as_svg, plot_growth
from benchmarks.result import Result, markdown
from nucleiseg.files import write_text
from nucleiseg.foreign_files import read_json

FOLDER = Path(__file__).parent

PLACE = re.compile(r"(<!-- (results/[\w.]+\.json) -->\n).*?(<!-- end -->)", re.DOTALL)
"""Placeholder of a table: first line, file, last line."""

VERSIONS = ("torch", "torchvision", "albumentations", "pycocotools")
"""Packages whose versions are printed below a table; the JSON file has more."""


def fill(page: str, folder: Path) -> str:
    """Return the page with every table replaced by that of its file.

    Args:
        page: Markdown.
        folder: the folder that contains `results`.

    Raises:
        InputError: if a file is missing or not JSON.
    """

    def replace(match: re.Match[str]) -> str:
        return f"{match[1]}{section(read_json(folder / match[2]))}\n{match[3]}"

    return PLACE.sub(replace, page)


def section(result: Mapping[str, Any]) -> str:
    """Format a result as Markdown: command, table, date and machine."""
    table = markdown(Result(result["name"], result["title"], result["rows"]))
    return f"```\n{result['command']}\n```\n\n{table}\n\n{provenance(result)}\n"


def provenance(result: Mapping[str, Any]) -> str:
    """Format the date and the machine as one line."""
    machine = result["machine"]
    place = f"{machine['cores']} cores of {machine['processor']}, {machine['memory_gb']} GB"
    gpu = f", {machine['gpu']}" if machine["gpu"] else ""
    versions = ", ".join(f"{name} {machine[name]}" for name in VERSIONS if machine.get(name))
    return f"{result['date'][:10]}; {place}{gpu}; {versions}."


if __name__ == "__main__":
    readme = FOLDER / "README.md"
    write_text(readme, fill(readme.read_text(encoding="utf-8"), FOLDER))
    rows = read_json(FOLDER / "results" / "training_step.json")["rows"]
    write_text(FOLDER.parent / "docs" / "images" / "growth.svg", as_svg(plot_growth(rows)))
