"""The registry's rules: rollback, archive, pins, lineage, each through HTTP; and many random histories of them all."""

# ruff: noqa: PT017 - a refusal is one of two right answers, and each is checked
from __future__ import annotations

import asyncio
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import httpx
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from lock_broker.principals import Principal
from lock_broker.problems import Refused
from shared.leases import ArchiveRequest, CommitRequest, Lease, LeaseRequest, ModelVersion, RollbackRequest
from shared.messages import Checkpoint
from shared.redis_client import RedisClients
from shared.settings import ServiceSettings
from tests.conftest import RedisServer
from tests.lock_broker.conftest import Broker
from tests.lock_broker.machines import run_machine
from tests.lock_broker.test_api import MODEL, RESOURCE, acquire, commit_body, problem

BASE = f"/v1/models/{MODEL}"
LINEAGE = {
    "generation": 0,
    "restart": 1,
    "parents": [{"model": "ag_00_00", "version": 3}],
    "data": [{"camera": "north", "first": "2026-05-04T11:00:00Z", "last": "2026-05-04T12:00:00Z", "views": 7}],
}


async def commit(http: httpx.AsyncClient, lease: dict[str, Any], head: int, **changes: Any) -> dict[str, Any]:
    sha = f"{head + 1:064x}"
    checkpoint = {"address": f"world-models/{sha}", "sha256": sha, "size": 3}
    body = commit_body(lease, expected_head=head, checkpoint=checkpoint, request_id=f"commit-{head + 1}", **changes)
    response = await http.post(f"{BASE}/versions", json=body)
    assert response.status_code == 201, response.text
    made: dict[str, Any] = response.json()
    return made


def back(lease: dict[str, Any], head: int, to: int, **changes: Any) -> dict[str, Any]:
    same = {"lease_id": lease["lease_id"], "token": lease["token"], "expected_head": head, "to_version": to}
    return {**same, "reason": "it forgot", "request_id": "rollback-1", **changes}


async def events(http: httpx.AsyncClient) -> list[tuple[str, str]]:
    found = (await http.get("/v1/events?limit=1000")).json()["events"]
    return [(event["event"], event["detail"]) for event in found]


async def test_a_rollback_makes_a_new_head_of_an_old_version(http: httpx.AsyncClient) -> None:
    lease = await acquire(http)
    first = await commit(http, lease, 0, card={"empty": [], "n": 1.5}, lineage=LINEAGE)
    assert (first["by"], first["principal"], first["lineage"]) == ("tester", "anonymous", LINEAGE)
    second = await commit(http, lease, 1, card={"n": 2})
    made = await http.post(f"{BASE}/rollback", json=back(lease, 2, 1))
    assert made.status_code == 201, made.text
    third = made.json()
    assert (third["version"], third["restores"], third["by"]) == (3, 1, "tester")
    assert {key: third[key] for key in ("checkpoint", "card", "lineage")} == {
        key: first[key] for key in ("checkpoint", "card", "lineage")
    }
    again = await http.post(f"{BASE}/rollback", json=back(lease, 2, 1))
    assert (again.status_code, again.json()) == (200, third), "the same request does it once"
    assert (await http.get(BASE)).json()["head"] == third
    assert (await http.get(f"{BASE}/versions/2")).json() == second, "what was rolled back is still known"
    assert ("rolled-back", "3 restores 1: it forgot") in await events(http)

    problem(await http.post(f"{BASE}/rollback", json=back(lease, 2, 1, request_id="rollback-2")), 409)
    problem(await http.post(f"{BASE}/rollback", json=back(lease, 3, 3, request_id="rollback-2")), 409)
    problem(await http.post(f"{BASE}/rollback", json=back(lease, 3, 9, request_id="rollback-2")), 404)
    problem(await http.post(f"{BASE}/rollback", json=back(lease, 3, 1, request_id="commit-2")), 409)
    copy = commit_body(lease, expected_head=2, checkpoint=third["checkpoint"], request_id="rollback-1")
    problem(await http.post(f"{BASE}/versions", json=copy), 409)


async def test_only_the_holder_of_the_newest_lease_changes_a_model(http: httpx.AsyncClient) -> None:
    old = await acquire(http)
    await commit(http, old, 0)
    await commit(http, old, 1)
    await http.delete(f"/v1/leases/{old['lease_id']}")
    new = await acquire(http, request_id="request-2", holder="successor")
    archive = {"lease_id": old["lease_id"], "token": old["token"], "reason": "done", "request_id": "archive-1"}
    problem(await http.post(f"{BASE}/rollback", json=back(old, 2, 1)), 412)
    problem(await http.post(f"{BASE}/archive", json=archive), 412)
    problem(await http.post(f"{BASE}/rollback", json=back({**new, "token": old["token"]}, 2, 1)), 412)
    shared = await http.post(
        "/v1/leases",
        json={"resource": "world-model/other", "holder": "x", "mode": "shared", "request_id": "request-3"},
    )
    body = commit_body(shared.json())
    problem(await http.post("/v1/models/other/versions", json=body), 412)
    assert (await http.get(BASE)).json()["head"]["version"] == 2
    assert (await http.post(f"{BASE}/rollback", json=back(new, 2, 1))).status_code == 201


async def test_an_archived_model_takes_no_commits_until_it_is_restored(http: httpx.AsyncClient) -> None:
    lease = await acquire(http)
    archive = {"lease_id": lease["lease_id"], "token": lease["token"], "reason": "learnt all", "request_id": "arch-001"}
    problem(await http.post(f"{BASE}/archive", json=archive), 404)
    await commit(http, lease, 0)
    await commit(http, lease, 1)
    assert (await http.get("/v1/models?state=active&kind=world-model")).json()["models"][0]["model"] == MODEL
    assert (await http.post(f"{BASE}/archive", json=archive)).json()["state"] == "archived"
    problem(await http.post(f"{BASE}/versions", json=commit_body(lease, expected_head=2, request_id="commit-9")), 409)
    problem(await http.post(f"{BASE}/rollback", json=back(lease, 2, 1)), 409)
    await http.delete(f"/v1/leases/{lease['lease_id']}")
    assert (await http.post(f"{BASE}/archive", json=archive)).status_code == 200, "the same request, sent late"
    asked = {"kind": "world-model", "holder": "x", "request_id": "request-any"}
    problem(await http.post("/v1/leases/any", json=asked), 404)
    assert (await http.get("/v1/models?state=active")).json() == {"models": []}
    assert (await http.get("/v1/models?state=archived&kind=agent")).json() == {"models": []}
    assert (await http.get("/v1/models?state=archived")).json()["models"][0]["state"] == "archived"
    for _ in range(2):
        assert (await http.post(f"{BASE}/restore")).json()["state"] == "active"
    problem(await http.post("/v1/models/nobody/restore"), 404)
    assert (await http.post("/v1/leases/any", json=asked)).json()["resource"] == RESOURCE
    seen = await events(http)
    assert [seen.count(pair) for pair in (("archived", "learnt all"), ("restored", ""))] == [1, 1]


async def test_only_the_principal_of_the_lease_commits_under_it(broker: Broker) -> None:
    worker = Principal("node-1", "worker")
    lease, _ = await broker.leases.acquire(LeaseRequest(resource=RESOURCE, holder="a"), worker)
    request = CommitRequest(
        lease_id=lease.lease_id, token=lease.token, expected_head=0, checkpoint=Checkpoint.of("x/y", b"1")
    )
    with pytest.raises(Refused) as caught:
        await broker.registry.commit(MODEL, request, Principal("node-2", "worker"))
    assert caught.value.status == HTTPStatus.FORBIDDEN, "another principal's lease"
    made, _ = await broker.registry.commit(MODEL, request, worker)
    assert (made.principal, made.by) == ("node-1", "a")


async def test_pinned_versions_are_not_forgotten(make_broker: Any) -> None:
    broker: Broker = make_broker(history=2)
    lease, _ = await broker.leases.acquire(LeaseRequest(resource=RESOURCE, holder="a"))

    async def commit_next(head: int) -> ModelVersion:
        request = CommitRequest(
            lease_id=lease.lease_id,
            token=lease.token,
            expected_head=head,
            checkpoint=Checkpoint.of("x/y", str(head).encode()),
        )
        return (await broker.registry.commit(MODEL, request))[0]

    await commit_next(0)
    assert (await broker.registry.pin(MODEL, 1)).pinned
    for head in range(1, 5):
        await commit_next(head)
    assert [(v.version, v.pinned) for v in await broker.registry.versions(MODEL, 9)] == [
        (5, False),
        (4, False),
        (1, True),
    ]
    assert [v.version for v in await broker.registry.versions(MODEL, 9, before=4)] == [1]
    with pytest.raises(Refused, match="forgotten") as gone:
        await broker.registry.version(MODEL, 2)
    assert gone.value.status == HTTPStatus.GONE
    with pytest.raises(Refused) as unknown:
        await broker.registry.pin(MODEL, 6)
    assert unknown.value.status == HTTPStatus.NOT_FOUND
    back = RollbackRequest(lease_id=lease.lease_id, token=lease.token, expected_head=5, to_version=2, reason="r")
    with pytest.raises(Refused) as forgotten:
        await broker.registry.rollback(MODEL, back)
    assert forgotten.value.status == HTTPStatus.GONE
    made, _ = await broker.registry.rollback(
        MODEL, back.model_copy(update={"to_version": 1, "request_id": "request-9"})
    )
    assert made.checkpoint == Checkpoint.of("x/y", b"0")
    assert not (await broker.registry.pin(MODEL, 1, wanted=False)).pinned
    with pytest.raises(Refused, match="forgotten"):
        await broker.registry.version(MODEL, 1)


@pytest.fixture
def loop_runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


def test_any_history_of_a_model_keeps_the_promises(own_redis_server: RedisServer, loop_runner: asyncio.Runner) -> None:
    clients = RedisClients.from_settings(ServiceSettings(redis_url=own_redis_server.url))
    history = 2

    class Machine(RuleBasedStateMachine):
        """``self.weights``: what each version's checkpoint should be; ``self.pins``; ``self.archived``."""

        broker: Broker | None = None

        def run(self, work: Any) -> Any:
            return loop_runner.run(work)

        @initialize()
        def begin(self) -> None:
            async def make() -> Broker:
                await clients.commands.flushall()
                return Broker(clients, history=history)

            self.broker = self.run(make())
            self.registry = self.broker.registry
            self.weights: list[Checkpoint] = []
            self.pins: set[int] = set()
            self.forgotten: set[int] = set()
            self.archived = False
            self.held: Lease | None = None
            self.old: list[Lease] = []
            self.sent: list[tuple[Any, ModelVersion]] = []
            self.count = 0

        def request_id(self) -> str:
            self.count += 1
            return f"request-{self.count}"

        def claim(self, data: st.DataObject) -> tuple[dict[str, Any], bool]:
            """Somebody's right to write, and whether it is the live one."""
            lease = data.draw(st.sampled_from([*self.old[-2:], *([self.held] * 3 if self.held else [])]))
            return {
                "lease_id": lease.lease_id,
                "token": lease.token,
                "request_id": self.request_id(),
            }, lease is self.held

        @rule()
        def take_over(self) -> None:
            assert self.broker is not None
            if self.held:
                self.old.append(self.held)
                self.run(self.broker.leases.release(self.held.lease_id))
            asked = LeaseRequest(resource=RESOURCE, holder="a", request_id=self.request_id())
            self.held, _ = self.run(self.broker.leases.acquire(asked))

        @rule()
        def sleep_through_it(self) -> None:
            assert self.broker is not None
            self.broker.clock.now += 60_000
            if self.held:
                self.old.append(self.held)
            self.held = None

        @precondition(lambda self: self.held or self.old)
        @rule(data=st.data(), slip=st.sampled_from((0, 0, 0, 1)))
        def commit(self, data: st.DataObject, slip: int) -> None:
            claim, live = self.claim(data)
            head = len(self.weights)
            checkpoint = Checkpoint.of("x/y", claim["request_id"].encode())
            request = CommitRequest(**claim, expected_head=head + slip, checkpoint=checkpoint)
            status = 412 if not live else 409 if self.archived or slip else None
            self.check(request, self.registry.commit(MODEL, request), status, checkpoint)

        @precondition(lambda self: self.held and not self.archived)
        @rule(times=st.integers(1, 3))
        def train(self, times: int) -> None:
            """The usual case, often enough that versions are forgotten."""
            assert self.held is not None
            for _ in range(times):
                checkpoint = Checkpoint.of("x/y", self.request_id().encode())
                request = CommitRequest(
                    lease_id=self.held.lease_id,
                    token=self.held.token,
                    expected_head=len(self.weights),
                    checkpoint=checkpoint,
                    request_id=self.request_id(),
                )
                self.check(request, self.registry.commit(MODEL, request), None, checkpoint)

        @precondition(lambda self: (self.held or self.old) and self.weights)
        @rule(data=st.data(), slip=st.sampled_from((0, 0, 0, 1)))
        def roll_back(self, data: st.DataObject, slip: int) -> None:
            claim, live = self.claim(data)
            head = len(self.weights)
            to = data.draw(st.integers(1, head + 1))
            request = RollbackRequest(**claim, expected_head=head + slip, to_version=to, reason="r")
            status = None
            if not live:
                status = 412
            elif self.archived or slip:
                status = 409
            elif to > head:
                status = 404
            elif to in self.forgotten:
                status = 410
            elif to == head:
                status = 409
            weights = self.weights[to - 1] if to <= head else None
            self.check(request, self.registry.rollback(MODEL, request), status, weights)

        def check(self, request: Any, work: Any, status: int | None, weights: Checkpoint | None) -> None:
            try:
                version, new = self.run(work)
            except Refused as error:
                assert error.status == status
                return
            assert status is None, f"{status} expected"
            assert new
            assert weights is not None
            assert (version.version, version.checkpoint) == (len(self.weights) + 1, weights)
            self.weights.append(weights)
            self.sent.append((request, version))
            self.forgotten |= {n for n in range(1, version.version - history + 1) if n not in self.pins}

        @precondition(lambda self: self.sent)
        @rule(data=st.data())
        def send_again(self, data: st.DataObject) -> None:
            request, version = data.draw(st.sampled_from(self.sent))
            if version.version in self.forgotten:
                return
            ask = self.registry.rollback if isinstance(request, RollbackRequest) else self.registry.commit
            again, new = self.run(ask(MODEL, request))
            assert (again, new) == (version, False)

        @precondition(lambda self: self.weights and self.held)
        @rule(data=st.data())
        def archive(self, data: st.DataObject) -> None:
            claim, live = self.claim(data)
            request = ArchiveRequest(**claim, reason="r")
            try:
                assert self.run(self.registry.archive(MODEL, request)).state == "archived"
            except Refused as error:
                assert (error.status, live) == (412, False)
                return
            assert live
            self.archived = True

        @precondition(lambda self: self.weights)
        @rule()
        def restore(self) -> None:
            assert self.run(self.registry.restore(MODEL)).state == "active"
            self.archived = False

        @precondition(lambda self: self.weights)
        @rule(data=st.data(), wanted=st.booleans())
        def pin(self, data: st.DataObject, wanted: bool) -> None:
            number = data.draw(st.integers(1, len(self.weights) + 1))
            try:
                self.run(self.registry.pin(MODEL, number, wanted=wanted))
            except Refused as error:
                assert error.status == (404 if number > len(self.weights) else 410)
                assert number > len(self.weights) or number in self.forgotten
                return
            (self.pins.add if wanted else self.pins.discard)(number)
            if number <= len(self.weights) - history and not wanted:
                self.forgotten.add(number)

        @invariant()
        def the_registry_agrees(self) -> None:
            if self.broker is None or not self.weights:
                return
            known = [n for n in range(len(self.weights), 0, -1) if n not in self.forgotten]
            versions = self.run(self.registry.versions(MODEL, 1000))
            assert [version.version for version in versions] == known
            assert [version.checkpoint for version in versions] == [self.weights[n - 1] for n in known]
            assert {version.version for version in versions if version.pinned} == self.pins
            assert [v.token for v in versions] == sorted((v.token for v in versions), reverse=True)
            state = self.run(self.registry.state(MODEL))
            assert (state.state == "archived", state.head) == (self.archived, versions[0])
            assert self.run(self.registry.resources("world-model")) == ([] if self.archived else [RESOURCE])

        def teardown(self) -> None:
            if self.broker is not None:
                self.run(self.broker.aclose())

    try:
        run_machine(Machine, examples=40, steps=40)
    finally:
        loop_runner.run(clients.commands.flushall())
        loop_runner.run(clients.aclose())
