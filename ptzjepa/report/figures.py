"""From matplotlib figures to SVG that lives inside the page: its colours follow the page's light or dark scheme."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

WIDE, NARROW = 9.6, 4.4
"""Widths in inches. Each chart is drawn twice, so that its text has the same size on a phone as on a desk."""

# Colours that stand for the page's own; matplotlib only passes them through.
INK, FAINT, GRID = "#010101", "#020202", "#030303"
AGENT, OWN, FLOOR, MODEL = "#040404", "#050505", "#060606", "#070707"
_VARIABLES = {
    INK: "--ink",
    FAINT: "--faint",
    GRID: "--rule",
    AGENT: "--agent",
    OWN: "--own",
    FLOOR: "--floor",
    MODEL: "--model",
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": FAINT,
    "axes.titlecolor": INK,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": FAINT,
    "ytick.labelcolor": FAINT,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
}


@dataclass(frozen=True)
class Chart:
    """One chart as SVG text for wide and for narrow pages."""

    wide: str
    narrow: str


def draw(name: str, title: str, paint: Callable[[float], Figure]) -> Chart:
    """Draw a chart twice; ``paint`` gets the width in inches. ``title`` is what a screen reader says."""
    with mpl.rc_context(_STYLE):
        return Chart(*(_svg(paint(width), f"{name}-{kind}", title) for kind, width in _WIDTHS))


_WIDTHS = (("wide", WIDE), ("narrow", NARROW))


def quiet_legend(axes: Axes, columns: int) -> None:
    """Put the legend above the axes, where it covers no data."""
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=columns,
        borderaxespad=0.2,
        handlelength=1.6,
        columnspacing=1.4,
    )


def _svg(figure: Figure, name: str, title: str) -> str:
    buffer = io.StringIO()
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # Ids are unique in a page, and matplotlib numbers every figure's from one.
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(xlink:href="|url\()#', rf"\1#{name}-", text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    text = re.sub(r' (?:width|height)="[\d.]+pt"', "", text, count=2)
    text = re.sub(r' (?:xmlns(?::xlink)?)="[^"]*"', "", text).replace("xlink:href", "href")
    return text.replace("<svg", f'<svg role="img" aria-label="{title}"', 1)
