"""Look at everything a run needs before anything starts, so that bad input costs a second and one clear line."""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import Mapping

from camera_sampler.simulation.panorama import Panorama
from ptzjepa.embedded_redis import server_binary
from ptzjepa.options import RunOptions
from ptzjepa.services import REDIS_URL
from shared.errors import UserError
from shared.redis_client import REDIS_AWAY, RedisClients, RedisError, redact_url
from shared.settings import ServiceSettings

LOCALHOST = "127.0.0.1"
REDIS_ANSWER_SECONDS = 5.0


def check_inputs(options: RunOptions, environ: Mapping[str, str]) -> int:
    """Raise ``UserError`` for the first thing that is wrong; returns the port that the broker shall listen on."""
    if options.minutes is not None and not (math.isfinite(options.minutes) and options.minutes > 0):
        raise UserError(f"--minutes {options.minutes:g}: must be more than 0")
    if options.panorama is not None:
        Panorama.load(options.panorama)
    settings = ServiceSettings.from_environment()
    if environ.get(REDIS_URL):
        asyncio.run(_check_redis(settings))
    else:
        server_binary()
    return broker_port(options.broker_port)


def broker_port(wanted: int) -> int:
    """Return ``wanted``, or a free port for 0. ``UserError`` where it can't be listened on."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        # As servers do: a port whose last user has just left is free.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOCALHOST, wanted))
            listener.listen(1)
        except OSError as error:
            raise UserError(
                f"--broker-port {wanted}: cannot listen there ({error.strerror}); give another, or 0 for a free one"
            ) from error
        return int(listener.getsockname()[1])


async def _check_redis(settings: ServiceSettings) -> None:
    clients = RedisClients.from_settings(settings)
    try:
        await asyncio.wait_for(clients.commands.info("server"), REDIS_ANSWER_SECONDS)
    except (*REDIS_AWAY, RedisError, TimeoutError) as error:
        reason = str(error) or "no answer"
        raise UserError(f"{REDIS_URL} {redact_url(settings.redis_url)}: {reason}; start it, or unset it") from error
    finally:
        await clients.aclose()


async def redis_version(settings: ServiceSettings) -> str:
    """Return the Redis server's name and version, as far as it tells."""
    clients = RedisClients.from_settings(settings)
    try:
        info = await asyncio.wait_for(clients.commands.info("server"), REDIS_ANSWER_SECONDS)
    except (*REDIS_AWAY, RedisError, TimeoutError):
        return "unknown"
    finally:
        await clients.aclose()
    name = str(info.get("server_name", "redis"))
    return f"{name} {info.get(f'{name}_version', info.get('redis_version', '?'))}"
