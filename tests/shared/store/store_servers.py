"""Real servers for the model store: SFTP in a thread, S3 in a process, and a link to either that can be cut."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from shared.store.model_store import ModelStore, StoreAccess
from tests.support import until


class Link:
    """A TCP relay. ``cut_after`` bytes sent upstream break every connection once; ``down`` refuses new ones."""

    def __init__(self, port: int) -> None:
        self._upstream = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.cut_after: list[int] = []
        """Budgets of bytes, one a break: a fresh one begins after each."""
        self.down, self.cuts = False, 0
        self._left: int | None = None
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self.down = True
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        with self._lock:
            for end in self._open:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()
            self._open.clear()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self.down:
                near.close()
                continue
            far = socket.create_connection(("127.0.0.1", self._upstream))
            with self._lock:
                self._open += [near, far]
            threading.Thread(target=self._relay, args=(near, far, True), daemon=True).start()
            threading.Thread(target=self._relay, args=(far, near, False), daemon=True).start()

    def _relay(self, source: socket.socket, sink: socket.socket, upstream: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if upstream and self._spend(len(data)):
                    self.cut()
                    return
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _spend(self, count: int) -> bool:
        with self._lock:
            if self._left is None and self.cut_after:
                self._left = self.cut_after.pop(0)
            if self._left is None:
                return False
            self._left -= count
            if self._left > 0:
                return False
            self._left = None
            self.cuts += 1
            return True


@dataclass
class StoreServer:
    """A store, the link to it, and a look at what lies there past the store's own code."""

    root: str
    """URL with ``{port}`` in it, or a directory."""
    access: StoreAccess
    link: Link
    directory: Path

    def store(self, **changes: Any) -> ModelStore:
        return ModelStore(self.root.format(port=self.link.port), self.access, **changes)


@contextlib.contextmanager
def sftp_server(directory: Path) -> Iterator[StoreServer]:
    """Serve ``directory`` over SFTP to a user with a key."""
    asyncssh = pytest.importorskip("asyncssh", reason="the extra 'sftp' is not installed")
    pytest.importorskip("sshfs", reason="the extra 'sftp' is not installed")
    keys, files = directory / "keys", directory / "files"
    keys.mkdir()
    files.mkdir()
    host, user = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    (keys / "authorized").write_bytes(user.export_public_key())
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def serve() -> Any:
        return await asyncssh.listen(
            "127.0.0.1",
            0,
            server_host_keys=[host],
            authorized_client_keys=str(keys / "authorized"),
            sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=os.fsencode(files)),
        )

    server = asyncio.run_coroutine_threadsafe(serve(), loop).result(10)
    link = Link(server.get_port())
    known = keys / "known_hosts"
    known.write_bytes(f"[127.0.0.1]:{link.port} ".encode() + host.export_public_key())
    access = StoreAccess(
        private_key=SecretStr(user.export_private_key().decode().strip()), known_hosts=known, password=None
    )
    try:
        yield StoreServer("sftp://someone@127.0.0.1:{port}/models", access, link, files / "models")
    finally:
        link.close()
        loop.call_soon_threadsafe(server.close)
        asyncio.run_coroutine_threadsafe(server.wait_closed(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


@contextlib.contextmanager
def s3_server(directory: Path) -> Iterator[StoreServer]:
    """Run moto's S3 server with one bucket."""
    for name in ("s3fs", "moto", "flask"):
        pytest.importorskip(name, reason="install the extra 'dev-s3' to test the S3 store")
    import boto3

    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    with (directory / "moto.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            env=environment, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        until(lambda: httpx.get(f"http://127.0.0.1:{port}/moto-api/").status_code < 500, seconds=60)
        link = Link(port)
        access = StoreAccess(
            endpoint=f"http://127.0.0.1:{link.port}", access_key=SecretStr("key-id"), secret_key=SecretStr("s3-secret")
        )
        client = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{port}",
            aws_access_key_id="key-id",
            aws_secret_access_key="s3-secret",
            region_name="us-east-1",
        )
        client.create_bucket(Bucket="models")
        client.close()
        yield StoreServer("s3://models/ptz", access, link, directory)
        link.close()
    finally:
        process.kill()
        process.wait()


def wait_for(condition: Any, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)
