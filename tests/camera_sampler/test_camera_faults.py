"""Every failure met in the field, injected in the emulators: what the drivers make of it, and that they recover."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from camera_sampler.cameras import CameraError
from camera_sampler.cameras.base import ErrorKind
from camera_sampler.simulation.emulators import Emulator, Fault
from camera_sampler.simulation.emulators.base import Reply
from camera_sampler.simulation.emulators.faults import Operation
from camera_sampler.snapshots import BadSnapshot, verify
from shared.pose import Pose
from tests.camera_sampler.emulating import BRANDS, PASSWORD, Driver, driver, emulator, impatient

LINK: dict[Fault, ErrorKind] = {
    "reset": "reset", "cut": "reset", "hang": "timeout", "slow": "timeout", "endless": "too-large",
    "initiating": "initiating", "refused": "refused", "garbage": "unparsable", "reboot": "reset",
}  # fmt: skip
POSE = Pose(pan=30.0, tilt=5.0, zoom=2.0)


@pytest.fixture(params=list(BRANDS))
def brand(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def server(brand: str) -> AsyncIterator[Emulator]:
    async with emulator(brand) as running:
        yield running


def soon(camera: Driver, fault: Fault | None) -> contextlib.AbstractContextManager[None]:
    """Only what never comes is worth no wait."""
    return impatient(camera) if fault in ("hang", "slow") else contextlib.nullcontext()


async def fails(brand: str, server: Emulator, on: Operation, fault: Fault | None = None) -> CameraError:
    camera = driver(brand, server)
    await camera.limits()
    with pytest.raises(CameraError) as caught, soon(camera, fault):
        await {"position": camera.pose, "snapshot": camera.snapshot, "move": lambda: camera.move_to(POSE)}[on]()
    server.faults.clear()
    assert PASSWORD not in repr(caught.value)
    await camera.aclose()
    return caught.value


@pytest.mark.parametrize("on", ["position", "move", "snapshot"])
@pytest.mark.parametrize("fault", LINK)
async def test_each_failure_has_its_kind(brand: str, server: Emulator, fault: Fault, on: Operation) -> None:
    if fault == "garbage" and on == "snapshot":
        pytest.skip("a text instead of a picture is another test's")
    server.faults.line_up(fault, on=on)
    if fault == "cut" and brand == "axis" and on == "move":
        pytest.skip("there is nothing to cut from an answer without a body")
    error = await fails(brand, server, on, fault)
    assert error.kind == LINK[fault]
    assert list(server.faults.met) == [(fault, on)]


async def test_goes_on_after_every_failure(brand: str, server: Emulator) -> None:
    camera = driver(brand, server)
    await camera.limits()
    faults: tuple[Fault, ...] = ("reset", "hang", "garbage", "initiating", "refused", "missing-key")
    for fault in faults:
        server.faults.line_up(fault, on="position")
        with pytest.raises(CameraError), soon(camera, fault):
            await camera.pose()
        await camera.pose()
    await camera.aclose()


async def test_a_missing_key_is_unparsable(brand: str, server: Emulator) -> None:
    server.faults.line_up("missing-key", on="position")
    assert (await fails(brand, server, "position")).kind == "unparsable"


async def test_the_order_of_keys_does_not_matter(brand: str, server: Emulator) -> None:
    camera = driver(brand, server)
    before = await camera.pose()
    server.faults.line_up("reordered", on="position")
    assert await camera.pose() == before
    assert server.faults.met
    await camera.aclose()


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("empty-image", "empty"), ("no-image", "not-an-image"), ("truncated-image", "truncated"),
        ("wrong-size", "wrong-size"), ("bomb", "bomb"),
    ],
)  # fmt: skip
async def test_bad_pictures_are_found_out(brand: str, server: Emulator, fault: Fault, kind: str) -> None:
    camera = driver(brand, server)
    server.faults.line_up(fault)
    snapshot = await camera.snapshot()
    with pytest.raises(BadSnapshot) as caught:
        verify(snapshot.data, (64, 36))
    assert caught.value.kind == kind
    assert verify((await camera.snapshot()).data, (64, 36))
    await camera.aclose()


async def test_one_login_serves_all_requests(brand: str, server: Emulator) -> None:
    camera = driver(brand, server)
    for _ in range(10):
        await camera.pose()
    assert (server.gate.seen["absent"], server.gate.seen["stale"]) == (1, 0)
    assert server.gate.seen["in"] >= 10
    await camera.aclose()


async def test_logs_in_again_when_the_nonce_has_expired(brand: str) -> None:
    now = [0.0]
    async with emulator(brand, nonce_seconds=60.0, clock=lambda: now[0]) as server:
        camera = driver(brand, server)
        for _ in range(4):
            await camera.pose()
            now[0] += 61.0
        assert server.gate.seen["stale"] == 3
        await camera.aclose()


async def test_a_replayed_login_is_refused(brand: str, server: Emulator) -> None:
    camera = driver(brand, server)
    await camera.pose()
    request = server.requests[-1]
    assert server.gate.check(request.method, request.target, request.headers["authorization"]) == "stale"
    await camera.aclose()


async def test_a_wrong_password_is_not_tried_again_and_again(brand: str, server: Emulator) -> None:
    camera = driver(brand, server, password=SecretStr("wr@ng:secret"))
    for _ in range(20):
        with pytest.raises(CameraError, match="refuses this user") as caught:
            await camera.pose()
        assert caught.value.kind == "unauthorized"
        assert "wr@ng" not in str(caught.value)
    assert server.gate.seen["wrong"] == 1
    await camera.aclose()


async def test_five_wrong_passwords_lock_the_account() -> None:
    async with emulator("hanwha", lock_seconds=600.0) as server:
        for _ in range(5):
            camera = driver("hanwha", server, password=SecretStr("wrong"))
            with pytest.raises(CameraError, match="refuses this user"):
                await camera.pose()
            await camera.aclose()
        camera = driver("hanwha", server)
        before = len(server.requests)
        for _ in range(20):
            with pytest.raises(CameraError) as caught:
                await camera.pose()
            assert caught.value.kind == "locked-out"
        assert len(server.requests) - before == 1
        await camera.aclose()


async def test_logs_in_again_after_the_pause(server: Emulator, brand: str) -> None:
    camera = driver(brand, server, lockout=30.0)
    now = [0.0]
    camera._http._clock = lambda: now[0]
    await camera.limits()
    server.faults.line_up("locked-out" if brand == "hanwha" else "unauthorized")
    # One refusal is met by a second attempt with the new nonce, which would pass.
    if brand != "hanwha":
        server.faults.line_up("unauthorized")
    with pytest.raises(CameraError):
        await camera.pose()
    asked = len(server.requests)
    with pytest.raises(CameraError):
        await camera.pose()
    assert len(server.requests) == asked
    now[0] = 31.0
    await camera.pose()
    await camera.aclose()


async def test_a_reboot_passes(server: Emulator, brand: str) -> None:
    camera = driver(brand, server)
    await camera.pose()
    await server.stop()
    with pytest.raises(CameraError) as caught:
        await camera.pose()
    assert caught.value.kind in ("reset", "unreachable")
    with pytest.raises(CameraError, match="nobody listens"):
        await camera.pose()
    server.gate.forget()
    await server.start()
    await camera.pose()
    assert server.gate.seen["stale"] == 1
    await camera.aclose()


@pytest.mark.parametrize("body", ["", "pan", "pan=1.0", "pan=nan\ntilt=0\nzoom=1", "pan=1\ntilt=500\nzoom=1", "=\n="])
async def test_no_pose_is_made_up(brand: str, server: Emulator, body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    camera = driver(brand, server)
    await camera.limits()

    async def answer(*_: object) -> Reply:
        return Reply(body=body.encode())

    monkeypatch.setattr(server, "answer", answer)
    with pytest.raises(CameraError) as caught:
        await camera.pose()
    assert caught.value.kind == "unparsable"
    await camera.aclose()


async def test_an_echoed_password_is_not_repeated(
    brand: str, server: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    camera = driver(brand, server)
    await camera.limits()

    async def answer(*_: object) -> Reply:
        return Reply(500, f"cannot serve {PASSWORD}".encode(), reason=f"for {PASSWORD}")

    monkeypatch.setattr(server, "answer", answer)
    with pytest.raises(CameraError, match=re.escape("cannot serve ***")) as caught:
        await camera.pose()
    assert PASSWORD not in str(caught.value)
    await camera.aclose()


async def test_redirects_are_not_followed(brand: str, server: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(*_: object) -> Reply:
        return Reply(302, reason="Found", headers=(("Location", "/elsewhere"),))

    camera = driver(brand, server)
    await camera.limits()
    monkeypatch.setattr(server, "answer", answer)
    with pytest.raises(CameraError, match="HTTP 302"):
        await camera.snapshot()
    assert not any(request.path == "/elsewhere" for request in server.requests)
    await camera.aclose()
