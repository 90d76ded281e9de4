"""The way between FFmpeg and a camera's stream: leads to the address that was checked, and to no other.

FFmpeg looks names up by itself, and where a camera answers with another address it goes there, the login in hand; no
option keeps it from that. So it speaks to a port of this machine that passes everything on, except such an answer.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Sequence
from types import TracebackType

# What FFmpeg takes for a status line that begins with 3: it reads words between spaces, and their number as C does.
_REDIRECT = re.compile(rb"RTSP/\S*[ \t\r]+\+?0*3\d\d")
_REMEMBERED = 8192
"""Bytes kept for a status line that comes in pieces: more than the longest line that FFmpeg reads."""
_PIECE = 65_536


class Relay:
    """One connection from this machine to a camera. ``with`` opens and closes it; opening may raise ``OSError``."""

    def __init__(self, addresses: Sequence[str], port: int, timeout: float) -> None:
        self._addresses, self._port, self._timeout = addresses, port, timeout
        self._open: list[socket.socket] = []
        self.redirected = False
        """The camera has tried to send us elsewhere."""

    @property
    def port(self) -> int:
        """Where FFmpeg finds the camera on 127.0.0.1."""
        port: int = self._listener.getsockname()[1]
        return port

    def __enter__(self) -> Relay:
        self._far = self._connect()
        self._far.settimeout(None)
        self._open.append(self._far)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1)
        self._listener.settimeout(self._timeout)
        self._open.append(self._listener)
        threading.Thread(target=self._pass_on, name="rtsp-relay", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A copy: the relay's own thread may be adding the other end.
        for end in list(self._open):
            _hang_up(end)

    def _connect(self) -> socket.socket:
        *others, last = self._addresses
        for address in others:
            with contextlib.suppress(OSError):
                return socket.create_connection((address, self._port), self._timeout)
        return socket.create_connection((last, self._port), self._timeout)

    def _pass_on(self) -> None:
        with contextlib.suppress(OSError):
            near, _ = self._listener.accept()
            self._open.append(near)
            near.settimeout(None)
            threading.Thread(target=self._ask, args=(near,), name="rtsp-relay-up", daemon=True).start()
            self._answer(near)

    def _ask(self, near: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := near.recv(_PIECE):
                self._far.sendall(data)
        _hang_up(self._far)

    def _answer(self, near: socket.socket) -> None:
        before = b""
        with contextlib.suppress(OSError):
            while data := self._far.recv(_PIECE):
                seen = before + data
                if _REDIRECT.search(seen):
                    self.redirected = True
                    break
                before = seen[-_REMEMBERED:]
                near.sendall(data)
        _hang_up(near)
        _hang_up(self._far)


def _hang_up(end: socket.socket) -> None:
    """Close, and wake whoever waits for something to come."""
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
