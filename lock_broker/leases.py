"""Leases: who may work on what, until when. Advisory by themselves; the registry's commit is where the token counts."""

from __future__ import annotations

from http import HTTPStatus
from typing import cast

from redis.asyncio import Redis

from lock_broker import keys, scripts
from lock_broker.metrics import BrokerMetrics
from lock_broker.principals import ANONYMOUS
from lock_broker.problems import Refused
from shared.leases import Lease, LeaseRequest

_ENDED = {
    "expired": "the lease ran out",
    "released": "the lease was given back",
    "superseded": "the lease ended and another has been granted since",
}


class Leases:
    """The broker's leases. Every method raises ``Refused`` for a no, and redis-py's errors while Redis is away."""

    def __init__(self, redis: Redis, clock: scripts.Clock, metrics: BrokerMetrics, *, most_resources: int) -> None:
        self._redis, self._clock, self._metrics = redis, clock, metrics
        self._most_resources = most_resources

    async def acquire(self, request: LeaseRequest) -> tuple[Lease, bool]:
        """Grant a lease. The flag says whether it is new; it is not when the same request won it before."""
        reply = await scripts.acquire(
            self._redis,
            self._clock,
            request.resource,
            request_id=request.request_id,
            holder=request.holder,
            ttl_ms=request.ttl_ms,
            most_resources=self._most_resources,
        )
        self._count_loss(reply)
        match reply.outcome:
            case "granted" | "same":
                new = reply.outcome == "granted"
                self._metrics.grants.inc(int(new))
                return _lease(reply), new
            case "held":
                self._metrics.denials.inc()
                raise Refused(
                    HTTPStatus.LOCKED,
                    f"{request.resource} is held by {reply.holder} for another {reply.expires_in_ms} ms",
                    retry_after_ms=reply.expires_in_ms,
                    resource=request.resource,
                    holder=reply.holder,
                    expires_in_ms=reply.expires_in_ms,
                )
            case "ended":
                raise Refused(HTTPStatus.GONE, "this request had the lease and gave it back; ask with a new request_id")
            case _:
                raise Refused(
                    HTTPStatus.INSUFFICIENT_STORAGE,
                    f"the broker knows {self._most_resources} resources, its limit (PTZ_BROKER_RESOURCES)",
                )

    async def renew(self, lease_id: str, ttl_ms: int) -> Lease:
        """Let a lease run for ``ttl_ms`` from now."""
        reply = await scripts.renew(self._redis, self._clock, lease_id, _parse(lease_id), ttl_ms=ttl_ms)
        self._count_loss(reply)
        if reply.outcome != "renewed":
            raise _no_lease(reply.outcome, lease_id)
        self._metrics.renewals.inc()
        return _lease(reply)

    async def release(self, lease_id: str) -> None:
        """Give a lease back; for one that has ended already there is nothing to do."""
        reply = await scripts.release(self._redis, self._clock, lease_id, _parse(lease_id))
        self._count_loss(reply)
        if reply.outcome == "unknown":
            raise _no_lease(reply.outcome, lease_id)
        self._metrics.releases.inc(int(reply.outcome == "freed"))

    async def get(self, lease_id: str) -> Lease:
        """Return a live lease."""
        wanted = _parse(lease_id)
        for reply in await self._observe([wanted.resource]):
            if reply.lease_id == lease_id:
                if reply.outcome != "live":
                    raise _no_lease(reply.outcome, lease_id)
                return _lease(reply)
            if wanted.token <= reply.token:
                raise _no_lease("superseded", lease_id)
        raise _no_lease("unknown", lease_id)

    async def live(self) -> list[Lease]:
        """Return every live lease, by resource."""
        members = cast(set[bytes], await self._redis.smembers(keys.RESOURCES))
        replies = await self._observe(sorted(member.decode() for member in members))
        held = [_lease(reply) for reply in replies if reply.outcome == "live"]
        self._metrics.held.set(len(held))
        return held

    async def _observe(self, resources: list[str]) -> list[scripts.LeaseReply]:
        replies = await scripts.observe(self._redis, self._clock, resources)
        for reply in replies:
            self._count_loss(reply)
        return replies

    def _count_loss(self, reply: scripts.LeaseReply) -> None:
        self._metrics.losses.inc(int(reply.newly_lost))


def _lease(reply: scripts.LeaseReply) -> Lease:
    return Lease(
        lease_id=reply.lease_id,
        resource=reply.resource,
        holder=reply.holder,
        principal=ANONYMOUS.name,
        mode="exclusive",
        token=reply.token,
        expires_in_ms=reply.expires_in_ms,
    )


def _parse(lease_id: str) -> keys.LeaseId:
    parsed = keys.LeaseId.parse(lease_id)
    if parsed is None:
        raise _no_lease("unknown", lease_id)
    return parsed


def _no_lease(outcome: str, lease_id: str) -> Refused:
    if outcome in _ENDED:
        return Refused(HTTPStatus.GONE, _ENDED[outcome], ended=outcome)
    return Refused(HTTPStatus.NOT_FOUND, f"there is no lease {lease_id[:128]!r}")
