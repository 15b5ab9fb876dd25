"""Add the pages of the documentation site that live elsewhere: guides at the root, and the API reference.

MkDocs calls `on_files` and `on_page_markdown` (`hooks` in mkdocs.yml). README.md and its siblings stay where repository
hosts and package indexes expect them. Links between pages become the site's; links to code become file names, as the
site has no copy of it. Each package of `nucleiseg` gets a reference page from its docstrings.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]

GUIDES = {
    "README.md": "index.md",
    "RELIABILITY.md": "reliability.md",
    "ARCHITECTURE.md": "architecture.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
"""Files at the root of the repository and their pages."""

LINK = re.compile(r"\[(?P<text>[^\]]*)\]\((?!https?:|#)(?P<target>[^)#]+)(?P<anchor>#[^)]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the guides and the reference pages to the site."""
    guides = {page: (ROOT / guide).read_text(encoding="utf-8") for guide, page in GUIDES.items()}
    for page, text in {**guides, **reference()}.items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:  # noqa: ANN401 - MkDocs' signature
    """Rewrite the links of a guide."""
    return for_site(markdown, folder="" if page.file.src_uri in GUIDES.values() else "docs")


def for_site(text: str, folder: str) -> str:
    """Return a guide with its links as the site needs them.

        [Data](docs/data.md#cache)     -> [Data](data.md#cache)
        [changelog](../CHANGELOG.md)   -> [changelog](changelog.md)
        [cards](conf/aug)              -> cards (`conf/aug`)

    Args:
        text: Markdown.
        folder: its folder in the repository.
    """

    def rewrite(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, match["target"]))
        if target in GUIDES or target.startswith("docs/"):
            return f"[{match['text']}]({GUIDES.get(target, target.removeprefix('docs/'))}{match['anchor'] or ''})"
        return f"`{target}`" if match["text"].strip("/`") == target else f"{match['text']} (`{target}`)"

    return LINK.sub(rewrite, text)


def reference() -> dict[str, str]:
    """Return a page for the modules at the root of the package, and one for each of its packages."""
    package = ROOT / "nucleiseg"
    groups = {"base": sorted(package.glob("*.py"))}
    groups |= {folder.name: sorted(folder.rglob("*.py")) for folder in sorted(package.iterdir()) if folder.is_dir()}
    pages = {}
    for name, files in groups.items():
        modules = [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files]
        entries = [f"::: {module}\n" for module in modules if not module.endswith(("__init__", "__main__"))]
        if entries:
            title = "nucleiseg" if name == "base" else f"nucleiseg.{name}"
            pages[f"reference/{name}.md"] = "\n".join([f"# {title}\n", *entries])
    return pages
