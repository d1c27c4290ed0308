"""The page's HTML, style sheets and scripts; player, charts and colours are those of a report."""

from collections.abc import Callable, Mapping
from importlib import resources
from types import SimpleNamespace
from typing import Final

from fxst.exports import FORMATS
from fxst.report.page import script, style_sheet, templates
from fxst.version import __version__

__all__ = ["ASSETS", "page"]

TRACKS: Final = (("input", "Input", "input"), ("output", "Output", "output1"), ("reference", "Reference", "reference1"))
"""Role, label and style of each track, in the order of its keys."""


def page(model: str, *, largest: int) -> str:
    """Return the page.

    Args:
        model: The model's name.
        largest: The most bytes that an upload may have.
    """
    silent = SimpleNamespace(seconds=0.0, matched_gain=1.0)
    tracks = [(SimpleNamespace(role=role, label=label), style, silent) for role, label, style in TRACKS]
    return (
        templates("fxst.ui")
        .get_template("ui.html")
        .render(tracks=tracks, model=model, exports=tuple(FORMATS), largest=largest, version=__version__)
    )


def _file(name: str) -> str:
    return resources.files("fxst.ui").joinpath(name).read_text(encoding="utf-8")


ASSETS: Final[Mapping[str, tuple[Callable[[], str], str]]] = {
    "page.css": (style_sheet, "text/css"),
    "player.js": (script, "text/javascript"),
    "ui.css": (lambda: _file("ui.css"), "text/css"),
    "ui.js": (lambda: _file("ui.js"), "text/javascript"),
}
"""The page's files: how each is read, and its type."""
