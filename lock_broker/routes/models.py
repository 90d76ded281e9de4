"""The registry of models over HTTP."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import PlainTextResponse

from lock_broker import examples, export
from lock_broker.problems import Refused
from lock_broker.registry import Registry, StateFilter
from lock_broker.routes.parts import P, Who
from shared.leases import (
    ArchiveRequest,
    CommitRequest,
    Kind,
    ModelList,
    ModelState,
    ModelVersion,
    RollbackRequest,
    VersionList,
)
from shared.messages import Name

Number = Annotated[int, Path(ge=1, le=10**15)]
router = APIRouter(prefix="/v1", tags=["models"])


class _Yaml(Response):
    media_type = "application/yaml"


MOST_EXPORTED = 100_000
"""Versions of a model that an export reads; the registry is told to remember no more."""


@router.get("/models", responses=examples.MODELS)
async def models(parts: P, state: StateFilter = "all", kind: Annotated[Kind | None, Query()] = None) -> ModelList:
    """List the models and their heads."""
    return ModelList(models=await parts.registry.models(state, kind))


@router.get("/models/{name}", responses=examples.MODEL)
async def model(name: Name, parts: P) -> ModelState:
    """Look at one model's head."""
    return await parts.registry.state(name)


@router.get("/models/{name}/versions", responses=examples.VERSIONS)
async def versions(
    name: Name,
    parts: P,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    before: Annotated[int | None, Query(ge=1, le=10**15, description="only versions below this one")] = None,
) -> VersionList:
    """List a model's versions, newest first."""
    return VersionList(versions=await parts.registry.versions(name, limit, before))


@router.get("/models/{name}/versions/{number}", responses=examples.VERSION)
async def version(name: Name, number: Number, parts: P) -> ModelVersion:
    """Look at one version. 410 means that there was one."""
    return await parts.registry.version(name, number)


@router.post("/models/{name}/versions", status_code=201, responses=examples.COMMIT)
async def commit(name: Name, asked: CommitRequest, parts: P, who: Who, response: Response) -> ModelVersion:
    """Make a stored checkpoint the model's head: only under a live lease of it, with its token, from its head."""
    return _made(response, *await parts.registry.commit(name, asked, who))


@router.post("/models/{name}/rollback", status_code=201, responses=examples.ROLLBACK)
async def rollback(name: Name, asked: RollbackRequest, parts: P, who: Who, response: Response) -> ModelVersion:
    """Make an older version's checkpoint and card the head again, as a new version, by the rules of a commit."""
    return _made(response, *await parts.registry.rollback(name, asked, who))


@router.post("/models/{name}/archive", responses=examples.ARCHIVE)
async def archive(name: Name, asked: ArchiveRequest, parts: P, who: Who) -> ModelState:
    """Allow no more commits, and offer the model to nobody who asks for any of its kind."""
    return await parts.registry.archive(name, asked, who)


@router.post("/models/{name}/restore", responses=examples.RESTORE)
async def restore(name: Name, parts: P, who: Who) -> ModelState:
    """Make an archived model active again, for admins."""
    if not who.may("admin"):
        raise Refused(HTTPStatus.FORBIDDEN, "only an admin may restore a model")
    return await parts.registry.restore(name, who)


@router.put("/models/{name}/versions/{number}/pin", responses=examples.PIN)
async def pin(name: Name, number: Number, parts: P, who: Who) -> ModelVersion:
    """Keep a version: neither the registry forgets it nor does the model store delete its file."""
    return await parts.registry.pin(name, number, who)


@router.delete("/models/{name}/versions/{number}/pin", responses=examples.UNPIN)
async def unpin(name: Name, number: Number, parts: P, who: Who) -> ModelVersion:
    """Let a version go its way again."""
    return await parts.registry.pin(name, number, who, wanted=False)


@router.get("/export/progress_model_names.txt", response_class=PlainTextResponse, responses=examples.PROGRESS_NAMES)
async def progress_names(parts: P) -> str:
    """Export the training runs of all models as PTZJEPA's `progress_model_names.txt`."""
    return export.progress_names(await _everything(parts.registry))


@router.get("/models/{name}/model_info.yaml", response_class=_Yaml, responses=examples.MODEL_INFO)
async def model_info(name: Name, parts: P) -> Response:
    """Export a model's training runs as PTZJEPA's `model_info.yaml`."""
    await parts.registry.state(name)
    try:
        text = export.model_info(name, await _everything(parts.registry))
    except ValueError as error:
        raise Refused(HTTPStatus.CONFLICT, str(error)) from error
    return _Yaml(text)


async def _everything(registry: Registry) -> dict[str, list[ModelVersion]]:
    names = [state.model for state in await registry.models()]
    return {name: await registry.versions(name, MOST_EXPORTED) for name in names}


def _made(response: Response, made: ModelVersion, new: bool) -> ModelVersion:
    response.status_code = HTTPStatus.CREATED if new else HTTPStatus.OK
    response.headers["Location"] = f"/v1/models/{made.model}/versions/{made.version}"
    return made
