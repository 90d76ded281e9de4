"""Leases: who may work on what, until when. Advisory by themselves; the registry's commit is where the token counts."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import cast

from redis.asyncio import Redis

from lock_broker import keys, scripts
from lock_broker.metrics import BrokerMetrics
from lock_broker.principals import ANONYMOUS, Principal
from lock_broker.problems import Refused
from lock_broker.waiting import RECHECK_SECONDS, Waiter, WaitingRoom
from shared.leases import AnyLeaseRequest, Lease, LeaseRequest, ResourceState

_ENDED = {
    "expired": "the lease ran out",
    "released": "the lease was given back",
    "forced": "the lease was taken away by an admin",
    "superseded": "the lease ended and another has been granted since",
}
_STOPPING_RETRY_MS = 1000
_SHUFFLE = random.SystemRandom()

HungUp = Callable[[], Awaitable[object]]
"""Returns when whoever asked has hung up."""


class Leases:
    """The broker's leases. Every method raises ``Refused`` for a no, and redis-py's errors while Redis is away."""

    def __init__(self, redis: Redis, line: scripts.Line, metrics: BrokerMetrics, *, most_resources: int) -> None:
        self._redis, self._line, self._metrics = redis, line, metrics
        self._most_resources = most_resources
        self.room = WaitingRoom()
        metrics.waiters.set_function(lambda: float(len(self.room)))

    async def acquire(
        self, request: LeaseRequest, who: Principal = ANONYMOUS, hung_up: HungUp | None = None
    ) -> tuple[Lease, bool]:
        """Grant a lease, or wait for it. The flag says whether it is new; not when the same request won it before."""
        return await self._acquire(request, [request.resource], "as-given", who, hung_up)

    async def acquire_any(
        self,
        request: AnyLeaseRequest,
        candidates: list[str],
        who: Principal = ANONYMOUS,
        hung_up: HungUp | None = None,
    ) -> tuple[Lease, bool]:
        """Grant the lease of one of some resources, or wait until one is free. The flag as for ``acquire``."""
        wanted = sorted(set(candidates))
        order: scripts.Order = "as-given"
        if request.choice == "random":
            _SHUFFLE.shuffle(wanted)
        else:
            order = request.choice
        return await self._acquire(request, wanted, order, who, hung_up)

    async def renew(self, lease_id: str, ttl_ms: int, who: Principal = ANONYMOUS) -> Lease:
        """Let a lease run for ``ttl_ms`` from now; what it would have run longer stays."""
        reply = await scripts.renew(self._line, lease_id, _parse(lease_id), who, ttl_ms=ttl_ms)
        self._lost(reply.lost)
        if reply.outcome != "renewed":
            raise _no_lease(reply.outcome, lease_id)
        self._metrics.renewals.inc()
        return _lease(reply)

    async def release(self, lease_id: str, who: Principal = ANONYMOUS) -> None:
        """Give a lease back; for one that has ended already there is nothing to do."""
        reply = await scripts.release(self._line, lease_id, _parse(lease_id), who)
        self._lost(reply.lost)
        if reply.outcome in ("unknown", "foreign"):
            raise _no_lease(reply.outcome, lease_id)
        self._metrics.releases.inc(int(reply.outcome == "freed"))

    async def force_release(self, lease_id: str, reason: str, who: Principal = ANONYMOUS) -> None:
        """Take a lease away from its holder; for one that has ended already there is nothing to do."""
        reply = await scripts.force(self._line, lease_id, _parse(lease_id), who, reason)
        self._lost(reply.lost)
        if reply.outcome in ("unknown", "foreign"):
            raise _no_lease(reply.outcome, lease_id)
        self._metrics.forced.inc(int(reply.outcome == "freed"))

    async def get(self, lease_id: str) -> Lease:
        """Return a live lease."""
        wanted = _parse(lease_id)
        for seen in await self._observe([wanted.resource]):
            for lease in seen.state.leases:
                if lease.lease_id == lease_id:
                    return lease
            if lease_id in seen.ended or wanted.token <= seen.state.token:
                raise _no_lease(seen.ended.get(lease_id, "superseded"), lease_id)
        raise _no_lease("unknown", lease_id)

    async def live(self) -> list[Lease]:
        """Return every live lease, by resource."""
        held = [lease for state in await self.resources() for lease in state.leases]
        self._metrics.live(held)
        return held

    async def resources(self) -> list[ResourceState]:
        """Return every resource that is leased or waited for, by name."""
        members = cast(set[bytes], await self._redis.smembers(keys.LIVE))
        seen = await self._observe(sorted(member.decode() for member in members))
        return [each.state for each in seen if each.state.leases or each.state.waiting]

    async def resource(self, resource: str) -> ResourceState:
        """Say how a resource stands."""
        for seen in await self._observe([resource]):
            return seen.state
        return ResourceState(resource=resource, token=0, leases=[], waiting=[])

    async def _observe(self, resources: list[str]) -> list[scripts.Seen]:
        seen, lost = await scripts.observe(self._line, resources)
        self._lost(lost)
        return seen

    def _lost(self, count: int) -> None:
        if count:
            self._metrics.losses.inc(count)

    async def _acquire(
        self,
        request: LeaseRequest | AnyLeaseRequest,
        resources: list[str],
        order: scripts.Order,
        who: Principal,
        hung_up: HungUp | None,
    ) -> tuple[Lease, bool]:
        asking = scripts.Asking(
            resources=resources,
            request_id=request.request_id,
            holder=request.holder,
            principal=who.name,
            mode=request.mode,
            ttl_ms=request.ttl_ms,
            order=order,
        )
        if request.wait_ms == 0:
            reply = await self._ask(asking, wait=False)
        else:
            reply = await self._stand_in_line(asking, request.wait_ms / 1000.0, hung_up)
        match reply.outcome:
            case "granted":
                self._metrics.grants.inc()
                return _lease(reply), True
            case "same":
                return _lease(reply), False
            case "held":
                self._metrics.denials.inc()
            case _:
                pass
        raise self._refusal(reply, any_of=isinstance(request, AnyLeaseRequest))

    async def _ask(self, asking: scripts.Asking, *, wait: bool) -> scripts.LeaseReply:
        reply = await scripts.acquire(self._line, asking, wait=wait, most_resources=self._most_resources)
        self._lost(reply.lost)
        return reply

    async def _stand_in_line(
        self, asking: scripts.Asking, seconds: float, hung_up: HungUp | None
    ) -> scripts.LeaseReply:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            with self.room.enter(asking.request_id) as waiter:
                watching = None if hung_up is None else asyncio.create_task(waiter.watch(hung_up))
                try:
                    return await self._wait(asking, waiter, began + seconds)
                finally:
                    if watching is not None:
                        watching.cancel()
                        await asyncio.gather(watching, return_exceptions=True)
        finally:
            self._metrics.waits.observe(loop.time() - began)

    async def _wait(self, asking: scripts.Asking, waiter: Waiter, deadline: float) -> scripts.LeaseReply:
        loop = asyncio.get_running_loop()
        while True:
            waiter.bell.clear()
            if waiter.gone:
                await self._leave(asking, waiter)
                raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "the asker hung up")
            if self.room.closed:
                # The place in line stays for 3 s: whoever asks another broker with the same request keeps it.
                raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "the broker stops", retry_after_ms=_STOPPING_RETRY_MS)
            left = deadline - loop.time()
            reply = await self._ask(asking, wait=left > 0)
            if reply.outcome != "held" or not reply.queued:
                return reply
            first = reply.busy[0].expires_in_ms / 1000.0 or RECHECK_SECONDS
            await waiter.pause(min(left, first, RECHECK_SECONDS))

    async def _leave(self, asking: scripts.Asking, waiter: Waiter) -> None:
        """Give up the place in line, unless the same request waits here by another connection."""
        if not self.room.others(asking.request_id, waiter):
            with contextlib.suppress(Refused):
                await scripts.withdraw(self._line, asking.resources, asking.request_id)

    def _refusal(self, reply: scripts.LeaseReply, *, any_of: bool) -> Refused:
        match reply.outcome:
            case "held":
                return _held(reply.busy, any_of=any_of)
            case "ended":
                return Refused(
                    HTTPStatus.GONE,
                    "this request had a lease, which has ended; ask with a new request_id",
                    ended=reply.how,
                )
            case "foreign":
                return Refused(HTTPStatus.FORBIDDEN, "request_id: is another principal's")
            case "other":
                return Refused(HTTPStatus.CONFLICT, "request_id: asked for the other mode before")
            case _:
                return Refused(
                    HTTPStatus.INSUFFICIENT_STORAGE,
                    f"the broker knows {self._most_resources} resources, its limit (PTZ_BROKER_RESOURCES)",
                )


def _held(busy: list[scripts.Busy], *, any_of: bool) -> Refused:
    first = busy[0]
    if first.expires_in_ms > 0:
        detail = f"{first.resource} is held by {first.holder} for another {first.expires_in_ms} ms"
    else:
        detail = f"{first.resource} is free, but {first.holder} is in line before"
    if any_of:
        detail = f"none of the resources is free; {detail}"
    shown = [
        {"resource": it.resource, "holder": it.holder, "expires_in_ms": it.expires_in_ms, "waiting": it.waiting}
        for it in busy
    ]
    return Refused(
        HTTPStatus.LOCKED,
        detail,
        retry_after_ms=first.expires_in_ms,
        resource=first.resource,
        holder=first.holder,
        expires_in_ms=first.expires_in_ms,
        waiting=first.waiting,
        **({"busy": shown} if any_of else {}),
    )


def _lease(reply: scripts.LeaseReply) -> Lease:
    assert reply.lease is not None  # noqa: S101 - the script gives one with this outcome
    return reply.lease


def _parse(lease_id: str) -> keys.LeaseId:
    parsed = keys.LeaseId.parse(lease_id)
    if parsed is None:
        raise _no_lease("unknown", lease_id)
    return parsed


def _no_lease(outcome: str, lease_id: str) -> Refused:
    if outcome == "foreign":
        return Refused(HTTPStatus.FORBIDDEN, "the lease is another principal's")
    if outcome in _ENDED:
        return Refused(HTTPStatus.GONE, _ENDED[outcome], ended=outcome)
    return Refused(HTTPStatus.NOT_FOUND, f"there is no lease {lease_id[:128]!r}")
