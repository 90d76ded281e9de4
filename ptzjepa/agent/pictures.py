"""Where the camera looked, arm by arm, and how its attention went over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from dreamer_agent.examination.zones import NAMES, ZONES, ZoneLayout
from ptzjepa.agent.material import scene_of
from ptzjepa.agent.plan import Cell

WIDTH = 720
_COLUMNS = 2
_COLOURS = {"boring": "#0072b2", "hard": "#009e73", "tv": "#d55e00", "new": "#cc79a7"}
"""Of Okabe and Ito: told apart with every kind of colour vision."""

_AXIS = {"random": "-", "oracle": ":"}
"""The arms that all others are between."""


def where(path: Path, cell: Cell, walks: Mapping[str, Sequence[Sequence[float]]]) -> None:
    """Draw every arm's frames over the scene of ``cell``, darker where there were more, with the zones outlined."""
    scene = scene_of(cell.source, cell.seed, cell.protocol.onset)
    picture = scene.equirectangular(WIDTH)
    rows = -(-len(walks) // _COLUMNS)
    figure, grid = plt.subplots(rows, _COLUMNS, figsize=(11.0, 1.9 * rows + 0.4), squeeze=False, layout="constrained")
    for axes in grid.flat[len(walks) :]:
        axes.set_axis_off()
    for axes, (arm, poses) in zip(grid.flat, walks.items(), strict=False):
        axes.imshow(picture, extent=(-180.0, 180.0, -90.0, 90.0), alpha=0.45)
        _heat(axes, np.asarray(poses))
        _outline(axes, scene.layout)
        axes.set(title=arm, xlim=(-180.0, 180.0), ylim=(-50.0, 50.0), xticks=range(-180, 181, 60), yticks=(-30, 0, 30))
        axes.title.set_fontsize(9)
        axes.tick_params(labelsize=7)
    figure.supxlabel("pan, degrees", fontsize=8)
    figure.supylabel("tilt, degrees", fontsize=8)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def attraction(path: Path, result: Mapping[str, Any], window: int) -> None:
    """Draw every arm's share of frames in HARD and NEW over time, mean over seeds."""
    figure, axes = plt.subplots(figsize=(9.0, 4.2), layout="constrained")
    for number, (arm, shares) in enumerate(result["curves"].items()):
        frames = (np.arange(len(shares)) + 0.5) * window
        style: dict[str, Any] = {}
        if arm in _AXIS:
            style = {"color": "black", "linestyle": _AXIS[arm]}
        axes.plot(frames, shares, label=arm, linewidth=1.4, marker="os^vDPX<>*"[number % 10], markersize=3, **style)
    onset = result["protocol"]["onset"]
    axes.axvline(onset, color="grey", linewidth=0.8)
    axes.annotate("the new zone appears", (onset, 1.0), xytext=(4, -2), textcoords="offset points", fontsize=8)
    axes.set(xlabel="frames", ylabel="share of frames in HARD and NEW", ylim=(0.0, 1.03), xlim=(0, None))
    axes.legend(fontsize=7, ncols=2)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _heat(axes: Axes, poses: Any) -> None:
    counts, pans, tilts = np.histogram2d(
        poses[:, 0], poses[:, 1], bins=(48, 9), range=((-183.75, 176.25), (-33.75, 33.75))
    )
    shown = np.ma.masked_equal(np.sqrt(counts.T), 0.0)
    axes.pcolormesh(pans, tilts, shown, cmap="magma_r", alpha=0.75, vmin=0.0)


def _outline(axes: Axes, layout: ZoneLayout) -> None:
    for zone in ZONES:
        begin, _ = layout.edges(zone)
        for turn in (0.0, -360.0):
            height = layout.tilt_max - layout.tilt_min
            corner = (begin + turn, layout.tilt_min)
            axes.add_patch(
                Rectangle(corner, layout.width, height, fill=False, edgecolor=_COLOURS[NAMES[zone]], linewidth=1.8)
            )
        middle = layout.middle(zone)
        axes.annotate(NAMES[zone].upper(), (middle, 37.0), ha="center", fontsize=7, color=_COLOURS[NAMES[zone]])
