"""The REST API, version 1. Durations are relative, in milliseconds: nobody's wall clocks are compared."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, cast

from fastapi import APIRouter, Depends, FastAPI, Path, Query, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.security import HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from lock_broker import examples
from lock_broker.gate import Gate
from lock_broker.leases import Leases
from lock_broker.metrics import BrokerMetrics
from lock_broker.problems import install_handlers
from lock_broker.registry import Registry
from shared.leases import (
    CommitRequest,
    Lease,
    LeaseList,
    LeaseRenewal,
    LeaseRequest,
    ModelList,
    ModelState,
    ModelVersion,
    Problem,
    VersionList,
)
from shared.messages import Name


@dataclass(frozen=True)
class Parts:
    """What the API stands on."""

    leases: Leases
    registry: Registry
    metrics: BrokerMetrics
    exported: CollectorRegistry
    missing: Callable[[], Awaitable[Mapping[str, str]]]
    """Asks what the service lacks to do its work: a part's name and a reason."""
    token: str | None = None


def _parts(request: Request) -> Parts:
    return cast(Parts, request.app.state.parts)


P = Annotated[Parts, Depends(_parts)]
LeaseIdPath = Annotated[str, Path(max_length=160, description="as given by POST /v1/leases")]
v1 = APIRouter(prefix="/v1", dependencies=[Depends(HTTPBearer(auto_error=False, description="PTZ_BROKER_TOKEN"))])
admin = APIRouter()


@v1.post("/leases", status_code=201, tags=["leases"], responses=examples.ACQUIRE)
async def acquire(asked: LeaseRequest, parts: P, response: Response) -> Lease:
    """Ask for a lease. Send the same `request_id` again when the answer was lost: it never makes a second lease."""
    lease, new = await parts.leases.acquire(asked)
    response.status_code = HTTPStatus.CREATED if new else HTTPStatus.OK
    response.headers["Location"] = f"/v1/leases/{lease.lease_id}"
    return lease


@v1.get("/leases", tags=["leases"], responses=examples.LEASES)
async def leases(parts: P) -> LeaseList:
    """List the leases that are held now."""
    return LeaseList(leases=await parts.leases.live())


@v1.get("/leases/{lease_id}", tags=["leases"], responses=examples.LEASE)
async def lease(lease_id: LeaseIdPath, parts: P) -> Lease:
    """Look at one lease."""
    return await parts.leases.get(lease_id)


@v1.patch("/leases/{lease_id}", tags=["leases"], responses=examples.RENEW)
async def renew(lease_id: LeaseIdPath, asked: LeaseRenewal, parts: P) -> Lease:
    """Go on holding a lease, for `ttl_ms` from now. 410 means: stop working, it is not yours any more."""
    return await parts.leases.renew(lease_id, asked.ttl_ms)


@v1.delete("/leases/{lease_id}", status_code=204, tags=["leases"], responses=examples.RELEASE)
async def release(lease_id: LeaseIdPath, parts: P) -> None:
    """Give a lease back. Doing so twice, or too late, changes nothing."""
    await parts.leases.release(lease_id)


@v1.get("/models", tags=["models"], responses=examples.MODELS)
async def models(parts: P) -> ModelList:
    """List the models and their heads."""
    return ModelList(models=await parts.registry.models())


@v1.get("/models/{name}", tags=["models"], responses=examples.MODEL)
async def model(name: Name, parts: P) -> ModelState:
    """Look at one model's head."""
    return await parts.registry.state(name)


@v1.get("/models/{name}/versions", tags=["models"], responses=examples.VERSIONS)
async def versions(name: Name, parts: P, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> VersionList:
    """List a model's versions, newest first."""
    return VersionList(versions=await parts.registry.versions(name, limit))


@v1.get("/models/{name}/versions/{number}", tags=["models"], responses=examples.VERSION)
async def version(name: Name, number: Annotated[int, Path(ge=1, le=10**15)], parts: P) -> ModelVersion:
    """Look at one version."""
    return await parts.registry.version(name, number)


@v1.post("/models/{name}/versions", status_code=201, tags=["models"], responses=examples.COMMIT)
async def commit(name: Name, asked: CommitRequest, parts: P, response: Response) -> ModelVersion:
    """Make a stored checkpoint the model's head: only under a live lease of it, with its token, from its head."""
    made, new = await parts.registry.commit(name, asked)
    response.status_code = HTTPStatus.CREATED if new else HTTPStatus.OK
    response.headers["Location"] = f"/v1/models/{name}/versions/{made.version}"
    return made


@admin.get("/healthz", tags=["service"], response_class=PlainTextResponse)
async def healthz() -> str:
    """Say that the process lives. Asks nobody else."""
    return "ok\n"


@admin.get("/readyz", tags=["service"], responses=examples.READY)
async def readyz(parts: P) -> JSONResponse:
    """Say whether the broker can do its work, and what it lacks."""
    missing = dict(await parts.missing())
    return JSONResponse({"ready": not missing, "missing": missing}, 503 if missing else 200)


@admin.get("/metrics", tags=["service"], response_class=PlainTextResponse)
async def metrics(parts: P) -> Response:
    """Export the metrics for Prometheus."""
    return Response(generate_latest(parts.exported), media_type=CONTENT_TYPE_LATEST)


def create_app(parts: Parts) -> FastAPI:
    """Make the application."""
    app = FastAPI(
        title="Lock broker",
        version="1",
        summary="Leases with fencing tokens, and the registry of world models and agents",
        # The pages for people load scripts from elsewhere; the description itself is enough.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.parts = parts
    app.include_router(v1)
    app.include_router(admin)
    install_handlers(app)
    app.add_middleware(Gate, metrics=parts.metrics, token=parts.token)
    generate = app.openapi

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = generate()
            schema["components"]["schemas"]["Problem"] = Problem.model_json_schema()
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]
    return app
