"""Refusals and how they travel: RFC 9457, ``application/problem+json``, for every error without exception."""

from __future__ import annotations

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from shared.leases import Problem

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 2
"""When to ask again while Redis is away."""


class Refused(Exception):
    """The broker says no; ``status`` is the HTTP status that says why."""

    def __init__(self, status: HTTPStatus, detail: str, *, retry_after_ms: int | None = None, **extra: Any) -> None:
        super().__init__(detail)
        self.status, self.detail, self.extra = status, detail, extra
        self.headers: dict[str, str] = {}
        if retry_after_ms is not None:
            self.headers["Retry-After"] = str(max(1, math.ceil(retry_after_ms / 1000.0)))


def problem_response(status: int, detail: str, headers: Mapping[str, str] | None = None, **extra: Any) -> JSONResponse:
    """Make an error response."""
    body = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, **extra)
    return JSONResponse(body.model_dump(), status, dict(headers or {}), media_type=MEDIA_TYPE)


def document(status: HTTPStatus, detail: str, **extra: Any) -> dict[str, Any]:
    """Describe an error of a route for OpenAPI, with an example."""
    example = Problem(title=status.phrase, status=status, detail=detail, **extra).model_dump()
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}}
    return {"description": status.phrase, "content": content}


def install_handlers(app: FastAPI) -> None:
    """Let every error of ``app`` leave as a problem."""
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    # Away, or out of memory or disk: all of it passes, so the client is to ask again. OSError comes from connecting.
    app.add_exception_handler(RedisError, _redis_away)
    app.add_exception_handler(OSError, _redis_away)
    app.add_exception_handler(Exception, _fault)


async def _refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refused)  # noqa: S101 - registered for this type
    return problem_response(error.status, error.detail, error.headers, **error.extra)


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this type
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(_methods(request))
    return problem_response(error.status_code, str(error.detail), headers)


def _methods(request: Request) -> list[str]:
    """Return what the path can be asked with; the framework names the methods of one of its routes only."""
    path, described = request.scope["path"], request.app.openapi()["paths"]
    matching = [path] if path in described else [name for name in described if compile_path(name)[0].match(path)]
    asked = (described[template] for template in matching)
    return sorted({method.upper() for operations in asked for method in operations})


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this type
    # The input is not echoed: it may hold what must not be logged.
    errors = [{"at": ".".join(str(part) for part in item["loc"]), "is": item["msg"]} for item in error.errors()]
    detail = "; ".join(f"{item['at']}: {item['is']}" for item in errors[:3])
    return problem_response(HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors=errors)


async def _redis_away(request: Request, error: Exception) -> JSONResponse:
    reason = f"{type(error).__name__}: {error}"[:200]
    structlog.get_logger().warning("redis failed", path=request.url.path, reason=reason)
    headers = {"Retry-After": str(RETRY_SECONDS)}
    return problem_response(HTTPStatus.SERVICE_UNAVAILABLE, "Redis does not answer or can't do it; ask again", headers)


def fault(path: str, error: Exception) -> JSONResponse:
    """Answer what nobody foresaw."""
    structlog.get_logger().error("request failed", path=path, exc_info=error)
    return problem_response(HTTPStatus.INTERNAL_SERVER_ERROR, "the broker failed; its log says how")


async def _fault(request: Request, error: Exception) -> JSONResponse:
    return fault(request.url.path, error)
