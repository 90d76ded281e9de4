"""The gate of a real broker: principals and roles, rate, size and pace, from a raw socket where need be."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from lock_broker.tokens import line
from tests.conftest import RedisServer
from tests.lock_broker.conftest import broker_process
from tests.lock_broker.test_api import lease_body, problem
from tests.support import Process, until

ROLES = ("reader", "worker", "admin")


def bearing(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer token-of-{name}"}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer) -> Iterator[Process]:
    """A broker with three principals, who may ask five times at once and then hardly ever."""
    directory = tmp_path_factory.mktemp("guarded")
    tokens = directory / "tokens"
    tokens.write_text("".join(f"{line(role, role, f'token-of-{role}')}\n" for role in ROLES))
    with broker_process(directory, redis_server, broker_tokens_file=str(tokens), broker_slow_seconds="0.5") as process:
        yield process.ready()


@pytest.fixture(autouse=True)
async def _empty(clients: Any) -> None:
    """Every test begins on an empty Redis."""


def test_roles_decide(guarded: Process) -> None:
    with httpx.Client(base_url=guarded.url) as http:
        for headers in ({}, {"Authorization": "Bearer token-of-nobody"}, {"Authorization": "Basic cmVhZGVyOg=="}):
            answer = http.get("/v1/leases", headers=headers)
            problem(answer, 401)
            assert answer.headers["www-authenticate"].startswith("Bearer")
        for role in ROLES:
            assert http.get("/v1/leases", headers=bearing(role)).status_code == 200
        refused = http.post("/v1/leases", json=lease_body(), headers=bearing("reader"))
        assert "worker" in problem(refused, 403)["detail"]
        assert 'scope="worker"' in refused.headers["www-authenticate"]
        lease = http.post("/v1/leases", json=lease_body(), headers=bearing("worker"))
        assert lease.status_code == 201
        path = f"{lease.headers['location']}/force-release"
        assert "admin" in problem(http.post(path, json={"reason": "test"}, headers=bearing("worker")), 403)["detail"]
        for role in ("reader", "worker"):
            restore = http.post("/v1/models/wm_00_00/restore", headers=bearing(role))
            assert "admin" in problem(restore, 403)["detail"]
            assert 'scope="admin"' in restore.headers["www-authenticate"]
        problem(http.post("/v1/models/wm_00_00/restore", headers=bearing("admin")), 404)
        twice = [("Authorization", "Bearer token-of-admin"), ("Authorization", "Bearer token-of-admin")]
        problem(http.get("/v1/leases", headers=twice), 401)
        assert http.get("/openapi.json").json()["paths"]["/v1/leases"]["get"]["security"]


def test_tokens_change_while_it_runs(redis_server: RedisServer, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(line("blade", "reader", "token-of-old"))
    with broker_process(tmp_path / "broker", redis_server, broker_tokens_file=str(tokens)) as broker:
        url = f"{broker.ready().url}/v1/leases"
        assert httpx.get(url, headers=bearing("old")).status_code == 200
        tokens.write_text("nonsense\n")
        until(lambda: "not taken" in broker.log, lambda: broker.log)
        assert httpx.get(url, headers=bearing("old")).status_code == 200
        tokens.write_text(line("blade", "reader", "token-of-new"))
        until(lambda: httpx.get(url, headers=bearing("new")).status_code == 200, lambda: broker.log)
        problem(httpx.get(url, headers=bearing("old")), 401)
        assert broker.log.count("not taken") == 1
        assert "token-of" not in broker.log


def test_a_bad_file_of_tokens_ends_the_start(redis_server: RedisServer, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("blade worker secret\n")
    with broker_process(tmp_path / "broker", redis_server, broker_tokens_file=str(tokens)) as broker:
        assert broker.wait() == 2
        assert "PTZ_BROKER_TOKENS_FILE" in broker.log
        assert "line 1" in broker.log
        assert "secret" not in broker.log


def test_a_storm_stops_only_whoever_makes_it(redis_server: RedisServer, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("".join(f"{line(name, 'worker', f'token-of-{name}')}\n" for name in ("wild", "calm")))
    limits = {"broker_tokens_file": str(tokens), "broker_rate": "0.05", "broker_burst": "4"}
    with (
        broker_process(tmp_path / "broker", redis_server, **limits) as broker,
        httpx.Client(base_url=broker.ready().url) as http,
    ):
        lease = http.post("/v1/leases", json=lease_body(), headers=bearing("wild"))
        path = lease.headers["location"]
        answers = [http.post("/v1/leases", json=lease_body(), headers=bearing("wild")) for _ in range(6)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429, 429]
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 20
        assert "PTZ_BROKER_RATE" in problem(answers[-1], 429)["detail"]
        assert http.patch(path, json={}, headers=bearing("wild")).status_code == 200, "what it holds is kept"
        assert http.delete(path, headers=bearing("wild")).status_code == 204
        assert http.get("/v1/leases", headers=bearing("calm")).status_code == 200
        strangers = [http.get("/v1/leases").status_code for _ in range(6)]
        assert strangers == [401] * 4 + [429] * 2
        assert http.get("/v1/leases", headers=bearing("calm")).status_code == 200, "strangers used up what is others'"
        assert http.get("/healthz").status_code == 200
        assert 'status="429"' in http.get("/metrics").text


def raw(process: Process, *parts: bytes) -> bytes:
    """Send bytes as they are, and read until the broker closes."""
    host, _, port = process.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        for part in parts:
            connection.sendall(part)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
        return answer


HEAD = b"POST /v1/leases HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer token-of-worker\r\n"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"POST /v1/leases HTTP/1.1\r\nHos", b"408"),
        (HEAD + b"Content-Length: 20\r\n\r\n{", b"408"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n12345", b"408"),
        (HEAD + b"X: " + b"y" * 100_000, b"431"),
        (HEAD + b"X: " + b"y" * 40_000 + b"\r\nConnection: close\r\n\r\n", b"431"),
        (b"GET /v1/" + b"y" * 9000 + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"414"),
        (b"nonsense\r\n\r\n", b"400"),
    ],
)
def test_slow_and_large_requests_are_ended(guarded: Process, sent: bytes, status: bytes) -> None:
    answer = raw(guarded, sent)
    assert answer.startswith(b"HTTP/1.1 " + status), answer
    assert b"application/problem+json" in answer


def test_silence_is_ended_without_a_word(guarded: Process) -> None:
    assert raw(guarded) == b""


def test_a_large_body_hears_why(guarded: Process) -> None:
    for size in (1024 * 1024 + 1, 3_000_000):
        answer = httpx.post(f"{guarded.url}/v1/leases", content=b"x" * size, headers=bearing("worker"))
        problem(answer, 413)


def test_who_hangs_up_in_the_middle_is_no_fault(guarded: Process) -> None:
    host, _, port = guarded.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(HEAD + b"Content-Length: 20\r\n\r\n{")
    until(lambda: 'status="499"' in httpx.get(f"{guarded.url}/metrics").text, lambda: guarded.log)
    assert "Traceback" not in guarded.log
    assert "request failed" not in guarded.log


def test_connections_are_bounded_but_not_for_those_who_watch(redis_server: RedisServer, tmp_path: Path) -> None:
    with broker_process(tmp_path, redis_server, broker_connections="8") as broker:
        address = broker.ready().url.removeprefix("http://").split(":")
        held = [socket.create_connection((address[0], int(address[1]))) for _ in range(8)]
        try:
            until(lambda: httpx.get(f"{broker.url}/v1/leases").status_code == 503)
            answer = httpx.get(f"{broker.url}/v1/leases")
            assert "limit" in problem(answer, 503)["detail"]
            assert answer.headers["retry-after"]
            assert httpx.get(f"{broker.url}/healthz").status_code == 200
        finally:
            for connection in held:
                connection.close()
        until(lambda: httpx.get(f"{broker.url}/v1/leases").status_code == 200)
