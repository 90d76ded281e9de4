"""A study as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_NONE = "–"


def markdown(result: Mapping[str, Any]) -> str:
    """Return the whole report: expectations, then a table for each background at level 1, then all levels."""
    return "\n".join(_lines(result)) + "\n"


def _lines(result: Mapping[str, Any]) -> Iterator[str]:
    groups = result["groups"]
    done = f"{result['cells_done']} of {result['cells_wanted']} cells"
    yield f"{done}, {result['cpu_seconds']:.0f} CPU seconds. Lengths are in pixels; ± is over seeds."
    yield ""
    if result["verdicts"]:
        yield from _table(
            ("expected at level 1", "px", "bound", "met"),
            [
                (each["name"], _number(each["px"]), each["bound"], "yes" if each["met"] else "no")
                for each in result["verdicts"]
            ],
        )
    places = dict.fromkeys((group["background"], group["texture"], group["level"], group["dots"]) for group in groups)
    for place in places:
        if place[0] == "none" or place[2] == 1.0:
            yield from _place(groups, *place)
    yield from _levels(groups)
    yield from _missing(result["missing"])


def _place(
    groups: Sequence[Mapping[str, Any]], background: str, texture: str, level: float, dots: int
) -> Iterator[str]:
    here = (background, texture, level, dots)
    ours = [
        group for group in groups if tuple(group[name] for name in ("background", "texture", "level", "dots")) == here
    ]
    yield f"**{_title(background, texture, level, dots)}**"
    yield ""
    extra = ("second dot", "resting dot") if dots == 3 else ()
    ranked = sorted(ours, key=lambda group: group["rmse"]["mean"] if group["rmse"] else float("inf"))
    yield from _table(
        (
            "method", "RMSE, 17 steps", *extra, "encoder alone", "last step", "planning", "within ÷ between", "RankMe",
            "CPU s", "seeds",
        ),
        [_row(group) for group in ranked],
    )  # fmt: skip


def _title(background: str, texture: str, level: float, dots: int) -> str:
    title = "No noise" if background == "none" else f"{background.capitalize()} {texture} noise, level {level:g}"
    return f"{title}{', three dots' if dots == 3 else ''}"


def _missing(places: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Say which cells were asked for and not run."""
    if not places:
        return
    yield "**Not run**"
    yield ""
    for place in places:
        title = _title(place["background"], place["texture"], place["level"], place["dots"])
        methods = ", ".join(f"`{name}` (seed {', '.join(map(str, seeds))})" for name, seeds in place["methods"].items())
        yield f"* {title}: {'nothing was run' if place['whole'] else methods}"
    yield ""


def _row(group: Mapping[str, Any]) -> Sequence[str]:
    return (
        f"`{group['method']}`",
        _spread(group["rmse"]),
        *(_spread(found) for found in group["dots_rmse"][1:]),
        _spread(group["encoder_rmse"]),
        _last(group["rmse_by_step"]),
        _spread(group["planning"]),
        _spread(group["within_between"], 3),
        _spread(group["rank_me"], 0),
        _mean(group["cpu_seconds"]),
        str(group["seeds"]),
    )


def _levels(groups: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """RMSE by level, a table for each kind of noise."""
    noisy = [group for group in groups if group["background"] != "none" and group["dots"] == 1]
    clean = {group["method"]: group["rmse"] for group in groups if group["background"] == "none"}
    for kind in dict.fromkeys((group["background"], group["texture"]) for group in noisy):
        ours = [group for group in noisy if (group["background"], group["texture"]) == kind]
        levels = sorted({group["level"] for group in ours})
        if len(levels) < 2:
            continue
        found = {(group["method"], group["level"]): group["rmse"] for group in ours}
        yield f"**RMSE over 17 steps by level, {kind[0]} {kind[1]} noise**"
        yield ""
        yield from _table(
            ("method", "0", *(f"{level:g}" for level in levels)),
            [
                (f"`{name}`", _spread(clean.get(name)), *(_spread(found.get((name, level))) for level in levels))
                for name in dict.fromkeys(group["method"] for group in ours)
            ],
        )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"| {' | '.join('---' for _ in head)} |"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def _spread(found: Mapping[str, float | None] | None, digits: int = 2) -> str:
    if not found:
        return _NONE
    mean = f"{found['mean']:.{digits}f}"
    return mean if found["deviation"] is None else f"{mean} ± {found['deviation']:.{digits}f}"


def _mean(found: Mapping[str, float | None] | None) -> str:
    return f"{found['mean']:.0f}" if found else _NONE


def _last(steps: Sequence[float]) -> str:
    return _number(steps[-1]) if steps else _NONE


def _number(value: float) -> str:
    return f"{value:.2f}"
