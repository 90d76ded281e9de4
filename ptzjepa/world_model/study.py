"""``ptzjepa world-model study``: scenes × seeds, trained and evaluated one after the other, as mean ± deviation.

Every run has a folder of its own under the study's and goes on where it was stopped, so the same command does, too.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from ptzjepa.world_model.evaluate import FORMAT, EvaluateOptions, evaluate, write_json
from ptzjepa.world_model.scenes import Source
from ptzjepa.world_model.tables import table
from ptzjepa.world_model.train import TrainOptions, train
from ptzjepa.world_model.training_state import MODEL
from shared.errors import EXIT_OK, UserError
from world_model_trainer.evaluation import flatten

STUDY_FORMAT = "ptzjepa-study-1"
EVALUATION = "evaluation.json"


@dataclass(frozen=True)
class StudyOptions:
    """What the user asks of a study. ``overlay`` trains a twin of every run under a fixed overlay, too."""

    sources: tuple[Source, ...]
    out: Path
    seeds: int = 3
    transfer: tuple[Source, ...] = ()
    overlay: bool = False
    minutes: float = 10.0
    preset: str = "tiny"
    objective: str = "default"
    threads: int = 1
    quick: bool = False


def study(options: StudyOptions, console: Console) -> tuple[int, dict[str, Any] | None]:
    """Do all runs that are not done yet; returns the exit code and, unless interrupted, the study's result."""
    results: dict[str, list[dict[str, Any]]] = {}
    for source in options.sources:
        for seed in range(options.seeds):
            console.print(f"-- {source.name}, seed {seed}")
            code, result = _run(options, source, seed, console)
            if result is None:
                return code, None
            results.setdefault(source.name, []).append(result)
    return EXIT_OK, summarise(results)


def _run(options: StudyOptions, source: Source, seed: int, console: Console) -> tuple[int, dict[str, Any] | None]:
    trained = TrainOptions(
        sources=(source,),
        out=options.out / f"{source.name}-{seed}",
        minutes=options.minutes,
        seed=seed,
        preset=options.preset,
        objective=options.objective,
        threads=options.threads,
    )
    twins = [trained]
    if options.overlay:
        twins.append(replace(trained, out=options.out / f"{source.name}-{seed}-overlay", cameras=1))
    for twin in twins:
        if (code := train(twin, console)) != EXIT_OK:
            return code, None
    asked = EvaluateOptions(
        model=trained.out,
        sources=(source,),
        transfer=options.transfer,
        overlaid=twins[1].out if options.overlay else None,
        seed=seed,
        quick=options.quick,
        threads=options.threads,
    )
    path = trained.out / EVALUATION
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
        result = json.loads(path.read_text(encoding="utf-8"))
        same = result["format"] == FORMAT and result["asked"] == _asked(options)
        newer = path.stat().st_mtime >= (options.model / MODEL).stat().st_mtime
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return result if same and newer else None


def summarise(results: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Return mean, deviation over runs and count of every headline number, over all runs and by scene."""
    return {
        "format": STUDY_FORMAT,
        "all": _spread([_headline(result) for runs in results.values() for result in runs]),
        "scenes": {name: _spread([_headline(result) for result in runs]) for name, runs in results.items()},
        "runs": {
            name: [{"seed": result["seed"], "card": result["card"], **_headline(result)} for result in runs]
            for name, runs in results.items()
        },
    }


def _headline(result: Mapping[str, Any]) -> dict[str, float | None]:
    left_out = ("format", "model", "card", "seed", "quick", "places", "relative", "overlay", "asked")
    return flatten({name: value for name, value in result.items() if name not in left_out})


def _spread(runs: Sequence[Mapping[str, float | None]]) -> dict[str, dict[str, float | int]]:
    found = {}
    for name in sorted({name for run in runs for name in run}):
        values = [value for run in runs if (value := run.get(name)) is not None and math.isfinite(value)]
        if values:
            deviation = statistics.stdev(values) if len(values) > 1 else 0.0
            found[name] = {"mean": statistics.fmean(values), "deviation": deviation, "runs": len(values)}
    return found


def describe_study(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of a study: every headline number as mean ± deviation."""
    for title, found in [("all scenes", result["all"]), *result["scenes"].items()]:
        rows = [
            (name, [f"{each['mean']:.3f}", f"± {each['deviation']:.3f}", str(each["runs"])])
            for name, each in found.items()
        ]
        yield from table(title, ("mean", "deviation", "runs"), rows)


def check(options: StudyOptions) -> None:
    """Raise ``UserError`` for what is wrong before hours of training show it."""
    if not options.sources:
        raise UserError("nothing to study: give --panorama or --generated")
    names = [source.name for source in options.sources]
    if len(set(names)) != len(names):
        raise UserError("two panoramas have the same name; rename one")
    for source in (*options.sources, *options.transfer):
        if source.panorama is not None:
            source.open()
