"""Back-pressure: how many messages of a stream a consumer group has not finished."""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis

from shared.redis_client import ResponseError


async def unfinished(redis: Redis, stream: str, group: str, *, at_most: int) -> int:
    """Return how many messages ``group`` has not acknowledged, unread ones included, counting no further than asked.

    A group that nobody has made yet has finished nothing.
    """
    try:
        groups: list[dict[str, Any]] = await redis.xinfo_groups(stream)
    except ResponseError as error:
        if "no such key" not in str(error).lower():
            raise
        return 0
    found = next((each for each in groups if each["name"] == group.encode()), None)
    if found is None:
        return min(at_most, int(await redis.xlen(stream)))
    # The server's own "lag" is unknown after some deletions; counting the few entries ahead is exact and as cheap.
    after = f"({found['last-delivered-id'].decode()}"
    ahead = await redis.xrange(stream, min=after, count=at_most) or []
    return min(at_most, len(ahead) + int(found["pending"]))
