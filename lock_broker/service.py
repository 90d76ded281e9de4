"""The lock broker as a service: its own HTTP server, and an eye on Redis."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Mapping
from typing import ClassVar

from lock_broker.api import create_app
from lock_broker.clock import HostClock
from lock_broker.events import Events
from lock_broker.host import NEEDED, Host
from lock_broker.leases import Leases
from lock_broker.metrics import BrokerMetrics
from lock_broker.redis_health import RedisHealth
from lock_broker.registry import Registry
from lock_broker.routes.parts import Parts
from lock_broker.scripts import Line
from lock_broker.server import Certificates, listen, make_server
from lock_broker.settings import BrokerSettings
from lock_broker.tokens import Tokens
from shared.redis_client import RedisClients, RedisError
from shared.service import Service, write_port

REDIS_SECONDS = 3.0
"""A command that takes longer has failed: well before the broker's clients give up on their request."""
PING_SECONDS = 2.0
REDIS_TROUBLE = (RedisError, OSError)
"""Away, or unable: a full disk or memory passes, too."""
WATCH_SECONDS = 2.0
FILES_SECONDS = 2.0
"""How often tokens and certificates are looked at."""


class LockBroker(Service[BrokerSettings]):
    """Several on one host and Redis behave as one; those of another host stand by."""

    name: ClassVar[str] = "lock-broker"
    serves_own_http: ClassVar[bool] = True

    async def run(self) -> None:
        """Answer requests until told to stop; then finish those under way."""
        settings = self.settings
        secret = settings.broker_token
        tokens = Tokens(shared=secret.get_secret_value() if secret else None, file=settings.broker_tokens_file)
        certificates = Certificates.from_settings(settings)
        with listen(settings) as opened:
            port = opened.getsockname()[1]
            if settings.admin_port_file:
                write_port(settings.admin_port_file, port)
            self._warn_if_open(tokens)
            clients = RedisClients.from_settings(settings, command_seconds=REDIS_SECONDS)
            try:
                await self._serve(opened, port, clients, tokens, certificates)
            finally:
                await clients.aclose()

    async def _serve(
        self,
        opened: socket.socket,
        port: int,
        clients: RedisClients,
        tokens: Tokens,
        certificates: Certificates | None,
    ) -> None:
        metrics = BrokerMetrics(self.metrics)
        redis = clients.commands
        line = Line(redis.connection_pool.make_connection, HostClock())
        leases = Leases(redis, line, metrics, most_resources=self.settings.broker_resources)
        registry = Registry(redis, line, metrics, history=self.settings.broker_versions)
        host = Host(line, metrics)
        metrics.redis_up.set_function(lambda: 0.0 if "redis" in self.not_ready else 1.0)

        async def missing() -> Mapping[str, str]:
            return await self._missing(clients)

        parts = Parts(leases, registry, Events(redis), metrics, self.metrics.registry, missing)
        server = make_server(create_app(parts, tokens, self.settings), self.settings, certificates)
        serving = asyncio.create_task(server.serve([opened]))
        around = [
            asyncio.create_task(self._watch(leases, host, RedisHealth(redis, metrics))),
            asyncio.create_task(leases.room.listen(clients.blocking)),
            asyncio.create_task(self._watch_files(tokens, certificates)),
            asyncio.create_task(self.stopping.wait()),
        ]
        self.log.info("listening", host=self.settings.broker_host, port=port)
        try:
            await asyncio.wait({serving, *around}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leases.room.close()
            server.should_exit = True
            for task in around:
                task.cancel()
            await asyncio.gather(serving, *around, return_exceptions=True)
            await line.aclose()
        for task in (serving, *around):
            if not task.cancelled() and (error := task.exception()):
                raise error
        if not self.stopping.is_set():
            raise RuntimeError("the HTTP server ended by itself")

    async def _watch(self, leases: Leases, host: Host, health: RedisHealth) -> None:
        """Beat, and see to it that leases which ran out are noticed, early after a restart of Redis, too."""

        async def look() -> None:
            await host.beat()
            if host.active:
                await leases.live()
            await health.beat()
            self.set_ready("host", None if host.active else NEEDED)

        while not self.stopping.is_set():
            await self.outlast(look, part="redis", away=REDIS_TROUBLE)
            await self.pause(WATCH_SECONDS)

    async def _watch_files(self, tokens: Tokens, certificates: Certificates | None) -> None:
        """See to it that changed tokens and certificates count soon, with or without requests."""
        while not await self.pause(FILES_SECONDS):
            tokens.refresh()
            if certificates is not None:
                certificates.refresh()

    async def _missing(self, clients: RedisClients) -> Mapping[str, str]:
        missing = {part: reason for part, reason in self.not_ready.items() if part != "redis"}
        try:
            async with asyncio.timeout(PING_SECONDS):
                await clients.commands.ping()
        except REDIS_TROUBLE as error:
            missing["redis"] = f"{type(error).__name__}: {error}"[:200]
        return missing

    def _warn_if_open(self, tokens: Tokens) -> None:
        host = self.settings.broker_host
        with contextlib.suppress(ValueError):
            if not tokens.required and not ipaddress.ip_address(host).is_loopback:
                self.log.warning(
                    "anybody who reaches this address may take leases; set PTZ_BROKER_TOKENS_FILE", host=host
                )
