"""The lock broker's client: leases that renew themselves, the registry of heads, fenced commits.

Safety never rests on the lease alone: a holder that slept through it is refused at the commit, by its token.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

from shared.broker import answers
from shared.broker.answers import BrokerAway, CommitRefused, LeaseHeld, LeaseLost
from shared.broker.asking import Asking, Q
from shared.broker.held_lease import AGAIN_SECONDS, RENEWALS, HeldLease
from shared.broker.registry_client import RegistryClient
from shared.errors import UserError
from shared.leases import (
    TTL_DEFAULT_MS,
    AnyLeaseRequest,
    Choice,
    ForcedRelease,
    Lease,
    LeaseList,
    LeaseRenewal,
    LeaseRequest,
    Mode,
    ResourceList,
    ResourceState,
    lease_clock,
)

__all__ = ["BrokerAway", "BrokerClient", "CommitRefused", "HeldLease", "LeaseHeld", "LeaseLost"]

RELEASE_SECONDS = 3.0
"""A service that stops can't wait for a broker that hangs: the lease then just runs out."""
_LOOK_SECONDS = 1.0
"""How late, at most, a holder learns that its host slept through the lease: the loop's timers stand still meanwhile."""


class BrokerClient(RegistryClient):
    """Talks to the broker's REST API, version 1. One instance serves a whole process."""

    def lease(
        self, resource: str, *, holder: str, ttl_ms: int = TTL_DEFAULT_MS, mode: Mode = "exclusive", wait: float = 0.0
    ) -> contextlib.AbstractAsyncContextManager[HeldLease]:
        """Hold a lease for as long as the block lasts: renewed in the background, given back at the end.

        The moment it is lost the block is cancelled and ``LeaseLost`` raised from it. ``wait`` is how many seconds to
        stand in line. ``LeaseHeld`` if another has it, ``BrokerAway`` if nobody answers.
        """
        request = LeaseRequest(resource=resource, holder=holder, ttl_ms=ttl_ms, mode=mode)
        return self._hold(request, wait)

    def lease_any(
        self,
        resources: Sequence[str] = (),
        *,
        kind: str | None = None,
        choice: Choice = "least-recently-trained",
        holder: str,
        ttl_ms: int = TTL_DEFAULT_MS,
        mode: Mode = "exclusive",
        wait: float = 0.0,
    ) -> contextlib.AbstractAsyncContextManager[HeldLease]:
        """Hold the lease of one of several resources, or of any registered model of a kind: as ``lease`` does."""
        request = AnyLeaseRequest(
            resources=list(resources), kind=kind, choice=choice, holder=holder, ttl_ms=ttl_ms, mode=mode
        )
        return self._hold(request, wait)

    async def acquire(self, request: LeaseRequest | AnyLeaseRequest) -> Lease:
        """Ask once for a lease. ``LeaseHeld`` if another holds it, ``LeaseLost`` if this request had it and lost it."""
        path = "/v1/leases" if isinstance(request, LeaseRequest) else "/v1/leases/any"
        return answers.granted(await self._send("POST", path, request, wait_ms=request.wait_ms), Lease)

    async def renew(self, lease_id: str, ttl_ms: int) -> Lease:
        """Prolong a lease. ``LeaseLost`` if it is not ours any more."""
        return answers.renewed(await self._send("PATCH", f"/v1/leases/{lease_id}", LeaseRenewal(ttl_ms=ttl_ms)), Lease)

    async def release(self, lease_id: str) -> None:
        """Give a lease back; one that is gone already is fine."""
        answers.released(await self._send("DELETE", f"/v1/leases/{lease_id}"))

    async def force_release(self, lease_id: str, reason: str) -> None:
        """End somebody else's lease, as an admin; one that is gone already is fine."""
        path = f"/v1/leases/{lease_id}/force-release"
        answers.released(await self._send("POST", path, ForcedRelease(reason=reason)))

    async def leases(self) -> list[Lease]:
        """Return every lease that is held now."""
        return answers.parse(await self._send("GET", "/v1/leases"), LeaseList).leases

    async def resources(self) -> list[ResourceState]:
        """Return every resource that is leased or waited for, by name."""
        return answers.parse(await self._send("GET", "/v1/resources"), ResourceList).resources

    async def resource(self, resource: str) -> ResourceState:
        """Return who has a resource, and who stands in line for it."""
        return answers.parse(await self._send("GET", f"/v1/resources/{resource}"), ResourceState)

    @contextlib.asynccontextmanager
    async def _hold(self, request: Q, wait: float) -> AsyncIterator[HeldLease]:
        held = await self._obtain(request, wait)
        holder = asyncio.current_task()
        if holder is None:
            raise RuntimeError("a lease is held by a task")
        cancelling = holder.cancelling()
        interrupted = False

        def interrupt(_: asyncio.Task[None]) -> None:
            nonlocal interrupted
            if held.lost:
                interrupted = True
                holder.cancel()

        watch = asyncio.create_task(self._keep(held), name=f"keep {held.resource}")
        watch.add_done_callback(interrupt)
        try:
            yield held
        except asyncio.CancelledError:
            # Ours becomes LeaseLost; a cancellation that came from outside as well goes on as one.
            if interrupted and holder.uncancel() <= cancelling:
                raise held.loss() from None
            raise
        else:
            if interrupted:  # the block has swallowed it
                holder.uncancel()
                raise held.loss()
        finally:
            watch.remove_done_callback(interrupt)
            watch.cancel()
            await asyncio.wait({watch})
            await self._give_back(held)

    async def _obtain(self, request: Q, wait: float) -> HeldLease:
        held = await self._ask(request, wait)
        if held.remaining < request.ttl_ms / 2000.0:
            # The answer was long in coming: counted from the question, little is left of the lease's life.
            asked = lease_clock()
            with contextlib.suppress(BrokerAway):
                lease = await self.renew(held.lease_id, request.ttl_ms)
                return HeldLease(lease, ttl_ms=request.ttl_ms, asked=asked)
        return held

    async def _ask(self, request: Q, wait: float) -> HeldLease:
        asking = Asking(request, wait)
        while True:
            asked = lease_clock()
            try:
                return HeldLease(await self.acquire(asking.request()), ttl_ms=request.ttl_ms, asked=asked)
            except (LeaseHeld, BrokerAway) as error:
                await asyncio.sleep(asking.pause_after(error))

    async def _keep(self, held: HeldLease) -> None:
        """Renew until the lease is lost; then return."""
        renewing = asyncio.create_task(self._renew_on(held))
        try:
            while not held.lost and not renewing.done():
                await asyncio.wait({renewing}, timeout=min(_LOOK_SECONDS, held.remaining + 0.001))
        finally:
            renewing.cancel()
            await asyncio.wait({renewing})
        if not renewing.cancelled() and (error := renewing.exception()):
            held.refuse(f"renewal failed: {error}")
            self._log.error("renewal failed", resource=held.resource, exc_info=error)
        self._log.warning("lease lost", resource=held.resource, reason=str(held.loss()))

    async def _renew_on(self, held: HeldLease) -> None:
        interval = held.ttl_ms / 1000.0 / RENEWALS
        wait = interval
        while True:
            await asyncio.sleep(wait)
            asked = lease_clock()
            try:
                async with asyncio.timeout(interval):  # a second try needs time, too
                    held.renewed(await self.renew(held.lease_id, held.ttl_ms), asked=asked)
                wait = interval
            except LeaseLost as error:
                held.refuse(str(error))
                return
            except (BrokerAway, TimeoutError, RuntimeError, UserError) as error:
                # An answer that makes no sense is as good as none: try again until the deadline says lost.
                self._log.warning("lease not renewed", resource=held.resource, reason=str(error))
                wait = min(interval, max(AGAIN_SECONDS, error.after if isinstance(error, BrokerAway) else 0.0))

    async def _give_back(self, held: HeldLease) -> None:
        if held.refused:
            return
        try:
            async with asyncio.timeout(RELEASE_SECONDS):
                await self.release(held.lease_id)
        except (BrokerAway, TimeoutError, RuntimeError, UserError) as error:
            self._log.warning("lease not given back", resource=held.resource, reason=f"{type(error).__name__}: {error}")
