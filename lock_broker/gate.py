"""What every request passes first: who asks, how often, how much it brings; and how long the answer takes.

It stands before the framework and costs every request, so it looks at the headers once and copies nothing.
"""

from __future__ import annotations

import asyncio
import math
import time
from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lock_broker.metrics import BrokerMetrics
from lock_broker.principals import ANONYMOUS, DEFAULT, Principal, needed
from lock_broker.problems import Refused, fault, problem_response
from lock_broker.rate import RateLimit
from lock_broker.tokens import Tokens

BODY_BYTES = 1024 * 1024
HEARD_BYTES = 8 * BODY_BYTES
HEAD_BYTES = 32 * 1024
TARGET_BYTES = 4096
RATE, BURST = 500.0, 2000.0
BODY_SECONDS = 10.0
_HUNG_UP = 499
"""The status counted for a client that left before its answer; there is no standard one."""
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_KEEPING = frozenset({"PATCH", "DELETE"})
_LEASES = "/v1/leases/"


class Gate:
    """Before an application: tokens and roles under ``/v1``, limits everywhere, and the histogram of request times."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        metrics: BrokerMetrics,
        tokens: Tokens,
        rate: float = RATE,
        burst: float = BURST,
        body_seconds: float = BODY_SECONDS,
    ) -> None:
        self._app, self._metrics, self._tokens, self._body_seconds = app, metrics, tokens, body_seconds
        # Who asks too much must not lose what it holds, and who has no token must not use up what others may ask.
        self._asking, self._keeping, self._strangers = (RateLimit(rate, burst) for _ in range(3))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer by itself what may not pass; hand on everything else."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 0

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._pass(scope, receive, watch)
        except Refused as refused:
            refusal = problem_response(refused.status, refused.detail, refused.headers, **refused.extra)
            await refusal(scope, receive, watch)
        except Exception as error:
            if status:
                raise  # the application has answered that it failed, or begun to answer
            await fault(scope["path"], error)(scope, receive, watch)
        finally:
            route = getattr(scope.get("route"), "path", "unmatched")
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._metrics.answered(route, method, status or _HUNG_UP, time.perf_counter() - started)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_body, authorization = _look(scope)
        if scope["path"].startswith("/v1"):
            scope.setdefault("state", {})["principal"] = self._enter(scope, authorization)
        if not has_body:
            await self._app(scope, receive, send)
            return
        pending = [await self._body(receive)]
        if pending[0]["type"] == "http.disconnect":
            return

        async def replay() -> Message:
            return pending.pop() if pending else await receive()

        await self._app(scope, replay, send)

    def _enter(self, scope: Scope, authorization: bytes | None) -> Principal:
        """Return who asks. ``Refused`` if nobody knows them, they may not, or they ask too often."""
        address = scope["client"][0] if scope.get("client") else "local"
        method, path = scope["method"], scope["path"]
        principal = ANONYMOUS
        if self._tokens.required:
            known = None if authorization is None else self._tokens.bearer(authorization)
            if known is None:
                _spend(self._strangers, address)
                raise _refused(401, "a valid bearer token is needed", WWW_Authenticate='Bearer realm="lock-broker"')
            principal = known
        # Many may share these two names, on many machines: their addresses tell them apart.
        key = address if principal is ANONYMOUS or principal is DEFAULT else principal.name
        keeps = method in _KEEPING and path.startswith(_LEASES)
        _spend(self._keeping if keeps else self._asking, key)
        role = needed(method, path)
        if not principal.may(role):
            challenge = f'Bearer realm="lock-broker", error="insufficient_scope", scope="{role}"'
            detail = f"{principal.name} is a {principal.role}; this needs the role {role}"
            raise _refused(403, detail, WWW_Authenticate=challenge)
        return principal

    async def _body(self, receive: Receive) -> Message:
        """Wait for the whole body. ``Refused`` if it is too large or too slow; a client that left brings none."""
        try:
            async with asyncio.timeout(self._body_seconds):
                message = await receive()
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return message
                return await _rest(receive, message)
        except TimeoutError:
            detail = f"the body did not arrive within {self._body_seconds:g} s"
            raise _refused(408, detail, Connection="close") from None


def _look(scope: Scope) -> tuple[bool, bytes | None]:
    """Return whether there is a body, and the credentials. ``Refused`` for a head that is too large."""
    if len(scope["path"]) + len(scope["query_string"]) > TARGET_BYTES:
        raise _refused(414, f"the address is longer than {TARGET_BYTES} bytes", Connection="close")
    size, has_body, authorization = 0, False, None
    for name, value in scope["headers"]:
        size += len(name) + len(value)
        if name == b"authorization":
            # Twice is once too often: which of the two would count?
            authorization = value if authorization is None else b""
        elif name == b"content-length" or name == b"transfer-encoding":
            has_body = True
    if size > HEAD_BYTES:
        raise _refused(431, f"the headers are larger than {HEAD_BYTES} bytes", Connection="close")
    return has_body, authorization


def _spend(limit: RateLimit, key: str) -> None:
    if (seconds := limit.take(key)) > 0.0:
        detail = "too many requests; PTZ_BROKER_RATE and PTZ_BROKER_BURST are the broker's limits"
        raise _refused(429, detail, Retry_After=str(math.ceil(seconds)))


async def _rest(receive: Receive, first: Message) -> Message:
    chunks, size, more = [first["body"]], len(first["body"]), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return message
        size += len(message.get("body", b""))
        if size <= BODY_BYTES:
            chunks.append(message.get("body", b""))
        else:
            chunks.clear()
        # A connection shut while its client still sends is reset, and the client never reads why: hear it out a while.
        more = message.get("more_body", False) and size <= HEARD_BYTES
    if size > BODY_BYTES:
        detail = f"the body is larger than {BODY_BYTES} bytes"
        raise _refused(413, detail, Connection="close")
    return {"type": "http.request", "body": b"".join(chunks), "more_body": False}


def _refused(status: int, detail: str, **headers: str) -> Refused:
    refused = Refused(HTTPStatus(status), detail)
    refused.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
    return refused
