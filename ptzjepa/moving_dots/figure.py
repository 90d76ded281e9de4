"""RMSE against noise level: a panel for each kind of noise, a line for each method, the floors shaded."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

NOTHING_PX = 8.9
"""What the mean location costs, if locations were uniform."""
_PANELS = (("changing", "uniform"), ("changing", "structured"), ("fixed", "uniform"), ("fixed", "structured"))
_FLOORS = {"random": "untrained", "supervised": "supervised"}
_TICKS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
_LOWEST, _HIGHEST = 0.2, 12.0

Group = Mapping[str, Any]


def draw(result: Mapping[str, Any]) -> bytes:
    """Return the figure as PNG."""
    groups = [group for group in result["groups"] if group["rmse"] and group["dots"] == 1]
    methods = [name for name in dict.fromkeys(group["method"] for group in groups) if name not in _FLOORS]
    colours = {name: colormaps["tab20"](number % 20) for number, name in enumerate(methods)}
    figure = Figure(figsize=(10.0, 8.0), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, 2, sharex=True, sharey=True)
    for axes, (background, texture) in zip(panels.flat, _PANELS, strict=True):
        here = [group for group in groups if group["background"] in (background, "none")]
        here = [group for group in here if group["background"] == "none" or group["texture"] == texture]
        _panel(axes, here, colours)
        axes.set_title(f"{background} {texture} noise")
    for axes in panels[1]:
        axes.set_xlabel("noise level")
    for axes in panels[:, 0]:
        axes.set_ylabel("RMSE over all rolled-out steps, pixels")
    panels[0, 0].set_xlim(-0.1, 0.1 + max((group["level"] for group in groups), default=1.0))
    # A study that was cut off has not every line in every panel.
    lines = {label: line for axes in panels.flat for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    if lines:
        figure.legend(list(lines.values()), list(lines), loc="outside lower center", ncols=5, frameon=False)
    if result["cells_done"] < result["cells_wanted"]:
        figure.suptitle(f"{result['cells_done']} of {result['cells_wanted']} cells; no point where nothing was run")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _panel(axes: Axes, groups: Sequence[Group], colours: Mapping[str, Any]) -> None:
    axes.set_yscale("log")
    axes.set_ylim(_LOWEST, _HIGHEST)
    axes.yaxis.set_major_locator(FixedLocator(_TICKS))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.axhline(NOTHING_PX, color="0.4", linestyle=":", linewidth=1.0)
    for name, edge in (("random", _HIGHEST), ("supervised", _LOWEST)):
        levels, means, _ = _line(groups, name)
        if levels:
            axes.fill_between(levels, means, edge, color="0.85", linewidth=0)
            axes.plot(levels, means, color="0.6", linewidth=1.0, marker=".", label=_FLOORS[name])
    for name, colour in colours.items():
        levels, means, deviations = _line(groups, name)
        if levels:
            axes.errorbar(levels, means, deviations, color=colour, marker="o", markersize=3, linewidth=1.4, label=name)


def _line(groups: Sequence[Group], method: str) -> tuple[list[float], list[float], list[float]]:
    ours = sorted((group for group in groups if group["method"] == method), key=lambda group: group["level"])
    rmse = [group["rmse"] for group in ours]
    return (
        [group["level"] for group in ours],
        [each["mean"] for each in rmse],
        [each["deviation"] or 0.0 for each in rmse],
    )
