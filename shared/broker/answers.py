"""What the lock broker's answers mean to whoever asked: the exceptions, and how a response becomes one or a value."""

from __future__ import annotations

from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from shared.errors import UserError

R = TypeVar("R", bound=BaseModel)

ANSWER_SECONDS = 10.0
"""Longest that the broker may take to answer what it need not wait for."""
MOST_AFTER = 10.0
"""Longest that a client leaves the broker alone because it says so."""
_CONNECT_SECONDS = 3.0
_AWAY = (
    httpx.codes.TOO_MANY_REQUESTS,
    httpx.codes.BAD_GATEWAY,
    httpx.codes.SERVICE_UNAVAILABLE,
    httpx.codes.GATEWAY_TIMEOUT,
)
_GONE = (httpx.codes.GONE, httpx.codes.NOT_FOUND)
_REFUSALS = (*_GONE, httpx.codes.PRECONDITION_FAILED, httpx.codes.CONFLICT)


class BrokerAway(Exception):
    """The broker does not answer now; asking again later is safe, since every request carries its ``request_id``.

    ``after`` is how many seconds it wants to be left alone for: no error, but too many requests, or a Redis that is
    away. 0 where it did not say.
    """

    def __init__(self, reason: str, *, after: float = 0.0) -> None:
        super().__init__(reason)
        self.after = after


class LeaseHeld(Exception):
    """Somebody else holds the lease, or stands in line before us."""


class LeaseLost(Exception):
    """The lease is not ours any more: it ran out, or was taken away."""


class CommitRefused(Exception):
    """The registry did not change the model: the token is stale, or the model is not as it was expected."""


def patience(wait_ms: int = 0) -> httpx.Timeout:
    """Return how long to wait for an answer that the broker may hold back for ``wait_ms``."""
    return httpx.Timeout(ANSWER_SECONDS + wait_ms / 1000.0, connect=_CONNECT_SECONDS)


def checked(response: httpx.Response) -> httpx.Response:
    """Return the response; ``BrokerAway`` where it only says that the broker can't answer now."""
    if response.status_code in _AWAY:
        raise BrokerAway(detail(response), after=_after(response))
    return response


def granted(response: httpx.Response, kind: type[R]) -> R:
    """Read the answer to a request for a lease."""
    if response.status_code == httpx.codes.LOCKED:
        raise LeaseHeld(detail(response))
    if response.status_code == httpx.codes.GONE:
        raise LeaseLost(detail(response))
    return parse(response, kind)


def renewed(response: httpx.Response, kind: type[R]) -> R:
    """Read the answer to a renewal."""
    if response.status_code in _GONE:
        raise LeaseLost(detail(response))
    return parse(response, kind)


def released(response: httpx.Response) -> None:
    """Read the answer to a release; a lease that is gone already is fine."""
    if response.status_code not in _GONE:
        successful(response)


def changed(response: httpx.Response) -> httpx.Response:
    """Return the answer to a commit, or to another change of a model; ``CommitRefused`` for a no."""
    if response.status_code in _REFUSALS:
        raise CommitRefused(detail(response))
    return response


def parse(response: httpx.Response, kind: type[R]) -> R:
    """Read a document. ``UserError`` where our credentials are wrong, ``RuntimeError`` for an answer without sense."""
    successful(response)
    try:
        return kind.model_validate_json(response.content)
    except ValidationError as error:
        raise RuntimeError(f"{response.request.url.path}: not a {kind.__name__}: {error.errors()[0]['msg']}") from error


def _after(response: httpx.Response) -> float:
    """Read ``Retry-After``; the broker says it in seconds, and a proxy's dates are nobody's to compare."""
    told = response.headers.get("Retry-After", "")
    return min(float(told), MOST_AFTER) if told.isascii() and told.isdigit() else 0.0


def detail(response: httpx.Response) -> str:
    """Return the reason that an error response gives."""
    try:
        body: Any = response.json()
    except ValueError:
        return f"HTTP {response.status_code}"
    found = body.get("detail") or body.get("title") if isinstance(body, dict) else None
    return str(found or f"HTTP {response.status_code}")


def successful(response: httpx.Response) -> httpx.Response:
    """Return the response. ``UserError`` where our credentials are wrong, ``RuntimeError`` for another error."""
    if response.is_success:
        return response
    if response.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        raise UserError(
            f"the lock broker refused us ({response.status_code}: {detail(response)}): "
            "set PTZ_BROKER_TOKEN_FILE to a token that may do this"
        )
    raise RuntimeError(
        f"{response.request.method} {response.request.url.path}: HTTP {response.status_code}: {detail(response)}"
    )
