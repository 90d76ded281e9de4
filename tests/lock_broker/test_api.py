"""The REST API through a real process: every answer, every refusal, every error as a problem."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from shared.leases import Problem
from tests.conftest import RedisServer
from tests.lock_broker.conftest import broker_process
from tests.support import Process

RESOURCE, MODEL = "world-model/wm_00_00", "wm_00_00"
SHA = "ab" * 32
GOOD = {
    "/v1/export/progress_model_names.txt": "text/plain",
    "/v1/models/{name}/model_info.yaml": "application/yaml",
}


def lease_body(**changes: Any) -> dict[str, Any]:
    return {"resource": RESOURCE, "holder": "tester", "ttl_ms": 60_000, "request_id": "request-1", **changes}


def commit_body(lease: dict[str, Any], **changes: Any) -> dict[str, Any]:
    checkpoint = {"address": "world-models/x", "sha256": SHA, "size": 3}
    body = {"lease_id": lease["lease_id"], "token": lease["token"], "expected_head": 0, "checkpoint": checkpoint}
    return {**body, "card": {"one_step_error": 0.5}, "request_id": "commit-1", **changes}


def problem(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert Problem.model_validate(body).status == status
    assert body["detail"]
    return body


async def acquire(http: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    response = await http.post("/v1/leases", json=lease_body(**changes))
    assert response.status_code == 201, response.text
    body: dict[str, Any] = response.json()
    return body


async def test_a_lease_from_grant_to_release(http: httpx.AsyncClient) -> None:
    response = await http.post("/v1/leases", json=lease_body())
    lease = response.json()
    assert response.status_code == 201
    assert lease["token"] == 1
    assert 0 < lease["expires_in_ms"] <= 60_000
    path = response.headers["location"]
    assert (await http.get(path)).json()["lease_id"] == lease["lease_id"]

    again = await http.post("/v1/leases", json=lease_body())
    assert (again.status_code, again.json()["lease_id"]) == (200, lease["lease_id"])

    held = await http.post("/v1/leases", json=lease_body(request_id="request-2", holder="other"))
    assert problem(held, 423)["holder"] == "tester"
    assert 1 <= int(held.headers["retry-after"]) <= 60

    renewed = await http.patch(path, json={"ttl_ms": 120_000})
    assert renewed.status_code == 200
    assert 60_000 < renewed.json()["expires_in_ms"] <= 120_000
    assert [item["resource"] for item in (await http.get("/v1/leases")).json()["leases"]] == [RESOURCE]

    for _ in range(2):
        response = await http.delete(path)
        assert (response.status_code, response.content) == (204, b"")
    assert problem(await http.patch(path, json={}), 410)["ended"] == "released"
    assert problem(await http.get(path), 410)["ended"] == "released"
    assert (await http.get("/v1/leases")).json() == {"leases": []}

    problem(await http.post("/v1/leases", json=lease_body()), 410)  # a late copy of the first request
    second = await acquire(http, request_id="request-2")
    assert second["token"] == 2
    assert problem(await http.get(path), 410)["ended"] == "released"
    assert (await http.delete(path)).status_code == 204
    assert (await http.get(f"/v1/leases/{second['lease_id']}")).status_code == 200, "an old id ended a new lease"


async def test_readers_share(http: httpx.AsyncClient) -> None:
    first = await acquire(http, mode="shared")
    second = await acquire(http, mode="shared", request_id="request-2", holder="other")
    assert (first["mode"], second["token"]) == ("shared", 2)
    writer = await http.post("/v1/leases", json=lease_body(request_id="request-3"))
    problem(writer, 423)
    other = await http.post("/v1/leases", json=lease_body(mode="exclusive"))
    problem(other, 409)
    checkpoint = await http.post(f"/v1/models/{MODEL}/versions", json=commit_body(first))
    problem(checkpoint, 412)
    state = (await http.get(f"/v1/resources/{RESOURCE}")).json()
    assert (state["token"], len(state["leases"]), state["waiting"]) == (2, 2, [])
    for lease in (first, second):
        await http.delete(f"/v1/leases/{lease['lease_id']}")
    assert (await acquire(http, request_id="request-3"))["token"] == 3


async def test_one_of_several(http: httpx.AsyncClient) -> None:
    def body(**changes: Any) -> dict[str, Any]:
        return {"holder": "tester", "ttl_ms": 60_000, "request_id": "request-any", **changes}

    problem(await http.post("/v1/leases/any", json=body()), 422)
    problem(await http.post("/v1/leases/any", json=body(resources=[RESOURCE], kind="world-model")), 422)
    problem(await http.post("/v1/leases/any", json=body(resources=["no resource"])), 422)
    problem(await http.post("/v1/leases/any", json=body(kind="world-model")), 404)
    lease = await acquire(http)
    assert (await http.post(f"/v1/models/{MODEL}/versions", json=commit_body(lease))).status_code == 201
    held = problem(await http.post("/v1/leases/any", json=body(kind="world-model")), 423)
    assert [item["resource"] for item in held["busy"]] == [RESOURCE]
    assert held["busy"][0]["holder"] == "tester"
    problem(await http.post("/v1/leases/any", json=body(kind="agent")), 404)
    both = body(resources=[RESOURCE, "world-model/wm_00_01"])
    granted = await http.post("/v1/leases/any", json=both)
    assert granted.status_code == 201
    assert granted.json()["resource"] == "world-model/wm_00_01"
    again = await http.post("/v1/leases/any", json=both)
    assert (again.status_code, again.json()["lease_id"]) == (200, granted.json()["lease_id"])


async def test_taken_away(http: httpx.AsyncClient) -> None:
    lease = await acquire(http)
    path = f"/v1/leases/{lease['lease_id']}"
    problem(await http.post(f"{path}/force-release", json={}), 422)
    for _ in range(2):
        assert (await http.post(f"{path}/force-release", json={"reason": "node is lost"})).status_code == 204
    assert problem(await http.patch(path, json={}), 410)["ended"] == "forced"
    assert problem(await http.post("/v1/leases", json=lease_body()), 410)["ended"] == "forced"
    problem(await http.post(f"/v1/models/{MODEL}/versions", json=commit_body(lease)), 412)
    problem(await http.post("/v1/leases/a~b~9~0123456789abcdef/force-release", json={"reason": "x"}), 404)
    assert (await http.get(f"/v1/resources/{RESOURCE}")).json()["token"] == 2, "the old token is an old one at once"
    assert (await acquire(http, request_id="request-2"))["token"] == 3


async def test_the_audit_stream(http: httpx.AsyncClient) -> None:
    assert (await http.get("/v1/events")).json() == {"events": []}
    lease = await acquire(http)
    path = f"/v1/leases/{lease['lease_id']}"
    await http.patch(path, json={})
    await http.post(f"{path}/force-release", json={"reason": "so be it"})
    events = (await http.get("/v1/events")).json()["events"]
    assert [event["event"] for event in events] == ["granted", "renewed", "forced"]
    assert {(event["lease_id"], event["resource"], event["token"]) for event in events} == {
        (lease["lease_id"], RESOURCE, lease["token"])
    }
    assert events[2]["detail"] == "so be it"
    assert (await http.get("/v1/events", params={"limit": 1})).json()["events"] == events[:1]
    assert (await http.get("/v1/events", params={"after": events[1]["id"]})).json()["events"] == events[2:]
    problem(await http.get("/v1/events", params={"after": "yesterday"}), 422)
    problem(await http.get("/v1/events", params={"limit": 0}), 422)


async def test_a_resource_that_nobody_ever_leased(http: httpx.AsyncClient) -> None:
    state = (await http.get("/v1/resources/camera/north")).json()
    assert state == {"resource": "camera/north", "token": 0, "leases": [], "waiting": []}
    problem(await http.get("/v1/resources/Camera/north"), 422)


async def test_leases_that_never_were(http: httpx.AsyncClient) -> None:
    for name in ("nonsense", "world-model~wm_00_00~1~0123456789abcdef", "a~b~99~0123456789abcdef"):
        problem(await http.get(f"/v1/leases/{name}"), 404)
        problem(await http.patch(f"/v1/leases/{name}", json={}), 404)
        problem(await http.delete(f"/v1/leases/{name}"), 404)


async def test_commits_move_the_head(http: httpx.AsyncClient) -> None:
    problem(await http.get(f"/v1/models/{MODEL}"), 404)
    problem(await http.get(f"/v1/models/{MODEL}/versions"), 404)
    assert (await http.get("/v1/models")).json() == {"models": []}
    lease = await acquire(http)
    path = f"/v1/models/{MODEL}/versions"
    first = await http.post(path, json=commit_body(lease))
    assert first.status_code == 201, first.text
    assert first.json()["version"] == 1
    assert first.json()["card"] == {"one_step_error": 0.5}
    assert (await http.get(first.headers["location"])).json() == first.json()
    again = await http.post(path, json=commit_body(lease))
    assert (again.status_code, again.json()) == (200, first.json())

    moved = await http.post(path, json=commit_body(lease, request_id="commit-2"))
    assert problem(moved, 409)["head"] == 1
    second = await http.post(path, json=commit_body(lease, request_id="commit-2", expected_head=1))
    assert second.json()["version"] == 2
    assert (await http.get(f"/v1/models/{MODEL}")).json() == {
        "model": MODEL,
        "kind": "world-model",
        "state": "active",
        "head": second.json(),
    }
    listed = (await http.get("/v1/models")).json()["models"]
    assert [(item["model"], item["head"]) for item in listed] == [(MODEL, second.json())]
    listed = (await http.get(path)).json()["versions"]
    assert [item["version"] for item in listed] == [2, 1]
    assert len((await http.get(path, params={"limit": 1})).json()["versions"]) == 1
    problem(await http.get(f"{path}/3"), 404)
    other = commit_body(lease, checkpoint={"address": "world-models/y", "sha256": "cd" * 32, "size": 4})
    problem(await http.post(path, json=other), 409)  # the request_id of another commit


async def test_commits_without_the_right_lease_are_refused(http: httpx.AsyncClient) -> None:
    lease = await acquire(http)
    path = f"/v1/models/{MODEL}/versions"
    for changes in (
        {"token": lease["token"] + 1},
        {"lease_id": "nonsense"},
        {"lease_id": "world-model~wm_00_00~1~0123456789abcdef"},
    ):
        problem(await http.post(path, json=commit_body(lease, **changes)), 412)
    problem(await http.post("/v1/models/wm_00_01/versions", json=commit_body(lease)), 412)
    assert (await http.post(path, json=commit_body(lease))).status_code == 201
    namesake = await acquire(http, resource=f"agent/{MODEL}", request_id="request-2")
    refused = await http.post(path, json=commit_body(namesake, expected_head=1, request_id="commit-2"))
    assert RESOURCE in problem(refused, 412)["detail"], "one model, two fences"
    await http.delete(f"/v1/leases/{lease['lease_id']}")
    late = commit_body(lease, expected_head=1, request_id="commit-3")
    problem(await http.post(path, json=late), 412)


@pytest.mark.parametrize(
    "changes",
    [
        {"resource": "World Model/x"},
        {"resource": "camera/../etc"},
        {"holder": ""},
        {"ttl_ms": 999},
        {"ttl_ms": 10**9},
        {"request_id": "short"},
        {"surprise": 1},
    ],
)
async def test_wrong_requests_name_the_field(http: httpx.AsyncClient, changes: dict[str, Any]) -> None:
    body = problem(await http.post("/v1/leases", json=lease_body(**changes)), 422)
    assert next(iter(changes)) in body["detail"]


async def test_every_error_is_a_problem(http: httpx.AsyncClient) -> None:
    problem(await http.get("/nowhere"), 404)
    problem(await http.get("/v1/nowhere"), 404)
    response = await http.put("/v1/leases", json={})
    problem(response, 405)
    assert "POST" in response.headers["allow"] or "GET" in response.headers["allow"]
    problem(await http.post("/v1/leases", content=b"{nonsense", headers={"content-type": "application/json"}), 422)
    problem(await http.post("/v1/leases", content=b"x" * 1_100_000), 413)
    problem(await http.get("/v1/models/Not%20A%20Name"), 422)
    problem(await http.get(f"/v1/models/{MODEL}/versions/0"), 422)
    problem(await http.get(f"/v1/models/{MODEL}/versions", params={"limit": 0}), 422)


@pytest.mark.parametrize(
    "card", ['{"x": NaN}', '{"x": -Infinity}', '{"x": "\\ud800"}', '{"x": "' + "y" * 300_000 + '"}']
)
async def test_cards_that_not_everybody_can_read(http: httpx.AsyncClient, card: str) -> None:
    lease = await acquire(http)
    body = json.dumps(commit_body(lease, card="CARD")).replace('"CARD"', card)
    headers = {"content-type": "application/json"}
    problem(await http.post(f"/v1/models/{MODEL}/versions", content=body, headers=headers), 422)


async def test_operations(http: httpx.AsyncClient) -> None:
    assert (await http.get("/healthz")).text == "ok\n"
    assert (await http.get("/readyz")).json() == {"ready": True, "missing": {}}
    lease = await acquire(http)
    await http.get(f"/v1/leases/{lease['lease_id']}")
    text = (await http.get("/metrics")).text
    assert "ptz_lock_broker_lease_grants_total" in text
    assert 'route="/v1/leases/{lease_id}"' in text
    assert lease["lease_id"] not in text, "names in labels"
    assert "ptz_lock_broker_redis_up 1.0" in text


async def test_the_description_has_examples_of_every_answer(http: httpx.AsyncClient) -> None:
    described = (await http.get("/openapi.json")).json()
    assert "Problem" in described["components"]["schemas"]
    for path, operations in described["paths"].items():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                if path.startswith("/v1") and status != "204":
                    content = answer["content"]
                    kind = "application/problem+json" if int(status) >= 400 else GOOD.get(path, "application/json")
                    assert set(content) == {kind}, (path, status)
                    assert "example" in content[kind], (path, status)
                    if int(status) >= 400:
                        assert content[kind]["example"]["status"] == int(status)


def test_a_bearer_token_is_asked_for_where_one_is_set(redis_server: RedisServer, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s@c:r/e?t\n")
    with broker_process(tmp_path / "broker", redis_server, broker_token_file=str(secret)) as broker:
        url = broker.ready().url
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic czpj"}):
            response = httpx.get(f"{url}/v1/leases", headers=headers)
            problem(response, 401)
            assert response.headers["www-authenticate"].startswith("Bearer")
        assert httpx.get(f"{url}/v1/leases", headers={"Authorization": "Bearer s@c:r/e?t"}).status_code == 200
        assert httpx.get(f"{url}/healthz").status_code == 200
        assert "c:r/e" not in broker.log


def test_a_taken_port_is_one_line_and_exit_2(redis_server: RedisServer, tmp_path: Path) -> None:
    with broker_process(tmp_path / "first", redis_server) as first:
        port = first.url.rpartition(":")[2]
        with broker_process(tmp_path / "second", redis_server, broker_port=port) as second:
            assert second.wait() == 2
        errors = [line for line in second.log.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1
        assert f"127.0.0.1:{port}" in errors[0]
        assert "Traceback" not in second.log


def test_a_full_house_is_said_so(redis_server: RedisServer, tmp_path: Path) -> None:
    with broker_process(tmp_path, redis_server, broker_resources="1") as broker:
        url = broker.ready().url
        taken = httpx.get(f"{url}/v1/leases")
        assert taken.status_code == 200
        assert httpx.post(f"{url}/v1/leases", json=lease_body(resource="camera/one")).status_code in (200, 201)
        problem(httpx.post(f"{url}/v1/leases", json=lease_body(resource="camera/two")), 507)


@pytest.fixture(autouse=True)
async def _empty(clients: Any) -> None:
    """Every test begins on an empty Redis."""


def test_sigterm_ends_it_cleanly(broker_module: Process, redis_server: RedisServer, tmp_path: Path) -> None:
    with broker_process(tmp_path, redis_server) as broker:
        url = broker.ready().url
        with httpx.Client(base_url=url) as client:  # a connection that is kept open must not hold it up
            client.get("/healthz")
            broker.send(15)
            assert broker.wait() == 0
        assert json.loads(broker.log.splitlines()[-1])["event"] == "stopped"
