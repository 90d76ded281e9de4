"""The connection that scripts go over: answers lost on the way, silence, refusals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio.connection import UnixDomainSocketConnection
from redis.exceptions import ConnectionError, ResponseError, TimeoutError

from lock_broker import scripts
from lock_broker.keys import LeaseId
from lock_broker.principals import ANONYMOUS, Principal
from lock_broker.scripts import Asking, Line, line
from lock_broker.scripts.script import Script
from ptzjepa.embedded_redis import socket_path
from shared.redis_client import RedisClients
from tests.conftest import RedisServer
from tests.lock_broker.conftest import FakeClock

RESOURCE = "world-model/wm_00_00"


class Tunnel:
    """Between a line and Redis; may swallow answers and hang up."""

    def __init__(self, server: Path) -> None:
        self.server, self.connections, self.writes = server, 0, 0
        self.deaf = 0
        """So many connections from now on lose the answer to their first script, and then break."""
        self.silent = self._asked = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        up, down = await asyncio.open_unix_connection(self.server)
        forward = asyncio.create_task(self._forward(reader, down))
        try:
            while data := await up.read(65536):
                if self.silent:
                    continue
                if self.deaf and self._asked:
                    self.deaf -= 1
                    self._asked = False
                    return
                writer.write(data)
        finally:
            forward.cancel()
            for end in (writer, down):
                end.close()

    async def _forward(self, reader: asyncio.StreamReader, down: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if b"EVAL" in data:
                self._asked = True
                self.writes += 1
            down.write(data)
        down.close()


@pytest.fixture
async def tunnel(clients: RedisClients, redis_server: RedisServer, short_dir: Path) -> AsyncIterator[Tunnel]:
    made = Tunnel(socket_path(redis_server.directory))
    server = await asyncio.start_unix_server(made.serve, short_dir / "tunnel.sock")
    yield made
    server.close()


@pytest.fixture
async def through(tunnel: Tunnel, short_dir: Path) -> AsyncIterator[Line]:
    def connect() -> UnixDomainSocketConnection:
        return UnixDomainSocketConnection(path=str(short_dir / "tunnel.sock"), protocol=2, socket_timeout=5.0)

    made = Line(connect, FakeClock())
    yield made
    await made.aclose()


def asking(number: int = 1) -> Asking:
    return Asking([RESOURCE], f"request-{number}", "holder", "anonymous", "exclusive", 60_000)


async def acquire(over: Line, number: int = 1) -> scripts.LeaseReply:
    return await scripts.acquire(over, asking(number), wait=False, most_resources=100)


async def test_a_lost_answer_is_asked_for_again_and_makes_no_second_lease(tunnel: Tunnel, through: Line) -> None:
    reply = await acquire(through, 0)
    await scripts.release(through, *lease_of(reply))  # the server knows both scripts now: no answer but theirs is lost
    reply = await acquire(through, 1)
    tunnel.deaf = 1
    assert (await scripts.release(through, *lease_of(reply))).outcome == "released", "it was carried out before"
    tunnel.deaf = 1
    reply = await acquire(through, 2)
    assert reply.outcome == "same", "granted the first time, the answer lost"
    assert reply.lease is not None
    assert reply.lease.token == 3
    assert tunnel.connections == 3


def lease_of(reply: scripts.LeaseReply) -> tuple[str, LeaseId, Principal]:
    assert reply.lease is not None
    parsed = LeaseId.parse(reply.lease.lease_id)
    assert parsed is not None
    return reply.lease.lease_id, parsed, ANONYMOUS


async def test_it_is_asked_again_once_and_not_for_ever(tunnel: Tunnel, through: Line) -> None:
    await acquire(through)
    tunnel.deaf = 2
    with pytest.raises(ConnectionError):
        await acquire(through)
    assert tunnel.connections == 2
    assert (await acquire(through)).outcome == "same", "and the line goes on"


async def test_many_calls_in_one_write(tunnel: Tunnel, through: Line) -> None:
    await acquire(through, 0)
    tunnel.writes = 0
    replies = await asyncio.gather(*(acquire(through, number) for number in range(100)))
    assert [reply.outcome for reply in replies] == ["same", *["held"] * 99], "answers in the order of their calls"
    assert tunnel.writes < 30


async def test_calls_on_their_way_are_all_sent_again(tunnel: Tunnel, through: Line) -> None:
    await acquire(through, 0)
    tunnel.deaf = 1
    replies = await asyncio.gather(*(acquire(through, number) for number in range(50)))
    assert [reply.outcome for reply in replies] == ["same", *["held"] * 49]
    assert tunnel.connections == 2


async def test_silence_ends(tunnel: Tunnel, through: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line, "CALL_SECONDS", 0.2)
    await acquire(through)
    tunnel.silent = True
    with pytest.raises(TimeoutError):
        await acquire(through)


async def test_too_many_calls_are_refused(tunnel: Tunnel, through: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line, "MOST_CALLS", 3)
    replies = await asyncio.gather(*(acquire(through, number) for number in range(5)), return_exceptions=True)
    assert [isinstance(reply, ConnectionError) for reply in replies] == [False, False, False, True, True]


async def test_a_script_that_fails_fails_alone(through: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Script("withdraw")
    broken.text, broken.sha1 = "return redis.call('NONSENSE')", "0" * 40
    replies = await asyncio.gather(
        acquire(through, 0), broken(through, [], []), acquire(through, 0), return_exceptions=True
    )
    assert [getattr(reply, "outcome", type(reply)) for reply in replies] == ["granted", ResponseError, "same"]


async def test_nobody_there_is_said_at_once_and_looked_for_again(short_dir: Path, redis_server: RedisServer) -> None:
    where = [short_dir / "nowhere.sock", socket_path(redis_server.directory)]

    def connect() -> UnixDomainSocketConnection:
        return UnixDomainSocketConnection(path=str(where[0]), protocol=2)

    over = Line(connect, FakeClock())
    with pytest.raises(ConnectionError):
        await acquire(over)
    del where[0]
    assert (await acquire(over)).outcome == "granted"
    await over.aclose()
