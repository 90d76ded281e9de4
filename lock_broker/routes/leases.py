"""Leases over HTTP."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.types import Message

from lock_broker import examples
from lock_broker.leases import HungUp
from lock_broker.problems import Refused
from lock_broker.routes.parts import P, Who
from lock_broker.routes.quick import QuickRoute
from shared.leases import (
    AnyLeaseRequest,
    EventList,
    ForcedRelease,
    Kind,
    Lease,
    LeaseList,
    LeaseRenewal,
    LeaseRequest,
    ResourceList,
    ResourceState,
)
from shared.messages import Name

LeaseIdPath = Annotated[str, Path(max_length=160, description="as given by POST /v1/leases")]
EventId = Annotated[
    str, Query(pattern=r"^[0-9]{1,15}-[0-9]{1,9}$", description="only what came after this event; its `id`")
]
router = APIRouter(prefix="/v1", tags=["leases"], route_class=QuickRoute)
"""What is asked most; and first, since routes are tried in their order."""
others = APIRouter(prefix="/v1", tags=["leases"])


def _hung_up(request: Request) -> HungUp:
    async def hung_up() -> Message:
        while (message := await request.receive())["type"] != "http.disconnect":
            pass
        return message

    return hung_up


def _answer(lease: Lease, status: HTTPStatus) -> Response:
    return Response(
        lease.model_dump_json(),
        status,
        {"Location": f"/v1/leases/{lease.lease_id}"},
        media_type="application/json",
    )


def _granted(lease: Lease, new: bool) -> Response:
    return _answer(lease, HTTPStatus.CREATED if new else HTTPStatus.OK)


@router.post("/leases", status_code=201, response_model=Lease, responses=examples.ACQUIRE)
async def acquire(asked: LeaseRequest, parts: P, who: Who, request: Request) -> Response:
    """Ask for a lease, waiting up to `wait_ms` in line for it. Send the same `request_id` again when the answer was
    lost: it never makes a second lease."""
    return _granted(*await parts.leases.acquire(asked, who, _hung_up(request)))


@router.delete("/leases/{lease_id}", status_code=204, responses=examples.RELEASE)
async def release(lease_id: LeaseIdPath, parts: P, who: Who) -> Response:
    """Give a lease back. Doing so twice, or too late, changes nothing."""
    await parts.leases.release(lease_id, who)
    return Response(status_code=HTTPStatus.NO_CONTENT)


@router.patch("/leases/{lease_id}", response_model=Lease, responses=examples.RENEW)
async def renew(lease_id: LeaseIdPath, asked: LeaseRenewal, parts: P, who: Who) -> Response:
    """Go on holding a lease, for `ttl_ms` from now; never shorter than before. 410 means: stop working, it is not
    yours any more."""
    return _answer(await parts.leases.renew(lease_id, asked.ttl_ms, who), HTTPStatus.OK)


@others.post("/leases/any", status_code=201, response_model=Lease, responses=examples.ACQUIRE_ANY)
async def acquire_any(asked: AnyLeaseRequest, parts: P, who: Who, request: Request) -> Response:
    """Ask for the lease of one of several resources: of the first free one by `choice`."""
    if bool(asked.resources) == (asked.kind is not None):
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "body: give either resources or kind")
    candidates = asked.resources
    if asked.kind is not None:
        candidates = await parts.registry.resources(asked.kind)
        if not candidates:
            raise Refused(HTTPStatus.NOT_FOUND, f"no model of the kind {asked.kind} is registered")
    return _granted(*await parts.leases.acquire_any(asked, candidates, who, _hung_up(request)))


@others.get("/leases", responses=examples.LEASES)
async def leases(parts: P) -> LeaseList:
    """List the leases that are held now."""
    return LeaseList(leases=await parts.leases.live())


@others.get("/leases/{lease_id}", responses=examples.LEASE)
async def lease(lease_id: LeaseIdPath, parts: P) -> Lease:
    """Look at one lease."""
    return await parts.leases.get(lease_id)


@others.post("/leases/{lease_id}/force-release", status_code=204, responses=examples.FORCE)
async def force_release(lease_id: LeaseIdPath, asked: ForcedRelease, parts: P, who: Who) -> None:
    """End somebody else's lease, for admins. Its token is an old one from now on. Doing so twice changes nothing."""
    if not who.may("admin"):
        raise Refused(HTTPStatus.FORBIDDEN, "only an admin may take leases away")
    await parts.leases.force_release(lease_id, asked.reason, who)


@others.get("/resources", responses=examples.RESOURCES)
async def resources(parts: P) -> ResourceList:
    """List the resources that are leased or waited for."""
    return ResourceList(resources=await parts.leases.resources())


@others.get("/resources/{kind}/{name}", responses=examples.RESOURCE)
async def resource(kind: Kind, name: Name, parts: P) -> ResourceState:
    """Look at one resource: who has it, and who waits for it."""
    return await parts.leases.resource(f"{kind}/{name}")


@others.get("/events", responses=examples.EVENTS)
async def events(
    parts: P, after: EventId | None = None, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> EventList:
    """Read the audit stream, oldest first. Ask again with the last `id` for what came since."""
    return EventList(events=await parts.events.after(after, limit))
