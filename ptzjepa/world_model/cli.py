"""``ptzjepa world-model …``: train, evaluate, study."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

Panoramas = Annotated[
    list[Path] | None,
    typer.Option("--panorama", metavar="FILE", help="Equirectangular image or a folder of them; may be repeated."),
]
Generated = Annotated[bool, typer.Option("--generated", help="The generated scene, with changing light and traffic.")]
Minutes = Annotated[float, typer.Option(metavar="M", help="Minutes of CPU time, per thread.")]
Seed = Annotated[int, typer.Option(min=0, metavar="S", help="Seed of everything random.")]
Preset = Annotated[str, typer.Option(metavar="NAME", help="Sizes of the networks.")]
Objective = Annotated[str, typer.Option(metavar="NAME", help="What the model learns by.")]
Threads = Annotated[int, typer.Option(min=1, metavar="N", help="Threads to compute with.")]
Out = Annotated[Path, typer.Option(metavar="DIR", help="Folder of the run; the same command goes on from it.")]
Json = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all numbers there.")]
Transfer = Annotated[
    list[Path] | None,
    typer.Option(
        "--transfer", metavar="FILE", help="Panoramas (7 or more, or folders) for relative pose in unseen scenes."
    ),
]
Quick = Annotated[bool, typer.Option("--quick", help="A tenth of the views, for a first look.")]


@app.callback()
def _world_model() -> None:
    """Train and evaluate a world model with no service running."""


@app.command()
def train(
    out: Out,
    panorama: Panoramas = None,
    generated: Generated = False,
    minutes: Minutes = 10.0,
    seed: Seed = 0,
    preset: Preset = "tiny",
    objective: Objective = "default",
    cameras: Annotated[
        int, typer.Option(min=0, max=8, metavar="N", help="Cameras, each with its own fixed overlay; 0: no overlay.")
    ] = 0,
    threads: Threads = 1,
) -> None:
    """Train a world model from scratch.

    Writes DIR/model.safetensors. Ctrl-C saves; the same command goes on, after
    a kill as well.
    """
    from ptzjepa.world_model.train import TrainOptions
    from ptzjepa.world_model.train import train as run

    options = TrainOptions(_sources(panorama, generated), out, minutes, seed, preset, objective, cameras, threads)
    raise typer.Exit(run(options, _console()))


@app.command()
def evaluate(
    model: Annotated[Path, typer.Option(metavar="PATH", help="What train wrote: its folder, or the model's file.")],
    panorama: Panoramas = None,
    generated: Generated = False,
    views: Annotated[
        list[Path] | None,
        typer.Option("--views", metavar="PATH", help="Stored views: a folder, JSON lines or Parquet; may be repeated."),
    ] = None,
    transfer: Transfer = None,
    overlaid: Annotated[
        Path | None, typer.Option(metavar="PATH", help="The same model, trained with --cameras 1, to compare with.")
    ] = None,
    json_file: Json = None,
    seed: Seed = 0,
    quick: Quick = False,
    field_of_view: Annotated[
        float, typer.Option(metavar="DEG", help="Of stored views: horizontal, in degrees, at zoom 1.")
    ] = 60.0,
    threads: Threads = 1,
) -> None:
    """Measure what a world model knows, beside its floors."""
    from ptzjepa.world_model.evaluate import EvaluateOptions, write_json
    from ptzjepa.world_model.evaluate import evaluate as run
    from ptzjepa.world_model.tables import describe

    options = EvaluateOptions(
        model=model,
        sources=_sources(panorama, generated, needed=False),
        views=tuple(views or ()),
        transfer=_sources(transfer, False, needed=False),
        overlaid=overlaid,
        seed=seed,
        quick=quick,
        threads=threads,
        field_of_view=field_of_view,
    )
    result = run(options)
    if json_file is not None:
        write_json(json_file, result)
    for line in describe(result):
        typer.echo(line)


@app.command()
def study(
    out: Out,
    panorama: Panoramas = None,
    generated: Generated = False,
    seeds: Annotated[int, typer.Option(min=1, metavar="N", help="Runs per scene.")] = 3,
    minutes: Minutes = 10.0,
    preset: Preset = "tiny",
    objective: Objective = "default",
    transfer: Transfer = None,
    overlay: Annotated[bool, typer.Option("--overlay", help="Train a twin under a fixed overlay, too.")] = False,
    json_file: Json = None,
    quick: Quick = False,
    threads: Threads = 1,
) -> None:
    """Train and evaluate scenes × seeds; print mean ± deviation.

    Every scene is trained on by itself. The same command goes on.
    """
    from ptzjepa.world_model import study as studies
    from ptzjepa.world_model.evaluate import write_json

    options = studies.StudyOptions(
        sources=_sources(panorama, generated),
        out=out,
        seeds=seeds,
        transfer=_sources(transfer, False, needed=False),
        overlay=overlay,
        minutes=minutes,
        preset=preset,
        objective=objective,
        threads=threads,
        quick=quick,
    )
    studies.check(options)
    code, result = studies.study(options, _console())
    if result is not None:
        if json_file is not None:
            write_json(json_file, result)
        for line in studies.describe_study(result):
            typer.echo(line)
    raise typer.Exit(code)


def _sources(panoramas: list[Path] | None, generated: bool, *, needed: bool = True) -> tuple[Any, ...]:
    from ptzjepa.world_model.scenes import Source, panoramas_in
    from shared.errors import UserError

    sources = panoramas_in(panoramas or [])
    if generated:
        sources.append(Source(None))
    if needed and not sources:
        raise UserError("no scene: give --panorama FILE or --generated")
    return tuple(sources)


def _console() -> Any:
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False)
