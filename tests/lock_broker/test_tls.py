"""TLS with real certificates: a broker that proves who it is, and one that wants its clients to."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import trustme

from lock_broker.server import Certificates
from lock_broker.settings import BrokerSettings
from shared.broker.tls import broker_connection
from shared.errors import UserError
from shared.settings import ServiceSettings
from tests.conftest import RedisServer
from tests.lock_broker.conftest import broker_process
from tests.lock_broker.test_api import problem
from tests.support import REPOSITORY, Process, until


@dataclass
class Papers:
    """An authority and what it signed, as files."""

    directory: Path

    def __post_init__(self) -> None:
        self.authority = trustme.CA()
        self.ca = self.directory / "ca.pem"
        self.authority.cert_pem.write_to_path(self.ca)
        self.certificate, self.key = self.issue("server", "127.0.0.1")

    def issue(self, name: str, identity: str) -> tuple[Path, Path]:
        leaf = self.authority.issue_cert(identity)
        certificate, key = self.directory / f"{name}.pem", self.directory / f"{name}.key"
        certificate.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        leaf.private_key_pem.write_to_path(key)
        return certificate, key


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    return Papers(tmp_path_factory.mktemp("papers"))


@pytest.fixture(scope="module")
def secure(papers: Papers, redis_server: RedisServer) -> Iterator[Process]:
    """A broker whose clients have to show a certificate."""
    files = {
        "broker_certificate_file": papers.certificate,
        "broker_key_file": papers.key,
        "broker_client_ca_file": papers.ca,
    }
    with broker_process(
        papers.directory / "broker", redis_server, **{name: str(path) for name, path in files.items()}
    ) as process:
        with reach(process, broker_ca_file=papers.ca) as http:
            until(lambda: http.get("/readyz").status_code == 200)
        yield process


def reach(process: Process, **files: Path) -> httpx.Client:
    settings = ServiceSettings(broker_url=process.url.replace("http://", "https://"), **files)
    return httpx.Client(**broker_connection(settings))


def test_a_client_with_a_certificate_works(secure: Process, papers: Papers) -> None:
    certificate, key = papers.issue("client", "trainer")
    with reach(
        secure, broker_ca_file=papers.ca, broker_client_certificate_file=certificate, broker_client_key_file=key
    ) as http:
        assert http.get("/v1/leases").status_code == 200


def test_one_without_only_sees_whether_the_broker_is_well(secure: Process, papers: Papers) -> None:
    with reach(secure, broker_ca_file=papers.ca) as http:
        assert "client certificate" in problem(http.get("/v1/leases"), 401)["detail"]
        assert http.get("/healthz").status_code == 200
        assert "ptz_lock_broker_ready" in http.get("/metrics").text


def test_strangers_get_no_connection(secure: Process, papers: Papers, tmp_path: Path) -> None:
    stranger = Papers(tmp_path)
    for files in (
        {},
        {"broker_ca_file": stranger.ca},
        {
            "broker_ca_file": papers.ca,
            "broker_client_certificate_file": stranger.certificate,
            "broker_client_key_file": stranger.key,
        },
    ):
        with reach(secure, **files) as http, pytest.raises(httpx.TransportError):
            http.get("/v1/leases")
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{secure.url}/healthz")


def test_a_new_certificate_is_taken_while_it_runs(redis_server: RedisServer, tmp_path: Path) -> None:
    before = Papers(tmp_path)
    first = tmp_path / "first.pem"
    first.write_bytes(before.ca.read_bytes())
    settings = {"broker_certificate_file": str(before.certificate), "broker_key_file": str(before.key)}
    with broker_process(tmp_path / "broker", redis_server, **settings) as broker:

        def trusted_by(ca: Path) -> bool:
            with reach(broker, broker_ca_file=ca) as http:
                return http.get("/healthz").status_code == 200

        until(lambda: trusted_by(first), lambda: broker.log)
        before.certificate.write_text("nonsense")
        until(lambda: "certificate not taken" in broker.log, lambda: broker.log)
        assert trusted_by(first)
        after = Papers(tmp_path)  # another authority signs another certificate, in the same files
        until(lambda: trusted_by(after.ca), lambda: broker.log)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"broker_certificate_file": "away"}, "No such file"),
        ({"broker_key_file": "other.key"}, "PTZ_BROKER_KEY_FILE"),
        ({"broker_certificate_file": None}, "without PTZ_BROKER_CERTIFICATE_FILE"),
        ({"broker_client_ca_file": "text"}, "PTZ_BROKER_CLIENT_CA_FILE"),
    ],
)
def test_files_that_do_not_fit(papers: Papers, changes: dict[str, str | None], words: str) -> None:
    papers.issue("other", "127.0.0.1")
    (papers.directory / "text").write_text("nonsense")
    files = {"broker_certificate_file": papers.certificate, "broker_key_file": papers.key}
    files |= {name: file and papers.directory / file for name, file in changes.items()}
    with pytest.raises(UserError, match=words):
        Certificates.from_settings(BrokerSettings(**files))


def test_a_certificate_that_is_none_ends_the_start(redis_server: RedisServer, tmp_path: Path) -> None:
    with broker_process(tmp_path, redis_server, broker_certificate_file="/away") as broker:
        assert broker.wait() == 2
        [said] = [text for text in broker.log.splitlines() if text.startswith("error: ")]
        assert "/away" in said


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"broker_url": "https://x", "broker_ca_file": "/away"}, "PTZ_BROKER_CA_FILE"),
        ({"broker_url": "https://x", "broker_client_certificate_file": "/away"}, "CLIENT_CERTIFICATE_FILE"),
        ({"broker_client_key_file": "/away"}, "without PTZ_BROKER_CLIENT_CERTIFICATE_FILE"),
        ({"broker_url": "ftp://x"}, "https://"),
        ({"broker_url": "http://x:port"}, "PTZ_BROKER_URL"),
        ({"broker_url": "http://"}, "PTZ_BROKER_URL"),
        ({"broker_token": "two\nlines"}, "PTZ_BROKER_TOKEN"),
    ],
)
def test_wrong_ways_to_the_broker(variables: dict[str, str], words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        broker_connection(ServiceSettings.from_environment(**variables))
    assert "two" not in str(caught.value)


def probe(process: Process, *path: str) -> subprocess.CompletedProcess[str]:
    """What the container's health check does, with the broker's own environment."""
    port = process.port_file.read_text().strip()
    environment = {**process.environment, "PTZ_BROKER_PORT": port, "PTZ_BROKER_HOST": "0.0.0.0"}  # noqa: S104
    command = [sys.executable, "-m", "lock_broker.probe", *path]
    return subprocess.run(
        command, env=environment, cwd=REPOSITORY, capture_output=True, text=True, timeout=30, check=False
    )


def test_the_health_check_works_with_and_without_tls(
    secure: Process, redis_server: RedisServer, tmp_path: Path
) -> None:
    assert probe(secure).stdout == "ok\n"
    assert probe(secure, "/readyz").returncode == 0
    with broker_process(tmp_path, redis_server) as plain:
        assert probe(plain.ready()).returncode == 0
        assert probe(plain, "/v1/nothing").returncode == 1
        plain.send(signal.SIGKILL)
        dead = probe(plain)
    assert (dead.returncode, dead.stderr) == (1, "")
    assert "does not answer" in dead.stdout
