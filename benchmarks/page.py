"""Puts the tables of `benchmarks/results/*.json` into `benchmarks/README.md`, so that no figure is typed by hand.

It draws the page's picture from them, too: `growth.svg`.

    python -m benchmarks.sample_loading json=benchmarks/results/sample_loading.json
    python -m benchmarks.page

In the page, what lies between `<!-- results/NAME.json -->` and `<!-- end -->` is replaced by that file's table, with
the command that made it, the date and the machine.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.growth import as_svg, draw_growth
from benchmarks.result import Result, markdown
from nucleiseg.files import write_text
from nucleiseg.foreign_files import read_json

FOLDER = Path(__file__).parent

PLACE = re.compile(r"(<!-- (results/[\w.]+\.json) -->\n).*?(<!-- end -->)", re.DOTALL)
"""A table's place in the page: its first line, the file, its last line."""

VERSIONS = ("torch", "torchvision", "albumentations", "pycocotools")
"""Packages whose versions stand below a table; the file names more."""


def fill(page: str, folder: Path) -> str:
    """Return the page with every table as its file has it.

    Args:
        page: Markdown.
        folder: where `results` lies.

    Raises:
        InputError: if a file is missing or no JSON.
    """

    def replace(match: re.Match[str]) -> str:
        return f"{match[1]}{section(read_json(folder / match[2]))}\n{match[3]}"

    return PLACE.sub(replace, page)


def section(result: Mapping[str, Any]) -> str:
    """Return a result as Markdown: command, table, date and machine."""
    table = markdown(Result(result["name"], result["title"], result["rows"]))
    return f"```\n{result['command']}\n```\n\n{table}\n\n{provenance(result)}\n"


def provenance(result: Mapping[str, Any]) -> str:
    """Return the date and the machine in a line."""
    machine = result["machine"]
    place = f"{machine['cores']} cores of {machine['processor']}, {machine['memory_gb']} GB"
    gpu = f", {machine['gpu']}" if machine["gpu"] else ""
    versions = ", ".join(f"{name} {machine[name]}" for name in VERSIONS if machine.get(name))
    return f"{result['date'][:10]}; {place}{gpu}; {versions}."


if __name__ == "__main__":
    readme = FOLDER / "README.md"
    write_text(readme, fill(readme.read_text(encoding="utf-8"), FOLDER))
    rows = read_json(FOLDER / "results" / "training_step.json")["rows"]
    write_text(FOLDER / "growth.svg", as_svg(draw_growth(rows)))
