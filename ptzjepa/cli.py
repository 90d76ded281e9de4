"""The command line: ``ptzjepa demo``, ``up``, ``agent``, ``camera``, ``dream``, ``track``, ``models``, ``leases``,
``broker``, ``verify``, ``world-model``, ``moving-dots``.

Wrong input ends with one line ``error: …`` on stderr and exit code 2, never with a traceback.
"""

from __future__ import annotations

import os
import sys
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from ptzjepa import broker, leases, models
from ptzjepa.agent.cli import app as agent_app
from ptzjepa.camera_commands import app as camera_app
from ptzjepa.dream import app as dream_app
from ptzjepa.moving_dots.cli import app as moving_dots_app
from ptzjepa.options import RunOptions
from ptzjepa.world_model.cli import app as world_model_app
from shared.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_USER, UserError

# typer brings click along under a private name or depends on it, by version; its public error tells which.
_ClickError: type[Exception] = next(
    kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException" and issubclass(kind, Exception)
)

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)
app.add_typer(agent_app, name="agent")
app.add_typer(camera_app, name="camera")
app.add_typer(dream_app, name="dream")
app.add_typer(models.app, name="models")
app.add_typer(leases.app, name="leases")
app.add_typer(broker.app, name="broker")
app.add_typer(world_model_app, name="world-model")
app.add_typer(moving_dots_app, name="moving-dots")

Panorama = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Equirectangular image to look at; without it a generated scene."),
]
Minutes = Annotated[float, typer.Option(metavar="M", help="How long to run.")]
Seed = Annotated[int, typer.Option(min=0, metavar="S", help="Seed of everything random.")]
Out = Annotated[Path, typer.Option(metavar="DIR", help="Folder of the run: state, logs, summary, report.")]
BrokerPort = Annotated[
    int, typer.Option(min=0, max=65535, metavar="N", help="Port of the lock broker; 0 takes a free one.")
]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ptzjepa {metadata.version('ptzjepa')}")
        raise typer.Exit


@app.callback()
def _ptzjepa(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Run a curious pan-tilt-zoom camera on this machine, with all services."""


@app.command()
def demo(
    panorama: Panorama = None,
    minutes: Minutes = 3.0,
    seed: Seed = 0,
    out: Out = Path("runs/demo"),
    broker_port: BrokerPort = 0,
) -> None:
    """Run everything for some minutes, then write a summary and a report.

    Exit code: 0 if the run was good, 1 if a check failed, 2 if the input was
    wrong, 130 if interrupted.
    """
    _run(RunOptions("demo", out, panorama, minutes, seed, broker_port))


@app.command()
def up(
    panorama: Panorama = None,
    seed: Seed = 0,
    out: Out = Path("runs/up"),
    broker_port: BrokerPort = 0,
) -> None:
    """Run everything until Ctrl-C, then write a summary and a report.

    Started again, it goes on from what it had learnt.
    """
    _run(RunOptions("up", out, panorama, None, seed, broker_port))


@app.command()
def track(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="What PTZ_TRACK named, or PTZJEPA's persistence.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print every row as one line of JSON.")] = False,
    embeddings: Annotated[bool, typer.Option(help="Read embeddings and action values, too.")] = True,
) -> None:
    """Show what was tracked: views, commands, embeddings and action values."""
    from ptzjepa.track_command import run

    raise typer.Exit(run(directory, as_json=as_json, embeddings=embeddings))


verify = typer.Typer(no_args_is_help=True, help="Try out whether promises are kept, with faults.")
app.add_typer(verify, name="verify")


@verify.command("leases")
def verify_leases(
    operations: Annotated[int, typer.Option(min=1, metavar="N", help="Operations to make.")] = 100_000,
    minutes: Annotated[float, typer.Option(min=0.01, metavar="M", help="Longest time to take for them.")] = 15.0,
    json: Annotated[Path, typer.Option(metavar="FILE", help="File for the result.")] = Path("leases.json"),
    seed: Seed = 0,
) -> None:
    """Try the lock broker: many clients, kills, stops and broken connections.

    Starts a Redis and brokers of its own, records what the clients see, and
    looks for broken promises; proves by planted ones that it would see them.
    Ctrl-C ends it early with a result of what was done; a second one at once.

    Exit code: 0 if no promise was broken and all planted violations were
    seen, 1 if not, 2 if the input was wrong, 130 if interrupted.
    """
    from ptzjepa.verification.leases import Trial, run

    raise typer.Exit(run(Trial(operations, minutes, json, seed), _console()))


def _console() -> Console:
    return Console(highlight=False, markup=False, emoji=False)


def _run(options: RunOptions) -> None:
    # Imported late: help and version shall not wait for it.
    from ptzjepa.demo import run

    raise typer.Exit(run(options, _console()))


def main() -> int:
    """Run the command line and return the exit code."""
    # The report is drawn without a display, and its font cache must not need a home directory.
    os.environ.setdefault("MPLBACKEND", "agg")
    try:
        result: Any = app(standalone_mode=False)
    except UserError as error:
        return _fail(str(error), EXIT_USER)
    except _ClickError as error:
        return _fail(_click_message(error), EXIT_USER)
    except (KeyboardInterrupt, typer.Abort):
        result = EXIT_INTERRUPTED
    if result == EXIT_INTERRUPTED:  # typer makes it of most interruptions, and says nothing
        print("stopped", file=sys.stderr)
    return result if isinstance(result, int) else EXIT_OK


def _fail(message: str, code: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code


def _click_message(error: Exception) -> str:
    formatted = getattr(error, "format_message", None)
    return " ".join(str(formatted() if formatted else error).split())
