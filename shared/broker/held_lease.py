"""How long a lease that we hold may be worked under, by our own clock."""

from __future__ import annotations

import threading

from shared.broker.answers import LeaseLost
from shared.leases import Lease, lease_clock

WORK_SHARE = 0.8
"""A holder stops work when it could not renew for this share of the lease's life: before anyone else can get it."""
RENEWALS = 3
"""So many renewals are tried for in one life."""
AGAIN_SECONDS = 0.5
"""When to ask again after a renewal that nobody answered, unless the broker says when."""


class HeldLease:
    """A lease that is renewed in the background for as long as its block lasts.

    Its life is counted from before the request was sent, on the clock that goes on while the host sleeps: never
    longer than the broker's own count. Once lost, it stays lost: whoever saw it so has stopped. Safe between threads.
    """

    def __init__(self, lease: Lease, *, ttl_ms: int, asked: float) -> None:
        self.lease_id, self.resource, self.mode = lease.lease_id, lease.resource, lease.mode
        self.token = lease.token
        """The fencing token: whoever writes under the lease shows it."""
        self.ttl_ms = ttl_ms
        self._lock = threading.Lock()
        self._reason = ""
        self._deadline = self._life(asked, lease)

    @property
    def lost(self) -> bool:
        """True from the moment the holder must stop: refused, or not renewed for too long."""
        with self._lock:
            return self._is_lost()

    @property
    def refused(self) -> bool:
        """Whether the broker has said that the lease is not ours."""
        with self._lock:
            return bool(self._reason)

    @property
    def remaining(self) -> float:
        """Seconds of work left unless it is renewed."""
        with self._lock:
            return 0.0 if self._is_lost() else max(0.0, self._deadline - lease_clock())

    def check(self) -> None:
        """Raise ``LeaseLost`` unless the lease still stands."""
        if self.lost:
            raise self.loss()

    def loss(self) -> LeaseLost:
        """Return the exception that says how the lease got lost."""
        return LeaseLost(f"the lease of {self.resource} is lost: {self._reason or 'it could not be renewed in time'}")

    def renewed(self, lease: Lease, *, asked: float) -> None:
        """Note that the broker prolonged it when asked at ``asked``. Too late for a lease that is lost."""
        with self._lock:
            if not self._is_lost():
                self._deadline = self._life(asked, lease)

    def refuse(self, reason: str) -> None:
        """Note that the broker says it is not ours."""
        with self._lock:
            self._reason = reason

    def _life(self, asked: float, lease: Lease) -> float:
        return asked + (lease.expires_in_ms - (1.0 - WORK_SHARE) * self.ttl_ms) / 1000.0

    def _is_lost(self) -> bool:
        if not self._reason and lease_clock() >= self._deadline:
            self._deadline = float("-inf")
        return bool(self._reason) or self._deadline == float("-inf")
