"""The lock broker's client for threads: the same leases, renewed by a thread of their own.

A thread can't be interrupted, so a lost lease is seen, not felt: ``held.check()`` raises, ``held.lost_event`` is set.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

import httpx
import structlog
from pydantic import BaseModel

from shared.broker import answers
from shared.broker.answers import BrokerAway, LeaseHeld, LeaseLost
from shared.broker.asking import Asking, Q
from shared.broker.client import RELEASE_SECONDS
from shared.broker.held_lease import AGAIN_SECONDS, RENEWALS, HeldLease
from shared.broker.tls import broker_connection
from shared.errors import UserError
from shared.leases import (
    TTL_DEFAULT_MS,
    AnyLeaseRequest,
    Choice,
    CommitRequest,
    Lease,
    LeaseRenewal,
    LeaseRequest,
    Mode,
    ModelVersion,
    lease_clock,
)
from shared.settings import ServiceSettings


class BlockingHeldLease(HeldLease):
    """A lease held by a thread."""

    def __init__(self, lease: Lease, *, ttl_ms: int, asked: float) -> None:
        super().__init__(lease, ttl_ms=ttl_ms, asked=asked)
        self.lost_event = threading.Event()
        """Set when the lease is lost: for whoever waits. ``lost`` says the same at any moment."""


class BlockingBrokerClient:
    """Leases and commits for threads. Safe to share between them; close it, or use it as a block."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._http = httpx.Client(**broker_connection(settings), timeout=answers.patience())
        self._log = structlog.get_logger()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def lease(
        self, resource: str, *, holder: str, ttl_ms: int = TTL_DEFAULT_MS, mode: Mode = "exclusive", wait: float = 0.0
    ) -> contextlib.AbstractContextManager[BlockingHeldLease]:
        """Hold a lease for as long as the block lasts: renewed in the background, given back at the end.

        ``LeaseHeld`` if another has it after ``wait`` seconds, ``BrokerAway`` if nobody answers. ``LeaseLost`` comes
        from ``check()``, and at the end of a block that never looked.
        """
        return self._hold(LeaseRequest(resource=resource, holder=holder, ttl_ms=ttl_ms, mode=mode), wait)

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
    ) -> contextlib.AbstractContextManager[BlockingHeldLease]:
        """Hold the lease of one of several resources, or of any registered model of a kind: as ``lease`` does."""
        request = AnyLeaseRequest(
            resources=list(resources), kind=kind, choice=choice, holder=holder, ttl_ms=ttl_ms, mode=mode
        )
        return self._hold(request, wait)

    def commit(self, model: str, request: CommitRequest) -> ModelVersion:
        """Move the model's head. ``CommitRefused`` if the token is stale or the head is another than expected."""
        response = self._send("POST", f"/v1/models/{model}/versions", request)
        return answers.parse(answers.changed(response), ModelVersion)

    @contextlib.contextmanager
    def _hold(self, request: Q, wait: float) -> Iterator[BlockingHeldLease]:
        held = self._obtain(request, wait)
        stop = threading.Event()
        keeper = threading.Thread(target=self._keep, args=(held, stop), name=f"keep {held.resource}", daemon=True)
        keeper.start()
        try:
            yield held
            held.check()
        finally:
            stop.set()
            # A renewal under way ends by its own time-out; it can do no harm after the release.
            keeper.join(RELEASE_SECONDS)
            self._give_back(held)

    def _obtain(self, request: Q, wait: float) -> BlockingHeldLease:
        held = self._ask(request, wait)
        if held.remaining < request.ttl_ms / 2000.0:
            asked = lease_clock()
            with contextlib.suppress(BrokerAway):
                return BlockingHeldLease(self._renew(held), ttl_ms=request.ttl_ms, asked=asked)
        return held

    def _ask(self, request: Q, wait: float) -> BlockingHeldLease:
        asking = Asking(request, wait)
        path = "/v1/leases" if isinstance(request, LeaseRequest) else "/v1/leases/any"
        while True:
            asked, sent = lease_clock(), asking.request()
            try:
                lease = answers.granted(self._send("POST", path, sent, answers.patience(sent.wait_ms)), Lease)
                return BlockingHeldLease(lease, ttl_ms=request.ttl_ms, asked=asked)
            except (LeaseHeld, BrokerAway) as error:
                time.sleep(asking.pause_after(error))

    def _keep(self, held: BlockingHeldLease, stop: threading.Event) -> None:
        interval = held.ttl_ms / 1000.0 / RENEWALS
        wait = interval
        while not stop.wait(min(wait, held.remaining)) and not held.lost:
            asked = lease_clock()
            try:
                held.renewed(self._renew(held), asked=asked)
                wait = interval
            except LeaseLost as error:
                held.refuse(str(error))
            except (BrokerAway, RuntimeError, UserError) as error:
                self._log.warning("lease not renewed", resource=held.resource, reason=str(error))
                wait = min(interval, max(AGAIN_SECONDS, error.after if isinstance(error, BrokerAway) else 0.0))
        if not stop.is_set():
            held.lost_event.set()
            self._log.warning("lease lost", resource=held.resource, reason=str(held.loss()))

    def _renew(self, held: HeldLease) -> Lease:
        # No longer than the lease has left: the thread has to say so when it is lost.
        patience = httpx.Timeout(max(0.05, min(answers.ANSWER_SECONDS, held.remaining or answers.ANSWER_SECONDS)))
        body = LeaseRenewal(ttl_ms=held.ttl_ms)
        return answers.renewed(self._send("PATCH", f"/v1/leases/{held.lease_id}", body, patience), Lease)

    def _give_back(self, held: HeldLease) -> None:
        if held.refused:
            return
        try:
            answers.released(self._send("DELETE", f"/v1/leases/{held.lease_id}", None, httpx.Timeout(RELEASE_SECONDS)))
        except (BrokerAway, RuntimeError, UserError) as error:
            self._log.warning("lease not given back", resource=held.resource, reason=f"{type(error).__name__}: {error}")

    def _send(
        self, method: str, path: str, body: BaseModel | None, patience: httpx.Timeout | None = None
    ) -> httpx.Response:
        content = None if body is None else body.model_dump_json()
        headers = {"Content-Type": "application/json"} if content is not None else None
        try:
            response = self._http.request(
                method, path, content=content, headers=headers, timeout=patience or answers.patience()
            )
        except httpx.TransportError as error:
            raise BrokerAway(f"{type(error).__name__}: {error}") from error
        return answers.checked(response)
