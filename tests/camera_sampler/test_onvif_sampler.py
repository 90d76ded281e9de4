"""The sampler as a process before an ONVIF camera."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import httpx
import pytest

from camera_sampler.cameras import open_camera
from camera_sampler.settings import SamplerSettings
from camera_sampler.simulation.emulators import Emulator
from camera_sampler.simulation.emulators.onvif_messages import Offers
from shared.errors import UserError
from shared.redis_client import RedisClients
from shared.settings import ServiceSettings
from tests.camera_sampler.emulating import PASSWORD, USER
from tests.camera_sampler.onvif_cameras import Login, onvif
from tests.camera_sampler.sampling import at_least
from tests.support import Process


def sampler(directory: Path, server: Emulator, redis_url: str, **changes: str) -> Process:
    (directory / "password").write_text(PASSWORD)
    return Process(
        directory / "process",
        "-m",
        "camera_sampler",
        **{
            "redis_url": redis_url, "admin_host": "127.0.0.1", "admin_port": "0", "policy": "random-walk",
            "camera_kind": "onvif", "camera_url": server.url, "camera_user": USER, "camera_magnification": "30",
            "camera_password_file": str(directory / "password"), "views_per_second": "50", "poll_seconds": "0.01",
            **changes,
        },
    )  # fmt: skip


@pytest.mark.parametrize("login", ["digest", "token"])
async def test_the_sampler_looks_through_an_onvif_camera(
    login: Login, clients: RedisClients, settings: ServiceSettings, tmp_path: Path
) -> None:
    async with onvif(login=login) as server:
        with sampler(tmp_path, server, settings.redis_url, spool=str(tmp_path / "spool")) as process:
            found = await at_least(clients, 5)
            async with httpx.AsyncClient() as client:
                metrics = (await client.get(f"{await asyncio.to_thread(lambda: process.url)}/metrics")).text
            process.send(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait) == 0
        assert all(item.message.settled for item in found)
        assert PASSWORD not in process.log + metrics + "".join(item.message.model_dump_json() for item in found)


def test_without_the_package_it_is_the_users_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "camera_sampler.cameras.onvif")
    monkeypatch.setitem(sys.modules, "onveef", None)
    with pytest.raises(UserError, match=r"needs the package onveef: pip install 'ptzjepa\[onvif\]'"):
        open_camera(SamplerSettings(camera_kind="onvif", camera_url="http://10.0.0.1"))


async def test_what_a_camera_does_not_tell_ends_the_sampler_with_one_line(
    settings: ServiceSettings, tmp_path: Path
) -> None:
    async with onvif(offers=Offers(degrees=False)) as server:
        with sampler(tmp_path, server, settings.redis_url) as process:
            assert await asyncio.to_thread(process.wait) == 2
    [line] = [line for line in process.log.splitlines() if line.startswith("error: ")]
    assert "set PTZ_PAN_MIN" in line
