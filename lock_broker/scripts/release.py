"""End a lease."""

from __future__ import annotations

from lock_broker import keys
from lock_broker.principals import Principal
from lock_broker.scripts.line import Line
from lock_broker.scripts.script import LeaseReply, Script

_SCRIPT = Script("release")


async def release(line: Line, lease_id: str, lease: keys.LeaseId, who: Principal) -> LeaseReply:
    """Give a lease back.

    Outcomes: ``freed``; ``expired``, ``released``, ``forced`` or ``superseded``, it had ended before; ``foreign``, it
    is another principal's; ``unknown``, there was none.
    """
    return await _end(line, lease_id, lease, who, "released", "")


async def force(line: Line, lease_id: str, lease: keys.LeaseId, who: Principal, reason: str) -> LeaseReply:
    """Take a lease away from its holder, and make its token an old one. Outcomes as those of ``release``."""
    return await _end(line, lease_id, lease, who, "forced", reason)


async def _end(line: Line, lease_id: str, lease: keys.LeaseId, who: Principal, how: str, reason: str) -> LeaseReply:
    arguments: list[str | int] = [lease_id, lease.token, who.name, int(who.may("admin")), how, reason]
    return LeaseReply.of(await _SCRIPT(line, keys.pairs([lease.resource]), arguments))
