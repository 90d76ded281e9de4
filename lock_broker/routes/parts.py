"""What the routes stand on, and how they get at it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request
from prometheus_client import CollectorRegistry

from lock_broker.events import Events
from lock_broker.leases import Leases
from lock_broker.metrics import BrokerMetrics
from lock_broker.principals import ANONYMOUS, Principal
from lock_broker.registry import Registry


@dataclass(frozen=True)
class Parts:
    """What the API stands on."""

    leases: Leases
    registry: Registry
    events: Events
    metrics: BrokerMetrics
    exported: CollectorRegistry
    missing: Callable[[], Awaitable[Mapping[str, str]]]
    """Asks what the service lacks to do its work: a part's name and a reason."""


def parts_in(request: Request) -> Parts:
    """Return the application's parts."""
    return cast(Parts, request.scope["app"].state.parts)


def who_is_in(request: Request) -> Principal:
    """Return whom the gate let in."""
    return cast(Principal, request.scope.get("state", {}).get("principal", ANONYMOUS))


# Both are coroutines: FastAPI sends plain functions to a thread, which takes longer than to grant a lease.
async def _parts_of(request: Request) -> Parts:
    return parts_in(request)


async def _who_asks(request: Request) -> Principal:
    return who_is_in(request)


P = Annotated[Parts, Depends(_parts_of)]
"""A route's parameter of this type is the application's parts."""


Who = Annotated[Principal, Depends(_who_asks)]
"""A route's parameter of this type is whoever asks: put into the request's state by the gate."""
