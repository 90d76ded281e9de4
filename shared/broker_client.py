"""The lock broker's client: leases that renew themselves, the registry of heads, fenced commits.

Safety never rests on the lease alone: a holder that slept through it is refused at the commit, by its token.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, TypeVar

import httpx
import structlog
from pydantic import BaseModel, ValidationError

from shared.errors import UserError
from shared.leases import (
    TTL_DEFAULT_MS,
    ArchiveRequest,
    CommitRequest,
    Lease,
    LeaseList,
    LeaseRenewal,
    LeaseRequest,
    ModelList,
    ModelState,
    ModelVersion,
    RollbackRequest,
    VersionList,
    lease_clock,
)
from shared.settings import ServiceSettings

R = TypeVar("R", bound=BaseModel)

WORK_SHARE = 0.8
"""A holder stops work when it could not renew for this share of the lease's life: before anyone else can get it."""


RELEASE_SECONDS = 3.0
_AWAY = (httpx.codes.BAD_GATEWAY, httpx.codes.SERVICE_UNAVAILABLE, httpx.codes.GATEWAY_TIMEOUT)
_REFUSALS = (
    httpx.codes.PRECONDITION_FAILED,
    httpx.codes.CONFLICT,
    httpx.codes.GONE,
    httpx.codes.NOT_FOUND,
)
VERSIONS_PAGE = 100


class BrokerAway(Exception):
    """The broker does not answer now; asking again later is safe, since every request carries its ``request_id``."""


class LeaseHeld(Exception):
    """Somebody else holds the lease."""


class LeaseLost(Exception):
    """The lease is not ours any more: it ran out, or was taken away."""


class CommitRefused(Exception):
    """The registry did not change the model: the token is stale, or the model is not as it was expected."""


class HeldLease:
    """A lease that renews itself in the background for as long as its block lasts."""

    def __init__(self, lease: Lease, deadline: float) -> None:
        self.lease_id, self.resource, self.token = lease.lease_id, lease.resource, lease.token
        self.ttl_ms = TTL_DEFAULT_MS
        self._deadline = deadline
        self._lost = False

    @property
    def lost(self) -> bool:
        """True from the moment the holder must stop: refused, or not renewed for too long."""
        return self._lost or lease_clock() >= self._deadline

    def check(self) -> None:
        """Raise ``LeaseLost`` unless the lease still stands."""
        if self.lost:
            raise LeaseLost(f"the lease of {self.resource} is lost")


class BrokerClient:
    """Talks to the broker's REST API, version 1. One instance serves a whole process."""

    def __init__(self, settings: ServiceSettings, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        headers = {}
        if settings.broker_token is not None:
            headers["Authorization"] = f"Bearer {settings.broker_token.get_secret_value()}"
        try:
            self._http = httpx.AsyncClient(
                base_url=settings.broker_url,
                headers=headers,
                timeout=httpx.Timeout(10.0, connect=3.0),
                transport=transport,
            )
        except httpx.InvalidURL as error:
            raise UserError(f"PTZ_BROKER_URL: {error}") from error
        self._log = structlog.get_logger()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def acquire(self, request: LeaseRequest) -> Lease:
        """Ask once for a lease. ``LeaseHeld`` if another holds it, ``BrokerAway`` if nobody answers."""
        response = await self._send("POST", "/v1/leases", request)
        if response.status_code == httpx.codes.LOCKED:
            raise LeaseHeld(_detail(response))
        return _parse(response, Lease)

    async def renew(self, lease_id: str, ttl_ms: int) -> Lease:
        """Prolong a lease. ``LeaseLost`` if it is not ours any more."""
        response = await self._send("PATCH", f"/v1/leases/{lease_id}", LeaseRenewal(ttl_ms=ttl_ms))
        if response.status_code in (httpx.codes.GONE, httpx.codes.NOT_FOUND):
            raise LeaseLost(_detail(response))
        return _parse(response, Lease)

    async def release(self, lease_id: str) -> None:
        """Give a lease back; one that is gone already is fine."""
        response = await self._send("DELETE", f"/v1/leases/{lease_id}")
        if response.status_code not in (httpx.codes.NO_CONTENT, httpx.codes.GONE, httpx.codes.NOT_FOUND):
            _raise(response)

    async def leases(self) -> list[Lease]:
        """Return every lease that is held now."""
        return _parse(await self._send("GET", "/v1/leases"), LeaseList).leases

    @contextlib.asynccontextmanager
    async def hold(self, resource: str, *, holder: str, ttl_ms: int = TTL_DEFAULT_MS) -> AsyncIterator[HeldLease]:
        """Hold a lease for as long as the block lasts, renewing it in the background; give it back at the end."""
        asked = lease_clock()
        request = LeaseRequest(resource=resource, holder=holder, ttl_ms=ttl_ms)
        try:
            lease = await self.acquire(request)
        except BrokerAway:
            # The lease may be ours and only the answer lost: the same request gets it, a new one would have to wait.
            await asyncio.sleep(0.2)
            lease = await self.acquire(request)
        # The life is counted from before the request was sent: never longer than the broker's own count.
        held = HeldLease(lease, asked + WORK_SHARE * ttl_ms / 1000.0)
        held.ttl_ms = ttl_ms
        renewal = asyncio.create_task(self._keep(held))
        try:
            yield held
        finally:
            renewal.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await renewal
            try:
                # Bounded: a service that stops can't wait for a broker that hangs; the lease then just runs out.
                async with asyncio.timeout(RELEASE_SECONDS):
                    await self.release(held.lease_id)
            except (BrokerAway, TimeoutError, RuntimeError, UserError) as error:
                self._log.warning("lease not given back", resource=resource, reason=str(error))

    async def _keep(self, held: HeldLease) -> None:
        interval = held.ttl_ms / 3000.0
        wait = interval
        while not held.lost:
            await asyncio.sleep(wait)
            asked = lease_clock()
            try:
                await self.renew(held.lease_id, held.ttl_ms)
            except LeaseLost as error:
                held._lost = True
                self._log.warning("lease lost", resource=held.resource, reason=str(error))
            except (BrokerAway, RuntimeError, UserError) as error:
                # An answer that makes no sense is as good as none: try again until the deadline says lost.
                self._log.warning("lease not renewed", resource=held.resource, reason=str(error))
                wait = min(interval, 0.5)
            else:
                held._lost = held.lost  # once lost, always lost: whoever saw it has stopped
                held._deadline = asked + WORK_SHARE * held.ttl_ms / 1000.0
                wait = interval

    async def head(self, model: str) -> ModelVersion | None:
        """Return the model's newest committed version, or None for a model that has none."""
        response = await self._send("GET", f"/v1/models/{model}")
        if response.status_code == httpx.codes.NOT_FOUND:
            return None
        return _parse(response, ModelState).head

    async def models(self, state: str = "all", kind: str | None = None) -> list[ModelState]:
        """Return models with their heads, by name; ``state`` is ``active``, ``archived`` or ``all``."""
        only = "" if kind is None else f"&kind={kind}"
        return _parse(await self._send("GET", f"/v1/models?state={state}{only}"), ModelList).models

    async def model(self, model: str) -> ModelState | None:
        """Return a model's kind, state and head, or None where no version of it has been committed."""
        response = await self._send("GET", f"/v1/models/{model}")
        return None if response.status_code == httpx.codes.NOT_FOUND else _parse(response, ModelState)

    async def versions(self, model: str, limit: int | None = None) -> list[ModelVersion]:
        """Return the newest ``limit`` versions that the registry remembers, or all, newest first."""
        found: list[ModelVersion] = []
        while limit is None or len(found) < limit:
            page = VERSIONS_PAGE if limit is None else min(VERSIONS_PAGE, limit - len(found))
            before = f"&before={found[-1].version}" if found else ""
            response = await self._send("GET", f"/v1/models/{model}/versions?limit={page}{before}")
            if response.status_code == httpx.codes.NOT_FOUND:
                return []
            more = _parse(response, VersionList).versions
            found += more
            if len(more) < page:
                break
        return found

    async def version(self, model: str, version: int) -> ModelVersion | None:
        """Return one version of a model, or None where there is none (any more)."""
        response = await self._send("GET", f"/v1/models/{model}/versions/{version}")
        if response.status_code in (httpx.codes.NOT_FOUND, httpx.codes.GONE):
            return None
        return _parse(response, ModelVersion)

    async def commit(self, model: str, request: CommitRequest) -> ModelVersion:
        """Move the model's head. ``CommitRefused`` if the token is stale or the head is another than expected."""
        return _parse(await self._change("POST", f"/v1/models/{model}/versions", request), ModelVersion)

    async def rollback(self, model: str, request: RollbackRequest) -> ModelVersion:
        """Make an older version's weights the head again. ``CommitRefused`` as for ``commit``."""
        return _parse(await self._change("POST", f"/v1/models/{model}/rollback", request), ModelVersion)

    async def archive(self, model: str, request: ArchiveRequest) -> ModelState:
        """Allow no more commits. ``CommitRefused`` if the token is stale or there is no such model."""
        return _parse(await self._change("POST", f"/v1/models/{model}/archive", request), ModelState)

    async def restore(self, model: str) -> ModelState:
        """Allow commits again. For admins."""
        return _parse(await self._change("POST", f"/v1/models/{model}/restore"), ModelState)

    async def pin(self, model: str, version: int, *, wanted: bool = True) -> ModelVersion:
        """Keep a version from being forgotten and deleted, or no longer. ``CommitRefused`` where that can't be."""
        method = "PUT" if wanted else "DELETE"
        return _parse(await self._change(method, f"/v1/models/{model}/versions/{version}/pin"), ModelVersion)

    async def text(self, path: str) -> str:
        """Return a document that is not JSON, such as the exports. ``CommitRefused`` where there is none."""
        response = await self._change("GET", path)
        if not response.is_success:
            _raise(response)
        return response.text

    async def _change(self, method: str, path: str, body: BaseModel | None = None) -> httpx.Response:
        response = await self._send(method, path, body)
        if response.status_code in _REFUSALS:
            raise CommitRefused(_detail(response))
        return response

    async def _send(self, method: str, path: str, body: BaseModel | None = None) -> httpx.Response:
        content = None if body is None else body.model_dump_json()
        headers = {"Content-Type": "application/json"} if content is not None else None
        try:
            response = await self._http.request(method, path, content=content, headers=headers)
        except httpx.TransportError as error:
            raise BrokerAway(f"{type(error).__name__}: {error}") from error
        if response.status_code in _AWAY:
            raise BrokerAway(_detail(response))
        return response


def _detail(response: httpx.Response) -> str:
    try:
        body: Any = response.json()
    except ValueError:
        return f"HTTP {response.status_code}"
    detail = body.get("detail") or body.get("title") if isinstance(body, dict) else None
    return str(detail or f"HTTP {response.status_code}")


def _raise(response: httpx.Response) -> None:
    if response.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        raise UserError(
            f"the lock broker refused us ({response.status_code}): set PTZ_BROKER_TOKEN_FILE to a valid token"
        )
    raise RuntimeError(
        f"{response.request.method} {response.request.url.path}: HTTP {response.status_code}: {_detail(response)}"
    )


def _parse(response: httpx.Response, kind: type[R]) -> R:
    if not response.is_success:
        _raise(response)
    try:
        return kind.model_validate_json(response.content)
    except ValidationError as error:
        raise RuntimeError(f"{response.request.url.path}: not a {kind.__name__}: {error.errors()[0]['msg']}") from error
