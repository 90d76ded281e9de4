"""The sampler on emulated cameras that fail: it goes on, counts, says each thing once, and publishes nothing bad."""

from __future__ import annotations

import contextlib
import io
from datetime import timedelta

import numpy as np
import pytest
from PIL import Image
from prometheus_client import generate_latest
from pydantic import SecretStr
from structlog.testing import capture_logs

from camera_sampler.settings import SamplerSettings
from camera_sampler.simulation.emulators import Fault, Faults
from shared.messages import View
from shared.redis_client import RedisClients
from shared.streams import Received
from tests.camera_sampler.emulating import BRANDS, PASSWORD, driver, emulator
from tests.camera_sampler.sampling import SCENE, at_least, check_chain, eventually, fast, metric, running, views

FAULTS: tuple[Fault, ...] = (
    "reset", "hang", "cut", "refused", "initiating", "garbage", "missing-key", "reordered", "empty-image", "no-image",
    "truncated-image", "wrong-size", "bomb", "stale-image",
)  # fmt: skip


@pytest.fixture
def real_settings(sampler_settings: SamplerSettings) -> SamplerSettings:
    # The camera's readings are rounded, the zoom's to a tenth.
    return fast(sampler_settings.redis_url, camera_kind="axis", camera_url="http://camera.test", stable_polls=2)


def check_pictures(found: list[Received[View]]) -> None:
    for item in found:
        assert item.message.settled
        expected = SCENE.render(item.message.pose, 64, 36, 0.0)
        wanted = np.asarray(Image.fromarray(expected).resize((32, 32), Image.Resampling.BOX)).astype(int)
        difference = np.abs(np.asarray(Image.open(io.BytesIO(item.blobs[View.JPEG]))).astype(int) - wanted).mean()
        assert difference < 0.6 * np.abs(wanted - wanted[::-1]).mean()


@pytest.mark.parametrize("brand", BRANDS)
async def test_publishes_nothing_bad_through_faults_and_a_reboot(
    brand: str, clients: RedisClients, real_settings: SamplerSettings
) -> None:
    faults = Faults(rate=0.03, kinds=FAULTS, seed=3)
    with capture_logs() as logs:
        async with emulator(brand, faults=faults) as server:
            camera = driver(brand, server, timeout=1.0)
            async with contextlib.aclosing(camera), running(real_settings, clients, camera) as sampler:
                await at_least(clients, 25)
                await server.reboot()
                count = len(await views(clients))
                found = await at_least(clients, count + 10)
                gone = sum(metric(sampler, "camera_errors_total", kind=kind) for kind in ("reset", "unreachable"))
                assert gone >= 1.0
                exported = generate_latest(sampler.metrics.registry).decode()
    check_chain(found, movements=4)
    check_pictures(found)
    assert faults.met
    assert PASSWORD not in f"{logs}{exported}{sampler.not_ready}"


@pytest.mark.parametrize("brand", BRANDS)
async def test_a_stale_picture_is_rejected(brand: str, clients: RedisClients, real_settings: SamplerSettings) -> None:
    async with emulator(brand) as server:
        camera = driver(brand, server)
        async with contextlib.aclosing(camera), running(real_settings, clients, camera) as sampler:
            for _ in range(3):
                count = len(await at_least(clients, len(await views(clients)) + 2))
                server.faults.line_up("stale-image")
                await at_least(clients, count + 3)
            stale = metric(sampler, "rejects_total", kind="stale")
    assert stale >= 1.0
    check_pictures(await views(clients))


async def test_the_cameras_clock_gives_an_old_picture_away(
    clients: RedisClients, real_settings: SamplerSettings
) -> None:
    async with emulator("axis", clock_ahead=timedelta(hours=5)) as server:
        camera = driver("axis", server)
        async with contextlib.aclosing(camera), running(real_settings, clients, camera) as sampler:
            await at_least(clients, 3)
            server.clock_ahead -= timedelta(seconds=10)  # type: ignore[attr-defined]

            async def noticed() -> bool:
                return metric(sampler, "rejects_total", kind="stale") >= 1.0

            await eventually(noticed)
            # A clock that was set looks the same, and is learned anew after the view is given up.
            await at_least(clients, len(await views(clients)) + 3)


async def test_says_each_error_once(clients: RedisClients, real_settings: SamplerSettings) -> None:
    with capture_logs() as logs:
        async with emulator("hanwha") as server:
            camera = driver("hanwha", server)
            async with contextlib.aclosing(camera), running(real_settings, clients, camera) as sampler:
                await at_least(clients, 2)
                server.faults.line_up("initiating", "initiating", "initiating", on="move")

                async def passed() -> bool:
                    return any(entry["event"] == "camera answers again" for entry in logs)

                await eventually(passed)
                assert metric(sampler, "camera_errors_total", kind="initiating") == 3.0
    said = [entry for entry in logs if entry["event"] == "camera error"]
    assert [(entry["asked_for"], entry["kind"]) for entry in said] == [("move", "initiating")]


async def test_a_wrong_password_locks_nobody_out(clients: RedisClients, real_settings: SamplerSettings) -> None:
    with capture_logs() as logs:
        async with emulator("hanwha") as server:
            camera = driver("hanwha", server, password=SecretStr("not:this/one"))
            async with contextlib.aclosing(camera), running(real_settings, clients, camera) as sampler:

                async def counted() -> bool:
                    return metric(sampler, "camera_errors_total", kind="unauthorized") >= 4.0

                await eventually(counted)
                assert "camera" in sampler.not_ready
    assert server.gate.seen["wrong"] == 1
    assert "not:this" not in str(logs)
