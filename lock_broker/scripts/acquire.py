"""Ask for a lease."""

from __future__ import annotations

from redis.asyncio import Redis

from lock_broker import keys
from lock_broker.scripts.script import Clock, LeaseReply, Script

_SCRIPT = Script("acquire")


async def acquire(
    redis: Redis, clock: Clock, resource: str, *, request_id: str, holder: str, ttl_ms: int, most_resources: int
) -> LeaseReply:
    """Grant the lease of ``resource`` if it is free.

    Outcomes: ``granted``; ``same``, this request has it already; ``held`` by the holder in the reply; ``ended``, this
    request had it and gave it back; ``full``, too many resources.
    """
    places = [keys.lease_key(resource), keys.fence_key(resource), keys.RESOURCES, keys.EVENTS]
    arguments: list[str | int] = [clock.now_ms(), clock.boot, resource, request_id, holder, ttl_ms]
    arguments += [keys.LeaseId.prefix(resource), keys.LeaseId.nonce(request_id), most_resources]
    return LeaseReply.of(await _SCRIPT(redis, places, arguments))
