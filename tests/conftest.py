"""What many tests share: a real Redis, started once, and a fixture that fails on keys left behind."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path

import hypothesis
import pytest
import structlog

from ptzjepa.embedded_redis import redis_child, redis_url, wait_until_up
from shared.redis_client import RedisClients
from shared.settings import ServiceSettings

# How long an example takes says how busy the machine is, and no property is about that.
hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("patient")

# Started in the background of a shell, this process ignores Ctrl-C, and so would all that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

PANORAMAS = Path(__file__).resolve().parents[2] / "shared" / "panoramas"


class RedisServer:
    """A real server that tests may kill, freeze and start again."""

    def __init__(
        self,
        directory: Path,
        *,
        binary: str | None = None,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.directory, self.url, self.arguments = directory, redis_url(directory), arguments
        self.binary, self.environment = binary, {**os.environ, **(environment or {})}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = redis_child(self.directory).command
        command = [self.binary or command[0], *command[1:], *self.arguments]
        self.process = subprocess.Popen(command, env=self.environment, stdout=subprocess.DEVNULL)
        asyncio.run(self.wait_until_up())

    async def wait_until_up(self) -> None:
        await wait_until_up(self.directory)

    def kill(self, signum: int = signal.SIGKILL) -> None:
        assert self.process is not None
        self.process.send_signal(signum)
        if signum in (signal.SIGKILL, signal.SIGTERM):
            self.process.wait()


@pytest.fixture(autouse=True)
def _fresh_logging() -> Iterator[None]:
    """A test that configures the log ties it to its own stderr, which is closed when the next one writes."""
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """A directory whose path is short enough for a unix socket."""
    path = Path(tempfile.mkdtemp(prefix="ptz-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One server for the whole run; tests that kill it use ``own_redis_server``."""
    directory = Path(tempfile.mkdtemp(prefix="ptz-"))
    server = RedisServer(directory)
    server.start()
    yield server
    server.kill()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def own_redis_server(short_dir: Path) -> Iterator[RedisServer]:
    """A server of the test's own."""
    server = RedisServer(short_dir)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def settings(redis_server: RedisServer, tmp_path: Path) -> ServiceSettings:
    return ServiceSettings(redis_url=redis_server.url, model_store=str(tmp_path / "store"), node="test", admin_port=0)


@pytest.fixture
async def clients(settings: ServiceSettings) -> AsyncIterator[RedisClients]:
    """Connections to an empty server; fails if the test leaves a key that neither expires nor belongs to a stream."""
    connections = RedisClients.from_settings(settings)
    await connections.commands.flushall()
    yield connections
    unowned = []
    async for key in connections.commands.scan_iter():
        kind = await connections.commands.type(key)
        if kind == b"string" and await connections.commands.ttl(key) < 0 and not key.startswith(b"{lk}:"):
            unowned.append(key)
    await connections.commands.flushall()
    await connections.aclose()
    assert not unowned, f"keys without owner or expiry: {unowned}"


@pytest.fixture
def panorama() -> Callable[[str], Path]:
    """A real panorama by name; the test is skipped where the collection is not at hand."""

    def find(name: str) -> Path:
        path = PANORAMAS / f"{name}.jpg"
        if not path.is_file():
            pytest.skip(f"the panorama collection is not at {PANORAMAS}; generated scenes stand in elsewhere")
        return path

    return find
