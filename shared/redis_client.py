"""Redis connections without surprises.

redis-py 8 re-sends commands by default, non-idempotent ones too, and its socket time-out breaks blocking reads. So
there are two clients: one for commands (bounded time, never re-sent) and one for blocking reads (no socket time-out;
the block itself is bounded).
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Any, Self

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError, ConnectionError, RedisError, ResponseError, TimeoutError

from shared.errors import UserError
from shared.settings import ServiceSettings

REDIS_AWAY = (ConnectionError, TimeoutError, BusyLoadingError, OSError)
"""Errors that pass once the server or the link is back."""

__all__ = ["REDIS_AWAY", "RedisClients", "RedisError", "ResponseError", "redact_url"]


MOST_CONNECTIONS = 32
COMMAND_SECONDS = 10.0
"""A command that takes longer has failed."""


def redact_url(url: str) -> str:
    """Return ``url`` without user, password and query, for logs.

    It does not parse: a password with ``/`` or ``[`` in it would mislead a parser into showing a part of it.
    """
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2].partition('?')[0]}" if separator else "(no URL)"


def _trust(settings: ServiceSettings) -> dict[str, Any]:
    """Return whose certificate to believe. ``UserError`` where the file holds none, or nothing asks for one."""
    ca = settings.redis_ca_file
    if ca is None:
        return {}
    if not settings.redis_url.startswith("rediss://"):
        raise UserError("PTZ_REDIS_CA_FILE is set, but PTZ_REDIS_URL is no rediss:// URL; nothing would be encrypted")
    try:
        ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise UserError(f"PTZ_REDIS_CA_FILE: cannot take {ca}: {error.strerror or 'no certificates'}") from error
    return {"ssl_ca_certs": str(ca)}


@dataclass(frozen=True)
class RedisClients:
    """The two connections a service has: ``commands`` for everything, ``blocking`` for reads that wait."""

    commands: Redis
    blocking: Redis

    @classmethod
    def from_settings(cls, settings: ServiceSettings, *, command_seconds: float = COMMAND_SECONDS) -> Self:
        """Make both clients; nothing is sent yet. ``UserError`` where the URL is not one."""
        # A unix socket has no keep-alive, and its connection class refuses the option.
        options: dict[str, Any] = {} if settings.redis_url.startswith("unix://") else {"socket_keepalive": True}
        options |= _trust(settings)
        password = settings.redis_password.get_secret_value() if settings.redis_password else None

        def client(socket_timeout: float | None) -> Redis:
            try:
                pool = BlockingConnectionPool.from_url(
                    settings.redis_url,
                    username=settings.redis_user,
                    password=password,
                    # The library would say its own name and version, by a command that no service is allowed.
                    driver_info=None,
                    socket_timeout=socket_timeout,
                    socket_connect_timeout=5.0,
                    health_check_interval=15,
                    retry=Retry(NoBackoff(), 0),
                    retry_on_timeout=False,
                    protocol=2,
                    # Who finds every connection in use waits for one; the plain pool would raise.
                    max_connections=MOST_CONNECTIONS,
                    timeout=command_seconds,
                    **options,
                )
            except ValueError:
                # The parser's own message may quote a password; so neither it nor the cause is shown.
                raise UserError(
                    f"PTZ_REDIS_URL {redact_url(settings.redis_url)!r}: not a redis://, rediss:// or unix:// URL; "
                    "a password with special characters belongs in PTZ_REDIS_PASSWORD_FILE"
                ) from None
            return Redis.from_pool(pool)

        return cls(commands=client(command_seconds), blocking=client(None))

    async def aclose(self) -> None:
        """Close both connections."""
        await self.commands.aclose()
        await self.blocking.aclose()
