"""Look at leases."""

from __future__ import annotations

from collections.abc import Sequence

from redis.asyncio import Redis

from lock_broker import keys
from lock_broker.scripts.script import Clock, LeaseReply, Script

_SCRIPT = Script("observe")
_BATCH = 500
"""Resources looked at in one go: other commands wait while a script runs."""


async def observe(redis: Redis, clock: Clock, resources: Sequence[str]) -> list[LeaseReply]:
    """Return the newest lease of each resource that had one. Outcomes: ``live``, ``expired``, ``released``."""
    found: list[LeaseReply] = []
    for start in range(0, len(resources), _BATCH):
        places = [keys.EVENTS]
        for resource in resources[start : start + _BATCH]:
            places += [keys.lease_key(resource), keys.fence_key(resource)]
        replies = await _SCRIPT(redis, places, [clock.now_ms(), clock.boot])
        found += [LeaseReply.of(reply) for reply in replies]
    return found
