"""A service that is several: child processes under supervision behind one port.

The rl-agent is a learner and a pilot; a node's container is whatever it was told to be.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import httpx

from shared.errors import UserError
from shared.service import Service
from shared.settings import ServiceSettings
from shared.supervision import Child, Supervisor

S = TypeVar("S", bound=ServiceSettings)

LOOK_SECONDS = 1.0
ANSWER_SECONDS = 2.0


@dataclass(frozen=True)
class Member:
    """One child process: what to run, and how to know how it is."""

    name: str
    command: Sequence[str]
    stop_seconds: float
    """Time to finish what is under way before it is killed."""
    environment: Mapping[str, str] = field(default_factory=dict)
    url: str | None = None
    """Base URL of /readyz and /metrics where it is known beforehand; else the child takes a free admin port."""
    probe: Callable[[], Awaitable[str | None]] | None = None
    """For a child that speaks no HTTP: returns what it lacks, or None."""


class Several(Service[S]):
    """Ready when all members are; its /metrics are its own and every member's.

    A member that ends is started again; one that finds its settings wrong ends the whole.
    """

    def __init__(self, settings: S, members: Sequence[Member], stop_order: Sequence[str]) -> None:
        super().__init__(settings)
        self._members, self._stop_order = {member.name: member for member in members}, stop_order
        self._supervisor = Supervisor()
        self._directory: Path | None = None
        self._counted = dict.fromkeys(self._members, 0)
        self._restarts = self.metrics.counter("child_restarts", "Times a child process was started again", ("child",))
        running = self.metrics.gauge("child_up", "1 while the child process runs", ("child",))
        for name in self._members:
            self._restarts.labels(name)
            running.labels(name).set_function(lambda name=name: float(self._pid(name) is not None))  # type: ignore[misc]
            self.set_ready(name, "starting")

    async def run(self) -> None:
        """Keep all members alive until told to stop, then stop them in order."""
        with tempfile.TemporaryDirectory(prefix="ptz-ports-") as directory:
            self._directory = Path(directory)
            try:
                for member in self._members.values():
                    self._start(member)
                while not self.stopping.is_set():
                    await self._look()
                    await self.pause(LOOK_SECONDS)
            finally:
                await self._supervisor.stop_all(self._stop_order)

    def metrics_text(self) -> bytes:
        """Return our metrics followed by those of every member that answers; the names do not overlap."""
        return b"".join([super().metrics_text(), *map(self._metrics_of, self._members.values())])

    def _start(self, member: Member) -> None:
        port = {
            "PTZ_ADMIN_HOST": "127.0.0.1",
            "PTZ_ADMIN_PORT": "0",
            "PTZ_ADMIN_PORT_FILE": str(self._port_file(member)),
        }
        environment = {**port, **member.environment}
        self._supervisor.start(Child(member.name, member.command, environment, stop_seconds=member.stop_seconds))

    async def _look(self) -> None:
        for member in self._members.values():
            child = self._supervisor.children[member.name]
            if child.given_up:
                raise UserError(f"the {member.name} cannot work with these settings; its own last line says why")
            self._restarts.labels(member.name).inc(child.restarts - self._counted[member.name])
            self._counted[member.name] = child.restarts
            if child.pid is None:
                # A port that a dead child left behind may by now be somebody else's.
                self._port_file(member).unlink(missing_ok=True)
            self.set_ready(member.name, await self._missing(member))

    async def _missing(self, member: Member) -> str | None:
        if member.probe is not None:
            return await member.probe()
        try:
            reply = await asyncio.to_thread(self._ask, member, "readyz")
            missing = reply.json()["missing"]
        except (OSError, httpx.HTTPError, ValueError, KeyError) as error:
            return f"does not answer ({type(error).__name__})"
        return "; ".join(f"{part}: {reason}" for part, reason in missing.items()) or None

    def _metrics_of(self, member: Member) -> bytes:
        if member.probe is not None:
            return b""
        try:
            return self._ask(member, "metrics").content
        except (OSError, httpx.HTTPError, ValueError):
            return b""

    def _ask(self, member: Member, path: str) -> httpx.Response:
        url = member.url or f"http://127.0.0.1:{int(self._port_file(member).read_text(encoding='ascii'))}"
        return httpx.get(f"{url}/{path}", timeout=ANSWER_SECONDS, trust_env=False)

    def _port_file(self, member: Member) -> Path:
        if self._directory is None:
            raise FileNotFoundError("no child has started")
        return self._directory / f"{member.name}.port"

    def _pid(self, name: str) -> int | None:
        child = self._supervisor.children.get(name)
        return child.pid if child else None
