"""``ptzjepa world-model …``: train, evaluate, study."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

Panoramas = Annotated[
    list[Path] | None,
    typer.Option("--panorama", metavar="FILE", help="Equirectangular image or a folder of them; may be repeated."),
]
Generated = Annotated[bool, typer.Option("--generated", help="The generated scene, with changing light and traffic.")]
Minutes = Annotated[float, typer.Option(metavar="M", help="Minutes of training, by --clock.")]
Clock = Annotated[
    str, typer.Option(metavar="wall|cpu", help="cpu: minutes of CPU time over threads, for busy machines.")
]
Seed = Annotated[int, typer.Option(min=0, metavar="S", help="Seed of everything random.")]
Preset = Annotated[str, typer.Option(metavar="NAME", help="Sizes of the networks.")]
Objective = Annotated[str, typer.Option(metavar="NAME", help="What the model learns by.")]
Threads = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Threads to compute with; all cores if left out.")
]
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
    objective: Objective = "vicreg+idm+pose",
    cameras: Annotated[
        int, typer.Option(min=0, max=8, metavar="N", help="Cameras, each with its own fixed overlay; 0: no overlay.")
    ] = 0,
    clock: Clock = "wall",
    threads: Threads = None,
    json_file: Json = None,
) -> None:
    """Train a world model from scratch, on all scenes together.

    Writes DIR/model.safetensors. Ctrl-C saves; the same command goes on, after
    a kill as well.
    """
    from ptzjepa.world_model.train import TrainOptions
    from ptzjepa.world_model.train import train as run

    options = TrainOptions(
        sources=_sources(panorama, generated),
        out=out,
        minutes=minutes,
        seed=seed,
        preset=preset,
        objective=objective,
        cameras=cameras,
        threads=_threads(threads),
        clock=_clock(clock),
    )
    raise typer.Exit(run(options, _console(), json_file))


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
    camera: Annotated[str, typer.Option(metavar="NAME", help="Of stored views: whose they are.")] = "",
    stored_views: Annotated[
        int | None,
        typer.Option(min=21, max=1_000_000, metavar="N", help="Views that the look-up knows of a scene; else 20,000."),
    ] = None,
    threads: Threads = None,
) -> None:
    """Measure what a world model knows, beside its floors."""
    from ptzjepa.world_model.evaluate import EvaluateOptions
    from ptzjepa.world_model.evaluate import evaluate as run
    from ptzjepa.world_model.json_file import write_json
    from ptzjepa.world_model.tables import describe

    options = EvaluateOptions(
        model=model,
        sources=_sources(panorama, generated, needed=False),
        views=tuple(views or ()),
        transfer=_sources(transfer, False, needed=False),
        overlaid=overlaid,
        seed=seed,
        quick=quick,
        threads=_threads(threads),
        field_of_view=field_of_view,
        camera=camera,
        stored_views=stored_views,
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
    seeds: Annotated[int, typer.Option(min=1, metavar="N", help="Runs per scene and setting.")] = 3,
    minutes: Minutes = 10.0,
    preset: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Sizes of the networks; may be repeated.")
    ] = None,
    objective: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="What models learn by; may be repeated.")
    ] = None,
    together: Annotated[bool, typer.Option("--together", help="One model for all scenes instead of one each.")] = False,
    transfer: Transfer = None,
    overlay: Annotated[bool, typer.Option("--overlay", help="Train a twin under a fixed overlay, too.")] = False,
    json_file: Json = None,
    quick: Quick = False,
    clock: Clock = "wall",
    threads: Threads = None,
) -> None:
    """Train and evaluate settings × scenes × seeds; one table, ± over seeds.

    A setting is an objective and a preset. The same command goes on.
    """
    from ptzjepa.world_model import study as studies
    from ptzjepa.world_model.choices import DEFAULT_OBJECTIVE, DEFAULT_PRESET
    from ptzjepa.world_model.json_file import write_json

    options = studies.StudyOptions(
        sources=_sources(panorama, generated),
        out=out,
        seeds=seeds,
        transfer=_sources(transfer, False, needed=False),
        overlay=overlay,
        together=together,
        minutes=minutes,
        presets=tuple(dict.fromkeys(preset or [DEFAULT_PRESET])),
        objectives=tuple(dict.fromkeys(objective or [DEFAULT_OBJECTIVE])),
        threads=_threads(threads),
        clock=_clock(clock),
        quick=quick,
    )
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


def _threads(wanted: int | None) -> int:
    # What this process may run on can be less than the machine has.
    return wanted or len(os.sched_getaffinity(0))


def _clock(name: str) -> Literal["wall", "cpu"]:
    from shared.errors import UserError

    if name == "wall":
        return "wall"
    if name == "cpu":
        return "cpu"
    raise UserError(f"--clock {name}: give wall or cpu")


def _console() -> Any:
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False)
