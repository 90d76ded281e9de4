"""The report's charts: surprise beside its floor, loss terms, dreams, moves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, MaxNLocator, MultipleLocator, NullFormatter

from ptzjepa.report.figures import AGENT, FAINT, FLOOR, INK, MODEL, OWN, WIDE, Chart, draw, quiet_legend
from ptzjepa.timeline import DIRECTIONS, Measured, Progress, Timeline
from shared.actions import DEFAULT_ACTIONS

SMOOTHED_VIEWS = 41
MOST_POINTS = 700
MOST_TERMS = 9
_TIME_STEPS = (5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400, 604800)
"""Seconds between ticks that people count in."""
DASHES = (0, (4, 2))
FEWEST = 8
"""Curves of fewer points say nothing."""

FloatArray = npt.NDArray[np.float64]


def surprise_chart(timeline: Timeline) -> Chart | None:
    """Surprise of every view before training on it, beside what copying the last embedding costs."""
    measured = sorted(timeline.measured, key=lambda item: item.seconds)
    if len(measured) < FEWEST:
        return None
    marks = [timeline.seconds_of(version) for version in timeline.checkpoints(timeline.world_model)]

    def paint(width: float) -> Figure:
        figure = Figure(figsize=(width, 5.2), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
        _paint_errors(upper, measured, columns=4 if width == WIDE else 2)
        _paint_ratio(lower, measured)
        for axes in (upper, lower):
            _mark(axes, marks)
        _time_axis(lower)
        return figure

    return draw("surprise", "Surprise and copy-last error over time, with checkpoints", paint)


def _paint_errors(axes: Axes, measured: Sequence[Measured], columns: int) -> None:
    seconds = np.array([item.seconds for item in measured])
    error = np.array([item.error for item in measured])
    copy_last = np.array([item.copy_last_error for item in measured])
    predicted = np.array([item.predicted for item in measured])
    some = _spread(len(measured), MOST_POINTS)
    axes.plot(seconds[some], error[some], ".", color=MODEL, markersize=3, alpha=0.3, markeredgewidth=0)
    lines = (
        (copy_last, FLOOR, DASHES, "copy-last (floor)"),
        (predicted, FAINT, (0, (1, 1.6)), "surprise it expected, in its own unit"),
        (error, MODEL, "-", "one-step error"),
    )
    smooth = [_running_median(values) for values, *_ in lines]
    for values, (_, colour, style, label) in zip(smooth, lines, strict=True):
        axes.plot(seconds[some], values[some], color=colour, linestyle=style, label=label)
    axes.set_yscale("log")
    # Far-off single views would flatten the curves; the strips below the chart show them.
    positive = np.concatenate(smooth)
    positive = positive[positive > 0.0]
    if positive.size:
        axes.set_ylim(np.percentile(positive, 3.0) / 2.0, positive.max() * 2.0)
    axes.yaxis.set_major_locator(LogLocator(numticks=6))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_ylabel("squared error")
    quiet_legend(axes, columns)


def _paint_ratio(axes: Axes, measured: Sequence[Measured]) -> None:
    seconds = np.array([item.seconds for item in measured])
    # A few views that are easy to copy swing the ratio of short means.
    size = max(SMOOTHED_VIEWS, len(measured) // 10)
    error = _running_mean(np.array([item.error for item in measured]), size)
    copy_last = _running_mean(np.array([item.copy_last_error for item in measured]), size)
    ratio = np.divide(error, copy_last, out=np.full_like(error, np.nan), where=copy_last > 0.0)
    some = _spread(len(measured), MOST_POINTS)
    axes.axhline(1.0, color=FLOOR, linestyle=DASHES)
    axes.fill_between(seconds[some], ratio[some], 1.0, where=ratio[some] < 1.0, color=MODEL, alpha=0.14, linewidth=0)
    axes.plot(seconds[some], ratio[some], color=MODEL)
    axes.set_ylim(0.0, max(1.25, min(2.5, float(np.nanmax(ratio, initial=0.0)) * 1.08)))
    axes.set_ylabel("÷ copy-last")


def loss_chart(name: str, title: str, series: Sequence[Progress]) -> Chart | None:
    """Loss terms over time, a small chart each, since their scales have nothing in common."""
    points = [series[int(index)] for index in _spread(len(series), 300)]
    names = sorted({term for point in points for term in point.terms})[:MOST_TERMS]
    if len(points) < 3 or not names:
        return None

    def paint(width: float) -> Figure:
        columns = min(len(names), 3 if width == WIDE else 2)
        rows = math.ceil(len(names) / columns)
        figure = Figure(figsize=(width, 1.65 * rows + 0.3), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False, sharex=True)
        for axes, term in zip(grid.flat, names, strict=False):
            known = [(point.seconds, point.terms[term]) for point in points if term in point.terms]
            axes.plot(*zip(*known, strict=True), color=MODEL)
            axes.set_title(term.replace("_", " "))
            axes.yaxis.set_major_locator(MaxNLocator(3))
        for axes in grid.flat[len(names) :]:
            axes.set_visible(False)
        for index in range(columns):
            _time_axis(_lowest(grid, index, len(names)), ticks=3)
        return figure

    return draw(name, title, paint)


def dreams_chart(timeline: Timeline) -> Chart | None:
    """Dreams over time, and the policy versions that learnt from them."""
    dreamt = list(timeline.dreamt)
    if len(dreamt) < 2:
        return None
    some = [dreamt[int(index)] for index in _spread(len(dreamt), MOST_POINTS)]
    marks = [timeline.seconds_of(version) for version in timeline.checkpoints(timeline.agent)]

    def paint(width: float) -> Figure:
        figure = Figure(figsize=(width, 2.4), layout="constrained")
        axes = figure.subplots()
        axes.fill_between([d.seconds for d in some], [d.total for d in some], color=AGENT, alpha=0.14, linewidth=0)
        axes.plot([d.seconds for d in some], [d.total for d in some], color=AGENT)
        _mark(axes, marks)
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(EngFormatter(sep=""))
        axes.set_ylabel("dreams so far")
        _time_axis(axes)
        return figure

    return draw("dreams", "Dreams over time, with policy versions", paint)


def directions_chart(agent: Mapping[str, int], steered: int, own: Mapping[str, int], walked: int) -> Chart | None:
    """Share of the agent's and of the random walk's moves that went in each direction."""
    if not agent and not own:
        return None

    def paint(width: float) -> Figure:
        figure = Figure(figsize=(width, 0.36 * len(DIRECTIONS) + 0.9), layout="constrained")
        axes = figure.subplots()
        places = np.arange(len(DIRECTIONS), dtype=np.float64)
        bars = (
            (agent, steered, -0.19, AGENT, f"agent ({steered:,} views)"),
            (own, walked, 0.19, OWN, f"random walk ({walked:,} views)"),
        )
        for counts, total, offset, colour, label in bars:
            shares = [100.0 * counts.get(name, 0) / max(1, total) for name in DIRECTIONS]
            axes.barh(places + offset, shares, height=0.36, color=colour, label=label)
        _name_bars(axes, DIRECTIONS)
        quiet_legend(axes, 2 if width == WIDE else 1)
        return figure

    return draw("directions", "Where moves went: agent beside random walk", paint)


def actions_chart(agent: Mapping[str, int]) -> Chart | None:
    """How often the agent chose each named move, beside choosing blindly."""
    if not agent:
        return None
    known = [action.name for action in DEFAULT_ACTIONS.actions]
    names = known + sorted(set(agent) - set(known))

    def paint(width: float) -> Figure:
        figure = Figure(figsize=(width, 0.22 * len(names) + 0.9), layout="constrained")
        axes = figure.subplots()
        shares = [100.0 * agent.get(name, 0) / sum(agent.values()) for name in names]
        axes.barh(range(len(names)), shares, height=0.66, color=AGENT)
        axes.axvline(100.0 / len(names), color=FLOOR, linestyle=DASHES, label="each move equally often")
        _name_bars(axes, [name.replace("_", " ") for name in names])
        quiet_legend(axes, 1)
        return figure

    return draw("actions", "How often the agent chose each move", paint)


def _name_bars(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", labelcolor=INK, length=0)
    axes.invert_yaxis()
    axes.margins(y=0.01)
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))


def _mark(axes: Axes, seconds: Sequence[float]) -> None:
    low, high = axes.get_xlim()
    for moment in seconds:
        if low <= moment <= high:
            axes.axvline(moment, color=INK, linewidth=0.7, alpha=0.35)
    axes.set_xlim(low, high)


def _time_axis(axes: Axes, ticks: int = 6) -> None:
    axes.tick_params(axis="x", labelbottom=True)
    low, high = axes.get_xlim()
    step = next((step for step in _TIME_STEPS if (high - low) / step <= ticks), (high - low) / ticks)
    axes.xaxis.set_major_locator(MultipleLocator(step))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _clock(value)))


def _clock(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def _lowest(grid: npt.NDArray[np.object_], column: int, shown: int) -> Axes:
    columns = grid.shape[1]
    axes: Axes = grid[(shown - 1 - column) // columns, column]
    return axes


def _spread(length: int, most: int) -> npt.NDArray[np.intp]:
    """Return at most ``most`` indices, evenly spread, both ends among them."""
    return np.unique(np.linspace(0, length - 1, min(length, most)).round().astype(np.intp))


def _windows(values: FloatArray, size: int) -> npt.NDArray[np.float64]:
    size = min(size, max(1, len(values) // 3 * 2 - 1))
    half = size // 2
    padded = np.pad(values, (half, size - 1 - half), mode="reflect" if len(values) > size else "edge")
    return np.lib.stride_tricks.sliding_window_view(padded, size)


def _running_median(values: FloatArray) -> FloatArray:
    return np.asarray(np.median(_windows(values, SMOOTHED_VIEWS), axis=1))


def _running_mean(values: FloatArray, size: int) -> FloatArray:
    return np.asarray(np.mean(_windows(values, size), axis=1))
