"""The stream layer on a real server: what is published arrives, once, whatever dies in between."""

from __future__ import annotations

import asyncio
import math
import signal
from collections.abc import AsyncIterator

import pytest

from shared.messages import TrainingProgress
from shared.redis_client import REDIS_AWAY, RedisClients, ResponseError
from shared.settings import ServiceSettings
from shared.stream_metrics import StreamMetrics
from shared.streams import DEAD_SUFFIX, FIELD, Consumer, Follower, Received, Standing, look_back, publish
from shared.telemetry import Metrics
from tests.conftest import RedisServer

STREAM, GROUP = "ptz:progress", "readers"


def message(step: int, **changes: str) -> TrainingProgress:
    return TrainingProgress(learner="wm_00_00", step=step, terms={"loss": 1.0 / (step + 1)}, **changes)


async def send(clients: RedisClients, *steps: int, max_length: int = 1000) -> None:
    for step in steps:
        await publish(clients.commands, STREAM, message(step), {"blob": bytes([step % 256])}, max_length=max_length)


def consumer(clients: RedisClients, name: str = "one", **changes: int) -> Consumer[TrainingProgress]:
    return Consumer(clients, STREAM, TrainingProgress, group=GROUP, name=name, **changes)


def steps(received: list[Received[TrainingProgress]]) -> list[int]:
    return [item.message.step for item in received]


async def pending(clients: RedisClients) -> int:
    return int((await clients.commands.xpending(STREAM, GROUP))["pending"])


async def drain(reader: Consumer[TrainingProgress]) -> list[int]:
    """Read until nothing comes, finishing everything."""
    found: list[int] = []
    for _ in range(100):
        batch = await reader.read(block_ms=0)
        await reader.done(batch)
        found += steps(batch)
        if not batch and found:
            break
    return found


async def test_what_is_published_arrives_with_its_bytes(clients: RedisClients) -> None:
    await send(clients, 0, 1, 2)
    reader = consumer(clients)
    assert await reader.read() == [], "the first read makes the group"
    received = await reader.read()
    assert steps(received) == [0, 1, 2], "what was published before the group counts"
    assert received[1].blobs == {"blob": b"\x01"}
    assert await pending(clients) == 3
    await reader.done(received)
    assert await pending(clients) == 0
    assert await reader.read(block_ms=0) == []


async def test_two_members_share_the_work(clients: RedisClients) -> None:
    await send(clients, *range(10))
    one, two = consumer(clients, "one"), consumer(clients, "two")
    await one.create_group()
    first, second = await one.read(count=5), await two.read(count=5)
    assert sorted(steps(first) + steps(second)) == list(range(10))


async def test_a_member_that_comes_back_first_meets_what_it_left(clients: RedisClients) -> None:
    await send(clients, 0, 1)
    before = consumer(clients)
    await before.create_group()
    assert steps(await before.read()) == [0, 1]
    await send(clients, 2)
    again = consumer(clients)
    left = await again.read()
    assert steps(left) == [0, 1]
    await again.done(left)
    assert await drain(again) == [2]
    assert await pending(clients) == 0


async def test_what_a_dead_peer_left_is_claimed(clients: RedisClients) -> None:
    await send(clients, *range(5))
    dead = consumer(clients, "dead")
    await dead.create_group()
    assert len(await dead.read()) == 5
    assert await consumer(clients, "busy").read(block_ms=0) == [], "too early to take it"
    await asyncio.sleep(0.03)
    heir = consumer(clients, "heir", min_idle_ms=20)
    assert sorted(await drain(heir)) == list(range(5))
    assert await pending(clients) == 0


async def test_poison_ends_on_the_dead_letter_stream(clients: RedisClients) -> None:
    await send(clients, 0, 1)
    for attempt in range(4):
        reader = consumer(clients, max_deliveries=3)
        await reader.create_group()
        received = await reader.read(block_ms=0)
        await reader.done([item for item in received if item.message.step == 0])
        assert (1 in steps(received)) == (attempt < 3), attempt
    assert reader.dead_lettered == 1
    assert await pending(clients) == 0
    [(_, letter)] = await clients.commands.xrange(STREAM + DEAD_SUFFIX)
    assert letter[b"reason"] == b"delivered 4 times and never finished"
    assert letter[b"group"] == GROUP.encode()
    assert letter[b"blob"] == b"\x01"
    assert TrainingProgress.model_validate_json(letter[b"message"]).step == 1


async def test_poison_is_found_between_other_pending_entries(clients: RedisClients) -> None:
    """Only the claimed ones are asked about, however many others lie between them."""
    await send(clients, *range(40))
    reader = consumer(clients, "one", min_idle_ms=1, max_deliveries=1)
    await reader.create_group()
    entries = [item.entry_id for item in await reader.read(count=40)]
    await clients.commands.xclaim(STREAM, GROUP, "dead", 0, [entries[0], entries[-1]], retrycount=9)
    await clients.commands.xclaim(STREAM, GROUP, "one", 0, entries[1:-1], justid=True)
    await asyncio.sleep(0.01)
    taker = consumer(clients, "taker", min_idle_ms=1, max_deliveries=5)
    found = await drain(taker)
    assert sorted(found) == list(range(1, 39))
    assert taker.dead_lettered == 2


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({b"other": b"1"}, b"entry has no 'message' field"),
        ({b"message": b"not json"}, b"message: Invalid JSON"),
        ({b"message": b'{"kind": "view"}'}, b"kind: Input should be 'training-progress'"),
    ],
)
async def test_what_can_not_be_read_is_put_aside_with_the_reason(
    clients: RedisClients, fields: dict[bytes, bytes], reason: bytes
) -> None:
    await clients.commands.xadd(STREAM, {**fields})
    await send(clients, 7)
    reader = consumer(clients)
    await reader.create_group()
    assert steps(await reader.read()) == [7]
    [(_, letter)] = await clients.commands.xrange(STREAM + DEAD_SUFFIX)
    assert letter[b"reason"].startswith(reason)
    assert reader.dead_lettered == 1


async def test_a_rejected_message_leaves_with_its_reason(clients: RedisClients) -> None:
    await send(clients, 3)
    reader = consumer(clients)
    await reader.create_group()
    [received] = await reader.read()
    await reader.reject(received, "the camera is unknown")
    [(_, letter)] = await clients.commands.xrange(STREAM + DEAD_SUFFIX)
    assert (letter[b"reason"], letter[b"blob"]) == (b"the camera is unknown", b"\x03")
    assert await pending(clients) == 0


async def test_a_message_sent_twice_is_handled_once(clients: RedisClients) -> None:
    twice = message(1)
    reader = consumer(clients)
    await reader.create_group()
    for _ in range(2):
        await publish(clients.commands, STREAM, twice, max_length=100)
    received = await reader.read()
    assert steps(received) == [1], "twice in one batch"
    await reader.done(received)
    await publish(clients.commands, STREAM, twice, max_length=100)
    assert await reader.read(block_ms=0) == [], "again, later"
    assert await pending(clients) == 0


async def test_the_group_is_made_again_after_a_flush(clients: RedisClients) -> None:
    reader = consumer(clients)
    await reader.create_group()
    waiting = asyncio.create_task(reader.read(block_ms=5000))
    await asyncio.sleep(0.1)
    await clients.commands.flushall()
    assert await waiting == []
    await send(clients, 1, 2)
    assert await drain(reader) == [1, 2]


async def test_an_entry_trimmed_while_it_was_pending_does_not_stay(clients: RedisClients) -> None:
    await send(clients, 0, 1)
    left = consumer(clients)
    await left.create_group()
    await left.read()
    await clients.commands.xtrim(STREAM, maxlen=0, approximate=False)
    again = consumer(clients)
    assert await again.read(block_ms=0) == []
    assert await pending(clients) == 0
    letters = await clients.commands.xrange(STREAM + DEAD_SUFFIX)
    assert {letter[b"reason"] for _, letter in letters} == {b"the stream forgot the entry before it was handled"}


async def test_a_stream_is_bounded(clients: RedisClients) -> None:
    await send(clients, *range(1500), max_length=100)
    assert 100 <= await clients.commands.xlen(STREAM) <= 300
    newest = await look_back(clients.commands, STREAM, TrainingProgress, 3)
    assert steps(newest) == [1497, 1498, 1499]


async def test_a_follower_from_now_on_misses_nothing(clients: RedisClients) -> None:
    await send(clients, 0)
    follower = Follower(clients, STREAM, TrainingProgress)
    assert await follower.read(block_ms=1) == [], "what was before is not its business"
    seen: list[int] = []
    sending = asyncio.create_task(send(clients, *range(1, 200)))
    while not sending.done() or seen[-1:] != [199]:
        seen += steps(await follower.read(block_ms=5, count=7))
    assert seen == list(range(1, 200))


async def test_a_follower_from_now_on_of_an_empty_stream(clients: RedisClients) -> None:
    follower = Follower(clients, STREAM, TrainingProgress)
    assert await follower.read(block_ms=0) == []
    await send(clients, 1)
    assert steps(await follower.read(block_ms=0)) == [1]


async def test_a_follower_passes_over_what_it_can_not_read(clients: RedisClients) -> None:
    follower = Follower(clients, STREAM, TrainingProgress, start="0-0")
    await clients.commands.xadd(STREAM, {"other": "1"})
    await send(clients, 4)
    assert steps(await follower.read()) == [4]


@pytest.fixture
async def own_clients(own_redis_server: RedisServer) -> AsyncIterator[RedisClients]:
    connections = RedisClients.from_settings(ServiceSettings(redis_url=own_redis_server.url), command_seconds=0.5)
    yield connections
    await connections.aclose()


async def test_redis_killed_and_started_again(own_clients: RedisClients, own_redis_server: RedisServer) -> None:
    reader = consumer(own_clients)
    await reader.create_group()
    await send(own_clients, 0, 1, 2)
    received = await reader.read()
    await reader.done(received[:1])
    own_redis_server.kill(signal.SIGKILL)
    with pytest.raises(REDIS_AWAY):
        await reader.read(block_ms=100)
    await asyncio.to_thread(own_redis_server.start)
    assert await drain(reader) == [1, 2], "pending entries are met again, done ones are not"
    await send(own_clients, 3)
    assert await drain(reader) == [3]


async def test_entries_whose_delivery_was_lost_are_met_again(
    own_clients: RedisClients, own_redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server hands out an entry after the reader has given up waiting: it must not lie there for a minute."""
    monkeypatch.setattr("shared.streams.BLOCK_GRACE_SECONDS", 0.3)
    reader = consumer(own_clients)
    await reader.create_group()
    await reader.read(block_ms=0)
    await send(own_clients, 5)
    own_redis_server.kill(signal.SIGSTOP)
    try:
        with pytest.raises(REDIS_AWAY):
            await reader.read(block_ms=100)
    finally:
        own_redis_server.kill(signal.SIGCONT)
    await asyncio.sleep(0.1)
    assert await drain(reader) == [5]
    assert await pending(own_clients) == 0


async def test_standing_says_how_far_the_group_is(clients: RedisClients) -> None:
    reader = consumer(clients)
    with pytest.raises(ResponseError):
        await reader.standing()
    await clients.commands.xadd(STREAM, {FIELD: message(0).model_dump_json()}, id="1000-0")
    await clients.commands.xadd(STREAM, {FIELD: message(1).model_dump_json()}, id="4500-0")
    assert await reader.standing() == Standing(entries=2, unread=2, unfinished=0, behind_seconds=3.5), "no group yet"
    await reader.create_group()
    assert await reader.standing() == Standing(entries=2, unread=2, unfinished=0, behind_seconds=3.5)
    [first] = await reader.read(count=1)
    assert await reader.standing() == Standing(entries=2, unread=1, unfinished=1, behind_seconds=3.5)
    await reader.done([first])
    await reader.read()
    assert await reader.standing() == Standing(entries=2, unread=0, unfinished=1, behind_seconds=0.0)


async def test_metrics_follow_a_stream(clients: RedisClients) -> None:
    metrics, reader = Metrics("sample"), consumer(clients)
    watched = StreamMetrics(metrics, "progress")

    def value(name: str) -> float:
        return metrics.registry.get_sample_value(f"ptz_sample_{name}", {"stream": "progress"}) or 0.0

    await watched.look("progress", reader)
    assert math.isnan(value("stream_unread_entries")), "there is no stream yet"
    await send(clients, 0, 1)
    await clients.commands.xadd(STREAM, {"junk": "1"})
    async with watched.watching("progress", reader):
        for _ in range(600):
            if value("stream_unread_entries") == 3.0:
                break
            await asyncio.sleep(0.05)
    await reader.create_group()
    await reader.read()
    await watched.look("progress", reader)
    assert (value("stream_entries"), value("stream_unread_entries"), value("stream_unfinished_entries")) == (3, 0, 2)
    assert value("stream_lag_seconds") == 0.0
    assert value("dead_letters_total") == 1.0
    await watched.look("progress", reader)
    assert value("dead_letters_total") == 1.0, "each counts once"
