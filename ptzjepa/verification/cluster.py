"""The system under trial: one Redis and several broker workers as real processes, each behind a proxy that may harm."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

from ptzjepa.embedded_redis import redis_child, redis_url, wait_until_up
from ptzjepa.verification.fault_proxy import Choose, FaultProxy
from ptzjepa.verification.http import Connection
from shared.errors import UserError
from shared.settings import ENV_PREFIX
from shared.supervision import Child, Supervisor, python_command

READY_SECONDS = 30.0
REDIS = "redis"


class Cluster:
    """The processes by name: ``redis``, ``broker-0`` …; and the proxies by broker."""

    def __init__(self, directory: Path, brokers: int, choose: Choose) -> None:
        self._directory, self._choose = directory, choose
        self._supervisor = Supervisor()
        self._ports = {f"broker-{number}": _free_port() for number in range(brokers)}
        self.proxies: dict[str, FaultProxy] = {}

    @property
    def brokers(self) -> list[str]:
        """The brokers' names."""
        return list(self._ports)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run everything for as long as the block lasts."""
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self._supervisor.stop_all)
            self._supervisor.start(redis_child(self._directory / REDIS))
            await wait_until_up(self._directory / REDIS)
            for name, port in self._ports.items():
                self._supervisor.start(self._broker(name))
                self.proxies[name] = await stack.enter_async_context(FaultProxy(port, self._choose))
            for name in self._ports:
                await self._until_ready(name)
            yield

    async def kill(self, name: str) -> None:
        """Kill a process with -9 and start it again."""
        self.send(name, signal.SIGKILL)
        # Stopped and started by hand: the supervisor would wait longer after each failure.
        await self._supervisor.stop(name)
        child = redis_child(self._directory / REDIS) if name == REDIS else self._broker(name)
        self._supervisor.start(child)

    def send(self, name: str, signum: int) -> None:
        """Send a signal to a process."""
        pid = self._supervisor.children[name].pid
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signum)

    def port(self, name: str) -> int:
        """Return the port of a broker itself, without the proxy."""
        return self._ports[name]

    def _broker(self, name: str) -> Child:
        settings = {
            "REDIS_URL": redis_url(self._directory / REDIS),
            "BROKER_PORT": str(self._ports[name]),
            "BROKER_HOST": "127.0.0.1",
            "BROKER_RATE": "0",
            "NODE": name,
            "LOG_LEVEL": "error",
        }
        environment = {f"{ENV_PREFIX}{key}": value for key, value in settings.items()}
        log = self._directory / f"{name}.log"
        return Child(name, python_command("lock_broker"), environment, log)

    async def _until_ready(self, name: str) -> None:
        deadline = asyncio.get_running_loop().time() + READY_SECONDS
        while asyncio.get_running_loop().time() < deadline:
            with contextlib.suppress(OSError):
                connection = await Connection.open("127.0.0.1", self._ports[name])
                try:
                    if (await connection.request("GET", "/readyz")).status == 200:
                        return
                finally:
                    connection.abort()
            await asyncio.sleep(0.1)
        raise UserError(f"{name} was not ready in {READY_SECONDS:.0f} s; see {self._directory / name}.log")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port
