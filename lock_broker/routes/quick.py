"""Routes for what is asked most: described like all others, but found and read by hand.

To grant a lease takes less time than the framework takes to find a route, and what its function's parameters need. So
these routes find out the latter once, when they are made, and ``Shortcut`` answers them before the framework's router.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from lock_broker.routes.parts import P, Who, parts_in, who_is_in

_Reader = Callable[[Request, bytes], Any]


class QuickRoute(APIRoute):
    """A route whose function takes ``P``, ``Who``, the request, a model for the body and text from the path, no more.

    It returns a ``Response``.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        parameters = inspect.signature(endpoint, eval_str=True).parameters.values()
        self._readers = [(item.name, _reader(item)) for item in parameters]
        self._has_body = any(_is_model(item.annotation) for item in parameters)

    async def answer(self, scope: Scope, receive: Receive) -> Response:
        """Answer a request, whose parameters from the path are in ``scope``."""
        # The gate has waited for the whole of it.
        body: bytes = (await receive()).get("body", b"") if self._has_body else b""
        request = Request(scope, receive)
        values = {name: read(request, body) for name, read in self._readers}
        return cast(Response, await self.endpoint(**values))


class Shortcut:
    """Before an application: those of its routes that are asked most, and their errors."""

    def __init__(self, app: FastAPI, routes: Sequence[QuickRoute]) -> None:
        self._app = app
        self._routes: dict[str, list[QuickRoute]] = {}
        for route in routes:
            for method in route.methods or ():
                self._routes.setdefault(method, []).append(route)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what is asked for one of the routes; hand on everything else."""
        for route in self._routes.get(scope.get("method", ""), ()):
            if match := route.path_regex.match(scope["path"]):
                await self._answer(route, match.groupdict(), scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _answer(
        self, route: QuickRoute, parameters: Mapping[str, str], scope: Scope, receive: Receive, send: Send
    ) -> None:
        scope["app"], scope["route"], scope["path_params"] = self._app, route, parameters
        try:
            response = await route.answer(scope, receive)
        except Exception as error:
            handlers = self._app.exception_handlers
            handler: Any = next(handlers[kind] for kind in type(error).__mro__ if kind in handlers)
            response = await handler(Request(scope), error)
        await response(scope, receive, send)


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _reader(parameter: inspect.Parameter) -> _Reader:
    kind: Any = parameter.annotation
    if kind == P:
        return lambda request, _: parts_in(request)
    if kind == Who:
        return lambda request, _: who_is_in(request)
    if kind is Request:
        return lambda request, _: request
    if _is_model(kind):
        return lambda request, body: _model(kind, request, body)
    return lambda request, _: request.scope["path_params"][parameter.name]


def _model(model: type[BaseModel], request: Request, body: bytes) -> BaseModel:
    kind = next((value for name, value in request.scope["headers"] if name == b"content-type"), b"")
    if kind.partition(b";")[0].strip().lower() != b"application/json":
        raise RequestValidationError([{"loc": ("body",), "msg": "Content-Type should be application/json"}])
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        raise RequestValidationError([{**item, "loc": ("body", *item["loc"])} for item in found]) from error
