"""The services of one container as supervised processes behind one port: health, readiness and metrics of all of them.

Nobody waits for anybody at the start: each service outlasts the absence of what it needs, as it does anywhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from ptzjepa.embedded_redis import redis_child, redis_url, wait_until_up
from ptzjepa.node.settings import NodeSettings
from ptzjepa.services import BROKER, BROKER_URL, COMMANDS, REDIS, REDIS_URL, START_ORDER, STOP_ORDER
from shared.errors import UserError
from shared.several import Member, Several
from shared.supervision import python_command

STOP_SECONDS = 30.0
"""The agent's learner and pilot have twelve each, one after the other at worst."""
LOCALHOST = "127.0.0.1"


class Node(Several[NodeSettings]):
    """Ready when all its services are."""

    name: ClassVar[str] = "node"

    def __init__(self, settings: NodeSettings) -> None:
        common = environment(settings)
        members = [
            redis_member(settings) if name == REDIS else service_member(name, settings, common)
            for name in START_ORDER
            if name in settings.chosen
        ]
        super().__init__(settings, members, STOP_ORDER)


def environment(settings: NodeSettings) -> dict[str, str]:
    """Return where the services find the Redis and the broker that run beside them."""
    found: dict[str, str] = {}
    if REDIS in settings.chosen:
        found[REDIS_URL] = redis_url(settings.redis_directory)
    if BROKER in settings.chosen:
        found[BROKER_URL] = f"http://{LOCALHOST}:{settings.broker_port}"
    return found


def service_member(name: str, settings: NodeSettings, common: Mapping[str, str]) -> Member:
    """Describe one of our services."""
    command = python_command(*COMMANDS[name])
    if name != BROKER:
        return Member(name, command, STOP_SECONDS, common)
    own = {"PTZ_BROKER_HOST": LOCALHOST, "PTZ_BROKER_PORT": str(settings.broker_port)}
    return Member(name, command, STOP_SECONDS, {**common, **own}, url=common[BROKER_URL])


def redis_member(settings: NodeSettings) -> Member:
    """Describe the Redis of this container; it listens on a socket in its directory, and nowhere else."""

    async def lacks() -> str | None:
        try:
            await wait_until_up(settings.redis_directory, seconds=0.5)
        except (UserError, OSError) as error:
            return f"does not answer ({type(error).__name__})"
        return None

    child = redis_child(settings.redis_directory)
    return Member(REDIS, child.command, STOP_SECONDS, probe=lacks)
