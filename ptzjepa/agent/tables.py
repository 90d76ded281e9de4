"""Marks as a Markdown table: an arm a row, a measure a column, the target in the head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dreamer_agent.examination.grader import TARGETS

_HEADS = {
    "attraction": "attraction",
    "tv": "TV",
    "habituation": "habituation",
    "frames_ratio": "frames ÷ random's",
    "frames_ratio_sweep": "frames ÷ sweep's",
    "coverage": "coverage",
    "calibration": "calibration",
    "copy_last_1": "error ÷ copy-last, 1",
    "copy_last_5": "error ÷ copy-last, 5",
    "mean_1": "error ÷ mean, 1",
    "mean_5": "error ÷ mean, 5",
    "shuffled_cost": "lost when shuffled",
}


def markdown(result: Mapping[str, Any]) -> str:
    """Return the table of a result with what it rests on below; bounds in brackets, * where the target is met."""
    heads = [f"{_HEADS[name]} ({'≥' if target.least else '≤'} {target.value:g})" for name, target in TARGETS.items()]
    lines = [f"| arm | {' | '.join(heads)} |", "| --- |" + " ---: |" * len(heads)]
    for arm, marks in result["arms"].items():
        row = [_mark(marks.get(name), result["verdicts"][arm].get(name)) for name in TARGETS]
        lines.append(f"| {arm} | {' | '.join(row)} |")
    protocol = result["protocol"]
    lines += [
        "",
        f"{result['seeds']} seeds × {protocol['frames']} frames, the new zone from frame {protocol['onset']} on; "
        f"scenes: {', '.join(result['scenes'])}; {result['cpu_seconds'] / 60.0:.0f} CPU minutes. Mean over seeds, in "
        "brackets its one-sided 95 % bounds by the bootstrap; * where the unfavourable bound meets the target.",
        "",
        *_footing(result),
    ]
    return "\n".join(lines) + "\n"


def _mark(mark: Mapping[str, Any] | None, met: bool | None) -> str:
    if mark is None:
        return "–"
    return f"{mark['mean']:.2f} [{mark['low']:.2f}, {mark['high']:.2f}]{' *' if met else ''}"


def _footing(result: Mapping[str, Any]) -> list[str]:
    explained = result["explained"]
    zones = ", ".join(f"{zone} {_mark(mark, None)}" for zone, mark in explained["zones"].items())
    said = "holds" if explained["met"] else "does not hold: blame no agent"
    lines = [
        f"Precondition (a fresh world model explains more than {explained['needed']:g} of the variance in HARD from "
        f"random's data) {said}: {zones}."
    ]
    if result["control"] is not None:
        lines.append(f"PTZJEPA's reward, one scalar a batch: calibration {_mark(result['control'], None)}.")
    return lines
