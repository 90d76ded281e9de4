"""``ptzjepa moving-dots …``: train, study, configs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

Values = Annotated[
    list[str] | None,
    typer.Option("--values", metavar="KEY=VALUE", help="Options in place of the files'; may be repeated."),
]
Json = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all numbers there.")]


@app.callback()
def _moving_dots() -> None:
    """Which objectives see a dot that moves, and which only the background."""


@app.command()
def train(
    more: Annotated[
        list[str] | None, typer.Argument(metavar="[FILE|KEY=VALUE]...", help="More of either option.")
    ] = None,
    configs: Annotated[
        list[str] | None,
        typer.Option("--configs", metavar="FILE", help="YAML file, or the name of a shipped configuration."),
    ] = None,
    values: Values = None,
    json_file: Json = None,
    threads: Annotated[int, typer.Option(min=1, metavar="N", help="Threads to compute with.")] = 1,
) -> None:
    """Train one model and probe it, by the study's options.

    Files are merged in their order, then values:
    moving-dots train --configs fixed_uniform.vicreg --values seed=1
    """
    import torch

    from ptzjepa.moving_dots.config import IDLE, read_config
    from ptzjepa.moving_dots.run import run
    from ptzjepa.moving_dots.shipped import path_of
    from ptzjepa.world_model.json_file import write_json

    torch.set_num_threads(threads)
    files = [path_of(name) for name in [*(configs or []), *(each for each in more or [] if "=" not in each)]]
    config = read_config(files, [*(values or []), *(each for each in more or [] if "=" in each)])
    if idle := sorted(set(IDLE) & config.model_fields_set):
        typer.echo(f"without effect here: {', '.join(idle)}")
    result = run(config, _say)
    if json_file is not None:
        write_json(json_file, result)
    for name in ("method", "rmse", "encoder_rmse", "mean_rmse", "within_between", "rank_me"):
        value = result[name]
        typer.echo(f"{name:<16}{value if isinstance(value, str) else f'{value:.3f}'}")
    for name in ("probe_mpc", "dots"):
        if name in result:
            typer.echo(f"{name:<16}{json.dumps(_rounded(result[name]))}")
    typer.echo(f"{'cpu_seconds':<16}{result['card']['cpu_seconds']:.1f}")


@app.command()
def study(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the study; the same command goes on from it.")],
    minutes: Annotated[float, typer.Option(metavar="M", help="Time for it, by the clock.")] = 60.0,
    seeds: Annotated[int, typer.Option(min=1, max=100, metavar="N", help="Runs per method and background.")] = 3,
    method: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Method to try, may be repeated; all if left out.")
    ] = None,
    level: Annotated[
        list[float] | None, typer.Option(metavar="X", help="Level of noise, may be repeated; else .5 to 3.")
    ] = None,
    processes: Annotated[
        int, typer.Option(min=1, max=256, metavar="N", help="Processes side by side, of one thread each.")
    ] = 1,
    values: Values = None,
) -> None:
    """Try methods before none, changing and fixed noise, within a time.

    Writes DIR/study.md, study.json and study.png. Level 1 comes first, then the
    other levels as far as the time goes. Killed or stopped, the same command
    goes on.
    """
    from rich.console import Console

    from ptzjepa.moving_dots.cells import LEVELS, known_methods
    from ptzjepa.moving_dots.study import StudyOptions
    from ptzjepa.moving_dots.study import study as run

    options = StudyOptions(
        out=out,
        minutes=minutes,
        seeds=seeds,
        levels=tuple(dict.fromkeys(level or LEVELS)),
        methods=tuple(dict.fromkeys(method or known_methods())),
        processes=processes,
        values=tuple(values or ()),
    )
    raise typer.Exit(run(options, Console(highlight=False, markup=False, emoji=False)))


@app.command()
def configs() -> None:
    """List the shipped configurations."""
    from ptzjepa.moving_dots.shipped import names

    for name in names():
        typer.echo(name)


def _say(step: int, steps: int, terms: dict[str, float]) -> None:
    if step % 200 == 0 or step == steps:
        shown = ", ".join(f"{name} {value:.3f}" for name, value in terms.items())
        typer.echo(f"step {step} of {steps}: {shown}")


def _rounded(found: Any) -> Any:
    if isinstance(found, dict):
        return {name: _rounded(value) for name, value in found.items()}
    if isinstance(found, list):
        return [_rounded(value) for value in found]
    return round(found, 3) if isinstance(found, float) else found
