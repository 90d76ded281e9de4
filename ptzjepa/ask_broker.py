"""What the commands about the lock broker share: asking it, and tables that fit into a terminal of eighty columns."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TypeVar

import typer
from rich.cells import cell_len, set_cell_size

from shared.broker.client import BrokerAway, BrokerClient, CommitRefused, LeaseHeld, LeaseLost
from shared.errors import UserError
from shared.settings import ServiceSettings

EXIT_REFUSED = 1
"""The broker said no: the input was right, asking again later may help."""
WIDTH = 80
LEAST = 10
"""A column is not cut below this while another one can be."""
_GAP = "  "

T = TypeVar("T")


def ask(work: Callable[[BrokerClient], Awaitable[T]]) -> T:
    """Ask the broker that the settings name. ``UserError`` where it is away or does not let us in; a refusal ends the
    command with one line and exit code 1."""
    settings = ServiceSettings.from_environment()

    async def asked() -> T:
        broker = BrokerClient(settings)
        try:
            return await work(broker)
        finally:
            await broker.aclose()

    try:
        return asyncio.run(asked())
    except BrokerAway as error:
        if not error.after:
            raise UserError(
                f"the lock broker at {settings.broker_url} does not answer ({_line(error)}); set PTZ_BROKER_URL"
            ) from error
        problem = f"the lock broker can't do it now ({_line(error)}); ask again in {error.after:.0f} s"
    except LeaseHeld as error:
        problem = f"{_line(error)}; stop its holder, or wait"
    except (CommitRefused, LeaseLost, RuntimeError) as error:
        problem = _line(error)
    typer.echo(f"error: {problem}", err=True)
    raise typer.Exit(EXIT_REFUSED)


def table(titles: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """Return a table's lines. Where they would be too long the widest column is cut, the first one, a name, last."""
    cells = [[printable(cell) for cell in row] for row in [titles, *rows]]
    widths = [max(cell_len(row[column]) for row in cells) for column in range(len(titles))]
    while sum(widths) + len(_GAP) * (len(widths) - 1) > WIDTH:
        rest = widths[1:] if max(widths[1:]) > LEAST else widths
        widths[widths.index(max(rest), len(widths) - len(rest))] -= 1
    return [_GAP.join(_fit(cell, width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def cut(line: str) -> str:
    """Return a line that fits."""
    return _fit(printable(line), WIDTH).rstrip()


def printable(text: str) -> str:
    """Return a text that does nothing to a terminal: labels are whatever their senders say."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def print_json(value: object) -> None:
    """Print a value for programs."""
    typer.echo(json.dumps(value, indent=2))


def _fit(text: str, width: int) -> str:
    return set_cell_size(text, width) if cell_len(text) <= width else f"{set_cell_size(text, width - 1)}…"


def _line(error: Exception) -> str:
    return printable(" ".join(str(error).split()))
