"""A study's cells as means ± deviations over seeds, with verdicts on what was expected."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ptzjepa.moving_dots.cells import Cell
from world_model_trainer.laboratory.moving_dots.methods import METHODS

FORMAT = "ptzjepa-moving-dots-study-1"
NUMBERS = ("rmse", "encoder_rmse", "mean_rmse", "within_between", "rank_me")
FAILED_PX = 7.0
FAILING = ("vicreg", "sigreg", "simclr")
"""Methods whose negatives or statistics are taken across trajectories: expected to fail before fixed noise."""
Group = Mapping[str, Any]


def summarise(cells: Sequence[Mapping[str, Any]], wanted: Sequence[Cell]) -> dict[str, Any]:
    """Return ``groups``, one for each method and background with its numbers over seeds, ``verdicts``, ``missing``."""
    keys = dict.fromkeys(_key(cell) for cell in cells)
    groups = [_group([cell for cell in cells if _key(cell) == key]) for key in keys]
    return {
        "format": FORMAT,
        "cells_done": len(cells),
        "cells_wanted": len(wanted),
        "cpu_seconds": round(sum(cell.get("card", {}).get("cpu_seconds", 0.0) for cell in cells), 1),
        "groups": groups,
        "verdicts": verdicts(groups),
        "missing": missing(cells, wanted),
        "cells": list(cells),
    }


def missing(cells: Sequence[Mapping[str, Any]], wanted: Sequence[Cell]) -> list[dict[str, Any]]:
    """Return what was asked for and is not there, by background: the seeds of each method; ``whole``: all of them."""
    done = {tuple(cell["cell"].values()) for cell in cells}
    places: dict[tuple[Any, ...], list[Cell]] = {}
    for cell in wanted:
        places.setdefault((cell.background, cell.texture, cell.level, cell.dots), []).append(cell)
    found = []
    for place, asked in places.items():
        lacking = [cell for cell in asked if tuple(cell.where.values()) not in done]
        if lacking:
            seeds: dict[str, list[int]] = {}
            for cell in lacking:
                seeds.setdefault(cell.method, []).append(cell.seed)
            where = dict(zip(("background", "texture", "level", "dots"), place, strict=True))
            found.append({**where, "whole": len(lacking) == len(asked), "methods": seeds})
    return found


def _key(cell: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(value for name, value in cell["cell"].items() if name != "seed")


def _group(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    whole = [cell for cell in cells if "failed" not in cell]
    group = {name: value for name, value in cells[0]["cell"].items() if name != "seed"}
    group["seeds"], group["diverged"] = len(whole), len(cells) - len(whole)
    for name in NUMBERS:
        group[name] = _over_seeds(cell[name] for cell in whole)
    group["planning"] = _over_seeds(cell["probe_mpc"]["distance"] for cell in whole if "probe_mpc" in cell)
    group["planning_random"] = _over_seeds(cell["probe_mpc"]["random"] for cell in whole if "probe_mpc" in cell)
    group["cpu_seconds"] = _over_seeds(cell["card"]["cpu_seconds"] for cell in whole)
    group["trajectories"] = whole[0]["card"]["trajectories"] if whole else 0
    group["rmse_by_step"] = [statistics.fmean(step) for step in zip(*(cell["rmse_by_step"] for cell in whole))]  # noqa: B905
    others = [[dot["rmse"] for dot in cell["dots"]] for cell in whole if "dots" in cell]
    group["dots_rmse"] = [_over_seeds(column) for column in zip(*others, strict=True)]
    return group


def _over_seeds(values: Iterable[float | None]) -> dict[str, float | None] | None:
    """Return mean and deviation; one seed has no deviation."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return {"mean": statistics.fmean(known), "deviation": statistics.stdev(known) if len(known) > 1 else None}


def pick(groups: Iterable[Group], background: str, texture: str, dots: int, level: float = 1.0) -> dict[str, float]:
    """Return the mean RMSE by method, in pixels, before one background."""
    wanted = (background, texture, dots, level)
    return {
        group["method"]: group["rmse"]["mean"]
        for group in groups
        if group["rmse"] and tuple(group[name] for name in ("background", "texture", "dots", "level")) == wanted
    }


def verdicts(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Judge the expectations at level 1 whose cells are there: name, number in pixels, bound, and whether it is met."""
    found: list[dict[str, Any]] = []

    def judge(name: str, value: float, bound: float, met: Callable[[float, float], bool], sign: str) -> None:
        found.append({"name": name, "px": value, "bound": f"{sign} {bound:g}", "met": met(value, bound)})

    at_most: Callable[[float, float], bool] = lambda value, bound: value <= bound  # noqa: E731
    at_least: Callable[[float, float], bool] = lambda value, bound: value >= bound  # noqa: E731
    for background, texture, dots, bound in (
        ("changing", "uniform", 1, 0.75),
        ("fixed", "uniform", 1, 1.0),
        ("changing", "structured", 1, 1.5),
        ("fixed", "structured", 1, 1.5),
        ("changing", "uniform", 3, 1.5),
        ("fixed", "uniform", 3, 1.5),
        ("fixed", "structured", 3, 1.5),
    ):
        rmse = pick(groups, background, texture, dots)
        where = f"{background} {texture}{', three dots' if dots == 3 else ''}"
        joint = {name: value for name, value in rmse.items() if METHODS[name].joint_embedding}
        if joint:
            best = min(joint, key=lambda name: joint[name])
            judge(f"{where}: best joint embedding ({best})", joint[best], bound, at_most, "≤")
        if background == "fixed":
            for name in FAILING:
                if name in rmse:
                    judge(f"{where}: {name} fails", rmse[name], FAILED_PX, at_least, "≥")
    return found
