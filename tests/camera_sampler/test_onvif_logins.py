"""How an ONVIF camera lets somebody in: by digest or by token, with a clock of its own, and not again and again."""

from __future__ import annotations

from datetime import timedelta

import httpx
import pytest
from onveef import envelopes
from pydantic import SecretStr

from tests.camera_sampler.emulating import PASSWORD, USER
from tests.camera_sampler.onvif_cameras import LOGINS, Login, driver, kind_of, onvif, works


@pytest.mark.parametrize("login", LOGINS)
async def test_logs_in_as_the_camera_wants(login: Login) -> None:
    async with onvif(login=login) as server:
        camera = driver(server)
        await works(camera)
        signed = [request for request in server.requests if "authorization" in request.headers and request.body]
        tokens = [request for request in server.requests if b"UsernameToken" in request.body]
        # Never both at once, and no password where it is not wanted.
        assert (bool(signed), bool(tokens)) == (login != "token", login == "token")
        assert server.gate.seen["wrong"] == server.tokens.seen["wrong"] == 0
        assert not any(PASSWORD.encode() in request.body for request in server.requests)
        await camera.aclose()


@pytest.mark.parametrize("ahead", [timedelta(hours=9), timedelta(days=-20_000)])
async def test_a_cameras_clock_may_be_wrong(ahead: timedelta) -> None:
    async with onvif(login="token", clock_ahead=ahead) as server:
        camera = driver(server)
        await works(camera)
        assert server.tokens.seen["stale"] == 0
        await camera.aclose()


async def test_a_cameras_clock_may_be_set_meanwhile() -> None:
    async with onvif(login="token") as server:
        camera = driver(server)
        await camera.pose()
        server.clock_ahead = timedelta(days=3)
        await camera.pose()
        assert server.tokens.seen["stale"] == 1
        await camera.aclose()


@pytest.mark.parametrize("login", LOGINS)
async def test_a_wrong_password_is_sent_once(login: Login) -> None:
    async with onvif(login=login) as server:
        camera = driver(server, password=SecretStr("wr@ng"))
        for _ in range(10):
            assert await kind_of(camera) == "unauthorized"
        assert server.gate.seen["wrong"] + server.tokens.seen["wrong"] == 1
        await camera.aclose()


async def test_the_other_login_has_its_turn_after_the_pause() -> None:
    async with onvif(login="either") as server:
        # A camera that offers a digest and whose digest lets nobody in.
        server.gate.password = "another"
        camera, now = driver(server), [0.0]
        camera._http._clock = lambda: now[0]
        assert await kind_of(camera) == "unauthorized"
        now[0] += 6.0
        await camera.pose()
        await camera.aclose()


async def test_without_a_user_nothing_is_sent_again_and_again() -> None:
    async with onvif() as server:
        camera = driver(server, user="", password=SecretStr(""))
        for _ in range(5):
            assert await kind_of(camera) == "unauthorized"
        assert len(server.requests) == 1
        await camera.aclose()


@pytest.mark.parametrize("login", ["digest", "token"])
async def test_a_locked_account_is_left_alone(login: Login) -> None:
    async with onvif(login=login) as server:
        camera = driver(server)
        await camera.pose()
        server.faults.line_up("locked-out", on="position")
        for _ in range(5):
            assert await kind_of(camera) == "locked-out"
        assert len(server.faults.met) == 1
        await camera.aclose()


async def test_the_emulator_refuses_a_token_that_was_seen_before() -> None:
    async with onvif(login="token") as server, httpx.AsyncClient(base_url=server.url) as client:
        body = envelopes.build_envelope(envelopes.device_get_information(), username=USER, password=PASSWORD)
        statuses = [(await client.post("/onvif/device_service", content=body)).status_code for _ in range(2)]
        late = envelopes.build_envelope(
            envelopes.device_get_information(), username=USER, password=PASSWORD, clock_offset_s=-60.0
        )
        statuses.append((await client.post("/onvif/device_service", content=late)).status_code)
    assert statuses == [200, 400, 400]
    assert server.tokens.seen["stale"] == 2
