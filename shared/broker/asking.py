"""How often and how long to ask for a lease. Says when to ask; whoever uses it asks, by coroutine or by thread."""

from __future__ import annotations

from typing import Generic, TypeVar

from shared.broker.answers import BrokerAway, LeaseHeld
from shared.leases import AnyLeaseRequest, LeaseRequest, lease_clock

Q = TypeVar("Q", LeaseRequest, AnyLeaseRequest)

ONE_WAIT_MS = 20_000
"""Longest single wait; a longer one is made of several with the same ``request_id``, which keeps its place in line."""
TRIES = 3
"""Requests without an answer before the broker counts as away."""
_PAUSES = (0.2, 0.5)


class Asking(Generic[Q]):
    """One wish for a lease. Every request of it is the same: a lease whose answer was lost is found, not doubled."""

    def __init__(self, request: Q, wait: float) -> None:
        self._request: Q = request
        self._end, self._unanswered = lease_clock() + wait, 0

    def request(self) -> Q:
        """Return what to send now."""
        left = int(max(0.0, self._end - lease_clock()) * 1000.0)
        again: Q = self._request.model_copy(update={"wait_ms": min(left, ONE_WAIT_MS)})
        return again

    def pause_after(self, error: LeaseHeld | BrokerAway) -> float:
        """Return the seconds to wait before asking again; raises ``error`` when that is enough."""
        out_of_time = lease_clock() >= self._end
        if isinstance(error, LeaseHeld):
            self._unanswered = 0
            if out_of_time:
                raise error
            return _PAUSES[0]
        self._unanswered += 1
        if self._unanswered >= TRIES and out_of_time:
            raise error
        return max(error.after, _PAUSES[min(self._unanswered, len(_PAUSES)) - 1])
