"""One host's brokers at a time: those of another stand by, since the clocks that leases live by can't be compared."""

from __future__ import annotations

from lock_broker import scripts
from lock_broker.metrics import BrokerMetrics

SILENT_MS = 10_000
"""So long a standby sees no new beat, by its own clock, before it takes over."""
NEEDED = "another broker host is active"
"""Why a standby is not ready."""


class Host:
    """This host's part in who is active. Every worker of a host beats; they count as one, having one boot."""

    def __init__(self, line: scripts.Line, metrics: BrokerMetrics) -> None:
        self._line, self._metrics = line, metrics
        self._seen, self._since = "", 0
        self.active = False

    async def beat(self) -> None:
        """Beat if active, else watch the active host's beat, and take over if it has stopped. Call it every 2 s."""
        now = self._line.clock.now_ms()
        silent = bool(self._seen) and now - self._since >= SILENT_MS
        self.active, beat = await scripts.beat(self._line, self._seen if silent else "")
        if beat != self._seen:
            self._seen, self._since = beat, now
        self._metrics.standby.set(not self.active)
        if not self.active:
            self._metrics.live([])  # the active one shows them
