"""How a script is sent, and the answer that most of them give."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from redis.asyncio import Redis
from redis.exceptions import ConnectionError, NoScriptError

_FOLDER = Path(__file__).parent


class Clock(Protocol):
    """Where scripts get the time: the host's boot clock, or a test's."""

    @property
    def boot(self) -> str:
        """Name of the host's boot that the time belongs to."""

    def now_ms(self) -> int:
        """Milliseconds since that boot."""


class Script:
    """One ``.lua`` file after the common part. Sent by its hash; whole, when the server does not know it."""

    def __init__(self, name: str) -> None:
        parts = (_FOLDER / "common.lua", _FOLDER / f"{name}.lua")
        self.text = "\n".join(part.read_text(encoding="utf-8") for part in parts)
        self.sha1 = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    async def __call__(self, redis: Redis, keys: Sequence[str], arguments: Sequence[str | int]) -> Any:
        """Run the script. Sent once more if the connection broke, as it does when Redis restarts: that is harmless."""
        try:
            return await self._send(redis, keys, arguments)
        except ConnectionError:
            return await self._send(redis, keys, arguments)

    async def _send(self, redis: Redis, keys: Sequence[str], arguments: Sequence[str | int]) -> Any:
        values = [*keys, *(str(argument) for argument in arguments)]
        try:
            return await cast(Any, redis.evalsha(self.sha1, len(keys), *values))
        except NoScriptError:
            return await cast(Any, redis.eval(self.text, len(keys), *values))


@dataclass(frozen=True)
class LeaseReply:
    """What a script found out about a lease."""

    outcome: str
    newly_lost: bool
    """The script was the first to see that the resource's last lease had run out."""
    lease_id: str
    resource: str
    holder: str
    token: int
    expires_in_ms: int

    @classmethod
    def of(cls, reply: Sequence[Any]) -> LeaseReply:
        """Read a script's answer."""
        outcome, lost, lease, resource, holder, token, remaining = reply
        return cls(
            outcome=outcome.decode(),
            newly_lost=bool(lost),
            lease_id=lease.decode(),
            resource=resource.decode(),
            holder=holder.decode(),
            token=int(token),
            expires_in_ms=int(remaining),
        )
