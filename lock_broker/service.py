"""The lock broker as a service: its own HTTP server, and an eye on Redis."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Iterator, Mapping
from typing import ClassVar

import uvicorn
from fastapi import FastAPI

from lock_broker.api import create_app
from lock_broker.clock import HostClock
from lock_broker.events import Events
from lock_broker.host import NEEDED, Host
from lock_broker.leases import Leases
from lock_broker.metrics import BrokerMetrics
from lock_broker.registry import Registry
from lock_broker.routes.parts import Parts
from lock_broker.scripts import Line
from lock_broker.settings import BrokerSettings
from shared.errors import UserError
from shared.redis_client import RedisClients, RedisError
from shared.service import Service, write_port

REDIS_SECONDS = 3.0
"""A command that takes longer has failed: well before the broker's clients give up on their request."""
PING_SECONDS = 2.0
REDIS_TROUBLE = (RedisError, OSError)
"""Away, or unable: a full disk or memory passes, too."""
WATCH_SECONDS = 2.0
SHUTDOWN_SECONDS = 5
CONNECTIONS = 512


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the service skeleton, which stops this server."""
        yield


def listen(host: str, port: int) -> socket.socket:
    """Open the port. ``UserError`` when it is taken or no address of this machine."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=CONNECTIONS)
    except OSError as error:
        raise UserError(
            f"cannot listen on {host}:{port}: {error.strerror}; set PTZ_BROKER_PORT and PTZ_BROKER_HOST"
        ) from error


class LockBroker(Service[BrokerSettings]):
    """Several on one host and Redis behave as one; those of another host stand by."""

    name: ClassVar[str] = "lock-broker"
    serves_own_http: ClassVar[bool] = True

    async def run(self) -> None:
        """Answer requests until told to stop; then finish those under way."""
        settings = self.settings
        with listen(settings.broker_host, settings.broker_port) as opened:
            port = opened.getsockname()[1]
            if settings.admin_port_file:
                write_port(settings.admin_port_file, port)
            self._warn_if_open()
            clients = RedisClients.from_settings(settings, command_seconds=REDIS_SECONDS)
            try:
                await self._serve(opened, port, clients)
            finally:
                await clients.aclose()

    async def _serve(self, opened: socket.socket, port: int, clients: RedisClients) -> None:
        metrics = BrokerMetrics(self.metrics)
        redis = clients.commands
        line = Line(redis.connection_pool.make_connection, HostClock())
        leases = Leases(redis, line, metrics, most_resources=self.settings.broker_resources)
        registry = Registry(redis, line, metrics, history=self.settings.broker_versions)
        host = Host(line, metrics)
        metrics.redis_up.set_function(lambda: 0.0 if "redis" in self.not_ready else 1.0)

        async def missing() -> Mapping[str, str]:
            return await self._missing(clients)

        secret = self.settings.broker_token
        token = secret.get_secret_value() if secret else None
        app = create_app(Parts(leases, registry, Events(redis), metrics, self.metrics.registry, missing, token))
        server = _server(app)
        serving = asyncio.create_task(server.serve([opened]))
        watching = asyncio.create_task(self._watch(leases, host))
        listening = asyncio.create_task(leases.room.listen(clients.blocking))
        stopping = asyncio.create_task(self.stopping.wait())
        self.log.info("listening", host=self.settings.broker_host, port=port)
        try:
            await asyncio.wait({serving, watching, listening, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leases.room.close()
            server.should_exit = True
            for task in (watching, listening, stopping):
                task.cancel()
            await asyncio.gather(serving, watching, listening, stopping, return_exceptions=True)
            await line.aclose()
        for task in (serving, watching, listening):
            if not task.cancelled() and (error := task.exception()):
                raise error
        if not self.stopping.is_set():
            raise RuntimeError("the HTTP server ended by itself")

    async def _watch(self, leases: Leases, host: Host) -> None:
        """Beat, and see to it that leases which ran out are noticed, early after a restart of Redis, too."""

        async def look() -> None:
            await host.beat()
            if host.active:
                await leases.live()
            self.set_ready("host", None if host.active else NEEDED)

        while not self.stopping.is_set():
            await self.outlast(look, part="redis", away=REDIS_TROUBLE)
            await self.pause(WATCH_SECONDS)

    async def _missing(self, clients: RedisClients) -> Mapping[str, str]:
        missing = {part: reason for part, reason in self.not_ready.items() if part != "redis"}
        try:
            async with asyncio.timeout(PING_SECONDS):
                await clients.commands.ping()
        except REDIS_TROUBLE as error:
            missing["redis"] = f"{type(error).__name__}: {error}"[:200]
        return missing

    def _warn_if_open(self) -> None:
        host = self.settings.broker_host
        with contextlib.suppress(ValueError):
            if self.settings.broker_token is None and not ipaddress.ip_address(host).is_loopback:
                self.log.warning("anybody who reaches this address may take leases; set PTZ_BROKER_TOKEN", host=host)


def _server(app: FastAPI) -> _Server:
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    return _Server(config)
