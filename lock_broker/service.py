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
from lock_broker.leases import Leases
from lock_broker.metrics import BrokerMetrics
from lock_broker.registry import Registry
from lock_broker.routes.parts import Parts
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
    """One per system. A second one on the same host and Redis does no harm; one on another host would."""

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
        clock, redis = HostClock(), clients.commands
        leases = Leases(redis, clock, metrics, most_resources=self.settings.broker_resources)
        registry = Registry(redis, clock, metrics, history=self.settings.broker_versions)
        metrics.redis_up.set_function(lambda: 0.0 if "redis" in self.not_ready else 1.0)

        async def missing() -> Mapping[str, str]:
            return await self._missing(clients)

        app = create_app(Parts(leases, registry, metrics, self.metrics.registry, missing), tokens, self.settings)
        server = make_server(app, self.settings, certificates)
        serving = asyncio.create_task(server.serve([opened]))
        watching = asyncio.create_task(self._watch(leases))
        reading = asyncio.create_task(self._watch_files(tokens, certificates))
        stopping = asyncio.create_task(self.stopping.wait())
        self.log.info("listening", host=self.settings.broker_host, port=port)
        try:
            await asyncio.wait({serving, watching, reading, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            server.should_exit = True
            for task in (watching, reading, stopping):
                task.cancel()
            await asyncio.gather(serving, watching, reading, stopping, return_exceptions=True)
        for task in (serving, watching, reading):
            if not task.cancelled() and (error := task.exception()):
                raise error
        if not self.stopping.is_set():
            raise RuntimeError("the HTTP server ended by itself")

    async def _watch(self, leases: Leases) -> None:
        """See to it that leases which ran out are noticed, and that the first look after a reboot is an early one."""
        while not self.stopping.is_set():
            await self.outlast(leases.live, part="redis", away=REDIS_TROUBLE)
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
