"""Many random histories of leases against a model of what is right: on real servers, with our clock, over restarts."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from lock_broker import keys, scripts
from lock_broker.principals import Principal
from lock_broker.scripts import Asking, Line, line
from shared.redis_client import RedisClients
from shared.settings import ServiceSettings
from tests.conftest import RedisServer
from tests.lock_broker.conftest import FakeClock
from tests.lock_broker.lease_model import LeaseModel
from tests.lock_broker.machines import run_machine

NAMES = ("world-model/wm_00_00", "world-model/wm_00_01", "world-model/wm_00_02")
WHO = Principal("anonymous", "worker")
modes = st.sampled_from(("exclusive", "exclusive", "shared"))
ttls = st.sampled_from((1000, 2000, 5000))
orders = st.sampled_from(("as-given", "least-recently-trained", "round-robin"))


@pytest.fixture(params=["embedded", "redis-server"])
def server(request: pytest.FixtureRequest, redis_server: RedisServer) -> Iterator[RedisServer]:
    """The embedded server, and Debian's where it is installed: the scripts keep to what Redis 7.0 knows."""
    if request.param == "embedded":
        yield redis_server
        return
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip("no redis-server on PATH")
    directory = Path(tempfile.mkdtemp(prefix="ptz-"))
    other = RedisServer(directory, binary=binary)
    other.start()
    yield other
    other.kill()
    shutil.rmtree(directory, ignore_errors=True)


def test_any_history_is_as_the_model_says(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = iter(range(10**9))
    run = f"run-{next(runs)}"
    of_server = line._run_id

    async def named(connection: Any) -> str:
        await of_server(connection)
        return run

    monkeypatch.setattr(line, "_run_id", named)
    clients = RedisClients.from_settings(ServiceSettings(redis_url=server.url))
    runner = asyncio.Runner()

    class Machine(RuleBasedStateMachine):
        """``promised``: until when, on a clock that never stops, each lease must be good. Kept apart from the model."""

        @initialize()
        def begin(self) -> None:
            runner.run(clients.commands.flushall())
            self.clock, self.model = FakeClock(), LeaseModel()
            self.line = Line(clients.commands.connection_pool.make_connection, self.clock)
            self.elapsed = 0
            self.promised: dict[str, int] = {}
            self.granted: dict[str, tuple[str, str, Asking]] = {}
            self.waiting: dict[str, Asking] = {}
            self.tokens: dict[str, int] = {}
            self.requests = 0
            self.begin_epoch()

        def begin_epoch(self) -> None:
            runner.run(scripts.withdraw(self.line, [], "nobody"))  # an epoch counts from its first script
            self.model.now = self.clock.now
            self.model.new_epoch(f"{self.clock.boot}:{run}")

        def asking(self, resources: list[str], mode: Any, ttl: int, order: Any) -> Asking:
            self.requests += 1
            return Asking(resources, f"request-{self.requests}", "holder", WHO.name, mode, ttl, order)

        def ask(self, asking: Asking, *, wait: bool) -> None:
            reply = runner.run(scripts.acquire(self.line, asking, wait=wait, most_resources=100))
            outcome, where, token = self.model.acquire(asking, wait=wait)
            assert reply.outcome == outcome
            self.waiting.pop(asking.request_id, None)
            match outcome:
                case "granted" | "same":
                    assert reply.lease is not None
                    assert (reply.lease.resource, reply.lease.token, reply.lease.mode) == (where, token, asking.mode)
                    if outcome == "granted":
                        self.keep(reply.lease.lease_id, where, token, asking)
                case "ended":
                    assert reply.how == where
                case "held":
                    assert reply.queued == wait
                    if wait:
                        self.waiting[asking.request_id] = asking

        def keep(self, lease_id: str, where: str, token: int, asking: Asking) -> None:
            for other, until in self.promised.items():
                resource, _, theirs = self.granted[other]
                if resource == where and until > self.elapsed:
                    assert theirs.mode == asking.mode == "shared", "two holders at once"
            assert token > self.tokens.get(where, 0), "a token came twice"
            self.tokens[where] = token
            self.granted[lease_id] = (where, asking.request_id, asking)
            self.promised[lease_id] = self.elapsed + asking.ttl_ms

        @rule(name=st.sampled_from(NAMES), mode=modes, ttl=ttls, wait=st.sampled_from((True, True, False)))
        def acquire(self, name: str, mode: str, ttl: int, wait: bool) -> None:
            self.ask(self.asking([name], mode, ttl, "as-given"), wait=wait)

        @rule(
            names=st.lists(st.sampled_from(NAMES), min_size=2, unique=True),
            mode=modes,
            order=orders,
            wait=st.booleans(),
        )
        def acquire_any(self, names: list[str], mode: str, order: str, wait: bool) -> None:
            self.ask(self.asking(names, mode, 2000, order), wait=wait)

        @rule(data=st.data(), wait=st.sampled_from((True, True, True, False)))
        def poll(self, data: st.DataObject, wait: bool) -> None:
            if self.waiting:
                self.ask(data.draw(st.sampled_from(list(self.waiting.values()))), wait=wait)

        @rule(data=st.data(), other_mode=st.sampled_from((False, False, False, True)))
        def acquire_again(self, data: st.DataObject, other_mode: bool) -> None:
            if self.granted:
                _, _, asking = data.draw(st.sampled_from(list(self.granted.values())))
                if other_mode:
                    asking = replace(asking, mode="shared" if asking.mode == "exclusive" else "exclusive")
                self.ask(asking, wait=False)

        @rule(data=st.data())
        def withdraw(self, data: st.DataObject) -> None:
            if self.waiting:
                asking = self.waiting.pop(data.draw(st.sampled_from(list(self.waiting))))
                runner.run(scripts.withdraw(self.line, asking.resources, asking.request_id))
                for name in asking.resources:
                    if found := self.model.settle(name):
                        found.leave(asking.request_id)

        @rule(
            data=st.data(),
            newest=st.booleans(),
            ttl=ttls,
            what=st.sampled_from(("renew", "release", "release", "force")),
            ours=st.booleans(),
        )
        def use(self, data: st.DataObject, newest: bool, ttl: int, what: str, ours: bool) -> None:
            if not self.granted:
                return
            lease_id = data.draw(st.sampled_from(list(self.granted)[-3:] if newest else list(self.granted)))
            name, request, _ = self.granted[lease_id]
            parsed = keys.LeaseId.parse(lease_id)
            assert parsed is not None
            who = WHO if ours or what == "force" else Principal("stranger", "worker")
            found = self.model.settle(name)
            assert found is not None
            live = next((lease for lease in found.leases if lease.request == request), None)
            if live is None:
                assert self.promised[lease_id] <= self.elapsed, "a lease ended early"
            expected = "foreign" if live and not ours and what != "force" else ""
            if live is None:
                expected = next((how for it, how in found.ended if it == request), "superseded")
            if what == "renew":
                reply = runner.run(scripts.renew(self.line, lease_id, parsed, who, ttl_ms=ttl))
                assert reply.outcome == (expected or "renewed")
                if live and ours:
                    live.expires = max(live.expires, self.clock.now + ttl)
                    live.ttl = live.expires - self.clock.now
                    self.promised[lease_id] = max(self.promised[lease_id], self.elapsed + ttl)
                return
            if what == "release":
                reply = runner.run(scripts.release(self.line, lease_id, parsed, who))
            else:
                reply = runner.run(scripts.force(self.line, lease_id, parsed, Principal("boss", "admin"), "test"))
            assert reply.outcome == (expected or "freed")
            if live and not expected:
                found.end(request, "forced" if what == "force" else "released")
                found.fence += what == "force"
                self.promised[lease_id] = self.elapsed

        @rule(milliseconds=st.sampled_from((1, 200, 999, 1000, 2999, 3000)))
        def tick(self, milliseconds: int) -> None:
            self.clock.now += milliseconds
            self.elapsed += milliseconds
            self.model.now = self.clock.now

        @rule(now=st.integers(0, 2_000_000))
        def reboot(self, now: int) -> None:
            runner.run(scripts.beat(self.line))
            self.clock.boot, self.clock.now = f"{self.clock.boot}+", now
            active, seen = runner.run(scripts.beat(self.line))
            assert not active
            assert runner.run(scripts.beat(self.line, seen))[0]
            self.begin_epoch()

        @rule()
        def restart_redis(self) -> None:
            nonlocal run
            run = f"run-{next(runs)}"
            runner.run(self.line.aclose())
            self.begin_epoch()

        @rule()
        def look(self) -> None:
            seen, _ = runner.run(scripts.observe(self.line, NAMES))
            states = {each.state.resource: each.state for each in seen}
            assert states.keys() == self.model.resources.keys()
            for name in states:
                found, state = self.model.settle(name), states[name]
                assert found is not None
                assert state.token == found.fence
                assert [(it.token, it.mode, it.expires_in_ms) for it in state.leases] == [
                    (it.token, it.mode, it.expires - self.clock.now) for it in found.leases
                ]
                assert [it.mode for it in state.waiting] == [it.mode for it in found.queue]
                live = {lease.lease_id for lease in state.leases}
                for lease_id, until in self.promised.items():
                    assert until <= self.elapsed or self.granted[lease_id][0] != name or lease_id in live, "early"

        def teardown(self) -> None:
            if hasattr(self, "line"):
                self.look()
                runner.run(self.line.aclose())

    try:
        run_machine(Machine, examples=80, steps=40)
    finally:
        runner.run(clients.commands.flushall())
        runner.run(clients.aclose())
        runner.close()
