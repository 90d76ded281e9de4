"""The HTTP server below the application: its port, its certificates, and what one connection may cost."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import structlog
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from lock_broker.problems import MEDIA_TYPE, RETRY_SECONDS, problem_response
from lock_broker.settings import BrokerSettings
from lock_broker.watched import Watched
from shared.errors import UserError
from shared.leases import Problem

if TYPE_CHECKING:
    from uvicorn.protocols.http.h11_impl import H11Protocol as Protocol
else:
    from uvicorn.protocols.http.auto import AutoHTTPProtocol as Protocol

SHUTDOWN_SECONDS = 5
KEEP_ALIVE_SECONDS = 30
"""How long an idle connection stays open: longer than clients pause between two requests, shorter than proxies wait."""
HEAD_BYTES = 64 * 1024


class Server(uvicorn.Server):
    """uvicorn's server without its signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the service skeleton, which stops this server."""
        yield


class Certificates:
    """The broker's certificate and key, taken again when the files change; whose clients' certificates count."""

    def __init__(self, certificate: Path, key: Path | None, client_ca: Path | None) -> None:
        self._files = (certificate, key)
        self._watched = Watched(certificate, *([key] if key else []))
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._load(self.context)
        if client_ca is not None:
            # Optional for the handshake, so that probes and scrapers get in; /v1 is shut to whoever shows none.
            self.context.verify_mode = ssl.CERT_OPTIONAL
            _load_ca(self.context, client_ca)

    @classmethod
    def from_settings(cls, settings: BrokerSettings) -> Certificates | None:
        """Return None for a broker that speaks plain HTTP. ``UserError`` for what can't be read or doesn't fit."""
        certificate, key = settings.broker_certificate_file, settings.broker_key_file
        if certificate is None:
            for name in ("broker_key_file", "broker_client_ca_file"):
                if getattr(settings, name) is not None:
                    raise UserError(f"PTZ_{name.upper()} is set without PTZ_BROKER_CERTIFICATE_FILE; set both")
            return None
        return cls(certificate, key, settings.broker_client_ca_file)

    def refresh(self) -> None:
        """Take the certificate again if its files have changed. A bad one changes nothing, and is said so once."""
        if not self._watched.changed():
            return
        try:
            self._load(ssl.create_default_context(ssl.Purpose.CLIENT_AUTH))  # one that may be spoilt
            self._load(self.context)
        except UserError as error:
            structlog.get_logger().error("certificate not taken; the one before stays", reason=str(error))
        else:
            structlog.get_logger().info("certificate taken")

    def _load(self, context: ssl.SSLContext) -> None:
        certificate, key = self._files
        try:
            # A password would be asked for on the terminal: none is given, so that an encrypted key is an error.
            context.load_cert_chain(certificate, key, password=lambda: b"")
        except (OSError, ssl.SSLError) as error:
            names = "PTZ_BROKER_CERTIFICATE_FILE, PTZ_BROKER_KEY_FILE"
            where = f"{certificate}{f' and {key}' if key else ''}"
            reason = error.strerror or "not a certificate with its unencrypted key"
            raise UserError(f"{names}: cannot take {where}: {reason}") from error


def _load_ca(context: ssl.SSLContext, path: Path) -> None:
    try:
        context.load_verify_locations(path)
    except (OSError, ssl.SSLError) as error:
        raise UserError(
            f"PTZ_BROKER_CLIENT_CA_FILE: cannot take {path}: {error.strerror or 'no certificates'}"
        ) from error


def listen(settings: BrokerSettings) -> socket.socket:
    """Open the port. ``UserError`` when it is taken or no address of this machine."""
    host, port = settings.broker_host, settings.broker_port
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        opened = socket.create_server(address[:2], family=family, backlog=settings.broker_connections)
    except OSError as error:
        raise UserError(
            f"cannot listen on {host}:{port}: {error.strerror}; set PTZ_BROKER_PORT and PTZ_BROKER_HOST"
        ) from error
    # Connections inherit it. asyncio sets it only on sockets whose protocol has been named, and without it the body of
    # an answer waits for the acknowledgement of its head: 40 ms.
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return opened


def make_server(app: ASGIApp, settings: BrokerSettings, certificates: Certificates | None) -> Server:
    """Make the server of an application."""
    bounds = {"most": settings.broker_connections, "head_seconds": settings.broker_slow_seconds}
    config = uvicorn.Config(
        app,
        http=type("Connection", (Connection,), bounds),
        ws="none",
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        # More than one read of the socket brings, so that it is this module that refuses.
        h11_max_incomplete_event_size=1024 * 1024,
        ssl_context_factory=None if certificates is None else lambda _config, _default: certificates.context,
    )
    return Server(config)


class Connection(Protocol):
    """One connection: has to bring a request's head in time and in size, and is one of so many."""

    most: ClassVar[int]
    head_seconds: ClassVar[float]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Open; or shut ``/v1`` to a connection that is one too many, or that shows no certificate."""
        super().connection_made(transport)
        # asyncio does this only for sockets that were made with the protocol's number. Without it the second part of an
        # answer waits until the client has acknowledged the first: 40 ms on Linux.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._timer: asyncio.TimerHandle | None = None
        self._head = 0
        self._await_head()
        if len(self.connections) > 2 * self.most:
            transport.abort()  # not even an answer is left for it
        elif len(self.connections) > self.most:
            self.app = _Shut(self.app, 503, f"the broker has {self.most} connections open, its limit")
        elif not _shows_certificate(transport):
            self.app = _Shut(self.app, 401, "a client certificate is needed")

    def data_received(self, data: bytes) -> None:
        """Take what came, and see whether a request's head is complete or has been under way for too long."""
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:
            self._stop_waiting()
        elif before is None or before.response_complete:
            self._head += len(data)
            if self._timer is None:
                self._await_head()
            if self._head > HEAD_BYTES:
                self._refuse(431, f"the request's head is larger than {HEAD_BYTES} bytes")

    def connection_lost(self, exc: Exception | None) -> None:
        """Close."""
        self._stop_waiting()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        self._refuse(400, msg)

    def _await_head(self) -> None:
        self._timer = self.loop.call_later(self.head_seconds, self._too_slow)

    def _stop_waiting(self) -> None:
        self._head = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._timer = None
        if self._head:
            self._refuse(408, f"the request's head did not arrive within {self.head_seconds:g} s")
        else:
            self.transport.close()  # nothing was asked

    def _refuse(self, status: int, detail: str) -> None:
        """Answer below the application, which has not heard of this request, and close."""
        if self.transport.is_closing():
            return
        phrase = HTTPStatus(status).phrase
        body = json.dumps(Problem(title=phrase, status=status, detail=detail).model_dump())
        head = f"HTTP/1.1 {status} {phrase}\r\nContent-Type: {MEDIA_TYPE}\r\nContent-Length: {len(body)}\r\n"
        self.transport.write(f"{head}Connection: close\r\n\r\n{body}".encode())
        self.transport.close()


class _Shut:
    """The application with ``/v1`` shut: who watches over the broker has to get in all the same."""

    def __init__(self, app: ASGIApp, status: int, detail: str) -> None:
        self._app, self._status, self._detail = app, status, detail

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not scope["path"].startswith("/v1"):
            await self._app(scope, receive, send)
            return
        headers = {"Connection": "close"}
        if self._status == HTTPStatus.SERVICE_UNAVAILABLE:
            headers["Retry-After"] = str(RETRY_SECONDS)
        await problem_response(self._status, self._detail, headers)(scope, receive, send)


def _shows_certificate(transport: asyncio.Transport) -> bool:
    context: Any = transport.get_extra_info("sslcontext")
    wanted = context is not None and context.verify_mode != ssl.CERT_NONE
    return not wanted or bool(transport.get_extra_info("peercert"))
