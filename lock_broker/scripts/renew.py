"""Prolong a lease."""

from __future__ import annotations

from lock_broker import keys
from lock_broker.principals import Principal
from lock_broker.scripts.line import Line
from lock_broker.scripts.script import LeaseReply, Script

_SCRIPT = Script("renew")


async def renew(line: Line, lease_id: str, lease: keys.LeaseId, who: Principal, *, ttl_ms: int) -> LeaseReply:
    """Let a live lease run for ``ttl_ms`` from now, or for as long as it would have run, if that is longer.

    Outcomes: ``renewed``; ``expired``, ``released``, ``forced`` or ``superseded``, it has ended; ``foreign``, it is
    another principal's; ``unknown``, there was none.
    """
    arguments: list[str | int] = [lease_id, lease.token, who.name, int(who.may("admin")), ttl_ms]
    return LeaseReply.of(await _SCRIPT(line, keys.pairs([lease.resource]), arguments))
