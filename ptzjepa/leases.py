"""``ptzjepa leases``: who holds what, who waits for it; and taking a lease away."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any

import typer
from rich.console import Console

from ptzjepa.ask_broker import ask, print_json, printable, table
from shared.broker.client import BrokerAway, BrokerClient
from shared.errors import UserError
from shared.leases import Lease, ResourceState

WATCH_SECONDS = 2.0

app = typer.Typer(rich_markup_mode=None, help="Show who holds which lease, and who waits; take a lease away.")


@app.callback(invoke_without_command=True)
def leases(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
    ids: Annotated[bool, typer.Option("--ids", help="Show the leases' ids, in full.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again every 2 s, until Ctrl-C.")] = False,
) -> None:
    """Show who holds which lease, for how long yet (minutes:seconds), and how
    many wait for the resource.

    Exit code 2 if the broker is away or does not let us in.
    """
    if context.invoked_subcommand is not None:
        return
    if watch:
        ask(lambda broker: _watch(broker, as_json=as_json, ids=ids))
        return
    states = ask(lambda broker: broker.resources())
    if as_json:
        print_json(_document(states))
    else:
        typer.echo(_text(states, ids=ids))


@app.command()
def force(
    what: Annotated[str, typer.Argument(metavar="RESOURCE", help="All leases of it; or one lease's id (--ids).")],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; for the audit stream.")],
) -> None:
    """Take a resource's leases away from their holders. Needs an admin's token.

    A holder learns of it when it renews or commits: what it writes under
    such a lease is refused from now on.
    """
    if not 1 <= len(reason) <= 256:
        raise UserError("--reason: give 1 to 256 characters")

    async def take(broker: BrokerClient) -> list[Lease]:
        taken = [lease for lease in await broker.leases() if what in (lease.resource, lease.lease_id)]
        for lease in taken:
            await broker.force_release(lease.lease_id, reason)
        return taken

    taken = ask(take)
    if not taken:
        raise UserError(f"nobody holds a lease of {printable(what[:160])}; see: ptzjepa leases")
    for lease in taken:
        typer.echo(f"{lease.resource}: the lease with token {lease.token} is taken away from {printable(lease.holder)}")


async def _watch(broker: BrokerClient, *, as_json: bool, ids: bool) -> None:
    """Show it until Ctrl-C. A broker that goes away after the first answer may come back."""
    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    said = ""
    while True:
        try:
            states = await broker.resources()
        except BrokerAway as error:
            if not said:
                raise
            typer.echo(f"the lock broker does not answer: {error}", err=True)
        else:
            said = json.dumps(_document(states)) if as_json else _text(states, ids=ids)
            if console.is_terminal and not as_json:
                console.clear()
            typer.echo(said if as_json else f"{said}\n")
        await asyncio.sleep(WATCH_SECONDS)


def _document(states: list[ResourceState]) -> list[dict[str, Any]]:
    return [state.model_dump(mode="json") for state in states]


def _text(states: list[ResourceState], *, ids: bool) -> str:
    if not states:
        return "no leases"
    if ids:
        return "\n".join(lease.lease_id for state in states for lease in state.leases)
    titles = ("RESOURCE", "MODE", "HOLDER", "PRINCIPAL", "TOKEN", "EXPIRES", "WAITING")
    return "\n".join(table(titles, [row for state in states for row in _rows(state)]))


def _rows(state: ResourceState) -> list[tuple[str, ...]]:
    waiting = str(len(state.waiting))
    held: list[tuple[str, ...]] = [
        (state.resource, it.mode, it.holder, it.principal, str(it.token), _clock(it.expires_in_ms), waiting)
        for it in state.leases
    ]
    return held or [(state.resource, "free", "", "", str(state.token), "", waiting)]


def _clock(milliseconds: int) -> str:
    seconds = milliseconds // 1000
    return f"{seconds // 60}:{seconds % 60:02d}"
