"""The audit stream: who got, lost, gave back and committed what, and who took it away."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import cast

from redis.asyncio import Redis

from lock_broker import keys
from shared.leases import Event


class Events:
    """Reads the audit stream, which the scripts write."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def after(self, place: str | None, limit: int) -> list[Event]:
        """Return the oldest ``limit`` events after ``place``, or from the stream's beginning."""
        entries = await self._redis.xrange(keys.EVENTS, min=f"({place}" if place else "-", count=limit)
        return [_event(*entry) for entry in cast(list[tuple[bytes, dict[bytes, bytes]]], entries)]


def _event(place: bytes, fields: dict[bytes, bytes]) -> Event:
    text = {name.decode(): value.decode() for name, value in fields.items()}
    milliseconds = int(place.partition(b"-")[0])
    return Event.model_validate(
        {
            "id": place.decode(),
            "at": datetime.fromtimestamp(milliseconds / 1000.0, UTC),
            "lease_id": text.pop("lease"),
            **text,
        }
    )
