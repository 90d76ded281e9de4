"""The registry of models over HTTP."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from lock_broker import examples
from lock_broker.routes.parts import P
from shared.leases import CommitRequest, ModelList, ModelState, ModelVersion, VersionList
from shared.messages import Name

router = APIRouter(prefix="/v1", tags=["models"])


@router.get("/models", responses=examples.MODELS)
async def models(parts: P) -> ModelList:
    """List the models and their heads."""
    return ModelList(models=await parts.registry.models())


@router.get("/models/{name}", responses=examples.MODEL)
async def model(name: Name, parts: P) -> ModelState:
    """Look at one model's head."""
    return await parts.registry.state(name)


@router.get("/models/{name}/versions", responses=examples.VERSIONS)
async def versions(name: Name, parts: P, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> VersionList:
    """List a model's versions, newest first."""
    return VersionList(versions=await parts.registry.versions(name, limit))


@router.get("/models/{name}/versions/{number}", responses=examples.VERSION)
async def version(name: Name, number: Annotated[int, Path(ge=1, le=10**15)], parts: P) -> ModelVersion:
    """Look at one version."""
    return await parts.registry.version(name, number)


@router.post("/models/{name}/versions", status_code=201, responses=examples.COMMIT)
async def commit(name: Name, asked: CommitRequest, parts: P, response: Response) -> ModelVersion:
    """Make a stored checkpoint the model's head: only under a live lease of it, with its token, from its head."""
    made, new = await parts.registry.commit(name, asked)
    response.status_code = HTTPStatus.CREATED if new else HTTPStatus.OK
    response.headers["Location"] = f"/v1/models/{name}/versions/{made.version}"
    return made
