"""The client's leases against real brokers, through faults: killed, frozen, answers swallowed on their way."""

# ruff: noqa: ASYNC110, ASYNC220, PT012 - a test asks and waits, and what it waits for is raised in a block of its own

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import subprocess
import sys
import time
from contextlib import aclosing
from pathlib import Path

import httpx
import pytest

from ptzjepa.verification.fault_proxy import Fault, FaultProxy
from shared.broker.blocking_client import BlockingBrokerClient
from shared.broker.client import BrokerAway, BrokerClient, CommitRefused, LeaseHeld, LeaseLost
from shared.leases import Lease, LeaseRequest, lease_clock
from shared.settings import ServiceSettings
from tests.conftest import RedisServer
from tests.lock_broker.conftest import MODEL, RESOURCE, broker_process, commit_of
from tests.support import REPOSITORY, Process, until


async def forever() -> None:
    await asyncio.Event().wait()


async def obtained(client: BrokerClient, seconds: float = 15.0) -> Lease:
    async with asyncio.timeout(seconds):
        while True:
            try:
                return await client.acquire(LeaseRequest(resource=RESOURCE, holder="rival"))
            except (LeaseHeld, BrokerAway):
                await asyncio.sleep(0.1)


async def test_a_lease_is_renewed_and_given_back(client: BrokerClient) -> None:
    async with client.lease(RESOURCE, holder="worker", ttl_ms=1000) as held:
        await asyncio.sleep(1.6)
        held.check()
        [lease] = await client.leases()
        assert (lease.lease_id, lease.token) == (held.lease_id, held.token)
        assert 0.0 < held.remaining <= 0.8
        with pytest.raises(LeaseHeld, match="worker"):
            async with client.lease(RESOURCE, holder="other"):
                raise AssertionError("two hold it")
    assert await client.leases() == []


async def test_it_is_given_back_after_a_fault_and_after_a_cancellation(client: BrokerClient) -> None:
    with pytest.raises(ZeroDivisionError):
        async with client.lease(RESOURCE, holder="worker"):
            raise ZeroDivisionError
    assert await client.leases() == []

    async def work() -> None:
        async with client.lease(RESOURCE, holder="worker"):
            await forever()

    task = asyncio.create_task(work())
    while not await client.leases():
        await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await client.leases() == []


async def test_the_holder_is_interrupted_when_its_lease_is_taken_away(client: BrokerClient) -> None:
    reached = False
    with pytest.raises(LeaseLost, match=RESOURCE):
        async with asyncio.timeout(20), client.lease(RESOURCE, holder="worker", ttl_ms=1500) as held:
            await client.release(held.lease_id)
            await forever()
            reached = True
    assert not reached
    assert held.refused
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0, "the cancellation is used up"
    await asyncio.sleep(0)


async def test_the_holder_is_interrupted_in_its_task_group(client: BrokerClient) -> None:
    ended: list[str] = []

    async def part(name: str) -> None:
        try:
            await forever()
        finally:
            ended.append(name)

    with pytest.raises(LeaseLost):
        async with asyncio.timeout(20), client.lease(RESOURCE, holder="worker", ttl_ms=1000) as held:
            await client.release(held.lease_id)
            async with asyncio.TaskGroup() as group:
                group.create_task(part("a"))
                group.create_task(part("b"))
    assert sorted(ended) == ["a", "b"]


async def test_a_holder_that_swallows_the_interruption_hears_of_it_at_the_end(client: BrokerClient) -> None:
    with pytest.raises(LeaseLost):
        async with asyncio.timeout(20), client.lease(RESOURCE, holder="worker", ttl_ms=1000) as held:
            await client.release(held.lease_id)
            with contextlib.suppress(asyncio.CancelledError):
                await forever()


async def test_work_stops_before_the_lease_runs_out(own_broker: Process, client: BrokerClient) -> None:
    asked = lease_clock()
    with pytest.raises(LeaseLost, match="in time"):
        async with asyncio.timeout(30), client.lease(RESOURCE, holder="sleeper", ttl_ms=2000) as held:
            own_broker.send(signal.SIGSTOP)
            await forever()
    stopped = lease_clock()
    assert stopped - asked >= 1.5, "it worked for as long as it might"
    own_broker.send(signal.SIGCONT)
    assert held.lost, "once lost, always lost"
    rival = await obtained(client)
    with pytest.raises(CommitRefused):
        await client.commit(MODEL, commit_of(held.lease_id, held.token))
    made = await client.commit(MODEL, commit_of(rival.lease_id, rival.token))
    assert made.token == rival.token > held.token


async def test_a_broker_killed_and_restarted_does_not_disturb_the_holder(
    own_broker: Process, client: BrokerClient
) -> None:
    async with client.lease(RESOURCE, holder="worker", ttl_ms=15_000) as held:
        own_broker.send(signal.SIGKILL)
        await asyncio.to_thread(lambda: own_broker.start().ready())
        before = held.remaining
        async with asyncio.timeout(60):
            while held.remaining <= before:
                await asyncio.sleep(0.05)  # renewed by the new one
        assert (await client.leases())[0].lease_id == held.lease_id


async def test_leaving_does_not_wait_for_a_dead_broker(own_broker: Process, client: BrokerClient) -> None:
    async with asyncio.timeout(15):
        async with client.lease(RESOURCE, holder="worker"):
            own_broker.send(signal.SIGSTOP)
    own_broker.send(signal.SIGCONT)


class Swallow:
    """Swallows the first answers to requests that begin with ``start``."""

    def __init__(self, start: bytes, times: int, fault: Fault = Fault.SWALLOW) -> None:
        self.start, self.times, self.fault = start, times, fault

    def __call__(self, request: bytes) -> Fault | None:
        if request.startswith(self.start) and self.times:
            self.times -= 1
            return self.fault
        return None


@pytest.mark.parametrize("fault", [Fault.SWALLOW, Fault.RESET, Fault.DROP, Fault.HALF_CLOSE, Fault.LATENCY])
async def test_a_request_whose_answer_is_lost_gets_the_same_lease(own_broker: Process, fault: Fault) -> None:
    async with (
        FaultProxy(int(own_broker.url.rpartition(":")[2]), Swallow(b"POST /v1/leases ", 2, fault)) as proxy,
        aclosing(BrokerClient(ServiceSettings(broker_url=f"http://127.0.0.1:{proxy.port}"))) as client,
    ):
        async with client.lease(RESOURCE, holder="worker") as held:
            assert held.token == 1, "asked three times, granted once"
            assert [lease.lease_id for lease in await client.leases()] == [held.lease_id]
        assert proxy.counts[fault.value] in (1, 2)
        assert await client.leases() == []


@pytest.mark.parametrize("fault", [Fault.RESET, Fault.DROP, Fault.HALF_CLOSE])
async def test_a_question_is_asked_again_on_a_new_connection(own_broker: Process, fault: Fault) -> None:
    async with (
        FaultProxy(int(own_broker.url.rpartition(":")[2]), Swallow(b"GET /v1/leases ", 1, fault)) as proxy,
        aclosing(BrokerClient(ServiceSettings(broker_url=f"http://127.0.0.1:{proxy.port}"))) as client,
    ):
        assert await client.leases() == []
        assert proxy.counts[fault.value] == 1


async def test_lost_answers_to_renewals_and_commits_do_no_harm(own_broker: Process) -> None:
    port = int(own_broker.url.rpartition(":")[2])
    async with FaultProxy(port, Swallow(b"PATCH ", 1)) as proxy:
        client = BrokerClient(ServiceSettings(broker_url=f"http://127.0.0.1:{proxy.port}"))
        async with client.lease(RESOURCE, holder="worker", ttl_ms=6000) as held:
            async with asyncio.timeout(20):
                while not proxy.counts:
                    await asyncio.sleep(0.05)
            await asyncio.sleep(1.0)
            held.check()
        await client.aclose()
    async with FaultProxy(port, Swallow(b"POST /v1/models/", 1)) as proxy:
        client = BrokerClient(ServiceSettings(broker_url=f"http://127.0.0.1:{proxy.port}"))
        async with client.lease(RESOURCE, holder="worker") as held:
            request = commit_of(held.lease_id, held.token)
            with pytest.raises(BrokerAway):
                await client.commit(MODEL, request)
            assert (await client.commit(MODEL, request)).version == 1
        await client.aclose()


HOLDER = """
import asyncio, sys
from shared.broker.client import BrokerClient, CommitRefused, LeaseLost
from shared.leases import CommitRequest
from shared.messages import Checkpoint
from shared.settings import ServiceSettings

async def main():
    client = BrokerClient(ServiceSettings(broker_url=sys.argv[1]))
    try:
        async with client.lease("world-model/wm_00_00", holder="sleeper", ttl_ms=1000) as held:
            print(held.lease_id, held.token, flush=True)
            await asyncio.Event().wait()
    except LeaseLost:
        print("lost", flush=True)
    try:
        await client.commit("wm_00_00", CommitRequest(
            lease_id=held.lease_id, token=held.token, expected_head=1, checkpoint=Checkpoint.of("x/y", b"x")))
        print("committed", flush=True)
    except CommitRefused:
        print("refused", flush=True)

asyncio.run(main())
"""


async def test_a_holder_stopped_beyond_its_lease_learns_of_it_and_is_refused(
    own_broker: Process, client: BrokerClient
) -> None:
    arguments = [sys.executable, "-c", HOLDER, own_broker.url]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as holder:
        assert holder.stdout is not None
        try:
            token = int((await asyncio.to_thread(holder.stdout.readline)).split()[1])
            holder.send_signal(signal.SIGSTOP)
            rival = await obtained(client)
            assert (await client.commit(MODEL, commit_of(rival.lease_id, rival.token))).version == 1
            holder.send_signal(signal.SIGCONT)
            said = (await asyncio.to_thread(holder.stdout.read)).splitlines()
        finally:
            holder.kill()
    assert [line for line in said if " " not in line] == ["lost", "refused"]
    assert rival.token > token


def test_threads_hold_leases_too(own_broker: Process) -> None:
    with BlockingBrokerClient(ServiceSettings(broker_url=own_broker.url)) as client:
        with client.lease(RESOURCE, holder="thread", ttl_ms=1000) as held:
            time.sleep(1.6)
            held.check()
            with pytest.raises(LeaseHeld), client.lease(RESOURCE, holder="other"):
                pass
            assert client.commit(MODEL, commit_of(held.lease_id, held.token)).token == held.token
        with client.lease(RESOURCE, holder="again") as again:
            assert again.token > held.token
        with pytest.raises(CommitRefused):
            client.commit(MODEL, commit_of(held.lease_id, held.token, expected=1))


def test_a_thread_sees_that_its_lease_is_lost(own_broker: Process) -> None:
    with BlockingBrokerClient(ServiceSettings(broker_url=own_broker.url)) as client:
        with pytest.raises(LeaseLost, match="in time"), client.lease(RESOURCE, holder="thread", ttl_ms=1500) as held:
            own_broker.send(signal.SIGSTOP)
            assert held.lost_event.wait(20.0)
            own_broker.send(signal.SIGCONT)
        assert not held.refused
        until(lambda: gained(client))


def gained(client: BlockingBrokerClient) -> bool:
    try:
        with client.lease(RESOURCE, holder="next"):
            return True
    except LeaseHeld:
        return False


async def test_credentials_enter_no_log(own_broker: Process, capfd: pytest.CaptureFixture[str]) -> None:
    client = BrokerClient(ServiceSettings(broker_url=own_broker.url, broker_token="hush-hush"))  # type: ignore[arg-type]
    own_broker.send(signal.SIGKILL)
    with pytest.raises(BrokerAway) as error:
        await client.leases()
    assert "hush-hush" not in json.dumps([str(error.value), *capfd.readouterr()])
    await client.aclose()


async def test_too_many_requests_mean_later(redis_server: RedisServer, tmp_path: Path) -> None:
    """The broker lets two requests pass at once and then one every 2 s, and is asked no earlier than it says."""
    limits = {"broker_rate": "0.5", "broker_burst": "2"}
    with broker_process(tmp_path, redis_server, **limits) as broker:
        settings = ServiceSettings(broker_url=broker.ready().url)
        client = BrokerClient(settings)
        for _ in range(2):
            await client.leases()
        with pytest.raises(BrokerAway, match="too many requests") as caught:
            await client.leases()
        assert 1 <= caught.value.after <= 2
        async with client.lease(RESOURCE, holder="patient"):
            pass
        await client.aclose()

        def hold() -> None:
            with BlockingBrokerClient(settings) as blocking, blocking.lease(RESOURCE, holder="patient"):
                pass

        await asyncio.to_thread(hold)
        counted = (await asyncio.to_thread(httpx.get, f"{broker.url}/metrics")).text
        refusals = re.findall(r'request_seconds_count\{.*status="429".*\} ([0-9.]+)', counted)
        assert sum(map(float, refusals)) <= 4, "it is asked again before it wants to be"
