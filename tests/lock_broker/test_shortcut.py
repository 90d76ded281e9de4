"""What is asked most goes past the framework, and is answered as if it had not; faults are problems, too."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from lock_broker.api import create_app
from lock_broker.events import Events
from lock_broker.gate import Gate
from lock_broker.routes.parts import Parts
from lock_broker.settings import BrokerSettings
from lock_broker.tokens import Tokens
from tests.lock_broker.conftest import Broker
from tests.lock_broker.test_api import lease_body, problem


@pytest.fixture
async def http(broker: Broker) -> AsyncIterator[httpx.AsyncClient]:
    async def missing() -> Mapping[str, str]:
        return {}

    registry = broker.counted.registry
    parts = Parts(broker.leases, broker.registry, Events(broker.redis), broker.metrics, registry, missing)
    transport = httpx.ASGITransport(create_app(parts, Tokens(), BrokerSettings()), raise_app_exceptions=False)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://broker") as client:
        yield client


async def test_leases_come_and_go_without_the_framework(
    http: httpx.AsyncClient, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any) -> None:
        raise AssertionError("the framework was asked")

    monkeypatch.setattr(FastAPI, "__call__", away)
    lease = await http.post("/v1/leases", json=lease_body())
    assert lease.status_code == 201
    path = lease.headers["location"]
    assert (await http.patch(path, json={"ttl_ms": 5000})).status_code == 200
    assert (await http.delete(path)).status_code == 204
    problem(await http.patch(path, json={"ttl_ms": 5000}), 410)
    problem(await http.post("/v1/leases", json={"resource": "nonsense"}), 422)
    problem(await http.post("/v1/leases", content=b"{}"), 422)
    problem(await http.delete("/v1/leases/nonsense"), 404)
    labels = {"route": "/v1/leases/{lease_id}", "method": "DELETE", "status": "204"}
    assert broker.count("request_seconds_count", **labels) == 1.0


@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/leases"), ("GET", "/v1/leases")])
async def test_a_fault_is_a_problem(
    http: httpx.AsyncClient, broker: Broker, monkeypatch: pytest.MonkeyPatch, method: str, path: str
) -> None:
    async def broken(*_: Any) -> None:
        raise ValueError("a secret in its text")

    for name in ("acquire", "live"):
        monkeypatch.setattr(broker.leases, name, broken)
    answer = await http.request(method, path, json=lease_body())
    assert "secret" not in problem(answer, 500)["detail"]
    assert broker.count("request_seconds_count", route=path, method=method, status="500") == 1.0


@pytest.mark.parametrize("begun", [False, True])
async def test_the_gate_answers_a_fault_that_nobody_has_answered(broker: Broker, begun: bool) -> None:
    async def faulty(_scope: Scope, _receive: Receive, send: Send) -> None:
        if begun:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ValueError("unforeseen")

    gate = Gate(faulty, metrics=broker.metrics, tokens=Tokens())
    transport = httpx.ASGITransport(gate)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://broker") as client:
        if begun:
            with pytest.raises(ValueError, match="unforeseen"):
                await client.get("/")
        else:
            problem(await client.get("/"), 500)
