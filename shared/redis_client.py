"""Redis connections without surprises.

redis-py 8 re-sends commands by default, non-idempotent ones too, and its socket time-out breaks blocking reads. So
there are two clients: one for commands (bounded time, never re-sent) and one for blocking reads (no socket time-out;
the block itself is bounded).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError, ConnectionError, RedisError, ResponseError, TimeoutError

from shared.errors import UserError
from shared.settings import ServiceSettings

REDIS_AWAY = (ConnectionError, TimeoutError, BusyLoadingError, OSError)
"""Errors that pass once the server or the link is back."""

__all__ = ["REDIS_AWAY", "RedisClients", "RedisError", "ResponseError", "redact_url"]


def redact_url(url: str) -> str:
    """Return ``url`` without user and password, for logs."""
    parts = urlsplit(url)
    if "@" not in parts.netloc:
        return url
    return parts._replace(netloc=parts.netloc.rsplit("@", 1)[1]).geturl()


@dataclass(frozen=True)
class RedisClients:
    """The two connections a service has: ``commands`` for everything, ``blocking`` for reads that wait."""

    commands: Redis
    blocking: Redis

    @classmethod
    def from_settings(cls, settings: ServiceSettings) -> Self:
        """Make both clients; nothing is sent yet. ``UserError`` where the URL is not one."""
        password = settings.redis_password.get_secret_value() if settings.redis_password else None

        def client(socket_timeout: float | None) -> Redis:
            try:
                return Redis.from_url(
                    settings.redis_url,
                    password=password,
                    socket_timeout=socket_timeout,
                    socket_connect_timeout=5.0,
                    socket_keepalive=True if not settings.redis_url.startswith("unix://") else None,
                    health_check_interval=15,
                    retry=Retry(NoBackoff(), 0),
                    retry_on_timeout=False,
                    protocol=2,
                )
            except ValueError as error:
                raise UserError(f"PTZ_REDIS_URL {redact_url(settings.redis_url)!r}: {error}") from error

        return cls(commands=client(10.0), blocking=client(None))

    async def aclose(self) -> None:
        """Close both connections."""
        await self.commands.aclose()
        await self.blocking.aclose()
