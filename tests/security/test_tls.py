"""TLS to Redis and to a camera, each with real certificates: who is not believed is not spoken to."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
import yaml
from pydantic import SecretStr

from camera_sampler.access import Access
from camera_sampler.cameras import CameraError
from camera_sampler.cameras.http import CameraHttp
from shared.errors import UserError
from shared.redis_client import REDIS_AWAY, RedisClients
from shared.settings import ServiceSettings
from tests.security.guarded import make_secrets, password_file
from tests.support import REPOSITORY


class Authority:
    """An authority, a certificate of its for this machine, and one that nobody knows, as files."""

    def __init__(self, directory: Path) -> None:
        authority = trustme.CA()
        leaf = authority.issue_cert("localhost", "127.0.0.1")
        self.ca, self.certificate, self.key = (directory / name for name in ("ca.pem", "leaf.pem", "leaf.key"))
        authority.cert_pem.write_to_path(self.ca)
        self.certificate.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        leaf.private_key_pem.write_to_path(self.key)
        self.stranger = directory / "stranger.pem"
        trustme.CA().cert_pem.write_to_path(self.stranger)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def secure_redis(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """A Redis started with the very command of docker-compose.tls.yml; its port, and the folder of the passwords."""
    if (binary := shutil.which("redis-server")) is None:
        pytest.skip("the embedded server has no TLS, and redis-server is not installed")
    folder, port = tmp_path_factory.mktemp("redis"), free_port()
    places = {
        "/run/secrets/redis_users": str(make_secrets(folder)),
        "/run/secrets/redis_certificate": str(authority.certificate),
        "/run/secrets/redis_key": str(authority.key),
        "6379": str(port),
    }
    described = yaml.safe_load((REPOSITORY / "docker-compose.tls.yml").read_text())["services"]["redis"]["command"]
    command = [binary, *(places.get(word, word) for word in described[1:]), "--dir", str(folder), "--bind", "127.0.0.1"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    deadline = time.monotonic() + 60.0
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            break
        assert process.poll() is None, (folder / "log").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield port, folder
    process.kill()
    process.wait()


def to_redis(url: str, folder: Path, ca: Path | None) -> RedisClients:
    password = SecretStr(password_file(folder, "operator").read_text().strip())
    return RedisClients.from_settings(
        ServiceSettings(redis_url=url, redis_user="operator", redis_password=password, redis_ca_file=ca)
    )


async def test_redis_by_tls(secure_redis: tuple[int, Path], authority: Authority) -> None:
    port, folder = secure_redis
    clients = to_redis(f"rediss://localhost:{port}/0", folder, authority.ca)
    await clients.commands.ping()
    assert not await clients.blocking.xread({"ptz:progress": "0-0"}, block=10)
    await clients.aclose()
    for ca in (None, authority.stranger):
        strange = to_redis(f"rediss://localhost:{port}/0", folder, ca)
        with pytest.raises(REDIS_AWAY, match="certificate"):
            await strange.commands.ping()
        await strange.aclose()


async def test_a_redis_that_speaks_tls_says_nothing_in_plain(secure_redis: tuple[int, Path]) -> None:
    port, folder = secure_redis
    plain = to_redis(f"redis://localhost:{port}/0", folder, None)
    with pytest.raises(REDIS_AWAY):
        await plain.commands.ping()
    await plain.aclose()


@pytest.mark.parametrize(
    ("url", "ca", "words"),
    [("redis://x", "ca.pem", "no rediss:// URL"), ("rediss://x", "away", "PTZ_REDIS_CA_FILE: cannot take")],
)
def test_what_cannot_be_is_told(authority: Authority, url: str, ca: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        RedisClients.from_settings(ServiceSettings(redis_url=url, redis_ca_file=authority.ca.with_name(ca)))


@pytest.fixture
def secure_camera(authority: Authority) -> Iterator[int]:
    """Answers "ok" to every request by TLS."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(authority.certificate, authority.key)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), plain, context.wrap_socket(plain, server_side=True) as connection:
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")

    threading.Thread(target=serve, daemon=True).start()
    yield listener.getsockname()[1]
    listener.close()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_a_camera_by_tls(secure_camera: int, authority: Authority, host: str) -> None:
    """The address is connected to, the name is what the certificate has to be made out to."""
    http = CameraHttp(Access(f"https://{host}:{secure_camera}", timeout=30.0, ca_file=authority.ca))
    assert (await http.get("/")).text == "ok"
    await http.aclose()


@pytest.mark.parametrize("known", [False, True])
async def test_a_camera_that_is_not_believed(secure_camera: int, authority: Authority, known: bool) -> None:
    ca = authority.stranger if known else None
    http = CameraHttp(Access(f"https://localhost:{secure_camera}", "user", SecretStr("x"), timeout=30.0, ca_file=ca))
    with pytest.raises(CameraError, match="PTZ_CAMERA_CA_FILE"):
        await http.get("/")
    await http.aclose()
