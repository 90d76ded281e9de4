"""Leases over HTTP."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path, Response

from lock_broker import examples
from lock_broker.routes.parts import P
from shared.leases import Lease, LeaseList, LeaseRenewal, LeaseRequest

LeaseIdPath = Annotated[str, Path(max_length=160, description="as given by POST /v1/leases")]
router = APIRouter(prefix="/v1", tags=["leases"])


@router.post("/leases", status_code=201, responses=examples.ACQUIRE)
async def acquire(asked: LeaseRequest, parts: P, response: Response) -> Lease:
    """Ask for a lease. Send the same `request_id` again when the answer was lost: it never makes a second lease."""
    lease, new = await parts.leases.acquire(asked)
    response.status_code = HTTPStatus.CREATED if new else HTTPStatus.OK
    response.headers["Location"] = f"/v1/leases/{lease.lease_id}"
    return lease


@router.get("/leases", responses=examples.LEASES)
async def leases(parts: P) -> LeaseList:
    """List the leases that are held now."""
    return LeaseList(leases=await parts.leases.live())


@router.get("/leases/{lease_id}", responses=examples.LEASE)
async def lease(lease_id: LeaseIdPath, parts: P) -> Lease:
    """Look at one lease."""
    return await parts.leases.get(lease_id)


@router.patch("/leases/{lease_id}", responses=examples.RENEW)
async def renew(lease_id: LeaseIdPath, asked: LeaseRenewal, parts: P) -> Lease:
    """Go on holding a lease, for `ttl_ms` from now. 410 means: stop working, it is not yours any more."""
    return await parts.leases.renew(lease_id, asked.ttl_ms)


@router.delete("/leases/{lease_id}", status_code=204, responses=examples.RELEASE)
async def release(lease_id: LeaseIdPath, parts: P) -> None:
    """Give a lease back. Doing so twice, or too late, changes nothing."""
    await parts.leases.release(lease_id)
