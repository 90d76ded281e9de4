"""``ptzjepa world-model study``: settings × scenes × seeds, trained and evaluated one after the other, as one table.

A setting is an objective and a preset. Every run has a folder of its own under the study's and goes on where it was
stopped, so the same command does, too. Deviations are over seeds: of each seed's mean over scenes.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from ptzjepa.world_model.choices import DEFAULT_OBJECTIVE, DEFAULT_PRESET, make_objective, networks
from ptzjepa.world_model.evaluate import FORMAT, EvaluateOptions, check_transfer, evaluate
from ptzjepa.world_model.json_file import write_json
from ptzjepa.world_model.scenes import Source
from ptzjepa.world_model.tables import study_table
from ptzjepa.world_model.train import Clock, TrainOptions, train
from ptzjepa.world_model.training_state import MODEL
from shared.errors import EXIT_OK, UserError
from world_model_trainer.evaluation import flatten

STUDY_FORMAT = "ptzjepa-study-1"
EVALUATION = "evaluation.json"
TOGETHER = "together"


@dataclass(frozen=True)
class StudyOptions:
    """What the user asks of a study. ``overlay`` trains a twin of every run under a fixed overlay, too; ``together``
    trains one model for all scenes instead of one for each.
    """

    sources: tuple[Source, ...]
    out: Path
    seeds: int = 3
    transfer: tuple[Source, ...] = ()
    overlay: bool = False
    together: bool = False
    minutes: float = 10.0
    presets: tuple[str, ...] = (DEFAULT_PRESET,)
    objectives: tuple[str, ...] = (DEFAULT_OBJECTIVE,)
    threads: int = 1
    clock: Clock = "wall"
    quick: bool = False


@dataclass(frozen=True)
class Run:
    """One run of a study: ``scenes`` is what the table calls the scenes that it is trained on."""

    setting: str
    scenes: str
    seed: int
    options: TrainOptions


def runs(options: StudyOptions) -> Iterator[Run]:
    """Yield all runs of a study, seed by seed, so that a study that is stopped has compared what it did."""
    groups = [(TOGETHER, options.sources)] if options.together else [(each.name, (each,)) for each in options.sources]
    for seed in range(options.seeds):
        for objective in options.objectives:
            for size in options.presets:
                setting = objective if len(options.presets) == 1 else f"{objective}, {size}"
                for scenes, sources in groups:
                    trained = TrainOptions(
                        sources=sources,
                        out=options.out / f"{scenes}-{objective}-{size}-{seed}",
                        minutes=options.minutes,
                        seed=seed,
                        preset=size,
                        objective=objective,
                        threads=options.threads,
                        clock=options.clock,
                    )
                    yield Run(setting, scenes, seed, trained)


def study(options: StudyOptions, console: Console) -> tuple[int, dict[str, Any] | None]:
    """Do all runs that are not done yet; returns the exit code and, unless interrupted, the study's result."""
    check(options)
    results: list[dict[str, Any]] = []
    for run in runs(options):
        console.print(f"-- {run.setting}; {run.scenes}; seed {run.seed}")
        code, result = _do(options, run, console)
        if result is None:
            return code, None
        numbers = {name: result[name] for name in result["headline"]}
        where = {"setting": run.setting, "scenes": run.scenes, "seed": run.seed}
        results.append({**where, "numbers": numbers, "card": result["card"]})
    return EXIT_OK, summarise(results)


def _do(options: StudyOptions, run: Run, console: Console) -> tuple[int, dict[str, Any] | None]:
    twins = [run.options]
    if options.overlay:
        under = run.options.out.with_name(f"{run.options.out.name}-overlay")
        twins.append(replace(run.options, out=under, cameras=1))
    for twin in twins:
        if (code := train(twin, console)) != EXIT_OK:
            return code, None
    asked = EvaluateOptions(
        model=run.options.out,
        sources=run.options.sources,
        transfer=options.transfer,
        overlaid=twins[1].out if options.overlay else None,
        seed=run.seed,
        quick=options.quick,
        threads=options.threads,
    )
    path = run.options.out / EVALUATION
    result = _done(path, asked)
    if result is None:
        result = {**evaluate(asked), "asked": _asked(asked)}
        write_json(path, result)
    return EXIT_OK, result


def _asked(options: EvaluateOptions) -> dict[str, Any]:
    return {
        "transfer": [source.digest for source in options.transfer],
        "overlaid": options.overlaid is not None,
        "quick": options.quick,
    }


def _done(path: Path, options: EvaluateOptions) -> dict[str, Any] | None:
    """Return the evaluation that an earlier life of the study made, if it is whole and of the same question."""
    try:
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        same = result["format"] == FORMAT and result["asked"] == _asked(options)
        newer = path.stat().st_mtime >= (options.model / MODEL).stat().st_mtime
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return result if same and newer else None


def summarise(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return mean, deviation over seeds and number of seeds of every number, by setting: over scenes and by scene."""
    settings: dict[str, Any] = {}
    for setting in dict.fromkeys(result["setting"] for result in results):
        ours = [result for result in results if result["setting"] == setting]
        by_seed = {seed: [each for each in ours if each["seed"] == seed] for seed in {each["seed"] for each in ours}}
        settings[setting] = {
            "all": _over_seeds(_mean(map(_numbers, same)) for same in by_seed.values()),
            "scenes": {
                scenes: _over_seeds(_numbers(each) for each in ours if each["scenes"] == scenes)
                for scenes in dict.fromkeys(each["scenes"] for each in ours)
            },
        }
    return {"format": STUDY_FORMAT, "settings": settings, "runs": list(results)}


def _numbers(result: Mapping[str, Any]) -> dict[str, float]:
    flat = flatten(result["numbers"])
    return {name: value for name, value in flat.items() if value is not None and math.isfinite(value)}


def _mean(runs: Iterable[Mapping[str, float]]) -> dict[str, float]:
    return {name: statistics.fmean(values) for name, values in _columns(runs).items()}


def _over_seeds(seeds: Iterable[Mapping[str, float]]) -> dict[str, dict[str, float | int]]:
    return {
        name: {
            "mean": statistics.fmean(values),
            "deviation": statistics.stdev(values) if len(values) > 1 else 0.0,
            "seeds": len(values),
        }
        for name, values in _columns(seeds).items()
    }


def _columns(rows: Iterable[Mapping[str, float]]) -> dict[str, list[float]]:
    columns: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
    return columns


def describe_study(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of a study's table: every headline number and its floors, a column for each setting."""
    yield from study_table({name: found["all"] for name, found in result["settings"].items()})


def check(options: StudyOptions) -> None:
    """Raise ``UserError`` for what is wrong before hours of training show it."""
    for size in options.presets:
        for objective in options.objectives:
            make_objective(objective, networks(size, objective))
    check_transfer(options.transfer)
    names = [source.name for source in options.sources]
    if len(set(names)) != len(names):
        raise UserError("two panoramas have the same name; rename one")
    for source in (*options.sources, *options.transfer):
        if source.panorama is not None:
            source.open()
