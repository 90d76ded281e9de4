"""Routes for what is asked most: described like all others, but read by hand.

To grant a lease takes less time than FastAPI takes to find out what a function's parameters need. So these routes find
it out once, when they are made.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, cast

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from lock_broker.routes.parts import P, Who, parts_of, who_asks

_Reader = Callable[[Request], Awaitable[Any]]


class QuickRoute(APIRoute):
    """A route whose function takes ``P``, ``Who``, the request, a model for the body and text from the path, no more.

    It returns a ``Response``.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        parameters = inspect.signature(endpoint, eval_str=True).parameters.values()
        self._readers = [(item.name, _reader(item)) for item in parameters]

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["method"] not in (self.methods or ()):
            await super().handle(scope, receive, send)
            return
        request = Request(scope, receive)
        values = {name: await read(request) for name, read in self._readers}
        response = cast(Response, await self.endpoint(**values))
        await response(scope, receive, send)


def _reader(parameter: inspect.Parameter) -> _Reader:
    kind: Any = parameter.annotation
    if kind == P:
        return parts_of
    if kind == Who:
        return who_asks
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return _body(kind)

    async def itself(request: Request) -> Any:
        return request

    async def from_path(request: Request) -> Any:
        return request.path_params[parameter.name]

    return itself if kind is Request else from_path


def _body(model: type[BaseModel]) -> _Reader:
    async def read(request: Request) -> BaseModel:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise RequestValidationError([{"loc": ("body",), "msg": "Content-Type should be application/json"}])
        try:
            return model.model_validate_json(await request.body())
        except ValidationError as error:
            found = error.errors(include_url=False, include_input=False)
            raise RequestValidationError([{**item, "loc": ("body", *item["loc"])} for item in found]) from error

    return read
