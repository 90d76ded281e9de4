"""Many random histories of leases and commits against a model of what is right, on a real server, with our clock."""

# ruff: noqa: PT017 - a refusal is one of two right answers, and each is checked
from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from lock_broker import keys
from lock_broker.problems import Refused
from shared.leases import CommitRequest, Lease, LeaseRequest, ModelVersion
from shared.messages import Checkpoint
from shared.redis_client import RedisClients
from shared.settings import ServiceSettings
from tests.conftest import RedisServer
from tests.lock_broker.conftest import Broker
from tests.lock_broker.machines import run_machine

RESOURCES = ("world-model/wm_00_00", "world-model/wm_00_01", "camera/north")
HOLDERS = ("a", "b", "c")
resources, holders = st.sampled_from(RESOURCES), st.sampled_from(HOLDERS)
ttls = st.sampled_from((1000, 2000, 5000))


@pytest.fixture
def loop_runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


def test_any_history_keeps_the_promises(own_redis_server: RedisServer, loop_runner: asyncio.Runner) -> None:
    clients = RedisClients.from_settings(ServiceSettings(redis_url=own_redis_server.url))

    class Machine(RuleBasedStateMachine):
        """``self.live``: what we believe is held, and until when."""

        def run(self, work: Any) -> Any:
            return loop_runner.run(work)

        @initialize()
        def begin(self) -> None:
            self.run(clients.commands.flushall())
            self.broker = Broker(clients, history=3)
            self.live: dict[str, tuple[Lease, LeaseRequest, int]] = {}
            self.granted: list[tuple[Lease, LeaseRequest]] = []
            self.highest: dict[str, int] = dict.fromkeys(RESOURCES, 0)
            self.heads: dict[str, int] = {}
            self.commits: list[tuple[CommitRequest, ModelVersion]] = []
            self.requests = 0

        def holding(self, resource: str) -> tuple[Lease, LeaseRequest, int] | None:
            held = self.live.get(resource)
            return held if held and held[2] > self.broker.clock.now else None

        def request_id(self) -> str:
            self.requests += 1
            return f"request-{self.requests}"

        @rule(resource=resources, holder=holders, ttl=ttls)
        def acquire(self, resource: str, holder: str, ttl: int) -> None:
            request = LeaseRequest(resource=resource, holder=holder, ttl_ms=ttl, request_id=self.request_id())
            held = self.holding(resource)
            try:
                lease, new = self.run(self.broker.leases.acquire(request))
            except Refused as error:
                assert error.status == 423
                assert held is not None, "refused although nobody holds it"
                assert error.extra["holder"] == held[0].holder
                return
            assert held is None, "two holders at once"
            assert new
            assert lease.token > self.highest[resource], "a token came twice"
            assert lease.expires_in_ms == ttl
            self.highest[resource] = lease.token
            self.live[resource] = (lease, request, self.broker.clock.now + ttl)
            self.granted.append((lease, request))

        @rule(resource=resources)
        def acquire_again(self, resource: str) -> None:
            if held := self.holding(resource):
                lease, new = self.run(self.broker.leases.acquire(held[1]))
                assert (lease.lease_id, lease.token, new) == (held[0].lease_id, held[0].token, False)

        @rule(data=st.data(), ttl=ttls)
        def renew(self, data: st.DataObject, ttl: int) -> None:
            if not self.granted:
                return
            lease, _ = data.draw(st.sampled_from(self.granted))
            held = self.holding(lease.resource)
            ours = held is not None and held[0].lease_id == lease.lease_id
            try:
                renewed = self.run(self.broker.leases.renew(lease.lease_id, ttl))
            except Refused as error:
                assert error.status == 410
                assert not ours, "a live lease was not renewed"
                return
            assert ours, "an ended lease was renewed"
            assert held is not None
            assert renewed.token == lease.token
            self.live[lease.resource] = (held[0], held[1], max(held[2], self.broker.clock.now + ttl))

        @rule(data=st.data())
        def release(self, data: st.DataObject) -> None:
            if not self.granted:
                return
            lease, _ = data.draw(st.sampled_from(self.granted))
            self.run(self.broker.leases.release(lease.lease_id))
            held = self.live.get(lease.resource)
            if held and held[0].lease_id == lease.lease_id:
                del self.live[lease.resource]

        @rule(milliseconds=st.sampled_from((1, 500, 1000, 2500, 6000)))
        def tick(self, milliseconds: int) -> None:
            self.broker.clock.now += milliseconds

        @rule(clock=st.integers(0, 2_000_000))
        def reboot(self, clock: int) -> None:
            # What ran out before and was noticed stays so; everything else begins its life again.
            self.run(self.broker.leases.live())
            still = {name: held for name in RESOURCES if (held := self.holding(name))}
            self.run(self.broker.reboot(clock))
            left = {lease.resource: lease.expires_in_ms for lease in self.run(self.broker.leases.live())}
            assert left.keys() == still.keys()
            self.live = {name: (held[0], held[1], clock + left[name]) for name, held in still.items()}

        @rule(data=st.data(), slip=st.sampled_from((0, 0, 0, 1)))
        def commit(self, data: st.DataObject, slip: int) -> None:
            if not self.granted:
                return
            lease, _ = data.draw(st.sampled_from(self.granted))
            model = lease.resource.partition("/")[2]
            head = self.heads.get(model, 0)
            request = CommitRequest(
                lease_id=lease.lease_id,
                token=lease.token,
                expected_head=head + slip,
                checkpoint=Checkpoint.of(f"{model}/x", self.request_id().encode()),
                request_id=self.request_id(),
            )
            held = self.holding(lease.resource)
            valid = held is not None and held[0].lease_id == lease.lease_id
            try:
                version, new = self.run(self.broker.registry.commit(model, request))
            except Refused as error:
                assert error.status == (409 if valid else 412)
                assert not valid or slip
                return
            assert valid, "a stale holder moved the head"
            assert not slip, "a head moved from where it was not"
            assert new
            assert version.version == head + 1
            self.heads[model] = version.version
            self.commits.append((request, version))

        @rule(data=st.data())
        def commit_again(self, data: st.DataObject) -> None:
            if not self.commits:
                return
            request, version = data.draw(st.sampled_from(self.commits))
            if version.version > self.heads[version.model] - 3:
                assert self.run(self.broker.registry.commit(version.model, request)) == (version, False)

        @invariant()
        def the_broker_agrees(self) -> None:
            if not hasattr(self, "broker"):
                return
            held = {lease.resource: lease.token for lease in self.run(self.broker.leases.live())}
            assert held == {name: item[0].token for name in RESOURCES if (item := self.holding(name))}
            for model, head in self.heads.items():
                state = self.run(self.broker.registry.state(model))
                assert state.head is not None
                assert state.head.version == head
                versions = self.run(self.broker.registry.versions(model, 100))
                assert [item.version for item in versions] == list(range(head, max(0, head - 3), -1))
                assert [item.token for item in versions] == sorted((item.token for item in versions), reverse=True)

        def teardown(self) -> None:
            async def permanent() -> list[bytes]:
                found = [key async for key in clients.commands.scan_iter("{lk}:*")]
                return [key for key in found if await clients.commands.ttl(key) != -1]

            assert self.run(permanent()) == [], "a lease must not depend on the server's wall clock"
            self.run(self.broker.aclose())

    try:
        run_machine(Machine, examples=50, steps=35)
    finally:
        loop_runner.run(clients.commands.flushall())
        loop_runner.run(clients.aclose())


def test_lease_ids_say_what_they_are_for() -> None:
    text = f"world-model~wm_00_00~17~{keys.LeaseId.nonce('request-1')}"
    parsed = keys.LeaseId.parse(text)
    assert parsed == keys.LeaseId("world-model/wm_00_00", "wm_00_00", 17)
    for wrong in ("", "a/b", "world-model~wm~0~0123456789abcdef", "world-model~../x~1~0123456789abcdef", text + "\n"):
        assert keys.LeaseId.parse(wrong) is None
