"""Whoever harms the system while it works: kills, stops, and storms of broken connections, by a seeded choice."""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter

from ptzjepa.verification.cluster import REDIS, Cluster
from ptzjepa.verification.fault_proxy import Fault

CALM_SECONDS = (0.5, 2.5)
"""Between two harms."""
STOP_SECONDS = (0.5, 2.5)
"""How long a process stands still: longer than most leases live."""
STORM_SECONDS = 1.0
STORM_SHARE = 0.3
"""Share of requests harmed during a storm."""
DRIZZLE_SHARE = 0.004
"""Share of requests harmed at all times."""
_WEIGHTS = {Fault.LATENCY: 3, Fault.DROP: 1, Fault.RESET: 3, Fault.HALF_CLOSE: 2, Fault.SWALLOW: 5}


class Weather:
    """Decides which request is harmed, and how."""

    def __init__(self, rng: random.Random) -> None:
        self._rng, self.share = rng, 0.0

    def __call__(self, request: bytes) -> Fault | None:
        """Look at a request's bytes and choose."""
        if self._rng.random() >= self.share:
            return None
        return self._rng.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]


class Nemesis:
    """Harms a cluster until cancelled; afterwards everything runs again."""

    def __init__(self, cluster: Cluster, weather: Weather, rng: random.Random) -> None:
        self._cluster, self._weather, self._rng = cluster, weather, rng
        self.counts: Counter[str] = Counter()
        """Harms done, by kind."""

    async def harm(self) -> None:
        """One harm after the other."""
        self._weather.share = DRIZZLE_SHARE
        try:
            while True:
                await asyncio.sleep(self._rng.uniform(*CALM_SECONDS))
                broker = self._rng.choice(self._cluster.brokers)
                harm = self._rng.choice(("kill broker", "kill redis", "stop broker", "stop redis", "storm", "storm"))
                self.counts[harm] += 1
                if harm == "storm":
                    await self._storm()
                else:
                    target = broker if harm.endswith("broker") else REDIS
                    await (self._cluster.kill(target) if harm.startswith("kill") else self._stop(target))
        finally:
            self._weather.share = 0.0

    async def _storm(self) -> None:
        self._weather.share = STORM_SHARE
        await asyncio.sleep(STORM_SECONDS)
        self._weather.share = DRIZZLE_SHARE

    async def _stop(self, target: str) -> None:
        self._cluster.send(target, signal.SIGSTOP)
        try:
            await asyncio.sleep(self._rng.uniform(*STOP_SECONDS))
        finally:
            self._cluster.send(target, signal.SIGCONT)
