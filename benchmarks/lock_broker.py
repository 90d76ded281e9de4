"""Acquire and release through the lock broker, beside an empty FastAPI endpoint, redis-py's Lock, and etcd.

The empty endpoint runs in a process like the broker's, on the same server with the same settings: what the broker
needs more than that is its own doing. Both are asked by the same client over the same number of connections, in turns,
so that a busy machine slows all alike. The client is our own, since a general load generator such as wrk can't give
back the lease that it was just given, and httpx takes longer to ask than the broker to answer.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import shutil
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from redis.asyncio import Redis

from benchmarks.harness import Measured, Row, main
from lock_broker.server import listen, make_server
from lock_broker.settings import BrokerSettings
from ptzjepa.embedded_redis import redis_child, redis_url, wait_until_up
from ptzjepa.verification.http import Connection
from shared.supervision import Child, Supervisor, python_command

CLIENTS = 32
ROUNDS = 15
SECONDS = 0.5
"""How long one lane runs in one round: many short ones, so that what else the machine does meets all alike."""
LEAST_RATIO, MOST_P99_RATIO = 0.70, 3.0
_TTL_MS = 30_000

Turn = Callable[[], Awaitable[None]]
"""One request after which the clock is read, or a whole acquire and release where there are no single requests."""


@dataclass
class Lane:
    """One of the things measured: rates and 99th percentiles by round."""

    rates: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)

    def document(self) -> dict[str, float]:
        """Return the medians over the rounds."""
        return {
            "per_second": round(statistics.median(self.rates), 1),
            "p50_ms": round(statistics.median(self.p50) * 1000.0, 3),
            "p99_ms": round(statistics.median(self.p99) * 1000.0, 3),
        }

    async def drive(self, turns: Sequence[Turn], seconds: float) -> None:
        """Let all clients take turn after turn for so long."""
        times: list[float] = []
        started = time.perf_counter()
        until = started + seconds

        async def client(turn: Turn) -> None:
            before = time.perf_counter()
            while before < until:
                await turn()
                now = time.perf_counter()
                times.append(now - before)
                before = now

        await asyncio.gather(*(client(turn) for turn in turns))
        self.rates.append(len(times) / (time.perf_counter() - started))
        cuts = statistics.quantiles(times, n=100)
        self.p50.append(cuts[49])
        self.p99.append(cuts[98])


async def broker_turns(port: int, clients: int) -> list[Turn]:
    """Acquire, release, acquire …: each client a resource of its own."""
    return [_broker_turn(await Connection.open("127.0.0.1", port), f"{clients}-{number}") for number in range(clients)]


def _broker_turn(connection: Connection, name: str) -> Turn:
    requests, lease = itertools.count(), ""

    async def turn() -> None:
        nonlocal lease
        if lease:
            answer = await connection.request("DELETE", f"/v1/leases/{lease}")
            assert answer.status == 204, answer
            lease = ""
        else:
            answer = await connection.request("POST", "/v1/leases", _body(name, next(requests)))
            assert answer.status == 201, answer
            lease = answer.json()["lease_id"]

    return turn


async def empty_turns(port: int, clients: int) -> list[Turn]:
    """The same requests to routes that do nothing."""
    return [_empty_turn(await Connection.open("127.0.0.1", port), f"{clients}-{number}") for number in range(clients)]


def _empty_turn(connection: Connection, name: str) -> Turn:
    requests = itertools.count()

    async def turn() -> None:
        place = next(requests)
        if place % 2:
            assert (await connection.request("DELETE", "/empty")).status == 204
        else:
            answer = await connection.request("POST", "/empty", _body(name, place))
            assert answer.status == 201
            answer.json()

    return turn


def _body(name: str, place: int) -> bytes:
    request = {
        "resource": f"world-model/wm-{name}",
        "holder": "benchmark",
        "ttl_ms": _TTL_MS,
        "request_id": f"{name}-{place:08d}",
    }
    return json.dumps(request).encode()


def redis_lock_turns(redis: Redis, clients: int) -> list[Turn]:
    """Acquire and release redis-py's own lock: no HTTP, no token that a store could check, no audit."""

    def one(number: int) -> Turn:
        async def turn() -> None:
            lock = redis.lock(f"bench:lock:{number}", timeout=_TTL_MS / 1000.0)
            assert await lock.acquire()
            await lock.release()

        return turn

    return [one(number) for number in range(clients)]


async def etcd_turns(port: int, clients: int) -> list[Turn]:
    """Lease and lock, unlock and revoke, through etcd's own HTTP gateway."""
    return [_etcd_turn(await Connection.open("127.0.0.1", port), number) for number in range(clients)]


def _etcd_turn(connection: Connection, number: int) -> Turn:
    name = base64.b64encode(f"bench-{number}".encode()).decode()

    async def ask(path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = await connection.request("POST", path, json.dumps(body).encode())
        assert answer.status == 200, answer
        return answer.json()

    async def turn() -> None:
        lease = (await ask("/v3/lease/grant", {"TTL": _TTL_MS // 1000}))["ID"]
        key = (await ask("/v3/lock/lock", {"name": name, "lease": lease}))["key"]
        await ask("/v3/lock/unlock", {"key": key})
        await ask("/v3/lease/revoke", {"ID": lease})

    return turn


@contextlib.asynccontextmanager
async def _servers(directory: Path) -> AsyncIterator[tuple[int, int, int | None]]:
    """Run everything; gives the ports of broker, empty endpoint and etcd, None where that is not installed."""
    supervisor = Supervisor()
    broker, empty, etcd = _free_port(), _free_port(), _free_port() if shutil.which("etcd") else None
    try:
        supervisor.start(redis_child(directory))
        await wait_until_up(directory)
        settings = {"PTZ_REDIS_URL": redis_url(directory), "PTZ_BROKER_PORT": str(broker), "PTZ_LOG_LEVEL": "error"}
        settings["PTZ_BROKER_RATE"] = "1e9"  # counted all the same
        supervisor.start(Child("broker", python_command("lock_broker"), settings, directory / "broker.log"))
        supervisor.start(Child("empty", python_command("benchmarks.lock_broker", "--empty", str(empty)), settings))
        if etcd is not None:
            supervisor.start(Child("etcd", _etcd_command(directory, etcd), {}, directory / "etcd.log"))
        for port, path in ((broker, "/readyz"), (empty, "/empty"), (etcd, "/health")):
            if port is not None:
                await _until_up(port, path)
        yield broker, empty, etcd
    finally:
        await supervisor.stop_all()


def _etcd_command(directory: Path, port: int) -> list[str]:
    client, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{_free_port()}"
    command = ["etcd", "--data-dir", str(directory / "etcd"), "--name", "bench"]
    command += ["--listen-client-urls", client, "--advertise-client-urls", client]
    return [*command, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
            "--initial-cluster", f"bench={peer}"]  # fmt: skip


async def _until_up(port: int, path: str, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            connection = await Connection.open("127.0.0.1", port)
            answer = await connection.request("GET", path)
            connection.abort()
            if answer.status in (200, 405):
                return
        await asyncio.sleep(0.1)
    raise RuntimeError(f"nothing answers GET {path} on port {port}")


async def _measure(directory: Path) -> Measured:
    async with _servers(directory) as (broker, empty, etcd):
        redis = Redis.from_url(redis_url(directory), protocol=2)
        lanes: dict[str, tuple[Lane, list[Turn]]] = {}
        for clients in (CLIENTS, 1):
            lanes[f"broker {clients}"] = Lane(), await broker_turns(broker, clients)
            lanes[f"empty {clients}"] = Lane(), await empty_turns(empty, clients)
            lanes[f"redis {clients}"] = Lane(), redis_lock_turns(redis, clients)
            if etcd is not None:
                lanes[f"etcd {clients}"] = Lane(), await etcd_turns(etcd, clients)
        for _, turns in lanes.values():
            await Lane().drive(turns, 0.3)  # warms up
        for number in range(ROUNDS):
            # There and back, so that none is always the one after the same other.
            for lane, turns in list(lanes.values())[:: -1 if number % 2 else 1]:
                await lane.drive(turns, SECONDS)
        await redis.aclose()
    return _report({name: lane for name, (lane, _) in lanes.items()})


def _report(lanes: dict[str, Lane]) -> Measured:
    """Requests a second for what speaks HTTP in single requests; pairs of acquire and release a second for the rest."""
    ours, empty = lanes[f"broker {CLIENTS}"], lanes[f"empty {CLIENTS}"]
    # Round by round, as the two stood beside each other.
    ratio = statistics.median(a / b for a, b in zip(ours.rates, empty.rates, strict=True))
    p99_ratio = statistics.median(a / b for a, b in zip(ours.p99, empty.p99, strict=True))
    single = statistics.median(a / b for a, b in zip(lanes["broker 1"].rates, lanes["empty 1"].rates, strict=True))
    facts: dict[str, Any] = {
        "ratio_to_empty": round(ratio, 3),
        "p99_ratio": round(p99_ratio, 2),
        "ratio_to_empty_1_client": round(single, 3),
        "clients": CLIENTS,
        "broker": _both(lanes, "broker"),
        "empty": _both(lanes, "empty"),
        "redis_lock": _both(lanes, "redis"),
        "etcd": _both(lanes, "etcd") if f"etcd {CLIENTS}" in lanes else {"absent": "there is no etcd on PATH"},
        "units": "broker and empty: requests; redis_lock and etcd: pairs of acquire and release",
    }
    pairs = [statistics.median(lanes[f"broker {clients}"].rates) / 2.0 for clients in (CLIENTS, 1)]
    rows = [
        Row("requests, broker ÷ empty endpoint", ratio, "", target=LEAST_RATIO),
        Row("p99, broker ÷ empty endpoint", p99_ratio, "", target=MOST_P99_RATIO, better="lower"),
        Row(f"requests, {CLIENTS} clients (empty)", statistics.median(ours.rates), "1/s",
            reference=statistics.median(empty.rates)),
        Row("pairs, 32 clients (redis-py Lock)", pairs[0], "1/s",
            reference=statistics.median(lanes[f"redis {CLIENTS}"].rates)),
    ]  # fmt: skip
    if f"etcd {CLIENTS}" in lanes:
        etcd = statistics.median(lanes[f"etcd {CLIENTS}"].rates)
        rows.append(Row("pairs, 32 clients (etcd)", pairs[0], "1/s", reference=etcd))
        etcd = statistics.median(lanes["etcd 1"].rates)
        rows.append(Row("pairs, 1 client (etcd)", pairs[1], "1/s", reference=etcd))
    return Measured(rows, facts)


def _both(lanes: dict[str, Lane], name: str) -> dict[str, dict[str, float]]:
    return {f"clients_{clients}": lanes[f"{name} {clients}"].document() for clients in (CLIENTS, 1)}


def measure() -> Measured:
    """Measure on servers of our own."""
    directory = Path(tempfile.mkdtemp(prefix="ptz-bench-"))
    try:
        return asyncio.run(_measure(directory))
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def serve_empty(port: int) -> None:
    """Serve routes that do nothing, just as the broker serves its own."""
    app = FastAPI()

    @app.post("/empty", status_code=201)
    async def create() -> dict[str, str]:
        return {}

    @app.delete("/empty", status_code=204)
    async def delete() -> None:
        return None

    settings = BrokerSettings(broker_port=port)
    server = make_server(app, settings, None)
    with listen(settings) as opened:
        asyncio.run(server.serve([opened]))


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


if __name__ == "__main__":
    if sys.argv[1:2] == ["--empty"]:
        serve_empty(int(sys.argv[2]))
    else:
        sys.exit(main("lock_broker", measure))
