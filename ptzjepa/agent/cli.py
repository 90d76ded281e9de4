"""``ptzjepa agent …``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _agent() -> None:
    """Examine agents with no service running."""


@app.command()
def examine(
    json_file: Annotated[
        Path, typer.Option("--json", metavar="FILE", help="File for all marks; the folder of its name holds the rest.")
    ],
    agents: Annotated[
        str,
        typer.Option(
            metavar="A,B", help="Agents, or one with its own rewards: ppo+error; random and oracle come along."
        ),
    ] = "actor_critic,raster,least_recently_viewed",
    rewards: Annotated[
        str, typer.Option(metavar="R,S", help="Rewards for agents that learn; mixes like disagreement+0.3*staleness.")
    ] = "disagreement",
    panorama: Annotated[
        list[Path] | None,
        typer.Option("--panorama", metavar="FILE", help="Equirectangular image or a folder of them; may be repeated."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=100, metavar="K", help="Sittings of each arm.")] = 5,
    frames: Annotated[int, typer.Option(min=1, max=1_000_000, metavar="N", help="Views of each sitting.")] = 6000,
    processes: Annotated[int, typer.Option(min=1, max=256, metavar="N", help="Processes, each with one thread.")] = 1,
) -> None:
    """Examine whether agents look where the world model is ignorant.

    Every agent and reward sits the same scenes with the same budget. Without
    --panorama the generated scene stands in. Ctrl-C or a kill loses the cells
    that are being sat; the same command goes on with the others.
    """
    from rich.console import Console

    from ptzjepa.agent.examine import ExamineOptions
    from ptzjepa.agent.examine import examine as run
    from ptzjepa.world_model.scenes import Source, panoramas_in

    sources = tuple(panoramas_in(panorama or [])) or (Source(None),)
    options = ExamineOptions(
        agents=_names(agents),
        rewards=_names(rewards),
        sources=sources,
        json_file=json_file,
        seeds=seeds,
        frames=frames,
        processes=processes,
    )
    raise typer.Exit(run(options, Console(highlight=False, markup=False, emoji=False)))


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
