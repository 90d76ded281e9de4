"""Give a lease back."""

from __future__ import annotations

from redis.asyncio import Redis

from lock_broker import keys
from lock_broker.scripts.script import Clock, LeaseReply, Script

_SCRIPT = Script("release")


async def release(redis: Redis, clock: Clock, lease_id: str, lease: keys.LeaseId) -> LeaseReply:
    """End a lease.

    Outcomes: ``freed``; ``expired``, ``released`` or ``superseded``, it had ended before; ``unknown``, there was none.
    """
    places = [keys.lease_key(lease.resource), keys.fence_key(lease.resource), keys.EVENTS]
    return LeaseReply.of(await _SCRIPT(redis, places, [clock.now_ms(), clock.boot, lease_id, lease.token]))
