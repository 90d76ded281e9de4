"""The skeleton of a service: signals, readiness, health, metrics, and a last log line that says why it ended.

A service implements ``run`` and returns from it soon after ``self.stopping`` is set. SIGTERM or SIGINT sets it; a
second one ends the process at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import json
import os
import signal
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from typing import Any, ClassVar, Generic, TypeVar

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from shared.errors import EXIT_FAULT, EXIT_OK, EXIT_USER, UserError
from shared.redis_client import REDIS_AWAY, RedisClients
from shared.settings import ServiceSettings
from shared.telemetry import Metrics, configure_logging
from shared.whole_files import write_whole

INFO_LABELS = ("version", "node", "camera")

S = TypeVar("S", bound=ServiceSettings)
T = TypeVar("T")


class Service(ABC, Generic[S]):
    """One service. ``name`` is its container's name, too."""

    name: ClassVar[str]
    serves_own_http: ClassVar[bool] = False
    """True where the service answers /healthz, /readyz and /metrics on its own HTTP port."""

    def __init__(self, settings: S) -> None:
        self.settings = settings
        self.metrics = Metrics(self.name)
        self.log: structlog.stdlib.BoundLogger = structlog.get_logger()
        self.stopping = asyncio.Event()
        self.not_ready: dict[str, str] = {"start": "starting"}
        """What is missing before the service can do its work: a part's name and a reason. Empty means ready."""
        self._ready = self.metrics.gauge("ready", "1 when the service can do its work")
        self._ready.set_function(lambda: 0.0 if self.not_ready else 1.0)
        self._lacks = self.metrics.gauge("missing", "1 while a part is missing that the service needs", ("part",))
        info = self.metrics.rows("info", "1: which version runs where, and for which camera", INFO_LABELS)
        info.replace([((_version(), settings.node, settings.camera), 1.0)])

    @abstractmethod
    async def run(self) -> None:
        """Work until ``self.stopping`` is set, then finish what is under way and return."""

    def set_ready(self, part: str, missing: str | None = None) -> None:
        """Say that a part is ready, or why it is not."""
        self._lacks.labels(part).set(missing is not None)
        if missing is None:
            self.not_ready.pop(part, None)
        elif self.not_ready.get(part) != missing:
            self.not_ready[part] = missing

    def metrics_text(self) -> bytes:
        """Return what /metrics answers, in Prometheus' text format. Called from the HTTP server's threads."""
        return generate_latest(self.metrics.registry)

    async def pause(self, seconds: float) -> bool:
        """Wait, but not beyond the stop. Returns True when the service has to stop."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.stopping.wait(), seconds)
        return self.stopping.is_set()

    async def outlast(
        self, attempt: Callable[[], Awaitable[T]], *, part: str, away: tuple[type[Exception], ...]
    ) -> T | None:
        """Call ``attempt`` until it succeeds, waiting longer each time it is ``away``; None when stopped meanwhile."""
        delay = 0.1
        while not self.stopping.is_set():
            try:
                result = await attempt()
            except away as error:
                if part not in self.not_ready:
                    self.log.warning("waiting", part=part, reason=_reason(error))
                self.set_ready(part, _reason(error))
                if await self.pause(delay):
                    return None
                delay = min(delay * 2.0, 3.0)
            else:
                if part in self.not_ready:
                    self.set_ready(part)
                    self.log.info("available", part=part)
                return result
        return None

    async def redis(self, attempt: Callable[[], Awaitable[T]]) -> T | None:
        """Do something with Redis, waiting through its absences. ``attempt`` must be safe to repeat."""
        return await self.outlast(attempt, part="redis", away=REDIS_AWAY)

    @contextlib.asynccontextmanager
    async def redis_clients(self) -> AsyncIterator[RedisClients]:
        """Make the Redis connections for as long as the block lasts."""
        clients = RedisClients.from_settings(self.settings)
        try:
            yield clients
        finally:
            await clients.aclose()


def _version() -> str:
    try:
        return importlib.metadata.version("ptzjepa")
    except importlib.metadata.PackageNotFoundError:  # run from a tree that was never installed
        return "unknown"


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]


def _user_error(error: BaseException) -> UserError | None:
    """Find the user's error in what a task group raised."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, BaseExceptionGroup):
        return next(filter(None, map(_user_error, error.exceptions)), None)
    return None


class _AdminServer(ThreadingHTTPServer):
    daemon_threads = True

    def server_bind(self) -> None:
        """Bind without asking the name service who we are, which may take long on a node without one."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])


class _AdminHandler(BaseHTTPRequestHandler):
    service: Service[Any]
    timeout = 10.0

    def do_GET(self) -> None:
        """Answer the three paths that orchestrators and Prometheus ask for."""
        path = self.path.partition("?")[0]
        if path == "/healthz":
            self._reply(200, b"ok\n", "text/plain; charset=utf-8")
        elif path == "/readyz":
            missing = dict(self.service.not_ready)
            body = json.dumps({"ready": not missing, "missing": missing}).encode()
            self._reply(503 if missing else 200, body, "application/json")
        elif path == "/metrics":
            self._reply(200, self.service.metrics_text(), CONTENT_TYPE_LATEST)
        else:
            self._reply(404, b"not found\n", "text/plain; charset=utf-8")

    def _reply(self, status: int, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep scrapes out of the log."""


@contextlib.contextmanager
def admin_server(service: Service[Any]) -> Any:
    """Serve /healthz, /readyz and /metrics from a thread. ``UserError`` when the port is taken."""
    settings = service.settings
    handler = type("Handler", (_AdminHandler,), {"service": service})
    try:
        server = _AdminServer((settings.admin_host, settings.admin_port), handler)
    except OSError as error:
        raise UserError(
            f"cannot listen on {settings.admin_host}:{settings.admin_port}: {error.strerror}; set PTZ_ADMIN_PORT"
        ) from error
    if settings.admin_port_file:
        write_port(settings.admin_port_file, server.server_port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def write_port(path: Path, port: int) -> None:
    """Write the port for whoever started this process, whole or not at all. ``UserError`` where that is impossible."""
    try:
        write_whole(path, f"{port}\n".encode())
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; set PTZ_ADMIN_PORT_FILE") from error


def serve(service_class: type[Service[Any]], read_settings: Callable[[], Any]) -> int:
    """Run a service until it ends or is told to stop. Returns the process's exit code."""
    try:
        settings = read_settings()
        configure_logging(settings, service_class.name)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USER
    log = structlog.get_logger()
    try:
        reason = asyncio.run(_run(service_class, settings))
    except Exception as error:  # the last line of defence: say it, and let the supervisor start the service again
        if users := _user_error(error):
            print(f"error: {users}", file=sys.stderr)
            log.error("stopped", reason=str(users), exit=EXIT_USER)
            return EXIT_USER
        log.exception("failed")
        log.error("stopped", reason=f"{type(error).__name__}: {error}"[:400], exit=EXIT_FAULT)
        return EXIT_FAULT
    log.info("stopped", reason=reason, exit=EXIT_OK)
    return EXIT_OK


async def _run(service_class: type[Service[Any]], settings: ServiceSettings) -> str:
    service = service_class(settings)
    reasons: list[str] = []

    def stop(signum: int) -> None:
        if reasons:
            os._exit(128 + signum)
        reasons.append(signal.Signals(signum).name)
        service.log.info("stopping", reason=reasons[0])
        service.set_ready("stop", "stopping")
        service.stopping.set()

    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop, signum)
    service.log.info("started", config_hash=settings.config_hash, pid=os.getpid())
    with contextlib.nullcontext() if service.serves_own_http else admin_server(service):
        service.set_ready("start")
        await service.run()
    return reasons[0] if reasons else "finished"
