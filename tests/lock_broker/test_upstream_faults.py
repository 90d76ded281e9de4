"""The six ways in which an earlier lock for the same purpose was broken, each as a test of this one."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from lock_broker import keys
from lock_broker.principals import Principal
from lock_broker.problems import Refused
from shared.leases import AnyLeaseRequest, CommitRequest, LeaseRequest
from shared.messages import Checkpoint
from tests.lock_broker.conftest import MODEL, RESOURCE, Broker, MakeBroker


def request(number: int, *, holder: str = "same-process", ttl_ms: int = 1000, resource: str = RESOURCE) -> LeaseRequest:
    return LeaseRequest(resource=resource, holder=holder, ttl_ms=ttl_ms, request_id=f"request-{number}")


async def test_no_lock_is_immortal(broker: Broker) -> None:
    """There: set and expiry were two commands; a crash between them locked for ever. Here: one script does it all."""
    await broker.leases.acquire(request(1))
    [record] = (await broker.document(RESOURCE))["leases"]
    assert record["expires"] == broker.clock.now + 1000
    broker.clock.now += 1000
    lease, _ = await broker.leases.acquire(request(2))
    assert lease.token == 2
    assert broker.count("lease_losses_total") == 1


async def test_long_work_keeps_its_lease(broker: Broker) -> None:
    """There: ten seconds without renewal, while training took minutes. Here: renewing goes on as long as the work."""
    lease, _ = await broker.leases.acquire(request(1))
    for _ in range(100):
        broker.clock.now += 900
        assert (await broker.leases.renew(lease.lease_id, 1000)).token == lease.token
        with pytest.raises(Refused):
            await broker.leases.acquire(request(2))


async def test_one_process_can_not_mistake_its_leases(broker: Broker) -> None:
    """There: one identity per process, so an old user released the new one's lock. Here: one id per lease."""
    old, _ = await broker.leases.acquire(request(1))
    broker.clock.now += 1001
    new, _ = await broker.leases.acquire(request(2))
    await broker.leases.release(old.lease_id)
    with pytest.raises(Refused):
        await broker.leases.renew(old.lease_id, 1000)
    assert await broker.leases.get(new.lease_id) == new


@pytest.mark.parametrize(
    "odd", [' "request-1"\n', 'request-1\n \\"', "a ~ released ", "\u2028 \x85\r\n\x0b", "\x00%a+$[^]()"]
)
async def test_how_a_lease_ended_is_found_by_request_and_by_id(broker: Broker, odd: str) -> None:
    """Whatever characters a request consists of."""
    requests = [
        request(1),
        *(request(1).model_copy(update={"request_id": f"{odd:~<8}{end}"}) for end in ("", odd, "1")),
    ]
    ways = ("released", "expired", "forced", "released")
    leases = []
    for asked, how in zip(requests, ways, strict=True):
        leases.append((await broker.leases.acquire(asked))[0])
        match how:
            case "released":
                await broker.leases.release(leases[-1].lease_id)
            case "forced":
                await broker.leases.force_release(leases[-1].lease_id, "test")
            case _:
                broker.clock.now += 1000
    for asked, lease, how in zip(requests, leases, ways, strict=True):
        for again in (
            broker.leases.acquire(asked),
            broker.leases.get(lease.lease_id),
            broker.leases.renew(lease.lease_id, 1000),
        ):
            with pytest.raises(Refused) as refused:
                await again
            assert refused.value.extra["ended"] == how


async def test_a_sleeper_can_not_overwrite(broker: Broker) -> None:
    """There: no fencing. Here: a writer that slept through its lease is refused, with a stolen token, too."""
    sleeper, _ = await broker.leases.acquire(request(1))
    broker.clock.now += 1001
    awake, _ = await broker.leases.acquire(request(2))
    for number, token in enumerate((sleeper.token, awake.token)):
        commit = CommitRequest(
            lease_id=sleeper.lease_id,
            token=token,
            expected_head=0,
            checkpoint=Checkpoint.of("x", b"x"),
            request_id=f"commit-{number}",
        )
        with pytest.raises(Refused) as refused:
            await broker.registry.commit(MODEL, commit)
        assert refused.value.status == 412
    assert broker.count("commits_total", outcome="stale") == 2


async def test_a_busy_resource_holds_up_no_other(broker: Broker) -> None:
    """There: every search began at the first model. Here: a resource is asked for by name and answered at once."""
    await broker.leases.acquire(request(1))
    others = [request(n, resource=f"world-model/wm_00_{n:02d}") for n in range(2, 12)]
    granted = await asyncio.gather(*(broker.leases.acquire(other) for other in others))
    assert [lease.resource for lease, _ in granted] == [other.resource for other in others]
    with pytest.raises(Refused) as refused:
        await broker.leases.acquire(request(99))
    assert refused.value.headers["Retry-After"] == "1", "who waits is told how long, and need not spin"


async def test_whoever_takes_any_takes_them_in_turn(broker: Broker) -> None:
    """There: the search began at the first model, which got all the training. Here: the longest unused comes first."""
    names = [f"world-model/wm_00_{n:02d}" for n in range(8)]
    taken: Counter[str] = Counter()
    for number in range(80):
        asked = AnyLeaseRequest(holder="h", resources=names, request_id=f"request-{number}")
        lease, _ = await broker.leases.acquire_any(asked, asked.resources)
        taken[lease.resource] += 1
        await broker.leases.release(lease.lease_id)
    assert set(taken.values()) == {10}


async def test_a_stranger_can_not_use_what_it_guessed(broker: Broker) -> None:
    """There: whoever knew the key could release it. Here: a lease is its principal's, or an admin's to take away."""
    owner, stranger, admin = Principal("a", "worker"), Principal("b", "worker"), Principal("c", "admin")
    lease, _ = await broker.leases.acquire(request(1), owner)
    for attempt in (
        broker.leases.renew(lease.lease_id, 60_000, stranger),
        broker.leases.release(lease.lease_id, stranger),
        broker.leases.acquire(request(1), stranger),
    ):
        with pytest.raises(Refused) as refused:
            await attempt
        assert refused.value.status == 403
    assert (await broker.leases.renew(lease.lease_id, 60_000, owner)).principal == "a"
    await broker.leases.force_release(lease.lease_id, "gone for good", admin)
    assert broker.count("lease_forced_total") == 1
    with pytest.raises(Refused, match="taken away"):
        await broker.leases.renew(lease.lease_id, 60_000, owner)


async def test_giving_back_too_late_is_no_fault(broker: Broker) -> None:
    """There: releasing after the expiry raised. Here: there is nothing left to do."""
    lease, _ = await broker.leases.acquire(request(1))
    broker.clock.now += 5000
    await broker.leases.release(lease.lease_id)
    await broker.leases.acquire(request(2))
    await broker.leases.release(lease.lease_id)
    assert broker.count("lease_releases_total") == 0
    assert broker.count("lease_losses_total") == 1


async def test_a_crowd_of_rivals_one_winner(broker: Broker) -> None:
    results = await asyncio.gather(
        *(broker.leases.acquire(request(n, holder=f"h{n}")) for n in range(200)), return_exceptions=True
    )
    assert sum(not isinstance(result, BaseException) for result in results) == 1
    assert {type(result) for result in results if isinstance(result, BaseException)} == {Refused}


async def test_a_reboot_prolongs_and_never_repeats_a_token(broker: Broker) -> None:
    lease, _ = await broker.leases.acquire(request(1, ttl_ms=60_000))
    broker.clock.now += 59_000
    await broker.reboot(5)
    assert (await broker.leases.get(lease.lease_id)).expires_in_ms == 60_000
    await broker.leases.release(lease.lease_id)
    new, _ = await broker.leases.acquire(request(2))
    assert new.token > lease.token + 100, "the log's last second may be lost, with a token in it"


async def test_history_is_bounded(make_broker: MakeBroker) -> None:
    broker = make_broker(history=3)
    lease, _ = await broker.leases.acquire(request(1, ttl_ms=60_000))
    for number in range(10):
        commit = CommitRequest(
            lease_id=lease.lease_id,
            token=lease.token,
            expected_head=number,
            checkpoint=Checkpoint.of("x", b"x"),
            request_id=f"commit-{number}",
        )
        await broker.registry.commit(MODEL, commit)
    assert [item.version for item in await broker.registry.versions(MODEL, 100)] == [10, 9, 8]
    assert await broker.redis.hlen(keys.versions_key(MODEL)) == 6
    assert await broker.redis.hlen(keys.requests_key(MODEL)) == 3
    assert (await broker.redis.xinfo_stream(keys.EVENTS))["length"] == 11


async def test_scripts_outlive_a_script_flush(broker: Broker) -> None:
    await broker.leases.acquire(request(1))
    await broker.redis.script_flush()
    with pytest.raises(Refused):
        await broker.leases.acquire(request(2))


async def test_an_old_lease_means_nothing_after_redis_lost_its_data(broker: Broker) -> None:
    old, _ = await broker.leases.acquire(request(1, ttl_ms=60_000))
    await broker.redis.flushall()
    new, _ = await broker.leases.acquire(request(2, ttl_ms=60_000))
    assert new.token == old.token, "the premise: tokens begin again"
    with pytest.raises(Refused):
        await broker.leases.renew(old.lease_id, 1000)
    await broker.leases.release(old.lease_id)
    assert (await broker.leases.get(new.lease_id)).holder == new.holder
