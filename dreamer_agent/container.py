"""The rl-agent's container: a learner and a pilot as two supervised processes behind one port.

Two processes, so that a learner at work, stuck, or killed never keeps the pilot from steering.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import ClassVar

import httpx

from dreamer_agent.settings import AgentSettings
from shared.errors import UserError
from shared.service import Service
from shared.supervision import Child, Supervisor, python_command

ROLES = ("pilot", "learner")
"""In the order in which they stop: first nobody steers, then the learner commits what it has."""
LOOK_SECONDS = 1.0
STOP_SECONDS = 12.0


class AgentContainer(Service[AgentSettings]):
    """Ready when both children are; its /metrics are its own and both children's."""

    name: ClassVar[str] = "rl-agent"

    def __init__(self, settings: AgentSettings) -> None:
        super().__init__(settings)
        self._supervisor = Supervisor()
        self._ports: dict[str, Path] = {}
        self._counted = dict.fromkeys(ROLES, 0)
        self._restarts = self.metrics.counter("child_restarts", "Times a child process was started again", ("child",))
        running = self.metrics.gauge("child_up", "1 while the child process runs", ("child",))
        for role in ROLES:
            self._restarts.labels(role)
            running.labels(role).set_function(lambda role=role: float(self._pid(role) is not None))  # type: ignore[misc]
            self.set_ready(role, "starting")

    async def run(self) -> None:
        """Keep both children alive until told to stop, then stop the pilot before the learner."""
        with tempfile.TemporaryDirectory(prefix="ptz-agent-") as directory:
            try:
                for role in ROLES:
                    self._start(role, Path(directory))
                while not self.stopping.is_set():
                    await self._look()
                    await self.pause(LOOK_SECONDS)
            finally:
                await self._supervisor.stop_all(ROLES)

    def metrics_text(self) -> bytes:
        """Return our metrics followed by those of every child that answers; the names do not overlap."""
        return b"".join([super().metrics_text(), *(self._child_metrics(role) for role in ROLES)])

    def _start(self, role: str, directory: Path) -> None:
        self._ports[role] = directory / f"{role}.port"
        environment = {
            "PTZ_ADMIN_HOST": "127.0.0.1",
            "PTZ_ADMIN_PORT": "0",
            "PTZ_ADMIN_PORT_FILE": str(self._ports[role]),
        }
        command = python_command("dreamer_agent", "agent", "--role", role)
        self._supervisor.start(Child(role, command, environment, stop_seconds=STOP_SECONDS))

    async def _look(self) -> None:
        for role in ROLES:
            child = self._supervisor.children[role]
            if child.given_up:
                raise UserError(f"the {role} cannot work with these settings; its own last line says why")
            self._restarts.labels(role).inc(child.restarts - self._counted[role])
            self._counted[role] = child.restarts
            if child.pid is None:
                # A port that a dead child left behind may by now be somebody else's.
                self._ports[role].unlink(missing_ok=True)
            self.set_ready(role, await asyncio.to_thread(self._missing, role))

    def _missing(self, role: str) -> str | None:
        try:
            reply = self._ask(role, "readyz")
            missing = reply.json()["missing"]
        except (OSError, httpx.HTTPError, ValueError, KeyError) as error:
            return f"does not answer ({type(error).__name__})"
        return "; ".join(f"{part}: {reason}" for part, reason in missing.items()) or None

    def _child_metrics(self, role: str) -> bytes:
        try:
            return self._ask(role, "metrics").content
        except (OSError, httpx.HTTPError, ValueError, KeyError):  # no port: it is not even started
            return b""

    def _ask(self, role: str, path: str) -> httpx.Response:
        port = int(self._ports[role].read_text(encoding="ascii"))
        return httpx.get(f"http://127.0.0.1:{port}/{path}", timeout=1.0, trust_env=False)

    def _pid(self, role: str) -> int | None:
        child = self._supervisor.children.get(role)
        return child.pid if child else None
