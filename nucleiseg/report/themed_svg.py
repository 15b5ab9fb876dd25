"""Convert matplotlib figures to inline SVG whose colors follow the light or dark theme of the page.

Charts are plotted once, in colors for white paper. Each color becomes a CSS variable of the page, and each id gets a
prefix, because matplotlib uses the same ids in every figure.
"""

import re
from io import BytesIO
from xml.etree import ElementTree

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.figure import Figure

VARIABLES = {
    "#000000": "ink",
    "#ffffff": "paper",
    "#e6e6e6": "grid",
    "#0072b2": "blue",
    "#e69f00": "orange",
    "#009e73": "green",
    "#d55e00": "vermillion",
    "#56b4e9": "sky",
    "#cc79a7": "purple",
}
"""Color of a figure on paper -> CSS variable of the page."""

SERIES = re.compile(r"series-(\d+)")
"""The gid of the lines of one run: it becomes `data-series`, by which the page shows and hides the run."""

CHECKPOINT = "checkpoint"
"""The gid of each vertical line at a saved checkpoint: it becomes a class, since ids are unique."""

_NAMESPACE = re.compile(r"\{[^}]*\}")
_COLOR = re.compile("|".join(VARIABLES))
_FONT = re.compile(r"font: *([\d.]+px)[^;]*")
_FAMILY = re.compile(r"font-family:[^;]*;?")
_DECIMALS = re.compile(r"(\.\d\d)\d+")
_REFERENCE = re.compile(r"url\(#([^)]*)\)")


def themed_svg(figure: Figure, prefix: str, description: str) -> Markup:
    """Return a figure as an SVG element for an HTML page.

    Args:
        figure: plotted in black on white, a grid of "0.9" and the colors of `VARIABLES`; others stay.
        prefix: of every id, unique on the page: letters, digits and dashes.
        description: text for screen readers.
    """
    buffer = BytesIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": prefix}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    root = ElementTree.fromstring(buffer.getvalue())
    for parent in root.iter():
        for child in list(parent):
            if _local(child.tag) in ("metadata", "style"):
                parent.remove(child)
    for element in root.iter():
        element.tag = _local(element.tag)
        element.attrib = _attributes(element.attrib, prefix)
    root.attrib = {"viewBox": root.attrib["viewBox"], "class": "chart", "role": "img", "aria-label": description}
    return Markup(ElementTree.tostring(root, encoding="unicode"))  # matplotlib has escaped its texts


def _local(name: str) -> str:
    """Return a name without its XML namespace, which HTML does not accept."""
    return _NAMESPACE.sub("", name)


def _attributes(attributes: dict[str, str], prefix: str) -> dict[str, str]:
    """Return an element's attributes with unique ids, variable colors and the page's font."""
    changed = {_local(name): value for name, value in attributes.items()}
    series = SERIES.fullmatch(changed.get("id", ""))
    if series:
        del changed["id"]
        changed["data-series"] = series[1]
    elif changed.get("id") == CHECKPOINT:
        changed["class"] = changed.pop("id")
    elif "id" in changed:
        changed["id"] = f"{prefix}-{changed['id']}"
    if "href" in changed:
        changed["href"] = changed["href"].replace("#", f"#{prefix}-", 1)
    for name in ("style", "clip-path"):
        if name in changed:
            text = _REFERENCE.sub(rf"url(#{prefix}-\1)", changed[name])
            text = _COLOR.sub(lambda match: f"var(--{VARIABLES[match[0]]})", text)
            changed[name] = _FAMILY.sub("", _FONT.sub(r"font-size: \1", text))
    if "d" in changed:
        changed["d"] = _DECIMALS.sub(r"\1", changed["d"])  # two decimals suffice and halve the size
    return changed
