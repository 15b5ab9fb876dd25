"""Count what makes the package easy or hard to read: `python .ci/readability.py [ROOT]`.

Run on two checkouts, it shows what a change did to the size of the package, its functions and its language.
"""

import ast
import re
import statistics
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

PHRASES = (
    *(r"(?<!\bthere )\bis no (?!longer)", r"\b(said|told)\b", r"\bgo(es)? on\b", r"what there is to"),
    *(r"whose arithmetic", r"by itself", r"so far as", r"\bdoors?\b", r"\bplain\b", r"untraced", r"wind[ _]back"),
    *(r"\brooms?\b", r"\bhouse\b", r"(?<!~)\b(some|no|any)body\b", r"became of|becomes of", r"did not expect"),
    *(r"as (its|their) \w+ says?\b", r"asked now and then", r"\bnamesakes\b"),
)
"""Phrases that CONTRIBUTING.md's language rules exclude."""

REFUSALS = (
    *("it accepts", "must be", "has to be", "should be", "is expected", "is not allowed", "accepts only"),
    "not valid",
)
"""Ways to word a refused value; the project uses the first."""

SHORT = 6
"""Lines of a helper that reads better inline, with a comment at the line, if it is called once."""


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef]:
    """Yield every function and method, nested ones too."""
    yield from (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def body_lines(function: ast.FunctionDef) -> int:
    """Return the lines of a function without its signature and docstring."""
    body = function.body[1:] if ast.get_docstring(function) is not None and len(function.body) > 1 else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1


def used_once(tree: ast.AST) -> list[ast.FunctionDef]:
    """Return the private functions that their module refers to exactly once."""
    uses = Counter(
        node.id if isinstance(node, ast.Name) else node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Name | ast.Attribute)
    )
    return [f for f in functions(tree) if re.match(r"_[a-z]", f.name) and uses[f.name] == 1]


def imported(tree: ast.AST) -> set[str]:
    """Return the modules that a file imports, and the names that it imports from them, in full."""
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def comment_lines(file: Path) -> int:
    """Return how many comments a file holds."""
    with file.open("rb") as stream:
        return sum(token.type == tokenize.COMMENT for token in tokenize.tokenize(stream.readline))


def phrases(texts: dict[Path, str]) -> int:
    """Return how many lines hold one of the phrases."""
    pattern = re.compile("|".join(PHRASES), re.IGNORECASE)
    return sum(bool(pattern.search(line)) for text in texts.values() for line in text.splitlines())


def circles(graph: dict[str, set[str]]) -> int:
    """Return the number of modules that import themselves by way of others."""

    def reaches(start: str) -> bool:
        seen: set[str] = set()
        waiting = list(graph[start])
        while waiting:
            name = waiting.pop()
            if name == start:
                return True
            if name not in seen:
                seen.add(name)
                waiting += graph[name]
        return False

    return sum(map(reaches, graph))


def count(root: Path) -> dict[str, object]:
    """Return the figures of a checkout.

    Args:
        root: its folder, which holds `nucleiseg/` and `conf/`.
    """
    files = sorted((root / "nucleiseg").rglob("*.py"))
    texts = {file: file.read_text(encoding="utf-8") for file in files}
    trees = {file: ast.parse(text) for file, text in texts.items()}
    names = {".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): file for file in files}
    graph = {name: (imported(trees[file]) & names.keys()) - {name} for name, file in names.items()}
    importers = Counter(other for others in graph.values() for other in others)
    sizes = sorted(body_lines(f) for tree in trees.values() for f in functions(tree))
    helpers = [f for tree in trees.values() for f in used_once(tree)]
    lines = {file: text.count("\n") for file, text in texts.items()}
    classes = Counter(n.name for tree in trees.values() for n in ast.walk(tree) if isinstance(n, ast.ClassDef))
    cards = {file: file.read_text(encoding="utf-8") for file in sorted((root / "conf").rglob("*.yaml"))}
    guides = {f: f.read_text(encoding="utf-8") for f in [*root.glob("*.md"), *(root / "docs").rglob("*.md")]}
    guides = {file: text for file, text in guides.items() if file.name not in ("CHANGELOG.md", "CONTRIBUTING.md")}
    return {
        "modules": len(files),
        "lines": sum(lines.values()),
        "modules above 250 lines": sum(size > 250 for size in lines.values()),
        "functions": len(sizes),
        "lines of a function, median": statistics.median(sizes),
        "lines of a function, 90th percentile": sizes[len(sizes) * 9 // 10],
        "functions above 50 lines": sum(size > 50 for size in sizes),
        "private helpers used once": len(helpers),
        f"of these with at most {SHORT} lines": sum(body_lines(f) <= SHORT for f in helpers),
        "modules with one importer": sum(importers[name] == 1 for name in names),
        "modules with one importer and below 60 lines": sum(
            importers[name] == 1 and lines[file] < 60 for name, file in names.items()
        ),
        "class names used twice": sum(uses > 1 and not name.startswith("_") for name, uses in classes.items()),
        "module names used twice": sum(
            uses > 1 for stem, uses in Counter(file.stem for file in files).items() if stem != "__init__"
        ),
        "lines of code with an excluded phrase": phrases(texts),
        "lines of conf/ with an excluded phrase": phrases(cards),
        "lines of guides with an excluded phrase": phrases(guides),
        "comments per 100 lines": round(100 * sum(map(comment_lines, files)) / sum(lines.values()), 1),
        "wordings of a refused value": sum(any(f" {way} " in text for text in texts.values()) for way in REFUSALS),
        "modules in import circles": circles(graph),
    }


if __name__ == "__main__":
    for what, figure in count(Path(sys.argv[1] if len(sys.argv) > 1 else ".")).items():
        print(f"{what:48} {figure}")
