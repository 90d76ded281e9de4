"""What every request passes first: who asks, how much it brings, how long the answer takes."""

from __future__ import annotations

import hmac
import time
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lock_broker.metrics import BrokerMetrics
from lock_broker.problems import problem_response

BODY_BYTES = 1024 * 1024
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Gate:
    """ASGI middleware: bearer token under ``/v1``, a bound on bodies, and the histogram of request times."""

    def __init__(self, app: ASGIApp, *, metrics: BrokerMetrics, token: str | None) -> None:
        self._app, self._metrics = app, metrics
        self._credentials = None if token is None else f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer by itself what may not pass; hand on everything else."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = HTTPStatus.INTERNAL_SERVER_ERROR.value

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._pass(scope, receive, watch)
        finally:
            route = getattr(scope.get("route"), "path", "unmatched")
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._metrics.answered(route, method, status, time.perf_counter() - started)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._may_enter(scope):
            headers = {"WWW-Authenticate": 'Bearer realm="lock-broker"'}
            refusal = problem_response(HTTPStatus.UNAUTHORIZED, "a valid bearer token is needed", headers)
            await refusal(scope, receive, send)
            return
        body = await _read(receive)
        if body is None:
            detail = f"the body is larger than {BODY_BYTES} bytes"
            headers = {"Connection": "close"}
            await problem_response(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail, headers)(scope, receive, send)
            return
        pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return pending.pop() if pending else await receive()

        await self._app(scope, replay, send)

    def _may_enter(self, scope: Scope) -> bool:
        if self._credentials is None or not scope["path"].startswith("/v1"):
            return True
        shown = Headers(scope=scope).get("authorization", "")
        return hmac.compare_digest(shown.encode(), self._credentials)


async def _read(receive: Receive) -> bytes | None:
    """Return the whole body, or None when it is too large."""
    chunks, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > BODY_BYTES:
            return None
        more = message.get("more_body", False)
    return b"".join(chunks)
