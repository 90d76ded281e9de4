"""Prolong a lease."""

from __future__ import annotations

from redis.asyncio import Redis

from lock_broker import keys
from lock_broker.scripts.script import Clock, LeaseReply, Script

_SCRIPT = Script("renew")


async def renew(redis: Redis, clock: Clock, lease_id: str, lease: keys.LeaseId, *, ttl_ms: int) -> LeaseReply:
    """Let a live lease run for ``ttl_ms`` from now.

    Outcomes: ``renewed``; ``expired``, ``released`` or ``superseded``, it has ended; ``unknown``, there was none.
    """
    places = [keys.lease_key(lease.resource), keys.fence_key(lease.resource), keys.EVENTS]
    return LeaseReply.of(await _SCRIPT(redis, places, [clock.now_ms(), clock.boot, lease_id, lease.token, ttl_ms]))
