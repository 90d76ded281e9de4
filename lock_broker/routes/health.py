"""How the broker is, for orchestrators and Prometheus."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from lock_broker import examples
from lock_broker.routes.parts import P

router = APIRouter(tags=["service"])


@router.get("/healthz", response_class=PlainTextResponse)
async def healthz() -> str:
    """Say that the process lives. Asks nobody else."""
    return "ok\n"


@router.get("/readyz", responses=examples.READY)
async def readyz(parts: P) -> JSONResponse:
    """Say whether the broker can do its work, and what it lacks."""
    missing = dict(await parts.missing())
    return JSONResponse({"ready": not missing, "missing": missing}, 503 if missing else 200)


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(parts: P) -> Response:
    """Export the metrics for Prometheus."""
    return Response(generate_latest(parts.exported), media_type=CONTENT_TYPE_LATEST)
