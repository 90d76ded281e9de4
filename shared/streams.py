"""A thin layer over Redis streams: publish, consume in a group, follow the newest, look back.

What it adds to redis-py: typed messages, an idempotency key, the claim of what a dead peer left, and a dead-letter
stream with the reason for what can't be read. It keeps to the command set of Redis 7.0, which Valkey shares.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast

from pydantic import ValidationError
from redis.asyncio import Redis

from shared.messages import Message
from shared.redis_client import REDIS_AWAY, RedisClients, ResponseError

FIELD = b"message"
DEAD_SUFFIX = ":dead"
DEAD_LENGTH = 1000
DONE_SECONDS = 3600
"""How long a handled message's id is remembered: longer than any producer goes on sending it again."""

BLOCK_GRACE_SECONDS = 5.0
"""How much longer than its block a read may take: beyond that the server is away, however quiet the link."""

M = TypeVar("M", bound=Message)
Entry = tuple[bytes, dict[bytes, bytes] | None]


@dataclass(frozen=True)
class Received(Generic[M]):
    """A message with its bytes and its place in the stream."""

    entry_id: str
    message: M
    blobs: Mapping[str, bytes] = field(default_factory=dict, repr=False)


class Unreadable(ValueError):
    """An entry is not a message of the kind that is read here; the text says why."""


def decode(entry_id: bytes, fields: Mapping[bytes, bytes], kind: type[M]) -> Received[M]:
    """Turn a stream entry into a message, or raise ``Unreadable``."""
    if not fields:
        raise Unreadable("the stream forgot the entry before it was handled")
    if FIELD not in fields:
        raise Unreadable("entry has no 'message' field")
    try:
        message = kind.model_validate_json(fields[FIELD])
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "message"
        raise Unreadable(f"{place}: {first['msg']}") from error
    blobs = {key.decode(errors="replace"): value for key, value in fields.items() if key != FIELD}
    return Received(entry_id.decode(), message, blobs)


async def publish(
    redis: Redis, stream: str, message: Message, blobs: Mapping[str, bytes] | None = None, *, max_length: int
) -> str:
    """Append a message and let the stream forget its oldest beyond about ``max_length``. Returns the entry's id."""
    fields: dict[Any, Any] = {FIELD: message.model_dump_json().encode(), **(blobs or {})}
    entry_id = await redis.xadd(stream, fields, maxlen=max_length, approximate=True)
    return cast(bytes, entry_id).decode()


async def look_back(redis: Redis, stream: str, kind: type[M], count: int, *, until: str = "+") -> list[Received[M]]:
    """Return the newest ``count`` readable messages up to the entry ``until``, oldest first, without consuming any."""
    entries = cast(list[Entry], await redis.xrevrange(stream, max=until, count=count))
    return _readable(reversed(entries), kind)


def _readable(entries: Iterable[Entry], kind: type[M]) -> list[Received[M]]:
    found = []
    for entry_id, fields in entries:
        try:
            found.append(decode(entry_id, fields or {}, kind))
        except Unreadable:
            continue
    return found


class Follower(Generic[M]):
    """Reads a stream outside any group, from a place onwards: for whoever only watches, or wants just the newest."""

    def __init__(self, clients: RedisClients, stream: str, kind: type[M], *, start: str = "$") -> None:
        self._clients, self._stream, self._kind = clients, stream, kind
        self._last = start

    async def read(self, *, block_ms: int = 1000, count: int = 256) -> list[Received[M]]:
        """Return what has come since the last read; wait up to ``block_ms`` (0: not at all) for the first."""
        if self._last == "$":
            # A second XREAD from '$' would miss what came between the two; pin the place once.
            newest = cast(list[Entry], await self._clients.commands.xrevrange(self._stream, count=1))
            self._last = newest[0][0].decode() if newest else "0-0"
        async with asyncio.timeout(block_ms / 1000.0 + BLOCK_GRACE_SECONDS):
            reply: Any = await self._clients.blocking.xread(
                {self._stream: self._last}, count=count, block=block_ms or None
            )
        entries = cast(list[Entry], reply[0][1]) if reply else []
        if entries:
            self._last = entries[-1][0].decode()
        return _readable(entries, self._kind)


@dataclass(frozen=True)
class Standing:
    """How far a consumer group is in its stream."""

    entries: int
    """Of the stream."""
    unread: int | None
    """Entries that the group was not given yet; None where the server cannot tell."""
    unfinished: int
    """Entries that it was given and that are not done."""
    behind_seconds: float
    """From the newest entry that it was given, or the oldest there is, to the newest there is, by Redis' clock."""


class Consumer(Generic[M]):
    """One member of a consumer group.

    ``name`` must be stable over restarts of the same worker, so that it first meets what it left unfinished.
    Deliver-at-least-once made harmless: a message whose id was handled within the last hour is acknowledged unseen.
    """

    def __init__(
        self,
        clients: RedisClients,
        stream: str,
        kind: type[M],
        *,
        group: str,
        name: str,
        min_idle_ms: int = 60_000,
        max_deliveries: int = 5,
    ) -> None:
        self._clients, self._stream, self._kind = clients, stream, kind
        self._group, self._name = group, name
        self._min_idle_ms, self._max_deliveries = min_idle_ms, max_deliveries
        self._own_from: str | None = "0-0"
        self._claim_from = "0-0"
        self._next_claim = 0.0
        self.dead_lettered = 0

    async def read(self, *, count: int = 64, block_ms: int = 1000) -> list[Received[M]]:
        """Return the next messages: first what it left unfinished, then what dead peers left, then new ones.

        Waits up to ``block_ms`` (0: not at all) for new ones.
        """
        try:
            entries, seen_before = await self._next_entries(count, block_ms)
        except ResponseError as error:
            # UNBLOCKED is what Redis 7.0 says when the stream goes away during the wait.
            if not str(error).startswith(("NOGROUP", "UNBLOCKED")):
                raise
            await self.create_group()
            return []
        except (*REDIS_AWAY, asyncio.CancelledError):
            # The server may have handed out entries whose reply was lost: they are pending under our name.
            self._own_from = "0-0"
            raise
        if seen_before:
            entries = await self._bury_poison(entries)
        return await self._fresh(entries)

    async def create_group(self) -> None:
        """Make the group at the stream's beginning, if there is none; then nothing published so far is missed."""
        try:
            await self._clients.commands.xgroup_create(self._stream, self._group, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    async def delivered_until(self) -> str:
        """Return the id of the newest entry that the group was given; ``0-0`` for a group that is new."""
        await self.create_group()
        for group in await self._clients.commands.xinfo_groups(self._stream):
            if group["name"] == self._group.encode():
                return cast(bytes, group["last-delivered-id"]).decode()
        return "0-0"

    async def standing(self) -> Standing:
        """Say how far the group is. ``ResponseError`` while there is no stream."""
        async with self._clients.commands.pipeline(transaction=True) as pipe:
            pipe.xinfo_stream(self._stream)
            pipe.xinfo_groups(self._stream)
            stream, groups = await pipe.execute()
        found = next((each for each in groups if each["name"] == self._group.encode()), None)
        first = stream["first-entry"]
        oldest = _milliseconds(first[0]) if first else _milliseconds(stream["last-generated-id"])
        seen = _milliseconds(found["last-delivered-id"]) if found else 0
        unread = found.get("lag") if found else stream["length"]
        return Standing(
            entries=int(stream["length"]),
            unread=None if unread is None else int(unread),
            unfinished=int(found["pending"]) if found else 0,
            behind_seconds=(_milliseconds(stream["last-generated-id"]) - max(seen, oldest)) / 1000.0,
        )

    async def done(self, received: Sequence[Received[M]]) -> None:
        """Acknowledge messages whose work is finished and remember their ids."""
        if not received:
            return
        async with self._clients.commands.pipeline(transaction=True) as pipe:
            pipe.xack(self._stream, self._group, *[item.entry_id for item in received])
            for item in received:
                pipe.set(self._done_key(item.message.id), 1, ex=DONE_SECONDS)
            await pipe.execute()

    async def reject(self, received: Received[M], reason: str) -> None:
        """Put a message on the dead-letter stream with the reason, and acknowledge it."""
        fields = {FIELD: received.message.model_dump_json().encode()}
        fields.update({key.encode(): value for key, value in received.blobs.items()})
        await self._bury(received.entry_id.encode(), fields, reason)

    async def _next_entries(self, count: int, block_ms: int) -> tuple[list[Entry], bool]:
        if self._own_from is not None:
            entries = await self._read_group(self._own_from, count, None)
            if entries:
                self._own_from = entries[-1][0].decode()
                return entries, True
            self._own_from = None
        if time.monotonic() >= self._next_claim:
            entries = await self._claim(count)
            if entries:
                return entries, True
        return await self._read_group(">", count, block_ms), False

    async def _read_group(self, start: str, count: int, block_ms: int | None) -> list[Entry]:
        client = self._clients.blocking if block_ms else self._clients.commands
        place: dict[Any, Any] = {self._stream: start}
        # For the server a block of 0 is for ever; here it is none.
        wait = block_ms or None
        async with asyncio.timeout((block_ms or 0) / 1000.0 + BLOCK_GRACE_SECONDS):
            reply: Any = await client.xreadgroup(self._group, self._name, place, count=count, block=wait)
        return cast(list[Entry], reply[0][1]) if reply else []

    async def _claim(self, count: int) -> list[Entry]:
        reply = await self._clients.commands.xautoclaim(
            self._stream, self._group, self._name, self._min_idle_ms, self._claim_from, count=count
        )
        self._claim_from = cast(bytes, reply[0]).decode()
        if self._claim_from == "0-0":
            self._next_claim = time.monotonic() + self._min_idle_ms / 2000.0
        return cast(list[Entry], reply[1])

    async def _bury_poison(self, entries: list[Entry]) -> list[Entry]:
        if not entries:
            return entries
        # One question per entry: a range would also count what lies between them, and be cut off.
        async with self._clients.commands.pipeline(transaction=False) as pipe:
            for entry_id, _ in entries:
                pipe.xpending_range(self._stream, self._group, entry_id, entry_id, 1)
            pending = await pipe.execute()
        kept: list[Entry] = []
        for (entry_id, fields), found in zip(entries, pending, strict=True):
            times = int(found[0]["times_delivered"]) if found else 1
            if times > self._max_deliveries:
                await self._bury(entry_id, fields or {}, f"delivered {times} times and never finished")
            else:
                kept.append((entry_id, fields))
        return kept

    async def _fresh(self, entries: list[Entry]) -> list[Received[M]]:
        readable: list[Received[M]] = []
        for entry_id, fields in entries:
            try:
                # An entry that was trimmed while it was pending comes back without fields.
                readable.append(decode(entry_id, fields or {}, self._kind))
            except Unreadable as error:
                await self._bury(entry_id, fields or {}, str(error))
        if not readable:
            return []
        done = await self._clients.commands.mget([self._done_key(item.message.id) for item in readable])
        fresh: dict[str, Received[M]] = {}
        duplicates = []
        for item, mark in zip(readable, done, strict=True):
            # Sent twice in one batch: the first stays pending until it is done, so the second may go.
            if mark is not None or item.message.id in fresh:
                duplicates.append(item.entry_id)
            else:
                fresh[item.message.id] = item
        if duplicates:
            await self._clients.commands.xack(self._stream, self._group, *duplicates)
        return list(fresh.values())

    async def _bury(self, entry_id: bytes, fields: Mapping[bytes, bytes], reason: str) -> None:
        letter: dict[Any, Any] = {
            **fields,
            b"reason": reason.encode(),
            b"entry": entry_id,
            b"group": self._group.encode(),
        }
        async with self._clients.commands.pipeline(transaction=True) as pipe:
            pipe.xadd(self._stream + DEAD_SUFFIX, letter, maxlen=DEAD_LENGTH, approximate=True)
            pipe.xack(self._stream, self._group, entry_id)
            await pipe.execute()
        self.dead_lettered += 1

    def _done_key(self, message_id: str) -> str:
        return f"ptz:done:{self._stream}:{self._group}:{message_id}"


def _milliseconds(entry_id: bytes) -> int:
    """Return the time in an entry's id, in milliseconds since 1970."""
    return int(entry_id.partition(b"-")[0])
